// Proves that the catalog of tables says what is so: descriptions of any length, seen by all
// backends under its lock, there after a crash if and only if the checkpoint had them.

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Backend, Session, SharedMemory } from "../../bindings/index.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { TableCatalog, type TableDescription } from "../../examples/flights/table-catalog.ts";
import { openPool } from "../support/pool.ts";

/** What may be said of any table here. */
const stored = { file: 77, pages: 1 };

const flights = (rows: number): TableDescription => ({
  kind: "flights",
  rows,
  source: { path: "/flights.parquet" },
  columns: [{ name: "date" }],
  ...stored,
});

const wide: TableDescription = {
  kind: "csv",
  source: { path: "/wide.csv", bytes: 7, modified: 1 } as never,
  rows: 3,
  columns: Array.from({ length: 1_600 }, (_, index) => ({
    name: `column ${index} é`,
    number: true,
    text: false,
  })),
  ...stored,
};

/** A session and its catalog: each call is a transaction. */
class Tables {
  readonly session: Session;
  readonly catalog: TableCatalog;

  constructor(backend: Backend) {
    this.session = Session.open(backend);
    this.catalog = new TableCatalog(backend);
  }

  find(name: string): TableDescription | undefined {
    return this.session.transaction(() => this.catalog.find(name));
  }

  add(name: string, description: TableDescription): void {
    this.session.transaction(() => this.catalog.add(name, description));
  }

  remove(name: string): void {
    this.session.transaction(() => this.catalog.remove(name));
  }
}

describe("the catalog of tables", () => {
  it("describes a table to all backends until it is removed", async () => {
    const pool = await openPool({ checked: true, files: false });
    const one = new Tables(pool.attach());
    const other = new Tables(pool.attach());
    expect(other.find("flights")).toBeUndefined();
    one.add("flights", flights(7));
    expect(other.find("flights")).toEqual(flights(7));
    one.add("flights", flights(8));
    expect(other.find("flights")).toEqual(flights(8));
    expect(one.find("trains")).toBeUndefined();
    other.remove("flights");
    expect(one.find("flights")).toBeUndefined();
    expect(one.catalog.names()).toEqual([]);
  });

  it("takes a description longer than a page", async () => {
    const pool = await openPool({ checked: true, files: false });
    const one = new Tables(pool.attach());
    const other = new Tables(pool.attach());
    one.add("wide", wide);
    one.add("flights", flights(7));
    expect(other.find("wide")).toEqual(wide);
    expect(one.catalog.names().sort()).toEqual(["flights", "wide"]);
    other.remove("wide");
    expect(one.catalog.names()).toEqual(["flights"]);
    expect(one.find("wide")).toBeUndefined();
  });

  it("opens a table under a lock that lasts as long as the transaction", async () => {
    const pool = await openPool({ checked: true, files: false });
    const backend = pool.attach();
    const one = new Tables(backend);
    const other = new Tables(pool.attach());
    const { number: file } = backend.createRelationSync("flights");
    one.add("flights", { ...flights(7), file });
    const modes = (): string[] => backend.locks.rows().map(({ mode }) => mode);
    other.session.transaction(() => {
      const { relation, description } = other.catalog.open("flights", "AccessShareLock");
      expect([relation.number, description.rows]).toEqual([file, 7]);
      expect(modes()).toEqual(["AccessShareLock"]);
    });
    expect(modes()).toEqual([]);
    expect(() =>
      other.session.transaction(() => other.catalog.open("trains", "AccessShareLock")),
    ).toThrow('relation "trains" does not exist');
  });

  it("opens the table that there is when the lock is had, and not the one it had heard of", async () => {
    const pool = await openPool({ checked: true, files: false });
    const backend = pool.attach();
    const one = new Tables(backend);
    const late = new Tables(pool.attach());
    const { number: old } = backend.createRelationSync("flights");
    one.add("flights", { ...flights(7), file: old });
    // Made anew, under another number, after the other's transaction has begun.
    const opened = late.session.transaction(() => {
      expect(late.catalog.find("flights")?.file).toBe(old);
      backend.dropRelationSync("flights");
      const { number: file } = backend.createRelationSync("flights");
      one.add("flights", { ...flights(8), file });
      expect(late.catalog.find("flights")?.file).toBe(old);
      return late.catalog.open("flights", "AccessShareLock");
    });
    expect(opened.description.rows).toBe(8);
    expect(opened.relation.number).toBeGreaterThan(old);
    expect(backend.locks.rows()).toEqual([]);
  });

  it("comes back with the checkpoint that had it, and with no later one's", async () => {
    const pool = await openPool({ checked: true, files: true });
    const backend = pool.attach();
    const tables = new Tables(backend);
    backend.createRelationSync("flights");
    tables.add("flights", flights(7));
    backend.checkpointSync();
    tables.add("flights", flights(8));
    tables.add("trains", flights(9));
    backend.buffers.flushSync();
    // What a crash leaves: the files as they are, pages of after the checkpoint among them.
    const copy = mkdtempSync(join(tmpdir(), "palloc-crashed-"));
    cpSync(pool.directory, copy, { recursive: true });
    const shared = await SharedMemory.create({
      settings: { shared_buffers: 64 },
      storage: nodeFiles(copy),
    });
    const after = await Backend.attach(shared.handle);
    const recovered = new TableCatalog(after);
    expect(recovered.find("flights")).toEqual(flights(7));
    expect(recovered.find("trains")).toBeUndefined();
    after.detach();
    await shared.close();
    rmSync(copy, { recursive: true });
  });
});
