/**
 * Pages in and out: the long way to a page that is not in the pool, and the way back to storage for
 * pages that were changed. These are routines (routine.ts): the one text of the protocol that the
 * synchronous forms, the promise forms and the interleaving harness run.
 *
 *   pin     locate → hit | read | wait for who reads | write a victim back, claim it, install, read
 *   write   one dirty page takes others with it: companions ahead of the clock hand. Their old
 *           images go into the journal, one sync for all, then the pages into their files,
 * neighbours
 *           in one call
 *
 * While storage works, only state words of frames name this backend (IO), and its own hold words.
 * Each page is copied to private memory before it is written, so that its checksum is that of the
 * bytes written.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, ReadBuffer_common, BufferAlloc, GetVictimBuffer,
 * FlushBuffer
 */

import {
  BLOCK_BYTES,
  BUFFER_MASK,
  FORK_BITS,
  IN_PROGRESS,
  NEED_READ,
  NEED_WRITE,
  PAGE_CHECKSUM_OFFSET,
  PAGE_GOOD,
  ST_BUSY,
  ST_MISS,
  ST_SELF,
} from "../../assembly/common/constants.ts";
import type { DataCorruptedError } from "../abi/errors.ts";
import type { Fork } from "../storage/manager.ts";
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
import { type Journal, type PageWrite, runsOf } from "./journal.ts";
import { type Routine, SELF, SLEEP } from "./routine.ts";
import type { Strategy } from "./strategy.ts";

const FORK_MASK = (1 << FORK_BITS) - 1;
/** Pages written with one sync of the journal, at most; fewer in a small pool. */
const BATCH_PAGES = 64;
const BATCH_FRACTION = 8;
/** How far ahead of the hand companions are looked for, in batches. */
const LOOK_AHEAD = 4;

export type { BadPage };

/** What a {@link PageIo} needs. */
export interface PageIoParts {
  readonly attachment: Attachment;
  readonly journal: Journal;
  readonly buffers: number;
  readonly counts: IoCounts;
  readonly damage: DamageSettings;
  nameOf(relation: number): string;
  warn(message: string): void;
}

/** The long ways of one backend. @internal */
export class PageIo {
  readonly #attachment: Attachment;
  readonly #journal: Journal;
  readonly #parts: PageIoParts;
  readonly #u8: Uint8Array;
  readonly #views: (Uint8Array | undefined)[] = [];
  readonly #firstFrame: number;
  readonly #batchPages: number;
  /** Private pages for copies, used again. */
  readonly #copies: Uint8Array[] = [];

  constructor(parts: PageIoParts) {
    this.#parts = parts;
    this.#attachment = parts.attachment;
    this.#journal = parts.journal;
    this.#u8 = new Uint8Array(parts.attachment.buffer);
    this.#firstFrame = parts.attachment.exports.frameAddress(0) >>> 0;
    const share = Math.floor(parts.buffers / BATCH_FRACTION);
    this.#batchPages = Math.max(1, Math.min(BATCH_PAGES, share));
  }

  /** Buffers of the pool. */
  get buffers(): number {
    return this.#parts.buffers;
  }

  /** A relation's name, for messages. */
  nameOf(relation: number): string {
    return this.#parts.nameOf(relation);
  }

  /** Most pages that are written with one sync. */
  get batchPages(): number {
    return this.#batchPages;
  }

