/**
 * Shared memory as the rows of PostgreSQL's views: their columns, in their order, of the types in
 * which a JavaScript client of PostgreSQL gets them. Nothing is locked: each row is right, the set
 * of them is a moment's blur. What cannot happen is null, not 0.
 *
 * Deliberate differences: `numeric` columns are numbers here, exact to 2^53, and not texts. There
 * is one database and one tablespace, both 0. Contexts `init` and objects `wal` have no rows,
 * because nothing here does I/O of that kind. `writebacks` are null: nothing tells the system to
 * begin writing early.
 *
 * PostgreSQL: contrib/pg_buffercache/pg_buffercache_pages.c; src/backend/utils/adt/pgstatfuncs.c,
 * pg_stat_get_io; src/backend/utils/activity/pgstat_io.c, pgstat_tracks_io_op
 */

import {
  BACKEND_CHECKPOINTER,
  BACKEND_CLIENT,
  BACKEND_IO_WORKER,
  BACKEND_WRITER,
  COUNTER_EVICTIONS,
  COUNTER_EXTEND_BYTES,
  COUNTER_EXTEND_TIME,
  COUNTER_EXTENDS,
  COUNTER_FSYNC_TIME,
  COUNTER_FSYNCS,
  COUNTER_HITS,
  COUNTER_READ_BYTES,
  COUNTER_READ_TIME,
  COUNTER_READS,
  COUNTER_REUSES,
  COUNTER_WRITE_BYTES,
  COUNTER_WRITE_TIME,
  COUNTER_WRITES,
  FORK_BITS,
  IO_CONTEXT_BULKREAD,
  IO_CONTEXT_BULKWRITE,
  IO_CONTEXT_NORMAL,
  IO_CONTEXT_TEMP,
  IO_CONTEXT_VACUUM,
  IO_ROW_BYTES,
  PART_STATISTICS,
  STATE_DIRTY,
  STATE_TAG_VALID,
  STATE_VALID,
  STATISTIC_BUFFERS_CLEAN,
  STATISTIC_BUFFERS_WRITTEN,
  STATISTIC_DEADLOCKS,
  STATISTIC_MAXWRITTEN_CLEAN,
  STATISTIC_NUM_DONE,
  STATISTIC_NUM_REQUESTED,
  STATISTIC_NUM_TIMED,
  STATISTIC_RESET,
  STATISTIC_SLRU_WRITTEN,
  STATISTIC_SYNC_TIME,
  STATISTIC_WRITE_TIME,
  USAGE_MASK,
  USAGE_SHIFT,
} from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { SharedMemoryHandle } from "./handle.ts";
import { countersOf, partOf } from "./statistics.ts";

/** A row of `pg_buffercache`; all but `bufferid` are null while the buffer holds no page. */
export interface BuffercacheRow {
  /** 1 for the first buffer, as in PostgreSQL: the pool's number and one. */
  readonly bufferid: number;
  /** Number of the relation's file. */
  readonly relfilenode: number | null;
  readonly reltablespace: number | null;
  readonly reldatabase: number | null;
  readonly relforknumber: number | null;
  readonly relblocknumber: number | null;
  readonly isdirty: boolean | null;
  /** 0 to 5. */
  readonly usagecount: number | null;
  /** Backends that have the buffer pinned, however often each. */
  readonly pinning_backends: number | null;
}

/** The row of `pg_buffercache_summary()`. */
export interface BuffercacheSummaryRow {
  readonly buffers_used: number;
  readonly buffers_unused: number;
  readonly buffers_dirty: number;
  readonly buffers_pinned: number;
  /** Of the buffers in use; null when there are none. */
  readonly usagecount_avg: number | null;
}

