// What TypeScript calls of the user's locks, of conditions and of latches. Numbers of locks and
// conditions are checked there.

import { WAIT_EXTENSION } from "../common/activity-constants";
import { ST_OK, ST_WAIT } from "../common/constants";
import { Sleep } from "../ipc/sleep";
import { Slot } from "../ipc/slots";
import { Condition } from "./condition";
import { LwLock } from "./lwlock";

export function setLwlockPolicy(lock: u32, policy: u32): void {
  LwLock.at(lock).policy = policy;
}

export function lwlockPolicy(lock: u32): u32 {
  return LwLock.at(lock).policy;
}

export function lwlockShare(lock: u32): i32 {
  return LwLock.at(lock).share();
}

export function lwlockExclusive(lock: u32): i32 {
  return LwLock.at(lock).exclusive();
}

export function lwlockShareNow(lock: u32): i32 {
  return LwLock.at(lock).shareNow();
}

export function lwlockExclusiveNow(lock: u32): i32 {
  return LwLock.at(lock).exclusiveNow();
}

/** ST_OK, or a number above 0: sleep, then call again with it. ST_FREED once it has been free. */
export function lwlockOrWait(lock: u32, tenure: u32): i32 {
  return LwLock.at(lock).exclusiveOrWait(tenure);
}

export function lwlockDrain(lock: u32): i32 {
  return LwLock.at(lock).drain();
}

export function lwlockRelease(lock: u32): i32 {
  return LwLock.at(lock).release();
}

export function lwlockReleaseAll(): void {
  LwLock.releaseAll();
}

/** How this backend holds a lock, LWLOCK_. */
export function lwlockMode(lock: u32): u32 {
  return LwLock.at(lock).mode();
}

/** Number + 1 of the backend that has a lock exclusively, or 0. */
export function lwlockOwner(lock: u32): u32 {
  return LwLock.at(lock).getOwner();
}

/** The ticket of a wait for a condition. */
export function conditionPrepare(condition: u32): u32 {
  return Condition.at(condition).prepare();
}

export function conditionSleep(condition: u32, ticket: u32): i32 {
  return Condition.at(condition).sleep(ticket);
}

export function conditionSignal(condition: u32): void {
  Condition.at(condition).signal();
}

export function conditionBroadcast(condition: u32): void {
  Condition.at(condition).broadcast();
}

export function conditionForward(condition: u32): void {
  Condition.at(condition).forward();
}

/** How often this backend's latch was set. */
export function latchValue(): u32 {
  return Slot.mine().getLatch();
}

/** ST_OK if the latch was set since it had that value; else ST_WAIT with it registered. */
export function latchSleep(seen: u32): i32 {
  const slot = Slot.mine();
  if (slot.getLatch() != seen) return ST_OK;
  return Sleep.register(slot.latchAddress(), seen, ST_WAIT, WAIT_EXTENSION);
}

/** Sets the latch of a slot, which wakes its backend. */
export function setLatch(slot: u32): void {
  Slot.at(slot).setLatch();
}
