// A sample of the points of every operation at which a worker may end; test/long visits them all.

import { describe, expect, it } from "vitest";
import { Points } from "./points.ts";
import { operations } from "./points.worker.ts";

describe.each(operations)("a worker that ends in the midst of: %s", (operation) => {
  it("leaves nothing behind, at its first point and in the middle", async () => {
    const points = await Points.open(operation);
    try {
      const count = await points.count();
      for (const point of [1, Math.ceil(count / 2)]) {
        const { ended, residue } = await points.endAt(point);
        expect(ended).toBe(true);
        expect(residue, `point ${point} of ${count}`).toEqual([]);
      }
    } finally {
      await points.close();
    }
  });
});