  /** The bytes of a frame; the same object at each call. */
  bytes(buffer: number): Uint8Array {
    const known = this.#views[buffer];
    if (known !== undefined) return known;
    const view = new Uint8Array(this.#attachment.buffer, this.offset(buffer), BLOCK_BYTES);
    this.#views[buffer] = view;
    return view;
  }

  /** Byte offset of a frame in the region. */
  offset(buffer: number): number {
    return this.#firstFrame + buffer * BLOCK_BYTES;
  }

  // ── In ─────────────────────────────────────────────────────────────────────────────────────────

  /** Pins a page, reading it if need be. */
  *pin(
    id: number,
    block: number,
    context: number,
    strategy?: Strategy,
    bad: BadPage = "error",
  ): Routine<number> {
    const found = yield* this.locate(id, block, context, strategy);
    return yield* this.finish(found, id, block, context, bad);
  }

  /**
   * A page's buffer, pinned, with what is still to be done: NEED_READ or IN_PROGRESS. A frame was
   * found for it if it was not in the pool, and dirty pages were written to get one.
   */
  *locate(id: number, block: number, context: number, strategy?: Strategy): Routine<number> {
    const { exports } = this.#attachment;
    for (;;) {
      let status = yield* this.#withoutSelf(() =>
        strategy === undefined
          ? exports.locate(id, block, context)
          : exports.pinMapped(id, block, context),
      );
      if (status >= 0 && (status & NEED_WRITE) === 0) return status;
      if (status !== ST_MISS) this.#attachment.check(status);
      const victim =
        status === ST_MISS
          ? yield* this.#victim(context, strategy)
          : yield* this.#cleaned(status & BUFFER_MASK, context);
      if (victim === ST_MISS) continue;
      status = exports.install(victim, id, block, context);
      if (status === ST_BUSY || status === ST_SELF) continue;
      if (strategy !== undefined && (status & NEED_READ) !== 0) strategy.remember(victim);
      return this.#attachment.check(status);
    }
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
      this.#attachment.exports.unpin(buffer);
      throw error;
    }
    return buffer;
  }

  /**
   * Waits for another backend that is reading a located page. Its buffer, pinned; with NEED_READ if
   * the page is this backend's to read by now, because the other one failed.
   */
  *settle(located: number, context: number): Routine<number> {
    const { exports } = this.#attachment;
    const buffer = located & BUFFER_MASK;
    let status = located;
    try {
      while ((status & IN_PROGRESS) !== 0) {
        yield SLEEP;
        status = yield* this.#withoutSelf(() => exports.ensureValid(buffer, context));
        this.#attachment.check(status);
      }
    } catch (error) {
      exports.unpin(buffer);
      throw error;
    }
    return buffer | (status & NEED_READ);
  }

  /**
   * Reads neighbours into frames that are this backend's to read into. All of these reads are ended
   * when it returns or throws; a page that is none ends with an error, or as zeroes.
   */
  *read(
    id: number,
    block: number,
    buffers: readonly number[],
    context: number,
    bad: BadPage,
  ): Routine<void> {
    const { exports } = this.#attachment;
    const [relation, fork] = partsOf(id);
    const warnings: string[] = [];
    let done = 0;
    try {
      const pages = buffers.map((buffer) => this.bytes(buffer));
      const began = this.#parts.counts.begin();
      yield { op: "read", relation, fork, block, pages };
      this.#parts.counts.read(context, buffers.length * BLOCK_BYTES, began);
      for (const buffer of buffers) {
        const warning = this.#endRead(buffer, relation, block + done, bad);
        if (warning !== undefined) warnings.push(warning);
        done += 1;
      }
    } finally {
      for (const buffer of buffers.slice(done)) exports.finishRead(buffer, 0);
    }
    // Only now: whoever hears them may throw.
    for (const warning of warnings) this.#parts.warn(warning);
  }

  /** Ends the read of a page that is good, or can be made do with; returns a warning. */
  #endRead(buffer: number, relation: number, block: number, bad: BadPage): string | undefined {
    const { exports } = this.#attachment;
    const verdict = exports.verifyRead(buffer);
    if (verdict === PAGE_GOOD) return undefined;
    const remedy = remedyOf(verdict, bad, this.#parts.damage);
    const error = this.invalidPage(this.offset(buffer), relation, block, verdict);
    if (remedy === "error") throw error;
    if (remedy === "zero") exports.clearFrame(buffer);
    exports.finishRead(buffer, 1);
    return damageWarning(error, remedy);
  }

  /** The error for 8 kB in shared memory that are no page. */
  invalidPage(
    address: number,
    relation: number,
    block: number,
    verdict: number,
  ): DataCorruptedError {
    const name = this.#parts.nameOf(relation);
    const low = this.#u8[address + PAGE_CHECKSUM_OFFSET] ?? 0;
    const expected = low | ((this.#u8[address + PAGE_CHECKSUM_OFFSET + 1] ?? 0) << 8);
    const calculated = this.#attachment.exports.pageChecksum(address, block);
    return invalidPage(name, block, damageText(verdict, calculated, expected));
  }

  // ── Out ────────────────────────────────────────────────────────────────────────────────────────

  /** A frame that belongs to this backend alone; dirty candidates are written on the way. */
  *#victim(context: number, strategy: Strategy | undefined): Routine<number> {
    const attachment = this.#attachment;
    const { exports } = attachment;
    for (;;) {
      let candidate = strategy === undefined ? ST_MISS : strategy.reuse(exports, context);
      if (candidate === ST_MISS || candidate === ST_BUSY) {
        candidate = yield* attachment.untilDone(() => exports.victim(context));
      }
      attachment.check(candidate);
      if ((candidate & NEED_WRITE) === 0) return candidate;
      const victim = yield* this.#cleaned(candidate & BUFFER_MASK, context);
      if (victim !== ST_MISS) return victim;
    }
  }

  /** Writes a candidate that is in this backend's write, with companions; the victim or ST_MISS. */
  *#cleaned(candidate: number, context: number): Routine<number> {
    const { exports } = this.#attachment;
    const companions = this.#companions(candidate);
    try {
      yield* this.write([candidate, ...companions], context);
    } catch (error) {
      exports.dropGuard(candidate);
      throw error;
    } finally {
      for (const buffer of companions) exports.dropGuard(buffer);
    }
    const claimed = exports.claim(candidate, context);
    return claimed === ST_BUSY
      ? ST_MISS
      : claimed === ST_MISS
        ? claimed
        : this.#attachment.check(claimed);
  }

  /** Dirty pages that will be evicted soon as well. */
  #companions(candidate: number): number[] {
    const { exports } = this.#attachment;
    const { buffers } = this.#parts;
    const found: number[] = [];
    let at = (candidate + 1) % buffers;
    let left = Math.min(buffers - 1, this.#batchPages * LOOK_AHEAD);
    while (found.length + 1 < this.#batchPages && left > 0) {
      const buffer = exports.companion(at, left);
      if (buffer < 0) break;
      found.push(buffer);
      left -= ((buffer - at + buffers) % buffers) + 1;
      at = (buffer + 1) % buffers;
    }
    return found;
  }

  /**
   * Writes pages that are all in this backend's write, behind their old images. Every one of these
   * writes is ended when it returns or throws.
   */
  *write(buffers: readonly number[], context: number): Routine<void> {
    const { exports } = this.#attachment;
    const pages = buffers.map((buffer) => this.pageOf(buffer)).sort(byPlace);
    const open = new Set(buffers);
    try {
      yield* this.#journal.protect(pages);
      for (const run of runsOf(pages)) {
        yield* this.#writeRun(run, context);
        for (const { buffer } of run) {
          open.delete(buffer);
          exports.finishWrite(buffer, 1);
        }
      }
    } finally {
      for (const buffer of open) exports.finishWrite(buffer, 0);
    }
  }

  *#writeRun(run: readonly PageWrite[], context: number): Routine<void> {
    const [first] = run;
    if (first === undefined) return;
    const { relation, fork, block } = first;
    const began = this.#parts.counts.begin();
    const pages = run.map((page) => this.#sealedCopy(page));
    try {
      yield { op: "write", relation, fork, block, pages };
    } finally {
      this.#copies.push(...pages);
    }
    this.#parts.counts.write(context, run.length * BLOCK_BYTES, began);
  }

  #sealedCopy({ buffer, block }: PageWrite): Uint8Array {
    const copy = this.#copies.pop() ?? new Uint8Array(BLOCK_BYTES);
    copy.set(this.bytes(buffer));
    const seal = this.#attachment.exports.pageSeal(this.offset(buffer), block);
    copy[PAGE_CHECKSUM_OFFSET] = seal & 0xff;
    copy[PAGE_CHECKSUM_OFFSET + 1] = seal >>> 8;
    return copy;
  }

  /** Which page a buffer that this backend holds has. */
  pageOf(buffer: number): PageWrite {
    const { exports } = this.#attachment;
    const [relation, fork] = partsOf(exports.fileOf(buffer));
    return { buffer, relation, fork, block: exports.blockOf(buffer) >>> 0 };
  }

  /** Calls until the result is neither "wait" nor "for yourself". */
  *#withoutSelf(call: () => number): Routine<number> {
    for (;;) {
      const status = yield* this.#attachment.untilDone(call);
      if (status !== ST_SELF) return status;
      yield SELF;
    }
  }
}

/** The relation and fork that a pool's file word names. @internal */
export function partsOf(id: number): [relation: number, fork: Fork] {
  return [id >>> FORK_BITS, (id & FORK_MASK) as Fork];
}

function byPlace(a: PageWrite, b: PageWrite): number {
  return a.relation - b.relation || a.fork - b.fork || a.block - b.block;
}
