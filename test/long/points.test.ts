// Ends a real worker at every point of every operation; test/workers/points.ts says what that is.
//
// PALLOC_POINTS=10 takes every tenth. Each operation prints how many there were.

import { describe, expect, it } from "vitest";
import { Points } from "../workers/points.ts";
import { operations } from "../workers/points.worker.ts";

const { PALLOC_POINTS = "1" } = process.env;
const STRIDE = Number(PALLOC_POINTS);

describe.each(operations)("a worker that ends in the midst of: %s", (operation) => {
  it("leaves nothing behind, at any of its points", async () => {
    const points = await Points.open(operation);
    const begin = performance.now();
    let ends = 0;
    try {
      const count = await points.count();
      for (let point = 1; point <= count; point += STRIDE) {
        const { ended, residue } = await points.endAt(point);
        expect(residue, `point ${point} of ${count}`).toEqual([]);
        if (ended) ends += 1;
      }
      const seconds = ((performance.now() - begin) / 1000).toFixed(0);
      process.stdout.write(`${operation}: ${ends} ends at ${count} points, ${seconds} s\n`);
      expect(ends).toBeGreaterThan(count / STRIDE / 2);
    } finally {
      await points.close();
    }
  });
});
