/**
 * Hints of a read stream: what storage is told of the window before it is read. Blocks that follow
 * one another are not worth a hint, because a system reads ahead by itself there.
 *
 * PostgreSQL: src/backend/storage/aio/read_stream.c, read_stream_start_pending_read, advice
 */

import type { ForkId } from "../abi/pointers.ts";
import type { Fifo } from "./fifo.ts";
import type { BufferPoolParts } from "./number-pool.ts";

/**
 * Tells storage of runs of blocks that are wanted later, do not follow the run before, and are not
 * in the pool. As many hints stand out as reads may be under way.
 *
 * @internal
 */
export class ReadHints {
  readonly #parts: BufferPoolParts;
  readonly #id: ForkId;
  readonly #most: number;
  readonly #combine: number;
  /** Where the window begins, and up to where it was looked at; counted from the first block. */
  #first = 0;
  #seen = 0;
  /** Places of the runs that storage was told of and that have not been taken. */
  readonly #given: number[] = [];

  constructor(parts: BufferPoolParts, id: ForkId, most: number, combine: number) {
    this.#parts = parts;
    this.#id = id;
    this.#most = most;
    this.#combine = combine;
  }

  /** The window begins `count` blocks later. */
  taken(count: number): void {
    this.#first += count;
    while (this.#given.length > 0 && (this.#given[0] ?? 0) < this.#first) this.#given.shift();
  }

  give(window: Fifo<number>, ended: boolean): void {
    // What comes first is read at once: a hint would be of no use.
    let at = Math.max(this.#seen - this.#first, lengthOfRun(window, 0, this.#combine));
    while (at < window.length && this.#given.length < this.#most) {
      const count = lengthOfRun(window, at, this.#combine);
      const open = at + count === window.length && count < this.#combine;
      if (open && !ended) break;
      this.#giveOne(window, at, count);
      at += count;
    }
    this.#seen = this.#first + at;
  }

  #giveOne(window: Fifo<number>, at: number, count: number): void {
    const { io, attachment } = this.#parts;
    const block = window.at(at) ?? 0;
    if (block === (window.at(at - 1) ?? 0) + 1) return;
    if (attachment.exports.lookUp(this.#id, block) >= 0) return;
    io.prefetch(this.#id, block, count);
    this.#given.push(this.#first + at);
  }
}

function lengthOfRun(window: Fifo<number>, at: number, most: number): number {
  let count = Math.min(1, window.length - at);
  while (count > 0 && count < most && window.at(at + count) === (window.at(at) ?? 0) + count)
    count += 1;
  return count;
}
