/**
 * The buffer pool as one backend sees it: pages as objects with a scope, changes as functions, and
 * work on whole relations. Numbers in, numbers out for hot loops: number-pool.ts.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c
 */

import {
  HOLD_COUNT_MASK,
  HOLD_SHARE,
  IO_CONTEXT_NORMAL,
  MAX_BLOCK_NUMBER,
  ST_ALREADY_LOCKED,
  ST_CHANGING,
  ST_OK,
} from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import type { BufferId, ForkId } from "../abi/pointers.ts";
import { type AsyncReadOptions, NumberPool, type ReadOptions } from "./number-pool.ts";
import { PinnedBuffer } from "./pinned-buffer.ts";
import { type BlockSource, ReadStream, type ReadStreamOptions } from "./read-stream.ts";
import type { Relation } from "./relation.ts";
import type { EvictManyResult, EvictResult } from "./relation-pages.ts";
import { HELD, type Routine } from "./routine.ts";
import { createStrategy, type Strategy, type StrategyKind } from "./strategy.ts";
import { isTemporary } from "./temp-numbers.ts";

/** A page that a backend has pinned. */
export interface LeakedPin {
  /** Below 0 for a page of a temporary relation. */
  readonly buffer: number;
  readonly relation: string;
  readonly block: number;
  readonly pins: number;
  /** Whether its content lock is held as well. */
  readonly locked: boolean;
}

/** What a warning says of a pin that was not given back. @internal */
export function leakWarning({ buffer, relation, block, pins, locked }: LeakedPin): string {
  const state = locked ? ", content lock held" : "";
  return `buffer refcount leak: [${buffer}] (rel=${relation}, blockNum=${block}, refcount=${pins}${state})`;
}

/** Pages of relations, in memory shared by all backends. */
export class BufferPool extends NumberPool {
  /** Share locks of {@link PinnedBuffer}s: how many a buffer. */
  readonly #shares = new Map<number, number>();

  /**
   * Pins a page and locks it for reading until the object is disposed. May wait. A backend may have
   * several of one page.
   *
   * @example
   * using page = backend.buffers.readSync(relation, 17);
   * const lower = page.bytes[12];
   */
  readSync(relation: Relation, block: number, options: ReadOptions = {}): PinnedBuffer {
    checkBlock(block);
    const plain = options.mode === undefined && options.strategy === undefined;
    const page = plain ? this.#readNow(relation.id, block) : undefined;
    return page ?? this.parts.runSync(this.#read(relation.id, block, options));
  }

  /** A page that is in the pool and free to be read, without a routine; undefined if it is not. */
  #readNow(id: ForkId, block: number): PinnedBuffer | undefined {
    const { exports } = this.parts.attachment;
    const buffer = exports.pin(id, block) as BufferId;
    if (buffer < 0) return undefined;
    const count = this.#shares.get(buffer) ?? 0;
    if (count === 0 && exports.lockShareNow(buffer) !== ST_OK) {
      exports.unpin(buffer);
      return undefined;
    }
    this.#shares.set(buffer, count + 1);
    return new PinnedBuffer(this, buffer, block, true);
  }

