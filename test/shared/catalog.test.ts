// Proves the catalog cache as a backend uses it: what is read and how often, what others see and
// when, what a session's transactions and owners do, and what happens when one falls behind or
// memory is short. Several backends of one thread; real threads are in test/workers.

import { describe, expect, it } from "vitest";
import {
  type Backend,
  type Catalog,
  type CatalogKey,
  Session,
  type SessionMessage,
} from "../../bindings/index.ts";
import { openPool, type Pool } from "../support/pool.ts";
import { builds } from "../support/region.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Rows that all backends read, and how often each was read. */
class Rows {
  readonly rows = new Map<string, string>();
  reads = 0;
  /** Runs once, within the next read. */
  during: (() => void) | undefined;

  register(backend: Backend, name = "things"): Catalog<string> {
    return backend.catalog.register(name, {
      keys: ["string", "number"],
      loadSync: (...keys) => this.#read(keys),
      decode: (row) => decoder.decode(row),
    });
  }

  #read(keys: readonly CatalogKey[]): Uint8Array | undefined {
    this.reads += 1;
    const row = this.rows.get(keys.join("/"));
    const { during } = this;
    this.during = undefined;
    during?.();
    return row === undefined ? undefined : encoder.encode(row);
  }
}

interface Scene {
  readonly pool: Pool;
  readonly rows: Rows;
  readonly one: Backend;
  readonly other: Backend;
  readonly mine: Catalog<string>;
  readonly theirs: Catalog<string>;
}

/** What a catalog knows now; the reference is given back at once. */
function known(catalog: Catalog<string>, ...keys: CatalogKey[]): string | undefined {
  using reference = catalog.findSync(...keys);
  return reference?.value;
}

