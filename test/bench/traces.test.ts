// Orders of reading that caches are compared on: each has the distribution it is named after, and
// is the same every time.

import { describe, expect, test } from "vitest";
import { loopTrace, scanPollutedTrace, skewedTrace, zipfRanks } from "../../bench/traces.ts";

const READS = 200_000;
const PAGES = 1000;

/** How often each number comes up. */
function frequencies(numbers: Uint32Array, below: number): number[] {
  const found = new Array<number>(below).fill(0);
  for (const number of numbers) found[number] = (found[number] ?? 0) + 1;
  return found;
}

describe("Zipf order", () => {
  test("rank r comes up in proportion to 1 / (r + 1) ^ s", () => {
    const exponent = 0.99;
    const counts = frequencies(zipfRanks(READS, PAGES, exponent), PAGES);
    const weights = counts.map((_, rank) => 1 / (rank + 1) ** exponent);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const rank of [0, 1, 2, 9, 99]) {
      const expected = (READS * (weights[rank] ?? 0)) / total;
      // Six standard deviations of a count.
      expect(Math.abs((counts[rank] ?? 0) - expected)).toBeLessThan(6 * Math.sqrt(expected));
    }
    const upperHalf = counts.slice(PAGES / 2).reduce((sum, count) => sum + count, 0);
    const share = weights.slice(PAGES / 2).reduce((sum, weight) => sum + weight, 0) / total;
    expect(upperHalf / READS).toBeCloseTo(share, 2);
  });

  test("an exponent of 0 favours nobody, and every rank is within its items", () => {
    const counts = frequencies(zipfRanks(READS, 10, 0), 10);
    expect(counts).toHaveLength(10);
    for (const count of counts) expect(count / READS).toBeCloseTo(0.1, 2);
    expect([...zipfRanks(100, 1)]).toEqual(new Array(100).fill(0));
  });

  test("a seed gives the same ranks every time, another seed others", () => {
    expect(zipfRanks(1000, PAGES, 0.99, 7)).toEqual(zipfRanks(1000, PAGES, 0.99, 7));
    expect(zipfRanks(1000, PAGES, 0.99, 7)).not.toEqual(zipfRanks(1000, PAGES, 0.99, 8));
  });
});

describe("traces", () => {
  test("a skewed trace is a Zipf order of pages whose places are shuffled", () => {
    const ranks = frequencies(zipfRanks(READS, PAGES), PAGES);
    const pages = frequencies(skewedTrace(READS, PAGES), PAGES);
    expect(pages).not.toEqual(ranks);
    expect(pages.toSorted((a, b) => a - b)).toEqual(ranks.toSorted((a, b) => a - b));
  });

  test("scans read the file in order, each going on where the last one ended", () => {
    const trace = scanPollutedTrace(20_000, 3000);
    const skewed = skewedTrace(20_000, 3000);
    expect(trace.slice(0, 4096)).toEqual(skewed.slice(0, 4096));
    expect([...trace.slice(4096, 4100)]).toEqual([0, 1, 2, 3]);
    expect(trace[4096 + 2047]).toBe(2047);
    expect(trace.slice(6144, 10_240)).toEqual(skewed.slice(6144, 10_240));
    expect([trace[10_240], trace[10_240 + 951], trace[10_240 + 952]]).toEqual([2048, 2999, 0]);
  });

  test("a loop begins again after its last page", () => {
    expect([...loopTrace(7, 3)]).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });
});
