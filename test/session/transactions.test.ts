// Proves when contexts and owners of a transaction begin and end, what a failure leaves until the
// rollback, what transactions as objects and as functions do, and that one that is over in any way
// leaves memory, pins and settings as they were. What commands answer is compared with PostgreSQL
// in server.test.ts.

import { describe, expect, it } from "vitest";
import { PallocError, type TransactionEvent } from "../../bindings/index.ts";
import { codeOf } from "../support/pool.ts";
import { builds } from "../support/region.ts";
import { openSession, treeOf } from "../support/session.ts";

const AT_REST = [
  "",
  "TopTransactionContext",
  "TransactionAbortContext",
  "MessageContext",
  "TopPortalContext",
  "GUCMemoryContext",
  "ErrorContext",
];

/** Before the first transaction. */
const AT_FIRST = AT_REST.filter((name) => !name.includes("Transaction"));

function failing(): never {
  throw new PallocError("22012", "division by zero");
}

describe.each(builds)("transactions, %s build", (_, checked) => {
  it("have the contexts of PostgreSQL, of its sizes, from its moments on", async () => {
    const { session, backend } = await openSession(checked);
    expect(treeOf(backend)).toEqual(AT_FIRST);
    session.begin();
    session.savepoint("a");
    session.savepoint("b");
    const inner = "TopTransactionContext/CurTransactionContext/CurTransactionContext";
    expect(treeOf(backend)).toEqual([
      ...AT_REST,
      "TopTransactionContext/CurTransactionContext",
      inner,
    ]);
    const sizes = backend.memory.rows().map(({ name, total_bytes }) => [name, total_bytes]);
    expect(Object.fromEntries(sizes)).toMatchObject({
      TopTransactionContext: 8192,
      TransactionAbortContext: 32768,
      CurTransactionContext: 8192,
      MessageContext: 8192,
      TopPortalContext: 8192,
    });
    session.commit();
    expect(treeOf(backend)).toEqual(AT_REST);
  });

  it("keep a released savepoint's context to the end if there is something in it", async () => {
    const { session, backend } = await openSession(checked);
    const transaction = session.begin();
    session.savepoint("empty");
    session.release("empty");
    expect(treeOf(backend)).toEqual(AT_REST);
    session.savepoint("full");
    transaction.context.alloc(10);
    session.release("full");
    expect(treeOf(backend)).toContain("TopTransactionContext/CurTransactionContext");
    session.commit();
    expect(treeOf(backend)).toEqual(AT_REST);
  });

  it("make their context current between queries, and give the old one back", async () => {
    const { session, backend } = await openSession(checked);
    const { memory } = backend;
    const mine = memory.top.createChild("mine");
    memory.switchTo(mine);
    const transaction = session.begin();
    expect(memory.current.name).toBe("TopTransactionContext");
    session.savepoint("a");
    expect(memory.current).toBe(transaction.context);
    expect(codeOf(() => session.query("q", failing))).toBe("22012");
    expect(memory.current.name).toBe("MessageContext");
    session.rollbackTo("a");
    expect(memory.current).toBe(transaction.context);
    session.commit();
    expect(memory.current).toBe(mine);
  });

  it("give back resources and settings at a failure, and memory at the rollback", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const transaction = session.begin();
    const kept = transaction.context.strdup("the error may be in here");
    session.set("work_mem", "1MB");
    backend.buffers.pin(relation.id, 3);
    expect(codeOf(() => session.query("q", failing))).toBe("22012");
    expect(backend.buffers.leakedPins()).toEqual([]);
    expect(session.show("work_mem")).toBe("4MB");
    expect(backend.memory.readString(kept)).toBe("the error may be in here");
    expect(treeOf(backend)).toContain("TopPortalContext/PortalContext(q)");
    expect(codeOf(() => session.query("again", () => 1))).toBe("25P02");
    expect(transaction.commit()).toBe("ROLLBACK");
    expect(treeOf(backend)).toEqual(AT_REST);
    expect(
      backend.memory.top
        .children()
        .find(({ name }) => name[3] === "T")
        ?.isEmpty(),
    ).toBe(true);
    expect(messages).toEqual([]);
  });

  it("do not undo changes of pages", async () => {
    const { session, backend, relation } = await openSession(checked);
    session.begin();
    backend.buffers.changeSync(relation, 0, (bytes) => bytes.fill(7, 4000, 4010));
    session.rollback();
    using page = backend.buffers.readSync(relation, 0);
    expect(page.bytes[4005]).toBe(7);
  });

  it("undo the change of a page that was not ended, and unlock it", async () => {
    const { session, backend, relation } = await openSession(checked);
    const { buffers } = backend;
    const work = (): void => {
      const buffer = buffers.pin(relation.id, 5);
      buffers.lockExclusive(buffer);
      buffers.beginChange(buffer);
      buffers.bytes(buffer).fill(9, 4000, 4010);
      failing();
    };
    expect(codeOf(() => session.query("q", work))).toBe("22012");
    expect(codeOf(() => buffers.changeSync(relation, 5, () => {}))).toBe("nothing");
    using page = buffers.readSync(relation, 5);
    expect(page.bytes[4005]).not.toBe(9);
  });

  it("as objects roll back at the end of their scope, unless committed", async () => {
    const { session } = await openSession(checked);
    {
      using transaction = session.begin();
      session.set("work_mem", "1MB");
      expect(transaction.isOpen).toBe(true);
    }
    expect(session.show("work_mem")).toBe("4MB");
    {
      using transaction = session.begin();
      session.set("work_mem", "2MB");
      expect(transaction.commit()).toBe("COMMIT");
      expect(codeOf(() => transaction.commit())).toBe("55000");
    }
    expect(session.show("work_mem")).toBe("2MB");
    const old = session.begin();
    session.rollback();
    session.begin();
    expect(old.isOpen).toBe(false);
    expect(codeOf(() => old.query("q", () => 1))).toBe("55000");
  });

  it("as functions commit what returns and roll back what throws, now or later", async () => {
    const { session } = await openSession(checked);
    const result = session.transaction((transaction) => {
      session.set("work_mem", "1MB");
      return transaction.query("q", () => 42);
    });
    expect([result, session.show("work_mem")]).toEqual([42, "1MB"]);
    const later = session.transaction(async (transaction) => {
      session.set("work_mem", "2MB");
      await Promise.resolve();
      return transaction.query("q", async () => 43);
    });
    expect(session.state).not.toBe("idle");
    expect([await later, session.show("work_mem")]).toEqual([43, "2MB"]);
    const failure = session.transaction(async () => {
      session.set("work_mem", "3MB");
      await Promise.resolve();
      failing();
    });
    await expect(failure).rejects.toMatchObject({ code: "22012" });
    expect([session.show("work_mem"), session.state]).toEqual(["2MB", "idle"]);
  });

  it("as functions refuse to pretend: what failed inside cannot be committed", async () => {
    const { session } = await openSession(checked);
    const swallowing = (): void => {
      session.transaction((transaction) => {
        session.set("work_mem", "1MB");
        expect(codeOf(() => transaction.query("q", failing))).toBe("22012");
      });
    };
    expect(codeOf(swallowing)).toBe("25P02");
    expect([session.show("work_mem"), session.state]).toEqual(["4MB", "idle"]);
  });

  it("have savepoints as functions, which are gone afterwards", async () => {
    const { session } = await openSession(checked);
    session.transaction((transaction) => {
      const attempt = (): void => {
        transaction.savepoint("try", () => {
          session.set("work_mem", "1MB");
          transaction.savepoint("try");
          failing();
        });
      };
      expect(codeOf(attempt)).toBe("22012");
      expect(session.show("work_mem")).toBe("4MB");
      expect(transaction.savepoint("try", () => session.set("work_mem", "2MB"))).toBe(undefined);
      expect(transaction.context.name).toBe("TopTransactionContext");
      expect(codeOf(() => transaction.release("try"))).toBe("3B001");
      session.backend.memory.current.alloc(1);
      transaction.rollback();
    });
    expect(session.show("work_mem")).toBe("4MB");
  });

  it("refuse commands from elsewhere while a function or a query is under way", async () => {
    const { session } = await openSession(checked);
    const query = session.query("long", async (running) => {
      await Promise.resolve();
      return running.name;
    });
    for (const command of [
      () => session.query("other", () => 1),
      () => session.begin(),
      () => session.commit(),
      () => session.transaction(() => 1),
      () => session.savepoint("a"),
    ]) {
      expect(codeOf(command)).toBe("55006");
    }
    expect(await query).toBe("long");
    session.transaction(() => {
      expect(codeOf(() => session.query("other", () => 1))).toBe("55006");
      expect(codeOf(() => session.commit())).toBe("55006");
      expect(codeOf(() => session.transaction(() => 1))).toBe("25001");
    });
    expect(session.query("free again", () => 1)).toBe(1);
  });

  it("tell listeners their moments, and fail when one of them objects", async () => {
    const { session, backend, relation } = await openSession(checked);
    const events: [TransactionEvent, number, number][] = [];
    const forget = session.onTransaction((event, level) => {
      events.push([event, level, backend.buffers.leakedPins().length]);
    });
    session.begin();
    session.savepoint("a");
    backend.buffers.pin(relation.id, 1);
    session.rollbackTo("a");
    backend.buffers.pin(relation.id, 2);
    session.commit();
    session.begin();
    session.rollback();
    forget();
    expect(events).toEqual([
      ["subAbort", 2, 1],
      ["subCommit", 2, 1],
      ["preCommit", 1, 0],
      ["commit", 1, 0],
      ["beforeLocks", 1, 0],
      ["abort", 1, 0],
    ]);
    session.onTransaction((event) => {
      if (event === "preCommit") failing();
    });
    session.begin();
    session.set("work_mem", "1MB");
    expect(codeOf(() => session.commit())).toBe("22012");
    expect([session.state, session.show("work_mem")]).toEqual(["idle", "4MB"]);
  });
});
