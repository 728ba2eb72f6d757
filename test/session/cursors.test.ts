// Proves what cursors keep from one fetch to the next, and when they end: their portals, contexts
// and pins; with their transaction, or after it if they are held.

import { describe, expect, it } from "vitest";
import { PallocError, type Query, type SessionMessage } from "../../bindings/index.ts";
import { codeOf } from "../support/pool.ts";
import { builds } from "../support/region.ts";
import { openSession, treeOf } from "../support/session.ts";

const PORTAL = "TopPortalContext/PortalContext";

function failing(): never {
  throw new PallocError("22012", "division by zero");
}

function texts(messages: readonly SessionMessage[]): string[] {
  return messages.map(({ severity, message }) => `${severity}: ${message}`);
}

describe.each(builds)("queries, %s build", (_, checked) => {
  it("as cursors keep their portal, its pins and its memory from fetch to fetch", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const { buffers } = backend;
    function* blocks(query: Query): Generator<number> {
      try {
        for (let block = 0; block < 5; block += 1) {
          const buffer = buffers.pin(relation.id, block);
          query.perTuple.reset();
          query.perTuple.alloc(100);
          yield block;
          buffers.unpin(buffer);
        }
      } finally {
        ended += 1;
      }
    }
    let ended = 0;
    expect(codeOf(() => session.cursor("c", blocks))).toBe("25P01");
    session.begin();
    const cursor = session.cursor("c", blocks);
    expect(codeOf(() => session.cursor("c", blocks))).toBe("42P03");
    session.rollback();
    expect(codeOf(() => cursor.fetch())).toBe("34000");
    session.begin();
    using rows = session.cursor("c", blocks);
    expect(rows.fetch(2)).toEqual([0, 1]);
    expect(buffers.leakedPins()).toMatchObject([{ block: 1, pins: 1 }]);
    session.query("between", () => void buffers.pin(relation.id, 9));
    expect(texts(messages.splice(0))).toEqual([expect.stringContaining("blockNum=9,")]);
    expect(buffers.leakedPins()).toMatchObject([{ block: 1, pins: 1 }]);
    expect(treeOf(backend)).toContain(`${PORTAL}(c)/ExecutorState/ExprContext`);
    expect(rows.fetch(9)).toEqual([2, 3, 4]);
    expect([rows.fetch(), ended, buffers.pinnedBuffers()]).toEqual([[], 1, 0]);
    rows.close();
    expect(codeOf(() => rows.fetch())).toBe("34000");
    session.rollback();
    expect(messages).toEqual([]);
  });

  it("as cursors end with what they were declared in, and close what they hold", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const { buffers } = backend;
    let open = 0;
    function* held(): Generator<number> {
      using page = buffers.readSync(relation, 3);
      open += 1;
      try {
        for (;;) yield page.block;
      } finally {
        open -= 1;
      }
    }
    session.begin();
    session.savepoint("a");
    session.cursor("released", held).fetch();
    session.release("a");
    session.savepoint("b");
    const undone = session.cursor("undone", held);
    undone.fetch();
    expect(open).toBe(2);
    session.rollbackTo("b");
    expect([open, codeOf(() => undone.fetch())]).toEqual([1, "34000"]);
    session.rollbackTo("b");
    session.commit();
    expect([open, buffers.pinnedBuffers(), messages]).toEqual([0, 0, []]);
  });

  it("as cursors that are held outlive their transaction, and nothing else of it does", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const { buffers } = backend;
    const ended: string[] = [];
    const blocks = function* (query: Query): Generator<number> {
      const chunk = query.context.alloc(8);
      try {
        for (let block = 0; block < 5; block += 1) {
          using _ = buffers.readSync(relation, block);
          expect(backend.memory.current.name).toBe("ExecutorState");
          yield block;
        }
      } finally {
        ended.push(`${chunk > 0}`);
      }
    };
    session.begin();
    const cursor = session.cursor("c", blocks, { hold: true });
    const other = session.cursor("other", blocks);
    expect([cursor.fetch(2), other.fetch()]).toEqual([[0, 1], [0]]);
    expect(buffers.pinnedBuffers()).toBe(2);
    expect(session.commit()).toBe("COMMIT");
    // The held one has made all of its rows, the other was ended by the commit.
    expect([ended, buffers.pinnedBuffers()]).toEqual([["true", "true"], 0]);
    const kept = (): string[] => treeOf(backend).filter((name) => name.includes("PortalContext("));
    expect(kept()).toEqual(["TopPortalContext/PortalContext(c)"]);
    expect(cursor.fetch(2)).toEqual([2, 3]);
    expect(codeOf(() => other.fetch())).toBe("34000");
    // In another transaction, also one that is rolled back; not in one that has failed.
    session.transaction(() => expect(cursor.fetch()).toEqual([4]));
    session.begin();
    expect(cursor.fetch(9)).toEqual([]);
    expect(codeOf(() => session.cursor("c", blocks))).toBe("42P03");
    expect(codeOf(() => cursor.fetch())).toBe("25P02");
    session.rollback();
    expect(cursor.fetch()).toEqual([]);
    cursor.close();
    expect(codeOf(() => cursor.fetch())).toBe("34000");
    expect([kept(), messages]).toEqual([[], []]);
  });

  it("as cursors are held without a block too, and go with a transaction that is rolled back", async () => {
    const { session, backend } = await openSession(checked);
    const alone = session.cursor("alone", () => [1, 2, 3].values(), { hold: true });
    expect([session.state, alone.fetch(2)]).toEqual(["idle", [1, 2]]);
    session.begin();
    const undone = session.cursor("undone", () => [1].values(), { hold: true });
    session.rollback();
    expect(codeOf(() => undone.fetch())).toBe("34000");
    expect(alone.fetch()).toEqual([3]);
    session.begin();
    session.savepoint("s");
    const inner = session.cursor("inner", () => [7].values(), { hold: true });
    session.release("s");
    session.commit();
    expect(inner.fetch()).toEqual([7]);
    session.close();
    expect(backend.memory.top.children().map(({ name }) => name)).not.toContain("TopPortalContext");
  });

  it("as a cursor that cannot be held fails the commit, and with it the transaction", async () => {
    const { session, backend, relation } = await openSession(checked);
    const failing = function* (): Generator<number> {
      yield 1;
      backend.buffers.pin(relation.id, 3);
      throw new PallocError("22012", "division by zero");
    };
    session.begin();
    session.set("work_mem", "1MB");
    const cursor = session.cursor("c", failing, { hold: true });
    expect(cursor.fetch()).toEqual([1]);
    expect(codeOf(() => session.commit())).toBe("22012");
    expect([session.state, session.show("work_mem")]).toEqual(["idle", "4MB"]);
    expect(backend.buffers.pinnedBuffers()).toBe(0);
    expect(codeOf(() => cursor.fetch())).toBe("34000");
    expect(codeOf(() => session.cursor("d", failing, { hold: true }))).toBe("22012");
    expect([session.state, backend.buffers.pinnedBuffers()]).toEqual(["idle", 0]);
  });

  it("as cursors that fail take the transaction with them", async () => {
    const { session } = await openSession(checked);
    session.begin();
    const cursor = session.cursor("c", function* () {
      yield 1;
      failing();
    });
    expect(cursor.fetch()).toEqual([1]);
    session.savepoint("a");
    expect(codeOf(() => cursor.fetch())).toBe("22012");
    expect(codeOf(() => cursor.fetch())).toBe("25P02");
    session.rollbackTo("a");
    expect(codeOf(() => cursor.fetch())).toBe("55000");
    session.rollback();
  });
});
