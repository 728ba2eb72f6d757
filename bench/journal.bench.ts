/**
 * What durability costs: pages are loaded, and changed at random, with a checkpoint after every so
 * many, and each checkpoint is a commit that survives a crash. Ours writes old images into a
 * journal first; without `full_page_writes` it does not, and a crash in a checkpoint may leave a
 * mixture. SQLite with its rollback journal makes the same promise with the same number of
 * commits; its rows fill a page each, its cache is as large as our pool.
 *
 * All write to the same disk, in turns, so that the ratio is worth more than the times.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BLOCK_BYTES } from "../assembly/common/constants.ts";
import { Backend, initPage, SharedMemory } from "../bindings/index.ts";
import { nodeFiles } from "../bindings/storage/node-fs.ts";
import type { Contender, Role, Row } from "./harness.ts";
import { packageRoot } from "./machine.ts";
import { RELATION, STAMP_OFFSET } from "./pages.ts";
import { shuffledBlocks } from "./workloads.ts";

/** The peer's name in tables and files. */
export const SQLITE = "SQLite";

/** 8 MB. */
const POOL_PAGES = 1024;
/** 16 MB. */
const FILE_PAGES = 2048;
const CHANGES = 512;
/** Changes between two commits. */
const COMMIT_EVERY = 64;
/** Bytes of a row that takes up a page of SQLite's alone, without a second one. */
const ROW_BYTES = 8100;
const MICROSECONDS = 1000;

/** Something that keeps numbered pages and commits them; all calls are synchronous. */
interface Store {
  /** Puts what follows into a new relation, which is empty. */
  renew(): void;
  /** Adds page `block`, or changes it: its first word becomes `value`. */
  add(block: number, value: number): void;
  change(block: number, value: number): void;
  commit(): void;
  value(block: number): number;
  close(): void | Promise<void>;
}

type Opener = (directory: string) => Promise<Store>;

// ── Ours ─────────────────────────────────────────────────────────────────────────────────────────

async function openPalloc(directory: string, full_page_writes: boolean): Promise<Store> {
  const settings = { shared_buffers: POOL_PAGES, full_page_writes };
  const shared = await SharedMemory.create({ settings, storage: nodeFiles(directory) });
  const backend = await Backend.attach(shared.handle);
  let relation = backend.createRelationSync(RELATION);
  let relations = 1;
  const pool = backend.buffers;
  const stamp = (bytes: Uint8Array, value: number): void => {
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(STAMP_OFFSET, value, true);
  };
  return {
    renew() {
      relations += 1;
      relation = backend.createRelationSync(`${RELATION} ${relations}`);
    },
    add(block, value) {
      if (block % COMMIT_EVERY === 0) pool.extendSync(relation, COMMIT_EVERY);
      using page = pool.readSync(relation, block, { mode: "zeroAndLock" });
      pool.beginChange(page.buffer);
      initPage(page.bytes);
      stamp(page.bytes, value);
      pool.endChange(page.buffer);
    },
    change: (block, value) => pool.changeSync(relation, block, (bytes) => stamp(bytes, value)),
    commit: () => void backend.checkpointSync(),
    value(block) {
      using page = pool.readSync(relation, block);
      const { bytes } = page;
      return new DataView(bytes.buffer, bytes.byteOffset).getUint32(STAMP_OFFSET, true);
    },
    async close() {
      backend.detach();
      await shared.close();
    },
  };
}

// ── SQLite ───────────────────────────────────────────────────────────────────────────────────────

interface Statement {
  run(values: readonly (number | Uint8Array)[]): unknown;
  get(values: readonly number[]): { readonly bytes?: unknown } | null;
  finalize(): void;
}

interface Database {
  exec(sql: string): void;
  prepare(sql: string): Statement;
  close(): void;
}

type Sqlite = { readonly Database: new (path: string) => Database };

