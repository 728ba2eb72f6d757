// A lock of the user: shared by many, or exclusively one backend's. It guards whatever its user
// says, for as long as the user likes, and says what the death of its owner means.
//
//   line 0   31  30      29     28 27        10 9            0
//           ┌──┬───────┬───────┬──┬────────────┬──────────────┐  ┌────────┐
//     word  │ -│WAITERS│ DRAIN │ 0│   tenure   │ owner + 1, 0 │  │ policy │
//           └──┴───────┴───────┴──┴────────────┴──────────────┘  └────────┘
//   line 1 …  one byte a backend: 1 while it holds the lock shared
//
// Exclusive is the owner word, share is a backend's own byte. A share taker stores its byte, then
// loads the word; an exclusive taker swaps itself into the word, then loads the bytes, eight at a
// time: at least one sees the other. Nobody is counted and nobody is queued. WAITERS: somebody
// sleeps on the word until the owner is gone. DRAIN: the owner sleeps on it until the share holders
// are gone. A share taker who backs off clears its byte and *then* looks for DRAIN.
//
// Giving back is one exchange: flags may have come into the word since its owner looked, and what
// stood there at last says whether somebody sleeps; the tenure is the owner's alone to change.
//
// The tenure counts the times the lock was given back, so that who waits for it to be free once
// knows whether that has been, however fast it was taken again. Eighteen bits: who sleeps through
// 262,144 tenures to a one waits for one more.
//
// The bytes lie in a line that share takers write and the word in another: an exclusive taker, who
// reads both, pays for a line more, and a share taker does not take the word's line from anybody.
//
// Nothing here sleeps; a function that would have to registers the word and says so.
//
// PostgreSQL: src/backend/storage/lmgr/lwlock.c (the role; without its queues)

import { WAIT_USER_LWLOCK } from "../common/activity-constants";
import { Atomic } from "../common/atomics";
import { invariant } from "../common/check";
import {
  LOCK_DRAIN,
  LOCK_WAITERS,
  OWNER_MASK,
  PANIC_OWNER,
  POISON_BITS,
  POISON_LOCK,
  ST_ALREADY_LOCKED,
  ST_BUSY,
  ST_DRAIN,
  ST_FREED,
  ST_GONE,
  ST_NOT_LOCKED,
  ST_OK,
  ST_WAIT,
} from "../common/constants";
import {
  LWLOCK_EXCLUSIVE,
  LWLOCK_FREE,
  LWLOCK_POLICY_OFFSET,
  LWLOCK_ROW_OFFSET,
  LWLOCK_SHARED,
  MAX_LWLOCKS,
  ON_DEATH_CALL,
  ON_DEATH_POISON,
  TENURE_MASK,
  TENURE_ONE,
  TENURE_SHIFT,
} from "../common/lock-constants";
import { Region } from "../ipc/region";
import { me, Self } from "../ipc/self";
import { Sleep } from "../ipc/sleep";

/** In the word while the owner of the region keeps the lock of a dead backend: slot 0. */
const REAPER: u32 = 1;

@unmanaged
export class LwLock {
  /** Owner, tenure and flags. Atomic. */
  private word: u32;
  /** ON_DEATH_; written once, before anybody attaches. */
  policy: u32;

  @inline static at(index: u32): LwLock {
    const region = Region.get();
    return changetype<LwLock>(region.lwlocks + index * region.lwlockBytes);
  }

  /** Takes it exclusively: ST_OK, ST_WAIT (call again), ST_DRAIN (call `drain`), or why not. */
  @inline exclusive(): i32 {
    if (!Region.get().isRunning()) return ST_GONE;
    if (this.isShared(me)) return ST_ALREADY_LOCKED;
    const seen = Atomic.load(this.address());
    if ((seen & OWNER_MASK) != 0) return this.exclusiveSlowly();
    if (!Atomic.swap(this.address(), seen, seen | Self.owner())) return this.exclusiveSlowly();
    return this.hasShares() ? this.drain() : ST_OK;
  }

  /** `exclusive`, where the word was somebody's. */
  private exclusiveSlowly(): i32 {
    while (true) {
      if (!Region.get().isRunning()) return ST_GONE;
      const seen = Atomic.load(this.address());
      const owner = seen & OWNER_MASK;
      if (owner == 0) {
        if (Atomic.swap(this.address(), seen, seen | Self.owner())) return this.drain();
        continue;
      }
      if (owner == Self.owner()) return ST_ALREADY_LOCKED;
      const flagged = this.flag(LOCK_WAITERS);
      if ((flagged & OWNER_MASK) != 0) return this.await(flagged);
    }
  }

