// Proves that wasm and the twin agree: random histories of contexts of all kinds run on both, and
// after each step every address, every counter and the traffic with the block provider are the
// same. The memory is small, so that requests also fail. On a failure fast-check prints seed and a
// shrunk history: paste it into `worthKeeping` below.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatHistory,
  histories,
  parseHistory,
  randomSteps,
  type Step,
} from "../support/history.ts";
import { builds } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";
import { Comparison } from "./comparison.ts";

/** Histories that once told the two apart, or were hard. */
const worthKeeping = [
  "c0.1 a1.2000 a1.100 D1 c0.2 a1.2000 a1.9000 r1.20000 r1.10 f0",
  "c0.3 a1.8000 m0.1 a1.8000 a1.9000 m1.1 a1.20000 r2.40000 R0",
  "a0.9000 a0.9000 a0.9000 f1 r1.18000 f0 r0.27000 r0.100 X0",
  "c0.0 c1.0 c2.1 a3.50 p3.0 K0 D1 c0.1 c0.0 O0 R0",
  "a0.300000 a0.300000 a0.300000 a0.300000 f1 a0.200000 r0.600000 f0 f0",
  "g0.0 a1.600000 a1.100 f0 f0 a1.600000 a1.9000 f0 f0 a1.100 r0.20000 R1 D1",
  "b0.1 a1.0 a1.0 a1.2000 a1.900 A1.100.6 f0 r0.0 O1 a1.0 e1.4294967295.1",
  "s0.3 a1.0 a1.0 a1.0 f1 f1 f0 a1.9 a1.0 f0 r0.9 r0.0 A1.50.4 R1",
  "A0.100.6 g0.0 A1.9000.12 r0.50 r1.20000 r0.300 f1 f0 D1",
];

function run(checked: boolean, history: readonly Step[], every = 1): void {
  const comparison = new Comparison({ checked, every });
  for (const [index, step] of history.entries()) {
    try {
      comparison.step(step);
    } catch (cause) {
      throw new Error(`step ${index}, ${formatHistory([step])}: ${String(cause)}`, { cause });
    }
  }
  comparison.finish();
}

describe.each(builds)("wasm (%s) and twin", (_, checked) => {
  it("agree on every address and counter over random histories", { timeout: 120_000 }, () => {
    const property = fc.property(histories(250), (history) => run(checked, history));
    fc.assert(property, { seed, numRuns: checked ? 150 : 300, endOnFailure: false });
  });

  it("agree over one long history", { timeout: 120_000 }, () => {
    const steps = randomSteps(new Random(seed));
    const length = checked ? 8_000 : 40_000;
    const history = Array.from({ length }, () => steps.next().value);
    expect(() => run(checked, history, 4), `seed ${seed}`).not.toThrow();
  });

  it.each(worthKeeping)("agree on %s", (text) => {
    expect(() => run(checked, parseHistory(text))).not.toThrow();
  });
});

describe("the notation of histories", () => {
  it("reads what it writes", () => {
    fc.assert(
      fc.property(histories(40), (history) => {
        expect(parseHistory(formatHistory(history))).toEqual([...history]);
      }),
      { seed, numRuns: 50 },
    );
  });
});
