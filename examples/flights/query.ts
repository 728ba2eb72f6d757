/**
 * What a backend does of an aggregation: takes block ranges from the parallel scan, walks each
 * page's rows under a pin and a share lock, and has them added to its hash aggregation. Everything
 * it allocates lives in the contexts of a session's query. What a row is, only the
 * {@link RowConsumer} knows: flight-rows.ts or csv/rows.ts.
 *
 * The loop over rows makes no JavaScript object; the loop over pages makes none either.
 *
 * PostgreSQL: src/backend/executor/execMain.c, standard_ExecutorRun;
 * src/backend/access/heap/heapam.c, heapgettup_pagemode
 */

import {
  type Backend,
  type BufferPool,
  DataCorruptedError,
  type MemoryContext,
  type Query,
  type Relation,
} from "../../bindings/index.ts";
import { HashAggregate, type HashUse } from "./aggregate.ts";
import { CsvRows } from "./csv/rows.ts";
import type { CsvPlan } from "./csv/table.ts";
import { FlightRows } from "./flight-rows.ts";
import { rowAddress, rowCount } from "./heap.ts";
import { readPages } from "./pages.ts";
import { BLOCKS_PER_RANGE, type ParallelScan, SCAN_DONE } from "./scan.ts";
import type { OpenTable, TableDescription } from "./table-catalog.ts";
import { ColumnState, FlightState, type Transition } from "./transition.ts";

/** The columns of flights a query may group by. */
export type GroupColumn = "origin" | "date";

/** What is asked, by names: `select KEY, aggregates … from RELATION group by KEY`. */
export interface Question {
  readonly relation: string;
  /** Of flights a {@link GroupColumn}; of a CSV table any column. */
  readonly groupBy: string;
  /** Of a CSV table the column to aggregate; of flights it is always the same two. */
  readonly agg: string;
}

/** A question, with what the catalog knows of its table. Each backend makes its own. */
export interface Plan extends Question {
  /** Missing for flights. */
  readonly csv?: CsvPlan;
}

/** A backend's share of the result. */
export interface PartialResult {
  readonly rows: number;
  readonly blocks: number;
  readonly groups: number;
  readonly use: HashUse;
}

/** Takes groups, as `HashAggregate.merge` wants them; may transfer the array. */
export type SendGroups = (packed: Uint8Array<ArrayBuffer>) => void;

/** Takes a scan's rows one by one. */
export interface RowConsumer {
  /** Bytes a row has at least; a line pointer to fewer leads nowhere. */
  readonly leastBytes: number;
  /** @param row - byte address in the region @returns false if it is no row */
  add(row: number): boolean;
}

/** Seeds of the two phases. */
const PARTIAL_SEED = 0;
const FINAL_SEED = 1;

/** Finds out what the names of a question mean. */
export function planOf(question: Question, table: TableDescription): Plan {
  if (table.kind === "flights") return question;
  const index = (wanted: string): number =>
    table.columns.findIndex((column) => column.name === wanted);
  const csv = { ...table, groupBy: index(question.groupBy), agg: index(question.agg) };
  return { ...question, csv };
}

/** The SQL text of a plan. */
export function sqlOf({ groupBy, agg, relation, csv }: Plan): string {
  if (csv === undefined) {
    return `select ${groupBy}, count(*), avg(delay), max(distance) from ${relation} group by ${groupBy}`;
  }
  const key = quoted(groupBy);
  const value = quoted(agg);
  return (
    `select ${key}, count(*), count(${value}), avg(${value}), max(${value}) ` +
    `from ${quoted(relation)} group by ${key}`
  );
}

/** The SQL text of what a cursor over the flights is asked. */
export function cursorSql(relation: string): string {
  return `declare flights cursor for select * from ${relation}`;
}

