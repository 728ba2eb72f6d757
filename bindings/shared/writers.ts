/**
 * Writing behind: the background writer keeps frames clean ahead of the clock hand, so that who
 * misses a page seldom has to write one first; the checkpointer takes a checkpoint whenever
 * `checkpoint_timeout` has passed, spread over most of that time.
 *
 *         hand                  next to clean            a round: how many frames will be wanted
 *          ▼                         ▼                   (recent allocations, smoothed), how many
 *   ───────┬─────────────────────────┬──────────────     reusable ones lie ahead already (density);
 *          │ reusable, by estimate   │ to be looked at   the difference is looked for, dirty ones
 *   ───────┴─────────────────────────┴──────────────     are written on the way
 *
 * Both are loops of rounds, written as routines: for a thread of their own or beside other work.
 * A loop ends when the region does. Numbers are doubles where PostgreSQL has floats.
 *
 * Whoever waits for the checkpoint lock makes a spread checkpoint hurry (checkpoint.ts), which is
 * what asking the checkpointer for one is in PostgreSQL: backends take theirs by themselves here.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, BgBufferSync; postmaster/bgwriter.c,
 * BackgroundWriterMain; postmaster/checkpointer.c, CheckpointerMain
 */

import {
  WAIT_BGWRITER_MAIN,
  WAIT_CHECKPOINTER_MAIN,
} from "../../assembly/common/activity-constants.ts";
import {
  BACKEND_CHECKPOINTER,
  BACKEND_WRITER,
  IO_CONTEXT_NORMAL,
  REGION_COMMITTED_OFFSET,
  REGION_STATUS_OFFSET,
  ST_WAIT,
  STATUS_RUNNING,
} from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import { BackendTerminatedError, ClosedError } from "../abi/errors.ts";
import type { Attachment } from "./attachment.ts";
import type { CheckpointOptions, CheckpointResult, Checkpoints } from "./checkpoint.ts";
import type { IoCounts } from "./io-counts.ts";
import type { PageIo } from "./page-io.ts";
import { type Routine, SLEEP } from "./routine.ts";
import type { ResolvedSettings } from "./settings.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
const MILLISECONDS = 1000;
/** Rounds over which demand and density are smoothed. */
const SMOOTHING_ROUNDS = 16;
/** In this time the whole pool is looked at even if nobody wants a buffer. */
const WHOLE_POOL_MS = 120_000;
/** Buffers to look at for one that is reusable, before anything was measured. */
const FIRST_DENSITY = 10;
/** A writer that has nothing to do sleeps this many rounds. */
const HIBERNATE_FACTOR = 50;
/** Rest after an error. */
const AFTER_ERROR_MS = 1000;
/** How often the checkpointer looks whether somebody else has taken a checkpoint. */
const LOOK_MS = 1000;

/** What one round of the background writer saw and did. */
export interface WriterRound {
  /** Buffers asked for since the round before. */
  readonly allocations: number;
  /** Buffers looked at. */
  readonly scanned: number;
  /** Buffers written. */
  readonly written: number;
  /** Whether it stopped at bgwriter_lru_maxpages. */
  readonly atLimit: boolean;
  /** Where the next round goes on, and in which pass over the pool that is. */
  readonly nextToClean: number;
  readonly nextPass: number;
  /** Allocations of a round, smoothed. */
  readonly smoothedAllocations: number;
  /** Buffers passed for one that is reusable, smoothed. */
  readonly smoothedDensity: number;
  /** Nothing was asked for, and everything ahead is clean. */
  readonly mayHibernate: boolean;
}

/** How a loop runs. */
export interface WriterOptions {
  /** Ends it at its next wait. */
  readonly signal?: CancelSignal;
  /** Gets errors; the loop goes on a second later. Default: the loop ends with the error. */
  readonly onError?: (error: unknown) => void;
}

/** What a writer needs of its backend. @internal */
export interface WriterGround {
  readonly attachment: Attachment;
  readonly io: PageIo;
  readonly counts: IoCounts;
  readonly checkpoints: Checkpoints;
  readonly settings: ResolvedSettings;
  runSync<Result>(routine: Routine<Result>): Result;
  run<Result>(routine: Routine<Result>, signal?: CancelSignal): Promise<Result>;
}

