/**
 * Reading ahead: a scan that says beforehand which blocks it will want gets neighbours that are not
 * in the pool by one read.
 *
 *   source ─► window ─────────────────────────► run ──────────► ahead ─► next
 *             numbers of blocks, `distance` of  frames for the  pinned, in order
 *             them; storage gets a hint of      first and its
 *             those that lie apart              neighbours, one read
 *
 * The distance is 1 where pages are in the pool: each hit takes one from it. Each read doubles it,
 * up to io_combine_limit where blocks follow one another, because the system reads ahead by itself
 * there; and where they do not and storage takes hints, up to that many for each of the
 * effective_io_concurrency reads that may be under way.
 *
 * Rules that keep streams from waiting for each other: the first block of a run may wait, for
 * another backend's read or for a frame. From then on this backend owns a read that has not begun,
 * so that the neighbours never wait: who cannot be had at once ends the run. A neighbour that
 * another backend reads stays pinned and is waited for when its turn has come. A read is begun and
 * ended within one call; between two calls a stream has pins and nothing else.
 *
 * What fails, fails in its turn: of pages read together those that are good are delivered, and
 * where storage refuses to read several it is asked for each.
 *
 * PostgreSQL: src/backend/storage/aio/read_stream.c, read_stream_next_buffer,
 * read_stream_look_ahead; src/backend/storage/buffer/bufmgr.c, StartReadBuffers, WaitReadBuffers
 */

import {
  BUFFER_MASK,
  IN_PROGRESS,
  IO_CONTEXT_NORMAL,
  NEED_READ,
} from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import { ClosedError, DataCorruptedError, PallocError } from "../abi/errors.ts";
import type { BufferId, ForkId } from "../abi/pointers.ts";
import { checkBlocks, StorageError } from "../storage/manager.ts";
import { locateNow } from "./locate-now.ts";
import type { BufferPoolParts, ReadMode } from "./number-pool.ts";
import { ReadHints } from "./read-hints.ts";
import type { Routine } from "./routine.ts";
import { pinBudget, type Strategy } from "./strategy.ts";
import { isTemporary } from "./temp-numbers.ts";

/** Blocks from `first` up to but not `end`. */
export interface BlockRange {
  readonly first: number;
  readonly end: number;
}

/**
 * Which blocks a stream reads: a range, or a function that names the next one at each call, and
 * undefined at the end. It is asked ahead of what the stream has delivered.
 */
export type BlockSource = BlockRange | (() => number | undefined);

/** How a {@link ReadStream} reads. */
export interface ReadStreamOptions {
  /** A ring whose frames are used instead of everybody's; it limits how far the stream reads. */
  readonly strategy?: Strategy;
  /** Blocks to look ahead at most, from 1. Default: as the settings and the pool's size allow. */
  readonly maxBlocks?: number;
  /** What to do about a page that is none. Default `normal`, an error. */
  readonly mode?: Extract<ReadMode, "normal" | "zeroOnError">;
  /** maintenance_io_concurrency instead of effective_io_concurrency. Default false. */
  readonly maintenance?: boolean;
  /** The order is that of the medium, by and large: storage gets no hints. Default false. */
  readonly sequential?: boolean;
  /**
   * All blocks will be asked for: begins at io_combine_limit instead of finding out. Default false.
   */
  readonly full?: boolean;
}

/** A block that has been dealt with ahead of its turn. */
interface Ahead {
  readonly block: number;
  /** Pinned, unless there is an error. */
  readonly buffer: number;
  /** Another backend was reading it. */
  readonly foreign: boolean;
  readonly error?: DataCorruptedError;
}

/** What cannot be said without a routine. */
const LONG_WAY = Symbol("long way");

/**
 * Pages of a relation one after the other, read ahead. What it delivers is the caller's to unpin;
 * what it has pinned ahead it gives back when it is disposed. One call at a time.
 *
 * @example
 * const pool = backend.buffers;
 * const all = { first: 0, end: relation.blocksSync() };
 * for (const buffer of pool.readStream(relation, all)) sum += pool.bytes(buffer)[24] ?? 0;
 */
