// What TypeScript calls of heavyweight locks; shared.ts exports it all. A tag is four words, as in
// lock-tag.ts; results are as those of lock.ts and lock-release.ts say.

import { ST_BUSY, ST_GONE, ST_LOCKS_FULL, ST_OK } from "../common/constants";
import { LEVEL_TRANSACTION } from "../common/lock-constants";
import { Region } from "../ipc/region";
import { Deadlock } from "./deadlock";
import { Lock } from "./lock";
import { LockRelease } from "./lock-release";
import { LockState } from "./lock-state";
import { LockTable } from "./lock-table";

/** Bit 0 of `flags` is the level, bit 1 says that the caller does not wait. */
const NO_WAIT_SHIFT: u32 = 1;

function acquire(mode: u32, flags: u32): i32 {
  return Lock.acquire(mode, flags & LEVEL_TRANSACTION, flags >>> NO_WAIT_SHIFT == 0);
}

/** Takes a lock, or a place in its queue: then sleep, and `lockCheck`. */
export function lockAcquire(
  field1: u32,
  field2: u32,
  field3: u32,
  rest: u32,
  mode: u32,
  flags: u32,
): i32 {
  if (Region.get().locksPerBackend == 0) return ST_LOCKS_FULL;
  LockState.mine().tag().fill(field1, field2, field3, rest);
  return acquire(mode, flags);
}

/** `lockAcquire` on a relation of this region. */
export function lockRelation(relation: u32, mode: u32, flags: u32): i32 {
  if (Region.get().locksPerBackend == 0) return ST_LOCKS_FULL;
  LockState.mine().tag().fillRelation(relation);
  return acquire(mode, flags);
}

/** After a sleep: whether the lock was granted; ST_WAIT: sleep again. */
export function lockCheck(): i32 {
  return Lock.check();
}

/** Leaves the queue; ST_OK if the lock was granted meanwhile. */
export function lockGiveUp(): i32 {
  return LockRelease.giveUp();
}

/** Looks for a deadlock that this backend's wait is part of (deadlock.ts). */
export function lockCheckDeadlock(): i32 {
  return Deadlock.check();
}

/** Says since when this backend waits, milliseconds since 1970. */
export function lockWaitsSince(time: f64): void {
  LockState.mine().waitStart = time;
}

export function lockRelease(
  field1: u32,
  field2: u32,
  field3: u32,
  rest: u32,
  mode: u32,
  level: u32,
): i32 {
  LockState.mine().tag().fill(field1, field2, field3, rest);
  return LockRelease.release(mode, level);
}

/** `lockRelease` on a relation of this region. */
export function unlockRelation(relation: u32, mode: u32, level: u32): i32 {
  LockState.mine().tag().fillRelation(relation);
  return LockRelease.release(mode, level);
}

/** Gives back all of the levels of `levels` (bit `1 << level`) and a method, 0 for all methods. */
export function lockReleaseAll(levels: u32, method: u32): i32 {
  return Region.get().locksPerBackend == 0 ? ST_OK : LockRelease.all(levels, method);
}

/** Takes all partition locks, so that the table stands still for a look; then `lockTableFree`. */
export function lockTableStill(): i32 {
  if (!Region.get().isRunning()) return ST_GONE;
  return LockTable.acquireAll() ? ST_OK : ST_BUSY;
}

export function lockTableFree(): void {
  LockTable.releaseAll();
}
