// Taking a heavyweight lock.
//
//   held already (a walk without a lock)            → counted once more
//   a weak mode on a relation                       → its fast path (lock-fast-path.ts)
//   under the lock of the partition:
//     settle what was moved out of the fast path · a strong mode on a relation: a record that says
//     STRONG, the flag, everybody's entries moved · nobody in the way → granted, else a place in
//     the queue, a deadlock of two, or a refusal to wait
//
// In the way are those who hold a conflicting mode and those who wait for one: a stream of readers
// does not starve a writer. Own holds never conflict. A newcomer stands at the tail of the queue;
// one who holds the lock already in some mode stands before the first waiter whom he blocks,
// because that one must wait for him in any case. If he would have to wait for that very one too,
// this is a deadlock, and he is told at once.
//
// When this returns ST_WAIT the record waits in the queue and its word is registered as what to
// sleep on. A grant changes the word and is complete by itself; `check` only looks. Whoever no
// longer wants to wait calls LockRelease.giveUp.
//
// A backend waits for one lock at a time.
//
// Cost without contention: three atomic operations (the partition twice, the record). Where nobody
// has a lock of the chain, nothing is walked.
//
// PostgreSQL: src/backend/storage/lmgr/lock.c, LockAcquireExtended, LockCheckConflicts; proc.c,
// JoinWaitQueue

import { invariant } from "../common/check";
import {
  PANIC_LOCK_TABLE,
  ST_ALREADY_HELD,
  ST_BUSY,
  ST_DEADLOCK,
  ST_GONE,
  ST_LOCKS_FULL,
  ST_MISS,
  ST_NOT_AVAILABLE,
  ST_OK,
  ST_TOO_MANY_LOCKS,
  ST_WAIT,
  ST_WAITING,
} from "../common/constants";
import { RECORD_STRONG } from "../common/lock-constants";
import { Region } from "../ipc/region";
import { me, Self } from "../ipc/self";
import { Sleep } from "../ipc/sleep";
import { FastPath } from "./lock-fast-path";
import { LockModes } from "./lock-modes";
import { LockQueue } from "./lock-queue";
import { LockRecord, RecordWord } from "./lock-record";
import { LockRelease } from "./lock-release";
import { DeadlockEdge } from "./lock-report";
import { LockState } from "./lock-state";
import { Strong } from "./lock-strong";
import { LockTable } from "./lock-table";
import { LockTag } from "./lock-tag";

export class Lock {
  /**
   * Takes a lock or a place in its queue. The tag stands in this backend's LockState.
   *
   * ST_OK, ST_ALREADY_HELD, ST_WAIT; ST_NOT_AVAILABLE where it may not wait; ST_DEADLOCK with two
   * edges reported; ST_LOCKS_FULL, ST_TOO_MANY_LOCKS, ST_WAITING; ST_BUSY: call again; ST_GONE.
   */
  static acquire(mode: u32, level: u32, mayWait: bool): i32 {
    if (!Region.get().isRunning()) return ST_GONE;
    const tag = LockState.mine().tag();
    const hash = tag.hash();
    const held = LockTable.isEmpty(hash)
      ? 0
      : LockTable.findHeld(hash, tag, Self.owner(), LockModes.bit(mode));
    if (held != 0) return Lock.count(LockRecord.at(held), mode, level);
    if (tag.isWeak(mode)) {
      const status = FastPath.acquire(hash, tag.field2, mode, level);
      if (status != ST_MISS) return status;
    }
    const partition = LockTable.partition(hash);
    if (!partition.acquire()) return ST_BUSY;
    // Nobody has a lock of this chain, which is how it mostly is: then there is nothing to look at.
    const isFree = LockTable.isEmpty(hash) && !tag.isRelation();
    const status = isFree
      ? Lock.grant(hash, tag, 0, mode, level)
      : Lock.withPartition(hash, tag, mode, level, mayWait);
    partition.release();
    return status;
  }

  @inline private static count(record: LockRecord, mode: u32, level: u32): i32 {
    return record.addCount(mode, level) ? ST_ALREADY_HELD : ST_TOO_MANY_LOCKS;
  }

  private static withPartition(hash: u32, tag: LockTag, mode: u32, level: u32, mayWait: bool): i32 {
    if (tag.isRelation()) FastPath.settle(hash, tag);
    let reference = LockTable.find(hash, tag, Self.owner());
    if (reference != 0) {
      const record = LockRecord.at(reference);
      if ((RecordWord.held(record.getWord()) & LockModes.bit(mode)) != 0) {
        return Lock.count(record, mode, level);
      }
    }
    if (tag.isStrong(mode)) {
      reference = Lock.announce(hash, tag, reference);
      if (reference == 0) return ST_LOCKS_FULL;
      if (FastPath.move(hash, tag) != ST_OK) {
        LockRelease.withdraw(hash, reference);
        return ST_LOCKS_FULL;
      }
    }
    const status = Lock.decide(hash, tag, reference, mode, mayWait);
    if (status == ST_OK) return Lock.grant(hash, tag, reference, mode, level);
    if (status == ST_WAIT) return Lock.join(hash, tag, reference, mode, level);
    if (reference != 0) LockRelease.withdraw(hash, reference);
    return status;
  }

  /** Says that a strong lock is wanted: a record first, then the flag. 0 if the table is full. */
  private static announce(hash: u32, tag: LockTag, own: u32): u32 {
    const reference = own != 0 ? own : Lock.makeRecord(hash, tag, RECORD_STRONG);
    if (reference == 0) return 0;
    const record = LockRecord.at(reference);
    if (!RecordWord.isStrong(record.getWord())) record.changeWord(0, RECORD_STRONG);
    Strong.set(hash);
    return reference;
  }

