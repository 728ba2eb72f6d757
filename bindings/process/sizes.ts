/**
 * Sizes as callers write them: of memories ("64MB") and of a context's blocks.
 */

import {
  ASET_DEFAULT_INIT_BYTES,
  ASET_DEFAULT_MAX_BYTES,
  ASET_MIN_BLOCK_BYTES,
  ASET_SMALL_INIT_BYTES,
  ASET_SMALL_MAX_BYTES,
  CHUNK_MAX_VALUE,
} from "../../assembly/common/constants.ts";

/** Block sizes are rounded up to 8 bytes and must stay within what a chunk header can say. */
export const MAX_BLOCK_BYTES: number = CHUNK_MAX_VALUE - 7;

const unitBytes: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  kB: 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
};

/**
 * Bytes of a size given as a number of bytes, or as text with a unit: `B`, `kB`, `MB` or `GB`,
 * case-sensitive as in PostgreSQL.
 *
 * @param what - name of the option, for the error
 * @throws `TypeError` for what is no whole size; `RangeError` outside `minimum` to `maximum`
 */
export function parseBytes(
  what: string,
  value: string | number,
  minimum: number,
  maximum: number,
): number {
  const bytes = typeof value === "string" ? bytesOfText(what, value) : value;
  if (typeof bytes !== "number" || Number.isNaN(bytes)) {
    throw new TypeError(`${what} must be bytes or text such as "64MB", not ${String(value)}`);
  }
  if (bytes < minimum || bytes > maximum) {
    throw new RangeError(
      `${what} is ${String(value)}; it must lie between ${minimum} and ${maximum} bytes`,
    );
  }
  if (!Number.isInteger(bytes)) {
    throw new TypeError(`${what} must be a whole number of bytes, not ${String(value)}`);
  }
  return bytes;
}

function bytesOfText(what: string, text: string): number {
  const parts = /^\s*(-?\d+)\s*([A-Za-z]*)\s*$/.exec(text);
  const factor = unitBytes[parts?.[2] ?? "?"];
  if (parts === null || factor === undefined) {
    throw new TypeError(
      `${what} must be a whole number with a unit (B, kB, MB, GB), not "${text}"`,
    );
  }
  return Number(parts[1]) * factor;
}

/** Block sizes of a context, in bytes; PostgreSQL's minContextSize, initBlockSize, maxBlockSize. */
export interface ContextSizes {
  /**
   * Size of the first block, which the context header shares; 0, the default, for `initBlockSize`.
   */
  readonly minContextSize?: number;
  /** Size of the second block; the following double. Default 8 kB, at least 1 kB. */
  readonly initBlockSize?: number;
  /** Where doubling ends. Default 8 MB, at most 1 GB - 8. */
  readonly maxBlockSize?: number;
}

/** For contexts that may hold much: blocks from 8 kB to 8 MB. */
export const ALLOCSET_DEFAULT_SIZES: Required<ContextSizes> = Object.freeze({
  minContextSize: 0,
  initBlockSize: ASET_DEFAULT_INIT_BYTES,
  maxBlockSize: ASET_DEFAULT_MAX_BYTES,
});

/** For contexts that stay small: blocks from 1 kB to 8 kB. */
export const ALLOCSET_SMALL_SIZES: Required<ContextSizes> = Object.freeze({
  minContextSize: 0,
  initBlockSize: ASET_SMALL_INIT_BYTES,
  maxBlockSize: ASET_SMALL_MAX_BYTES,
});

/** For contexts that begin small and may become large: blocks from 1 kB to 8 MB. */
export const ALLOCSET_START_SMALL_SIZES: Required<ContextSizes> = Object.freeze({
  minContextSize: 0,
  initBlockSize: ASET_SMALL_INIT_BYTES,
  maxBlockSize: ASET_DEFAULT_MAX_BYTES,
});

/**
 * The sizes with defaults filled in.
 *
 * @throws `TypeError` or `RangeError` if they break PostgreSQL's rules
 */
export function resolveSizes(sizes: ContextSizes): Required<ContextSizes> {
  if (sizes === ALLOCSET_DEFAULT_SIZES || sizes === ALLOCSET_SMALL_SIZES) {
    return sizes as Required<ContextSizes>;
  }
  const {
    minContextSize = ALLOCSET_DEFAULT_SIZES.minContextSize,
    initBlockSize = ALLOCSET_DEFAULT_SIZES.initBlockSize,
    maxBlockSize = Math.max(ALLOCSET_DEFAULT_SIZES.maxBlockSize, initBlockSize),
  } = sizes;
  parseBytes("initBlockSize", initBlockSize, ASET_MIN_BLOCK_BYTES, MAX_BLOCK_BYTES);
  parseBytes("maxBlockSize", maxBlockSize, initBlockSize, MAX_BLOCK_BYTES);
  if (minContextSize !== 0) {
    parseBytes("minContextSize", minContextSize, ASET_MIN_BLOCK_BYTES, maxBlockSize);
  }
  return { minContextSize, initBlockSize, maxBlockSize };
}
