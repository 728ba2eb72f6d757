// The words of the user's locks and conditions, one call at a time: who is let in, which flag is
// left, what is given back for a backend that is gone, and that no signal is slept over.

import { describe, expect, it } from "vitest";
import {
  LOCK_DRAIN,
  LOCK_WAITERS,
  OWNER_MASK,
  REGION_STATUS_OFFSET,
  ST_ALREADY_LOCKED,
  ST_BUSY,
  ST_DRAIN,
  ST_FREED,
  ST_GONE,
  ST_NOT_LOCKED,
  ST_OK,
  ST_WAIT,
  STATUS_CRASHED,
} from "../../assembly/common/constants.ts";
import {
  LWLOCK_EXCLUSIVE,
  LWLOCK_FREE,
  LWLOCK_SHARED,
  ON_DEATH_CALL,
  ON_DEATH_POISON,
} from "../../assembly/common/lock-constants.ts";
import { builds, RawRegion } from "../support/region.ts";

const LWLOCKS_OFFSET = 188;

function region(checked: boolean): RawRegion {
  return new RawRegion({ checked, lwlocks: 3, conditions: 2 });
}

/** The word of lock 0. */
function word(of: RawRegion): number {
  const words = new Uint32Array(of.memory.buffer);
  return words[(words[LWLOCKS_OFFSET / 4] ?? 0) / 4] ?? 0;
}

function statusOf(of: RawRegion): number {
  return new Uint32Array(of.memory.buffer)[REGION_STATUS_OFFSET / 4] ?? 0;
}