  /** ST_OK, ST_WAIT, ST_NOT_AVAILABLE, ST_DEADLOCK or ST_WAITING. A ticket is left in the state. */
  private static decide(hash: u32, tag: LockTag, own: u32, mode: u32, mayWait: bool): i32 {
    const excluded = LockModes.conflicts(mode);
    const owner = Self.owner();
    let granted: u32 = 0;
    let awaited: u32 = 0;
    let reference = LockTable.first(hash, tag);
    while (reference != 0) {
      const word = LockRecord.at(reference).getWord();
      if (RecordWord.owner(word) != owner) {
        granted |= RecordWord.held(word);
        if (RecordWord.isWaiting(word)) awaited |= LockModes.bit(RecordWord.awaited(word));
      }
      reference = LockTable.after(reference, tag);
    }
    if ((excluded & (granted | awaited)) == 0) return ST_OK;
    const state = LockState.mine();
    state.ticket = 0;
    const mine = own == 0 ? 0 : RecordWord.held(LockRecord.at(own).getWord());
    if (mine != 0 && awaited != 0) {
      const status = Lock.placeOfHolder(hash, tag, mine, mode, granted);
      if (status != ST_WAIT) return status;
    }
    if (!mayWait) return ST_NOT_AVAILABLE;
    if (LockState.waitingWith(me) != 0) return ST_WAITING;
    if (state.ticket == 0) state.ticket = LockQueue.tail(hash, tag);
    return ST_WAIT;
  }

  /**
   * Where in the queue somebody stands who holds the lock in the modes of `mine`: before the first
   * whom he blocks. ST_OK if nobody before that one is in the way; ST_DEADLOCK if that one is.
   */
  private static placeOfHolder(hash: u32, tag: LockTag, mine: u32, mode: u32, granted: u32): i32 {
    const excluded = LockModes.conflicts(mode);
    let ahead: u32 = 0;
    let reference = LockQueue.first(hash, tag);
    while (reference != 0) {
      const waiter = LockRecord.at(reference);
      const word = waiter.getWord();
      const wanted = RecordWord.awaited(word);
      if ((LockModes.conflicts(wanted) & mine) != 0) {
        if ((excluded & RecordWord.held(word)) != 0) {
          const other = RecordWord.owner(word) - 1;
          DeadlockEdge.at(0).fill(me, mode, other, tag);
          DeadlockEdge.at(1).fill(other, wanted, me, tag);
          return ST_DEADLOCK;
        }
        if ((excluded & (ahead | granted)) == 0) return ST_OK;
        LockState.mine().ticket = LockQueue.justBefore(hash, tag, reference);
        return ST_WAIT;
      }
      ahead |= LockModes.bit(wanted);
      reference = LockQueue.after(hash, tag, waiter.getTicket());
    }
    return ST_WAIT;
  }

  @inline private static grant(hash: u32, tag: LockTag, own: u32, mode: u32, level: u32): i32 {
    const held = RecordWord.holding(LockModes.bit(mode));
    if (own == 0) {
      const made = Lock.makeRecord(hash, tag, held);
      if (made == 0) return ST_LOCKS_FULL;
      LockRecord.at(made).setCount(mode, level, 1);
    } else {
      LockRecord.at(own).setCount(mode, level, 1);
      LockRecord.at(own).changeWord(0, held);
    }
    return ST_OK;
  }

  /** Into the queue: ticket and counts first, so that the wait mode makes all of it true. */
  private static join(hash: u32, tag: LockTag, own: u32, mode: u32, level: u32): i32 {
    const reference = own != 0 ? own : Lock.makeRecord(hash, tag, 0);
    if (reference == 0) return ST_LOCKS_FULL;
    const record = LockRecord.at(reference);
    const state = LockState.mine();
    state.mode = mode;
    state.level = level;
    state.waitStart = 0;
    state.setWaitRecord(reference);
    record.setCount(mode, level, 1);
    record.setTicket(state.ticket);
    const seen = record.changeWord(0, RecordWord.awaiting(mode));
    const word = seen | RecordWord.awaiting(mode);
    return Sleep.prepare(record.wordAddress(), word, ST_WAIT, tag.waitEvent());
  }

  /**
   * A new record of this backend's, linked, with some bits besides the owner; 0 if there is none.
   */
  private static makeRecord(hash: u32, tag: LockTag, bits: u32): u32 {
    const reference = LockTable.allocate(me, Self.owner() | bits);
    if (reference == 0) return 0;
    const record = LockRecord.at(reference);
    record.tag().copy(tag);
    record.clearCounts();
    LockTable.link(hash, reference);
    return reference;
  }

  /** After a sleep: ST_OK if the lock was granted, else ST_WAIT, and sleep again. */
  static check(): i32 {
    const state = LockState.mine();
    const reference = state.getWaitRecord();
    if (CHECKING) invariant(reference != 0, PANIC_LOCK_TABLE);
    const record = LockRecord.at(reference);
    const word = record.getWord();
    if (RecordWord.isWaiting(word)) {
      return Sleep.prepare(record.wordAddress(), word, ST_WAIT, record.tag().waitEvent());
    }
    if (CHECKING) {
      const held = RecordWord.held(word) & LockModes.bit(state.mode);
      invariant(RecordWord.owner(word) == Self.owner() && held != 0, PANIC_LOCK_TABLE);
    }
    state.setWaitRecord(0);
    return ST_OK;
  }
}
