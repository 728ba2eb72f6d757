// Entry of process-bench.wasm, which only the benchmark uses: process.wasm with loops that drive
// the allocator inside wasm, so that no call from JavaScript is in what is measured.
//
// Each pattern takes a context, two arrays of `n` words in this memory, how often to run through
// them, and a scratch array; it answers a checksum of what it was given, so that nothing of it can
// be left out. They allocate and free as a wasm program does that has the allocator compiled in.
//
// PostgreSQL: none

import { ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES } from "./common/constants";
import { Palloc } from "./mmgr/palloc";
import { createContext, deleteContext, reset } from "./process";

export * from "./process";

/** Chunks that are held at once before they are freed in reverse. */
const LIFO_DEPTH: u32 = 100;
/** Chunks between two resets: the values of one row. */
const TUPLE_ALLOCATIONS: u32 = 10;
const WORD_SHIFT: usize = 2;

/** Words in memory. */
@unmanaged
class Words {
  @inline static get(array: usize, index: u32): u32 {
    return load<u32>(array + ((<usize>index) << WORD_SHIFT));
  }

  @inline static set(array: usize, index: u32, value: u32): void {
    store<u32>(array + ((<usize>index) << WORD_SHIFT), value);
  }
}

/** Allocates every size, then resets. */
export function allocreset(
  context: usize,
  sizes: usize,
  _indices: usize,
  n: u32,
  repetitions: u32,
  _scratch: usize,
): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < repetitions; round += 1) {
    for (let i: u32 = 0; i < n; i += 1) sum += <u32>Palloc.alloc(context, Words.get(sizes, i));
    reset(context);
  }
  return sum;
}

/** Allocates and frees, one at a time. */
export function pairs(
  context: usize,
  sizes: usize,
  _indices: usize,
  n: u32,
  repetitions: u32,
  _scratch: usize,
): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < repetitions; round += 1) {
    for (let i: u32 = 0; i < n; i += 1) {
      const chunk = Palloc.alloc(context, Words.get(sizes, i));
      sum += <u32>chunk;
      Palloc.free(chunk);
    }
  }
  return sum;
}

/** Allocates LIFO_DEPTH chunks and frees them in reverse; `n` is a multiple of it. */
export function lifo(
  context: usize,
  sizes: usize,
  _indices: usize,
  n: u32,
  repetitions: u32,
  scratch: usize,
): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < repetitions; round += 1) {
    for (let first: u32 = 0; first < n; first += LIFO_DEPTH) {
      for (let i: u32 = 0; i < LIFO_DEPTH; i += 1) {
        const chunk = Palloc.alloc(context, Words.get(sizes, first + i));
        sum += <u32>chunk;
        Words.set(scratch, i, <u32>chunk);
      }
      for (let i: u32 = LIFO_DEPTH; i > 0; i -= 1) Palloc.free(Words.get(scratch, i - 1));
    }
  }
  return sum;
}

/**
 * Frees the chunk in the slot that each index names and puts another there. The slots are all 0 at
 * first; the chunks stay in them from call to call.
 */
export function random(
  context: usize,
  sizes: usize,
  indices: usize,
  n: u32,
  repetitions: u32,
  scratch: usize,
): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < repetitions; round += 1) {
    for (let i: u32 = 0; i < n; i += 1) {
      const slot = Words.get(indices, i);
      const old = Words.get(scratch, slot);
      if (old != 0) Palloc.free(old);
      const chunk = Palloc.alloc(context, Words.get(sizes, i));
      sum += <u32>chunk;
      Words.set(scratch, slot, <u32>chunk);
    }
  }
  return sum;
}

/** Resets after every TUPLE_ALLOCATIONS; `n` is a multiple of it. */
export function tuple(
  context: usize,
  sizes: usize,
  _indices: usize,
  n: u32,
  repetitions: u32,
  _scratch: usize,
): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < repetitions; round += 1) {
    for (let first: u32 = 0; first < n; first += TUPLE_ALLOCATIONS) {
      for (let i: u32 = 0; i < TUPLE_ALLOCATIONS; i += 1) {
        sum += <u32>Palloc.alloc(context, Words.get(sizes, first + i));
      }
      reset(context);
    }
  }
  return sum;
}

/** Makes a context below, allocates one size in it, deletes it. */
export function ctx(
  context: usize,
  sizes: usize,
  _indices: usize,
  n: u32,
  repetitions: u32,
  _scratch: usize,
): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < repetitions; round += 1) {
    for (let i: u32 = 0; i < n; i += 1) {
      const child = createContext(context, 0, ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES, 0);
      sum += <u32>Palloc.alloc(child, Words.get(sizes, i));
      deleteContext(child);
    }
  }
  return sum;
}