describe.each(builds)("the catalog of a backend, %s", (_, checked) => {
  async function open(settings = {}): Promise<Scene> {
    const pool = await openPool({ checked, files: false, settings });
    const rows = new Rows();
    const one = pool.attach({ memory: { maxMemory: "8MB", checked } });
    const other = pool.attach({ memory: { maxMemory: "8MB", checked } });
    rows.rows.set("a/1", "first");
    return { pool, rows, one, other, mine: rows.register(one), theirs: rows.register(other) };
  }

  it("counts what was found where, what was read, and what had to be forgotten", async () => {
    const { mine, theirs } = await open();
    const none = { hits: 0, negativeHits: 0, sharedHits: 0, loads: 0, negativeLoads: 0 };
    expect(mine.statistics).toEqual({ ...none, invalidations: 0 });
    for (const key of ["a", "a", "a", "b", "b"]) known(mine, key, 1);
    expect(mine.valueSync("a", 1)).toBe("first");
    const found = { hits: 3, negativeHits: 1, sharedHits: 0, loads: 1, negativeLoads: 1 };
    expect(mine.statistics).toEqual({ ...found, invalidations: 0 });
    for (const key of ["a", "b", "a"]) known(theirs, key, 1);
    expect(theirs.statistics).toMatchObject({ ...none, hits: 1, sharedHits: 2 });
    mine.invalidate("b", 1);
    await theirs.find("a", 1);
    expect(mine.statistics).toEqual({ ...found, invalidations: 1 });
    expect(theirs.statistics).toMatchObject({ hits: 2, invalidations: 0 });
  });

  it("reads a row once for all backends", async () => {
    const { rows, mine, theirs } = await open();
    expect(mine.number).toBe(theirs.number);
    for (const catalog of [mine, mine, theirs, theirs]) {
      expect(known(catalog, "a", 1)).toBe("first");
    }
    expect(rows.reads).toBe(1);
  });

  it("knows of a row that is not there until it comes", async () => {
    const { rows, other, mine, theirs } = await open();
    expect(known(theirs, "b", 2)).toBeUndefined();
    expect(known(theirs, "b", 2)).toBeUndefined();
    expect(rows.reads).toBe(1);
    mine.changeSync(["b", 2], () => rows.rows.set("b/2", "new"));
    expect(known(theirs, "b", 2)).toBeUndefined();
    other.catalog.accept();
    expect(known(theirs, "b", 2)).toBe("new");
  });

  it("accepts what has changed when a lock is taken that was not held", async () => {
    const { rows, other, mine, theirs } = await open();
    expect(known(theirs, "a", 1)).toBe("first");
    mine.changeSync(["a", 1], () => rows.rows.set("a/1", "second"));
    other.locks.lockRelationSync(5, "AccessShareLock");
    expect(known(theirs, "a", 1)).toBe("second");
    mine.changeSync(["a", 1], () => rows.rows.set("a/1", "third"));
    other.locks.lockRelationSync(5, "AccessShareLock");
    expect(known(theirs, "a", 1)).toBe("second");
    using lock = other.locks.acquireSync({ type: "relation", relation: 6 }, "ExclusiveLock");
    expect(lock.tag.type).toBe("relation");
    expect(known(theirs, "a", 1)).toBe("third");
  });

  it("leaves a value as it is for as long as it is referred to", async () => {
    const { rows, one, mine } = await open();
    const held = mine.findSync("a", 1);
    mine.changeSync(["a", 1], () => rows.rows.set("a/1", "second"));
    one.catalog.accept();
    expect(held?.dead).toBe(true);
    expect(held?.value).toBe("first");
    expect(known(mine, "a", 1)).toBe("second");
    held?.release();
    held?.release();
  });

  it("gives a value that stays, without a reference", async () => {
    const { rows, one, mine } = await open();
    const single = one.catalog.register<string>("single", {
      keys: ["number"],
      loadSync: (key) => (key === 1 ? encoder.encode(`${rows.rows.get("a/1")}`) : undefined),
      decode: (row) => decoder.decode(row),
    });
    for (let turn = 0; turn < 2; turn += 1) {
      expect(mine.valueSync("a", 1)).toBe("first");
      expect(single.valueSync(1)).toBe("first");
      expect(single.valueSync(2)).toBeUndefined();
    }
    expect(() => single.valueSync("1")).toThrow(TypeError);
    single.changeSync([1], () => rows.rows.set("a/1", "second"));
    expect(single.valueSync(1)).toBe("second");
    const entry = single.holdShared(1);
    expect(entry).toBeGreaterThanOrEqual(0);
    expect(single.holdShared(2)).toBeLessThan(0);
    single.releaseShared(entry);
    expect(() => single.releaseShared(entry)).toThrow();
  });

  it("reads again what changed while it was being read, here or elsewhere", async () => {
    const { rows, one, mine, theirs } = await open();
    rows.during = () => {
      theirs.changeSync(["a", 1], () => rows.rows.set("a/1", "second"));
    };
    expect(known(mine, "a", 1)).toBe("second");
    expect(rows.reads).toBe(2);
    rows.during = () => {
      theirs.changeSync(["c", 1], () => rows.rows.set("c/1", "third"));
      one.catalog.accept();
    };
    expect(known(mine, "c", 1)).toBe("third");
    expect(rows.reads).toBe(4);
    expect(known(theirs, "c", 1)).toBe("third");
    expect(rows.reads).toBe(4);
  });

  it("does so for rows that the shared cache has no room for", async () => {
    const { rows, one, mine, theirs } = await open();
    rows.rows.set("long/1", "x".repeat(9_000));
    rows.during = () => {
      theirs.changeSync(["long", 1], () => rows.rows.set("long/1", "y".repeat(9_001)));
      one.catalog.accept();
    };
    expect(known(mine, "long", 1)).toBe("y".repeat(9_001));
    expect(known(mine, "long", 1)).toBe("y".repeat(9_001));
  });

  it("gives the memory of a dead entry back once, when nobody refers to it", async () => {
    const { rows, one, mine } = await open();
    const bytes = (): number => {
      const context = one.memory.top.children().find(({ name }) => name === "CacheMemoryContext");
      return context?.stats().usedBytes ?? 0;
    };
    const row = (letter: string): string => letter.repeat(1_000);
    rows.rows.set("a/1", row("a"));
    known(mine, "a", 1);
    mine.invalidateAll();
    const empty = bytes();
    const held = mine.findSync("a", 1);
    const full = bytes();
    expect(full).toBeGreaterThan(empty);
    mine.invalidateAll();
    expect(bytes()).toBe(full);
    rows.rows.set("a/1", row("b"));
    known(mine, "a", 1);
    expect(bytes() - full).toBe(full - empty);
    held?.release();
    expect(bytes()).toBe(full);
    mine.invalidateAll();
    expect(bytes()).toBe(empty);
  });

  it("keeps nothing beyond the limit, even if all it has is referred to", async () => {
    const { rows, one, mine } = await open({ catalog_cache_private_size: "4kB" });
    const held = Array.from({ length: 40 }, (_, key) => {
      rows.rows.set(`k/${key}`, `row ${key}`.padEnd(200));
      return mine.findSync("k", key);
    });
    expect(one.catalog.privateUse.bytes).toBeLessThanOrEqual(4_096);
    expect(held.map((each) => each?.value.trim())).toEqual(held.map((_, key) => `row ${key}`));
    for (const each of held) each?.release();
  });

  it("keeps what was read once more when reading it has failed", async () => {
    const { rows, mine } = await open();
    rows.during = () => {
      throw new Error("unreadable");
    };
    expect(() => mine.findSync("a", 1)).toThrow("unreadable");
    expect(known(mine, "a", 1)).toBe("first");
  });

  it("answers promises, and reads anew what changed in between", async () => {
    const { pool, rows, one, mine } = await open();
    const third = pool.attach({ memory: { maxMemory: "8MB", checked } });
    let go = (): void => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const slow = third.catalog.register("things", {
      keys: ["string", "number"],
      loadSync: () => undefined,
      load: async () => {
        const row = rows.rows.get("a/1") ?? "";
        await gate;
        return encoder.encode(row);
      },
      decode: (row) => decoder.decode(row),
    });
    const finding = slow.find("a", 1);
    mine.changeSync(["a", 1], () => rows.rows.set("a/1", "second"));
    go();
    using found = await finding;
    expect(found?.value).toBe("second");
    expect(one.catalog.privateUse.entries).toBe(0);
  });

  it("keeps its own entries below their limit, and finds all rows all the same", async () => {
    const { rows, one, mine } = await open({ catalog_cache_private_size: "16kB" });
    for (let key = 0; key < 500; key += 1) {
      rows.rows.set(`k/${key}`, `row ${key}`.padEnd(100));
      expect(known(mine, "k", key)?.trim()).toBe(`row ${key}`);
      expect(one.catalog.privateUse.bytes).toBeLessThanOrEqual(16_384);
    }
    expect(one.catalog.privateUse.entries).toBeGreaterThan(50);
    const { reads } = rows;
    for (let key = 0; key < 500; key += 1) known(mine, "k", key);
    expect(rows.reads).toBe(reads);
    expect(one.memory.statsText()).toContain("CacheMemoryContext");
  });

  it("gives every row that does not fit into the shared cache, too", async () => {
    const { rows, mine, theirs } = await open();
    rows.rows.set("long/1", "x".repeat(9_000));
    expect(known(mine, "long", 1)).toHaveLength(9_000);
    expect(known(mine, "long", 1)).toHaveLength(9_000);
    expect(rows.reads).toBe(1);
    expect(known(theirs, "long", 1)).toHaveLength(9_000);
    expect(rows.reads).toBe(2);
  });

  it("forgets everything when it is more than the ring behind, and catches up when asked", async () => {
    const { rows, other, mine, theirs } = await open();
    expect(known(theirs, "a", 1)).toBe("first");
    const told: (string | undefined)[] = [];
    other.catalog.onInvalidation((name) => told.push(name));
    mine.changeSync(["a", 1], () => rows.rows.set("a/1", "second"));
    for (let count = 0; count < 4_200; count += 1) mine.invalidate("z", count);
    other.catalog.accept();
    expect(told).toEqual([undefined]);
    expect(known(theirs, "a", 1)).toBe("second");
    for (let count = 0; count < 2_600; count += 1) mine.invalidate("z", count);
    expect(told).toHaveLength(1);
    await expect.poll(() => told.length).toBe(2_601);
  });

  it("refuses wrong keys, names and numbers of keys", async () => {
    const { one, mine } = await open();
    expect(() => mine.findSync("a")).toThrow(TypeError);
    expect(() => mine.findSync(1, "a")).toThrow("(string, number)");
    expect(() => mine.findSync("a", 1.5)).toThrow(TypeError);
    expect(() => mine.findSync("a".repeat(600), 1)).toThrow(RangeError);
    const loadSync = (): undefined => undefined;
    expect(() => one.catalog.register("x", { keys: [], loadSync })).toThrow(RangeError);
    expect(() => one.catalog.register("", { keys: ["number"], loadSync })).toThrow(RangeError);
    expect(() => one.catalog.register("things", { keys: ["number"], loadSync })).toThrow("exists");
  });

  it("takes keys with any characters, and numbers with and without a sign, for what they are", async () => {
    const { rows, mine, theirs } = await open();
    const keys: [string, number][] = [
      ["", 0],
      ["\0", 0],
      ["\0\0\0\0", 1],
      ["é,1:", -1],
      ["1:1", 2 ** 31],
    ];
    for (const [index, [text, number]] of keys.entries()) {
      rows.rows.set(`${text}/${number}`, `row ${index}`);
      expect(known(mine, text, number)).toBe(`row ${index}`);
    }
    for (const [index, key] of keys.entries()) expect(known(theirs, ...key)).toBe(`row ${index}`);
    expect(rows.reads).toBe(keys.length);
  });
});

