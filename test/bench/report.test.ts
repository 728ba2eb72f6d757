// What the bench prints and how it is called: options, rows by number or id, the table, and the
// cases we lose.

import { describe, expect, test } from "vitest";
import { checkChunks, checkReuse } from "../../bench/allocators.ts";
import type { RowResult } from "../../bench/harness.ts";
import { parseOptions, UsageError } from "../../bench/options.ts";
import { closeCalls, digits, losses, tableText, verdict } from "../../bench/report.ts";
import { rows } from "../../bench/rows.ts";
import { selectRows } from "../../bench/select.ts";
import { seededRandom, shuffledBlocks } from "../../bench/workloads.ts";

const timing = { min: 9, median: 10, max: 12, spread: 0.3, rounds: [9, 10, 12] };

const result: RowResult = {
  id: "6.hit-vs-string-key",
  name: "buffer hit",
  unit: "ns a hit",
  ours: 10,
  peers: { "string key": 40, "number key": 5, slow: 20 },
  ratios: { "string key": 0.25, "number key": 2, slow: 0.5 },
  ratioRanges: { "string key": [0.2, 0.3], "number key": [1, 3], slow: [0.25, 0.6] },
  targets: { "string key": 0.4, slow: 0.3 },
  also: {},
  timings: { palloc: timing, "string key": timing, "number key": timing, slow: timing },
  rejected: [{ name: "broken", reason: "block 3 holds the bytes of block 4" }],
};

describe("options", () => {
  test("nothing asked for is every row, with the rounds of the harness", () => {
    expect(parseOptions([], 9)).toEqual({
      only: undefined,
      json: undefined,
      rounds: 9,
      list: false,
      help: false,
    });
  });

  test("row, file and rounds are taken from the command line", () => {
    const options = parseOptions(["--only", "6", "--json", "x.json", "--rounds", "3"], 9);
    expect(options).toMatchObject({ only: "6", json: "x.json", rounds: 3 });
  });

  test.each([
    ["--onyl", "6"],
    ["--only"],
    ["--rounds", "0"],
    ["--rounds", "many"],
    ["6"],
    ["--json", "--list"],
  ])("%s %s is refused in one line", (...args: string[]) => {
    const given = args.filter((arg) => arg !== undefined);
    expect(() => parseOptions(given, 9)).toThrow(UsageError);
    expect(() => parseOptions(given, 9)).not.toThrow(/\n/);
  });
});

describe("rows", () => {
  const all = ["1.a", "6.hit", "6.hit-whole", "16.b", "memory.1-worker", "memory.2-workers"].map(
    (id) => ({ id }),
  );

  test("a number means every row that has it, an id exactly one", () => {
    expect(selectRows(all, "6").map(({ id }) => id)).toEqual(["6.hit", "6.hit-whole"]);
    expect(selectRows(all, "6.hit").map(({ id }) => id)).toEqual(["6.hit"]);
    expect(selectRows(all, "1").map(({ id }) => id)).toEqual(["1.a"]);
    expect(selectRows(all, "memory").map(({ id }) => id)).toEqual(all.slice(4).map(({ id }) => id));
    expect(selectRows(all, "hit")).toEqual([]);
  });

  test("every row has an id of its own: a number of the design or a word, a dot, a name", () => {
    const ids = rows.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(
      ids.filter(
        (id) => !/^(\d+|cache|journal|memory|queries)\.[a-z0-9]+(-[a-zA-Z0-9]+)*$/.test(id),
      ),
    ).toEqual([]);
    const numbers = new Set(ids.map((id) => id.slice(0, id.indexOf("."))));
    expect([...numbers]).toEqual(expect.arrayContaining(["5", "6", "7", "8", "9", "13"]));
  });
});

describe("the report", () => {
  test("numbers have three digits and no exponent", () => {
    expect([8.2149, 57.349, 1204.2].map(digits)).toEqual(["8.21", "57.3", "1,204"]);
  });

  test("a target is met at or below it, and a peer without one has no verdict", () => {
    expect(verdict(result, "string key")).toBe("met");
    expect(verdict(result, "slow")).toBe("missed");
    expect(verdict(result, "number key")).toBe("");
  });

  test("the table shows every contender with ratio, target and verdict", () => {
    const text = tableText([result]);
    const line = (name: string): string => text.split("\n").find((one) => one.includes(name)) ?? "";
    expect(line("string key")).toMatch(
      /10\.0 .*9\.00 – 12\.0 .*30 % .*0\.25, 0\.20 – 0\.30 .*≤ 0\.4 .*met/,
    );
    expect(line("slow")).toContain("missed");
    expect(line("broken")).toContain("not timed");
  });

  test("what is lost is said: a faster peer, a missed target, a wrong contender", () => {
    expect(losses([result])).toEqual([
      "6.hit-vs-string-key: broken was not timed: block 3 holds the bytes of block 4.",
      "6.hit-vs-string-key: 10.0 ns a hit against 5.00 of number key, " +
        "ratio 2.00 (a comparison, no target).",
      "6.hit-vs-string-key: 10.0 ns a hit against 20.0 of slow, ratio 0.50 (target 0.3, missed).",
    ]);
  });
});

describe("a close call", () => {
  test("is a target within the middle half of the rounds, met or missed", () => {
    expect(closeCalls([result])).toEqual([
      "6.hit-vs-string-key: ratio 0.50 to slow, rounds 0.25 – 0.60, target 0.3.",
    ]);
  });
});

describe("workloads", () => {
  test("a seed gives the same numbers every time", () => {
    const [one, two] = [seededRandom(7), seededRandom(7)];
    const numbers = Array.from({ length: 100 }, one);
    expect(Array.from({ length: 100 }, two)).toEqual(numbers);
    expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
  });

  test("shuffled blocks are all blocks, each once, in another order", () => {
    const blocks = [...shuffledBlocks(1000)];
    expect(new Set(blocks).size).toBe(1000);
    expect(Math.max(...blocks)).toBe(999);
    expect(blocks.slice(0, 10)).not.toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

describe("the allocators' gate", () => {
  test("chunks that overlap, are misaligned or null are refused", () => {
    expect(() => checkChunks([8, 72, 136])).not.toThrow();
    expect(() => checkChunks([8, 64])).toThrow("overlap");
    expect(() => checkChunks([8, 8])).toThrow("overlap");
    expect(() => checkChunks([12])).toThrow("aligned");
    expect(() => checkChunks([0])).toThrow("returned 0");
  });

  test("an allocator that forgets what was freed is refused", () => {
    let top = 0;
    const alloc = (): number => (top += 64);
    expect(() => checkReuse(10, alloc, () => {})).toThrow("not used again");
    expect(() =>
      checkReuse(10, alloc, () => {
        top = 0;
      }),
    ).not.toThrow();
  });
});
