/**
 * What a backend does of `select KEY, count(*), avg(delay), max(distance) from flights group by
 * KEY`: takes block ranges from the parallel scan, walks each page's rows under a pin and a share
 * lock, and adds them to its hash aggregation. Everything it allocates lives below one per-query
 * context.
 *
 * A row's key is "detoasted" into the per-tuple context, which is reset after the row: text gets a
 * 4-byte length word instead of the 1-byte header it has on the page, as PostgreSQL does before it
 * hashes a short varlena. That is also how the bytes get from shared into private memory.
 *
 * The loop over rows makes no JavaScript object; the loop over pages makes none either.
 *
 * PostgreSQL: src/backend/executor/execMain.c, standard_ExecutorRun;
 * src/backend/access/heap/heapam.c, heapgettup_pagemode; src/backend/common/detoast.c, detoast_attr
 */

import {
  type Backend,
  type BufferPool,
  DataCorruptedError,
  type MemoryContext,
  type ProcessMemory,
  type Relation,
} from "../../bindings/index.ts";
import { HashAggregate, type HashLimit } from "./aggregate.ts";
import {
  DATE_OFFSET,
  DELAY_OFFSET,
  DISTANCE_OFFSET,
  ORIGIN_OFFSET,
  rowAddress,
  rowCount,
  textLength,
  textStart,
} from "./heap.ts";
import { BLOCKS_PER_RANGE, type ParallelScan, SCAN_DONE } from "./scan.ts";

/** The columns a query may group by. */
export type GroupColumn = "origin" | "date";

/** One query, as the leader hands it to each backend. */
export interface Plan {
  readonly relation: string;
  readonly groupBy: GroupColumn;
  readonly limit: HashLimit;
}

/** A backend's share of the result. */
export interface PartialResult {
  readonly rows: number;
  readonly blocks: number;
  readonly groups: number;
  /** The groups as `HashAggregate.merge` takes them. */
  readonly packed: Uint8Array;
}

const LENGTH_WORD_BYTES = 4;
const LENGTH_SHIFT = 2;
const DATE_BYTES = 8;

/** The SQL text of a plan. */
export function sqlOf(plan: Plan): string {
  const { groupBy, relation } = plan;
  return `select ${groupBy}, count(*), avg(delay), max(distance) from ${relation} group by ${groupBy}`;
}

/** One backend's execution of a plan. */
export class PartialQuery {
  readonly #pool: BufferPool;
  readonly #memory: ProcessMemory;
  readonly #relation: Relation;
  readonly #groupBy: GroupColumn;
  readonly #tuple: MemoryContext;
  readonly #aggregate: HashAggregate;
  #rows = 0;
  #blocks = 0;

  /** @param executor - the per-query context; whoever made it deletes it */
  constructor(backend: Backend, executor: MemoryContext, relation: Relation, plan: Plan) {
    this.#pool = backend.buffers;
    this.#memory = backend.memory;
    this.#relation = relation;
    this.#groupBy = plan.groupBy;
    this.#tuple = executor.createChild("ExprContext");
    this.#aggregate = new HashAggregate(executor, plan.groupBy, plan.limit);
  }

  /**
   * Scans until no blocks are left.
   *
   * @param onRange - called after each range with its first block
   * @throws LimitExceededError when the groups outgrow the limit
   * @throws DataCorruptedError when a page does not hold what was written
   */
  run(scan: ParallelScan, onRange: (first: number) => void): PartialResult {
    for (let first = scan.nextRange(); first !== SCAN_DONE; first = scan.nextRange()) {
      const end = Math.min(first + BLOCKS_PER_RANGE, scan.blocks);
      for (let block = first; block < end; block += 1) this.#scanBlock(block);
      onRange(first);
    }
    const { at, bytes } = this.#aggregate.pack();
    return {
      rows: this.#rows,
      blocks: this.#blocks,
      groups: this.#aggregate.groups,
      packed: this.#memory.u8.slice(at, at + bytes),
    };
  }

  #scanBlock(block: number): void {
    const pool = this.#pool;
    const buffer = pool.pin(this.#relation.id, block);
    try {
      pool.lockShare(buffer);
      try {
        this.#scanPage(pool.offset(buffer), block);
      } finally {
        pool.unlock(buffer);
      }
    } finally {
      pool.unpin(buffer);
    }
    this.#blocks += 1;
  }

  #scanPage(page: number, block: number): void {
    const pool = this.#pool;
    const { i32 } = pool;
    const rows = rowCount(pool, page);
    for (let index = 0; index < rows; index += 1) {
      const row = rowAddress(pool, page, index);
      if (row === 0) throw this.#corrupted(block, `line pointer ${index + 1} leads nowhere`);
      const delay = i32[(row + DELAY_OFFSET) >>> 2] ?? 0;
      const distance = i32[(row + DISTANCE_OFFSET) >>> 2] ?? 0;
      if (this.#groupBy === "origin") this.#addByOrigin(row, delay, distance);
      else this.#addByDate(row, delay, distance);
      this.#tuple.reset();
    }
    if (rows < 0) throw this.#corrupted(block, "the page header's bounds contradict each other");
    this.#rows += rows;
  }

  #addByOrigin(row: number, delay: number, distance: number): void {
    const { u8: frames } = this.#pool;
    const text = row + ORIGIN_OFFSET;
    const length = textLength(this.#pool, text);
    const datum = this.#tuple.alloc(LENGTH_WORD_BYTES + length);
    const { u8, u32 } = this.#memory;
    u32[datum >>> 2] = (LENGTH_WORD_BYTES + length) << LENGTH_SHIFT;
    const from = textStart(text);
    const key = datum + LENGTH_WORD_BYTES;
    for (let i = 0; i < length; i += 1) u8[key + i] = frames[from + i] ?? 0;
    this.#aggregate.add(key, length, delay, distance);
  }

  #addByDate(row: number, delay: number, distance: number): void {
    const datum = this.#tuple.alloc(DATE_BYTES);
    this.#memory.f64[datum >>> 3] = this.#pool.f64[(row + DATE_OFFSET) >>> 3] ?? 0;
    this.#aggregate.add(datum, DATE_BYTES, delay, distance);
  }

  #corrupted(block: number, detail: string): DataCorruptedError {
    const { name } = this.#relation;
    const message = `invalid page in block ${block} of relation "${name}"`;
    return new DataCorruptedError(message, { relation: name, block }, { detail });
  }
}
