/**
 * Sizes of arrays: products and sums that do not wrap around.
 *
 * A count that came from outside, times the size of an element, may exceed what 32 bits hold; a
 * wrapped product would give a chunk that is too small and no error.
 *
 * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, add_size, mul_size
 */

import { PallocError } from "../abi/errors.ts";

/** Largest size that 32 bits hold. */
const SIZE_MAX = 0xffffffff;

/** 54000: the size of an array, or a sum of sizes, exceeds what 32 bits hold. */
export class SizeOverflowError extends PallocError {
  /** The two numbers that were to be multiplied or added. */
  readonly operands: readonly [number, number];

  constructor(left: number, operation: "+" | "*", right: number) {
    super("54000", `invalid memory allocation request size ${left} ${operation} ${right}`);
    this.operands = [left, right];
  }
}

/**
 * `count * bytes`.
 *
 * @throws {@link SizeOverflowError} above 4 GB - 1; `TypeError` or `RangeError` for what is no size
 * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, mul_size
 */
export function mulSize(count: number, bytes: number): number {
  checkSize("count", count);
  checkSize("size of an element", bytes);
  const product = count * bytes;
  if (product > SIZE_MAX) throw new SizeOverflowError(count, "*", bytes);
  return product;
}

/**
 * `left + right`.
 *
 * @throws {@link SizeOverflowError} above 4 GB - 1; `TypeError` or `RangeError` for what is no size
 * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, add_size
 */
export function addSize(left: number, right: number): number {
  checkSize("size", left);
  checkSize("size", right);
  const sum = left + right;
  if (sum > SIZE_MAX) throw new SizeOverflowError(left, "+", right);
  return sum;
}

/** Rejects what is no whole number of at least 0. @internal */
export function checkSize(what: string, value: number): void {
  if (!Number.isInteger(value)) {
    throw new TypeError(`a ${what} must be a whole number, not ${String(value)}`);
  }
  if (value < 0) throw new RangeError(`a ${what} cannot be negative: ${value}`);
}
