/**
 * Fills the table: rows of a Parquet file into heap pages of a new relation, through the buffer
 * pool. The relation is several times larger than the pool, so the clock sweep soon evicts pages
 * that are still dirty and writes them back.
 *
 * The rows go into a relation of a temporary name. After the last one a checkpoint makes them
 * durable, then the relation is renamed, which is one atomic replacement of the control file: the
 * table exists under its own name if and only if it is complete. Whatever interrupts a load, the
 * next one finds the temporary name, drops it and begins again.
 */

import {
  type Backend,
  type BufferPool,
  initPage,
  PallocError,
  type Relation,
} from "../../bindings/index.ts";
import { addRow, MAX_TEXT_BYTES } from "./heap.ts";
import type { LoadOutcome, LoadProgress } from "./messages.ts";
import { type FlightColumns, withFlights } from "./parquet.ts";

/** Blocks the relation grows by at a time. */
const EXTEND_BLOCKS = 64;
/** Ends the name of a relation that is being loaded. */
const UNFINISHED = ".loading";
/** Rows between two reports of progress. */
const PROGRESS_ROWS = 30_000;

/** What to load. */
export interface LoadOptions {
  /** Parquet file to read. */
  readonly source: string;
  /** Relation to have in the end. */
  readonly relation: string;
  /** Rows to load at most. */
  readonly maxRows: number;
  readonly onProgress: (progress: LoadProgress) => void;
}

/**
 * Loads the relation unless it exists.
 *
 * @throws Error when the file cannot be read or a value does not fit its column
 */
export async function ensureLoaded(backend: Backend, options: LoadOptions): Promise<LoadOutcome> {
  const names = backend.relationNamesSync();
  if (names.includes(options.relation)) {
    const blocks = backend.openRelationSync(options.relation).blocksSync();
    const nothing = { rows: 0, seconds: 0, checkpointSeconds: 0, checkpointBuffers: 0 };
    return { loaded: false, restarted: false, blocks, ...nothing };
  }
  // One load runs at a time, so whatever has such a name was interrupted.
  const abandoned = names.filter((name) => name.endsWith(UNFINISHED));
  for (const name of abandoned) backend.dropRelationSync(name);

  const started = performance.now();
  const unfinished = `${options.relation}${UNFINISHED}`;
  const relation = backend.createRelationSync(unfinished);
  const rows = await copyRows(backend, relation, options);
  const copied = performance.now();
  const { buffersWritten } = backend.checkpointSync({
    onProgress: (done, total) => options.onProgress({ phase: "checkpoint", done, total }),
  });
  backend.renameRelationSync(unfinished, options.relation);
  const ended = performance.now();
  return {
    loaded: true,
    restarted: abandoned.length > 0,
    rows,
    blocks: relation.blocksSync(),
    seconds: (ended - started) / 1000,
    checkpointSeconds: (ended - copied) / 1000,
    checkpointBuffers: buffersWritten,
  };
}

function copyRows(backend: Backend, relation: Relation, options: LoadOptions): Promise<number> {
  return withFlights(options.source, async (file) => {
    const total = Math.min(file.rows, options.maxRows);
    const writer = new HeapWriter(backend.buffers, relation);
    try {
      for await (const columns of file.rowGroups()) {
        const end = Math.min(columns.rows, total - writer.rows);
        for (let row = 0; row < end; row += 1) {
          writer.add(columns, row);
          if (writer.rows % PROGRESS_ROWS === 0) {
            options.onProgress({ phase: "rows", done: writer.rows, total });
          }
        }
        // Decoding the next row group is awaited, and no lock is held meanwhile.
        writer.finish();
        if (writer.rows === total) break;
      }
    } catch (error) {
      writer.abandon();
      throw error;
    }
    return writer.rows;
  });
}

const NO_PAGE = -1;

/** Appends rows to a relation, one exclusively locked page at a time. */
class HeapWriter {
  readonly #pool: BufferPool;
  readonly #relation: Relation;
  /** The buffer being filled, pinned, locked and under change; or none. */
  #buffer: ReturnType<BufferPool["pin"]> | undefined;
  #page = NO_PAGE;
  #nextBlock = 0;
  #endBlock = 0;
  #rows = 0;

  constructor(pool: BufferPool, relation: Relation) {
    this.#pool = pool;
    this.#relation = relation;
  }

  get rows(): number {
    return this.#rows;
  }

  add(columns: FlightColumns, row: number): void {
    const date = notNull(columns.date[row], "date");
    const delay = int32(notNull(columns.delay[row], "delay"));
    const distance = int32(notNull(columns.distance[row], "distance"));
    const origin = text(notNull(columns.origin[row], "origin"));
    const destination = text(notNull(columns.destination[row], "destination"));
    if (this.#page === NO_PAGE) this.#startPage();
    while (!addRow(this.#pool, this.#page, date, delay, distance, origin, destination)) {
      this.finish();
      this.#startPage();
    }
    this.#rows += 1;
  }

  /** Commits the page being filled. */
  finish(): void {
    if (this.#buffer === undefined) return;
    this.#pool.endChange(this.#buffer);
    this.#release(this.#buffer);
  }

  /** Takes back the page being filled; after an error. */
  abandon(): void {
    if (this.#buffer === undefined) return;
    this.#pool.undoChange(this.#buffer);
    this.#release(this.#buffer);
  }

  #startPage(): void {
    if (this.#nextBlock === this.#endBlock) {
      this.#nextBlock = this.#pool.extendSync(this.#relation, EXTEND_BLOCKS);
      this.#endBlock = this.#nextBlock + EXTEND_BLOCKS;
    }
    const buffer = this.#pool.pinZeroed(this.#relation.id, this.#nextBlock);
    this.#nextBlock += 1;
    this.#pool.beginChange(buffer);
    this.#buffer = buffer;
    this.#page = this.#pool.offset(buffer);
    initPage(this.#pool.bytes(buffer));
  }

  #release(buffer: ReturnType<BufferPool["pin"]>): void {
    this.#buffer = undefined;
    this.#page = NO_PAGE;
    this.#pool.unlock(buffer);
    this.#pool.unpin(buffer);
  }
}

function notNull<Value>(value: Value | null | undefined, column: string): Value {
  if (value !== undefined && value !== null) return value;
  const message = `null value in column "${column}" of relation "flights" violates not-null constraint`;
  throw new PallocError("23502", message);
}

function int32(value: bigint): number {
  const number = Number(value);
  if ((number | 0) === number) return number;
  throw new PallocError("22003", `value "${value}" is out of range for type integer`);
}

function text(value: Uint8Array): Uint8Array {
  if (value.length <= MAX_TEXT_BYTES) return value;
  throw new PallocError("22001", `value of ${value.length} bytes is too long for a short varlena`, {
    detail: `The longest text a row can hold is ${MAX_TEXT_BYTES} bytes.`,
  });
}
