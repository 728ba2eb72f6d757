// Proves that a failing block request does no damage, wherever it comes: the same random work is
// done again and again with the n-th request failing, for every n, and with every n-th failing.
// After a failure the heap is walked, every chunk is read, and every context serves again.

import { describe, expect, it } from "vitest";
import { builds, type OpenedMemory, openMemory } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";
import { Churn } from "./churn.ts";

const SEEDS = 12;
const STEPS = 200;

describe.each(builds)("a failing block request (%s)", (_, checked) => {
  /** One memory for all histories of a test: each leaves it as it found it. */
  function eachHistory(run: (opened: OpenedMemory, seed: number) => void): void {
    const opened = openMemory(checked, { maxMemory: "4MB" });
    for (let history = 0; history < SEEDS; history += 1) run(opened, seed + history);
    opened.memory.dispose();
  }

  /** Lets request number `n` fail; whether it came. */
  function failOnce(opened: OpenedMemory, from: number, n: number): boolean {
    const churn = new Churn(opened, new Random(from));
    opened.inside.exports.injectFaults(n, 1);
    let failed = false;
    for (let step = 0; step < STEPS && !failed; step += 1) failed = churn.step() !== undefined;
    opened.inside.exports.injectFaults(0, 0);
    if (failed) {
      churn.check();
      churn.demandUsable();
      for (let step = 0; step < STEPS / 4; step += 1) churn.step();
      churn.check();
    }
    churn.clear();
    return failed;
  }

  it("leaves every context usable, whichever request of a history fails", () => {
    let failures = 0;
    eachHistory((opened, from) => {
      // Ends when the history has fewer requests than n.
      for (let n = 0; failOnce(opened, from, n); n += 1) failures += 1;
      expect(opened.inside.exports.checkHeap(), `seed ${from}`).toBe(0);
    });
    expect(failures).toBeGreaterThan(SEEDS * 20);
  });

  it.each([1, 2, 3, 5, 7])("does no damage when it is every %i. one", (n) => {
    eachHistory((opened, from) => {
      const churn = new Churn(opened, new Random(from));
      let failures = 0;
      opened.inside.exports.injectFaults(n - 1, 1);
      for (let step = 0; step < STEPS * 2; step += 1) {
        if (churn.step() === undefined) continue;
        failures += 1;
        churn.check();
        opened.inside.exports.injectFaults(n - 1, 1);
      }
      opened.inside.exports.injectFaults(0, 0);
      // With n = 1 no context ever comes to be, and there is none to ask.
      expect(failures, `seed ${from}`).toBeGreaterThan(0);
      churn.demandUsable();
      churn.clear();
    });
  });

  it("is not told from a memory that really is full", () => {
    const opened = openMemory(checked, { maxMemory: "128kB" });
    const churn = new Churn(opened, new Random(seed));
    let failures = 0;
    for (let step = 0; step < 4_000; step += 1) {
      if (churn.step() === undefined) continue;
      failures += 1;
      churn.check();
    }
    expect(failures).toBeGreaterThan(100);
    churn.clear();
    expect(opened.memory.blockStatistics().liveBlocks).toBeLessThan(20);
    expect(opened.inside.exports.checkHeap()).toBe(0);
  });
});
