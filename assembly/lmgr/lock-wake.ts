// Granting to those who wait, after something was given back or somebody gave up. The lock of the
// partition is held.
//
// From the head of the queue: whoever conflicts neither with what is granted to others nor with
// those left waiting before him gets the lock. So a later waiter passes an earlier one only where
// the two could hold the lock together, and nobody starves.
//
// A grant is one compare-and-swap of the waiter's word and a notify; nothing is left for him to do.
// A death between the two is paid by the reaper, who wakes all sleepers; a death before the scan by
// the reaper, who scans for each record that was still the dead one's (lock-reap.ts).
//
// PostgreSQL: src/backend/storage/lmgr/proc.c, ProcLockWakeup; lock.c, GrantLock

import { Atomic } from "../common/atomics";
import { RECORD_WAIT_MASK } from "../common/lock-constants";
import { LockModes } from "./lock-modes";
import { LockQueue } from "./lock-queue";
import { LockRecord, RecordWord } from "./lock-record";
import { LockTable } from "./lock-table";
import { LockTag } from "./lock-tag";

export class LockWake {
  /** Grants to everybody on a tag who can have it. */
  static scan(hash: u32, tag: LockTag): void {
    let ahead: u32 = 0;
    let reference = LockQueue.first(hash, tag);
    while (reference != 0) {
      const record = LockRecord.at(reference);
      const word = record.getWord();
      const ticket = record.getTicket();
      const mode = RecordWord.awaited(word);
      const excluded = LockModes.conflicts(mode);
      const granted = LockWake.heldByOthers(hash, tag, RecordWord.owner(word));
      if ((excluded & (ahead | granted)) == 0) LockWake.grant(record, mode);
      else ahead |= LockModes.bit(mode);
      reference = LockQueue.after(hash, tag, ticket);
    }
  }

  /** Gives a waiter what he waits for, and wakes him. */
  static grant(record: LockRecord, mode: u32): void {
    record.changeWord(RECORD_WAIT_MASK, RecordWord.holding(LockModes.bit(mode)));
    Atomic.notifyAll(record.wordAddress());
  }

  /** Modes that others than `owner` (backend + 1) hold on a tag. */
  static heldByOthers(hash: u32, tag: LockTag, owner: u32): u32 {
    let granted: u32 = 0;
    let reference = LockTable.first(hash, tag);
    while (reference != 0) {
      const word = LockRecord.at(reference).getWord();
      if (RecordWord.owner(word) != owner) granted |= RecordWord.held(word);
      reference = LockTable.after(reference, tag);
    }
    return granted;
  }

  /** Modes that somebody waits for. */
  static awaited(hash: u32, tag: LockTag): u32 {
    let modes: u32 = 0;
    let reference = LockTable.first(hash, tag);
    while (reference != 0) {
      const word = LockRecord.at(reference).getWord();
      if (RecordWord.isWaiting(word)) modes |= LockModes.bit(RecordWord.awaited(word));
      reference = LockTable.after(reference, tag);
    }
    return modes;
  }
}