/** What is looked at before anything is written. */
interface Start {
  readonly hand: number;
  readonly passes: number;
  readonly allocations: number;
}

/** How much there is to do. */
interface Plan {
  /** Buffers to look at, at most: up to where the hand will be after a whole lap. */
  readonly lap: number;
  /** Reusable buffers that are thought to lie ahead of the hand already. */
  readonly estimate: number;
  /** Reusable buffers that there should be. */
  readonly wanted: number;
}

interface Scan {
  scanned: number;
  reusable: number;
  written: number;
  atLimit: boolean;
}

/**
 * The background writer of a region. Its backend counts as such from then on.
 *
 * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, BgBufferSync
 */
export class BackgroundWriter {
  readonly #ground: WriterGround;
  readonly #results: number;
  /** Position of the round before; undefined before the first. */
  #before: { readonly hand: number; readonly passes: number } | undefined;
  #nextToClean = 0;
  #nextPass = 0;
  #smoothedAllocations = 0;
  #smoothedDensity = FIRST_DENSITY;

  /** @internal */
  constructor(ground: WriterGround) {
    this.#ground = ground;
    const { exports } = ground.attachment;
    this.#results = (exports.scratchAddress() >>> 0) / WORD_BYTES;
    exports.setKind(BACKEND_WRITER);
  }

  /** One round. May wait for storage. */
  roundSync(): WriterRound {
    return this.#ground.runSync(this.#round());
  }

  /** As {@link roundSync}, without blocking the thread in a wait. */
  round(): Promise<WriterRound> {
    return this.#ground.run(this.#round());
  }

  /**
   * A round every `bgwriter_delay`, until the region ends; after two rounds with nothing to do, a
   * sleep fifty times as long, from which the next allocation wakes it. Blocks this thread.
   */
  runSync(options: WriterOptions = {}): void {
    this.#ground.runSync(this.#loop(options));
  }

  /** As {@link runSync}, without blocking the thread in a wait. */
  run(options: WriterOptions = {}): Promise<void> {
    return this.#ground.run(this.#loop(options), options.signal);
  }