export class ReadStream {
  readonly #parts: BufferPoolParts;
  readonly #id: ForkId;
  readonly #source: () => number | undefined;
  readonly #strategy: Strategy | undefined;
  readonly #context: number;
  readonly #bad: "error" | "zero";
  readonly #combine: number;
  readonly #maxDistance: number;
  readonly #pinBudget: number;
  readonly #hints: ReadHints | undefined;
  readonly #temporary: boolean;
  #distance: number;
  /** Blocks that were asked for and not yet looked for. */
  #window: number[] = [];
  #ahead: Ahead[] = [];
  #ended = false;
  /** The block behind the last one that was read. */
  #following = -1;
  #block = -1;
  #busy = false;
  #closed = false;

  /** @internal */
  constructor(
    parts: BufferPoolParts,
    id: ForkId,
    source: BlockSource,
    options: ReadStreamOptions = {},
  ) {
    const { settings } = parts;
    const { strategy, maxBlocks = Number.POSITIVE_INFINITY, mode = "normal" } = options;
    if (!(maxBlocks >= 1)) {
      throw new RangeError(`a stream looks ahead by 1 block or more, not ${maxBlocks}`);
    }
    const { maintenance_io_concurrency, effective_io_concurrency } = settings.values;
    const concurrency =
      options.maintenance === true ? maintenance_io_concurrency : effective_io_concurrency;
    this.#parts = parts;
    this.#id = id;
    this.#source = typeof source === "function" ? source : counting(source);
    this.#strategy = strategy;
    this.#context = strategy?.context ?? IO_CONTEXT_NORMAL;
    this.#bad = mode === "zeroOnError" ? "zero" : "error";
    this.#temporary = isTemporary(id);
    this.#pinBudget = pinBudget(settings);
    const pins = Math.min(strategy?.pinLimit ?? this.#pinBudget, this.#pinBudget, maxBlocks);
    const wanted = settings.ioCombineLimit * (concurrency + 1);
    this.#maxDistance = Math.max(1, Math.min(Math.floor(pins), wanted));
    this.#combine = Math.min(settings.ioCombineLimit, this.#maxDistance);
    this.#distance = options.full === true ? this.#combine : 1;
    const apart = options.sequential !== true && !this.#temporary;
    const hinted = apart && concurrency > 0 && parts.io.takesHints;
    this.#hints = hinted ? new ReadHints(parts, id, concurrency, this.#combine) : undefined;
  }

  /** Number of the block that was delivered last; -1 before the first. */
  get block(): number {
    return this.#block;
  }

  /** How many blocks the stream looks ahead at the moment. */
  get distance(): number {
    return this.#distance;
  }

  /**
   * The next page, pinned for the caller; undefined at the end. May wait for storage, or for
   * another backend that is reading the page.
   *
   * @throws {@link DataCorruptedError} or {@link StorageError} for a page that cannot be read; the
   *   next call goes on behind it. After any other error the next call tries again.
   * @throws {@link ClosedError} after disposal
   * @see PostgreSQL: src/backend/storage/aio/read_stream.c, read_stream_next_buffer
   */
  nextSync(): BufferId | undefined {
    this.#enter();
    try {
      const found = this.#atOnce();
      return found === LONG_WAY ? this.#parts.runSync(this.#slowly()) : found;
    } finally {
      this.#leave();
    }
  }

  /** As {@link nextSync}, without blocking the thread. */
  async next(signal?: CancelSignal): Promise<BufferId | undefined> {
    this.#enter();
    try {
      const found = this.#atOnce();
      if (found !== LONG_WAY) return found;
      const buffer = await this.#parts.run(this.#slowly(), signal);
      if (!this.#closed || buffer === undefined) return buffer;
      this.#unpin(buffer);
      throw new ClosedError("the read stream");
    } finally {
      this.#leave();
    }
  }

  /** {@link nextSync} as a step of a longer routine. @internal */
  *nextRoutine(): Routine<BufferId | undefined> {
    this.#enter();
    try {
      const found = this.#atOnce();
      return found === LONG_WAY ? yield* this.#slowly() : found;
    } finally {
      this.#leave();
    }
  }

  /** All pages; each is unpinned when the next one is asked for. Disposes the stream at the end. */
  *[Symbol.iterator](): Generator<BufferId, void, void> {
    try {
      for (let next = this.nextSync(); next !== undefined; next = this.nextSync()) {
        try {
          yield next;
        } finally {
          this.#unpin(next);
        }
      }
    } finally {
      this[Symbol.dispose]();
    }
  }

  /** As the synchronous iterator, without blocking the thread. */
  async *[Symbol.asyncIterator](): AsyncGenerator<BufferId, void, void> {
    try {
      for (let next = await this.next(); next !== undefined; next = await this.next()) {
        try {
          yield next;
        } finally {
          this.#unpin(next);
        }
      }
    } finally {
      this[Symbol.dispose]();
    }
  }

  /** Gives back what was pinned ahead. Idempotent. */
  [Symbol.dispose](): void {
    this.#closed = true;
    if (!this.#busy) this.#giveBack();
  }

  // ── One page ───────────────────────────────────────────────────────────────────────────────────

  #enter(): void {
    if (this.#closed) throw new ClosedError("the read stream");
    if (this.#busy) {
      throw new PallocError("55000", "the read stream is in use", {
        hint: "Await one call before the next one.",
      });
    }
    this.#busy = true;
  }

  #leave(): void {
    this.#busy = false;
    if (this.#closed) this.#giveBack();
  }

  #giveBack(): void {
    const pinned = this.#ahead.filter(({ error }) => error === undefined);
    this.#ahead = [];
    this.#window = [];
    // A backend that has detached gave back all of its pins.
    if (!this.#parts.attachment.closed) for (const { buffer } of pinned) this.#unpin(buffer);
  }

  #unpin(buffer: number): void {
    if (buffer < 0) this.#parts.local.unpin(buffer as BufferId);
    else this.#parts.attachment.exports.unpin(buffer);
  }

  /** The next page if it is pinned already, or in the pool. */
  #atOnce(): BufferId | undefined | typeof LONG_WAY {
    const [ready] = this.#ahead;
    if (ready !== undefined) {
      if (ready.foreign || ready.error !== undefined) return LONG_WAY;
      this.#ahead.shift();
      return this.#deliver(ready.block, ready.buffer);
    }
    this.#lookAhead();
    const [block] = this.#window;
    if (block === undefined) return undefined;
    const hit = this.#pinHit(block);
    if (hit < 0 && !this.#temporary) return LONG_WAY;
    this.#take();
    this.#shorten();
    return this.#deliver(block, hit);
  }

  #pinHit(block: number): number {
    const { attachment, local } = this.#parts;
    if (this.#temporary) return local.pin(this.#id, block);
    return attachment.exports.pinIn(this.#id, block, this.#context);
  }

  *#slowly(): Routine<BufferId | undefined> {
    if (this.#ahead.length === 0) yield* this.#readRun();
    const next = this.#ahead.shift();
    if (next === undefined) return undefined;
    if (next.error !== undefined) throw next.error;
    if (!next.foreign) return this.#deliver(next.block, next.buffer);
    try {
      const { io } = this.#parts;
      yield* io.arrive(next.buffer, this.#id, next.block, this.#context, this.#bad);
    } catch (error) {
      if (!isOfThePage(error)) this.#putBack(next.block, 1);
      throw error;
    }
    return this.#deliver(next.block, next.buffer);
  }

  #deliver(block: number, buffer: number): BufferId {
    this.#block = block;
    return buffer as BufferId;
  }

  // ── The window ─────────────────────────────────────────────────────────────────────────────────

  #lookAhead(): void {
    while (!this.#ended && this.#window.length < this.#distance) {
      const block = this.#source();
      if (block === undefined) this.#ended = true;
      else {
        checkBlocks(block, 1);
        this.#window.push(block);
      }
    }
    this.#hints?.give(this.#window, this.#ended);
  }

  /** The window's first block is dealt with. */
  #take(): void {
    this.#window.shift();
    this.#hints?.taken(1);
  }

  #putBack(first: number, count: number): void {
    this.#window.unshift(...Array.from({ length: count }, (_, index) => first + index));
    this.#hints?.taken(-count);
  }

