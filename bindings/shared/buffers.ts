/**
 * The buffer pool as one backend sees it: pages as objects with a scope, changes as functions, and
 * work on whole relations. Numbers in, numbers out for hot loops: number-pool.ts.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c
 */

import {
  IO_CONTEXT_NORMAL,
  MAX_BLOCK_NUMBER,
  ST_ALREADY_LOCKED,
  ST_OK,
} from "../../assembly/common/constants.ts";
import type { BufferId, ForkId } from "../abi/pointers.ts";
import { type AsyncReadOptions, NumberPool, type ReadOptions } from "./number-pool.ts";
import { PinnedBuffer } from "./pinned-buffer.ts";
import type { Relation } from "./relation.ts";
import type { EvictManyResult, EvictResult } from "./relation-pages.ts";
import { type Routine, SELF } from "./routine.ts";
import type { Strategy } from "./strategy.ts";

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
    return this.parts.runSync(this.#read(relation.id, block, options));
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
    signal?: AbortSignal,
  ): Promise<void> {
    checkBlock(block);
    return this.parts.run(this.#change(relation.id, block, change), signal);
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

  #extend(relation: Relation, blocks: number, strategy?: Strategy): Routine<number> {
    if (!Number.isInteger(blocks) || blocks < 1) {
      throw new RangeError(`a relation is extended by 1 block or more, not ${blocks}`);
    }
    return this.parts.pages.extend(relation, blocks, strategy?.context ?? IO_CONTEXT_NORMAL);
  }

  /**
   * Writes the dirty pages of a relation, or of all. They are in their files then, but only a
   * checkpoint makes them durable. May wait for storage.
   *
   * @returns how many were written
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, FlushRelationBuffers
   */
  flushSync(relation?: Relation): number {
    return this.parts.runSync(this.parts.pages.flush(relation?.id ?? 0));
  }

  /** As {@link flushSync}, without blocking the thread in a wait. */
  flush(relation?: Relation): Promise<number> {
    return this.parts.run(this.parts.pages.flush(relation?.id ?? 0));
  }

  /** Writes one buffer if it is dirty. @returns whether it was */
  flushBufferSync(buffer: BufferId): boolean {
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
      this.parts.attachment.exports.unpin(buffer);
      throw error;
    }
    return new PinnedBuffer(this, buffer, block, true);
  }

  /** A share lock that several objects may have together. */
  *#lockShared(buffer: BufferId): Routine<void> {
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
      if (status === ST_ALREADY_LOCKED && !this.#shares.has(buffer)) yield SELF;
      else this.settle(status);
    }
  }

  *#change(id: ForkId, block: number, change: (bytes: Uint8Array) => void): Routine<void> {
    const buffer = (yield* this.pinRoutine(id, block, {})) as BufferId;
    try {
      this.settle(yield* this.exclusiveRoutine(buffer));
      try {
        this.beginChange(buffer);
        yield* this.#changeLocked(buffer, change);
      } finally {
        this.parts.attachment.exports.unlock(buffer);
      }
    } finally {
      this.parts.attachment.exports.unpin(buffer);
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
