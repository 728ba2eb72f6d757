// Work on whole relations: longer, shorter, gone. Every backend and every thread sees it at once,
// what is pinned is refused with nothing changed, and what was cut off never comes back.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SharedMemory } from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { withThisMethod } from "../support/io-methods.ts";
import {
  codeOf,
  everywhere,
  openPool,
  type Pool,
  stamp,
  stamped,
  stampOf,
} from "../support/pool.ts";
import { Remote } from "../workers/commands.ts";

/** Blocks of a relation that have a buffer, ascending. */
function cached(pool: Pool, number: number): unknown[] {
  return pool.shared.views
    .pgBuffercache()
    .filter(({ relfilenode }) => relfilenode === number)
    .map(({ relblocknumber }) => relblocknumber)
    .sort((a, b) => Number(a) - Number(b));
}

describe.each(everywhere)("extending, %s", (_, checked, files) => {
  it("by one and by many gives the first new block; new blocks are zeroes", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = a.createRelationSync("t");
    const before = pool.io();
    expect(a.buffers.extendSync(relation)).toBe(0);
    expect(a.buffers.extendSync(relation, 70)).toBe(1);
    expect(await b.buffers.extend(relation, 2)).toBe(71);
    expect(b.openRelationSync("t").blocksSync()).toBe(73);
    for (const block of [0, 1, 70, 72]) expect(stampOf(b, relation, block)).toBe(0);
    const after = pool.io();
    expect(Number(after.extends) - Number(before.extends)).toBe(3);
    expect(Number(after.extend_bytes) - Number(before.extend_bytes)).toBe(73 * 8192);
  });

  it("by backends at one time gives each blocks of its own", async () => {
    const pool = await openPool({ checked, files });
    const backends = [pool.attach(), pool.attach(), pool.attach()];
    const [first] = backends;
    const relation = first?.createRelationSync("t");
    if (relation === undefined) throw new Error("no backend");
    const turns = Array.from({ length: 30 }, (_each, turn) => turn);
    const firsts = await Promise.all(
      turns.map((turn) => backends[turn % 3]?.buffers.extend(relation, 1 + (turn % 4)) ?? 0),
    );
    const given = firsts.flatMap((block, turn) =>
      Array.from({ length: 1 + (turn % 4) }, (_each, at) => block + at),
    );
    expect(given.sort((a, b) => a - b)).toEqual(given.map((_each, index) => index));
    expect(relation.blocksSync()).toBe(given.length);
  });

  it("by no whole number of blocks is a RangeError, and more than there can be too", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    for (const temporary of [false, true]) {
      const relation = backend.createRelationSync(`t${temporary}`, { temporary });
      for (const blocks of [0, -1, 1.5, Number.NaN, 2 ** 32]) {
        expect(codeOf(() => backend.buffers.extendSync(relation, blocks))).toBe("RangeError");
      }
      expect(relation.blocksSync()).toBe(0);
    }
  });
});

