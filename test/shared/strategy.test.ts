// Rings: their sizes, which frames they use again, and that a scan through one leaves the pages of
// others in the pool, where a scan without one does not.

import { describe, expect, it } from "vitest";
import {
  type Backend,
  initPage,
  type Relation,
  resolveSettings,
  type Settings,
  type Strategy,
} from "../../bindings/index.ts";
import { pinBudget, ringSize } from "../../bindings/shared/strategy.ts";
import { builds } from "../support/region.ts";
import { ioRow, withStamped } from "../support/streams.ts";

const BLOCKS = 300;
const BUFFERS = 128;
/** An eighth of the pool. */
const RING = 16;
const SETTINGS: Settings = { shared_buffers: BUFFERS };

describe("sizes", () => {
  const sizeOf = (kind: Parameters<typeof ringSize>[0], settings: Settings): number =>
    ringSize(kind, resolveSettings(settings));

  it("a bulk read has 256 kB and what it may read ahead, as far as its share of pins goes", () => {
    const large = { shared_buffers: "1GB", max_connections: 16 };
    expect(sizeOf("bulkread", large)).toBe(32 + 16 * 16);
    const noneAhead = { ...large, effective_io_concurrency: 0 };
    expect(sizeOf("bulkread", noneAhead)).toBe(32);
    expect(sizeOf("bulkread", { ...large, shared_buffers: 1000 })).toBe(
      Math.floor(1000 / (16 + 1 + 2)),
    );
    expect(sizeOf("bulkread", { ...large, shared_buffers: 512 })).toBe(32);
  });

  it("a bulk write has 16 MB, and maintenance what its setting says", () => {
    expect(sizeOf("bulkwrite", { shared_buffers: "1GB" })).toBe(2048);
    expect(sizeOf("vacuum", { shared_buffers: "1GB" })).toBe(256);
    expect(sizeOf("vacuum", { shared_buffers: "1GB", vacuum_buffer_usage_limit: "1MB" })).toBe(128);
    expect(sizeOf("vacuum", { shared_buffers: "1GB", vacuum_buffer_usage_limit: 0 })).toBe(0);
  });

  it("no ring has more than an eighth of the pool", () => {
    for (const kind of ["bulkread", "bulkwrite", "vacuum"] as const) {
      expect(sizeOf(kind, { shared_buffers: 128 })).toBe(16);
    }
  });

  it("the share of pins counts I/O workers where there are any", () => {
    const settings = { shared_buffers: 2200, max_connections: 16 };
    expect(pinBudget(resolveSettings(settings))).toBe(115);
    expect(pinBudget(resolveSettings({ ...settings, io_method: "worker" }))).toBe(100);
  });

  it("readers of a bulk read may pin all of its ring, others half", async () => {
    await withStamped({ checked: true, settings: SETTINGS }, ({ backend }) => {
      expect(backend.buffers.strategy("bulkread")).toMatchObject({ size: RING, pinLimit: RING });
      expect(backend.buffers.strategy("bulkwrite")).toMatchObject({ size: RING, pinLimit: 8 });
      expect(backend.buffers.strategy("vacuum")).toMatchObject({ size: RING, pinLimit: 8 });
    });
    const settings = { ...SETTINGS, vacuum_buffer_usage_limit: 0 };
    await withStamped({ checked: true, settings }, ({ backend }) => {
      expect(backend.buffers.strategy("vacuum")).toBeUndefined();
    });
  });
});

function scan(backend: Backend, relation: Relation, first: number, strategy?: Strategy): void {
  const options = strategy === undefined ? {} : { strategy };
  for (const _buffer of backend.buffers.readStream(relation, { first, end: BLOCKS }, options));
}

/** How many of the first `count` pages are in the pool. */
function stillThere(backend: Backend, relation: Relation, count: number): number {
  const { buffers } = backend;
  let found = 0;
  for (let block = 0; block < count; block += 1) {
    if (buffers.prefetch(relation, block) !== undefined) found += 1;
  }
  return found;
}

