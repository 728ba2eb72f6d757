/**
 * What tables there are, in a catalog relation: which rows each was loaded from, how many it has,
 * its columns. A table exists if it has a row here. The row is written last, after the relation has
 * its name, and the checkpoint that follows commits all of it together; so whatever interrupts a
 * load, a table that is described is complete.
 *
 * Rows are looked up in the backend's catalog cache, under the lock that a change excludes. A
 * description that is longer than a row may be stands in parts; the first is written last.
 *
 * PostgreSQL: src/include/catalog/pg_class.h; src/backend/catalog/heap.c, heap_create_with_catalog
 */

import { type Backend, type Catalog, CatalogRelation } from "../../bindings/index.ts";
import type { CsvTable } from "./csv/table.ts";

/** A table of flights. */
export interface FlightsTable {
  readonly kind: "flights";
  readonly rows: number;
  /** The file its rows came from. */
  readonly source: { readonly path: string };
  readonly columns: readonly { readonly name: string }[];
}

/** What is known of a table. */
export type TableDescription = FlightsTable | (CsvTable & { readonly kind: "csv" });

/** Ours among the relations. */
export const CATALOG_RELATION = "catalog.tables";
/** One part of a description, in bytes; a row has at most 8,145 with its keys. */
const PART_BYTES = 7000;

/** The catalog of tables, for one backend. */
export class TableCatalog {
  readonly #backend: Backend;
  readonly #catalog: Catalog<TableDescription>;
  #rows: CatalogRelation | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
    this.#catalog = backend.catalog.register<TableDescription>("tables", {
      keys: ["string"],
      loadSync: (name) => this.#load(String(name)),
      decode: (row) => JSON.parse(new TextDecoder().decode(row)) as TableDescription,
    });
  }

  /** What is known of a table; undefined if there is none, or none that is complete. */
  find(name: string): TableDescription | undefined {
    const rows = this.#open();
    if (rows === undefined) return undefined;
    const { locks } = this.#backend;
    const { number } = rows.relation;
    locks.lockRelationSync(number, "AccessShareLock");
    try {
      return this.#catalog.valueSync(name);
    } finally {
      locks.unlockRelationSync(number, "AccessShareLock");
    }
  }

  /** Names of the tables. */
  names(): string[] {
    const rows = this.#open()?.rowsSync() ?? [];
    return rows.flatMap(({ keys: [name, part] }) => (part === 0 ? [String(name)] : []));
  }

  /** From now on a table exists. Durable with the next checkpoint. */
  add(name: string, description: TableDescription): void {
    const rows = this.#open() ?? this.#create();
    const text = new TextEncoder().encode(JSON.stringify(description));
    this.#change(rows, name, () => {
      for (let part = Math.ceil(text.length / PART_BYTES); part-- > 0; ) {
        const first = part * PART_BYTES;
        rows.writeSync([name, part], text.subarray(first, first + PART_BYTES));
      }
    });
  }

  /** From now on it does not. */
  remove(name: string): void {
    const rows = this.#open();
    if (rows === undefined) return;
    this.#change(rows, name, () => {
      for (let part = 0; rows.deleteSync(name, part); part += 1);
    });
  }

  /** Changes a description while nobody looks at it; others are told before they can. */
  #change(rows: CatalogRelation, name: string, change: () => void): void {
    const relation = rows.relation.number;
    using _ = this.#backend.locks.acquireSync(
      { type: "relation", relation },
      "AccessExclusiveLock",
    );
    this.#catalog.changeSync([name], change);
  }

  #load(name: string): Uint8Array | undefined {
    const rows = this.#open();
    const parts: Uint8Array[] = [];
    for (;;) {
      const part = rows?.readSync(name, parts.length);
      if (part === undefined) break;
      parts.push(part);
    }
    return parts.length === 0 ? undefined : Buffer.concat(parts);
  }

  #open(): CatalogRelation | undefined {
    const backend = this.#backend;
    if (this.#rows === undefined && backend.relationNamesSync().includes(CATALOG_RELATION)) {
      this.#rows = this.#over(backend.openRelationSync(CATALOG_RELATION));
    }
    return this.#rows;
  }

  #create(): CatalogRelation {
    this.#rows = this.#over(this.#backend.createRelationSync(CATALOG_RELATION));
    return this.#rows;
  }

  #over(relation: CatalogRelation["relation"]): CatalogRelation {
    return new CatalogRelation(this.#backend.buffers, relation);
  }
}