  /** As {@link readSync}, without blocking the thread. */
  read(relation: Relation, block: number, options: AsyncReadOptions = {}): Promise<PinnedBuffer> {
    checkBlock(block);
    return this.parts.run(this.#read(relation.id, block, options), options.signal);
  }

  /**
   * Changes a page: pins and locks it exclusively, runs `change`, and makes the change stand. If
   * `change` throws the page is put back and the error passed on. May wait.
   *
   * @param change - gets the page's 8,192 bytes; must be synchronous
   */
  changeSync(relation: Relation, block: number, change: (bytes: Uint8Array) => void): void {
    checkBlock(block);
    this.parts.runSync(this.#change(relation.id, block, change));
  }

  /** As {@link changeSync}, without blocking the thread; `change` itself is synchronous. */
  change(
    relation: Relation,
    block: number,
    change: (bytes: Uint8Array) => void,
    signal?: CancelSignal,
  ): Promise<void> {
    checkBlock(block);
    return this.parts.run(this.#change(relation.id, block, change), signal);
  }

  // ── Reading ahead ────────────────────────────────────────────────────────────────────────────

  /**
   * Reads pages one after the other, neighbours that are not in the pool by one read.
   *
   * @param source - a range of blocks, or a function that names the next block
   * @see PostgreSQL: src/backend/storage/aio/read_stream.c, read_stream_begin_relation
   */
  readStream(relation: Relation, source: BlockSource, options?: ReadStreamOptions): ReadStream {
    return new ReadStream(this.parts, relation.id, source, options);
  }

  /**
   * A ring of buffers for one scan or load; undefined where there is none of that kind, because the
   * pool is too small or vacuum_buffer_usage_limit is 0. `bulkread` is for scans of relations
   * larger than a quarter of the pool, `bulkwrite` for loads.
   *
   * @see PostgreSQL: src/backend/storage/buffer/freelist.c, GetAccessStrategy
   */
  strategy(kind: StrategyKind): Strategy | undefined {
    return createStrategy(kind, this.parts.settings);
  }

  /**
   * Looks whether a page is in the pool, and asks storage to have it ready if it is not. Neither
   * waits nor pins.
   *
   * @returns where the page is: a hint for {@link readRecent}; undefined if it is not in the pool
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, PrefetchBuffer
   */
  prefetch(relation: Relation, block: number): BufferId | undefined {
    checkBlock(block);
    if (isTemporary(relation.id)) return undefined;
    const buffer = this.parts.attachment.exports.lookUp(relation.id, block);
    if (buffer >= 0) return buffer as BufferId;
    this.parts.io.prefetch(relation.id, block, 1);
    return undefined;
  }

  /**
   * Pins a page if it is in a buffer it was found in before. Never waits, never reads.
   *
   * @returns whether the buffer has that page; only then it is pinned
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ReadRecentBuffer
   */
  readRecent(buffer: BufferId, relation: Relation, block: number): boolean {
    checkBlock(block);
    if (buffer < 0) return false;
    const { exports } = this.parts.attachment;
    return exports.pinRecent(buffer, relation.id, block, IO_CONTEXT_NORMAL) >= 0;
  }

  // ── Many pages ───────────────────────────────────────────────────────────────────────────────

  /**
   * Makes a relation longer; the new blocks read as zeroes. May wait for storage and for others
   * who extend.
   *
   * @param blocks - how many, 1 or more; extending by many at once is cheaper
   * @returns the first new block
   * @throws {@link StorageError} 53100 if the medium is full
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, ExtendBufferedRelBy
   */
  extendSync(relation: Relation, blocks = 1, strategy?: Strategy): number {
    return this.parts.runSync(this.#extend(relation, blocks, strategy));
  }

  /** As {@link extendSync}, without blocking the thread in a wait. */
  extend(relation: Relation, blocks = 1, strategy?: Strategy): Promise<number> {
    return this.parts.run(this.#extend(relation, blocks, strategy));
  }

  *#extend(relation: Relation, blocks: number, strategy?: Strategy): Routine<number> {
    if (!Number.isInteger(blocks) || blocks < 1) {
      throw new RangeError(`a relation is extended by 1 block or more, not ${blocks}`);
    }
    if (isTemporary(relation.id)) return this.parts.local.extend(relation.id, blocks);
    const context = strategy?.context ?? IO_CONTEXT_NORMAL;
    return yield* this.parts.pages.extend(relation, blocks, context);
  }

  /**
   * Writes the dirty pages of a relation, or of all. They are in their files then, but only a
   * checkpoint makes them durable. May wait for storage.
   *
   * @returns how many were written
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, FlushRelationBuffers
   */
  flushSync(relation?: Relation): number {
    return this.parts.runSync(this.#flush(relation));
  }

  /** As {@link flushSync}, without blocking the thread in a wait. */
  flush(relation?: Relation): Promise<number> {
    return this.parts.run(this.#flush(relation));
  }

  /** Writes one buffer if it is dirty. @returns whether it was */
  flushBufferSync(buffer: BufferId): boolean {
    if (buffer < 0) return this.parts.local.flush(buffer);
    return this.parts.runSync(this.parts.pages.flushBuffer(buffer));
  }

  /**
   * Takes a page out of the pool unless it is pinned; for tests and measurements.
   *
   * @see PostgreSQL: contrib/pg_buffercache, pg_buffercache_evict
   */
  evictSync(buffer: BufferId): EvictResult {
    return this.parts.runSync(this.parts.pages.evict(buffer));
  }

  /** Takes every page of a relation, or all pages, out of the pool unless they are pinned. */
  evictAllSync(relation?: Relation): EvictManyResult {
    return this.parts.runSync(this.parts.pages.evictAll(relation?.id ?? 0));
  }

  *#flush(relation: Relation | undefined): Routine<number> {
    if (relation === undefined || !isTemporary(relation.id)) {
      return yield* this.parts.pages.flush(relation?.id ?? 0);
    }
    return this.parts.local.flushRelation(relation.id);
  }

  // ── Routines ───────────────────────────────────────────────────────────────────────────────────

  *#read(id: ForkId, block: number, options: ReadOptions): Routine<PinnedBuffer> {
    const { mode = "normal" } = options;
    const buffer = (yield* this.pinRoutine(id, block, options)) as BufferId;
    if (mode === "zeroAndLock" || mode === "zeroAndCleanupLock") {
      return new PinnedBuffer(this, buffer, block, false);
    }
    try {
      yield* this.#lockShared(buffer);
    } catch (error) {
      this.unpin(buffer);
      throw error;
    }
    return new PinnedBuffer(this, buffer, block, true);
  }

  /** A share lock that several objects may have together. */
  *#lockShared(buffer: BufferId): Routine<void> {
    if (buffer < 0) return;
    for (;;) {
      const count = this.#shares.get(buffer) ?? 0;
      if (count > 0) {
        this.#shares.set(buffer, count + 1);
        return;
      }
      const status = yield* this.locks.share(buffer);
      if (status === ST_OK) {
        this.#shares.set(buffer, 1);
        return;
      }
      if (status !== ST_ALREADY_LOCKED) this.settle(status);
      else if (!this.#shares.has(buffer)) yield HELD;
    }
  }

  *#change(id: ForkId, block: number, change: (bytes: Uint8Array) => void): Routine<void> {
    const buffer = (yield* this.pinRoutine(id, block, {})) as BufferId;
    try {
      this.settle(yield* this.exclusiveRoutine(buffer));
      try {
        yield* this.#beginChange(buffer);
        yield* this.#changeLocked(buffer, change);
      } finally {
        this.unlock(buffer);
      }
    } finally {
      this.unpin(buffer);
    }
  }

  /** Another change of this backend may be waiting for storage: it has one shadow page. */
  *#beginChange(buffer: BufferId): Routine<void> {
    const { exports } = this.parts.attachment;
    if (buffer < 0) return this.beginChange(buffer);
    for (;;) {
      const status = exports.beginChange(buffer);
      if (status !== ST_CHANGING) return this.settle(status);
      yield HELD;
    }
  }

  *#changeLocked(buffer: BufferId, change: (bytes: Uint8Array) => void): Routine<void> {
    try {
      change(this.bytes(buffer));
      this.settle(yield* this.endRoutine(buffer));
    } catch (error) {
      this.undoChange(buffer);
      throw error;
    }
  }

  /**
   * Pins that this backend has now. At the end of a query there should be none; what is there was
   * leaked. Cost grows with the pool if there is any.
   */
  leakedPins(): LeakedPin[] {
    const leaks: LeakedPin[] = this.parts.local.leaks().map(({ count, ...page }) => {
      return { ...page, pins: count, locked: false };
    });
    const { exports } = this.parts.attachment;
    let unseen = this.pinnedBuffers();
    for (let buffer = 0; unseen > 0 && buffer < this.parts.io.buffers; buffer += 1) {
      const held = exports.holdOf(buffer);
      if ((held & HOLD_COUNT_MASK) === 0) continue;
      unseen -= 1;
      const { relation, block } = this.parts.io.pageOf(buffer);
      const locked = (held & HOLD_SHARE) !== 0 || exports.lockedExclusively(buffer) !== 0;
      const name = this.parts.io.nameOf(relation);
      leaks.push({ buffer, relation: name, block, pins: held & HOLD_COUNT_MASK, locked });
    }
    return leaks;
  }

  /**
   * Gives back every pin and content lock that this backend has, and an unfinished change: what the
   * end of a query does about what it leaked.
   *
   * @returns what there was, for the reader of a log
   * @see PostgreSQL: src/backend/utils/resowner/resowner.c, ResourceOwnerRelease
   */
  releaseLeakedPins(): LeakedPin[] {
    const leaks = this.leakedPins();
    for (const { buffer, pins, locked } of leaks) this.releasePins(buffer, pins, locked);
    return leaks;
  }

  /** Gives back pins on one buffer, and the content lock with an unfinished change. @internal */
  releasePins(buffer: number, pins: number, unlocks: boolean): void {
    const id = buffer as BufferId;
    if (buffer < 0) this.parts.local.abandonChange(id);
    else if (unlocks) {
      if (this.parts.attachment.exports.unlock(id) === ST_CHANGING) {
        this.undoChange(id);
        this.unlock(id);
      }
      this.#shares.delete(buffer);
    } else this.#limitShares(buffer, pins);
    for (let pin = 0; pin < pins; pin += 1) this.unpin(id);
  }

  /** Of a lock that stays, no more objects can have a part than there will be pins. */
  #limitShares(buffer: number, pins: number): void {
    const shares = this.#shares.get(buffer);
    if (shares === undefined) return;
    const left = (this.parts.attachment.exports.holdOf(buffer) & HOLD_COUNT_MASK) - pins;
    this.#shares.set(buffer, Math.min(shares, left));
  }