  #shorten(): void {
    if (this.#distance > 1) this.#distance -= 1;
  }

  /** After a page that was not in the pool: look further. */
  #lengthen(block: number): void {
    const apart = this.#hints !== undefined && block !== this.#following;
    if (apart) this.#distance = Math.min(2 * this.#distance, this.#maxDistance);
    else if (this.#distance > this.#combine) this.#distance -= 1;
    else this.#distance = Math.min(2 * this.#distance, this.#combine);
  }

  // ── A run ──────────────────────────────────────────────────────────────────────────────────────

  /** Gets the window's first block, and with it neighbours that have to be read as well. */
  *#readRun(): Routine<void> {
    const { io } = this.#parts;
    for (;;) {
      this.#lookAhead();
      const [first] = this.#window;
      if (first === undefined) return;
      const located = yield* io.locate(this.#id, first, this.#context, this.#strategy);
      this.#take();
      const head = aheadOf(first, located);
      if ((located & NEED_READ) === 0) {
        this.#ahead.push(head);
        if (!head.foreign) this.#shorten();
        return;
      }
      const run = [head.buffer];
      const last = this.#addNeighbours(first, run);
      this.#lengthen(first);
      this.#following = first + run.length;
      if (yield* this.#fill(first, run, last)) return;
    }
  }

  /**
   * Adds frames to a run, one for each neighbour that has to be read.
   *
   * @returns the neighbour that ended the run and is pinned now, because it is there already, or
   *   another backend's to read
   */
  #addNeighbours(first: number, run: number[]): Ahead | undefined {
    const { exports } = this.#parts.attachment;
    const spare = this.#pinBudget - exports.pinnedBuffers();
    const most = Math.min(this.#combine, this.#distance, 1 + Math.max(0, spare));
    while (run.length < most && this.#window[0] === first + run.length) {
      const block = first + run.length;
      const status = locateNow(exports, this.#id, block, this.#context, this.#strategy);
      if (status < 0) return undefined;
      this.#take();
      const next = aheadOf(block, status);
      if ((status & NEED_READ) === 0) return next;
      run.push(next.buffer);
    }
    return undefined;
  }

  /** Reads a run: the one place where reads begin and end. False: to be tried page by page. */
  *#fill(first: number, run: readonly number[], last: Ahead | undefined): Routine<boolean> {
    let errors: readonly (DataCorruptedError | undefined)[];
    try {
      errors = yield* this.#parts.io.readEach(this.#id, first, run, this.#context, this.#bad);
    } catch (error) {
      if (last !== undefined) this.#unpin(last.buffer);
      for (const buffer of run) this.#unpin(buffer);
      const all = run.length + (last === undefined ? 0 : 1);
      const ofThePage = isOfThePage(error);
      const passed = ofThePage && run.length === 1 ? 1 : 0;
      this.#putBack(first + passed, all - passed);
      if (!ofThePage || passed > 0) throw error;
      this.#distance = 1;
      return false;
    }
    for (const [index, buffer] of run.entries()) {
      const error = errors[index];
      if (error !== undefined) this.#unpin(buffer);
      const entry = { block: first + index, buffer, foreign: false };
      this.#ahead.push(error === undefined ? entry : { ...entry, error });
    }
    if (last !== undefined) this.#ahead.push(last);
    return true;
  }
}

function aheadOf(block: number, status: number): Ahead {
  return { block, buffer: status & BUFFER_MASK, foreign: (status & IN_PROGRESS) !== 0 };
}

/** Whether an error is about what storage has, and not about how it was asked. */
function isOfThePage(error: unknown): boolean {
  return error instanceof StorageError || error instanceof DataCorruptedError;
}

function counting({ first, end }: BlockRange): () => number | undefined {
  let next = first;
  return () => {
    if (next >= end) return undefined;
    next += 1;
    return next - 1;
  };
}
