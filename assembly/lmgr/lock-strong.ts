// Flags that stop the fast path: one for each class of relations whose hash is the same mod 1,024,
// set while somebody holds, or wants, a strong lock on one of them.
//
//   strong[hash & 1023]   0, or 1
//
// A flag and not a counter: it is computed anew from the records with RECORD_STRONG when one of
// them goes, so that a death cannot leave a number nobody can check. All records of a class stand
// in chains under the lock of one partition; everything but `isSet` is done under it.
//
// Cost: `clearIfUnused` walks the chains of the class, records / 1,024 on average.
//
// PostgreSQL: src/backend/storage/lmgr/lock.c, FastPathStrongRelationLocks (counters there)

import { Atomic } from "../common/atomics";
import { STRONG_SLOT_MASK, STRONG_SLOTS } from "../common/lock-constants";
import { Region } from "../ipc/region";
import { LockRecord, RecordWord } from "./lock-record";
import { LockTable } from "./lock-table";

const FLAG_SHIFT: u32 = 2;

export class Strong {
  @inline private static flag(hash: u32): usize {
    return Region.get().strong + ((<usize>(hash & STRONG_SLOT_MASK)) << FLAG_SHIFT);
  }

  @inline static isSet(hash: u32): bool {
    return Atomic.load(Strong.flag(hash)) != 0;
  }

  @inline static set(hash: u32): void {
    if (!Strong.isSet(hash)) Atomic.store(Strong.flag(hash), 1);
  }

  /** Takes the flag away unless another record still needs it. */
  static clearIfUnused(hash: u32): void {
    if (Strong.isSet(hash) && !Strong.isNeeded(hash)) Atomic.store(Strong.flag(hash), 0);
  }

  private static isNeeded(hash: u32): bool {
    const heads = Region.get().lockHeadMask + 1;
    for (let head = hash & STRONG_SLOT_MASK; head < heads; head += STRONG_SLOTS) {
      let reference = Atomic.load(LockTable.head(head));
      while (reference != 0) {
        const record = LockRecord.at(reference);
        if (RecordWord.isStrong(record.getWord())) return true;
        reference = record.getNext();
      }
    }
    return false;
  }
}
