/**
 * The buffer pool in numbers: pages are pinned, locked and changed by the number of their buffer,
 * and nothing is made for it that would have to be collected. What may wait is there twice: a call
 * that waits in its thread, and a promise. The forms with objects are in buffers.ts.
 *
 * The hit path is one call into wasm. Everything longer is a routine of page-io.ts.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c
 */

import {
  BLOCK_BYTES,
  BUFFER_MASK,
  IO_CONTEXT_NORMAL,
  NEED_READ,
  ST_ALREADY_LOCKED,
  ST_BUSY,
  ST_JOURNAL,
  ST_OK,
} from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import type { BufferId, ForkId } from "../abi/pointers.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { Attachment } from "./attachment.ts";
import type { Journal } from "./journal.ts";
import type { LocalBuffers } from "./local-buffers.ts";
import type { BadPage, PageIo } from "./page-io.ts";
import { PageLocks } from "./page-locks.ts";
import type { RelationPages } from "./relation-pages.ts";
import { HELD, type Routine } from "./routine.ts";
import type { ResolvedSettings } from "./settings.ts";
import type { Strategy } from "./strategy.ts";
import { isTemporary } from "./temp-numbers.ts";

/**
 * What a read does about a page that is not in the pool.
 * - `normal`: reads it; a page that is none is an error;
 * - `zeroOnError`: reads it; a page that is none becomes zeroes, with a warning;
 * - `zeroAndLock`: does not read but clears it; locked exclusively;
 * - `zeroAndCleanupLock`: likewise, with a cleanup lock.
 */
export type ReadMode = "normal" | "zeroOnError" | "zeroAndLock" | "zeroAndCleanupLock";

/** How a page is read. */
export interface ReadOptions {
  /** Default `normal`. */
  readonly mode?: ReadMode;
  /** A ring whose frames are used instead of everybody's. */
  readonly strategy?: Strategy;
}

/** As {@link ReadOptions}, for a promise. */
export interface AsyncReadOptions extends ReadOptions {
  /** Gives up at the next wait, with 57014. */
  readonly signal?: CancelSignal;
}

/** What a {@link BufferPool} is made of. @internal */
export interface BufferPoolParts {
  readonly attachment: Attachment;
  readonly journal: Journal;
  readonly io: PageIo;
  readonly pages: RelationPages;
  /** Pages of this backend's temporary relations: their buffers have numbers below 0. */
  readonly local: LocalBuffers;
  readonly settings: ResolvedSettings;
  runSync<Result>(routine: Routine<Result>): Result;
  run<Result>(routine: Routine<Result>, signal?: CancelSignal): Promise<Result>;
}

/** The pool's calls that deal in numbers. */
export class NumberPool {
  /**
   * Views over the whole region, for reading pages at {@link offset}; stable for its whole life.
   */
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;

  /** @internal */
  protected readonly parts: BufferPoolParts;
  readonly #io: PageIo;
  /** @internal */
  protected readonly locks: PageLocks;
  readonly #views: (Uint8Array | undefined)[] = [];
  readonly #firstFrame: number;
  /** With io_method sync: no I/O worker reads for this backend. */
  readonly #readsItself: boolean;
  #exports: SharedExports;
  #pin: SharedExports["pin"];
  #unpin: SharedExports["unpin"];

  /** @internal */
  constructor(parts: BufferPoolParts) {
    const { buffer, exports } = parts.attachment;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.parts = parts;
    this.#io = parts.io;
    this.#readsItself = parts.settings.values.io_method === "sync";
    this.locks = new PageLocks(parts.attachment);
    this.#exports = exports;
    this.#pin = exports.pin;
    this.#unpin = exports.unpin;
    this.#firstFrame = exports.frameAddress(0) >>> 0;
  }

  // ── Number form: pins ──────────────────────────────────────────────────────────────────────────

