// Proves what a query has and when it goes: contexts, owner, pins; that what it leaks is given
// back, told at a good end in PostgreSQL's words, and not told at a bad one; how queries are
// cancelled and limited in time, and run within each other.

import { describe, expect, it } from "vitest";
import {
  type MemoryContext,
  PallocError,
  type Query,
  type ResourceKind,
  Session,
  type SessionMessage,
} from "../../bindings/index.ts";
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

const later = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

describe.each(builds)("queries, %s build", (_, checked) => {
  it("have a portal, an ExecutorState and contexts per tuple, and leave none", async () => {
    const { session, backend } = await openSession(checked);
    const { memory } = backend;
    const before = memory.current;
    let kept: Query | undefined;
    const result = session.query("sum", (query) => {
      kept = query;
      expect(memory.current).toBe(query.context);
      query.perTuple.alloc(10);
      query.createExprContext({ maxBlockSize: 8192 });
      const state = `${PORTAL}(sum)/ExecutorState`;
      const found = treeOf(backend).filter((name) => name.startsWith(PORTAL));
      expect(found).toEqual([
        `${PORTAL}(sum)`,
        state,
        `${state}/ExprContext`,
        `${state}/ExprContext`,
      ]);
      const rows = memory.rows().filter(({ name }) => /Portal|Executor/.test(name));
      expect(rows.map((row) => row.total_bytes)).toEqual([8192, 1024, 8192]);
      session.messageContext.alloc(5);
      return 7;
    });
    expect(result).toBe(7);
    expect(treeOf(backend).filter((name) => name.startsWith(PORTAL))).toEqual([]);
    expect(memory.current).toBe(before);
    for (const use of [() => kept?.context, () => kept?.perTuple, () => kept?.memoryLimit()]) {
      expect(codeOf(use)).toBe("55000");
    }
    expect(session.messageContext.isEmpty()).toBe(false);
    session.query("", () => {
      expect(session.messageContext.isEmpty()).toBe(true);
      expect(treeOf(backend)).toContain(`${PORTAL}(<unnamed>)`);
    });
  });

  it("give back what they leaked, and say so in PostgreSQL's words", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const { buffers } = backend;
    const released: string[] = [];
    const kind = (
      name: string,
      phase: "beforeLocks" | "locks" | "afterLocks",
      priority: number,
    ) => ({
      ...{ name, phase, priority },
      release: (resource: string) => void released.push(`${resource} ${buffers.pinnedBuffers()}`),
    });
    const file = kind("File", "afterLocks", 600);
    const entry = kind("catcache reference", "afterLocks", 100);
    const early = kind("early thing", "beforeLocks", 100);
    const late = kind("late thing", "beforeLocks", 300);
    session.query("leaky", (query) => {
      for (const resource of ["f1", "f2"]) query.owner.remember(file, resource);
      query.owner.remember(entry, "c");
      query.owner.remember(late, "l");
      query.owner.remember(early, "e");
      query.owner.remember(file, "closed");
      query.owner.forget(file, "closed");
      buffers.readSync(relation, 2);
      buffers.pin(relation.id, 7);
    });
    expect(released).toEqual(["e 2", "l 0", "c 0", "f2 0", "f1 0"]);
    expect(texts(messages)).toEqual([
      "WARNING: resource was not closed: early thing e",
      expect.stringMatching(
        /^WARNING: resource was not closed: \[00\d\] \(rel=pages, blockNum=7, flags=0x[0-9a-f]+, /,
      ),
      expect.stringContaining("(rel=pages, blockNum=2, "),
      "WARNING: resource was not closed: late thing l",
      "WARNING: resource was not closed: catcache reference c",
      "WARNING: resource was not closed: File f2",
      "WARNING: resource was not closed: File f1",
    ]);
    expect(messages.every(({ code }) => code === "01000")).toBe(true);
    expect(codeOf(() => buffers.changeSync(relation, 2, () => {}))).toBe("nothing");
  });

  it("that fail give back in the same order, and say nothing", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const released: string[] = [];
    const kind: ResourceKind<string> = {
      ...{ name: "thing", phase: "afterLocks" as const, priority: 1 },
      release: (resource: string) => void released.push(resource),
    };
    const work = (query: Query): void => {
      query.owner.remember(kind, "a");
      query.owner.remember(kind, "b");
      backend.buffers.readSync(relation, 2);
      failing();
    };
    expect(codeOf(() => session.query("q", work))).toBe("22012");
    expect(released).toEqual(["b", "a"]);
    expect([messages, backend.buffers.pinnedBuffers()]).toEqual([[], 0]);
  });

  it("hand locks and their like on to the transaction, which gives them back at its end", async () => {
    const { session, messages } = await openSession(checked);
    const released: string[] = [];
    const lock: ResourceKind<string> = {
      ...{ name: "lock", phase: "locks" as const, priority: 100, handedOn: true },
      release: (resource: string) => void released.push(resource),
    };
    const take = (name: string): void => {
      session.query(name, (query) => query.owner.remember(lock, name));
    };
    session.begin();
    take("one");
    session.savepoint("a");
    take("two");
    expect(released).toEqual([]);
    session.rollbackTo("a");
    expect(released.splice(0)).toEqual(["two"]);
    take("three");
    session.release("a");
    expect(released).toEqual([]);
    session.commit();
    expect(released.splice(0)).toEqual(["three", "one"]);
    take("by itself");
    expect([released, messages]).toEqual([["by itself"], []]);
  });

  it("give back the rest when one thing cannot be, and then tell", async () => {
    const { session, backend, relation } = await openSession(checked);
    const bad: ResourceKind<string> = {
      ...{ name: "bad", phase: "beforeLocks" as const, priority: 1 },
      release: (name: string) => {
        throw new Error(`cannot close ${name}`);
      },
    };
    const work = (query: Query): void => {
      query.owner.remember(bad, "x");
      query.owner.remember(bad, "y");
      backend.buffers.pin(relation.id, 1);
    };
    expect(() => session.query("q", work)).toThrow(AggregateError);
    expect(backend.buffers.pinnedBuffers()).toBe(0);
    expect(session.state).toBe("idle");
    const both = (query: Query): void => {
      work(query);
      failing();
    };
    expect(() => session.query("q", both)).toThrow("suppressed");
    expect(session.query("q", () => 1)).toBe(1);
  });

  it("close their temporary files, however they end", async () => {
    const { session, backend, pool, messages } = await openSession(checked);
    const files = (): number => pool.storage.relationsSync().length;
    const before = files();
    const spill = (query: Query, closes: boolean, context?: MemoryContext): void => {
      const file = query.createTemporaryFile(context);
      const from = query.context.allocZero(20000);
      file.append(from, 20000);
      file.rewind();
      expect([file.read(from, 100), files() > before]).toEqual([100, true]);
      if (closes) file.close();
    };
    session.query("closes", (query) => spill(query, true));
    expect([files(), messages]).toEqual([before, []]);
    session.query("forgets", (query) => spill(query, false));
    expect([files(), texts(messages.splice(0))]).toEqual([
      before,
      ["WARNING: resource was not closed: temporary file of 20000 bytes"],
    ]);
    // In a context of the query a file's block goes before the file is closed.
    session.query("forgets", (query) => spill(query, false, query.context));
    expect(texts(messages.splice(0))).toHaveLength(1);
    const fails = (query: Query): void => {
      spill(query, false);
      spill(query, false, query.createExprContext());
      failing();
    };
    expect(codeOf(() => session.query("fails", fails))).toBe("22012");
    expect([files(), messages, backend.memory.current.name]).toEqual([
      before,
      [],
      "TopMemoryContext",
    ]);
  });

  it("own their pins alone: what the transaction had pinned before stays pinned", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const { buffers } = backend;
    session.begin();
    const page = buffers.readSync(relation, 4);
    session.query("again", () => void buffers.readSync(relation, 4));
    expect(texts(messages.splice(0))).toEqual([expect.stringContaining("refcount=1 1)")]);
    expect(page.bytes[0]).toBeDefined();
    expect(buffers.leakedPins()).toMatchObject([{ block: 4, pins: 1, locked: true }]);
    page[Symbol.dispose]();
    expect(buffers.leakedPins()).toEqual([]);
    session.commit();
    expect(messages).toEqual([]);
  });

  it("are misused loudly: a forgotten resource twice, one remembered too late", async () => {
    const { session } = await openSession(checked);
    const messages: unknown[] = [];
    const kind: ResourceKind<string> = {
      ...{ name: "thing", phase: "afterLocks" as const, priority: 1 },
      release: () => {
        for (const misuse of [
          () => session.owner?.remember(kind, "more"),
          () => owner?.forget(kind, "x"),
        ]) {
          try {
            misuse();
          } catch (error) {
            messages.push((error as Error).message);
          }
        }
      },
    };
    let owner = session.owner;
    session.query("q", (query) => {
      owner = query.owner;
      expect(() => owner?.forget(kind, "x")).toThrow(
        "thing x is not owned by resource owner Portal",
      );
      owner.remember(kind, "x");
    });
    expect(messages).toContain("ResourceOwnerForget called for thing after release started");
  });

  it("run within a query, below its context and its owner, and leave it as it was", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const { buffers, memory, locks } = backend;
    session.transaction((transaction) => {
      transaction.query("outer", (query) => {
        buffers.pin(relation.id, 1);
        const found = query.nested("inner", (inner) => {
          expect([memory.current, inner.context.parent]).toEqual([inner.context, query.context]);
          expect(session.owner?.parent).toBe(query.owner);
          inner.context.alloc(100);
          buffers.pin(relation.id, 2);
          locks.lockRelationSync(relation.number, "AccessShareLock", "transaction");
          expect(codeOf(() => query.nested("beside", () => 1))).toBe("55006");
          expect(codeOf(() => session.query("elsewhere", () => 1))).toBe("55006");
          return inner.nested("innermost", () => 7);
        });
        expect(found).toBe(7);
        expect([memory.current, session.owner]).toEqual([query.context, query.owner]);
        expect(query.context.children()).toEqual([]);
        // The inner one's pin was given back, with a warning; its lock is the transaction's.
        expect(buffers.leakedPins().map(({ block }) => block)).toEqual([1]);
        expect(texts(messages.splice(0))).toEqual([expect.stringContaining("blockNum=2")]);
        expect(locks.rows()).toHaveLength(1);
      });
      expect(locks.rows()).toHaveLength(1);
    });
    expect([buffers.pinnedBuffers(), locks.rows()]).toEqual([0, []]);
    expect(texts(messages)).toEqual([expect.stringContaining("blockNum=1")]);
  });

  it("within a query that fail give back what they took, silently, and the other may go on", async () => {
    const { session, backend, relation, messages } = await openSession(checked);
    const { buffers, locks } = backend;
    const take = (query: Query): void => {
      query.createTemporaryFile(query.context);
      buffers.pin(relation.id, 2);
      locks.lockRelationSync(relation.number, "AccessShareLock", "transaction");
    };
    session.query("outer", (query) => {
      const inner = (nested: Query): never => {
        take(nested);
        return failing();
      };
      expect(codeOf(() => query.nested("inner", inner))).toBe("22012");
      expect([buffers.pinnedBuffers(), locks.rows(), query.context.children()]).toEqual([
        0,
        [],
        [],
      ]);
      expect(query.context.alloc(8)).toBeGreaterThan(0);
    });
    const waited = session.query("outer", async (query) => {
      const inner = async (nested: Query): Promise<number> => {
        take(nested);
        await later(1);
        return failing();
      };
      await query.nested("inner", inner).catch(() => {});
      expect(buffers.pinnedBuffers()).toBe(0);
      return query.nested("second", () => later(1).then(() => 3));
    });
    expect(await waited).toBe(3);
    expect(messages).toEqual([]);
  });

  it("within a query that does not wait for them end with it", async () => {
    const { session, backend, relation } = await openSession(checked);
    let inner: Promise<unknown> = Promise.resolve();
    const outer = session.query("outer", async (query) => {
      inner = query.nested("inner", async () => {
        backend.buffers.pin(relation.id, 2);
        await later(5);
      });
      inner.catch(() => {});
      await Promise.resolve();
      failing();
    });
    await expect(outer).rejects.toMatchObject({ code: "22012" });
    expect(backend.buffers.pinnedBuffers()).toBe(0);
    expect(session.query("next", () => 1)).toBe(1);
    await expect(inner).rejects.toMatchObject({ code: "55000" });
    expect(session.state).toBe("idle");
  });

  it("end when they are cancelled, at a wait, at a check, or at their end", async () => {
    const { session } = await openSession(checked);
    expect(session.cancel()).toBe(false);
    const waiting = session.query("wait", (query) => {
      return new Promise((_resolve, reject) => {
        query.signal.addEventListener("abort", () => reject(query.signal.reason), { once: true });
      });
    });
    expect(session.cancel()).toBe(true);
    const cancelled = { code: "57014", message: "canceling statement due to user request" };
    await expect(waiting).rejects.toMatchObject(cancelled);
    const checking = session.query("check", async (query) => {
      for (;;) {
        query.checkInterrupts();
        await later(1);
      }
    });
    session.cancel();
    await expect(checking).rejects.toMatchObject(cancelled);
    const deaf = session.query("deaf", () => later(1));
    session.cancel();
    await expect(deaf).rejects.toMatchObject(cancelled);
    const signal = AbortSignal.abort("no more");
    expect(codeOf(() => session.query("never", () => 1, { signal }))).toBe("57014");
    expect(session.query("well", () => 1)).toBe(1);
  });

  it("end when statement_timeout is over, awaiting or not", async () => {
    const { session } = await openSession(checked);
    session.set("statement_timeout", 20);
    const over = { code: "57014", message: "canceling statement due to statement timeout" };
    const busy = (query: Query): void => {
      for (;;) query.checkInterrupts();
    };
    expect(codeOf(() => session.query("busy", busy))).toBe("57014");
    const deaf = session.query("deaf", () => later(60));
    await expect(deaf).rejects.toMatchObject(over);
    session.reset("statement_timeout");
    await session.query("no limit", () => later(30));
  });

  it("know what their nodes may use, and when contexts use more", async () => {
    const { session } = await openSession(checked);
    session.set("work_mem", "64kB");
    session.set("hash_mem_multiplier", 1.5);
    session.query("hash", (query) => {
      const limit = query.memoryLimit();
      expect([limit.bytes, limit.maxBlockBytes]).toEqual([98304, 8192]);
      expect(query.memoryLimit("sort").bytes).toBe(65536);
      expect(query.memoryLimit("maintenance").bytes).toBe(67108864);
      const table = query.context.createBump("HashAgg hashed tuples", limit.sizes);
      const meta = query.context.createChild("HashAgg meta context");
      let taken = 0;
      while (!limit.isExceededBy(table, meta)) {
        table.alloc(1000);
        taken += 1;
      }
      expect(limit.used(table, meta)).toBeLessThanOrEqual(limit.bytes + limit.maxBlockBytes);
      expect(taken).toBeGreaterThan(70);
    });
    session.set("work_mem", "1GB");
    expect(session.memoryLimit("sort").maxBlockBytes).toBe(8388608);
    session.set("hash_mem_multiplier", 1000);
    expect(session.memoryLimit("hash").bytes).toBe(4294967295);
  });
});

