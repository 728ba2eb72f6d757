/**
 * The allocator driven inside wasm: process-bench.wasm, which is process.wasm with loops in it
 * (assembly/bench-driver.ts), and the arrays its loops run over, in its memory.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES } from "../assembly/common/constants.ts";
import { packageRoot } from "./machine.ts";
import { LIVE_CHUNKS, mixedSizes, PATTERN_LENGTH, randomIndices } from "./workloads.ts";

/** A loop over `n` sizes and indices; the answer depends on every chunk. */
export type Pattern = (
  context: number,
  sizes: number,
  indices: number,
  n: number,
  repetitions: number,
  scratch: number,
) => number;

/** The patterns that every allocator can do. */
export interface PatternExports {
  readonly allocreset: Pattern;
  readonly pairs: Pattern;
  readonly lifo: Pattern;
  readonly random: Pattern;
  readonly tuple: Pattern;
}

/** Names of those patterns. */
export type PatternName = keyof PatternExports;

/** What the bench calls of process-bench.wasm. */
export interface DriverExports extends PatternExports {
  readonly ctx: Pattern;
  initialize(pages: number, maximumPages: number, shadow: number): void;
  createContext(parent: number, min: number, init: number, max: number, handle: number): number;
  alloc(context: number, bytes: number): number;
  free(chunk: number): number;
  reset(context: number): void;
  deleteContext(context: number): void;
  checkHeap(): number;
}

/** Addresses of the arrays of a driven allocator. */
export interface Arrays {
  readonly sizes: number;
  readonly indices: number;
  readonly scratch: number;
}

/** An instance over a memory of its own: a context for the pattern, and arrays in another. */
export interface Driver {
  readonly exports: DriverExports;
  readonly context: number;
  readonly arrays: Arrays;
}

interface Engine {
  readonly Memory: new (limits: { initial: number; maximum: number }) => { buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
}

const PAGES = 1024; // 64 MB
const WORD_BYTES = 4;

/** Puts the arrays of the patterns into a memory, where `alloc` says. */
export function placeArrays(buffer: ArrayBuffer, alloc: (bytes: number) => number): Arrays {
  const place = (words: Uint32Array): number => {
    const at = alloc(words.length * WORD_BYTES) >>> 0;
    new Uint32Array(buffer, at, words.length).set(words);
    return at;
  };
  return {
    sizes: place(mixedSizes(PATTERN_LENGTH)),
    indices: place(randomIndices(PATTERN_LENGTH, LIVE_CHUNKS)),
    scratch: place(new Uint32Array(LIVE_CHUNKS)),
  };
}

/** A new instance of the bench's build of the allocator. */
export function openDriver(): Driver {
  const engine = (globalThis as unknown as { readonly WebAssembly: Engine }).WebAssembly;
  const bytes = readFileSync(join(packageRoot(), "dist/wasm/process-bench.wasm"));
  const memory = new engine.Memory({ initial: PAGES, maximum: PAGES });
  const host = { callbacks: () => {}, refused: () => 0 };
  const instance = new engine.Instance(new engine.Module(bytes), { env: { memory }, host });
  const exports = instance.exports as DriverExports;
  exports.initialize(PAGES, PAGES, 0);
  const create = (parent: number): number =>
    exports.createContext(parent, 0, ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES, 0);
  const top = create(0);
  const held = create(top);
  const arrays = placeArrays(memory.buffer, (length) => exports.alloc(held, length));
  return { exports, context: create(top), arrays };
}
