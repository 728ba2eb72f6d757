// The eight lock modes and which of them exclude each other. Masks have bit `1 << mode`, as in
// PostgreSQL: bits 1 to 8.
//
// The table is eight bytes in two constants: this module has no data section to keep an array in.
//
// PostgreSQL: src/backend/storage/lmgr/lock.c, LockConflicts

import { LOCK_MODES } from "../common/lock-constants";

/** Bytes from the lowest: what each mode conflicts with, bit c - 1 for mode c. */
const CONFLICTS_OF_1_TO_4: u32 = 0xf8_f0_c0_80;
const CONFLICTS_OF_5_TO_8: u32 = 0xff_fe_fc_ec;
const HALF: u32 = 4;
const HALF_MASK: u32 = HALF - 1;
const BYTE_SHIFT: u32 = 3;
const BYTE_MASK: u32 = 0xff;
/** The modes that end a relation's fast path: 5 to 8. */
const STRONG_MODES: u32 = 0x1e0;

export class LockModes {
  /** The modes that a request of `mode` has to wait for. */
  @inline static conflicts(mode: u32): u32 {
    const half = mode <= HALF ? CONFLICTS_OF_1_TO_4 : CONFLICTS_OF_5_TO_8;
    return ((half >>> (((mode - 1) & HALF_MASK) << BYTE_SHIFT)) & BYTE_MASK) << 1;
  }

  @inline static bit(mode: u32): u32 {
    return 1 << mode;
  }

  @inline static anyStrong(mask: u32): bool {
    return (mask & STRONG_MODES) != 0;
  }

  @inline static isMode(mode: u32): bool {
    return mode - 1 < <u32>LOCK_MODES;
  }
}
