// Proves that the catalog of tables says what is so: descriptions of any length, seen by all
// backends under its lock, there after a crash if and only if the checkpoint had them.

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Backend, SharedMemory } from "../../bindings/index.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { TableCatalog, type TableDescription } from "../../examples/flights/table-catalog.ts";
import { openPool } from "../support/pool.ts";

const flights = (rows: number): TableDescription => ({
  kind: "flights",
  rows,
  source: { path: "/flights.parquet" },
  columns: [{ name: "date" }],
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
};

describe("the catalog of tables", () => {
  it("describes a table to all backends until it is removed", async () => {
    const pool = await openPool({ checked: true, files: false });
    const one = new TableCatalog(pool.attach());
    const other = new TableCatalog(pool.attach());
    expect(other.find("flights")).toBeUndefined();
    one.add("flights", flights(7));
    expect(other.find("flights")).toEqual(flights(7));
    one.add("flights", flights(8));
    expect(other.find("flights")).toEqual(flights(8));
    expect(one.find("trains")).toBeUndefined();
    other.remove("flights");
    expect(one.find("flights")).toBeUndefined();
    expect(one.names()).toEqual([]);
  });

  it("takes a description longer than a page", async () => {
    const pool = await openPool({ checked: true, files: false });
    const one = new TableCatalog(pool.attach());
    const other = new TableCatalog(pool.attach());
    one.add("wide", wide);
    one.add("flights", flights(7));
    expect(other.find("wide")).toEqual(wide);
    expect(one.names().sort()).toEqual(["flights", "wide"]);
    other.remove("wide");
    expect(one.names()).toEqual(["flights"]);
    expect(one.find("wide")).toBeUndefined();
  });

  it("comes back with the checkpoint that had it, and with no later one's", async () => {
    const pool = await openPool({ checked: true, files: true });
    const backend = pool.attach();
    const tables = new TableCatalog(backend);
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
