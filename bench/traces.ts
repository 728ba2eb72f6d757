/**
 * Orders in which programs read pages, for comparing caches: skewed, skewed with scans in between,
 * and round a loop that is a little too large. Seeded: the same on every machine.
 */

import { SEED, seededRandom, shuffledBlocks } from "./workloads.ts";

/** The exponent that the YCSB benchmark made customary. */
const ZIPF_EXPONENT = 0.99;
/** A stretch of skewed reads, and the scan that follows it: twice the cache that is compared. */
const SKEWED_STRETCH = 4096;
const SCAN_STRETCH = 2048;

/**
 * `count` ranks from 0 to `items` - 1, of which rank r comes up in proportion to 1 / (r + 1) ^
 * `exponent`. Exact: looks each random number up in the table of sums.
 */
export function zipfRanks(
  count: number,
  items: number,
  exponent: number = ZIPF_EXPONENT,
  seed: number = SEED,
): Uint32Array {
  const sums = new Float64Array(items);
  let sum = 0;
  for (let rank = 0; rank < items; rank += 1) {
    sum += 1 / (rank + 1) ** exponent;
    sums[rank] = sum;
  }
  const random = seededRandom(seed);
  return Uint32Array.from({ length: count }, () => firstAbove(sums, random() * sum));
}

/** The first place of the rising `sums` whose value is above `wanted`. */
function firstAbove(sums: Float64Array, wanted: number): number {
  let low = 0;
  let high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sums[middle] ?? 0) > wanted) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Skewed reads of a file's pages; which pages are popular has nothing to do with where they are.
 */
export function skewedTrace(count: number, pages: number): Uint32Array {
  const place = shuffledBlocks(pages, SEED + 1);
  return zipfRanks(count, pages).map((rank) => place[rank] ?? 0);
}

/** The same reads, interrupted again and again by a scan of the next part of the file. */
export function scanPollutedTrace(count: number, pages: number): Uint32Array {
  const skewed = skewedTrace(count, pages);
  let scanned = 0;
  return skewed.map((block, index) => {
    const inStretch = index % (SKEWED_STRETCH + SCAN_STRETCH);
    if (inStretch < SKEWED_STRETCH) return block;
    const next = scanned % pages;
    scanned += 1;
    return next;
  });
}

/** Round and round the first `loop` pages. */
export function loopTrace(count: number, loop: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, index) => index % loop);
}