/** A row of `pg_stat_io`. Operations and bytes; hits, evictions and reuses are pages. */
export interface IoRow {
  readonly backend_type: "client backend" | "background writer" | "checkpointer" | "io worker";
  readonly object: "relation" | "temp relation";
  readonly context: "bulkread" | "bulkwrite" | "normal" | "vacuum";
  readonly reads: number | null;
  readonly read_bytes: number | null;
  /** Milliseconds, like all times; 0 while track_io_timing is off. */
  readonly read_time: number | null;
  readonly writes: number | null;
  readonly write_bytes: number | null;
  readonly write_time: number | null;
  readonly writebacks: null;
  readonly writeback_time: null;
  readonly extends: number | null;
  readonly extend_bytes: number | null;
  readonly extend_time: number | null;
  readonly hits: number | null;
  readonly evictions: number | null;
  readonly reuses: number | null;
  readonly fsyncs: number | null;
  readonly fsync_time: number | null;
  /** When counting began: when the region was created. */
  readonly stats_reset: Date;
}

/** The row of `pg_stat_checkpointer`. There are no restartpoints and no SLRUs: those are 0. */
export interface CheckpointerRow {
  readonly num_timed: number;
  readonly num_requested: number;
  readonly num_done: number;
  readonly restartpoints_timed: number;
  readonly restartpoints_req: number;
  readonly restartpoints_done: number;
  /** Milliseconds spent writing pages. */
  readonly write_time: number;
  /** Milliseconds spent making files durable. */
  readonly sync_time: number;
  readonly buffers_written: number;
  readonly slru_written: number;
  readonly stats_reset: Date;
}

/** The row of `pg_stat_bgwriter`. */
export interface BgwriterRow {
  readonly buffers_clean: number;
  /** Rounds that ended because bgwriter_lru_maxpages were written. */
  readonly maxwritten_clean: number;
  /** Buffers that were given to pages. */
  readonly buffers_alloc: number;
  readonly stats_reset: Date;
}

/** The row of `pg_stat_database`, as far as there is something to count. */
export interface DatabaseRow {
  /** Waits that ended with 40P01. */
  readonly deadlocks: number;
  readonly stats_reset: Date;
}

/** A number of `pg_stat_io`: where it stands in a row of counters, and what it counts. */
type IoColumn = readonly [name: keyof IoRow, counter: number, operation: IoOperation];
type IoOperation = "read" | "write" | "writeback" | "extend" | "hit" | "evict" | "reuse" | "fsync";

/** What never happens is not counted. */
const NO_COUNTER = -1;

const IO_COLUMNS: readonly IoColumn[] = [
  ["reads", COUNTER_READS, "read"],
  ["read_bytes", COUNTER_READ_BYTES, "read"],
  ["read_time", COUNTER_READ_TIME, "read"],
  ["writes", COUNTER_WRITES, "write"],
  ["write_bytes", COUNTER_WRITE_BYTES, "write"],
  ["write_time", COUNTER_WRITE_TIME, "write"],
  ["writebacks", NO_COUNTER, "writeback"],
  ["writeback_time", NO_COUNTER, "writeback"],
  ["extends", COUNTER_EXTENDS, "extend"],
  ["extend_bytes", COUNTER_EXTEND_BYTES, "extend"],
  ["extend_time", COUNTER_EXTEND_TIME, "extend"],
  ["hits", COUNTER_HITS, "hit"],
  ["evictions", COUNTER_EVICTIONS, "evict"],
  ["reuses", COUNTER_REUSES, "reuse"],
  ["fsyncs", COUNTER_FSYNCS, "fsync"],
  ["fsync_time", COUNTER_FSYNC_TIME, "fsync"],
];

const BACKEND_TYPES: readonly (readonly [IoRow["backend_type"], kind: number])[] = [
  ["client backend", BACKEND_CLIENT],
  ["background writer", BACKEND_WRITER],
  ["checkpointer", BACKEND_CHECKPOINTER],
  ["io worker", BACKEND_IO_WORKER],
];

const IO_PLACES: readonly (readonly [IoRow["object"], IoRow["context"], row: number])[] = [
  ["relation", "bulkread", IO_CONTEXT_BULKREAD],
  ["relation", "bulkwrite", IO_CONTEXT_BULKWRITE],
  ["relation", "normal", IO_CONTEXT_NORMAL],
  ["relation", "vacuum", IO_CONTEXT_VACUUM],
  ["temp relation", "normal", IO_CONTEXT_TEMP],
];

/** How often a row is read again that changed its page meanwhile. */
const MAX_LOOKS = 8;

