// Random work on contexts of every kind in one memory, by a machine that takes OutOfMemoryError as
// an ordinary outcome. Every chunk is stamped, so that whatever touches a chunk it should not is
// seen, also when a request fails half way.

import { expect } from "vitest";
import { OutOfMemoryError } from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import type { OpenedMemory } from "../support/process.ts";
import type { Random } from "../support/random.ts";

interface Chunk {
  readonly context: MemoryContext;
  readonly stamp: number;
  at: ChunkPtr;
  bytes: number;
}

const sizes = { minContextSize: 0, initBlockSize: 1024, maxBlockSize: 16384 };
const SLAB_CHUNK_BYTES = 100;
/** Live contexts and chunks, at most. */
const MAX_CONTEXTS = 12;
const MAX_CHUNKS = 300;

/** A machine that works at random and checks what it holds. */
export class Churn {
  readonly #memory: OpenedMemory;
  readonly #random: Random;
  readonly #contexts: MemoryContext[] = [];
  #chunks: Chunk[] = [];
  #stamps = 0;

  constructor(memory: OpenedMemory, random: Random) {
    this.#memory = memory;
    this.#random = random;
  }

  /** One operation; the error if memory ran out, and then everything is as before. */
  step(): OutOfMemoryError | undefined {
    const choice = this.#random.below(100);
    try {
      if (choice < 8) this.#create();
      else if (choice < 60) this.#allocate();
      else if (choice < 75) this.#resize();
      else if (choice < 93) this.#free();
      else this.#clear();
    } catch (error) {
      if (error instanceof OutOfMemoryError) return error;
      throw error;
    }
    return undefined;
  }

  /** Walks the heap and reads every chunk. */
  check(): void {
    const { memory, inside } = this.#memory;
    expect(inside.exports.checkHeap()).toBe(0);
    for (const { at, bytes, stamp } of this.#chunks) {
      const held = memory.u8.subarray(at, at + bytes);
      if (!held.every((byte) => byte === stamp)) throw new Error(`chunk ${at} was overwritten`);
    }
  }

  /** Shows that every context still serves: each gives a chunk, small enough to be there. */
  demandUsable(): void {
    for (const context of this.#contexts) {
      const bytes = context.type === "Slab" ? SLAB_CHUNK_BYTES : 8;
      this.#hold(context, context.alloc(bytes), bytes);
    }
    this.check();
  }

  /** Deletes what was made; the memory is then as at the beginning. */
  clear(): void {
    for (const context of this.#contexts) if (!context.closed) context.delete();
    this.#contexts.length = 0;
    this.#chunks = [];
  }

  #create(): void {
    if (this.#contexts.length >= MAX_CONTEXTS) return;
    const above = this.#contexts[this.#random.below(this.#contexts.length + 4)];
    const parent = above ?? this.#memory.memory.top;
    const creators = [
      () => parent.createChild("general", sizes),
      () => parent.createGeneration("generation", sizes),
      () => parent.createSlab("slab", { chunkSize: SLAB_CHUNK_BYTES, blockSize: 1024 }),
      () => parent.createBump("bump", sizes),
    ];
    this.#contexts.push(this.#random.pick(creators)());
  }

  #allocate(): void {
    if (this.#contexts.length === 0 || this.#chunks.length >= MAX_CHUNKS) return;
    const context = this.#random.pick(this.#contexts);
    const isSlab = context.type === "Slab";
    const bytes = isSlab ? SLAB_CHUNK_BYTES : this.#size();
    const aligned = !isSlab && this.#random.below(8) === 0;
    const at = aligned ? context.allocAligned(bytes, 64) : context.alloc(bytes);
    if (at !== 0) this.#hold(context, at, bytes);
  }

  #hold(context: MemoryContext, at: ChunkPtr, bytes: number): void {
    this.#stamps = (this.#stamps + 1) & 0xff;
    this.#chunks.push({ context, stamp: this.#stamps, at, bytes });
    this.#memory.memory.u8.fill(this.#stamps, at, at + bytes);
  }

  #resize(): void {
    const chunk = this.#pickOf((type) => type === "AllocSet" || type === "Generation");
    if (chunk === undefined) return;
    const bytes = this.#size();
    chunk.at = this.#memory.memory.realloc(chunk.at, bytes);
    const kept = this.#memory.memory.u8.subarray(chunk.at, chunk.at + Math.min(bytes, chunk.bytes));
    if (!kept.every((byte) => byte === chunk.stamp)) throw new Error("a resize lost bytes");
    chunk.bytes = bytes;
    this.#memory.memory.u8.fill(chunk.stamp, chunk.at, chunk.at + bytes);
  }

  #free(): void {
    const chunk = this.#pickOf((type) => type !== "Bump");
    if (chunk === undefined) return;
    this.#memory.memory.free(chunk.at);
    this.#chunks.splice(this.#chunks.indexOf(chunk), 1);
  }

  #clear(): void {
    if (this.#contexts.length === 0) return;
    const context = this.#random.pick(this.#contexts);
    if (this.#random.below(2) === 0) context.reset();
    else context.delete();
    for (let index = this.#contexts.length - 1; index >= 0; index -= 1) {
      if (this.#contexts[index]?.closed === true) this.#contexts.splice(index, 1);
    }
    this.#chunks = this.#chunks.filter((chunk) => {
      return !chunk.context.closed && chunk.context !== context;
    });
  }

  #pickOf(fits: (type: string) => boolean): Chunk | undefined {
    const some = this.#chunks.filter(({ context }) => fits(context.type));
    return some.length === 0 ? undefined : this.#random.pick(some);
  }

  #size(): number {
    return this.#random.below(this.#random.pick([16, 100, 100, 300, 1000, 5000, 40000]));
  }
}