  *#loop(options: WriterOptions): Routine<void> {
    const { attachment, settings } = this.#ground;
    let couldHibernate = false;
    const once = function* (this: BackgroundWriter): Routine<void> {
      const { mayHibernate } = yield* this.#round();
      const milliseconds = settings.values.bgwriter_delay;
      yield { op: "delay", milliseconds, event: WAIT_BGWRITER_MAIN };
      if (mayHibernate && couldHibernate) yield* this.#hibernate(milliseconds * HIBERNATE_FACTOR);
      couldHibernate = mayHibernate;
    };
    yield* forEver(attachment, options, once.bind(this));
  }

  /** Sleeps until the time is over or somebody asks for a buffer. */
  *#hibernate(milliseconds: number): Routine<void> {
    const { exports } = this.#ground.attachment;
    const end = performance.now() + milliseconds;
    try {
      while (performance.now() < end && exports.writerHibernate() === ST_WAIT) yield SLEEP;
    } finally {
      exports.writerAwake();
    }
  }

  *#round(): Routine<WriterRound> {
    const { counts, settings } = this.#ground;
    const start = this.#start();
    if (settings.values.bgwriter_lru_maxpages <= 0) {
      this.#before = undefined;
      return this.#result(start, { scanned: 0, reusable: 0, written: 0, atLimit: false }, true);
    }
    const plan = this.#plan(start);
    const scan = yield* this.#clean(plan);
    counts.cleaned(scan.written, scan.atLimit);
    this.#smoothDensity(scan.scanned, scan.reusable);
    return this.#result(start, scan, plan.lap === 0 && start.allocations === 0);
  }

  #start(): Start {
    const { exports } = this.#ground.attachment;
    exports.writerStart();
    return {
      hand: this.#number(0) >>> 0,
      passes: this.#number(1),
      allocations: this.#number(2) >>> 0,
    };
  }

  /** A result of the last call of wasm, as it stands on the scratch page. */
  #number(index: number): number {
    return this.#ground.attachment.i32[this.#results + index] ?? 0;
  }

  #plan({ hand, passes, allocations }: Start): Plan {
    const { buffers } = this.#ground.io;
    const before = this.#before;
    this.#before = { hand, passes };
    const lap = this.#lap(hand, passes, before === undefined);
    if (before !== undefined) {
      const moved = hand - before.hand + ((passes - before.passes) | 0) * buffers;
      this.#smoothDensity(moved, allocations);
    }
    const estimate = Math.trunc((buffers - lap) / this.#smoothedDensity);
    return { lap, estimate, wanted: this.#wanted(allocations, estimate) };
  }

  /** Buffers from where cleaning stands to the hand, a lap later; fallen behind: a whole lap. */
  #lap(hand: number, passes: number, first: boolean): number {
    const { buffers } = this.#ground.io;
    const ahead = (this.#nextPass - passes) | 0;
    if (!first && ahead > 0) return hand - this.#nextToClean;
    if (!first && ahead === 0 && this.#nextToClean >= hand) {
      return buffers - (this.#nextToClean - hand);
    }
    this.#nextToClean = hand;
    this.#nextPass = passes;
    return buffers;
  }

  /** Reusable buffers that there should be: demand rises at once and falls slowly. */
  #wanted(allocations: number, estimate: number): number {
    const { bgwriter_lru_multiplier, bgwriter_delay } = this.#ground.settings.values;
    if (this.#smoothedAllocations <= allocations) this.#smoothedAllocations = allocations;
    else {
      this.#smoothedAllocations += (allocations - this.#smoothedAllocations) / SMOOTHING_ROUNDS;
    }
    const upcoming = Math.trunc(this.#smoothedAllocations * bgwriter_lru_multiplier);
    if (upcoming === 0) this.#smoothedAllocations = 0;
    const least = Math.trunc(this.#ground.io.buffers / (WHOLE_POOL_MS / bgwriter_delay));
    return Math.max(upcoming, least + estimate);
  }

  /** @param passed - buffers passed, of which `reusable` were */
  #smoothDensity(passed: number, reusable: number): void {
    if (passed <= 0 || reusable <= 0) return;
    this.#smoothedDensity += (passed / reusable - this.#smoothedDensity) / SMOOTHING_ROUNDS;
  }

  // ── Looking and writing ────────────────────────────────────────────────────────────────────────

  *#clean({ lap, estimate, wanted }: Plan): Routine<Scan> {
    const limit = this.#ground.settings.values.bgwriter_lru_maxpages;
    const scan: Scan = { scanned: 0, reusable: 0, written: 0, atLimit: false };
    while (scan.scanned < lap && estimate + scan.reusable < wanted && !scan.atLimit) {
      const most = Math.min(this.#ground.io.batchPages, limit - scan.written);
      const batch = this.#collect(scan, lap, wanted - estimate, most);
      yield* this.#write(batch);
      scan.written += batch.length;
      scan.atLimit = scan.written >= limit;
    }
    return scan;
  }

  /** Dirty buffers of the next stretch, guarded and in this backend's write. */
  #collect(scan: Scan, lap: number, wanted: number, most: number): number[] {
    const { exports } = this.#ground.attachment;
    const batch: number[] = [];
    while (batch.length < most && scan.scanned < lap && scan.reusable < wanted) {
      const left = wanted - scan.reusable;
      const begun = exports.writerScan(this.#nextToClean, lap - scan.scanned, left);
      const looked = this.#number(0);
      scan.scanned += looked;
      scan.reusable += this.#number(1);
      this.#advance(looked);
      if (begun >= 0) batch.push(begun);
    }
    return batch;
  }

  #advance(looked: number): void {
    const { buffers } = this.#ground.io;
    this.#nextToClean += looked;
    if (this.#nextToClean < buffers) return;
    this.#nextToClean -= buffers;
    this.#nextPass = (this.#nextPass + 1) | 0;
  }

  *#write(batch: readonly number[]): Routine<void> {
    if (batch.length === 0) return;
    const { attachment, io } = this.#ground;
    try {
      yield* io.write(batch, IO_CONTEXT_NORMAL);
    } finally {
      for (const buffer of batch) attachment.exports.dropGuard(buffer);
    }
  }

  #result({ allocations }: Start, scan: Scan, mayHibernate: boolean): WriterRound {
    return {
      allocations,
      scanned: scan.scanned,
      written: scan.written,
      atLimit: scan.atLimit,
      nextToClean: this.#nextToClean,
      nextPass: this.#nextPass,
      smoothedAllocations: this.#smoothedAllocations,
      smoothedDensity: this.#smoothedDensity,
      mayHibernate,
    };
  }
}

