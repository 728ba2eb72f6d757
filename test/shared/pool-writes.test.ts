// Pages that change, and the ways back to storage: one buffer, a relation, all; by flushing and by
// evicting. What a view shows of each state, and what the calls say they did.

import { describe, expect, it } from "vitest";
import type { Backend, BuffercacheRow, BufferId, Relation } from "../../bindings/index.ts";
import {
  codeOf,
  everywhere,
  openPool,
  type Pool,
  stamp,
  stamped,
  stampOf,
} from "../support/pool.ts";

function row(pool: Pool, buffer: BufferId): BuffercacheRow | undefined {
  return pool.shared.views.pgBuffercache().find(({ bufferid }) => bufferid === buffer + 1);
}

/** The number in a page as storage has it. */
function inStorage(pool: Pool, relation: Relation, block: number): number | undefined {
  const page = new Uint8Array(8192);
  pool.storage.readSync(relation.number, 0, block, page);
  return page[4096];
}

/** The buffer of a page, unpinned again. */
function bufferOf({ buffers }: Backend, relation: Relation, block: number): BufferId {
  const buffer = buffers.pin(relation.id, block);
  buffers.unpin(buffer);
  return buffer;
}

describe.each(everywhere)("changing, %s", (_, checked, files) => {
  it("marks the page dirty at its beginning, and others see it when its lock is given back", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 2);
    a.buffers.flushSync();
    const buffer = a.buffers.pin(relation.id, 0);
    expect(row(pool, buffer)).toMatchObject({ isdirty: false, pinning_backends: 1 });
    a.buffers.lockExclusive(buffer);
    a.buffers.beginChange(buffer);
    expect(row(pool, buffer)).toMatchObject({ isdirty: true });
    a.buffers.bytes(buffer)[4096] = 77;
    const reading = b.buffers.read(relation, 0);
    a.buffers.endChange(buffer);
    a.buffers.unlock(buffer);
    a.buffers.unpin(buffer);
    using page = await reading;
    expect(page.bytes[4096]).toBe(77);
    expect(inStorage(pool, relation, 0)).toBe(1);
    expect(pool.shared.views.pgBuffercacheSummary()).toMatchObject({
      buffers_dirty: 1,
      buffers_pinned: 1,
    });
  });

  it("is undone by undoChange(), and by whatever the change throws", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stamped(backend, "t", 1);
    const buffer = backend.buffers.pin(relation.id, 0);
    backend.buffers.lockExclusive(buffer);
    backend.buffers.beginChange(buffer);
    backend.buffers.bytes(buffer).fill(0xee);
    backend.buffers.undoChange(buffer);
    backend.buffers.unlock(buffer);
    backend.buffers.unpin(buffer);
    const failing = (bytes: Uint8Array): void => {
      bytes.fill(0xdd);
      throw new Error("changed my mind");
    };
    expect(() => backend.buffers.changeSync(relation, 0, failing)).toThrow("changed my mind");
    await expect(backend.buffers.change(relation, 0, failing)).rejects.toThrow("changed my mind");
    expect(stampOf(backend, relation, 0)).toBe(1);
    expect(backend.buffers.leakedPins()).toEqual([]);
  });

  it("wants the exclusive lock, one page at a time, and an end", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const { buffers } = backend;
    const relation = stamped(backend, "t", 2);
    const [first, second] = [buffers.pin(relation.id, 0), buffers.pin(relation.id, 1)];
    expect(codeOf(() => buffers.beginChange(first))).toBe("55000");
    buffers.lockShare(first);
    expect(codeOf(() => buffers.beginChange(first))).toBe("55000");
    buffers.unlock(first);
    buffers.lockExclusive(first);
    buffers.lockExclusive(second);
    expect(codeOf(() => buffers.endChange(first))).toBe("55000");
    expect(codeOf(() => buffers.undoChange(first))).toBe("55000");
    buffers.beginChange(first);
    expect(codeOf(() => buffers.beginChange(second))).toBe("55000");
    expect(codeOf(() => buffers.endChange(second))).toBe("55000");
    expect(codeOf(() => buffers.unlock(first))).toBe("55000");
    buffers.endChange(first);
    for (const buffer of [first, second]) {
      buffers.unlock(buffer);
      buffers.unpin(buffer);
    }
    expect(buffers.leakedPins()).toEqual([]);
  });
});

