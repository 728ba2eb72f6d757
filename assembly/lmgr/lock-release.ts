// Giving heavyweight locks back: one, all of a level, or a place in a queue.
//
//   counted down; still above 0 → done
//   on the fast path → one compare-and-swap
//   under the lock of the partition: hold bit off, or the record out of its chain if that was all
//     · the strong flag of its class, if it was strong · the queue · the record is free
//
// Where the mode is all of the record, and the record all of its chain, nobody can be waiting, and
// nothing is walked: three atomic operations.
//
// A record goes by being unlinked: from then on nobody counts it. It becomes free last of all, when
// this backend no longer needs its tag. So a death before the queue was looked at leaves a record
// of the dead one's, and who takes that away looks (lock-reap.ts).
//
// After a release the queue is looked at if somebody waits for what conflicts with the mode, even
// if others hold that mode too: the other holder may be the waiter himself. After somebody has
// given up it is always looked at: those behind him may be next.
//
// PostgreSQL: src/backend/storage/lmgr/lock.c, LockRelease, LockReleaseAll, RemoveFromWaitQueue,
// CleanUpLock

import { ST_BUSY, ST_MISS, ST_NOT_AVAILABLE, ST_NOT_OWNED, ST_OK } from "../common/constants";
import {
  LEVEL_SESSION,
  LEVEL_TRANSACTION,
  LOCK_MODES,
  RECORD_STRONG,
  RECORD_WAIT_MASK,
  TAG_METHOD_SHIFT,
  USER_LOCK_METHOD,
} from "../common/lock-constants";
import { me, Self } from "../ipc/self";
import { Slot } from "../ipc/slots";
import { FastPath } from "./lock-fast-path";
import { LockModes } from "./lock-modes";
import { LockRecord, RecordWord } from "./lock-record";
import { LockState } from "./lock-state";
import { Strong } from "./lock-strong";
import { LockTable } from "./lock-table";
import { LockTag } from "./lock-tag";
import { LockWake } from "./lock-wake";

export class LockRelease {
  /**
   * Gives back one acquisition of a mode at a level. The tag stands in this backend's LockState.
   *
   * ST_OK, ST_NOT_OWNED; ST_BUSY: call again.
   */
  static release(mode: u32, level: u32): i32 {
    const tag = LockState.mine().tag();
    const hash = tag.hash();
    if (tag.isWeak(mode)) {
      const status = FastPath.release(tag.field2, mode, level);
      if (status != ST_MISS) return status;
    }
    const held = LockTable.findHeld(hash, tag, Self.owner(), LockModes.bit(mode));
    if (held != 0 && LockRelease.countDown(LockRecord.at(held), mode, level)) return ST_OK;
    const partition = LockTable.partition(hash);
    if (!partition.acquire()) return ST_BUSY;
    const isDone = held != 0 && LockRelease.isOnly(hash, tag, held, mode, level);
    if (isDone) LockRelease.freeOnly(hash, held, mode, level);
    const status = isDone ? ST_OK : LockRelease.withPartition(hash, tag, mode, level);
    partition.release();
    return status;
  }

  /** Whether that mode at that level is all of a record, and the record all of its chain. */
  private static isOnly(hash: u32, tag: LockTag, held: u32, mode: u32, level: u32): bool {
    const record = LockRecord.at(held);
    const word = Self.owner() | RecordWord.holding(LockModes.bit(mode));
    if (record.getWord() != word || record.getCount(mode, level) == 0) return false;
    return LockTable.isAlone(hash, held) && !tag.isRelation();
  }

  /** Gives back what `isOnly`: nobody waits for it, since nobody else is in the chain. */
  @inline private static freeOnly(hash: u32, held: u32, mode: u32, level: u32): void {
    LockRecord.at(held).setCount(mode, level, 0);
    LockTable.unlinkOnly(hash);
    LockRelease.free(held);
  }

  /** True if the mode stays held all the same. */
  private static countDown(record: LockRecord, mode: u32, level: u32): bool {
    const count = record.getCount(mode, level);
    if (count == 0 || record.countOf(mode) == 1) return false;
    record.setCount(mode, level, count - 1);
    return true;
  }