/**
 * The checkpointer of a region. Its backend counts as such from then on.
 *
 * @see PostgreSQL: src/backend/postmaster/checkpointer.c, CheckpointerMain
 */
export class Checkpointer {
  readonly #ground: WriterGround;
  /** When the last checkpoint began, or was noticed if it was another backend's. */
  #last = performance.now();
  #committed: number;

  /** @internal */
  constructor(ground: WriterGround) {
    this.#ground = ground;
    this.#committed = this.#committedNow();
    ground.attachment.exports.setKind(BACKEND_CHECKPOINTER);
  }

  /**
   * A checkpoint as time would ask for it, now: spread over `checkpoint_completion_target` of
   * `checkpoint_timeout`, but at full speed from when somebody waits for it. Blocks this thread.
   */
  timedSync(options: CheckpointOptions = {}): CheckpointResult {
    return this.#ground.runSync(this.#timed(options));
  }

  /** As {@link timedSync}, without blocking the thread in a wait. */
  timed(options: CheckpointOptions = {}, signal?: CancelSignal): Promise<CheckpointResult> {
    return this.#ground.run(this.#timed(options), signal);
  }

  /**
   * A checkpoint whenever `checkpoint_timeout` has passed since the last one of any backend, until
   * the region ends. Blocks this thread.
   */
  runSync(options: WriterOptions = {}): void {
    this.#ground.runSync(this.#loop(options));
  }

  /** As {@link runSync}, without blocking the thread in a wait. */
  run(options: WriterOptions = {}): Promise<void> {
    return this.#ground.run(this.#loop(options), options.signal);
  }

  *#loop(options: WriterOptions): Routine<void> {
    const { attachment, settings } = this.#ground;
    const once = function* (this: Checkpointer): Routine<void> {
      const committed = this.#committedNow();
      if (committed !== this.#committed) this.#last = performance.now();
      this.#committed = committed;
      const due = this.#last + settings.values.checkpoint_timeout * MILLISECONDS;
      const left = due - performance.now();
      if (left > 0) {
        const milliseconds = Math.min(left, LOOK_MS);
        yield { op: "delay", milliseconds, event: WAIT_CHECKPOINTER_MAIN };
      } else yield* this.#timed({});
    };
    yield* forEver(attachment, options, once.bind(this));
  }

  *#timed(options: CheckpointOptions): Routine<CheckpointResult> {
    const { checkpoint_completion_target, checkpoint_timeout } = this.#ground.settings.values;
    const began = performance.now();
    const spreadSeconds = checkpoint_completion_target * checkpoint_timeout;
    const result = yield* this.#ground.checkpoints.run({ spreadSeconds, ...options }, true);
    this.#last = began;
    this.#committed = this.#committedNow();
    return result;
  }

  #committedNow(): number {
    return Atomics.load(this.#ground.attachment.i32, REGION_COMMITTED_OFFSET / WORD_BYTES);
  }
}

/** Repeats until the region, the backend or the signal ends it. */
function* forEver(
  attachment: Attachment,
  { signal, onError }: WriterOptions,
  once: () => Routine<void>,
): Routine<void> {
  const isOver = (): boolean =>
    signal?.aborted === true ||
    Atomics.load(attachment.i32, REGION_STATUS_OFFSET / WORD_BYTES) !== STATUS_RUNNING;
  let failed = false;
  attachment.interrupts.ignoreCancel();
  while (!isOver()) {
    try {
      if (failed) yield { op: "delay", milliseconds: AFTER_ERROR_MS };
      failed = false;
      yield* once();
    } catch (error) {
      // The region's end is no error; but what made it end is, and is told first.
      const ended = isOver() && isEnd(error);
      if (ended || error instanceof ClosedError || error instanceof BackendTerminatedError) return;
      if (onError === undefined) throw error;
      onError(error);
      failed = true;
    }
  }
}

/** 57P01, 57P02: the region has ended; 57014: the signal says so. */
function isEnd(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" && /^57P0[12]$|^57014$/.test(code);
}