  /** With the word taken, waits out the share holders: ST_OK or ST_DRAIN. */
  drain(): i32 {
    while (this.hasShares()) {
      if (!Region.get().isRunning()) return ST_GONE;
      const seen = this.flag(LOCK_DRAIN);
      if (this.hasShares()) return this.await(seen, ST_DRAIN);
    }
    return ST_OK;
  }

  /** Takes the lock exclusively if nobody has it in any way; else ST_BUSY. */
  exclusiveNow(): i32 {
    if (!Region.get().isRunning()) return ST_GONE;
    const seen = Atomic.load(this.address());
    if (this.mode() != LWLOCK_FREE) return ST_ALREADY_LOCKED;
    if ((seen & OWNER_MASK) != 0) return ST_BUSY;
    if (!Atomic.swap(this.address(), seen, seen | Self.owner())) return ST_BUSY;
    if (!this.hasShares()) return ST_OK;
    this.putBack(Atomic.load(this.address()));
    return ST_BUSY;
  }

  /** Takes the lock shared: ST_OK, or ST_WAIT (call again), or why not. */
  share(): i32 {
    while (true) {
      const status = this.shareNow();
      if (status != ST_BUSY) return status;
      const seen = this.flag(LOCK_WAITERS);
      if ((seen & OWNER_MASK) != 0) return this.await(seen);
    }
  }

  /** Takes the lock shared if it has no owner; else ST_BUSY. */
  @inline shareNow(): i32 {
    if (!Region.get().isRunning()) return ST_GONE;
    if (this.isShared(me)) return ST_ALREADY_LOCKED;
    Atomic.store8(this.shareByte(me), 1);
    const owner = Atomic.load(this.address()) & OWNER_MASK;
    if (owner == 0) return ST_OK;
    this.dropShare(me);
    return owner == Self.owner() ? ST_ALREADY_LOCKED : ST_BUSY;
  }

  /**
   * Takes the lock exclusively if it is free. If it is not: its tenure + 1, with the word
   * registered; sleep, then call again with that. ST_FREED then, once it has been free, and nothing
   * is taken. ST_DRAIN: the word is taken from share holders; sleep, `drain`, then give it back.
   *
   * @param tenure - 0 in the first call
   */
  exclusiveOrWait(tenure: u32): i32 {
    while (true) {
      const seen = Atomic.load(this.address());
      if (tenure != 0 && LwLock.tenureOf(seen) != tenure) return ST_FREED;
      if (tenure == 0 && (seen & OWNER_MASK) == 0) return this.exclusive();
      if (!Region.get().isRunning()) return ST_GONE;
      if (this.mode() != LWLOCK_FREE) return ST_ALREADY_LOCKED;
      const flagged = this.flag(LOCK_WAITERS);
      if ((flagged & OWNER_MASK) == 0) continue;
      if (tenure != 0 && LwLock.tenureOf(flagged) != tenure) return ST_FREED;
      this.await(flagged);
      return <i32>LwLock.tenureOf(flagged);
    }
  }

  /** Gives back what this backend holds: ST_OK or ST_NOT_LOCKED. */
  @inline release(): i32 {
    const seen = Atomic.load(this.address());
    if ((seen & OWNER_MASK) == Self.owner()) this.putBack(seen);
    else if (this.isShared(me)) this.dropShare(me);
    else return ST_NOT_LOCKED;
    return ST_OK;
  }

  /** How this backend holds the lock: LWLOCK_. */
  mode(): u32 {
    if (this.isMine()) return LWLOCK_EXCLUSIVE;
    return this.isShared(me) ? LWLOCK_SHARED : LWLOCK_FREE;
  }

  @inline getOwner(): u32 {
    return Atomic.load(this.address()) & OWNER_MASK;
  }

  @inline private isMine(): bool {
    return this.getOwner() == Self.owner();
  }

  /** Gives back all locks of this backend. */
  static releaseAll(): void {
    for (let index = Region.get().lwlockCount; index-- > 0; ) LwLock.at(index).release();
  }

