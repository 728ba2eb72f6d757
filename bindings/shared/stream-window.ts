/**
 * What a read stream will want: the next numbers of its source, and how far it looks ahead. Hints
 * for storage are given from here, because they are about blocks that nobody has looked for yet.
 *
 * PostgreSQL: src/backend/storage/aio/read_stream.c, read_stream_look_ahead
 */

import { checkBlocks } from "../storage/manager.ts";
import { Fifo } from "./fifo.ts";
import type { ReadHints } from "./read-hints.ts";

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

/** How far a window reaches. @internal */
export interface WindowLimits {
  /** Blocks to begin with. */
  readonly distance: number;
  /** Blocks at most. */
  readonly most: number;
  /** Blocks of one read, at most. */
  readonly combine: number;
  /** Whether reads overlap, so that looking far ahead pays for neighbours too. */
  readonly overlaps: boolean;
  readonly hints: ReadHints | undefined;
}

/** Blocks that were asked for and not yet looked for. @internal */
export class StreamWindow {
  readonly #source: () => number | undefined;
  readonly #limits: WindowLimits;
  readonly #blocks = new Fifo<number>();
  #distance: number;
  #ended = false;
  /** The block behind the last one that was read. */
  #following = -1;

  constructor(source: BlockSource, limits: WindowLimits) {
    this.#source = typeof source === "function" ? source : counting(source);
    this.#limits = limits;
    this.#distance = limits.distance;
  }

  /** How many blocks are looked ahead at the moment. */
  get distance(): number {
    return this.#distance;
  }

  /** The block that comes next. */
  get first(): number | undefined {
    return this.#blocks.first;
  }

  /** Asks for numbers. @param ahead - blocks of the distance that have been dealt with */
  fill(ahead: number): void {
    while (!this.#ended && this.#blocks.length + ahead < this.#distance) {
      const block = this.#source();
      if (block === undefined) this.#ended = true;
      else {
        checkBlocks(block, 1);
        this.#blocks.push(block);
      }
    }
    this.#limits.hints?.give(this.#blocks, this.#ended);
  }

  /** The first block is dealt with. */
  take(): void {
    this.#blocks.take();
    this.#limits.hints?.taken(1);
  }

  /** These blocks come first again. */
  putBack(blocks: readonly number[]): void {
    this.#blocks.putBack(blocks);
    this.#limits.hints?.taken(-blocks.length);
  }

  /** After a page that was in the pool. */
  shorten(): void {
    if (this.#distance > 1) this.#distance -= 1;
  }

  /** After pages that were not in the pool, read from a block on: look further. */
  lengthen(block: number, count: number): void {
    const { hints, overlaps, most, combine } = this.#limits;
    const apart = hints !== undefined && block !== this.#following;
    if (apart || overlaps) this.#distance = Math.min(2 * this.#distance, most);
    else if (this.#distance > combine) this.#distance -= 1;
    else this.#distance = Math.min(2 * this.#distance, combine);
    this.#following = block + count;
  }

  /** One page at a time, until reads have gone well again. */
  restart(): void {
    this.#distance = 1;
  }

  clear(): void {
    this.#blocks.clear();
  }
}

function counting({ first, end }: BlockRange): () => number | undefined {
  let next = first;
  return () => {
    if (next >= end) return undefined;
    next += 1;
    return next - 1;
  };
}
