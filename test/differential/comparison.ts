// One history on wasm and on the twin, step by step. Any difference throws and names itself.
//
// Chunks carry stamps in their first and last word, written and read in wasm's memory: two that
// overlap, or a resize that loses what it must keep, show as well.

import {
  CHUNK_HEADER_BYTES,
  KIND_BUMP,
  KIND_SLAB,
  STATISTICS_ADDRESS,
} from "../../assembly/common/constants.ts";
import type { ProcessExports } from "../../bindings/abi/process-exports.ts";
import type { ProcessMemory } from "../../bindings/process/memory.ts";
import { type KindLetter, type Step, sizesOfContexts, sizesOfSlabs } from "../support/history.ts";
import { openEmptyMemory } from "../support/process.ts";
import { TwinMemory } from "../twin/aset.ts";

const MEMORY_BYTES = 1_048_576; // 1 MB
/** Counters in the order of the twin's; `used` follows from two of them. */
const COUNTERS = 7;
/** A size that ends so is asked of a slab as it is. */
const LITERAL_DIGIT = 9;

interface Chunk {
  readonly context: number;
  readonly at: number;
  readonly bytes: number;
  readonly stamp: number;
}

/** How a comparison is made. */
export interface ComparisonOptions {
  readonly checked: boolean;
  /** Kind of the root; general if left out. */
  readonly root?: KindLetter;
  /** Counters are compared and the heap is walked after so many steps. Default 1. */
  readonly every?: number;
}

/** Both memories, and what is alive in them. */
export class Comparison {
  readonly #checked: boolean;
  readonly #every: number;
  readonly #memory: ProcessMemory;
  readonly #wasm: ProcessExports;
  readonly #twin = new TwinMemory(MEMORY_BYTES);
  #contexts: number[] = [];
  #chunks: Chunk[] = [];
  #steps = 0;
  #stamps = 0;

  constructor({ checked, root = "c", every = 1 }: ComparisonOptions) {
    const { memory, inside } = openEmptyMemory(checked, { maxMemory: MEMORY_BYTES });
    this.#checked = checked;
    this.#every = every;
    this.#memory = memory;
    this.#wasm = inside.exports;
    this.#create(root, 0, 0);
  }

  /** Runs one step on both. */
  step({ op, numbers: [first = 0, second = 0, third = 0] }: Step): void {
    if ("cgbs".includes(op)) this.#create(op, this.#context(first), second);
    else if (op === "a") this.#alloc(this.#context(first), second);
    else if (op === "e") this.#allocExtended(this.#context(first), second, third);
    else if (op === "A") this.#allocAligned(this.#context(first), second, 2 ** third);
    else if (op === "f") this.#free(first);
    else if (op === "r") this.#realloc(first, second);
    else if (op === "p") this.#move(this.#context(first), this.#context(second));
    else if (op === "m") {
      this.#wasm.injectFaults(first, second);
      this.#twin.blocks.injectFaults(first, second);
    } else this.#clear(op, this.#context(first));
    this.#steps += 1;
    if (this.#steps % this.#every === 0) this.#compareAll();
  }

  /** Gives everything back on both: one free area must remain, apart from kept contexts. */
  finish(): void {
    this.#compareAll();
    const root = this.#contexts[0] as number;
    this.#wasm.deleteContext(root);
    this.#twin.deleteContext(root);
    this.#contexts = [];
    this.#chunks = [];
    this.#compareAll();
    this.#memory.dispose();
  }

  #context(number: number): number {
    return this.#contexts[number % this.#contexts.length] as number;
  }

  #create(op: string, parent: number, sizes: number): void {
    const actual = this.#createInWasm(op, parent, sizes) >>> 0;
    same("address of the context", actual, this.#createInTwin(op, parent, sizes));
    if (actual !== 0) this.#contexts.push(actual);
  }

