// The harness measures fairly: turns rotate, ratios are paired, and who is wrong is not timed. No
// test here depends on how long anything takes.

import { describe, expect, test } from "vitest";
import {
  type Contender,
  checkRow,
  type Effort,
  median,
  pairedRatio,
  type Role,
  type Row,
  type RowResult,
  rotated,
  summarize,
  timeRow,
} from "../../bench/harness.ts";

const quick: Effort = { rounds: 4, sampleSeconds: 0.0001, warmUpSeconds: 0 };

/** A contender that notes its calls; `wrong` is what its check throws. */
function contender(name: string, role: Role, calls: string[], wrong?: string): Contender {
  return {
    name,
    role,
    operations: 10,
    run: () => calls.push(name),
    check() {
      if (wrong !== undefined) throw new Error(wrong);
    },
    dispose: () => {
      calls.push(`${name} disposed`);
    },
  };
}

function rowOf(contenders: readonly Contender[]): Row {
  const contenderList = async (): Promise<readonly Contender[]> => contenders;
  return { id: "0.test", name: "", unit: "ns", targets: { b: 1 }, contenders: contenderList };
}

async function measureRow(row: Row, effort: Effort): Promise<RowResult> {
  return timeRow(row, await checkRow(row), effort);
}

describe("numbers", () => {
  test("the median of an even count is the mean of the two in the middle", () => {
    expect(median([9, 1, 3, 2])).toBe(2.5);
    expect(median([5, 1, 3])).toBe(3);
  });

  test("a timing keeps minimum, median, maximum and the distance between them", () => {
    const timing = summarize([4, 2, 3]);
    expect(timing).toMatchObject({ min: 2, median: 3, max: 4 });
    expect(timing.spread).toBeCloseTo(2 / 3);
  });

  test("the ratio is taken round by round, so that a slow round of both does not change it", () => {
    expect(pairedRatio([10, 100, 10], [20, 200, 20]).median).toBe(0.5);
    expect(pairedRatio([1, 2, 9], [1, 1, 3]).median).toBe(2);
  });

  test("the middle half of the ratios leaves a quarter of the rounds out on either side", () => {
    const ones = [1, 1, 1, 1, 1, 1, 1, 1];
    expect(pairedRatio([8, 1, 2, 3, 4, 5, 6, 7], ones)).toEqual({ median: 4.5, low: 3, high: 6 });
    expect(pairedRatio([2, 1], [1, 1])).toEqual({ median: 1.5, low: 1, high: 2 });
  });
});

describe("turns", () => {
  test("everyone is first once in as many rounds", () => {
    const orders = [0, 1, 2, 3].map((round) => rotated(["a", "b", "c"], round).join(""));
    expect(orders).toEqual(["abc", "bca", "cab", "abc"]);
  });

  test("each round gives every contender one turn, in rotated order", async () => {
    const calls: string[] = [];
    const row = rowOf(["a", "b", "c"].map((name) => contender(name, "peer", calls)));
    await timeRow(row, [], quick);
    const turns = calls.filter((name, index) => name !== calls[index - 1]).join(" ");
    // Warm-up a b c, then abc bca cab abc; where two turns of one contender meet they show as one.
    expect(turns).toBe("a b c a b c b c a c a b a b c a disposed b disposed c disposed");
  });
});

describe("results", () => {
  test("ours is divided by each peer; another form of ours is shown without a ratio", async () => {
    const calls: string[] = [];
    const result = await measureRow(
      rowOf([
        contender("a", "ours", calls),
        contender("b", "peer", calls),
        contender("c", "also", calls),
      ]),
      quick,
    );
    expect(Object.keys(result.peers)).toEqual(["b"]);
    expect(Object.keys(result.ratios)).toEqual(["b"]);
    expect(Object.keys(result.also)).toEqual(["c"]);
    const { a, b } = result.timings;
    expect(result.ours).toBe(a?.median);
    expect(b?.rounds).toHaveLength(quick.rounds);
    expect(result.rejected).toEqual([]);
  });

  test("a contender that gives a wrong answer is reported and never timed", async () => {
    const calls: string[] = [];
    const result = await measureRow(
      rowOf([contender("a", "ours", calls), contender("b", "peer", calls, "pages are mixed up")]),
      quick,
    );
    expect(result.rejected).toEqual([{ name: "b", reason: "pages are mixed up" }]);
    expect(result.peers).toEqual({});
    expect(calls).not.toContain("b");
    expect(calls).toContain("b disposed");
  });

  test("a check times nothing, and timing checks nothing", async () => {
    const calls: string[] = [];
    const row = rowOf([contender("a", "ours", calls, "lost a chunk")]);
    expect(await checkRow(row)).toEqual([{ name: "a", reason: "lost a chunk" }]);
    expect(calls).toEqual(["a disposed"]);
    expect((await timeRow(row, [], quick)).ours).not.toBeNull();
  });

  test("without a right answer of ours there is no ratio", async () => {
    const calls: string[] = [];
    const result = await measureRow(
      rowOf([contender("a", "ours", calls, "lost a chunk"), contender("b", "peer", calls)]),
      quick,
    );
    expect(result.ours).toBeNull();
    expect(result.ratios).toEqual({});
  });

  test("a contender that throws while timed ends the measurement; all are disposed", async () => {
    const calls: string[] = [];
    let runs = 0;
    const failing: Contender = {
      ...contender("b", "peer", calls),
      run() {
        runs += 1;
        if (runs > 3) throw new Error("out of memory");
        return 0;
      },
    };
    const measured = measureRow(rowOf([contender("a", "ours", calls), failing]), quick);
    await expect(measured).rejects.toThrow("out of memory");
    expect(calls).toContain("a disposed");
    expect(calls).toContain("b disposed");
  });
});
