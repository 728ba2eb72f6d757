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
 * Where I/O workers read, each read doubles the distance as far as pins allow, and runs are given
 * to them ahead, as soon as they are whole; a run is waited for when its first page is asked for.
 *
 * Rules that keep streams from waiting for each other: the first block of a run may wait, for
 * another backend's read or for a frame, while nothing is ahead. From then on this backend owns a
 * read that has not begun, so that the neighbours never wait: who cannot be had at once ends the
 * run. A neighbour that another backend reads stays pinned and is waited for in its turn.
 * What this backend reads itself is begun and ended within one call. What a worker was asked for
 * ends without this backend, whatever that waits for: between two calls a stream has pins, and
 * requests that somebody else carries out.
 *
 * What fails, fails in its turn: of pages read together those that are good are delivered, and
 * where storage refuses to read several it is asked for each.
 *
 * PostgreSQL: src/backend/storage/aio/read_stream.c, read_stream_next_buffer,
 * read_stream_look_ahead; src/backend/storage/buffer/bufmgr.c, StartReadBuffers, WaitReadBuffers
 */

import { BUFFER_MASK, IO_CONTEXT_NORMAL, NEED_READ } from "../../assembly/common/constants.ts";
import { IO_REQUEST_PAGES, IO_REQUESTS } from "../../assembly/common/io-constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import { ClosedError, PallocError } from "../abi/errors.ts";
import type { BufferId, ForkId } from "../abi/pointers.ts";
import { Fifo } from "./fifo.ts";
import { locateNow, notAwaited } from "./locate-now.ts";
import type { BufferPoolParts, ReadMode } from "./number-pool.ts";
import type { ReadErrors, StartedRead } from "./page-reader.ts";
import { ReadHints } from "./read-hints.ts";
import type { Routine } from "./routine.ts";
import { pinBudget, type Strategy } from "./strategy.ts";
import { type Ahead, aheadOf, foreign, isOfThePage, isReady, type Run } from "./stream-pages.ts";
import { type BlockSource, StreamWindow } from "./stream-window.ts";
import { isTemporary } from "./temp-numbers.ts";

export type { BlockRange, BlockSource } from "./stream-window.ts";

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