  #createInWasm(op: string, parent: number, sizes: number): number {
    if (op === "s") return this.#wasm.createSlab(parent, ...slabSizes(sizes), 0);
    const [min, init, max] = contextSizes(sizes);
    if (op === "c") return this.#wasm.createContext(parent, min, init, max, 0);
    if (op === "g") return this.#wasm.createGeneration(parent, min, init, max, 0);
    return this.#wasm.createBump(parent, min, init, max, 0);
  }

  #createInTwin(op: string, parent: number, sizes: number): number {
    if (op === "s") return this.#twin.createSlab(parent, ...slabSizes(sizes));
    const [min, init, max] = contextSizes(sizes);
    if (op === "c") return this.#twin.createContext(parent, min, init, max);
    if (op === "g") return this.#twin.createGeneration(parent, min, init, max);
    return this.#twin.createBump(parent, min, init, max);
  }

  /** The size to ask for: slabs have only one. */
  #asked(context: number, bytes: number): number {
    if (this.#kind(context) !== KIND_SLAB || bytes % 10 === LITERAL_DIGIT) return bytes;
    return this.#twin.kinds.slabs.chunkBytes(context);
  }

  #alloc(context: number, size: number): void {
    const bytes = this.#asked(context, size);
    const at = this.#wasm.alloc(context, bytes) >>> 0;
    same("address of the chunk", at, this.#twin.alloc(context, bytes));
    this.#allocated(context, at, bytes);
  }

  #allocExtended(context: number, size: number, flags: number): void {
    const bytes = this.#asked(context, size);
    const at = this.#wasm.allocExtended(context, bytes, flags) >>> 0;
    same("address of the chunk", at, this.#twin.allocExtended(context, bytes, flags));
    if (at !== 0 && flags >= 4) same("sum of zeroed bytes", this.#sum(at, bytes), 0);
    this.#allocated(context, at, bytes);
  }

  #allocAligned(context: number, bytes: number, alignment: number): void {
    const size = alignment <= 8 ? this.#asked(context, bytes) : bytes;
    const at = this.#wasm.allocAligned(context, size, alignment, 0) >>> 0;
    same("address of the chunk", at, this.#twin.allocAligned(context, size, alignment, 0));
    same("remainder of the alignment", at % alignment, 0);
    this.#allocated(context, at, size);
  }

  #allocated(context: number, at: number, bytes: number): void {
    if (at === 0) return;
    if (this.#kind(context) !== KIND_BUMP) {
      same("space of the chunk", this.#wasm.chunkSpace(at) >>> 0, this.#twin.chunkSpace(at));
      same("owner of the chunk", this.#wasm.chunkContext(at) >>> 0, context);
      same("owner in the twin", this.#twin.chunkContext(at), context);
      const header = (at - CHUNK_HEADER_BYTES) >> 2;
      const [low, high] = this.#memory.i32.subarray(header, header + 2);
      same("low word of the header", low, this.#twin.words[header]);
      same("high word of the header", high, this.#twin.words[header + 1]);
    }
    this.#chunks.push(this.#stamped(context, at, bytes));
  }

  #free(number: number): void {
    const chunk = this.#chunks[number % this.#chunks.length];
    if (chunk === undefined) return;
    const { at, bytes, context } = chunk;
    this.#demandStamp(chunk, at, bytes);
    if (this.#kind(context) === KIND_BUMP) {
      if (this.#checked) same("answer of free in a bump context", this.#wasm.free(at), -1);
      return;
    }
    this.#chunks.splice(this.#chunks.indexOf(chunk), 1);
    same("answer of free", this.#wasm.free(at), this.#twin.free(at));
  }

  #realloc(number: number, size: number): void {
    const index = number % this.#chunks.length;
    const chunk = this.#chunks[index];
    if (chunk === undefined) return;
    const { at, context } = chunk;
    if (this.#kind(context) === KIND_BUMP) {
      if (this.#checked)
        same("answer of realloc in a bump context", this.#wasm.realloc(at, 0, 0), 0);
      return;
    }
    const bytes = this.#asked(context, size);
    const moved = this.#wasm.realloc(at, bytes, 0) >>> 0;
    same("address of the resized chunk", moved, this.#twin.realloc(at, bytes));
    if (moved === 0) return;
    same("space of the resized chunk", this.#wasm.chunkSpace(moved), this.#twin.chunkSpace(moved));
    this.#demandStamp(chunk, moved, Math.min(chunk.bytes, bytes));
    this.#chunks[index] = this.#stamped(context, moved, bytes);
  }

  #stamped(context: number, at: number, bytes: number): Chunk {
    this.#stamps += 1;
    const stamp = this.#stamps;
    const { u32 } = this.#memory;
    if (bytes >= 4) u32[at >>> 2] = stamp;
    if (bytes >= 8) u32[(at >>> 2) + (bytes >>> 2) - 1] = stamp;
    return { context, at, bytes, stamp };
  }

  /** The first `kept` bytes of a chunk that is now at `at` are what was stamped. */
  #demandStamp({ bytes, stamp }: Chunk, at: number, kept: number): void {
    const { u32 } = this.#memory;
    if (kept >= 4) same("first word of the chunk", u32[at >>> 2], stamp);
    if (kept < 8 || kept < bytes) return;
    same("last word of the chunk", u32[(at >>> 2) + (bytes >>> 2) - 1], stamp);
  }

  /** Sum of the bytes of a chunk. */
  #sum(at: number, bytes: number): number {
    let sum = 0;
    for (const byte of this.#memory.u8.subarray(at, at + bytes)) sum += byte;
    return sum;
  }

  #kind(context: number): number | undefined {
    return this.#memory.u32[context >>> 2];
  }

  #move(context: number, parent: number): void {
    if (context === this.#contexts[0] || this.#below(context).has(parent)) return;
    this.#wasm.setParent(context, parent);
    this.#twin.setParent(context, parent);
  }

  #clear(op: string, context: number): void {
    const below = this.#below(context);
    const only = new Set([context]);
    const others = new Set([...below].filter((address) => address !== context));
    if (op === "D" && context !== this.#contexts[0]) {
      this.#wasm.deleteContext(context);
      this.#twin.deleteContext(context);
      this.#forget(below, below);
    } else if (op === "R" || op === "D") {
      this.#wasm.reset(context);
      this.#twin.reset(context);
      this.#forget(below, others);
    } else if (op === "X") {
      this.#wasm.deleteChildren(context);
      this.#twin.deleteChildren(context);
      this.#forget(others, others);
    } else if (op === "O") {
      this.#wasm.resetOnly(context);
      this.#twin.resetOnly(context);
      this.#forget(only, new Set());
    } else {
      this.#wasm.resetChildren(context);
      this.#twin.resetChildren(context);
      this.#forget(others, new Set());
    }
  }

  /** A context and everything below it. */
  #below(context: number): Set<number> {
    const found = new Set([context]);
    for (const address of found) for (const child of this.#twin.children(address)) found.add(child);
    return found;
  }

  #forget(emptied: ReadonlySet<number>, deleted: ReadonlySet<number>): void {
    this.#chunks = this.#chunks.filter(({ context }) => !emptied.has(context));
    this.#contexts = this.#contexts.filter((context) => !deleted.has(context));
  }

  #compareAll(): void {
    for (const context of this.#contexts) this.#compare(context);
    for (const [name, value] of Object.entries(this.#memory.blockStatistics())) {
      same(name, value, this.#twin.blocks[name as "requests"]);
    }
    same("result of the heap walk", this.#wasm.checkHeap(), 0);
  }

  #compare(context: number): void {
    this.#wasm.statistics(context, 0);
    const first = STATISTICS_ADDRESS >>> 2;
    const words = this.#memory.u32.subarray(first, first + COUNTERS);
    const [blocks = 0, total = 0, free = 0, freeChunks = 0, , chunks = 0, empty = 0] = words;
    const actual = [blocks, total, free, freeChunks, total - free, chunks, empty];
    same(`counters of ${context}`, actual.join(), this.#twin.statistics(context).join());
    const held = this.#wasm.memAllocated(context, 0);
    same(`bytes of ${context}`, held, this.#twin.memAllocated(context));
    const isEmpty = this.#wasm.isEmpty(context) !== 0;
    same(`emptiness of ${context}`, isEmpty, this.#twin.isEmpty(context));
  }
}

function contextSizes(number: number): readonly [number, number, number] {
  return sizesOfContexts[number % sizesOfContexts.length] as readonly [number, number, number];
}

function slabSizes(number: number): readonly [number, number] {
  return sizesOfSlabs[number % sizesOfSlabs.length] as readonly [number, number];
}

function same(what: string, actual: unknown, predicted: unknown): void {
  if (actual !== predicted) {
    throw new Error(`${what}: wasm ${String(actual)}, twin ${String(predicted)}`);
  }
}
