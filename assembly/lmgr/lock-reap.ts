// Giving back the heavyweight locks of a backend that leaves or is dead: all of them, of whatever
// level, and its place in a queue. Called by buffer/reap.ts after pins and page locks are given
// back.
//
//   its fast path is emptied                        from now on nothing of it can be moved
//   · queues it had decided to rearrange are rearranged (deadlock.ts)
//   · partition locks it owned are taken over, one at a time, and what it was doing under them is
//     finished or undone: records half moved out of somebody's fast path, strong flags
//   · each of its records: out of its chain, flag, queue, free
//
// A look at a queue that it owed is made there, too: whoever owes one still owns the record whose
// hold or wait is gone, because a record becomes free after the look; and what a rearranger owes is
// noted until it has been done. Nothing else can be half done: a link and an unlink are one store,
// a grant is one word, a record that is not linked is found by its owner's number alone, and the
// order of a queue is the same at every step of its renumbering. May be called again at any point;
// ST_BUSY says that it must be.
//
// A half moved record says whose it is to be and not who was moving it; but only who holds the lock
// of its partition moves, so that what is found there in a partition just taken over was the dead
// one's doing. It is finished if the entry says MOVED, and undone if not.
//
// PostgreSQL: none for the dead; for the leaving src/backend/storage/lmgr/proc.c, ProcReleaseLocks

import { ST_BUSY, ST_OK } from "../common/constants";
import { LOCK_PARTITION_MASK, LOCK_PARTITIONS, STRONG_SLOTS } from "../common/lock-constants";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";
import { Deadlock } from "./deadlock";
import { EntryWord, FastPath, FastPathEntry } from "./lock-fast-path";
import { LockRecord, RecordWord } from "./lock-record";
import { LockState } from "./lock-state";
import { Strong } from "./lock-strong";
import { LockTable } from "./lock-table";
import { LockWake } from "./lock-wake";

export class LockReap {
  /** Gives back all heavyweight locks of a backend; ST_BUSY if it must be called again. */
  static backend(dead: u32): i32 {
    if (Region.get().locksPerBackend == 0) return ST_OK;
    FastPath.clear(dead);
    // All partitions are the dead one's still if there is something to finish.
    Deadlock.finish(dead);
    for (let index: u32 = 0; index < <u32>LOCK_PARTITIONS; ++index) {
      const partition = LockTable.partitionAt(index);
      const isLeaving = Self.owner() == dead + 1;
      if (isLeaving || !partition.handOver(dead + 1, Self.owner())) continue;
      LockReap.repair(index);
      partition.release();
    }
    // All of them: one that it was making for another lies in that one's section.
    for (let reference = LockRecord.total(); reference > 0; --reference) {
      if (LockRecord.at(reference).owner() != dead + 1) continue;
      if (!LockReap.remove(reference, dead)) return ST_BUSY;
    }
    LockState.of(dead).setWaitRecord(0);
    return ST_OK;
  }

  /** What the dead one was doing under the lock of a partition. That lock is this backend's now. */
  private static repair(partition: u32): void {
    LockReap.endMoves(partition);
    for (let slot = partition; slot < <u32>STRONG_SLOTS; slot += LOCK_PARTITIONS) {
      Strong.clearIfUnused(slot);
    }
  }

  /** Finishes or undoes moves from fast paths to this partition. */
  private static endMoves(partition: u32): void {
    for (let reference = LockRecord.total(); reference > 0; --reference) {
      const record = LockRecord.at(reference);
      const word = record.getWord();
      if (!RecordWord.isMoving(word)) continue;
      const tag = record.tag();
      const hash = tag.hash();
      if ((hash & LOCK_PARTITION_MASK) != partition) continue;
      const at = FastPath.find(RecordWord.owner(word) - 1, tag.field2);
      const isMoved = at != 0 && EntryWord.isMoved(FastPathEntry.at(at).getWord());
      if (isMoved) FastPath.finish(hash, tag, reference);
      else LockTable.remove(hash, reference);
    }
  }

  /** Takes one record of the dead one's away; false if its partition could not be locked. */
  private static remove(reference: u32, dead: u32): bool {
    const record = LockRecord.at(reference);
    const tag = record.tag();
    const hash = tag.hash();
    const partition = LockTable.partition(hash);
    if (!partition.acquire()) return false;
    const word = record.getWord();
    // It was being moved, and is somebody else's by now.
    if (RecordWord.owner(word) == dead + 1 && tag.hash() == hash) {
      LockTable.unlink(hash, reference);
      if (RecordWord.isStrong(word)) Strong.clearIfUnused(hash);
      LockWake.scan(hash, tag);
      record.setWord(0);
    }
    partition.release();
    return true;
  }
}