describe("a session", () => {
  it("is one a backend, restores what it set, and leaves nothing", async () => {
    const { session, backend, relation, messages } = await openSession(true);
    expect(codeOf(() => Session.open(backend))).toBe("55006");
    session.set("track_io_timing", true);
    session.set("effective_io_concurrency", 3);
    session.begin();
    backend.buffers.readSync(relation, 1);
    session.cursor("c", function* () {
      yield 1;
    });
    session.close();
    session.close();
    expect(session.closed).toBe(true);
    expect(codeOf(() => session.query("q", () => 1))).toBe("55000");
    expect(codeOf(() => session.show("work_mem"))).toBe("55000");
    const { values } = backend.settings;
    expect([values.track_io_timing, values.effective_io_concurrency]).toEqual([false, 16]);
    expect(treeOf(backend)).toEqual(["", "ErrorContext"]);
    expect([messages, backend.buffers.pinnedBuffers()]).toEqual([[], 0]);
    const next = Session.open(backend, { settings: { work_mem: "1MB", "my.own": "x" } });
    next.set("work_mem", "2MB");
    next.reset("work_mem");
    expect([next.show("work_mem"), next.show("my.own")]).toEqual(["1MB", "x"]);
    expect(next.pgSettings().find(({ name }) => name === "work_mem")?.source).toBe("client");
    next.close();
  });

  it("ends by itself when it idles too long in a transaction, or takes too long", async () => {
    for (const [name, code] of [
      ["idle_in_transaction_session_timeout", "25P03"],
      ["transaction_timeout", "25P04"],
      ["idle_session_timeout", "57P05"],
    ] as const) {
      const { session, backend, relation } = await openSession(false);
      session.set(name, 20);
      if (name !== "idle_session_timeout") session.begin();
      backend.buffers.pin(relation.id, 1);
      await later(60);
      expect([session.closed, codeOf(() => session.rollback())]).toEqual([true, code]);
      if (name !== "idle_session_timeout") expect(backend.buffers.pinnedBuffers()).toBe(0);
      else backend.buffers.releaseLeakedPins();
    }
    const { session } = await openSession(false);
    session.set("transaction_timeout", 20);
    const slow = session.query("slow", () => later(60));
    await expect(slow).rejects.toMatchObject({ code: "25P04" });
    expect(session.closed).toBe(true);
  });

  it("settings reach the parts of its backend: damaged pages, local buffers, timing", async () => {
    const { session, backend, pool, relation } = await openSession(true);
    backend.buffers.flushSync();
    pool.damage(relation, 6, (page) => page.fill(255, 0, 100));
    for (let buffer = 0; buffer < 64; buffer += 1) backend.buffers.evictSync(buffer as never);
    const read = (): number => {
      using page = backend.buffers.readSync(relation, 6);
      return page.bytes[0] ?? -1;
    };
    expect(codeOf(read)).toBe("XX001");
    session.begin();
    session.set("zero_damaged_pages", "on", { local: true });
    expect(read()).toBe(0);
    session.rollback();
    session.set("temp_buffers", 100);
    const temporary = backend.createRelationSync("t", { temporary: true });
    backend.buffers.extendSync(temporary, 1);
    backend.buffers.readSync(temporary, 0)[Symbol.dispose]();
    expect(() => session.set("temp_buffers", 200)).toThrow(
      expect.objectContaining({ code: "22023", detail: expect.stringContaining("temp_buffers") }),
    );
    expect(session.show("temp_buffers")).toBe("800kB");
    session.set("track_io_timing", "on");
    for (let buffer = 0; buffer < 64; buffer += 1) backend.buffers.evictSync(buffer as never);
    backend.buffers.readSync(relation, 7)[Symbol.dispose]();
    expect(pool.io().read_time).toBeGreaterThan(0);
  });

  it("passes on what client_min_messages lets through", async () => {
    const { session, messages } = await openSession(false);
    session.commit();
    session.set("client_min_messages", "error");
    session.commit();
    session.set("client_min_messages", "warning");
    session.rollback();
    expect(messages.map(({ code }) => code)).toEqual(["25P01", "25P01"]);
  });
});
