// Heavyweight locks through the public API: what is taken is held, who waits is woken, errors are
// PostgreSQL's, and whoever ends in any way gives back what he had. Backends of one thread wait for
// each other in promises.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Backend, DeadlockError, LockTag, Settings } from "../../bindings/index.ts";
import { codeOf, openPool, type Pool } from "../support/pool.ts";
import { builds } from "../support/region.ts";

const relation: LockTag = { type: "relation", relation: 16384 };
const object: LockTag = { type: "object", classid: 1259, objid: 7 };

describe.each(builds)("backend.locks, %s build", (_, checked) => {
  const open = (settings: Settings = {}): Promise<Pool> =>
    openPool({ checked, files: false, settings });

  async function two(settings: Settings = {}): Promise<[Pool, Backend, Backend]> {
    const pool = await open(settings);
    return [pool, pool.attach(), pool.attach()];
  }

  it("a lock is held until its object is disposed, once", async () => {
    const [, a, b] = await two();
    const held = a.locks.acquireSync(relation, "AccessExclusiveLock");
    expect(b.locks.tryAcquireSync(relation, "AccessShareLock")).toBeUndefined();
    held[Symbol.dispose]();
    held.release();
    expect(b.locks.tryAcquireSync(relation, "AccessShareLock")).toBeDefined();
    expect(a.locks.rows().map(({ mode, slot }) => [mode, slot])).toEqual([
      ["AccessShareLock", b.slot],
    ]);
  });

  it("who waits in a promise is granted the lock, in the order of asking", async () => {
    const [pool, a, b] = await two();
    const c = pool.attach();
    const held = a.locks.acquireSync(object, "ShareLock");
    const order: string[] = [];
    const waits = [
      b.locks.acquire(object, "ExclusiveLock").then((lock) => {
        order.push("b");
        lock.release();
      }),
      c.locks.acquire(object, "ShareLock").then((lock) => {
        order.push("c");
        lock.release();
      }),
    ];
    expect(order).toEqual([]);
    held.release();
    await Promise.all(waits);
    expect(order).toEqual(["b", "c"]);
    expect(a.locks.rows()).toEqual([]);
  });

  it("a lock that may not be waited for is refused, with what it is on", async () => {
    const [, a, b] = await two();
    a.locks.acquireSync(relation, "ShareLock");
    expect(() => b.locks.acquireSync(relation, "RowExclusiveLock", { noWait: true })).toThrow(
      "could not obtain lock on relation 16384 of database 1",
    );
    expect(codeOf(() => b.locks.acquireSync(relation, "ExclusiveLock", { noWait: true }))).toBe(
      "55P03",
    );
  });

  it("lock_timeout ends a wait in either form, and leaves the queue", async () => {
    const [, a, b] = await two({ lock_timeout: 30 });
    a.locks.acquireSync(object, "ShareLock");
    const message = "canceling statement due to lock timeout";
    expect(() => b.locks.acquireSync(object, "ExclusiveLock")).toThrow(message);
    await expect(b.locks.acquire(object, "ExclusiveLock")).rejects.toMatchObject({
      code: "55P03",
      message,
    });
    await expect(b.locks.acquire(object, "ExclusiveLock", { timeout: 1 })).rejects.toThrow(message);
    expect(a.locks.rows()).toHaveLength(1);
  });

  it("a signal ends a wait, and who stood behind it goes on", async () => {
    const [pool, a, b] = await two();
    const c = pool.attach();
    a.locks.acquireSync(object, "ShareLock");
    const controller = new AbortController();
    const { signal } = controller;
    const first = b.locks.acquire(object, "ExclusiveLock", { signal });
    const second = c.locks.acquire(object, "ShareLock");
    controller.abort("enough");
    await expect(first).rejects.toMatchObject({ code: "57014", cause: "enough" });
    expect((await second).mode).toBe("ShareLock");
  });

  it("two who want to upgrade are a deadlock, told with both processes", async () => {
    const [, a, b] = await two();
    const mine = a.locks.acquireSync(object, "ShareLock");
    const other = b.locks.acquireSync(object, "ShareLock");
    const upgrade = a.locks.acquire(object, "ExclusiveLock");
    let error: DeadlockError | undefined;
    try {
      b.locks.acquireSync(object, "ExclusiveLock");
    } catch (thrown) {
      error = thrown as DeadlockError;
    }
    const [{ pid = -1 } = {}] = a.locks.rows();
    const what = "ExclusiveLock on object 7 of class 1259 of database 1";
    expect(error).toMatchObject({
      code: "40P01",
      message: "deadlock detected",
      detail:
        `Process ${pid} waits for ${what}; blocked by process ${pid}.\n` +
        `Process ${pid} waits for ${what}; blocked by process ${pid}.`,
    });
    expect(error?.processes.map(({ slot, blockedBySlot }) => [slot, blockedBySlot])).toEqual([
      [b.slot, a.slot],
      [a.slot, b.slot],
    ]);
    other.release();
    (await upgrade).release();
    mine.release();
  });

  it("a full table refuses one lock more with PostgreSQL's hint, and nothing is stuck", async () => {
    const [pool, a, b] = await two({ max_locks_per_transaction: 10 });
    const total = 10 * pool.shared.settings.slots;
    for (let key = 0; key < total; key += 1) a.locks.advisoryLockSync(key);
    const error = { code: "53200", message: "out of shared memory" };
    await expect(b.locks.advisoryLock(total)).rejects.toMatchObject({
      ...error,
      hint: 'You might need to increase "max_locks_per_transaction".',
    });
    expect(codeOf(() => b.locks.acquireSync(relation, "ShareLock"))).toBe("53200");
    a.locks.advisoryUnlockAll();
    b.locks.acquireSync(relation, "ShareLock").release();
    expect(a.locks.rows()).toEqual([]);
  });

  it("a second task of a backend takes its turn as a promise, and throws where it would block", async () => {
    const [, a, b] = await two();
    const first = a.locks.acquireSync(object, "ShareLock");
    const second = a.locks.acquireSync(relation, "ShareLock");
    const before = b.locks.acquire(object, "ExclusiveLock");
    const after = b.locks.acquire(relation, "ExclusiveLock");
    expect(codeOf(() => b.locks.acquireSync(relation, "ExclusiveLock"))).toBe("55P03");
    second.release();
    first.release();
    expect([(await before).tag, (await after).tag]).toEqual([object, relation]);
  });

  it("a backend that detaches gives back its locks and its place in a queue", async () => {
    const [pool, a, b] = await two();
    const c = pool.attach();
    a.locks.acquireSync(object, "ShareLock");
    const lost = b.locks.acquire(object, "ExclusiveLock");
    const gained = c.locks.acquire(object, "ExclusiveLock");
    b.detach();
    await expect(lost).rejects.toMatchObject({ code: "55000" });
    a.detach();
    expect((await gained).mode).toBe("ExclusiveLock");
  });

  it("releaseAll gives back a level, the session's stay", async () => {
    const [, a] = await two();
    a.locks.acquireSync(object, "ShareLock", { level: "transaction" });
    a.locks.acquireSync(relation, "AccessShareLock", { level: "transaction" });
    a.locks.advisoryLockSync(1);
    a.locks.releaseAll("transaction");
    expect(a.locks.rows().map(({ locktype }) => locktype)).toEqual(["advisory"]);
    a.locks.releaseAll();
    expect(a.locks.rows()).toEqual([]);
  });

  it("what is not held is not given back, with PostgreSQL's warning", async () => {
    const [pool, a] = await two();
    expect(a.locks.advisoryUnlock(1n)).toBe(false);
    a.locks.advisoryXactLockSync(2);
    expect(a.locks.advisoryUnlock(2)).toBe(false);
    expect(a.locks.releaseSync(relation, "ShareLock")).toBe(false);
    expect(a.locks.unlockRelationSync(5, "AccessShareLock")).toBe(false);
    expect(pool.warnings).toEqual([
      "you don't own a lock of type ExclusiveLock",
      "you don't own a lock of type ExclusiveLock",
      "you don't own a lock of type ShareLock",
      "you don't own a lock of type AccessShareLock",
    ]);
  });

  it("one key of 64 bits and two of 32 never meet, and numbers are keys as bigints are", async () => {
    const [, a, b] = await two();
    a.locks.advisoryLockSync(-2n);
    expect(b.locks.tryAdvisoryLock([-1, -2])).toBe(true);
    expect(b.locks.tryAdvisoryLock(-2)).toBe(false);
    const columns = a.locks
      .rows()
      .map(({ classid, objid, objsubid }) => [classid, objid, objsubid]);
    expect(columns.sort()).toEqual([
      [0xffffffff, 0xfffffffe, 1],
      [0xffffffff, 0xfffffffe, 2],
    ]);
    expect(a.locks.advisoryUnlock(-2)).toBe(true);
    a.locks.advisoryLockSharedSync(2 ** 40 + 5);
    expect(b.locks.tryAdvisoryLockShared(2n ** 40n + 5n)).toBe(true);
    expect(b.locks.tryAdvisoryXactLock(2n ** 40n + 5n)).toBe(false);
    expect(() => a.locks.tryAdvisoryLock(0.5)).toThrow(RangeError);
  });

  it("rows and blocking pids say who holds, who waits and since when", async () => {
    const [, a, b] = await two();
    a.locks.lockRelationSync(16384, "AccessShareLock");
    const before = Date.now();
    const wait = b.locks.acquire(relation, "AccessExclusiveLock");
    a.locks.lockRelationSync(16385, "RowExclusiveLock");
    const [fast, held, waiting] = a.locks.rows();
    expect(fast).toMatchObject({ relation: 16385, fastpath: true, granted: true, waitstart: null });
    expect(held).toMatchObject({ mode: "AccessShareLock", fastpath: false, slot: a.slot });
    expect(waiting).toMatchObject({ mode: "AccessExclusiveLock", granted: false, slot: b.slot });
    expect(waiting?.waitstart?.getTime()).toBeGreaterThanOrEqual(before);
    expect(a.locks.blockingPids(waiting?.pid ?? 0)).toEqual([held?.pid]);
    expect(a.locks.unlockRelationSync(16384, "AccessShareLock")).toBe(true);
    (await wait).release();
  });
});

describe("a script whose only work is an awaited lock", () => {
  it("is not cut short while a worker holds it", () => {
    const file = fileURLToPath(new URL("await-lock.mjs", import.meta.url));
    const options = { encoding: "utf8", timeout: 30_000 } as const;
    const { status, stdout, stderr } = spawnSync(process.execPath, [file], options);
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "locked\n", stderr: "" });
  });
});
