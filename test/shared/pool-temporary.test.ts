// Temporary relations through the public calls: every call of the pool takes them, no other backend
// sees them, no checkpoint has them, and nothing is left of them when their backend has gone.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FIRST_TEMP_RELATION } from "../../assembly/common/constants.ts";
import type { BufferId } from "../../bindings/index.ts";
import {
  codeOf,
  everywhere,
  openPool,
  type Pool,
  stamp,
  stamped,
  stampOf,
} from "../support/pool.ts";

const TEMP_BUFFERS = 100;

/** Numbers of the temporary relations that storage has. */
function inStorage({ storage }: Pool): number[] {
  return storage.relationsSync().filter((number) => number >= FIRST_TEMP_RELATION);
}

describe.each(everywhere)("%s", (_, checked, files) => {
  it("hides a shared relation of its name from its backend, and from no other", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const shared = stamped(a, "t", 2);
    const own = stamped(a, "t", 5, true);
    stamp(a, own, 0, 99);
    expect(a.openRelationSync("t").number).toBe(own.number);
    expect(b.openRelationSync("t").number).toBe(shared.number);
    expect([stampOf(a, own, 0), stampOf(b, shared, 0), stampOf(a, shared, 0)]).toEqual([99, 1, 1]);
    expect(a.relationNamesSync()).toEqual(["t"]);
    expect(codeOf(() => a.createRelationSync("t", { temporary: true }))).toBe("42P07");
    a.dropRelationSync("t");
    expect(a.openRelationSync("t").number).toBe(shared.number);
    a.dropRelationSync("t");
    expect(codeOf(() => b.openRelationSync("t"))).toBe("42P01");
  });

  it("is not seen by other backends, which may have one of that name, and not the pages either", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const own = stamped(a, "t", 1, true);
    expect(codeOf(() => b.openRelationSync("t"))).toBe("42P01");
    expect(b.relationNamesSync()).toEqual([]);
    for (const read of [
      () => b.buffers.readSync(own, 0),
      () => b.buffers.pin(own.id, 0),
      () => b.buffers.extendSync(own),
      () => b.buffers.flushSync(own),
      () => b.truncateSync(own, 0),
    ]) {
      expect(read).toThrow(
        expect.objectContaining({
          code: "0A000",
          message: "cannot access temporary tables of other sessions",
        }),
      );
    }
    const theirs = stamped(b, "t", 1, true);
    stamp(b, theirs, 0, 7);
    expect([stampOf(a, own, 0), stampOf(b, theirs, 0)]).toEqual([1, 7]);
  });

  it("is extended, pinned, changed, read, written, cut and dropped by the pool's calls", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = backend.createRelationSync("t", { temporary: true });
    expect(backend.buffers.extendSync(relation)).toBe(0);
    expect(await backend.buffers.extend(relation, 4)).toBe(1);
    for (let block = 0; block < 5; block += 1) stamp(backend, relation, block, block + 1);
    const pinned = backend.buffers.pin(relation.id, 2);
    expect(pinned).toBeLessThan(0);
    for (const take of ["lockShare", "lockExclusive", "lockForCleanup"] as const) {
      backend.buffers[take](pinned);
      backend.buffers.unlock(pinned);
    }
    for (const take of ["tryLockShare", "tryLockExclusive", "tryLockForCleanup"] as const) {
      expect(backend.buffers[take](pinned)).toBe(true);
    }
    backend.buffers.beginChange(pinned);
    backend.buffers.bytes(pinned)[4096] = 50;
    backend.buffers.undoChange(pinned);
    expect(backend.buffers.bytes(pinned)[4096]).toBe(3);
    expect(backend.buffers.flushBufferSync(pinned)).toBe(true);
    expect(backend.buffers.flushBufferSync(pinned)).toBe(false);
    expect(backend.buffers.flushSync(relation)).toBe(4);
    expect(await backend.buffers.flush(relation)).toBe(0);
    expect(codeOf(() => backend.truncateSync(relation, 2))).toBe("55006");
    backend.buffers.unpin(pinned);
    backend.truncateSync(relation, 2);
    expect(relation.blocksSync()).toBe(2);
    backend.buffers.extendSync(relation, 3);
    expect([0, 1, 2, 4].map((block) => stampOf(backend, relation, block))).toEqual([1, 2, 0, 0]);
    const zeroed = backend.buffers.pinZeroed(relation.id, 3);
    backend.buffers.unpin(zeroed);
    backend.renameRelationSync("t", "u");
    expect(stampOf(backend, backend.openRelationSync("u"), 1)).toBe(2);
    backend.dropRelationSync("u");
    expect(backend.relationNamesSync()).toEqual([]);
    expect(inStorage(pool)).toEqual([]);
  });

  it("has temp_buffers pages in memory at most: others are written and read again", async () => {
    const settings = { temp_buffers: TEMP_BUFFERS };
    const pool = await openPool({ checked, files, settings });
    const backend = pool.attach();
    const relation = stamped(backend, "t", TEMP_BUFFERS + 20, true);
    expect(pool.io("temp relation")).toMatchObject({ writes: 20, evictions: 20 });
    const pins = Array.from({ length: TEMP_BUFFERS }, (_each, block) =>
      backend.buffers.pin(relation.id, block),
    );
    expect(new Set(pins).size).toBe(TEMP_BUFFERS);
    expect(() => backend.buffers.pin(relation.id, TEMP_BUFFERS)).toThrow(
      expect.objectContaining({ code: "53000", message: "no empty local buffer available" }),
    );
    for (const pin of pins) backend.buffers.unpin(pin);
    expect(stampOf(backend, relation, TEMP_BUFFERS + 19)).toBe(TEMP_BUFFERS + 20);
    expect(backend.buffers.leakedPins()).toEqual([]);
  });

  it("takes no shared buffer, and its traffic is counted as that of temp relations", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const shared = pool.io();
    const relation = stamped(backend, "t", 10, true);
    backend.buffers.flushSync(relation);
    stampOf(backend, relation, 0);
    expect(pool.shared.views.pgBuffercacheSummary().buffers_used).toBe(0);
    expect(pool.io("temp relation")).toMatchObject({
      object: "temp relation",
      context: "normal",
      extends: 1,
      extend_bytes: 10 * 8192,
      reads: 10,
      read_bytes: 10 * 8192,
      writes: 10,
      write_bytes: 10 * 8192,
      hits: 1,
      evictions: 0,
    });
    expect(pool.io()).toEqual(shared);
  });

  it("is in no checkpoint, and gone with its backend, pinned pages and dirty ones too", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 10, true);
    expect(a.checkpointSync().buffersWritten).toBe(0);
    const control = new TextDecoder().decode(pool.storage.readControlSync());
    expect(control).toContain('"relations": {}');
    a.buffers.pin(relation.id, 0);
    expect(inStorage(pool)).toEqual([relation.number]);
    a.detach();
    expect(pool.warnings).toEqual([expect.stringContaining("rel=t, blockNum=0, refcount=1")]);
    expect(inStorage(pool)).toEqual([]);
    if (files) expect(readdirSync(join(pool.directory, "base"))).toEqual([]);
    expect(codeOf(() => a.buffers.pin(relation.id, 0))).not.toBe("nothing");
    expect(b.relationNamesSync()).toEqual([]);
  });

  it("reads a damaged page as the mode and the parameters say", async () => {
    const spoil = (page: Uint8Array): void => {
      page[3000] = (page[3000] ?? 0) ^ 1;
    };
    for (const [given, mode, stamp] of [
      [{}, "normal", undefined],
      [{}, "zeroOnError", 0],
      [{ zero_damaged_pages: true }, "normal", 0],
      [{ ignore_checksum_failure: true }, "normal", 1],
    ] as const) {
      const settings = { temp_buffers: TEMP_BUFFERS, ...given };
      const pool = await openPool({ checked, files, settings });
      const backend = pool.attach();
      const relation = stamped(backend, "t", TEMP_BUFFERS + 1, true);
      // Its first page is not in memory any more.
      pool.damage(relation, 0, spoil);
      const read = (): number | undefined => {
        using page = backend.buffers.readSync(relation, 0, { mode });
        return page.bytes[4096];
      };
      if (stamp === undefined) expect(codeOf(read)).toBe("XX001");
      else expect(read()).toBe(stamp);
      expect(pool.warnings).toHaveLength(stamp === undefined ? 0 : 1);
      expect(backend.buffers.leakedPins()).toEqual([]);
    }
  });

  it("refuses buffers that are none of its own", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    for (const call of ["unpin", "lockShare", "unlock", "beginChange", "bytes"] as const) {
      expect(codeOf(() => backend.buffers[call](-1 as BufferId))).toBe("22023");
    }
    expect(codeOf(() => backend.buffers.flushBufferSync(-1 as BufferId))).toBe("22023");
    expect(codeOf(() => backend.buffers.evictSync(-1 as BufferId))).toBe("22023");
  });
});