/** A name as SQL wants it: in quotes unless it is plain. PostgreSQL: quote_identifier */
function quoted(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/**
 * A hash aggregation in a query's context. Its files are the query's: whatever becomes of the
 * query, its owner gives them back.
 */
function aggregateOf(query: Query, transition: Transition, seed: number): HashAggregate {
  const { context: executor } = query;
  const limit = query.memoryLimit("hash");
  const createFile = (context: MemoryContext): ReturnType<Query["createTemporaryFile"]> =>
    query.createTemporaryFile(context);
  return new HashAggregate({ executor, limit, transition, createFile, seed });
}

/** The leader's aggregation, which only combines what the backends have. */
export function finalAggregate(query: Query, { csv }: Plan): HashAggregate {
  const { memory } = query.context;
  const transition = csv === undefined ? new FlightState(memory) : new ColumnState(memory);
  return aggregateOf(query, transition, FINAL_SEED);
}

/** One backend's execution of a plan. */
export class PartialQuery {
  readonly #backend: Backend;
  readonly #pool: BufferPool;
  readonly #relation: Relation;
  readonly #query: Query;
  readonly #tuple: MemoryContext;
  readonly #aggregate: HashAggregate;
  readonly #consumer: RowConsumer;
  #rows = 0;
  #blocks = 0;

  /** @param query - everything is allocated in its contexts, and goes with them */
  constructor(backend: Backend, query: Query, table: OpenTable, question: Question) {
    const { memory, buffers: pool } = backend;
    const { groupBy, csv } = planOf(question, table.description);
    this.#backend = backend;
    this.#pool = pool;
    this.#relation = table.relation;
    this.#query = query;
    const tuple = query.perTuple;
    this.#tuple = tuple;
    if (csv === undefined) {
      const state = new FlightState(memory);
      this.#aggregate = aggregateOf(query, state, PARTIAL_SEED);
      const column = groupBy as GroupColumn;
      this.#consumer = new FlightRows(pool, tuple, this.#aggregate, state, column);
    } else {
      const state = new ColumnState(memory);
      this.#aggregate = aggregateOf(query, state, PARTIAL_SEED);
      this.#consumer = new CsvRows(pool, tuple, this.#aggregate, state, csv);
    }
  }

  /**
   * Scans until no blocks are left, then sends the groups.
   *
   * @param onPage - called with the number of each page that is looked at, pinned and locked
   * @param send - gets the groups, some 64 kB at a time, as `HashAggregate.merge` takes them
   * @throws StorageError 53100 when there is no room for what does not fit into work_mem
   * @throws DataCorruptedError when a page does not hold what was written
   */
  run(scan: ParallelScan, onPage: (block: number) => void, send: SendGroups): PartialResult {
    const source = blocksOf(scan, () => this.#query.checkInterrupts());
    readPages(this.#backend, this.#relation, source, (page, block) => {
      onPage(block);
      this.#scanPage(page, block);
    });
    let groups = 0;
    this.#aggregate.drainPacked((packed, count) => {
      groups += count;
      send(packed);
    });
    return { rows: this.#rows, blocks: this.#blocks, groups, use: this.#aggregate.use };
  }

  #scanPage(page: number, block: number): void {
    const pool = this.#pool;
    const consumer = this.#consumer;
    const { leastBytes } = consumer;
    const rows = rowCount(pool, page);
    for (let index = 0; index < rows; index += 1) {
      const row = rowAddress(pool, page, index, leastBytes);
      if (row === 0) throw this.#corrupted(block, `line pointer ${index + 1} leads nowhere`);
      if (!consumer.add(row)) throw this.#corrupted(block, `row ${index + 1} has no end`);
      this.#tuple.reset();
    }
    if (rows < 0) throw this.#corrupted(block, "the page header's bounds contradict each other");
    this.#rows += rows;
    this.#blocks += 1;
  }

  #corrupted(block: number, detail: string): DataCorruptedError {
    const { name } = this.#relation;
    const message = `invalid page in block ${block} of relation "${name}"`;
    return new DataCorruptedError(message, { relation: name, block }, { detail });
  }
}

/** The blocks of a backend's ranges, one by one. @param atRange - called before each range */
function blocksOf(scan: ParallelScan, atRange: () => void): () => number | undefined {
  let next = 0;
  let end = 0;
  return () => {
    while (next >= end) {
      atRange();
      const first = scan.nextRange();
      if (first === SCAN_DONE) return undefined;
      next = first;
      end = Math.min(first + BLOCKS_PER_RANGE, scan.blocks);
    }
    next += 1;
    return next - 1;
  };
}