describe.each(everywhere)("truncating, %s", (_, checked, files) => {
  it("cuts off the pages behind the new end, changed or not, and keeps those before it", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 10);
    a.checkpointSync();
    stamp(b, relation, 3, 33);
    stamp(b, relation, 8, 88);
    a.truncateSync(relation, 6);
    expect(b.openRelationSync("t").blocksSync()).toBe(6);
    expect(cached(pool, relation.number)).toEqual([0, 1, 2, 3, 4, 5]);
    expect([0, 3, 5].map((block) => stampOf(b, relation, block))).toEqual([1, 33, 6]);
    expect(codeOf(() => b.buffers.readSync(relation, 6))).toBe("XX001");
    expect(b.buffers.pinnedBuffers()).toBe(0);
  });

  it("to 0 leaves an empty relation, and blocks grown again are zeroes", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 5);
    a.buffers.flushSync();
    await a.truncate(relation, 0);
    expect(relation.blocksSync()).toBe(0);
    expect(cached(pool, relation.number)).toEqual([]);
    b.buffers.extendSync(relation, 5);
    for (let block = 0; block < 5; block += 1) {
      using page = a.buffers.readSync(relation, block);
      expect(page.bytes.every((byte) => byte === 0)).toBe(true);
    }
    stamp(b, relation, 4, 44);
    a.checkpointSync();
    a.buffers.evictAllSync();
    expect(stampOf(a, relation, 4)).toBe(44);
  });

  it("to its own length changes nothing; to more, or no whole number, is a RangeError", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    for (const temporary of [false, true]) {
      const relation = stamped(backend, `t${temporary}`, 3, temporary);
      backend.truncateSync(relation, 3);
      for (const blocks of [4, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        expect(() => backend.truncateSync(relation, blocks)).toThrow(RangeError);
      }
      expect(relation.blocksSync()).toBe(3);
      expect([0, 1, 2].map((block) => stampOf(backend, relation, block))).toEqual([1, 2, 3]);
    }
  });

  it("a page that this backend has pinned is refused with 55006, and nothing has changed", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    for (const temporary of [false, true]) {
      const relation = stamped(backend, `t${temporary}`, 10, temporary);
      const buffer = backend.buffers.pin(relation.id, 7);
      expect(codeOf(() => backend.truncateSync(relation, 2))).toBe("55006");
      expect(relation.blocksSync()).toBe(10);
      for (let block = 0; block < 10; block += 1) {
        expect(stampOf(backend, relation, block)).toBe(block + 1);
      }
      // The page pinned stays: it lies before the new end.
      backend.truncateSync(relation, 8);
      backend.buffers.unpin(buffer);
      backend.truncateSync(relation, 2);
      expect(relation.blocksSync()).toBe(2);
    }
  });

  it("waits for a pin of another backend, and goes on when it is given back", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 10);
    const buffer = b.buffers.pin(relation.id, 9);
    let done = false;
    const waiting = a.truncate(relation, 1).then(() => {
      done = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([done, relation.blocksSync()]).toEqual([false, 10]);
    b.buffers.unpin(buffer);
    await waiting;
    expect(relation.blocksSync()).toBe(1);
  });

  it("is part of the next checkpoint, and of none before", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stamped(backend, "t", 6);
    backend.checkpointSync();
    backend.truncateSync(relation, 2);
    backend.buffers.extendSync(relation, 1);
    backend.checkpointSync();
    backend.buffers.evictAllSync();
    expect([0, 1, 2].map((block) => stampOf(backend, relation, block))).toEqual([1, 2, 0]);
  });
});

