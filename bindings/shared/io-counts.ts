/**
 * How a backend counts what it has storage do, for `pg_stat_io` and its neighbours. Counting is a
 * call into wasm, beside a call into storage: it costs nothing one could measure. The clock is
 * looked at only with `track_io_timing`, as in PostgreSQL; without it times stay 0.
 *
 * PostgreSQL: src/backend/utils/activity/pgstat_io.c, pgstat_count_io_op, pgstat_count_io_op_time;
 * pgstat_checkpointer.c, pgstat_bgwriter.c
 */

import {
  COUNTER_EXTEND_BYTES,
  COUNTER_EXTEND_TIME,
  COUNTER_EXTENDS,
  COUNTER_FSYNC_TIME,
  COUNTER_FSYNCS,
  COUNTER_READ_BYTES,
  COUNTER_READ_TIME,
  COUNTER_READS,
  COUNTER_WRITE_BYTES,
  COUNTER_WRITE_TIME,
  COUNTER_WRITES,
  IO_CONTEXT_NORMAL,
  STATISTIC_BUFFERS_CLEAN,
  STATISTIC_BUFFERS_WRITTEN,
  STATISTIC_MAXWRITTEN_CLEAN,
  STATISTIC_NUM_DONE,
  STATISTIC_NUM_REQUESTED,
  STATISTIC_NUM_TIMED,
  STATISTIC_SYNC_TIME,
  STATISTIC_WRITE_TIME,
} from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { SettingValues } from "./settings.ts";

/** The parameter that decides whether I/O is timed. @internal */
export type TimingSettings = Pick<SettingValues, "track_io_timing">;

/** Counts what one backend has storage do. Contexts are IO_CONTEXT_. @internal */
export class IoCounts {
  readonly #exports: SharedExports;
  readonly #settings: TimingSettings;

  /** @param settings - whether to look at the clock; read anew each time */
  constructor(exports: SharedExports, settings: TimingSettings) {
    this.#exports = exports;
    this.#settings = settings;
  }

  // ── Operations on files ────────────────────────────────────────────────────────────────────────

  /** What the other methods want to know as `began`: when the operation begins. */
  begin(): number {
    return this.#settings.track_io_timing ? performance.now() : 0;
  }

  /** One read, of one block or of several side by side, has ended. */
  read(context: number, bytes: number, began: number): void {
    this.#exports.countIo(context, COUNTER_READS, 1, COUNTER_READ_BYTES, bytes);
    this.#time(context, COUNTER_READ_TIME, began);
  }

  /** One write, of one block or of several side by side, has ended. */
  write(context: number, bytes: number, began: number): void {
    this.#exports.countIo(context, COUNTER_WRITES, 1, COUNTER_WRITE_BYTES, bytes);
    this.#time(context, COUNTER_WRITE_TIME, began);
  }

  /** A relation has grown. */
  extend(context: number, bytes: number, began: number): void {
    this.#exports.countIo(context, COUNTER_EXTENDS, 1, COUNTER_EXTEND_BYTES, bytes);
    this.#time(context, COUNTER_EXTEND_TIME, began);
  }

  /** A file has been made durable. Rings and temp relations never do that. */
  fsync(began: number): void {
    this.#exports.countIo(IO_CONTEXT_NORMAL, COUNTER_FSYNCS, 1, COUNTER_FSYNCS, 0);
    this.#time(IO_CONTEXT_NORMAL, COUNTER_FSYNC_TIME, began);
  }

  #time(context: number, counter: number, began: number): void {
    // An operation that began while nobody looked at the clock has no beginning.
    if (began === 0 || !this.#settings.track_io_timing) return;
    this.#exports.countTime(context, counter, performance.now() - began);
  }

  // ── Checkpoints and the background writer ──────────────────────────────────────────────────────

  /** @param timed - because checkpoint_timeout has passed, not because somebody asked */
  checkpointBegun(timed: boolean): void {
    this.#exports.countShared(timed ? STATISTIC_NUM_TIMED : STATISTIC_NUM_REQUESTED, 1);
  }

  /** The checkpoint under way has written more buffers. */
  checkpointWrote(buffers: number): void {
    this.#exports.countShared(STATISTIC_BUFFERS_WRITTEN, buffers);
  }

  /** A checkpoint is durable. Milliseconds, which are measured whatever track_io_timing says. */
  checkpointDone(writeTime: number, syncTime: number): void {
    this.#exports.countShared(STATISTIC_NUM_DONE, 1);
    this.#exports.countSharedTime(STATISTIC_WRITE_TIME, writeTime);
    this.#exports.countSharedTime(STATISTIC_SYNC_TIME, syncTime);
  }

  /** A round of the background writer has ended. @param atLimit - at bgwriter_lru_maxpages */
  cleaned(buffers: number, atLimit: boolean): void {
    this.#exports.countShared(STATISTIC_BUFFERS_CLEAN, buffers);
    if (atLimit) this.#exports.countShared(STATISTIC_MAXWRITTEN_CLEAN, 1);
  }
}
