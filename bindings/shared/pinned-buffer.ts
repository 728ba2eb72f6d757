/**
 * A page with a scope: pinned and locked until it is disposed.
 */

import { ClosedError } from "../abi/errors.ts";
import type { BufferId } from "../abi/pointers.ts";
import type { BufferPool } from "./buffers.ts";

/**
 * A pinned page, locked for reading, or exclusively if it was read so. Dispose it, or declare it
 * with `using`.
 */
export class PinnedBuffer {
  /** The buffer's number, for the pool's number forms. */
  readonly buffer: BufferId;
  readonly block: number;
  readonly #shared: boolean;
  #pool: BufferPool | undefined;

  /** @internal */
  constructor(pool: BufferPool, buffer: BufferId, block: number, shared: boolean) {
    this.buffer = buffer;
    this.block = block;
    this.#pool = pool;
    this.#shared = shared;
  }

  /** The page's 8,192 bytes, in shared memory. @throws {@link ClosedError} after disposal */
  get bytes(): Uint8Array {
    if (this.#pool === undefined) throw new ClosedError("the page");
    return this.#pool.bytes(this.buffer);
  }

  /** Unlocks and unpins. Idempotent. */
  [Symbol.dispose](): void {
    const pool = this.#pool;
    if (pool === undefined) return;
    this.#pool = undefined;
    pool.release(this.buffer, this.#shared);
  }
}
