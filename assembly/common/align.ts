// Rounding and powers of two, in unsigned 32-bit arithmetic.
//
// Callers check sizes against their limit before they round: within seven of 2^32 the sum wraps.
//
// PostgreSQL: src/include/c.h, MAXALIGN; src/include/port/pg_bitutils.h

import { MAX_ALIGN } from "./constants";

export class Align {
  /** `size` rounded up to the 8 bytes that every chunk and block is aligned to. */
  @inline static max(size: u32): u32 {
    return (size + (MAX_ALIGN - 1)) & ~(MAX_ALIGN - 1);
  }

  /** `value` rounded up to `unit`, a power of two. */
  @inline static up(value: u32, unit: u32): u32 {
    return (value + (unit - 1)) & ~(unit - 1);
  }

  /** The exponent of the smallest power of two that is at least `value`; `value` is 1 to 2^31. */
  @inline static ceilLog2(value: u32): u32 {
    return 32 - clz<u32>(value - 1);
  }

  /** The exponent of the largest power of two that is at most `value`; `value` is not 0. */
  @inline static floorLog2(value: u32): u32 {
    return 31 - clz<u32>(value);
  }

  /** The smallest power of two that is at least `value`; `value` is 1 to 2^31. */
  @inline static nextPowerOfTwo(value: u32): u32 {
    return value <= 1 ? 1 : (<u32>1) << Align.ceilLog2(value);
  }
}