  /**
   * Gives back the locks of a backend that is gone. Shared ones always; one that it owned, or was
   * about to, as the lock says: at once, by the owner of the region, or not at all.
   */
  static reap(dead: u32): void {
    for (let index = Region.get().lwlockCount; index-- > 0; ) {
      const lock = LwLock.at(index);
      if (lock.isShared(dead)) lock.dropShare(dead);
      if (lock.getOwner() != dead + 1) continue;
      if (lock.policy == ON_DEATH_POISON) Region.poison((index << POISON_BITS) | POISON_LOCK);
      else if (lock.policy == ON_DEATH_CALL) lock.handOver(dead);
      else lock.putBack(Atomic.load(lock.address()));
    }
  }

  /** The lock of a dead backend becomes the region's owner's, who is told. */
  private handOver(dead: u32): void {
    while (true) {
      const seen = Atomic.load(this.address());
      if ((seen & OWNER_MASK) != dead + 1) return;
      if (Atomic.swap(this.address(), seen, (seen & ~OWNER_MASK) | REAPER)) break;
    }
    Region.get().requestAttach();
  }

  /**
   * Gives the word back and wakes all who wait for that; they compete anew. `seen` is the word as
   * its owner saw it: others set flags in it since, and nobody changes the tenure.
   */
  @inline private putBack(seen: u32): void {
    if (CHECKING) invariant((seen & OWNER_MASK) != 0, PANIC_OWNER);
    const last = Atomic.exchange(this.address(), (seen + TENURE_ONE) & TENURE_MASK);
    if ((last & LOCK_WAITERS) != 0) Atomic.notifyAll(this.address());
  }

  /** Clears a share byte and wakes an owner who waits for that. */
  private dropShare(backend: u32): void {
    Atomic.store8(this.shareByte(backend), 0);
    while (true) {
      const seen = Atomic.load(this.address());
      if ((seen & LOCK_DRAIN) == 0) return;
      if (Atomic.swap(this.address(), seen, seen & ~LOCK_DRAIN)) break;
    }
    Atomic.notifyAll(this.address());
  }

  /** Registers the word with the flag that was set in it; returns the status. */
  private await(seen: u32, status: i32 = ST_WAIT): i32 {
    const region = Region.get();
    const index = <u32>(changetype<usize>(this) - region.lwlocks) / <u32>region.lwlockBytes;
    return Sleep.prepare(this.address(), seen, status, WAIT_USER_LWLOCK | index);
  }

  /** Sets `bit` while the word has an owner; returns the word then. */
  private flag(bit: u32): u32 {
    while (true) {
      const seen = Atomic.load(this.address());
      if ((seen & OWNER_MASK) == 0 || (seen & bit) != 0) return seen;
      if (Atomic.swap(this.address(), seen, seen | bit)) return seen | bit;
    }
  }

  /** Whether anybody holds the lock shared. The caller does not. */
  @inline private hasShares(): bool {
    const end = this.shareByte(Region.get().backends);
    for (let at = this.shareByte(0); at < end; at += sizeof<u64>()) {
      if (Atomic.load64(at) != 0) return true;
    }
    return false;
  }

  @inline private isShared(backend: u32): bool {
    return Atomic.load8(this.shareByte(backend)) != 0;
  }

  /** Tenure + 1, from 1 to 2^18. */
  @inline private static tenureOf(word: u32): u32 {
    return ((word & TENURE_MASK) >> TENURE_SHIFT) + 1;
  }

  @inline private shareByte(backend: u32): usize {
    return changetype<usize>(this) + LWLOCK_ROW_OFFSET + backend;
  }

  @inline private address(): usize {
    return changetype<usize>(this);
  }
}

if (offsetof<LwLock>("policy") != LWLOCK_POLICY_OFFSET) ERROR("policy moved");
if (offsetof<LwLock>() > <usize>LWLOCK_ROW_OFFSET) ERROR("the word outgrew its line");
if ((WAIT_USER_LWLOCK & (MAX_LWLOCKS - 1)) != 0) ERROR("a lock's number is no bit of its event");
if ((OWNER_MASK & TENURE_MASK) != 0) ERROR("owner and tenure overlap");
if ((TENURE_MASK & (LOCK_DRAIN | LOCK_WAITERS)) != 0) ERROR("tenure and flags overlap");
