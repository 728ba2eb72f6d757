// Proves that the numbers are PostgreSQL's: every recorded history replays without a difference on
// both builds. Along the way the block provider keeps its promise about footprint.

import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { builds } from "../support/process.ts";
import { replay } from "./replay.ts";
import { judge, readTraces } from "./run.ts";
import { missingAbilities, type Trace } from "./trace.ts";

/** Peak footprint over the peak of live block bytes, at most. */
const FOOTPRINT_BOUND = 1.25;

const directory = fileURLToPath(new URL("traces", import.meta.url));
const traces = readTraces(directory).filter((item): item is Trace => "ops" in item);
const complete = traces.filter((trace) => missingAbilities(trace).length === 0);

describe.each(builds)("recorded histories (%s)", (_, checked) => {
  it.each(complete.map((trace) => [trace.name, trace] as const))("%s replays", (_name, trace) => {
    expect(() => replay(trace, { checked })).not.toThrow();
  });
});

describe("the directory of traces", () => {
  it("holds every recorded history, and none needs an ability that is not there", () => {
    expect(traces).toHaveLength(46);
    expect(complete).toHaveLength(46);
  });
});

describe("footprint", () => {
  it.each(complete.map((trace) => [trace.name, trace] as const))(
    "of %s stays within 1.25 of its live block bytes",
    (_name, trace) => {
      const { peakFootprintBytes, peakLiveBytes } = replay(trace, {
        checked: false,
      }).blockStatistics();
      expect(peakFootprintBytes / peakLiveBytes).toBeLessThanOrEqual(FOOTPRINT_BOUND);
    },
  );
});

describe("a replay", () => {
  const trace = (ops: unknown[]): Trace =>
    ({ format: 1, name: "made-up", about: "", requires: [], ops }) as unknown as Trace;
  const create = ["c", 0, -1, "aset", 0, 8192, 8388608, -1];

  it.each([
    ["space", ["a", 0, 0, 1, 24, 1, 32]],
    ["counter", ["s", 0, 1, 8192, 8057, 0, 136, 8192, 1]],
    ["emptiness", ["s", 0, 1, 8192, 8056, 0, 136, 8192, 0]],
    ["traffic", ["y", 1, 0, 0, 8192, 2]],
    ["child", ["h", 0, -1, [1]]],
    ["refusal", ["!", "size", ["a", -1, 0, 100]]],
  ])("reports a %s that differs", (_what, entry) => {
    const { result, reason } = judge(trace([create, entry]));
    expect(result).toBe("failed");
    expect(reason).toMatch(/^\[release\] made-up: entry 1 .*expected/);
  });

  it("reports a chunk that is not where it was", () => {
    const ops = [create, ["a", 0, 0, 1, 16, 1, 32], ["a", 1, 0, 1, 16, 1, 56]];
    expect(judge(trace(ops)).reason).toContain("expected offset 56 in block 1, got 48");
  });

  it("skips what it has no ability for, and names it", () => {
    const ops = [["c", 0, -1, "tape", 0, 8192, 8388608, -1]];
    expect(judge(trace(ops))).toMatchObject({ result: "skipped", reason: 'kind "tape"' });
  });
});
