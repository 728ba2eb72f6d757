// A stack that overflows in the midst of a call into shared memory, at a point of every operation:
// on a worker, which lives on, and on the thread that owns the region. The call is torn between two
// of its steps, perhaps with a lock of a partition in its hand; so the backend refuses every
// further call, its owner gives back all that it held, and the pages are whole.

import { describe, expect, it } from "vitest";
import { Points } from "./points.ts";
import { operations } from "./points.worker.ts";

/** Points of an operation that this thread visits. */
const HERE = 12;
/** A backend is not one before it has attached. */
const torn = operations.filter((name) => name !== "attach");

describe.each(torn)("a stack that ends in the midst of: %s", (operation) => {
  it("is the end of a worker's backend, though not of the worker", async () => {
    const points = await Points.open(operation);
    try {
      const count = await points.count();
      const { ended, residue } = await points.overflowAt(Math.ceil(count / 2));
      expect(ended).toBe(true);
      expect(residue).toEqual([]);
    } finally {
      await points.close();
    }
  });

  it("is the end of a backend of the owner's thread, and the others go on", async () => {
    const points = await Points.open(operation);
    try {
      const count = await points.count();
      const stride = Math.max(1, Math.floor(count / HERE));
      for (let point = 1; point <= count; point += stride) {
        const { ended, residue } = await points.overflowHereAt(point);
        expect(residue, `point ${point} of ${count}`).toEqual([]);
        expect(ended, `point ${point} of ${count}`).toBe(true);
      }
    } finally {
      await points.close();
    }
  });
});
