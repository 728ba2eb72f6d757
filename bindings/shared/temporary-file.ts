/**
 * A temporary file of one backend: what does not fit into memory is written from begin to end, then
 * read from begin to end, once. Not in a relation's pages, because it is never looked at twice.
 *
 *   process memory                          storage
 *   ┌──────────────────────┐ full: written ┌─────────┬─────────┬─────────┬─ ─ ─
 *   │ one block of 8 kB    ├──────────────►│ block 0 │ block 1 │ block 2 │
 *   └──────────────────────┘ rewound: read └─────────┴─────────┴─────────┴─ ─ ─
 *
 * The block is a chunk of a memory context, so that it counts as memory like everything else. It is
 * the only memory a file takes, and it takes it only between the first byte and the last of either
 * way: files that wait to be read take none. The file's number is one of the backend's temporary
 * relations: whatever ends, the query, the backend, its thread or the process, removes the file
 * with those.
 *
 * Cost: a copy of each byte in, one out, and one call of storage for each 8 kB each way.
 *
 * PostgreSQL: src/backend/storage/file/buffile.c, BufFileCreateTemp
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { ClosedError, PallocError } from "../abi/errors.ts";
import type { ChunkPtr } from "../abi/pointers.ts";
import type { MemoryContext } from "../process/context.ts";
import type { StorageManager } from "../storage/manager.ts";

/** A file grows by so many blocks at a time, 256 kB: the system is asked less often. */
const GROWTH_BLOCKS = 32;

/** What a temporary file is made of. @internal */
export interface TemporaryFileOptions {
  readonly storage: StorageManager;
  readonly number: number;
  /**
   * Where its block is allocated; the file must be closed before this context is reset, and has
   * lost its block once it is deleted.
   */
  readonly context: MemoryContext;
  readonly remove: () => void;
}

/** Bytes that are written once and read once; see `Backend.createTemporaryFile`. */
export class TemporaryFile {
  readonly #storage: StorageManager;
  readonly #number: number;
  readonly #context: MemoryContext;
  readonly #remove: () => void;
  #block: ChunkPtr | undefined;
  /** Bytes written, and the place of the next read. */
  #bytes = 0;
  #position = 0;
  #grown = 0;
  #reading = false;
  #closed = false;

  /** @internal */
  constructor({ storage, number, context, remove }: TemporaryFileOptions) {
    this.#storage = storage;
    this.#number = number;
    this.#context = context;
    this.#remove = remove;
  }

  /** Bytes written so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Appends `bytes` bytes of process memory. May wait for storage.
   *
   * @param from - their address in the backend's process memory
   * @throws {@link StorageError} 53100 if the disk is full
   * @throws {@link PallocError} 55000 after {@link rewind}
   */
  append(from: number, bytes: number): void {
    this.#mustBe(false);
    for (let done = 0; done < bytes; ) {
      const at = this.#bytes % BLOCK_BYTES;
      const part = Math.min(bytes - done, BLOCK_BYTES - at);
      const to = this.#takeBlock() + at;
      this.#context.memory.u8.copyWithin(to, from + done, from + done + part);
      this.#bytes += part;
      done += part;
      if (at + part === BLOCK_BYTES) this.#write();
    }
  }

  /** Ends the writing; reading begins at the first byte. Frees the block. May wait for storage. */
  rewind(): void {
    this.#mustBeOpen();
    if (!this.#reading && this.#bytes % BLOCK_BYTES > 0) this.#write();
    this.#freeBlock();
    this.#reading = true;
    this.#position = 0;
  }

  /**
   * Reads the next bytes into process memory. May wait for storage.
   *
   * @param to - address in the backend's process memory, with room for `bytes`
   * @returns how many there were: fewer than `bytes` only at the end
   * @throws {@link PallocError} 55000 before {@link rewind}
   */
  read(to: number, bytes: number): number {
    this.#mustBe(true);
    const end = Math.min(bytes, this.#bytes - this.#position);
    for (let done = 0; done < end; ) {
      const at = this.#position % BLOCK_BYTES;
      const from = this.#takeBlock() + at;
      if (at === 0) {
        this.#storage.readSync(this.#number, 0, this.#position / BLOCK_BYTES, this.#view());
      }
      const part = Math.min(end - done, BLOCK_BYTES - at);
      this.#context.memory.u8.copyWithin(to + done, from, from + part);
      this.#position += part;
      done += part;
    }
    if (this.#position === this.#bytes) this.#freeBlock();
    return end;
  }

  /** Removes the file and frees its block. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#freeBlock();
    } finally {
      this.#remove();
    }
  }

  /** {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Writes the block that holds the last byte. */
  #write(): void {
    const block = Math.ceil(this.#bytes / BLOCK_BYTES) - 1;
    if (block >= this.#grown) {
      this.#grown = block + GROWTH_BLOCKS;
      this.#storage.extendSync(this.#number, 0, this.#grown);
    }
    this.#storage.writeSync(this.#number, 0, block, this.#view());
  }

  #view(): Uint8Array {
    const block = this.#takeBlock();
    return this.#context.memory.u8.subarray(block, block + BLOCK_BYTES);
  }

  #takeBlock(): ChunkPtr {
    this.#block ??= this.#context.alloc(BLOCK_BYTES);
    return this.#block;
  }

  #freeBlock(): void {
    if (this.#block === undefined) return;
    if (!this.#context.closed) this.#context.memory.free(this.#block);
    this.#block = undefined;
  }

  #mustBe(reading: boolean): void {
    this.#mustBeOpen();
    if (this.#reading === reading) return;
    const state = reading ? "written" : "read";
    const hint = reading ? "Call rewind() first." : "A temporary file is written, then read.";
    throw new PallocError("55000", `the temporary file is being ${state}`, { hint });
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new ClosedError("the temporary file");
  }
}