  private static withPartition(hash: u32, tag: LockTag, mode: u32, level: u32): i32 {
    if (tag.isRelation()) FastPath.settle(hash, tag);
    const reference = LockTable.find(hash, tag, Self.owner());
    if (reference == 0) return ST_NOT_OWNED;
    const record = LockRecord.at(reference);
    const isHeld = (RecordWord.held(record.getWord()) & LockModes.bit(mode)) != 0;
    if (!isHeld || record.getCount(mode, level) == 0) return ST_NOT_OWNED;
    if (LockRelease.countDown(record, mode, level)) return ST_OK;
    record.setCount(mode, level, 0);
    LockRelease.ungrant(hash, tag, reference, LockModes.bit(mode));
    return ST_OK;
  }

  /** Takes the modes of `mask` off a record, and wakes who can have what. Partition lock held. */
  static ungrant(hash: u32, tag: LockTag, reference: u32, mask: u32): void {
    const record = LockRecord.at(reference);
    const word = record.getWord();
    const isAll = (RecordWord.held(word) & ~mask) == 0 && !RecordWord.isWaiting(word);
    if (isAll) LockTable.unlink(hash, reference);
    else record.changeWord(RecordWord.holding(mask), 0);
    LockRelease.weaken(hash, reference, isAll);
    if (LockRelease.isAwaited(hash, tag, mask)) LockWake.scan(hash, tag);
    if (isAll) LockRelease.free(reference);
  }

  /** Whether somebody waits for what conflicts with one of the modes of `mask`. */
  private static isAwaited(hash: u32, tag: LockTag, mask: u32): bool {
    const awaited = LockWake.awaited(hash, tag);
    if (awaited == 0) return false;
    for (let mode: u32 = 1; mode <= <u32>LOCK_MODES; ++mode) {
      if ((mask & LockModes.bit(mode)) != 0 && (LockModes.conflicts(mode) & awaited) != 0) {
        return true;
      }
    }
    return false;
  }

  /** Once no strong mode is held or waited for, the record no longer says STRONG, nor the flag. */
  private static weaken(hash: u32, reference: u32, isUnlinked: bool): void {
    const record = LockRecord.at(reference);
    const word = record.getWord();
    if (!RecordWord.isStrong(word)) return;
    const modes = RecordWord.held(word) | LockModes.bit(RecordWord.awaited(word));
    if (!isUnlinked) {
      if (LockModes.anyStrong(modes)) return;
      record.changeWord(RECORD_STRONG, 0);
    }
    Strong.clearIfUnused(hash);
  }

  @inline private static free(reference: u32): void {
    LockRecord.at(reference).setWord(0);
    LockState.mine().hint = reference;
  }

  /** Undoes an acquisition that came to nothing. Partition lock held. */
  static withdraw(hash: u32, reference: u32): void {
    const word = LockRecord.at(reference).getWord();
    const isEmpty = RecordWord.held(word) == 0 && !RecordWord.isWaiting(word);
    if (isEmpty) LockTable.unlink(hash, reference);
    LockRelease.weaken(hash, reference, isEmpty);
    if (isEmpty) LockRelease.free(reference);
  }

  // ── Giving up ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Leaves the queue this backend waits in. ST_NOT_AVAILABLE: it has left; ST_OK: the lock was
   * granted meanwhile and is held; ST_BUSY: call again.
   */
  static giveUp(): i32 {
    const state = LockState.mine();
    // Registered as what to sleep on, perhaps without a sleep that takes it away again.
    Slot.mine().setSleepingOn(0);
    Slot.mine().waitEvent = 0;
    const reference = LockState.waitingWith(me);
    if (reference == 0) return LockRelease.wasGranted(state);
    const tag = LockRecord.at(reference).tag();
    const hash = tag.hash();
    const partition = LockTable.partition(hash);
    if (!partition.acquire()) return ST_BUSY;
    const isWaiting = LockState.waitingWith(me) != 0;
    if (isWaiting) LockRelease.leaveQueue(hash, tag, reference);
    partition.release();
    if (!isWaiting) return LockRelease.wasGranted(state);
    state.setWaitRecord(0);
    return ST_NOT_AVAILABLE;
  }

