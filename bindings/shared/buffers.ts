/**
 * The buffer pool as one backend sees it. Two forms: numbers in, numbers out for hot loops, and
 * objects with a scope for everything else.
 *
 * The hit path is one call into wasm. On a miss this file drives the steps of
 * assembly/buffer/pool.ts and does the storage's part between them: while it runs, only the frame's
 * state word names this backend, so that an exception of the storage unwinds through nothing.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c
 */

import {
  BLOCK_BYTES,
  BUFFER_MASK,
  COUNTER_EXTEND_BYTES,
  COUNTER_EXTENDS,
  EXTENSION_LOCKS,
  FORK_BITS,
  IN_PROGRESS,
  IO_CONTEXT_NORMAL,
  LOCK_EXTENSION,
  MAX_BLOCK_NUMBER,
  NEED_READ,
  NEED_WRITE,
  PAGE_BAD_CHECKSUM,
  PAGE_CHECKSUM_OFFSET,
  PAGE_GOOD,
  ST_BUSY,
  ST_DRAIN,
  ST_MISS,
  ST_OK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import { ClosedError, DataCorruptedError } from "../abi/errors.ts";
import type { BufferId, ForkId } from "../abi/pointers.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { Fork, StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import { PinnedBuffer } from "./pinned-buffer.ts";
import type { Relation, RelationMap } from "./relation.ts";

const FORK_MASK = (1 << FORK_BITS) - 1;

/** Pages of relations, in memory shared by all backends. */
export class BufferPool {
  /**
   * Views over the whole region, for reading pages at {@link offset}; stable for its whole life.
   */
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;

  readonly #attachment: Attachment;
  readonly #storage: StorageManager;
  readonly #relations: RelationMap;
  readonly #views: (Uint8Array | undefined)[] = [];
  readonly #firstFrame: number;
  readonly #writePage: Uint8Array;
  #exports: SharedExports;
  #pin: SharedExports["pin"];
  #unpin: SharedExports["unpin"];

  /** @internal */
  constructor(attachment: Attachment, storage: StorageManager, relations: RelationMap) {
    const { buffer, exports } = attachment;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.#attachment = attachment;
    this.#storage = storage;
    this.#relations = relations;
    this.#exports = exports;
    this.#pin = exports.pin;
    this.#unpin = exports.unpin;
    this.#firstFrame = exports.frameAddress(0) >>> 0;
    this.#writePage = new Uint8Array(buffer, exports.writePageAddress() >>> 0, BLOCK_BYTES);
  }

  // ── Number form ────────────────────────────────────────────────────────────────────────────────

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

  /**
   * Gives back one pin. The page's content lock must have been released.
   *
   * @throws {@link BufferError} 55000 if this backend has no pin on the buffer, or still its lock
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ReleaseBuffer
   */
  unpin(buffer: BufferId): void {
    const status = this.#unpin(buffer);
    if (status !== ST_OK) this.#attachment.check(status);
  }

  /**
   * The bytes of a buffer: 8,192, in shared memory. Made once a buffer; the same object is returned
   * again. Meaningful while the buffer is pinned, stable while its content lock is held.
   */
  bytes(buffer: BufferId): Uint8Array {
    return this.#views[buffer] ?? this.#makeView(buffer);
  }

  /** Byte offset of a buffer's page in {@link u8} and its siblings; a multiple of 8,192. */
  offset(buffer: BufferId): number {
    return this.#firstFrame + buffer * BLOCK_BYTES;
  }

  /**
   * Locks the content of a pinned buffer for reading; others may read too. May wait.
   *
   * @throws {@link BufferError} 55000 if it is not pinned, or locked by this backend already
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, LockBuffer
   */
  lockShare(buffer: BufferId): void {
    const status = this.#exports.lockShare(buffer);
    if (status !== ST_OK) this.#lockSlowly(status, buffer, this.#exports.lockShare);
  }

  /** As {@link lockShare}, for changing: nobody else reads or changes. May wait. */
  lockExclusive(buffer: BufferId): void {
    const status = this.#exports.lockExclusive(buffer);
    if (status !== ST_OK) this.#lockSlowly(status, buffer, this.#exports.lockExclusive);
  }

  /**
   * Releases the content lock, whichever it is. @throws {@link BufferError} 55000 if there is none
   */
  unlock(buffer: BufferId): void {
    this.#attachment.check(this.#exports.unlock(buffer));
  }

  /**
   * Begins to change a page: keeps a copy and marks it dirty. Should this backend die before
   * {@link endChange}, the page is put back. One page at a time; costs a copy of 8 kB.
   *
   * @throws {@link BufferError} 55000 without the exclusive lock, or during another change
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, MarkBufferDirty
   */
  beginChange(buffer: BufferId): void {
    this.#attachment.check(this.#exports.beginChange(buffer));
  }

  /** Makes the change stand, by one store. */
  endChange(buffer: BufferId): void {
    this.#attachment.check(this.#exports.endChange(buffer));
  }

  /** Puts the page back as it was at {@link beginChange}. */
  undoChange(buffer: BufferId): void {
    this.#attachment.check(this.#exports.undoChange(buffer));
  }

  /**
   * Makes a relation longer; the new blocks read as zeroes. May wait for storage and for others
   * who extend.
   *
   * @param blocks - how many, 1 or more; extending by many at once is cheaper
   * @returns the first new block
   * @throws {@link StorageError} 53100 if the medium is full
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ExtendBufferedRelBy
   */
  extendSync(relation: Relation, blocks = 1): number {
    if (!Number.isInteger(blocks) || blocks < 1) {
      throw new RangeError(`a relation is extended by 1 block or more, not ${blocks}`);
    }
    const lock = LOCK_EXTENSION + (relation.number % EXTENSION_LOCKS);
    return this.#attachment.withNamedLock(lock, () => {
      const first = relation.blocksSync();
      if (first + blocks > MAX_BLOCK_NUMBER) {
        const limit = `cannot extend relation ${relation.name} beyond ${MAX_BLOCK_NUMBER} blocks`;
        throw new RangeError(limit);
      }
      this.#storage.extendSync(relation.number, 0, first + blocks);
      this.#exports.countIo(
        IO_CONTEXT_NORMAL,
        COUNTER_EXTENDS,
        1,
        COUNTER_EXTEND_BYTES,
        blocks * BLOCK_BYTES,
      );
      return first;
    });
  }

  /**
   * Pins a block whose old content does not matter, typically a new one: the page is not read but
   * cleared. Pinned and exclusively locked. If the page is in the pool already it is only locked.
   *
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ReadBufferExtended with RBM_ZERO_AND_LOCK
   */
  pinZeroed(id: ForkId, block: number): BufferId {
    const result = this.#findOrInstall(id, block);
    const buffer = (result & BUFFER_MASK) as BufferId;
    if ((result & NEED_READ) === 0) {
      this.#awaitRead(result, id, block);
      this.lockExclusive(buffer);
      return buffer;
    }
    const status = this.#exports.finishZeroed(buffer);
    if (status === ST_OK) return buffer;
    this.#exports.finishRead(buffer, 0);
    this.#exports.unpin(buffer);
    return this.#attachment.check(status) as BufferId;
  }

  /** How many buffers this backend has pinned; 0 when nothing is leaked. */
  pinnedBuffers(): number {
    return this.#exports.pinnedBuffers();
  }

  // ── Object form ────────────────────────────────────────────────────────────────────────────────

  /**
   * Pins a page and locks it for reading until the object is disposed. May wait.
   *
   * @example
   * using page = backend.buffers.readSync(relation, 17);
   * const lower = page.bytes[12];
   */
  readSync(relation: Relation, block: number): PinnedBuffer {
    checkBlock(block);
    const buffer = this.pin(relation.id, block);
    try {
      this.lockShare(buffer);
    } catch (error) {
      this.unpin(buffer);
      throw error;
    }
    return new PinnedBuffer(this, buffer, block);
  }

  /**
   * Changes a page: pins and locks it exclusively, runs `change`, and makes the change stand. If
   * `change` throws the page is put back and the error passed on. May wait.
   *
   * @param change - gets the page's 8,192 bytes; must be synchronous
   */
  changeSync(relation: Relation, block: number, change: (bytes: Uint8Array) => void): void {
    checkBlock(block);
    const buffer = this.pin(relation.id, block);
    try {
      this.lockExclusive(buffer);
      try {
        this.#changeLocked(buffer, change);
      } finally {
        this.unlock(buffer);
      }
    } finally {
      this.unpin(buffer);
    }
  }

  #changeLocked(buffer: BufferId, change: (bytes: Uint8Array) => void): void {
    this.beginChange(buffer);
    try {
      change(this.bytes(buffer));
    } catch (error) {
      this.undoChange(buffer);
      throw error;
    }
    this.endChange(buffer);
  }

  // ── The long way ───────────────────────────────────────────────────────────────────────────────

  #pinSlowly(id: ForkId, block: number): number {
    return this.#awaitRead(this.#findOrInstall(id, block), id, block);
  }

  /** The page's buffer, pinned, with what is still to be done. */
  #findOrInstall(id: ForkId, block: number): number {
    const attachment = this.#attachment;
    const found = attachment.untilDone(() => this.#exports.pinMapped(id, block));
    if (found !== ST_MISS) return attachment.check(found);
    const installed = this.#exports.install(this.#victim(), id, block);
    return installed === ST_BUSY ? this.#findOrInstall(id, block) : attachment.check(installed);
  }

  /** Reads, or waits for who reads, until the page is valid. */
  #awaitRead(result: number, id: ForkId, block: number): number {
    const buffer = result & BUFFER_MASK;
    const deadline = this.#attachment.deadline();
    let status = result;
    try {
      while ((status & IN_PROGRESS) !== 0) {
        this.#attachment.sleep(deadline);
        status = this.#attachment.check(this.#exports.ensureValid(buffer));
      }
      if ((status & NEED_READ) !== 0) this.#read(buffer as BufferId, id, block);
    } catch (error) {
      this.#exports.unpin(buffer);
      throw error;
    }
    return buffer;
  }

  #read(buffer: BufferId, id: ForkId, block: number): void {
    let good = 0;
    try {
      const [relation, fork] = partsOf(id);
      this.#storage.readSync(relation, fork, block, this.bytes(buffer));
      const verdict = this.#exports.verifyFrame(buffer);
      if (verdict !== PAGE_GOOD) throw this.#invalidPage(buffer, relation, block, verdict);
      good = 1;
    } finally {
      this.#exports.finishRead(buffer, good);
    }
  }

  #invalidPage(buffer: BufferId, relation: number, block: number, verdict: number): Error {
    const name = this.#relations.nameOf(relation);
    const offset = this.offset(buffer);
    const expected = this.u16[(offset + PAGE_CHECKSUM_OFFSET) / 2];
    const calculated = this.#exports.pageChecksum(offset, block);
    const detail =
      verdict === PAGE_BAD_CHECKSUM
        ? `page verification failed, calculated checksum ${calculated} but expected ${expected}`
        : "The page's header is not one.";
    const message = `invalid page in block ${block} of relation "${name}"`;
    return new DataCorruptedError(message, { relation: name, block }, { detail });
  }

  /** A frame that belongs to this backend alone; dirty candidates are written back on the way. */
  #victim(): number {
    const attachment = this.#attachment;
    const exports = this.#exports;
    for (;;) {
      const candidate = attachment.check(attachment.untilDone(exports.victim));
      if ((candidate & NEED_WRITE) === 0) return candidate;
      const buffer = candidate & BUFFER_MASK;
      try {
        this.writeOut(buffer);
      } catch (error) {
        exports.dropGuard(buffer);
        throw error;
      }
      const claimed = exports.claim(buffer);
      if (claimed !== ST_MISS && claimed !== ST_BUSY) return attachment.check(claimed);
    }
  }

  /** Writes the page that stands in this backend's write page, and ends the write. @internal */
  writeOut(buffer: number): void {
    let good = 0;
    try {
      const [relation, fork] = partsOf(this.#exports.fileOf(buffer));
      const block = this.#exports.blockOf(buffer) >>> 0;
      this.#storage.writeSync(relation, fork, block, this.#writePage);
      good = 1;
    } finally {
      this.#exports.finishWrite(buffer, good);
    }
  }

  #lockSlowly(first: number, buffer: BufferId, lock: (buffer: number) => number): void {
    const deadline = this.#attachment.deadline();
    let status = first;
    let owned = false;
    try {
      while (status === ST_WAIT || status === ST_DRAIN) {
        owned = status === ST_DRAIN;
        this.#attachment.sleep(deadline);
        status = owned ? this.#exports.drainShares(buffer) : lock(buffer);
      }
      owned = false;
    } finally {
      // Given up while share holders were waited for: the owner word is taken already.
      if (owned) this.#exports.unlock(buffer);
    }
    this.#attachment.check(status);
  }

  #makeView(buffer: BufferId): Uint8Array {
    const view = new Uint8Array(this.#attachment.buffer, this.offset(buffer), BLOCK_BYTES);
    this.#views[buffer] = view;
    return view;
  }

  /** After the backend has detached every call throws. @internal */
  close(): void {
    const closed = (): never => {
      throw new ClosedError("the backend");
    };
    this.#pin = closed;
    this.#unpin = closed;
    this.#exports = new Proxy(this.#exports, { get: () => closed });
  }
}

function partsOf(file: number): [relation: number, fork: Fork] {
  return [file >>> FORK_BITS, (file & FORK_MASK) as Fork];
}

function checkBlock(block: number): void {
  if (Number.isInteger(block) && block >= 0 && block <= MAX_BLOCK_NUMBER) return;
  throw new RangeError(`a block number is 0 to ${MAX_BLOCK_NUMBER}, not ${block}`);
}