/** Requests that one stream has under way at most: others of its backend need some as well. */
const MOST_STARTED = IO_REQUESTS >> 1;

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
  readonly #strategy: Strategy | undefined;
  readonly #context: number;
  readonly #bad: "error" | "zero";
  readonly #combine: number;
  readonly #pinBudget: number;
  readonly #window: StreamWindow;
  readonly #temporary: boolean;
  /** Most reads that I/O workers do at a time; 0: this backend reads itself. */
  readonly #mostStarted: number;
  #started = 0;
  readonly #ahead = new Fifo<Ahead>();
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
    this.#strategy = strategy;
    this.#context = strategy?.context ?? IO_CONTEXT_NORMAL;
    this.#bad = mode === "zeroOnError" ? "zero" : "error";
    this.#temporary = isTemporary(id);
    this.#pinBudget = pinBudget(settings);
    const overlaps = parts.io.hasWorkers && !this.#temporary;
    this.#mostStarted = overlaps ? Math.min(Math.max(1, concurrency), MOST_STARTED) : 0;
    const pins = Math.min(strategy?.pinLimit ?? this.#pinBudget, this.#pinBudget, maxBlocks);
    const wanted = settings.ioCombineLimit * (concurrency + 1);
    const most = Math.max(1, Math.min(Math.floor(pins), wanted));
    // Of a small pool one half is read while the other is delivered.
    const whole = overlaps ? Math.min(IO_REQUEST_PAGES, Math.max(1, most >> 1)) : most;
    this.#combine = Math.min(settings.ioCombineLimit, whole);
    const apart = options.sequential !== true && !this.#temporary && !overlaps;
    const hinted = apart && concurrency > 0 && parts.io.takesHints;
    const hints = hinted ? new ReadHints(parts, id, concurrency, this.#combine) : undefined;
    const distance = options.full === true ? this.#combine : 1;
    const limits = { distance, most, combine: this.#combine, overlaps, hints };
    this.#window = new StreamWindow(source, limits);
  }

  /** Number of the block that was delivered last; -1 before the first. */
  get block(): number {
    return this.#block;
  }

  /** How many blocks the stream looks ahead at the moment. */
  get distance(): number {
    return this.#window.distance;
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
    this.#dropAhead();
    this.#window.clear();
  }

  /** Gives back what was pinned and asked for ahead. @returns it */
  #dropAhead(): Ahead[] {
    const dropped = this.#ahead.clear();
    this.#started = 0;
    // A backend that has detached gave back all that it had.
    if (this.#parts.attachment.closed) return dropped;
    for (const read of new Set(dropped.map(({ started }) => started))) {
      if (read !== undefined) this.#parts.io.forsake(read);
    }
    for (const { error, buffer } of dropped) if (error === undefined) this.#unpin(buffer);
    return dropped;
  }

  #unpin(buffer: number): void {
    if (buffer < 0) this.#parts.local.unpin(buffer as BufferId);
    else this.#parts.attachment.exports.unpin(buffer);
  }

  /** The next page if it is pinned already, or in the pool. */
  #atOnce(): BufferId | undefined | typeof LONG_WAY {
    const ready = this.#ahead.first;
    if (ready !== undefined) {
      if (!isReady(ready)) return LONG_WAY;
      this.#readAhead();
      this.#ahead.take();
      return this.#deliver(ready.block, ready.buffer);
    }
    this.#window.fill(this.#ahead.length);
    const block = this.#window.first;
    if (block === undefined) return undefined;
    const hit = this.#pinHit(block);
    if (hit < 0 && !this.#temporary) return LONG_WAY;
    this.#window.take();
    this.#window.shorten();
    return this.#deliver(block, hit);
  }

  #pinHit(block: number): number {
    const { attachment, local } = this.#parts;
    if (this.#temporary) return local.pin(this.#id, block);
    return attachment.exports.pinIn(this.#id, block, this.#context);
  }

  *#slowly(): Routine<BufferId | undefined> {
    if (this.#ahead.length === 0) yield* this.#readRun();
    this.#readAhead();
    const started = this.#ahead.first?.started;
    if (started !== undefined) yield* this.#endRun(started);
    const next = this.#ahead.take();
    if (next === undefined) return undefined;
    if (next.error !== undefined) throw next.error;
    if (!next.foreign) return this.#deliver(next.block, next.buffer);
    try {
      const { io } = this.#parts;
      yield* io.arrive(next.buffer, this.#id, next.block, this.#context, this.#bad);
    } catch (error) {
      if (!isOfThePage(error)) this.#beginAnew(next.block);
      throw error;
    }
    return this.#deliver(next.block, next.buffer);
  }

  /** After a wait that was given up: what was dealt with ahead is still to be dealt with. */
  #beginAnew(...first: number[]): void {
    const blocks = this.#dropAhead().map(({ block }) => block);
    this.#window.putBack([...first, ...blocks]);
  }

  #deliver(block: number, buffer: number): BufferId {
    this.#block = block;
    return buffer as BufferId;
  }

  // ── A run ──────────────────────────────────────────────────────────────────────────────────────

  /** Gets the window's first block, and with it neighbours that have to be read as well. */
  *#readRun(): Routine<void> {
    const { io } = this.#parts;
    for (;;) {
      this.#window.fill(this.#ahead.length);
      const { first } = this.#window;
      if (first === undefined) return;
      const located = yield* io.locate(this.#id, first, this.#context, this.#strategy);
      notAwaited(this.#parts.attachment.exports, located);
      const run = this.#runFrom(first, located);
      if (run === undefined || this.#start(run) || (yield* this.#fill(run))) return;
    }
  }

  /** The window's first block, located, and neighbours; undefined if it need not be read. */
  #runFrom(block: number, located: number): Run | undefined {
    this.#window.take();
    const head = aheadOf(block, located);
    if ((located & NEED_READ) === 0) {
      this.#ahead.push(head);
      if (!head.foreign) this.#window.shorten();
      return undefined;
    }
    const buffers = [head.buffer];
    const last = this.#addNeighbours(block, buffers);
    this.#window.lengthen(block, buffers.length);
    return { block, buffers, last };
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
    const most = Math.min(this.#combine, this.#window.distance, 1 + Math.max(0, spare));
    while (run.length < most && this.#window.first === first + run.length) {
      const block = first + run.length;
      const status = locateNow(exports, this.#id, block, this.#context, this.#strategy);
      if (status < 0) return undefined;
      this.#window.take();
      if ((status & NEED_READ) === 0) return aheadOf(block, status);
      run.push(status & BUFFER_MASK);
    }
    return undefined;
  }

  /** Reads a run: the one place where reads begin and end. False: to be tried page by page. */
  *#fill({ block, buffers, last }: Run): Routine<boolean> {
    let errors: ReadErrors;
    try {
      errors = yield* this.#parts.io.readEach(this.#id, block, buffers, this.#context, this.#bad);
    } catch (error) {
      if (last !== undefined) this.#unpin(last.buffer);
      for (const buffer of buffers) this.#unpin(buffer);
      const all = buffers.length + (last === undefined ? 0 : 1);
      const ofThePage = isOfThePage(error);
      const passed = ofThePage && buffers.length === 1 ? 1 : 0;
      const left = Array.from({ length: all - passed }, (_, index) => block + passed + index);
      this.#window.putBack(left);
      if (!ofThePage || passed > 0) throw error;
      this.#window.restart();
      return false;
    }
    this.#push(this.#delivered(block, buffers, errors), last);
    return true;
  }

  #push(pages: readonly Ahead[], last: Ahead | undefined): void {
    for (const page of pages) this.#ahead.push(page);
    if (last !== undefined) this.#ahead.push(last);
  }

  /** Pages of a run that has been read; of those that are none no pin is kept. */
  #delivered(first: number, run: readonly number[], errors: ReadErrors): Ahead[] {
    return run.map((buffer, index) => {
      const error = errors[index];
      const entry = { block: first + index, buffer, foreign: false };
      if (error === undefined) return entry;
      this.#unpin(buffer);
      return { ...entry, error };
    });
  }

  // ── Runs that workers read ─────────────────────────────────────────────────────────────────────

  /** Asks for runs that are whole, up to the distance; nothing is waited for. */
  #readAhead(): void {
    if (this.#mostStarted === 0) return;
    while (this.#ahead.length + this.#combine <= this.#window.distance && this.#startNext());
  }

  /** Deals with what comes first in the window. False: nothing more can be had now. */
  #startNext(): boolean {
    this.#window.fill(this.#ahead.length);
    const { attachment, io } = this.#parts;
    const { first } = this.#window;
    if (first === undefined || this.#started >= this.#mostStarted || !io.canStart) return false;
    if (attachment.exports.pinnedBuffers() >= this.#pinBudget) return false;
    const { exports } = attachment;
    const located = locateNow(exports, this.#id, first, this.#context, this.#strategy);
    if (located < 0) return false;
    const run = this.#runFrom(first, located);
    if (run === undefined || this.#start(run)) return true;
    // The last worker is gone: whoever wants these pages reads them.
    for (const buffer of run.buffers) exports.finishRead(buffer, 0);
    this.#push(foreign(run.block, run.buffers), run.last);
    return false;
  }

  /** Gives a run to a worker; false if none takes it. */
  #start({ block, buffers, last }: Run): boolean {
    if (this.#mostStarted === 0) return false;
    const { io } = this.#parts;
    const started = io.start(this.#id, block, buffers, this.#context, this.#bad);
    if (started === undefined) return false;
    this.#started += 1;
    this.#push(
      foreign(block, buffers).map((entry) => ({ ...entry, started })),
      last,
    );
    return true;
  }

  /** Waits for the run that comes first. */
  *#endRun(started: StartedRead): Routine<void> {
    const { block, buffers } = started.read;
    let delivered: Ahead[];
    this.#started -= 1;
    try {
      delivered = this.#delivered(block, buffers, yield* this.#parts.io.end(started));
    } catch (error) {
      // From here each is read by itself, where it is not there by now.
      this.#replace(foreign(block, buffers));
      if (isOfThePage(error)) return;
      this.#beginAnew();
      throw error;
    }
    this.#replace(delivered);
  }

  /** Puts pages in the place of those that come first. */
  #replace(pages: readonly Ahead[]): void {
    for (let count = 0; count < pages.length; count += 1) this.#ahead.take();
    this.#ahead.putBack(pages);
  }
}
