/**
 * Pages in and out: the long way to a page that is not in the pool, and the way back to storage for
 * pages that were changed. These are routines (routine.ts): the one text of the protocol that the
 * synchronous forms, the promise forms and the interleaving harness run.
 *
 *   pin     locate → hit | read | wait for who reads | write a victim back, claim it, install, read
 *   write   one dirty page takes others with it: companions ahead of the clock hand. Their old
 *           images go into the journal, one sync for all, then the pages into their files,
 *           neighbours in one call
 *
 * The reading half is in page-reader.ts.
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
  COUNTER_REUSES,
  NEED_READ,
  NEED_WRITE,
  PAGE_CHECKSUM_OFFSET,
  ST_BUSY,
  ST_MISS,
  ST_SELF,
} from "../../assembly/common/constants.ts";
import type { BadPage } from "./damage.ts";
import { type Journal, type PageWrite, runsOf } from "./journal.ts";
import { type PageIoParts, PageReader, partsOf } from "./page-reader.ts";
import type { Routine } from "./routine.ts";
import type { Strategy } from "./strategy.ts";

/** Pages written with one sync of the journal, at most; fewer in a small pool. */
const BATCH_PAGES = 64;
const BATCH_FRACTION = 8;
/** How far ahead of the hand companions are looked for, in batches. */
const LOOK_AHEAD = 4;

export type { BadPage, PageIoParts };
export { partsOf };

/** The long ways of one backend. @internal */
export class PageIo extends PageReader {
  readonly #journal: Journal;
  readonly #batchPages: number;
  /** Private pages for copies, used again. */
  readonly #copies: Uint8Array[] = [];

  constructor(parts: PageIoParts) {
    super(parts);
    this.#journal = parts.journal;
    const share = Math.floor(parts.buffers / BATCH_FRACTION);
    this.#batchPages = parts.batchPages ?? Math.max(1, Math.min(BATCH_PAGES, share));
  }

  /** Buffers of the pool. */
  get buffers(): number {
    return this.parts.buffers;
  }

  /** A relation's name, for messages. */
  nameOf(relation: number): string {
    return this.parts.nameOf(relation);
  }

  /** Most pages that are written with one sync. */
  get batchPages(): number {
    return this.#batchPages;
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
   *
   * @param known - what a first look has said already
   */
  *locate(
    id: number,
    block: number,
    context: number,
    strategy?: Strategy,
    known?: number,
  ): Routine<number> {
    const { exports } = this.attachment;
    const look = (): number =>
      strategy === undefined
        ? exports.locate(id, block, context)
        : exports.pinMapped(id, block, context);
    for (let first = known; ; first = undefined) {
      let status = yield* this.withoutSelf(look, first);
      if (status >= 0 && (status & NEED_WRITE) === 0) return status;
      if (status !== ST_MISS) this.attachment.check(status);
      const victim =
        status === ST_MISS
          ? yield* this.#victim(context, strategy)
          : yield* this.#cleaned(status & BUFFER_MASK, context);
      if (victim === ST_MISS) continue;
      status = exports.install(victim, id, block, context);
      if (status === ST_BUSY || status === ST_SELF) continue;
      if (strategy !== undefined && (status & NEED_READ) !== 0) strategy.remember(victim);
      return this.attachment.check(status);
    }
  }

  // ── Out ────────────────────────────────────────────────────────────────────────────────────────

  /** A frame that belongs to this backend alone; dirty candidates are written on the way. */
  *#victim(context: number, strategy: Strategy | undefined): Routine<number> {
    const attachment = this.attachment;
    const { exports } = attachment;
    for (;;) {
      let candidate = strategy === undefined ? ST_MISS : strategy.reuse(exports, context);
      const fromRing = candidate !== ST_MISS && candidate !== ST_BUSY;
      if (!fromRing) candidate = yield* attachment.untilDone(() => exports.victim(context));
      attachment.check(candidate);
      if ((candidate & NEED_WRITE) === 0) return candidate;
      const ring = fromRing ? strategy : undefined;
      const victim = yield* this.#cleaned(candidate & BUFFER_MASK, context, ring);
      if (victim === ST_MISS) continue;
      // Of a clean frame of the ring wasm has counted it.
      if (fromRing) exports.countIo(context, COUNTER_REUSES, 1, COUNTER_REUSES, 0);
      return victim;
    }
  }

  /** Writes a candidate that is in this backend's write, with companions; the victim or ST_MISS. */
  *#cleaned(candidate: number, context: number, ring?: Strategy): Routine<number> {
    const { exports } = this.attachment;
    const companions = ring === undefined ? this.#companions(candidate) : this.#inRing(ring);
    try {
      yield* this.write([candidate, ...companions], context);
    } catch (error) {
      exports.dropGuard(candidate);
      throw error;
    } finally {
      for (const buffer of companions) exports.dropGuard(buffer);
    }
    const claimed = exports.claim(candidate, context);
    const refused = claimed === ST_BUSY || claimed === ST_MISS;
    return refused ? ST_MISS : this.attachment.check(claimed);
  }

  /** Dirty pages that will be evicted soon as well. */
  #companions(candidate: number): number[] {
    const { exports } = this.attachment;
    const { buffers } = this.parts;
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

  /** Dirty pages of the ring's next slots: their turn comes soon, and they are neighbours. */
  #inRing(ring: Strategy): number[] {
    return ring.upcoming(this.#batchPages - 1).filter((buffer) => {
      const status = this.attachment.exports.flushBegin(buffer, 0);
      return status > 0 && (status & NEED_WRITE) !== 0;
    });
  }

  /**
   * Writes pages that are all in this backend's write, behind their old images. Every one of these
   * writes is ended when it returns or throws.
   */
  *write(buffers: readonly number[], context: number): Routine<void> {
    const { exports } = this.attachment;
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
    const began = this.parts.counts.begin();
    const pages = run.map((page) => this.#sealedCopy(page));
    try {
      yield { op: "write", relation, fork, block, pages };
    } finally {
      this.#copies.push(...pages);
    }
    this.parts.counts.write(context, run.length * BLOCK_BYTES, began);
  }

  #sealedCopy({ buffer, block }: PageWrite): Uint8Array {
    const copy = this.#copies.pop() ?? new Uint8Array(BLOCK_BYTES);
    copy.set(this.bytes(buffer));
    const seal = this.attachment.exports.pageSeal(this.offset(buffer), block);
    copy[PAGE_CHECKSUM_OFFSET] = seal & 0xff;
    copy[PAGE_CHECKSUM_OFFSET + 1] = seal >>> 8;
    return copy;
  }

  /** Which page a buffer that this backend holds has. */
  pageOf(buffer: number): PageWrite {
    const { exports } = this.attachment;
    const [relation, fork] = partsOf(exports.fileOf(buffer));
    return { buffer, relation, fork, block: exports.blockOf(buffer) >>> 0 };
  }
}

function byPlace(a: PageWrite, b: PageWrite): number {
  return a.relation - b.relation || a.fork - b.fork || a.block - b.block;
}
