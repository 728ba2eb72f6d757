// Compares the rows of pg_locks with a real PostgreSQL's: its columns in its order, and for the
// same locks rows of the same shape: the same columns filled, by values of the same type, and the
// same names of kinds and modes. Advisory keys stand in the same columns, by their values.

import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Backend, SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";

type Row = Readonly<Record<string, unknown>>;

/** Ours alone. */
const OWN_COLUMNS = ["slot"];
const KEY = 2 ** 33 + 7;
const PAIR = [3, 4] as const;
/** Columns whose values are the same, whoever says them. */
const SAID = ["locktype", "mode", "granted", "fastpath"];
const KEYS = ["classid", "objid", "objsubid"];

let postgres: PGlite;
let shared: SharedMemory;

beforeAll(async () => {
  postgres = await PGlite.create();
  shared = await SharedMemory.create({
    settings: { shared_buffers: "128kB" },
    storage: memoryStorage(),
  });
}, 60_000);

afterAll(async () => {
  await shared.close();
  await postgres.close();
});

/** A row in words: what it says, and of which type the rest is. */
function shapeOf(row: Row): string {
  const { locktype } = row as { readonly locktype?: unknown };
  const isAdvisory = locktype === "advisory";
  const columns = Object.keys(row).filter((name) => !OWN_COLUMNS.includes(name));
  const words = columns.map((name) => {
    const value = row[name];
    const isSaid = SAID.includes(name) || (isAdvisory && KEYS.includes(name));
    if (isSaid || value === null) return `${name} ${value}`;
    // The client has no type for a transaction's id, and leaves it as the digits it was sent.
    const known = name === "transactionid" ? Number(value) : value;
    return `${name} ${known instanceof Date ? "Date" : typeof known}`;
  });
  return words.join(", ");
}

/** Rows of locks that every PostgreSQL session has besides are left out. */
function shapes(rows: readonly Row[]): string[] {
  return rows
    .filter(({ locktype, relation }) => {
      return locktype !== "virtualxid" && !(locktype === "relation" && Number(relation) < 16_384);
    })
    .map(shapeOf)
    .sort();
}

function ours(take: (backend: Backend) => void): string[] {
  using backend = Backend.attachSync(shared.handle);
  take(backend);
  return shapes(backend.locks.rows() as unknown as Row[]);
}

async function theirs(...statements: readonly string[]): Promise<string[]> {
  let rows: Row[] = [];
  await postgres.transaction(async (transaction) => {
    for (const statement of statements) await transaction.exec(statement);
    ({ rows } = await transaction.query<Row>("select * from pg_locks"));
    await transaction.rollback();
  });
  await postgres.exec("select pg_advisory_unlock_all()");
  return shapes(rows);
}

describe("a row of locks", () => {
  it("has the columns of pg_locks, in its order, and one of its own", async () => {
    using backend = Backend.attachSync(shared.handle);
    backend.locks.advisoryLockSync(1);
    const [row = {}] = backend.locks.rows() as object[];
    const { fields } = await postgres.query("select * from pg_locks");
    expect(Object.keys(row)).toEqual([...fields.map(({ name }) => name), ...OWN_COLUMNS]);
  });

  it("of an advisory lock is as there: one key or two, shared or not", async () => {
    const mine = ours(({ locks }) => {
      locks.advisoryLockSync(KEY);
      locks.advisoryXactLockSharedSync(PAIR);
    });
    const real = await theirs(
      `select pg_advisory_lock(${KEY})`,
      `select pg_advisory_xact_lock_shared(${PAIR.join(", ")})`,
    );
    expect(mine).toHaveLength(2);
    expect(mine).toEqual(real);
  });

  it.each([
    ["access share", "AccessShareLock"],
    ["row exclusive", "RowExclusiveLock"],
    ["share update exclusive", "ShareUpdateExclusiveLock"],
    ["share", "ShareLock"],
    ["access exclusive", "AccessExclusiveLock"],
  ] as const)("of a relation in %s mode is as there, fast path or not", async (mode, name) => {
    await postgres.exec("create table if not exists t (a int)");
    const mine = ours(({ locks }) => {
      locks.lockRelationSync(20_000, name, "transaction");
    });
    const real = await theirs(`lock table t in ${mode} mode`);
    expect(mine).toHaveLength(1);
    // There a session that takes a strong lock gets a transaction id, and with it a lock on that.
    expect(real.filter((row) => !row.startsWith("locktype transactionid"))).toEqual(mine);
  });

  it("of a transaction's own id is as there", async () => {
    const mine = ours(({ locks }) => {
      locks.acquireSync({ type: "transactionid", transactionid: 77 }, "ExclusiveLock");
    });
    expect(mine).toEqual(await theirs("select pg_current_xact_id()"));
  });

  it("of an object is as there", async () => {
    const mine = ours(({ locks }) => {
      locks.acquireSync({ type: "object", classid: 1, objid: 7 }, "AccessExclusiveLock");
    });
    const real = await theirs("comment on schema public is 'ours'");
    expect(real.some((row) => row.startsWith("locktype object"))).toBe(true);
    const columns = (row = ""): string => row.replace(/mode \w+/, "").replace(/fastpath \w+/, "");
    const there = real.filter((row) => row.startsWith("locktype object")).map(columns);
    expect(there).toContain(columns(mine[0]));
  });
});