describe.each(builds)("the catalog of a session, %s", (_, checked) => {
  async function open() {
    const pool = await openPool({ checked, files: false });
    const rows = new Rows();
    rows.rows.set("a/1", "first");
    const messages: SessionMessage[] = [];
    const onMessage = (message: SessionMessage): void => void messages.push(message);
    const memory = { maxMemory: "8MB", checked };
    const session = Session.open(pool.attach({ memory }), { onMessage });
    const reader = Session.open(pool.attach({ memory }));
    const mine = rows.register(session.backend);
    const theirs = rows.register(reader.backend);
    return { pool, rows, session, reader, mine, theirs, messages };
  }

  it("tells others at the commit, and sees its own change before", async () => {
    const { rows, session, reader, mine, theirs } = await open();
    reader.query("q", () => expect(known(theirs, "a", 1)).toBe("first"));
    session.begin();
    session.query("change", () => {
      mine.changeSync(["a", 1], () => rows.rows.set("a/1", "second"));
      expect(known(mine, "a", 1)).toBe("second");
    });
    reader.query("q", () => expect(known(theirs, "a", 1)).toBe("first"));
    session.commit();
    reader.query("q", () => expect(known(theirs, "a", 1)).toBe("second"));
    session.query("q", () => expect(known(mine, "a", 1)).toBe("second"));
  });

  it("tells them at a rollback, too: what was changed stays so", async () => {
    const { rows, session, reader, mine, theirs } = await open();
    reader.query("q", () => known(theirs, "a", 1));
    session.begin();
    session.savepoint("s");
    session.query("change", () => {
      mine.changeSync(["a", 1], () => rows.rows.set("a/1", "second"));
    });
    session.rollbackTo("s");
    session.rollback();
    reader.query("q", () => expect(known(theirs, "a", 1)).toBe("second"));
  });

  it("tells them before its locks go", async () => {
    const { rows, session, reader, mine, theirs } = await open();
    reader.query("q", () => known(theirs, "a", 1));
    const seen: (string | undefined)[] = [];
    const look = (): void => {
      reader.backend.catalog.accept();
      seen.push(known(theirs, "a", 1));
    };
    const lock = { name: "lock", phase: "locks", priority: 100, handedOn: true } as const;
    for (const ends of [() => session.commit(), () => session.rollback()]) {
      session.begin();
      session.query("change", (query) => {
        query.owner.remember({ ...lock, release: look }, 1);
        const next = `row ${seen.length}`;
        mine.changeSync(["a", 1], () => rows.rows.set("a/1", next));
        look();
      });
      ends();
    }
    expect(seen).toEqual(["first", "row 0", "row 0", "row 2"]);
  });

  it("gives back a reference that a query forgets, with a warning, and after its locks", async () => {
    const { session, mine, messages } = await open();
    session.begin();
    session.query("leak", () => void mine.findSync("a", 1));
    expect(messages.map(({ message }) => message)).toEqual([
      `resource was not closed: cache things (${mine.number}), tuple 1:a1, has count 1`,
    ]);
    session.query("no leak", () => known(mine, "a", 1));
    expect(() =>
      session.query("error", () => {
        mine.findSync("a", 1);
        throw new Error("torn");
      }),
    ).toThrow("torn");
    session.rollback();
    expect(messages).toHaveLength(1);
    session.begin();
    const kept = mine.findSync("a", 1);
    session.query("none", () => {});
    kept?.release();
    session.commit();
    expect(messages).toHaveLength(1);
  });
});
