/**
 * What tables there are, in a catalog relation: the file of each, how many pages and rows it has,
 * where they came from, its columns. A table exists if it has a row here. The row is written in the
 * transaction that fills the table, and the checkpoint that follows commits pages and row together;
 * so whatever interrupts a load, a table that is described is complete.
 *
 * Rows are found through the catalog cache. What it finds may be out of date until the table's lock
 * is held: taking the lock brings what others have changed, so {@link TableCatalog.open} looks,
 * locks and looks again.
 *
 *   who changes   AccessExclusiveLock on the table · row written · commit: others are told, then
 *                 the lock is released
 *   who looks     finds the row · any lock on the table · finds the row again, as it is
 *
 * A description that is longer than a row may be stands in parts; the first is written last, and
 * goes first: who looks in between finds no table.
 *
 * PostgreSQL: src/include/catalog/pg_class.h; src/backend/catalog/heap.c, heap_create_with_catalog;
 * src/backend/catalog/namespace.c, RangeVarGetRelidExtended
 */

import {
  type Backend,
  type Catalog,
  CatalogRelation,
  type CatalogStatistics,
  DataCorruptedError,
  type LockMode,
  PallocError,
  type Relation,
} from "../../bindings/index.ts";
import type { CsvTable } from "./csv/table.ts";

/** A table of flights. */
export interface FlightsTable {
  readonly kind: "flights";
  readonly rows: number;
  /** The file its rows came from. */
  readonly source: { readonly path: string };
  readonly columns: readonly { readonly name: string }[];
}

/** What a table holds. */
export type TableContent = FlightsTable | (CsvTable & { readonly kind: "csv" });

/** What is known of a table. */
export type TableDescription = TableContent & {
  /** Number of its relation, which names its file: `relfilenode`. */
  readonly file: number;
  /** Its length: `relpages`. Exact, since a table is written once. */
  readonly pages: number;
};

/** A table under a lock. */
export interface OpenTable {
  readonly relation: Relation;
  readonly description: TableDescription;
}

/** Ours among the relations. */
export const CATALOG_RELATION = "catalog.relations";
/** One part of a description, in bytes; a row has at most 8,145 with its keys. */
const PART_BYTES = 7000;
/** Excludes others who write, and nobody who reads. */
const WRITER_LOCK: LockMode = "ShareRowExclusiveLock";

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

  /** What was looked up here so far. */
  get statistics(): CatalogStatistics {
    return this.#catalog.statistics;
  }

  /**
   * What is known of a table, to the backend's best knowledge; undefined if there is none, or none
   * that is complete.
   */
  find(name: string): TableDescription | undefined {
    return this.#catalog.valueSync(name);
  }

  /**
   * Opens a table. The lock is the transaction's: until its end nobody changes what is known of the
   * table in a way that the lock excludes.
   *
   * @throws PallocError 42P01 if there is none
   */
  open(name: string, mode: LockMode): OpenTable {
    const { locks } = this.#backend;
    for (;;) {
      const found = this.find(name);
      if (found === undefined) throw new PallocError("42P01", `relation "${name}" does not exist`);
      locks.lockRelationSync(found.file, mode, "transaction");
      // What others committed before they gave their lock back is known now.
      const description = this.find(name);
      if (description?.file === found.file) return this.#opened(name, description);
      locks.unlockRelationSync(found.file, mode, "transaction");
    }
  }

  /** Names of the tables. */
  names(): string[] {
    const rows = this.#open()?.rowsSync() ?? [];
    return rows.flatMap(({ keys: [name, part] }) => (part === 0 ? [String(name)] : []));
  }

  /**
   * From the end of the transaction on a table exists. Durable with the next checkpoint. The caller
   * has locked the table exclusively.
   */
  add(name: string, description: TableDescription): void {
    const rows = this.#forWriting();
    const text = new TextEncoder().encode(JSON.stringify(description));
    this.#catalog.changeSync([name], () => {
      for (let part = Math.ceil(text.length / PART_BYTES); part-- > 0; ) {
        const first = part * PART_BYTES;
        rows.writeSync([name, part], text.subarray(first, first + PART_BYTES));
      }
    });
  }

  /** From the end of the transaction on it does not; as {@link add}. */
  remove(name: string): void {
    const rows = this.#forWriting();
    this.#catalog.changeSync([name], () => {
      for (let part = 0; rows.deleteSync(name, part); part += 1);
    });
  }

  #opened(name: string, description: TableDescription): OpenTable {
    const relation = this.#backend.openRelationSync(name);
    if (relation.number === description.file) return { relation, description };
    const message = `relation "${name}" has file ${relation.number} instead of ${description.file}`;
    throw new DataCorruptedError(message, { relation: name });
  }

  /** Reads a description from its pages: the cache has none. */
  #load(name: string): Uint8Array | undefined {
    const rows = this.#open();
    if (rows === undefined) return undefined;
    const { locks } = this.#backend;
    const { number } = rows.relation;
    const parts: Uint8Array[] = [];
    locks.lockRelationSync(number, "AccessShareLock");
    try {
      for (;;) {
        const part = rows.readSync(name, parts.length);
        if (part === undefined) break;
        parts.push(part);
      }
    } finally {
      locks.unlockRelationSync(number, "AccessShareLock");
    }
    return parts.length === 0 ? undefined : Buffer.concat(parts);
  }

  #forWriting(): CatalogRelation {
    const rows = this.#open() ?? this.#create();
    this.#backend.locks.lockRelationSync(rows.relation.number, WRITER_LOCK, "transaction");
    return rows;
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