  /** Whether this backend has a page pinned: one call, whatever the size of the pool. @internal */
  hasPins(): boolean {
    return this.pinnedBuffers() > 0 || this.parts.local.pinnedBuffers > 0;
  }

  /** State word of a buffer, and how many backends hold it: for a warning. @internal */
  stateOf(buffer: number): { flags: number; holders: number } {
    if (buffer < 0) return { flags: 0, holders: 1 };
    const { exports } = this.parts.attachment;
    return { flags: exports.stateOf(buffer) >>> 0, holders: exports.holders(buffer) };
  }

  /** Sets temp_buffers. @throws {@link InvalidParameterError} once a page was touched @internal */
  resizeTemporary(pages: number): void {
    this.parts.local.resize(pages);
  }

  /** Gives back what a {@link PinnedBuffer} held. @internal */
  release(buffer: BufferId, shared: boolean): void {
    const count = shared ? (this.#shares.get(buffer) ?? 0) : 0;
    if (count > 1) this.#shares.set(buffer, count - 1);
    else {
      this.#shares.delete(buffer);
      this.unlock(buffer);
    }
    this.unpin(buffer);
  }
}

/** @throws RangeError unless `block` can be a block's number @internal */
export function checkBlock(block: number): void {
  if (Number.isInteger(block) && block >= 0 && block <= MAX_BLOCK_NUMBER) return;
  throw new RangeError(`a block number is 0 to ${MAX_BLOCK_NUMBER}, not ${block}`);
}
