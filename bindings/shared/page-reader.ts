/**
 * The reading half of page-io.ts: pages into frames that are this backend's to read into, by itself
 * or by an I/O worker; the wait for others who read; and what becomes of pages that are none.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, WaitReadBuffers, buffer_readv_complete_one
 */

import {
  BLOCK_BYTES,
  BUFFER_MASK,
  FORK_BITS,
  IN_PROGRESS,
  NEED_READ,
  PAGE_CHECKSUM_OFFSET,
  PAGE_GOOD,
  ST_MISS,
  ST_SELF,
} from "../../assembly/common/constants.ts";
import { IO_REQUEST_PAGES, REQUEST_DONE } from "../../assembly/common/io-constants.ts";
import type { DataCorruptedError } from "../abi/errors.ts";
import type { Fork, StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import {
  type BadPage,
  type DamageSettings,
  damageText,
  damageWarning,
  invalidPage,
  remedyOf,
} from "./damage.ts";
import type { IoCounts } from "./io-counts.ts";
import type { IoQueue } from "./io-queue.ts";
import type { Journal } from "./journal.ts";
import { notAwaited } from "./locate-now.ts";
import { type Routine, SELF, SLEEP } from "./routine.ts";

const FORK_MASK = (1 << FORK_BITS) - 1;

/** Pages to be read, neighbours, into frames that are this backend's to read into. */
interface PageRead {
  readonly id: number;
  readonly block: number;
  readonly buffers: readonly number[];
  readonly context: number;
  readonly bad: BadPage;
}

/** A read that an I/O worker has been asked for; its frames are not this backend's to end. */
export interface StartedRead {
  readonly request: number;
  readonly read: PageRead;
}

/** What came of one page's read, besides the page. */
interface ReadEnd {
  readonly error?: DataCorruptedError;
  readonly warning?: string;
}

const GOOD_END: ReadEnd = {};
const ALL_GOOD: readonly ReadEnd[] = [];

/** Of several pages, each in its place. */
export type ReadErrors = readonly (DataCorruptedError | undefined)[];

/** What a `PageIo` needs. */
export interface PageIoParts {
  readonly attachment: Attachment;
  readonly storage: StorageManager;
  readonly journal: Journal;
  readonly queue: IoQueue;
  readonly buffers: number;
  readonly counts: IoCounts;
  readonly damage: DamageSettings;
  /** Most pages that are written with one sync; default a share of the pool. */
  readonly batchPages?: number;
  nameOf(relation: number): string;
  warn(message: string): void;
}

/** Reads pages for one backend. @internal */
export class PageReader {
  protected readonly attachment: Attachment;
  protected readonly parts: PageIoParts;
  readonly #u8: Uint8Array;
  readonly #views: (Uint8Array | undefined)[] = [];
  readonly #firstFrame: number;

  constructor(parts: PageIoParts) {
    this.parts = parts;
    this.attachment = parts.attachment;
    this.#u8 = new Uint8Array(parts.attachment.buffer);
    this.#firstFrame = parts.attachment.exports.frameAddress(0) >>> 0;
  }

  /** The bytes of a frame; the same object at each call. */
  bytes(buffer: number): Uint8Array {
    const known = this.#views[buffer];
    if (known !== undefined) return known;
    const view = new Uint8Array(this.attachment.buffer, this.offset(buffer), BLOCK_BYTES);
    this.#views[buffer] = view;
    return view;
  }

  /** Byte offset of a frame in the region. */
  offset(buffer: number): number {
    return this.#firstFrame + buffer * BLOCK_BYTES;
  }

  /** Reads, or waits for who reads, until a located page is valid. */
  *finish(
    located: number,
    id: number,
    block: number,
    context: number,
    bad: BadPage = "error",
  ): Routine<number> {
    const status = yield* this.settle(located, context);
    const buffer = status & BUFFER_MASK;
    if ((status & NEED_READ) === 0) return buffer;
    try {
      yield* this.read(id, block, [buffer], context, bad);
    } catch (error) {
      this.attachment.exports.unpin(buffer);
      throw error;
    }
    return buffer;
  }

  /**
   * Waits for another backend that is reading a located page. Its buffer, pinned; with NEED_READ if
   * the page is this backend's to read by now, because the other one failed.
   */
  *settle(located: number, context: number): Routine<number> {
    const { exports } = this.attachment;
    const buffer = located & BUFFER_MASK;
    let status = located;
    try {
      if ((status & IN_PROGRESS) !== 0) {
        yield SLEEP;
        status = yield* this.#untilEnded(buffer, context);
      }
    } catch (error) {
      exports.unpin(buffer);
      throw error;
    }
    return buffer | (status & NEED_READ);
  }

  /**
   * Reads neighbours into frames that are this backend's to read into, or has an I/O worker do it.
   * All of these reads are ended when it returns or throws, or are a worker's to end; a page that
   * is none ends with an error, or as zeroes.
   */
  *read(
    id: number,
    block: number,
    buffers: readonly number[],
    context: number,
    bad: BadPage,
  ): Routine<void> {
    for (const error of yield* this.readEach(id, block, buffers, context, bad)) {
      if (error !== undefined) throw error;
    }
  }

  /** As {@link read}; of pages that are none the errors are returned, each in its place. */
  *readEach(
    id: number,
    block: number,
    buffers: readonly number[],
    context: number,
    bad: BadPage,
  ): Routine<ReadErrors> {
    const read = { id, block, buffers, context, bad };
    if (!this.hasWorkers) return yield* this.#readHere(read);
    const errors: (DataCorruptedError | undefined)[] = [];
    for (let at = 0; at < buffers.length; at += IO_REQUEST_PAGES) {
      const next = at + IO_REQUEST_PAGES;
      try {
        errors.push(...(yield* this.#readThere(partOf(read, at, next))));
      } catch (error) {
        this.#letGo(buffers.slice(next));
        throw error;
      }
    }
    return errors;
  }

  #letGo(buffers: readonly number[]): void {
    for (const buffer of buffers) this.attachment.exports.finishRead(buffer, 0);
  }

  /** Has a worker read, and reads here what no worker has taken, or read well. */
  *#readThere(read: PageRead): Routine<ReadErrors> {
    const { id, block, buffers, context, bad } = read;
    const started = this.start(id, block, buffers, context, bad);
    return started === undefined ? yield* this.#readHere(read) : yield* this.end(started);
  }

  // ── In, by a worker, while this backend does something else ────────────────────────────────────

  /** Whether reads go through I/O workers. */
  get hasWorkers(): boolean {
    return this.parts.queue.isOpen;
  }

  /** Whether {@link start} would find a worker now. */
  get canStart(): boolean {
    return this.hasWorkers && this.parts.queue.accepts;
  }

  /**
   * Has a worker read neighbours, IO_REQUEST_PAGES at most; {@link end} or {@link forsake} follows.
   * Undefined, and the reads are this backend's as before, if no worker can take them.
   */
  start(
    id: number,
    block: number,
    buffers: readonly number[],
    context: number,
    bad: BadPage,
  ): StartedRead | undefined {
    const request = this.parts.queue.submit(id, block, buffers);
    return request === ST_MISS
      ? undefined
      : { request, read: { id, block, buffers, context, bad } };
  }

  /** Waits for a worker's read; reads here what the worker could not. As {@link readEach}. */
  *end({ request, read }: StartedRead): Routine<ReadErrors> {
    const { buffers, context } = read;
    const began = this.parts.counts.begin();
    const fate = yield* this.parts.queue.ended(request, buffers);
    if (fate !== REQUEST_DONE) return yield* this.#readAgain(read);
    this.parts.counts.read(context, buffers.length * BLOCK_BYTES, began);
    return noErrors(buffers.length);
  }

  /** Waits for a worker's read no longer, with no look at what came of it. */
  forsake({ request, read }: StartedRead): void {
    this.parts.queue.forsake(request, read.buffers);
  }

  /**
   * Reads here what a worker could not read, to meet its error. Anybody may read these frames by
   * now: as many as are free are taken on for one call, and none is held while another is awaited.
   */
  *#readAgain(read: PageRead): Routine<ReadErrors> {
    const { buffers, context } = read;
    const errors: (DataCorruptedError | undefined)[] = [];
    let at = 0;
    while (at < buffers.length) {
      const first = yield* this.#untilEnded(buffers[at] ?? 0, context);
      let end = at + 1;
      if ((first & NEED_READ) !== 0) {
        while (end < buffers.length && this.#takesOn(buffers[end] ?? 0, context)) end += 1;
        errors.push(...(yield* this.#readHere(partOf(read, at, end))));
      } else errors.push(undefined);
      at = end;
    }
    return errors;
  }

  #takesOn(buffer: number, context: number): boolean {
    const { exports } = this.attachment;
    const status = notAwaited(exports, exports.ensureValid(buffer, context));
    return status >= 0 && (status & NEED_READ) !== 0;
  }

  /** Waits for who reads a pinned page; the buffer if it is valid, or with NEED_READ. */
  *#untilEnded(buffer: number, context: number): Routine<number> {
    const { exports } = this.attachment;
    for (;;) {
      const status = yield* this.withoutSelf(() => exports.ensureValid(buffer, context));
      if ((this.attachment.check(status) & IN_PROGRESS) === 0) return status;
      yield SLEEP;
    }
  }

  *#readHere({ id, block, buffers, context, bad }: PageRead): Routine<ReadErrors> {
    const [relation, fork] = partsOf(id);
    const pages: Uint8Array[] = [];
    for (const buffer of buffers) pages.push(this.bytes(buffer));
    let hasEnded = false;
    let ends: readonly ReadEnd[];
    try {
      const began = this.parts.counts.begin();
      yield { op: "read", relation, fork, block, pages };
      this.parts.counts.read(context, buffers.length * BLOCK_BYTES, began);
      ends = this.#endReads(buffers, relation, block, bad);
      hasEnded = true;
    } finally {
      if (!hasEnded) this.#letGo(buffers);
    }
    if (ends === ALL_GOOD) return noErrors(buffers.length);
    // Only now: whoever hears them may throw.
    for (const { warning } of ends) if (warning !== undefined) this.parts.warn(warning);
    return ends.map(({ error }) => error);
  }

  /** Ends reads side by side, each as {@link #endRead}; ALL_GOOD if there is nothing to say. */
  #endReads(
    buffers: readonly number[],
    relation: number,
    block: number,
    bad: BadPage,
  ): readonly ReadEnd[] {
    let ends: ReadEnd[] | undefined;
    for (let index = 0; index < buffers.length; index += 1) {
      const end = this.#endRead(buffers[index] ?? 0, relation, block + index, bad);
      if (end !== GOOD_END) ends ??= buffers.map(() => GOOD_END);
      if (ends !== undefined) ends[index] = end;
    }
    return ends ?? ALL_GOOD;
  }

  /** Ends a read, whatever came of it. */
  #endRead(buffer: number, relation: number, block: number, bad: BadPage): ReadEnd {
    const { exports } = this.attachment;
    const verdict = exports.verifyRead(buffer);
    if (verdict === PAGE_GOOD) return GOOD_END;
    const remedy = remedyOf(verdict, bad, this.parts.damage);
    const error = this.invalidPage(this.offset(buffer), relation, block, verdict);
    if (remedy === "error") {
      exports.finishRead(buffer, 0);
      return { error };
    }
    if (remedy === "zero") exports.clearFrame(buffer);
    exports.finishRead(buffer, 1);
    const warning = damageWarning(error, remedy);
    return warning === undefined ? GOOD_END : { warning };
  }

  // ── In, without waiting for others ─────────────────────────────────────────────────────────────

  /**
   * `pin` for a page of which `locate` has said that only its read is missing: in the calling
   * thread, with nothing between it and storage.
   */
  readNow(buffer: number, id: number, block: number, context: number): number {
    const { counts, storage } = this.parts;
    const { exports } = this.attachment;
    const relation = id >>> FORK_BITS;
    try {
      const began = counts.begin();
      storage.readSync(relation, (id & FORK_MASK) as Fork, block, this.bytes(buffer));
      counts.read(context, BLOCK_BYTES, began);
    } catch (error) {
      exports.finishRead(buffer, 0);
      exports.unpin(buffer);
      throw error;
    }
    const end = this.#endRead(buffer, relation, block, "error");
    if (end === GOOD_END) return buffer;
    return this.#endOddly(end, buffer);
  }

  /** A page that is none, or is made do with. */
  #endOddly({ error, warning }: ReadEnd, buffer: number): number {
    try {
      if (error !== undefined) throw error;
      if (warning !== undefined) this.parts.warn(warning);
      return buffer;
    } catch (thrown) {
      this.attachment.exports.unpin(buffer);
      throw thrown;
    }
  }

  /** A pinned buffer whose page somebody was reading: waits for that, or reads it. */
  *arrive(
    buffer: number,
    id: number,
    block: number,
    context: number,
    bad: BadPage,
  ): Routine<number> {
    const { exports } = this.attachment;
    let status: number;
    try {
      status = yield* this.withoutSelf(() => exports.ensureValid(buffer, context));
      this.attachment.check(status);
    } catch (error) {
      exports.unpin(buffer);
      throw error;
    }
    return yield* this.finish(status, id, block, context, bad);
  }

  /** Whether storage can be told what will be wanted. */
  get takesHints(): boolean {
    return this.parts.storage.prefetch !== undefined;
  }

  /** Asks storage to have blocks ready soon, where it takes hints. */
  prefetch(id: number, block: number, count: number): void {
    const [relation, fork] = partsOf(id);
    this.parts.storage.prefetch?.(relation, fork, block, count);
  }

  /** The error for 8 kB in shared memory that are no page. */
  invalidPage(
    address: number,
    relation: number,
    block: number,
    verdict: number,
  ): DataCorruptedError {
    const name = this.parts.nameOf(relation);
    const low = this.#u8[address + PAGE_CHECKSUM_OFFSET] ?? 0;
    const expected = low | ((this.#u8[address + PAGE_CHECKSUM_OFFSET + 1] ?? 0) << 8);
    const calculated = this.attachment.exports.pageChecksum(address, block);
    return invalidPage(name, block, damageText(verdict, calculated, expected));
  }

  /** Calls until the result is neither "wait" nor "for yourself". @param known - a first result */
  protected *withoutSelf(call: () => number, known?: number): Routine<number> {
    let first = known;
    const look = (): number => {
      const status = first ?? call();
      first = undefined;
      return status;
    };
    for (;;) {
      const status = yield* this.attachment.untilDone(look);
      if (status !== ST_SELF) return status;
      yield SELF;
    }
  }
}

/** The relation and fork that a pool's file word names. @internal */
export function partsOf(id: number): [relation: number, fork: Fork] {
  return [id >>> FORK_BITS, (id & FORK_MASK) as Fork];
}

function noErrors(count: number): ReadErrors {
  return new Array(count).fill(undefined);
}

function partOf(read: PageRead, from: number, to: number): PageRead {
  return { ...read, block: read.block + from, buffers: read.buffers.slice(from, to) };
}
