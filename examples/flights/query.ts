/**
 * What a backend does of an aggregation: takes block ranges from the parallel scan, walks each
 * page's rows under a pin and a share lock, and has them added to its hash aggregation. Everything
 * it allocates lives below one per-query context. What a row is, only the {@link RowConsumer}
 * knows: flight-rows.ts or csv/rows.ts.
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
  type Relation,
  type TemporaryFile,
} from "../../bindings/index.ts";
import { HashAggregate, type HashUse } from "./aggregate.ts";
import { CsvRows } from "./csv/rows.ts";
import { FlightRows } from "./flight-rows.ts";
import type { HashLimit } from "./hash-limit.ts";
import { rowAddress, rowCount } from "./heap.ts";
import type { CsvPlan } from "./messages.ts";
import { readPages } from "./pages.ts";
import { BLOCKS_PER_RANGE, type ParallelScan, SCAN_DONE } from "./scan.ts";
import { ColumnState, FlightState } from "./transition.ts";

/** The columns of flights a query may group by. */
export type GroupColumn = "origin" | "date";

/** One query, as the leader hands it to each backend. */
export interface Plan {
  readonly relation: string;
  /** Of flights a {@link GroupColumn}; of a CSV table the column's name, for messages alone. */
  readonly groupBy: string;
  readonly limit: HashLimit;
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

/** The SQL text of a plan. */
export function sqlOf({ groupBy, relation, csv }: Plan): string {
  if (csv === undefined) {
    return `select ${groupBy}, count(*), avg(delay), max(distance) from ${relation} group by ${groupBy}`;
  }
  const key = quoted(groupBy);
  const value = quoted(csv.columns[csv.agg]?.name ?? "");
  return (
    `select ${key}, count(*), count(${value}), avg(${value}), max(${value}) ` +
    `from ${quoted(relation)} group by ${key}`
  );
}

/** A name as SQL wants it: in quotes unless it is plain. PostgreSQL: quote_identifier */
function quoted(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** The leader's aggregation, which only combines what the backends have. */
export function finalAggregate(
  backend: Backend,
  executor: MemoryContext,
  { csv, limit }: Plan,
): HashAggregate {
  const { memory } = executor;
  const transition = csv === undefined ? new FlightState(memory) : new ColumnState(memory);
  const createFile = (context: MemoryContext): TemporaryFile =>
    backend.createTemporaryFile(context);
  return new HashAggregate({ executor, limit, transition, createFile, seed: FINAL_SEED });
}

/** One backend's execution of a plan. */
export class PartialQuery {
  readonly #backend: Backend;
  readonly #pool: BufferPool;
  readonly #relation: Relation;
  readonly #tuple: MemoryContext;
  readonly #aggregate: HashAggregate;
  readonly #consumer: RowConsumer;
  #rows = 0;
  #blocks = 0;

  /** @param executor - the per-query context; whoever made it deletes it */
  constructor(backend: Backend, executor: MemoryContext, relation: Relation, plan: Plan) {
    const { memory, buffers: pool } = backend;
    const { groupBy, limit, csv } = plan;
    this.#backend = backend;
    this.#pool = pool;
    this.#relation = relation;
    const tuple = executor.createChild("ExprContext");
    this.#tuple = tuple;
    const createFile = (context: MemoryContext): TemporaryFile =>
      backend.createTemporaryFile(context);
    const seed = PARTIAL_SEED;
    if (csv === undefined) {
      const state = new FlightState(memory);
      this.#aggregate = new HashAggregate({ executor, limit, transition: state, createFile, seed });
      const column = groupBy as GroupColumn;
      this.#consumer = new FlightRows(pool, tuple, this.#aggregate, state, column);
    } else {
      const state = new ColumnState(memory);
      this.#aggregate = new HashAggregate({ executor, limit, transition: state, createFile, seed });
      this.#consumer = new CsvRows(pool, tuple, this.#aggregate, state, csv);
    }
  }

  /**
   * Scans until no blocks are left, then sends the groups.
   *
   * @param onRange - called with the first block of each range, once all of it has been asked for
   * @param send - gets the groups, some 64 kB at a time, as `HashAggregate.merge` takes them
   * @throws StorageError 53100 when there is no room for what does not fit into work_mem
   * @throws DataCorruptedError when a page does not hold what was written
   */
  run(scan: ParallelScan, onRange: (first: number) => void, send: SendGroups): PartialResult {
    const source = blocksOf(scan, onRange);
    readPages(this.#backend, this.#relation, source, (page, block) => this.#scanPage(page, block));
    let groups = 0;
    this.#aggregate.drainPacked((packed, count) => {
      groups += count;
      send(packed);
    });
    return { rows: this.#rows, blocks: this.#blocks, groups, use: this.#aggregate.use };
  }

  /** Removes temporary files, also after an error. Memory goes with the per-query context. */
  close(): void {
    this.#aggregate.close();
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

/** The blocks of a backend's ranges, one by one. */
function blocksOf(scan: ParallelScan, onRange: (first: number) => void): () => number | undefined {
  let first = SCAN_DONE;
  let next = 0;
  let end = 0;
  return () => {
    while (next >= end) {
      if (first !== SCAN_DONE) onRange(first);
      first = scan.nextRange();
      if (first === SCAN_DONE) return undefined;
      next = first;
      end = Math.min(first + BLOCKS_PER_RANGE, scan.blocks);
    }
    next += 1;
    return next - 1;
  };
}
