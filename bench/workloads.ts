/**
 * The work that contenders share, named and seeded: the same on every machine and in every run.
 */

/** Rows that allocate use this size: a small record with a few fields. */
export const RECORD_BYTES = 64;
/** Allocations between two resets. */
export const RECORDS_PER_RESET = 1000;
/** Pairs of allocation and release in one call of a contender. */
export const PAIRS_PER_RUN = 2000;

/** What patterns inside wasm allocate in one call, and what is alive while they do so at random. */
export const PATTERN_LENGTH = 10_000;
export const LIVE_CHUNKS = 10_000;
/** Chunks held before they are freed in reverse, and allocations of one tuple. */
export const LIFO_DEPTH = 100;
export const TUPLE_ALLOCATIONS = 10;

/** Sizes as programs ask for them: from 8 to 512 bytes, small ones more often. */
export function mixedSizes(count: number, seed: number = SEED): Uint32Array {
  const random = seededRandom(seed);
  return Uint32Array.from({ length: count }, () => 8 + Math.floor(random() * random() * 505));
}

/** `count` random numbers below `limit`. */
export function randomIndices(count: number, limit: number, seed: number = SEED): Uint32Array {
  const random = seededRandom(seed);
  return Uint32Array.from({ length: count }, () => Math.floor(random() * limit));
}

/** Pages a program uses again and again: 8 MB, more than the processor's caches hold of them. */
export const WORKING_SET_PAGES = 1000;
/** All buffers of the default pool, 128 MB. */
export const WHOLE_POOL_PAGES = 16384;
/** As many of them as one relation has where PostgreSQL's own catalogs need the others. */
export const POSTGRES_POOL_PAGES = 16_000;

/** Seed of every workload. */
export const SEED = 0x9a110c;

/**
 * Numbers from 0 up to but not including 1, the same for the same seed.
 *
 * A Weyl sequence through a mixing step: one addition, two multiplications.
 */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The numbers 0 to `count` - 1 in random order: each page once, without a pattern to prefetch. */
export function shuffledBlocks(count: number, seed: number = SEED): Uint32Array {
  const random = seededRandom(seed);
  const blocks = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    const block = blocks[last] ?? 0;
    blocks[last] = blocks[other] ?? 0;
    blocks[other] = block;
  }
  return blocks;
}