describe.each(builds)("%s build", (_, checked) => {
  const options = { checked, settings: SETTINGS, blocks: BLOCKS };
  /** Used once: what a scan without a ring pushes out first. */
  const OTHERS = 100;

  it("a scan through a ring leaves others' pages in the pool, one without does not", async () => {
    for (const kind of ["bulkread", "vacuum", undefined] as const) {
      await withStamped(options, ({ backend, relation }) => {
        const { buffers } = backend;
        for (let block = 0; block < OTHERS; block += 1) {
          buffers.unpin(buffers.pin(relation.id, block));
        }
        expect(stillThere(backend, relation, OTHERS)).toBe(OTHERS);
        scan(backend, relation, OTHERS, kind && buffers.strategy(kind));
        if (kind === undefined) expect(stillThere(backend, relation, OTHERS)).toBe(0);
        else expect(stillThere(backend, relation, OTHERS)).toBe(OTHERS);
      });
    }
  });

  it("a ring's frames are used again, and that is counted", async () => {
    await withStamped(options, ({ backend, relation }) => {
      scan(backend, relation, 0, backend.buffers.strategy("bulkread"));
      const { reuses, evictions, read_bytes, hits } = ioRow(backend, "bulkread");
      expect(read_bytes).toBe(BLOCKS * 8192);
      expect(reuses).toBe(BLOCKS - RING);
      expect(evictions).toBe(BLOCKS - RING);
      expect(hits).toBe(0);
      expect(ioRow(backend, "normal").reuses).toBeNull();
      const used = [...backend.views.eachBuffer()].filter((row) => row.relblocknumber !== null);
      expect(used).toHaveLength(RING);
      expect(used.every(({ usagecount }) => usagecount === 1)).toBe(true);
    });
  });

  it("a frame of the ring that others have come to use, or hold, stays theirs", async () => {
    await withStamped(options, ({ backend, relation }) => {
      const { buffers } = backend;
      const strategy = buffers.strategy("bulkread");
      if (strategy === undefined) throw new Error("no ring");
      for (let block = 0; block < RING; block += 1) {
        buffers.unpin(buffers.pinWith(strategy, relation.id, block));
      }
      buffers.unpin(buffers.pin(relation.id, 3));
      const held = buffers.pinWith(strategy, relation.id, 5);
      for (let block = RING; block < 3 * RING; block += 1) {
        buffers.unpin(buffers.pinWith(strategy, relation.id, block));
      }
      const left = Array.from({ length: RING }, (_unused, block) => block).filter(
        (block) => buffers.prefetch(relation, block) !== undefined,
      );
      expect(left).toEqual([3, 5]);
      buffers.unpin(held);
    });
  });

  it("a hit through a ring does not make a page dearer than a first use", async () => {
    await withStamped(options, ({ backend, relation }) => {
      for (let round = 0; round < 4; round += 1) {
        const strategy = backend.buffers.strategy("bulkread");
        const ring = strategy === undefined ? {} : { strategy };
        for (const _b of backend.buffers.readStream(relation, { first: 0, end: 10 }, ring));
      }
      const counts = [...backend.views.eachBuffer()].map((row) => row.usagecount);
      expect(counts.filter((count) => count !== null)).toEqual(Array(10).fill(1));
      expect(ioRow(backend, "bulkread").hits).toBe(30);
    });
  });

  it("a bulk read does not write the pages that were changed in its ring", async () => {
    await withStamped(options, ({ backend, relation }) => {
      const { buffers } = backend;
      const strategy = buffers.strategy("bulkread");
      if (strategy === undefined) throw new Error("no ring");
      for (let block = 0; block < RING; block += 1) {
        buffers.unpin(buffers.pinWith(strategy, relation.id, block));
      }
      for (let block = 0; block < RING; block += 2) {
        buffers.changeSync(relation, block, (bytes) => bytes.fill(9, 100, 101));
      }
      for (let block = RING; block < 2 * RING; block += 1) {
        buffers.unpin(buffers.pinWith(strategy, relation.id, block));
      }
      expect(ioRow(backend, "bulkread").writes).toBe(0);
      expect(stillThere(backend, relation, RING)).toBe(RING / 2);
      for (let block = 0; block < RING; block += 1) {
        using page = buffers.readSync(relation, block);
        expect(page.bytes[100]).toBe(block % 2 === 0 ? 9 : 0);
      }
    });
  });

  it("a load through a ring writes neighbours together, and what it pushes out is its own", async () => {
    await withStamped(options, ({ backend }) => {
      const { buffers } = backend;
      const relation = backend.createRelationSync("loaded");
      const strategy = buffers.strategy("bulkwrite");
      if (strategy === undefined) throw new Error("no ring");
      buffers.extendSync(relation, BLOCKS, strategy);
      for (let block = 0; block < BLOCKS; block += 1) {
        const buffer = buffers.pinZeroed(relation.id, block, strategy);
        buffers.beginChange(buffer);
        initPage(buffers.bytes(buffer));
        buffers.bytes(buffer)[3000] = block % 251;
        buffers.endChange(buffer);
        buffers.unlock(buffer);
        buffers.unpin(buffer);
      }
      const { writes, write_bytes, reuses } = ioRow(backend, "bulkwrite");
      expect(reuses).toBe(BLOCKS - RING);
      expect((write_bytes ?? 0) / 8192).toBeGreaterThanOrEqual(BLOCKS - RING);
      expect(writes).toBeLessThan(BLOCKS / 8);
      expect(buffers.pinnedBuffers()).toBe(0);
      let block = 0;
      for (const buffer of buffers.readStream(relation, { first: 0, end: BLOCKS })) {
        expect(buffers.bytes(buffer)[3000]).toBe(block % 251);
        block += 1;
      }
      expect(block).toBe(BLOCKS);
    });
  });
});