describe.each(everywhere)("flushing, %s", (_, checked, files) => {
  it("one buffer writes it if it is dirty, and says whether it was", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stamped(backend, "t", 2);
    const buffer = bufferOf(backend, relation, 1);
    const writes = Number(pool.io().writes);
    expect(backend.buffers.flushBufferSync(buffer)).toBe(true);
    expect(inStorage(pool, relation, 1)).toBe(2);
    expect(inStorage(pool, relation, 0)).toBe(0);
    expect(row(pool, buffer)).toMatchObject({ isdirty: false, pinning_backends: 0 });
    expect(backend.buffers.flushBufferSync(buffer)).toBe(false);
    expect(Number(pool.io().writes) - writes).toBe(1);
    for (const none of [64, 9999, 0.5]) {
      expect(codeOf(() => backend.buffers.flushBufferSync(none as BufferId))).toBe("22023");
    }
  });

  it("a relation writes its dirty pages and no others", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const [one, two] = [stamped(backend, "one", 6), stamped(backend, "two", 4)];
    expect(backend.buffers.flushSync(one)).toBe(6);
    expect([0, 5].map((block) => inStorage(pool, one, block))).toEqual([1, 6]);
    expect(inStorage(pool, two, 0)).toBe(0);
    expect(pool.shared.views.pgBuffercacheSummary().buffers_dirty).toBe(4);
    stamp(backend, one, 3, 33);
    expect(await backend.buffers.flush(one)).toBe(1);
    expect(inStorage(pool, one, 3)).toBe(33);
    expect(backend.buffers.flushSync(one)).toBe(0);
  });

  it("all writes what is dirty of every relation, whoever changed it", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const [one, two] = [stamped(a, "one", 3), stamped(b, "two", 4)];
    expect(a.buffers.flushSync()).toBe(7);
    expect(pool.shared.views.pgBuffercacheSummary()).toMatchObject({
      buffers_used: 7,
      buffers_dirty: 0,
    });
    expect([inStorage(pool, one, 2), inStorage(pool, two, 3)]).toEqual([3, 4]);
  });

  it("waits for a page that is being changed, and writes it as it is then", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 1);
    const buffer = a.buffers.pin(relation.id, 0);
    a.buffers.lockExclusive(buffer);
    a.buffers.beginChange(buffer);
    const flushing = b.buffers.flush(relation);
    a.buffers.bytes(buffer)[4096] = 55;
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(inStorage(pool, relation, 0)).toBe(0);
    a.buffers.endChange(buffer);
    a.buffers.unlock(buffer);
    expect(await flushing).toBe(1);
    expect(inStorage(pool, relation, 0)).toBe(55);
    a.buffers.unpin(buffer);
  });

  it("does not make durable: only a checkpoint does, whose statistics count it", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    stamped(backend, "t", 5);
    const before = pool.shared.views.pgStatCheckpointer();
    backend.buffers.flushSync();
    expect(backend.checkpointSync().buffersWritten).toBe(0);
    const after = pool.shared.views.pgStatCheckpointer();
    expect(after.num_done - before.num_done).toBe(1);
    expect(after.buffers_written).toBe(before.buffers_written);
  });
});

describe.each(everywhere)("evicting, %s", (_, checked, files) => {
  it("one buffer says whether it went, and whether it was written for that", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stamped(backend, "t", 3);
    const [dirty, clean] = [bufferOf(backend, relation, 0), bufferOf(backend, relation, 1)];
    backend.buffers.flushBufferSync(clean);
    expect(backend.buffers.evictSync(clean)).toEqual({
      buffer_evicted: true,
      buffer_flushed: false,
    });
    expect(backend.buffers.evictSync(dirty)).toEqual({
      buffer_evicted: true,
      buffer_flushed: true,
    });
    expect(backend.buffers.evictSync(dirty)).toEqual({
      buffer_evicted: false,
      buffer_flushed: false,
    });
    expect(inStorage(pool, relation, 0)).toBe(1);
    expect(row(pool, dirty)).toMatchObject({ relfilenode: null, isdirty: null, usagecount: null });
    expect(stampOf(backend, relation, 0)).toBe(1);
    expect(codeOf(() => backend.buffers.evictSync(9999 as BufferId))).toBe("22023");
  });

  it("a pinned buffer stays, dirty as it is, whoever has it pinned", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 2);
    const buffer = b.buffers.pin(relation.id, 0);
    for (const { buffers } of [a, b]) {
      expect(buffers.evictSync(buffer)).toEqual({ buffer_evicted: false, buffer_flushed: false });
    }
    expect(row(pool, buffer)).toMatchObject({ isdirty: true, pinning_backends: 1 });
    b.buffers.unpin(buffer);
    expect(a.buffers.evictSync(buffer).buffer_evicted).toBe(true);
  });

  it("a relation, and all, count evicted, flushed and skipped buffers", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const [one, two] = [stamped(a, "one", 6), stamped(a, "two", 4)];
    a.buffers.flushSync(one);
    stamp(a, one, 2, 22);
    const pinned = b.buffers.pin(one.id, 0);
    const evicted = a.buffers.evictAllSync(one);
    expect(evicted).toEqual({ buffers_evicted: 5, buffers_flushed: 1, buffers_skipped: 1 });
    expect(pool.shared.views.pgBuffercacheSummary().buffers_used).toBe(5);
    const all = { buffers_evicted: 4, buffers_flushed: 4, buffers_skipped: 1 };
    expect(a.buffers.evictAllSync()).toEqual(all);
    b.buffers.unpin(pinned);
    expect(a.buffers.evictAllSync()).toEqual({
      buffers_evicted: 1,
      buffers_flushed: 0,
      buffers_skipped: 0,
    });
    expect(pool.shared.views.pgBuffercacheSummary()).toMatchObject({
      buffers_used: 0,
      buffers_unused: 64,
      usagecount_avg: null,
    });
    expect([stampOf(b, one, 2), stampOf(b, two, 3)]).toEqual([22, 4]);
  });

  it("by misses in a small pool loses nothing that was changed", async () => {
    const pool = await openPool({ checked, files, settings: { shared_buffers: 16 } });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 100);
    for (let block = 0; block < 100; block += 3) stamp(b, relation, block, 200);
    for (let block = 0; block < 100; block += 1) {
      expect(stampOf(a, relation, block)).toBe(block % 3 === 0 ? 200 : block + 1);
    }
    expect(Number(pool.io().evictions)).toBeGreaterThan(100);
    // Neighbours are written by one call.
    expect(Number(pool.io().write_bytes)).toBeGreaterThanOrEqual(100 * 8192);
    expect(Number(pool.io().writes)).toBeLessThan(Number(pool.io().write_bytes) / 8192);
  });
});
