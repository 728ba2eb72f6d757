// Prewarming: what is in the pool afterwards, what storage was asked for, what is refused.

import { describe, expect, it } from "vitest";
import { builds } from "../support/region.ts";
import { withStamped } from "../support/streams.ts";

const settings = { shared_buffers: 128 };

describe.each(builds)("%s build", (_, checked) => {
  it("into buffers: the blocks are in the pool, and nothing is pinned", async () => {
    await withStamped({ checked, settings }, async ({ backend, relation }) => {
      const pool = backend.buffers;
      const inPool = (): number[] =>
        Array.from({ length: 64 }, (_unused, block) => block).filter(
          (block) => pool.prefetch(relation, block) !== undefined,
        );
      expect(backend.prewarmSync(relation, { first: 10, last: 19 })).toBe(10);
      expect(inPool()).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
      expect(await backend.prewarm(relation)).toBe(64);
      expect(inPool()).toHaveLength(64);
      expect(pool.pinnedBuffers()).toBe(0);
    });
  });
});

describe("modes", () => {
  it("read: storage reads every block once, many at a time, and the pool has none", async () => {
    await withStamped({ checked: true, settings }, ({ backend, relation, hooks, storage }) => {
      const read: number[] = [];
      hooks.readvSync = (number, fork, block, into) => {
        for (let n = 0; n < into.length; n += 1) read.push(block + n);
        storage.readvSync(number, fork, block, into);
      };
      const steps: [number, number][] = [];
      const onProgress = (done: number, total: number): void => void steps.push([done, total]);
      expect(backend.prewarmSync(relation, { mode: "read", onProgress })).toBe(64);
      expect(read).toEqual(Array.from({ length: 64 }, (_, block) => block));
      expect(steps).toEqual([[64, 64]]);
      expect(backend.views.pgBuffercacheSummary().buffers_used).toBe(0);
    });
  });

  it("prefetch: storage gets hints for all blocks, if it takes any", async () => {
    await withStamped({ checked: true, settings }, ({ backend, relation }) => {
      expect(() => backend.prewarmSync(relation, { mode: "prefetch" })).toThrow(
        expect.objectContaining({ code: "0A000" }),
      );
    });
    const takesHints = { checked: true, settings, hints: true };
    await withStamped(takesHints, ({ backend, relation, hooks }) => {
      const hints: [number, number][] = [];
      hooks.prefetch = (_number, _fork, block, count) => void hints.push([block, count]);
      expect(backend.prewarmSync(relation, { mode: "prefetch", first: 40 })).toBe(24);
      expect(hints).toEqual([
        [40, 16],
        [56, 8],
      ]);
    });
  });

  it("progress is told now and then, and at the end", async () => {
    await withStamped({ checked: true, settings, blocks: 600 }, async ({ backend, relation }) => {
      const steps: number[] = [];
      await backend.prewarm(relation, { onProgress: (done) => void steps.push(done) });
      expect(steps).toEqual([256, 512, 600]);
    });
  });

  it("blocks that the relation does not have are refused, and an empty one has none", async () => {
    await withStamped({ checked: true, settings }, ({ backend, relation }) => {
      for (const wrong of [{ first: 64 }, { last: 64 }, { first: -1 }, { last: 1.5 }]) {
        expect(() => backend.prewarmSync(relation, wrong)).toThrow(
          expect.objectContaining({ code: "22023" }),
        );
      }
      expect(backend.prewarmSync(relation, { first: 9, last: 3 })).toBe(0);
      expect(backend.prewarmSync(backend.createRelationSync("empty"))).toBe(0);
    });
  });
});
