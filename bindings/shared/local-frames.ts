/**
 * The memory of local buffers: frames of 8 kB in the backend's own process memory, below
 * TopMemoryContext in a context of PostgreSQL's name, so that pg_backend_memory_contexts shows what
 * temporary relations cost. A backend without them has neither the context nor a frame.
 *
 *      chunk 1          chunk 2                  chunk 3
 *     ┌────────────────┬────────────────────────┬──────────────────────── ─ ─
 *     │ 16 frames      │ 32 frames              │ 64 frames, or what is left …
 *     └────────────────┴────────────────────────┴──────────────────────── ─ ─
 *
 * A frame is made when its buffer is first used. Frames are never given back one by one; all go
 * with the context. Views come from the memory's one door and are kept; in a memory that may grow
 * (`initialMemory` below `maxMemory`) growth empties them, also while a buffer is pinned, and they
 * are made anew when asked for.
 *
 * PostgreSQL: src/backend/storage/buffer/localbuf.c, GetLocalBufferStorage
 */

import { BLOCK_BYTES, MAX_ALLOC_BYTES } from "../../assembly/common/constants.ts";
import type { MemoryContext } from "../process/context.ts";
import type { ProcessMemory } from "../process/memory.ts";

const CONTEXT_NAME = "LocalBufferContext";
const FIRST_CHUNK_FRAMES = 16; // 128 kB
/** PostgreSQL: PG_IO_ALIGN_SIZE */
const FRAME_ALIGN_BYTES = 4096;
const MAX_CHUNK_FRAMES = Math.floor((MAX_ALLOC_BYTES - FRAME_ALIGN_BYTES) / BLOCK_BYTES);

/** Frames by number, each made at its first use. @internal */
export class LocalFrames {
  readonly #memory: ProcessMemory;
  readonly #limit: number;
  readonly #context: MemoryContext;
  readonly #addresses: number[] = [];
  readonly #views: (Uint8Array | undefined)[] = [];
  /** Frames allocated so far, the address of the next one, and how many are left in its chunk. */
  #allocated = 0;
  #next = 0;
  #left = 0;
  #chunk = 0;

  /**
   * @param limit - frames that may be asked for
   * @param onLoss - called when somebody resets or deletes the context, or a context above it
   */
  constructor(memory: ProcessMemory, limit: number, onLoss: () => void) {
    this.#memory = memory;
    this.#limit = limit;
    this.#context = memory.top.createChild(CONTEXT_NAME);
    this.#context.onReset(onLoss);
  }

  /** Sees to it that a frame is there. @throws {@link OutOfMemoryError} and nothing has changed */
  provide(frame: number): void {
    if (this.#addresses[frame] !== undefined) return;
    if (this.#left === 0) this.#allocateChunk();
    this.#addresses[frame] = this.#next;
    this.#next += BLOCK_BYTES;
    this.#left -= 1;
  }

  /** The 8,192 bytes of a frame that was provided; the same object until the memory grows. */
  bytes(frame: number): Uint8Array {
    const view = this.#views[frame];
    return view !== undefined && view.length !== 0 ? view : this.#makeView(frame);
  }

  /** Where a frame that was provided lies in the process memory; a multiple of 4,096. */
  address(frame: number): number {
    return this.#addresses[frame] ?? 0;
  }

  /** Gives all memory back; `onLoss` is called. */
  delete(): void {
    if (!this.#context.closed) this.#context.delete();
  }

  #allocateChunk(): void {
    const wanted = Math.max(FIRST_CHUNK_FRAMES, 2 * this.#chunk);
    const frames = Math.min(wanted, this.#limit - this.#allocated, MAX_CHUNK_FRAMES);
    this.#next = this.#context.allocAligned(frames * BLOCK_BYTES, FRAME_ALIGN_BYTES);
    this.#chunk = frames;
    this.#left = frames;
    this.#allocated += frames;
  }

  #makeView(frame: number): Uint8Array {
    const address = this.address(frame);
    const view = this.#memory.u8.subarray(address, address + BLOCK_BYTES);
    this.#views[frame] = view;
    return view;
  }
}