  private static wasGranted(state: LockState): i32 {
    const waited = state.getWaitRecord() != 0;
    state.setWaitRecord(0);
    return waited ? ST_OK : ST_NOT_AVAILABLE;
  }

  /** Takes a waiting record of this backend's out of its queue. Partition lock held. */
  static leaveQueue(hash: u32, tag: LockTag, reference: u32): void {
    const record = LockRecord.at(reference);
    const state = LockState.mine();
    const isEmpty = RecordWord.held(record.getWord()) == 0;
    if (isEmpty) LockTable.unlink(hash, reference);
    else record.changeWord(RECORD_WAIT_MASK, 0);
    record.setCount(state.mode, state.level, 0);
    LockRelease.weaken(hash, reference, isEmpty);
    LockWake.scan(hash, tag);
    if (isEmpty) LockRelease.free(reference);
  }

  // ── All at once ────────────────────────────────────────────────────────────────────────────────

  /**
   * Gives back all that is held at the levels of `levels` (bit `1 << level`), of one lock method
   * or, with 0, of all. ST_OK; ST_BUSY: call again.
   */
  static all(levels: u32, method: u32): i32 {
    if (method != <u32>USER_LOCK_METHOD) {
      FastPath.releaseAll(levels);
      if (!LockRelease.settleMoved()) return ST_BUSY;
    }
    let reference = LockTable.firstOf(me);
    while (reference != 0) {
      const record = LockRecord.at(reference);
      const word = record.getWord();
      const isAsked = method == 0 || record.tag().rest >>> TAG_METHOD_SHIFT == method;
      if (!RecordWord.isMoving(word) && isAsked) {
        if (!LockRelease.levels(reference, word, levels)) return ST_BUSY;
      }
      reference = LockTable.nextOf(me, reference);
    }
    return ST_OK;
  }

  /** Everything that was moved out of the fast path is in the table, counts and all. */
  private static settleMoved(): bool {
    while (true) {
      const relation = FastPath.firstMoved();
      if (relation < 0) return true;
      const tag = LockState.mine().tag();
      tag.fillRelation(<u32>relation);
      const hash = tag.hash();
      const partition = LockTable.partition(hash);
      if (!partition.acquire()) return false;
      FastPath.settle(hash, tag);
      partition.release();
    }
  }

  /** Drops the counts of some levels, and the modes that have none left. */
  private static levels(reference: u32, word: u32, levels: u32): bool {
    const record = LockRecord.at(reference);
    const held = RecordWord.held(word);
    let dropped: u32 = 0;
    for (let mode: u32 = 1; mode <= <u32>LOCK_MODES; ++mode) {
      if ((held & LockModes.bit(mode)) == 0) continue;
      const session = (levels & 1) != 0 ? 0 : record.getCount(mode, LEVEL_SESSION);
      const transaction = levels >>> 1 != 0 ? 0 : record.getCount(mode, LEVEL_TRANSACTION);
      if (session + transaction == 0) dropped |= LockModes.bit(mode);
    }
    const tag = record.tag();
    const hash = tag.hash();
    if (dropped != 0) {
      const partition = LockTable.partition(hash);
      if (!partition.acquire()) return false;
      LockRelease.clearLevels(record, held, levels);
      LockRelease.ungrant(hash, tag, reference, dropped);
      partition.release();
    } else {
      LockRelease.clearLevels(record, held, levels);
    }
    return true;
  }

  private static clearLevels(record: LockRecord, held: u32, levels: u32): void {
    for (let mode: u32 = 1; mode <= <u32>LOCK_MODES; ++mode) {
      if ((held & LockModes.bit(mode)) == 0) continue;
      if ((levels & 1) != 0) record.setCount(mode, LEVEL_SESSION, 0);
      if (levels >>> 1 != 0) record.setCount(mode, LEVEL_TRANSACTION, 0);
    }
  }
}
