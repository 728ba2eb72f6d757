/**
 * Rings: a scan of a large relation uses a few frames again and again instead of pushing out what
 * everybody else uses. The ring is its scan's own; what is in it stays in the pool for all to find.
 *
 *   slots   ┌───┬───┬───┬─ ─┬───┐   a slot's frame is used again if nobody holds it and nobody else
 *           │ 7 │12 │ - │   │ 3 │   has used it since (usage 1 is the ring's own); else the slot
 * gets
 *           └───┴─▲─┴───┴─ ─┴───┘   the frame that the sweep finds
 *               current
 *
 * PostgreSQL: src/backend/storage/buffer/freelist.c, GetAccessStrategy, GetBufferFromRing
 */

import {
  BLOCK_BYTES,
  IO_CONTEXT_BULKREAD,
  IO_CONTEXT_BULKWRITE,
  IO_CONTEXT_VACUUM,
  ST_MISS,
} from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { ResolvedSettings } from "./settings.ts";

/** What a ring is for; its size depends on it. */
export type StrategyKind = "bulkread" | "bulkwrite" | "vacuum";

const BLOCK_KB = BLOCK_BYTES / 1024;
const EMPTY = -1;
/** A ring has at most this part of the pool. */
const POOL_FRACTION = 8;
const BULKREAD_KB = 256;
const BULKWRITE_KB = 16384; // 16 MB

/** Background writer and checkpointer; the owner of the region has a slot as well. */
const HELPERS = 2;
const OWNER = 1;

const contexts: Readonly<Record<StrategyKind, number>> = {
  bulkread: IO_CONTEXT_BULKREAD,
  bulkwrite: IO_CONTEXT_BULKWRITE,
  vacuum: IO_CONTEXT_VACUUM,
};

/**
 * A ring of buffers for one scan or load. One thing at a time uses it.
 *
 * @see PostgreSQL: src/include/storage/buf.h, BufferAccessStrategy
 */
export class Strategy {
  readonly kind: StrategyKind;
  /** Frames of the ring. */
  readonly size: number;
  /** IO_CONTEXT_ that its accesses are counted in. @internal */
  readonly context: number;
  readonly #slots: Int32Array;
  #current = 0;

  /** @internal */
  constructor(kind: StrategyKind, size: number) {
    this.kind = kind;
    this.size = size;
    this.context = contexts[kind];
    this.#slots = new Int32Array(size).fill(EMPTY);
    this.#current = size - 1;
  }

  /** Pages of it that a reader should have pinned at one time, at most. */
  get pinLimit(): number {
    return this.kind === "bulkread" ? this.size : Math.max(1, Math.floor(this.size / 2));
  }

  /** Moves on by one slot and takes its frame, if that can be; see `reuse` in wasm. @internal */
  reuse(exports: SharedExports, context: number): number {
    this.#current = (this.#current + 1) % this.size;
    const buffer = this.#slots[this.#current] ?? EMPTY;
    return buffer === EMPTY ? ST_MISS : exports.reuse(buffer, context);
  }

  /** Frames of the slots behind the current one, `most` of them or fewer. @internal */
  upcoming(most: number): number[] {
    const found: number[] = [];
    for (let step = 1; step < this.size && found.length < most; step += 1) {
      const buffer = this.#slots[(this.#current + step) % this.size] ?? EMPTY;
      if (buffer !== EMPTY) found.push(buffer);
    }
    return found;
  }

  /** The slot of the last {@link reuse} has this frame now. @internal */
  remember(buffer: number): void {
    this.#slots[this.#current] = buffer;
  }
}

/**
 * Makes a ring; undefined if the settings have none of that kind, or the pool is too small for one.
 *
 * @see PostgreSQL: src/backend/storage/buffer/freelist.c, GetAccessStrategy
 * @internal
 */
export function createStrategy(
  kind: StrategyKind,
  settings: ResolvedSettings,
): Strategy | undefined {
  const size = ringSize(kind, settings);
  return size === 0 ? undefined : new Strategy(kind, size);
}

/**
 * Buffers of a ring under these settings; 0 where there is none.
 *
 * @see PostgreSQL: src/backend/storage/buffer/freelist.c, GetAccessStrategyBufferCount
 */
export function ringSize(kind: StrategyKind, settings: ResolvedSettings): number {
  const blocks = Math.floor(ringKilobytes(kind, settings) / BLOCK_KB);
  return Math.min(blocks, Math.floor(settings.sharedBuffers / POOL_FRACTION));
}

function ringKilobytes(kind: StrategyKind, settings: ResolvedSettings): number {
  switch (kind) {
    case "bulkread": {
      const ahead = settings.ioCombineLimit * settings.values.effective_io_concurrency;
      const wanted = BULKREAD_KB + BLOCK_KB * ahead;
      return Math.max(BULKREAD_KB, Math.min(wanted, pinBudget(settings) * BLOCK_KB));
    }
    case "bulkwrite":
      return BULKWRITE_KB;
    default:
      return settings.values.vacuum_buffer_usage_limit;
  }
}

/**
 * Buffers that each backend may have pinned for the sake of speed alone: the pool shared out among
 * all who can be attached. May be 0; one page can always be pinned.
 *
 * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, GetPinLimit
 * @internal
 */
export function pinBudget({ sharedBuffers, maxConnections, values }: ResolvedSettings): number {
  const ioWorkers = values.io_method === "worker" ? values.io_workers : 0;
  return Math.floor(sharedBuffers / (maxConnections + OWNER + HELPERS + ioWorkers));
}