  /**
   * Pins a page: until {@link unpin} its frame keeps this page. The page is read from storage if it
   * is not in the pool. One call into wasm, without a lock, if it is. May wait for storage, or for
   * another backend that is reading the same page.
   *
   * @param id - `relation.id`
   * @param block - block number, 0 to 4,294,967,294; not checked against the relation's length
   * @returns the buffer; pinned, not locked
   * @throws {@link BufferError} 53200 if every buffer is pinned
   * @throws {@link DataCorruptedError} if the page does not hold what was written
   * @throws {@link StorageError} if it cannot be read
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ReadBuffer
   */
  pin(id: ForkId, block: number): BufferId {
    const buffer = this.#pin(id, block);
    return (buffer >= 0 ? buffer : this.#pinSlowly(id, block)) as BufferId;
  }

  /** As {@link pin}, without blocking the thread. */
  async pinAsync(id: ForkId, block: number, options: AsyncReadOptions = {}): Promise<BufferId> {
    const routine = this.pinRoutine(id, block, options);
    return (await this.parts.run(routine, options.signal)) as BufferId;
  }

  /** As {@link pin}, with a ring: the page takes the place of another one that the ring brought. */
  pinWith(strategy: Strategy, id: ForkId, block: number): BufferId {
    return this.parts.runSync(this.pinRoutine(id, block, { strategy })) as BufferId;
  }

  /**
   * Gives back one pin. The page's content lock must have been released.
   *
   * @throws {@link BufferError} 55000 if this backend has no pin on the buffer, or still its lock
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ReleaseBuffer
   */
  unpin(buffer: BufferId): void {
    const status = this.#unpin(buffer);
    if (status === ST_OK) return;
    if (buffer < 0) this.parts.local.unpin(buffer);
    else this.parts.attachment.check(status);
  }

  /**
   * The bytes of a buffer: 8,192, in shared memory. Made once a buffer; the same object is returned
   * again. Meaningful while the buffer is pinned, stable while its content lock is held. A page of
   * a temporary relation lies in the backend's own memory instead, and has no {@link offset}.
   */
  bytes(buffer: BufferId): Uint8Array {
    return this.#views[buffer] ?? this.#makeView(buffer);
  }

  /** Byte offset of a buffer's page in {@link u8} and its siblings; a multiple of 8,192. */
  offset(buffer: BufferId): number {
    return this.#firstFrame + buffer * BLOCK_BYTES;
  }

  /**
   * Pins a block whose old content does not matter, typically a new one: the page is not read but
   * cleared, which changes it: it will be written even if nothing else is done. Pinned and
   * exclusively locked. If the page is in the pool already it is only locked.
   *
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ReadBufferExtended with RBM_ZERO_AND_LOCK
   */
  pinZeroed(id: ForkId, block: number, strategy?: Strategy): BufferId {
    return this.parts.runSync(this.#pinZeroed(id, block, strategy, false)) as BufferId;
  }

  /** How many buffers this backend has pinned; 0 when nothing is leaked. */
  pinnedBuffers(): number {
    return this.#exports.pinnedBuffers();
  }

  // ── Number form: content locks ─────────────────────────────────────────────────────────────────

  /**
   * Locks the content of a pinned buffer for reading; others may read too. May wait.
   *
   * @throws {@link BufferError} 55000 if it is not pinned, or locked by this backend already
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, LockBuffer
   */
  lockShare(buffer: BufferId): void {
    const status = this.#exports.lockShare(buffer);
    if (status !== ST_OK) this.settle(this.parts.runSync(this.#shareRoutine(buffer)));
  }

  /** As {@link lockShare}, for changing: nobody else reads or changes. May wait. */
  lockExclusive(buffer: BufferId): void {
    if (buffer < 0) this.parts.local.checkPinned(buffer);
    else this.settle(this.parts.runSync(this.locks.exclusive(buffer)));
  }

  /**
   * As {@link lockExclusive}, once nobody else has the buffer pinned: bytes that others may point
   * into can be moved. Pins that arrive later do no harm. May wait, for pins as well.
   *
   * @throws {@link BufferError} 55000 unless this backend has exactly one pin on the buffer, or if
   *   another backend is waiting for the same
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, LockBufferForCleanup
   */
  lockForCleanup(buffer: BufferId): void {
    if (buffer < 0) this.parts.local.checkPinned(buffer);
    else this.settle(this.parts.runSync(this.locks.cleanup(buffer)));
  }

  /**
   * As {@link lockShare}, without blocking the thread. What this same backend has of the buffer's
   * lock is waited for too, at most 5 s.
   *
   * @throws {@link BufferError} 55P03 if it is still held then
   */
  async lockShareAsync(buffer: BufferId, signal?: CancelSignal): Promise<void> {
    const lock = (): Routine<number> => this.locks.share(buffer);
    this.settle(await this.parts.run(this.#whenFree(buffer, lock), signal));
  }

  /** As {@link lockExclusive}, without blocking the thread. */
  async lockExclusiveAsync(buffer: BufferId, signal?: CancelSignal): Promise<void> {
    this.settle(await this.parts.run(this.exclusiveRoutine(buffer), signal));
  }

  /** As {@link lockForCleanup}, without blocking the thread. */
  async lockForCleanupAsync(buffer: BufferId, signal?: CancelSignal): Promise<void> {
    const lock = (): Routine<number> => this.locks.cleanup(buffer);
    this.settle(await this.parts.run(this.#whenFree(buffer, lock), signal));
  }

  /** {@link lockShare} if it need not wait. @returns whether the lock is held */
  tryLockShare(buffer: BufferId): boolean {
    return this.#takenLocally(buffer) || this.#taken(this.#exports.lockShareNow(buffer));
  }

  /** {@link lockExclusive} if it need not wait. @returns whether the lock is held */
  tryLockExclusive(buffer: BufferId): boolean {
    return this.#takenLocally(buffer) || this.#taken(this.#exports.lockExclusiveNow(buffer));
  }

  /**
   * {@link lockForCleanup} if it need not wait. @returns whether the lock is held
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ConditionalLockBufferForCleanup
   */
  tryLockForCleanup(buffer: BufferId): boolean {
    if (this.#takenLocally(buffer)) return true;
    this.settle(this.#exports.cleanupRefusal(buffer));
    return this.tryLockExclusive(buffer) && this.#taken(this.#exports.settleCleanupNow(buffer));
  }

  /**
   * Releases the content lock, whichever it is. @throws {@link BufferError} 55000 if there is none
   */
  unlock(buffer: BufferId): void {
    if (!this.#takenLocally(buffer)) this.settle(this.#exports.unlock(buffer));
  }

  // ── Number form: changes ───────────────────────────────────────────────────────────────────────

  /**
   * Begins to change a page: keeps a copy and marks it dirty. Should this backend die before
   * {@link endChange}, the page is put back. One page at a time; costs a copy of 8 kB.
   *
   * @throws {@link BufferError} 55000 without the exclusive lock, or during another change
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, MarkBufferDirty
   */
  beginChange(buffer: BufferId): void {
    if (buffer < 0) this.parts.local.beginChange(buffer);
    else this.settle(this.#exports.beginChange(buffer));
  }

  /**
   * Makes the change stand, by one store. During a checkpoint the page as it was may have to be put
   * into the journal first: may wait for storage then.
   */
  endChange(buffer: BufferId): void {
    const status = this.#exports.endChange(buffer);
    if (status !== ST_OK) this.settle(this.parts.runSync(this.endRoutine(buffer)));
  }

  /** Puts the page back as it was at {@link beginChange}. */
  undoChange(buffer: BufferId): void {
    if (buffer < 0) this.parts.local.undoChange(buffer);
    else this.settle(this.#exports.undoChange(buffer));
  }

  // ── Routines ───────────────────────────────────────────────────────────────────────────────────

  #pinSlowly(id: ForkId, block: number): number {
    if (isTemporary(id)) return this.parts.local.pin(id, block);
    const found = this.#exports.locate(id, block, IO_CONTEXT_NORMAL);
    const buffer = found & BUFFER_MASK;
    if (found === (buffer | NEED_READ) && this.#readsItself) {
      return this.#io.readNow(buffer, id, block, IO_CONTEXT_NORMAL);
    }
    return this.parts.runSync(this.#pinFound(found, id, block));
  }

  *#pinFound(found: number, id: ForkId, block: number): Routine<number> {
    const located = yield* this.#io.locate(id, block, IO_CONTEXT_NORMAL, undefined, found);
    return yield* this.#io.finish(located, id, block, IO_CONTEXT_NORMAL);
  }

  /** @internal */
  protected *pinRoutine(id: ForkId, block: number, options: ReadOptions): Routine<number> {
    const { mode = "normal", strategy } = options;
    if (mode === "zeroAndLock" || mode === "zeroAndCleanupLock") {
      return yield* this.#pinZeroed(id, block, strategy, mode === "zeroAndCleanupLock");
    }
    const bad: BadPage = mode === "zeroOnError" ? "zero" : "error";
    if (isTemporary(id)) return this.parts.local.pin(id, block, bad);
    const context = strategy?.context ?? IO_CONTEXT_NORMAL;
    if (strategy === undefined) {
      const hit = this.#exports.pin(id, block);
      if (hit >= 0) return hit;
    }
    return yield* this.#io.pin(id, block, context, strategy, bad);
  }

  *#pinZeroed(
    id: ForkId,
    block: number,
    strategy: Strategy | undefined,
    cleanup: boolean,
  ): Routine<number> {
    if (isTemporary(id)) return this.parts.local.pinZeroed(id, block);
    const context = strategy?.context ?? IO_CONTEXT_NORMAL;
    const located = yield* this.#io.locate(id, block, context, strategy);
    const settled = yield* this.#io.settle(located, context);
    const buffer = settled & BUFFER_MASK;
    if ((settled & NEED_READ) !== 0) {
      const status = this.#exports.finishZeroed(buffer);
      if (status === ST_OK) return buffer;
      this.#exports.finishRead(buffer, 0);
      this.#exports.unpin(buffer);
      return this.parts.attachment.check(status);
    }
    try {
      this.settle(yield* cleanup ? this.locks.cleanup(buffer) : this.exclusiveRoutine(buffer));
    } catch (error) {
      this.#exports.unpin(buffer);
      throw error;
    }
    return buffer;
  }

  /** @internal */
  protected exclusiveRoutine(buffer: number): Routine<number> {
    return this.#whenFree(buffer, () => this.locks.exclusive(buffer));
  }

  /** A lock for a task of its own: what others of this backend hold is waited for as well. */
  *#whenFree(buffer: number, lock: () => Routine<number>): Routine<number> {
    if (this.#takenLocally(buffer)) return ST_OK;
    for (;;) {
      const status = yield* lock();
      if (status !== ST_ALREADY_LOCKED) return status;
      yield HELD;
    }
  }

  /** @internal */
  protected *endRoutine(buffer: BufferId): Routine<number> {
    if (buffer < 0) {
      this.parts.local.endChange(buffer);
      return ST_OK;
    }
    for (;;) {
      const status = this.#exports.endChange(buffer);
      if (status !== ST_JOURNAL) return status;
      yield* this.parts.journal.keepShadow(this.#io.pageOf(buffer));
    }
  }

  /** @internal */
  protected settle(status: number): void {
    if (status !== ST_OK) this.parts.attachment.check(status);
  }

  *#shareRoutine(buffer: BufferId): Routine<number> {
    return this.#takenLocally(buffer) ? ST_OK : yield* this.locks.share(buffer);
  }

  /** A local buffer needs no lock: whoever has it pinned is alone. */
  #takenLocally(buffer: number): boolean {
    if (buffer < 0) this.parts.local.checkPinned(buffer as BufferId);
    return buffer < 0;
  }

  #taken(status: number): boolean {
    if (status !== ST_OK && status !== ST_BUSY) this.parts.attachment.check(status);
    return status === ST_OK;
  }

  #makeView(buffer: BufferId): Uint8Array {
    if (buffer < 0) return this.parts.local.bytes(buffer);
    const view = this.#io.bytes(buffer);
    this.#views[buffer] = view;
    return view;
  }

  /** After the backend has detached every call throws. @internal */
  close(): void {
    this.#exports = this.parts.attachment.exports;
    this.#pin = this.#exports.pin;
    this.#unpin = this.#exports.unpin;
  }
}
