// Sizes of the parts of the region that the heavyweight locks need (lmgr/lock-record.ts says what
// they are for). All follow from max_locks_per_transaction and the number of slots; with 0 there is
// no lock table and the parts are empty.
//
//   records      slots × max_locks_per_transaction × 64 bytes
//   heads        a power of two, at least 1,024 and at least one a record
//   fast paths   slots × (64 bytes + groups of 16 entries of 32 bytes), the groups a power of two
//                with room for max_locks_per_transaction relations, as in PostgreSQL
//   deadlock     the detector's arrays, 124 bytes a backend (lmgr/deadlock-area.ts)
//
// With 16 connections and 64 locks each that is 88 kB of records, 8 kB of heads and 46 kB of fast
// paths.
//
// PostgreSQL: src/backend/storage/lmgr/lock.c, LockManagerShmemSize; proc.c, FastPathLockShmemSize

import { Align } from "../common/align";
import {
  CACHE_LINE_BYTES,
  PART_DEADLOCK,
  PART_FAST_PATH,
  PART_LOCK_PARTITIONS,
  PART_LOCK_RECORDS,
  PART_LOCK_TABLE,
  PART_STRONG,
} from "../common/constants";
import {
  DEADLOCK_ARRAYS,
  FAST_PATH_ENTRIES,
  FAST_PATH_GROUP_SHIFT,
  LOCK_PARTITIONS,
  LOCK_RECORD_BYTES,
  LOCK_STATE_BYTES,
  MAX_FAST_PATH_GROUPS,
  MIN_LOCK_HEADS,
  STRONG_SLOTS,
} from "../common/lock-constants";
import { Region } from "./region";

/** No memory holds as many records; also what keeps the arithmetic within its words. */
const MOST_RECORDS: u64 = 1 << 26;

export class LockParts {
  /** Whether `part` is one of these. */
  @inline static has(part: u32): bool {
    if (part == PART_DEADLOCK) return true;
    return part - PART_LOCK_RECORDS <= <u32>(PART_FAST_PATH - PART_LOCK_RECORDS);
  }

  /** Bytes that one of these parts asks for. */
  static bytes(part: u32): u64 {
    const backends = Region.get().backends;
    const locks = Region.get().locksPerBackend;
    if (locks == 0) return 0;
    switch (part) {
      case PART_LOCK_RECORDS:
        return <u64>backends * locks * LOCK_RECORD_BYTES;
      case PART_LOCK_TABLE:
        return LockParts.headCount(backends, locks) * sizeof<u32>();
      case PART_LOCK_PARTITIONS:
        return LOCK_PARTITIONS * CACHE_LINE_BYTES;
      case PART_STRONG:
        return STRONG_SLOTS * sizeof<u32>();
      case PART_DEADLOCK:
        return CACHE_LINE_BYTES + DEADLOCK_ARRAYS * <u64>LockParts.deadlockArrayBytes(backends);
      default:
        return <u64>backends * LockParts.stateBytes(locks);
    }
  }

  static keepSizes(region: Region): void {
    const locks = region.locksPerBackend;
    region.lockHeadMask = LockParts.headCount(region.backends, locks) - 1;
    region.lockStateBytes = LockParts.stateBytes(locks);
    region.fastPathMask = LockParts.groups(locks) - 1;
  }

  /** An array of the detector: a word a backend and one more, in whole cache lines. */
  @inline static deadlockArrayBytes(backends: u32): u32 {
    return Align.up((backends + 1) * sizeof<u32>(), CACHE_LINE_BYTES);
  }

  private static headCount(backends: u32, locks: u32): u32 {
    const records = min<u64>(<u64>backends * locks, MOST_RECORDS);
    return max<u32>(Align.nextPowerOfTwo(<u32>records), MIN_LOCK_HEADS);
  }

  private static groups(locks: u32): u32 {
    const groups = (min<u64>(locks, MOST_RECORDS) + FAST_PATH_ENTRIES - 1) / FAST_PATH_ENTRIES;
    return min<u32>(Align.nextPowerOfTwo(<u32>groups), MAX_FAST_PATH_GROUPS);
  }

  @inline private static stateBytes(locks: u32): u32 {
    return LOCK_STATE_BYTES + (LockParts.groups(locks) << FAST_PATH_GROUP_SHIFT);
  }
}

if (MIN_LOCK_HEADS < STRONG_SLOTS) ERROR("a strong slot must be a union of whole chains");
if (STRONG_SLOTS < LOCK_PARTITIONS) ERROR("a strong slot must lie in one partition");