describe.each(everywhere)("dropping, %s", (_, checked, files) => {
  it("a relation of few blocks is looked up block by block; its pages and no others go", async () => {
    const pool = await openPool({ checked, files, settings: { shared_buffers: 256 } });
    const [a, b] = [pool.attach(), pool.attach()];
    const small = stamped(a, "small", 5); // below a 32nd of the pool
    const other = stamped(a, "other", 5);
    b.dropRelationSync("small");
    expect(cached(pool, small.number)).toEqual([]);
    expect(cached(pool, other.number)).toEqual([0, 1, 2, 3, 4]);
    expect(codeOf(() => a.openRelationSync("small"))).toBe("42P01");
    expect(a.relationNamesSync()).toEqual(["other"]);
    expect(stampOf(a, other, 4)).toBe(5);
  });

  it("a relation of many blocks is found by looking through the pool", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const other = stamped(backend, "other", 5);
    const large = stamped(backend, "large", 100);
    backend.dropRelationSync("large");
    expect(cached(pool, large.number)).toEqual([]);
    expect(pool.shared.views.pgBuffercacheSummary().buffers_pinned).toBe(0);
    expect([0, 4].map((block) => stampOf(backend, other, block))).toEqual([1, 5]);
    // Every frame that it had can be used again.
    const next = stamped(backend, "next", 64);
    expect(stampOf(backend, next, 63)).toBe(64);
    expect(backend.buffers.evictAllSync().buffers_skipped).toBe(0);
  });

  it("dirty pages are not written, and the files go at once unless a checkpoint knows them", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const known = stamped(backend, "known", 3);
    backend.checkpointSync();
    const unknown = stamped(backend, "unknown", 3);
    stamp(backend, known, 0, 9);
    const writes = pool.io().writes;
    backend.dropRelationSync("known");
    backend.dropRelationSync("unknown");
    expect(pool.io().writes).toBe(writes);
    const exist = (): boolean[] =>
      [known, unknown].map(({ number }) => pool.storage.existsSync(number, 0));
    expect(exist()).toEqual([true, false]);
    backend.checkpointSync();
    expect(exist()).toEqual([false, false]);
  });

  it("a pinned page is refused with 55006, and nothing has changed", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    for (const temporary of [false, true]) {
      const relation = stamped(backend, "t", 10, temporary);
      const page = backend.buffers.readSync(relation, 9);
      expect(codeOf(() => backend.dropRelationSync("t"))).toBe("55006");
      expect(page.bytes[4096]).toBe(10);
      page[Symbol.dispose]();
      expect(stampOf(backend, backend.openRelationSync("t"), 0)).toBe(1);
      await backend.dropRelation("t");
      expect(codeOf(() => backend.openRelationSync("t"))).toBe("42P01");
    }
  });

  it("a relation that is not there is 42P01", async () => {
    const pool = await openPool({ checked, files });
    expect(codeOf(() => pool.attach().dropRelationSync("t"))).toBe("42P01");
  });
});

describe("a page that another backend keeps pinned", () => {
  it("is refused with 55006 once it has been waited for long enough", async () => {
    const pool = await openPool({ checked: true, files: false });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 3);
    const buffer = b.buffers.pin(relation.id, 2);
    const refusals = await Promise.allSettled([a.truncate(relation, 0)]);
    expect(refusals).toMatchObject([{ status: "rejected", reason: { code: "55006" } }]);
    expect([0, 1, 2].map((block) => stampOf(a, relation, block))).toEqual([1, 2, 3]);
    b.buffers.unpin(buffer);
    a.truncateSync(relation, 0);
  });
});

/** Files as the built package opens them: a worker can load no other. */
async function builtFiles(directory: string): Promise<StorageManager> {
  const url = new URL("../../dist/bindings/storage/node-fs.js", import.meta.url);
  const built = (await import(url.href)) as { nodeFiles(directory: string): StorageManager };
  return built.nodeFiles(directory);
}

describe.each(everywhere)("threads, %s", (_, checked, files) => {
  const remotes: Remote[] = [];
  const open: SharedMemory[] = [];
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "palloc-pool-"));
  });
  afterEach(async () => {
    for (const remote of remotes.splice(0)) await remote.terminate();
    for (const shared of open.splice(0)) await shared.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it("see at once what another has cut off, extended and dropped", async () => {
    const settings = { shared_buffers: 64, max_connections: 3 };
    const storage = files ? await builtFiles(directory) : memoryStorage();
    const shared = await SharedMemory.create(withThisMethod({ settings, storage, checked }));
    open.push(shared);
    for (let count = 0; count < 2; count += 1) remotes.push(await Remote.attached(shared.handle));
    const [a, b] = remotes;
    if (a === undefined || b === undefined) throw new Error("no workers");
    await a.call("create", "t", 8);
    await a.call("increment", "t", 8, 100, 1);
    expect(await b.call("sum", "t", 8)).toBe(100);
    await a.call("truncate", "t", 0);
    expect(await b.call("blocks", "t")).toBe(0);
    await expect(b.call("read", "t", 0)).rejects.toMatchObject({ code: "XX001" });
    expect(await b.call("extend", "t", 3)).toBe(0);
    expect(await a.call("sum", "t", 3)).toBe(0);
    await b.call("drop", "t");
    await expect(a.call("read", "t", 0)).rejects.toMatchObject({ code: "42P01" });
  });
});