/** The package of bench/package.json, if somebody has installed it. */
function findSqlite(): Sqlite | undefined {
  const require = createRequire(join(packageRoot(), "bench", "package.json"));
  try {
    return require("node-sqlite3-wasm") as Sqlite;
  } catch (error) {
    if ((error as { code?: string }).code === "MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}

/** Each row is a page; what is changed between two commits is one transaction. */
async function openSqlite({ Database: Opened }: Sqlite, directory: string): Promise<Store> {
  const database = new Opened(join(directory, "bench.db"));
  database.exec(`PRAGMA page_size = ${BLOCK_BYTES}`);
  database.exec("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL");
  database.exec(`PRAGMA cache_size = ${POOL_PAGES}`);
  const row = new Uint8Array(ROW_BYTES);
  const stamped = (value: number): Uint8Array => {
    new DataView(row.buffer).setUint32(0, value, true);
    return row;
  };
  let tables = 1;
  let table = tableOf(database, tables);
  return {
    renew() {
      database.exec("ROLLBACK");
      table.close();
      tables += 1;
      table = tableOf(database, tables);
    },
    add: (block, value) => void table.insert.run([block, stamped(value)]),
    change: (block, value) => void table.update.run([stamped(value), block]),
    commit: () => database.exec("COMMIT; BEGIN"),
    value(block) {
      const bytes = table.select.get([block])?.bytes;
      if (!(bytes instanceof Uint8Array)) throw new Error(`block ${block} is not there`);
      return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    },
    close() {
      database.exec("ROLLBACK");
      table.close();
      database.close();
    },
  };
}

interface Table {
  readonly insert: Statement;
  readonly update: Statement;
  readonly select: Statement;
  close(): void;
}

/** A new table, in whose first transaction the database is then. */
function tableOf(database: Database, number: number): Table {
  const name = `pages_${number}`;
  database.exec(`CREATE TABLE ${name} (block INTEGER PRIMARY KEY, bytes BLOB)`);
  const insert = database.prepare(`INSERT INTO ${name} VALUES (?, ?)`);
  const update = database.prepare(`UPDATE ${name} SET bytes = ? WHERE block = ?`);
  const select = database.prepare(`SELECT bytes FROM ${name} WHERE block = ?`);
  const close = (): void => {
    for (const statement of [insert, update, select]) statement.finalize();
  };
  database.exec("BEGIN");
  return { insert, update, select, close };
}

// ── Rows ─────────────────────────────────────────────────────────────────────────────────────────

function load(store: Store, pages: number): void {
  for (let block = 0; block < pages; block += 1) {
    store.add(block, block + 1);
    if ((block + 1) % COMMIT_EVERY === 0) store.commit();
  }
}

function update(store: Store, blocks: Uint32Array, value: number): void {
  for (const [index, block] of blocks.entries()) {
    store.change(block, value);
    if ((index + 1) % COMMIT_EVERY === 0) store.commit();
  }
}

function expectValues(store: Store, expected: (block: number) => number, pages: number): void {
  for (let block = 0; block < pages; block += 1) {
    const found = store.value(block);
    if (found !== expected(block)) throw new Error(`block ${block} holds ${found}`);
  }
}

/** A store in a directory of its own, which goes with it. */
async function inDirectory(open: Opener): Promise<[store: Store, remove: () => Promise<void>]> {
  const directory = mkdtempSync(join(tmpdir(), "palloc-bench-journal-"));
  const store = await open(directory);
  const remove = async (): Promise<void> => {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  };
  return [store, remove];
}

function timed(work: () => void, pages: number): number {
  const begin = performance.now();
  work();
  return ((performance.now() - begin) * MICROSECONDS) / pages;
}

/** Each turn loads a relation of its own. */
async function loads(name: string, role: Role, open: Opener): Promise<Contender> {
  const [store, dispose] = await inDirectory(open);
  const turn = (): number => {
    store.renew();
    return timed(() => load(store, CHANGES), CHANGES);
  };
  return {
    ...{ name, role, operations: 1, run: turn, turn, dispose },
    check() {
      turn();
      expectValues(store, (block) => block + 1, CHANGES);
    },
  };
}

async function updates(name: string, role: Role, open: Opener): Promise<Contender> {
  const [store, dispose] = await inDirectory(open);
  load(store, FILE_PAGES);
  const blocks = shuffledBlocks(FILE_PAGES);
  const values = Array.from({ length: FILE_PAGES }, (_, block) => block + 1);
  let turns = 0;
  const turn = (): number => {
    const first = (turns * CHANGES) % FILE_PAGES;
    turns += 1;
    const some = blocks.slice(first, first + CHANGES);
    const value = FILE_PAGES + turns;
    for (const block of some) values[block] = value;
    return timed(() => update(store, some, value), CHANGES);
  };
  return {
    ...{ name, role, operations: 1, run: turn, turn, dispose },
    check() {
      turn();
      expectValues(store, (block) => values[block] ?? 0, FILE_PAGES);
    },
  };
}

async function contenders(
  make: (name: string, role: Role, open: Opener) => Promise<Contender>,
): Promise<Contender[]> {
  const all = [
    await make("palloc", "ours", (directory) => openPalloc(directory, true)),
    await make("full_page_writes off", "also", (directory) => openPalloc(directory, false)),
  ];
  const sqlite = findSqlite();
  if (sqlite === undefined) return all;
  return [...all, await make(SQLITE, "peer", (directory) => openSqlite(sqlite, directory))];
}

/** What a commit costs, when pages are added and when they are changed. */
export const journalRows: readonly Row[] = [
  {
    id: "journal.load",
    name: `load of pages, a durable commit after every ${COMMIT_EVERY}, on files`,
    unit: "µs a page",
    targets: { [SQLITE]: 1 },
    contenders: () => contenders(loads),
  },
  {
    id: "journal.update",
    name: `change of random pages, a durable commit after every ${COMMIT_EVERY}, on files`,
    unit: "µs a page",
    targets: { [SQLITE]: 1 },
    contenders: () => contenders(updates),
  },
];