/** What the rows are read from. @internal */
export interface ViewedRegion {
  readonly exports: SharedExports;
  readonly handle: SharedMemoryHandle;
  /** Throws once the region or the backend has ended. */
  readonly mustBeOpen: () => void;
}

/** The region of shared memory as the rows of PostgreSQL's views. */
export class SharedViews {
  readonly #region: ViewedRegion;
  readonly #view: DataView;

  /** @internal */
  constructor(region: ViewedRegion) {
    this.#region = region;
    this.#view = new DataView(region.handle.memory.buffer);
  }

  // ── Buffers ────────────────────────────────────────────────────────────────────────────────────

  /** Rows of `pg_buffercache`, one a buffer. {@link eachBuffer} keeps no array of them. */
  pgBuffercache(): BuffercacheRow[] {
    return [...this.eachBuffer()];
  }

  /** The rows of {@link pgBuffercache} one by one, each as it is when it is asked for. */
  *eachBuffer(): IterableIterator<BuffercacheRow> {
    const buffers = this.#region.handle.settings.shared_buffers;
    for (let buffer = 0; buffer < buffers; buffer += 1) {
      this.#region.mustBeOpen();
      yield this.#buffercacheRow(buffer);
    }
  }

  /** The row of `pg_buffercache_summary()`. Cheaper than all rows: no page is named. */
  pgBuffercacheSummary(): BuffercacheSummaryRow {
    this.#region.mustBeOpen();
    const { exports, handle } = this.#region;
    const buffers = handle.settings.shared_buffers;
    let [used, dirty, pinned, usage] = [0, 0, 0, 0];
    for (let buffer = 0; buffer < buffers; buffer += 1) {
      const state = exports.stateOf(buffer);
      if (exports.holders(buffer) > 0) pinned += 1;
      if ((state & STATE_VALID) === 0) continue;
      used += 1;
      usage += usageOf(state);
      if ((state & STATE_DIRTY) !== 0) dirty += 1;
    }
    return {
      buffers_used: used,
      buffers_unused: buffers - used,
      buffers_dirty: dirty,
      buffers_pinned: pinned,
      usagecount_avg: used === 0 ? null : usage / used,
    };
  }