describe.each(builds)("%s build", (_, checked) => {
  it("many have a lock shared, and nobody has it exclusively meanwhile", () => {
    const locks = region(checked);
    const [a, b, c] = [locks.backend(1), locks.backend(2), locks.backend(3)];
    expect([a.lwlockShare(0), b.lwlockShare(0)]).toEqual([ST_OK, ST_OK]);
    expect(c.lwlockExclusiveNow(0)).toBe(ST_BUSY);
    expect(word(locks) & OWNER_MASK).toBe(0);
    expect(c.lwlockExclusive(0)).toBe(ST_DRAIN);
    expect(word(locks) & LOCK_DRAIN).toBe(LOCK_DRAIN);
    expect(a.lwlockRelease(0)).toBe(ST_OK);
    expect(c.lwlockDrain(0)).toBe(ST_DRAIN);
    expect(b.lwlockRelease(0)).toBe(ST_OK);
    expect(word(locks) & LOCK_DRAIN).toBe(0);
    expect(c.lwlockDrain(0)).toBe(ST_OK);
    expect(c.lwlockMode(0)).toBe(LWLOCK_EXCLUSIVE);
    expect([a.lwlockShareNow(0), b.lwlockExclusiveNow(0)]).toEqual([ST_BUSY, ST_BUSY]);
  });

  it("who finds it taken leaves a flag, which whoever frees it takes away", () => {
    const locks = region(checked);
    const [a, b, c] = [locks.backend(1), locks.backend(2), locks.backend(3)];
    a.lwlockExclusive(0);
    expect(b.lwlockExclusive(0)).toBe(ST_WAIT);
    expect(word(locks) & LOCK_WAITERS).toBe(LOCK_WAITERS);
    expect(c.lwlockShare(0)).toBe(ST_WAIT);
    expect(a.lwlockRelease(0)).toBe(ST_OK);
    expect(word(locks) & (LOCK_WAITERS | OWNER_MASK)).toBe(0);
    expect([b.lwlockExclusive(0), c.lwlockMode(0)]).toEqual([ST_OK, LWLOCK_FREE]);
  });

  it("it is held once, and only who holds it gives it back", () => {
    const locks = region(checked);
    const [a, b] = [locks.backend(1), locks.backend(2)];
    a.lwlockShare(0);
    for (const again of [
      a.lwlockShare,
      a.lwlockExclusive,
      a.lwlockShareNow,
      a.lwlockExclusiveNow,
    ]) {
      expect(again(0)).toBe(ST_ALREADY_LOCKED);
    }
    expect([a.lwlockMode(0), b.lwlockRelease(0)]).toEqual([LWLOCK_SHARED, ST_NOT_LOCKED]);
    expect([a.lwlockRelease(0), a.lwlockRelease(0)]).toEqual([ST_OK, ST_NOT_LOCKED]);
    a.lwlockExclusive(0);
    for (const again of [
      a.lwlockShare,
      a.lwlockExclusive,
      a.lwlockShareNow,
      a.lwlockExclusiveNow,
    ]) {
      expect(again(0)).toBe(ST_ALREADY_LOCKED);
    }
    expect(a.lwlockMode(0)).toBe(LWLOCK_EXCLUSIVE);
    a.lwlockReleaseAll();
    expect(a.lwlockMode(0)).toBe(LWLOCK_FREE);
  });

  it("who waits until it is free learns of it even if it was taken again at once", () => {
    const locks = region(checked);
    const [a, b] = [locks.backend(1), locks.backend(2)];
    expect(b.lwlockOrWait(0, 0)).toBe(ST_OK);
    b.lwlockRelease(0);
    a.lwlockExclusive(0);
    const tenure = b.lwlockOrWait(0, 0);
    expect(tenure).toBeGreaterThan(0);
    expect(b.lwlockOrWait(0, tenure)).toBe(tenure);
    a.lwlockRelease(0);
    a.lwlockExclusive(0);
    expect(b.lwlockOrWait(0, tenure)).toBe(ST_FREED);
    a.lwlockRelease(0);
    a.lwlockShare(0);
    expect(b.lwlockOrWait(0, 0)).toBe(ST_DRAIN);
    a.lwlockRelease(0);
    expect([b.lwlockDrain(0), b.lwlockRelease(0)]).toEqual([ST_OK, ST_OK]);
  });

  it("a dead backend's locks are given back, in both modes", () => {
    const locks = region(checked);
    const [owner, a, b] = [locks.backend(0), locks.backend(1), locks.backend(2)];
    a.lwlockExclusive(0);
    a.lwlockShare(1);
    expect(b.lwlockExclusive(0)).toBe(ST_WAIT);
    expect(b.lwlockExclusive(1)).toBe(ST_DRAIN);
    owner.markDead(1);
    expect(owner.reap(1)).toBe(ST_OK);
    expect([b.lwlockExclusive(0), b.lwlockDrain(1)]).toEqual([ST_OK, ST_OK]);
    expect(statusOf(locks)).toBe(0);
  });

  it("a lock that says call stays with the owner of the region until that gives it back", () => {
    const locks = region(checked);
    const [owner, a, b] = [locks.backend(0), locks.backend(1), locks.backend(2)];
    owner.setLwlockPolicy(0, ON_DEATH_CALL);
    a.lwlockExclusive(0);
    expect(b.lwlockExclusive(0)).toBe(ST_WAIT);
    expect(a.leave()).toBe(ST_OK);
    expect([owner.lwlockOwner(0), b.lwlockExclusive(0)]).toEqual([1, ST_WAIT]);
    expect(owner.lwlockRelease(0)).toBe(ST_OK);
    expect(b.lwlockExclusive(0)).toBe(ST_OK);
  });

  it("a lock that says poison ends the region, and is never given back", () => {
    const locks = region(checked);
    const [owner, a, b] = [locks.backend(0), locks.backend(1), locks.backend(2)];
    owner.setLwlockPolicy(0, ON_DEATH_POISON);
    a.lwlockShare(0);
    expect([a.leave(), statusOf(locks)]).toEqual([ST_OK, 0]);
    locks.attach(1);
    a.lwlockExclusive(0);
    owner.markDead(1);
    owner.reap(1);
    expect(statusOf(locks)).toBe(STATUS_CRASHED);
    expect([b.lwlockExclusive(0), b.lwlockShareNow(0)]).toEqual([ST_GONE, ST_GONE]);
    expect(owner.lwlockOwner(0)).toBe(2);
  });

  it("a signal after the ticket was taken ends the wait, whenever the sleep begins", () => {
    const locks = region(checked);
    const [a, b] = [locks.backend(1), locks.backend(2)];
    a.conditionSignal(0);
    for (const signal of [b.conditionSignal, b.conditionBroadcast]) {
      const ticket = a.conditionPrepare(0);
      expect(a.conditionSleep(0, ticket)).toBe(ST_WAIT);
      signal(0);
      expect(a.conditionSleep(0, ticket)).toBe(ST_OK);
    }
    const ticket = a.conditionPrepare(0);
    b.conditionForward(0);
    b.conditionSignal(1);
    expect(a.conditionSleep(0, ticket)).toBe(ST_WAIT);
  });

  it("a latch that is set before the wait begins ends it", () => {
    const locks = region(checked);
    const [a, b] = [locks.backend(1), locks.backend(2)];
    const seen = a.latchValue();
    expect(a.latchSleep(seen)).toBe(ST_WAIT);
    b.setLatch(1);
    expect(a.latchSleep(seen)).toBe(ST_OK);
    expect(b.latchSleep(b.latchValue())).toBe(ST_WAIT);
  });
});
