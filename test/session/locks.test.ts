// Proves that heavyweight locks of a transaction go when they ought to: with the savepoint that
// took them if it is rolled back, else with the transaction, and before it if somebody gives them
// back; that others then get them; that what a session does and calls itself is seen by others, and
// that it ends when others ask for it.

import { describe, expect, it } from "vitest";
import { type Backend, type LockTag, Session } from "../../bindings/index.ts";
import { codeOf } from "../support/pool.ts";
import { builds } from "../support/region.ts";
import { openSession } from "../support/session.ts";

const tag = (objid: number): LockTag => ({ type: "object", classid: 1, objid });
const level = "transaction";

/** Numbers of the objects that a backend has locked, and of advisory keys. */
function heldBy(backend: Backend): number[] {
  return backend.locks
    .rows()
    .filter((row) => row.granted)
    .map((row) => Number(row.objid))
    .sort((left, right) => left - right);
}

describe.each(builds)("locks of a session, %s build", (_, checked) => {
  it("stay to the end of the transaction, whoever took them, and go then", async () => {
    const { session, backend, messages } = await openSession(checked);
    const { locks } = backend;
    session.begin();
    locks.acquireSync(tag(1), "ShareLock", { level });
    session.query("q", () => void locks.acquireSync(tag(2), "ShareLock", { level }));
    locks.advisoryXactLockSync(77);
    expect(heldBy(backend)).toEqual([1, 2, 77]);
    session.commit();
    expect(heldBy(backend)).toEqual([]);
    session.query("alone", () => {
      locks.acquireSync(tag(3), "ShareLock", { level });
      expect(heldBy(backend)).toEqual([3]);
    });
    expect([heldBy(backend), messages]).toEqual([[], []]);
  });

  it("go with the savepoint that took them, and with no other", async () => {
    const { session, backend } = await openSession(checked);
    const { locks } = backend;
    const take = (objid: number): void =>
      void locks.acquireSync(tag(objid), "ShareLock", { level });
    session.begin();
    take(1);
    session.savepoint("a");
    take(1);
    take(2);
    session.savepoint("b");
    take(3);
    session.release("b");
    expect(heldBy(backend)).toEqual([1, 2, 3]);
    session.rollbackTo("a");
    expect(heldBy(backend)).toEqual([1]);
    take(4);
    session.query("q", () => take(5));
    session.rollbackTo("a");
    expect(heldBy(backend)).toEqual([1]);
    session.rollback();
    expect(heldBy(backend)).toEqual([]);
  });

  it("that several savepoints took go with the last of them", async () => {
    const { session, backend } = await openSession(checked);
    const take = (): void => void backend.locks.acquireSync(tag(1), "ShareLock", { level });
    session.begin();
    session.savepoint("a");
    take();
    session.savepoint("b");
    take();
    session.rollbackTo("b");
    expect(heldBy(backend)).toEqual([1]);
    session.rollbackTo("a");
    expect(heldBy(backend)).toEqual([]);
    session.commit();
  });

  it("that are given back before the end are not given back twice", async () => {
    const { session, backend } = await openSession(checked);
    const { locks } = backend;
    session.begin();
    const lock = locks.acquireSync(tag(1), "ShareLock", { level });
    session.savepoint("a");
    lock.release();
    expect(heldBy(backend)).toEqual([]);
    locks.acquireSync(tag(1), "ShareLock");
    session.commit();
    expect(heldBy(backend)).toEqual([1]);
    locks.releaseAll("session");
  });

  it("on relations count as all others", async () => {
    const { session, backend, relation } = await openSession(checked);
    const held = (): number => backend.locks.rows().length;
    session.begin();
    session.savepoint("a");
    backend.locks.lockRelationSync(relation.number, "AccessShareLock", level);
    backend.locks.lockRelationSync(relation.number, "RowExclusiveLock", level);
    expect(held()).toBe(2);
    backend.locks.unlockRelationSync(relation.number, "RowExclusiveLock", level);
    expect(held()).toBe(1);
    session.rollbackTo("a");
    expect(held()).toBe(0);
    session.rollback();
  });

  it("are others' as soon as a query fails", async () => {
    const { session, backend, pool } = await openSession(checked);
    const other = pool.attach();
    session.begin();
    backend.locks.acquireSync(tag(1), "ExclusiveLock", { level });
    const got = other.locks.acquire(tag(1), "ExclusiveLock");
    const fails = (): void => {
      throw new RangeError("no");
    };
    expect(codeOf(() => session.query("q", fails))).toBe("RangeError");
    expect((await got).mode).toBe("ExclusiveLock");
    session.rollback();
  });

  it("are waited for as long as the session's lock_timeout says", async () => {
    const { session, backend, pool } = await openSession(checked);
    const other = pool.attach();
    other.locks.acquireSync(tag(1), "ExclusiveLock");
    session.set("lock_timeout", 20);
    const waiting = backend.locks.acquire(tag(1), "ExclusiveLock");
    await expect(waiting).rejects.toMatchObject({ code: "55P03" });
  });
});

describe("others", () => {
  it("see what a session does, and what it calls itself", async () => {
    const { session, backend, pool } = await openSession(false);
    const other = pool.attach();
    const row = () => other.activity().find(({ slot }) => slot === backend.slot);
    session.set("application_name", "report");
    expect(row()).toMatchObject({ application_name: "report", state: "idle" });
    session.begin();
    expect(row()?.state).toBe("idle in transaction");
    session.query("sum", () => {
      expect(row()).toMatchObject({ state: "active", query: "sum" });
    });
    expect(codeOf(() => session.savepoint("a"))).toBe("nothing");
    expect(codeOf(() => session.release("b"))).toBe("3B001");
    expect(row()?.state).toBe("idle in transaction (aborted)");
    session.close();
    expect(row()).toMatchObject({ application_name: "", state: "idle" });
  });

  it("cancel its query, and end it", async () => {
    const { session, backend, pool, relation, messages } = await openSession(false);
    const other = pool.attach();
    const query = session.query("long", async (running) => {
      for (;;) {
        running.checkInterrupts();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
    other.cancelBackend({ slot: backend.slot });
    await expect(query).rejects.toMatchObject({ code: "57014" });
    session.begin();
    backend.buffers.pin(relation.id, 1);
    backend.locks.acquireSync(tag(1), "ExclusiveLock", { level });
    other.terminateBackend({ slot: backend.slot });
    const lock = await other.locks.acquire(tag(1), "ExclusiveLock");
    expect(lock.mode).toBe("ExclusiveLock");
    expect([session.closed, codeOf(() => session.rollback())]).toEqual([true, "57P01"]);
    expect([messages, pool.warnings]).toEqual([[], []]);
  });

  it("end it while a query is under way", async () => {
    const { session, backend, pool, relation } = await openSession(false);
    const other = pool.attach();
    session.begin();
    const query = session.query("long", async (running) => {
      backend.buffers.pin(relation.id, 1);
      for (;;) {
        running.checkInterrupts();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
    other.terminateBackend({ slot: backend.slot });
    await expect(query).rejects.toMatchObject({ code: "57P01" });
    expect([session.closed, codeOf(() => session.begin())]).toEqual([true, "57P01"]);
    expect(pool.warnings).toEqual([]);
    expect(codeOf(() => Session.open(backend))).toBe("55000");
  });
});