  /** The page is looked at before and after its state, so that a row is of one page. */
  #buffercacheRow(buffer: number): BuffercacheRow {
    const { exports } = this.#region;
    let [file, block] = [exports.fileOf(buffer), exports.blockOf(buffer)];
    let state = exports.stateOf(buffer);
    for (let look = 1; look < MAX_LOOKS; look += 1) {
      const [fileNow, blockNow] = [exports.fileOf(buffer), exports.blockOf(buffer)];
      if (fileNow === file && blockNow === block) break;
      [file, block, state] = [fileNow, blockNow, exports.stateOf(buffer)];
    }
    const holdsPage = (state & STATE_VALID) !== 0 && (state & STATE_TAG_VALID) !== 0;
    const known = <Value>(value: Value): Value | null => (holdsPage ? value : null);
    return {
      bufferid: buffer + 1,
      relfilenode: known(file >>> FORK_BITS),
      reltablespace: known(0),
      reldatabase: known(0),
      relforknumber: known(file & ((1 << FORK_BITS) - 1)),
      relblocknumber: known(block >>> 0),
      isdirty: known((state & STATE_DIRTY) !== 0),
      usagecount: known(usageOf(state)),
      pinning_backends: known(exports.holders(buffer)),
    };
  }

  // ── Input and output ───────────────────────────────────────────────────────────────────────────

  /** Rows of `pg_stat_io`, those of backends that have gone included. */
  pgStatIo(): IoRow[] {
    this.#region.mustBeOpen();
    return BACKEND_TYPES.flatMap(([backend_type, kind]) => {
      const counters = this.#countersOfKind(kind);
      return IO_PLACES.filter(([, , context]) => doesIo(kind, context)).map(
        ([object, ioContext, context]) => {
          const rows = counters.map((first) => first + context * IO_ROW_BYTES);
          const numbers = IO_COLUMNS.map((column) => this.#ioNumber(rows, kind, context, column));
          const key = { backend_type, object, context: ioContext };
          const all = { ...key, ...Object.fromEntries(numbers), stats_reset: this.#reset() };
          return all as unknown as IoRow;
        },
      );
    });
  }

  /** The row of `pg_stat_checkpointer`. */
  pgStatCheckpointer(): CheckpointerRow {
    this.#region.mustBeOpen();
    const part = this.#statistics();
    return {
      num_timed: this.#count(part + STATISTIC_NUM_TIMED),
      num_requested: this.#count(part + STATISTIC_NUM_REQUESTED),
      num_done: this.#count(part + STATISTIC_NUM_DONE),
      restartpoints_timed: 0,
      restartpoints_req: 0,
      restartpoints_done: 0,
      write_time: this.#view.getFloat64(part + STATISTIC_WRITE_TIME, true),
      sync_time: this.#view.getFloat64(part + STATISTIC_SYNC_TIME, true),
      buffers_written: this.#count(part + STATISTIC_BUFFERS_WRITTEN),
      slru_written: this.#count(part + STATISTIC_SLRU_WRITTEN),
      stats_reset: this.#reset(),
    };
  }

  /** The row of `pg_stat_bgwriter`. */
  pgStatBgwriter(): BgwriterRow {
    this.#region.mustBeOpen();
    const part = this.#statistics();
    return {
      buffers_clean: this.#count(part + STATISTIC_BUFFERS_CLEAN),
      maxwritten_clean: this.#count(part + STATISTIC_MAXWRITTEN_CLEAN),
      buffers_alloc: this.#region.exports.allocations() >>> 0,
      stats_reset: this.#reset(),
    };
  }

  /** The row of `pg_stat_database`. */
  pgStatDatabase(): DatabaseRow {
    this.#region.mustBeOpen();
    const part = this.#statistics();
    return { deadlocks: this.#count(part + STATISTIC_DEADLOCKS), stats_reset: this.#reset() };
  }

  /** Addresses of the counters of all backends of a kind, first of those that have gone. */
  #countersOfKind(kind: number): number[] {
    const { exports, handle } = this.#region;
    const { departed, columns } = countersOf(handle);
    const gone = departed[kind];
    const here = columns.filter((_, slot) => exports.slotKind(slot) === kind);
    return gone === undefined ? here : [gone, ...here];
  }

  #ioNumber(
    rows: readonly number[],
    kind: number,
    context: number,
    [name, counter, operation]: IoColumn,
  ): [string, number | null] {
    if (!isPossible(kind, context, operation)) return [name, null];
    const isTime = counter >= COUNTER_READ_TIME;
    const numberAt = (row: number): number =>
      isTime ? this.#view.getFloat64(row + counter, true) : this.#count(row + counter);
    return [name, rows.reduce((sum, row) => sum + numberAt(row), 0)];
  }

  #statistics(): number {
    return partOf(this.#region.handle.memory.buffer, PART_STATISTICS).off;
  }

  #count(at: number): number {
    return Number(this.#view.getBigUint64(at, true));
  }

  #reset(): Date {
    return new Date(this.#view.getFloat64(this.#statistics() + STATISTIC_RESET, true));
  }
}

function usageOf(state: number): number {
  return (state & USAGE_MASK) >>> USAGE_SHIFT;
}

/** Whether backends of a kind do any I/O in a context. */
function doesIo(kind: number, context: number): boolean {
  return (
    (kind !== BACKEND_WRITER && kind !== BACKEND_CHECKPOINTER) || context === IO_CONTEXT_NORMAL
  );
}

/** Whether backends of a kind can do an operation in a context at all. */
function isPossible(kind: number, context: number, operation: IoOperation): boolean {
  const hasRing = context !== IO_CONTEXT_NORMAL && context !== IO_CONTEXT_TEMP;
  switch (operation) {
    case "write":
      return true;
    case "writeback":
      return false;
    case "fsync":
      return context === IO_CONTEXT_NORMAL;
    case "reuse":
      return hasRing;
    default:
      if (kind === BACKEND_WRITER || kind === BACKEND_CHECKPOINTER) return false;
      return operation !== "extend" || context !== IO_CONTEXT_BULKREAD;
  }
}
