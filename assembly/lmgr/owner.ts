// The short lock: one word that holds the number of its owner, taken and given back by one
// instruction each.
//
//    31 30      29        10 9            0
//   ┌──┬────────┬───────────┬──────────────┐
//   │ -│ WAITERS│     0     │ owner + 1, 0 │
//   └──┴────────┴───────────┴──────────────┘
//
// The word itself is the record of who holds it, so that a dead owner's lock is given back by
// putting 0 in its place. Two uses:
//
// * a partition lock guards a few stores. Its holder waits for nothing, and nobody holds two.
//   `acquire` spins, then sleeps where the thread may; it fails only when the region has ended or,
//   on a thread that may not sleep, after a bounded number of tries.
// * a named lock may be held across I/O. `tryAcquire` fails at once after registering the word, and
//   the caller sleeps in TypeScript.
//
// PostgreSQL: src/backend/storage/lmgr/lwlock.c, LWLockAcquire (the role)

import {
  WAIT_BUFFER_MAPPING,
  WAIT_LOCK_MANAGER,
  WAIT_SINVAL_WRITE,
} from "../common/activity-constants";
import { Atomic } from "../common/atomics";
import { invariant } from "../common/check";
import {
  LOCK_WAITERS,
  OWNER_MASK,
  PANIC_OWNER,
  ST_ALREADY_LOCKED,
  ST_GONE,
  ST_NOT_LOCKED,
  ST_OK,
  ST_WAIT,
} from "../common/constants";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";
import { Sleep } from "../ipc/sleep";
import { Slot } from "../ipc/slots";

/** Tries before a thread sleeps: a partition lock is held for some tens of nanoseconds. */
const SPINS: u32 = 200;
/** Tries before a thread that may not sleep gives up; few where every try is a step to explore. */
const BOUNDED_TRIES: u32 = SIMULATION ? 2 : 20_000;
const LOOK_AGAIN_MS: i32 = 1000;

@unmanaged
export class OwnerLock {
  private word: u32;

  @inline static at(address: usize): OwnerLock {
    return changetype<OwnerLock>(address);
  }

  /** Takes the lock; false only if the region has ended or this thread may not wait longer. */
  @inline acquire(): bool {
    if (Atomic.swap(this.address(), 0, Self.owner())) return true;
    return this.acquireSlowly();
  }

  private acquireSlowly(): bool {
    const mayBlock = Slot.mine().mayBlock != 0;
    let tries: u32 = 0;
    while (!this.take()) {
      tries += 1;
      if (SIMULATION == 0 && tries % SPINS != 0) continue;
      if (!Region.get().isRunning()) return false;
      if (mayBlock) this.sleepUntilFree();
      else if (tries >= BOUNDED_TRIES) return false;
    }
    return true;
  }

  private sleepUntilFree(): void {
    const seen = this.flagWaiter();
    if (seen == 0) return;
    Sleep.prepare(this.address(), seen, ST_WAIT, this.waitEvent());
    Sleep.through(LOOK_AGAIN_MS);
  }

  /** What others see meanwhile, told by where the lock lies. */
  private waitEvent(): u32 {
    const region = Region.get();
    if (this.address() == <usize>region.sinval) return WAIT_SINVAL_WRITE;
    const ofPages = this.address() < <usize>region.lockPartitions;
    return ofPages ? WAIT_BUFFER_MAPPING : WAIT_LOCK_MANAGER;
  }

  /**
   * Takes the lock or registers it as what to sleep on: ST_OK, ST_WAIT, ST_ALREADY_LOCKED, ST_GONE.
   * `event` is the WAIT_ that others see meanwhile.
   */
  tryAcquire(event: u32 = 0): i32 {
    while (true) {
      if (!Region.get().isRunning()) return ST_GONE;
      if (this.take()) return ST_OK;
      if (this.isMine()) return ST_ALREADY_LOCKED;
      const seen = this.flagWaiter();
      if (seen != 0) return Sleep.prepare(this.address(), seen, ST_WAIT, event);
    }
  }

  /** Gives the lock back and wakes all who wait; they compete for it anew. */
  release(): void {
    if (CHECKING) invariant(this.isMine(), PANIC_OWNER);
    if ((Atomic.exchange(this.address(), 0) & LOCK_WAITERS) != 0) Atomic.notifyAll(this.address());
  }

  /** As release, for a lock the caller may not hold. */
  releaseIfMine(): i32 {
    if (!this.isMine()) return ST_NOT_LOCKED;
    this.release();
    return ST_OK;
  }

  /** Puts `to` in the place of `from`, keeping the flags; false if `from` did not own it. */
  handOver(from: u32, to: u32): bool {
    while (true) {
      const seen = Atomic.load(this.address());
      if ((seen & OWNER_MASK) != from) return false;
      if (Atomic.swap(this.address(), seen, (seen & ~OWNER_MASK) | to)) return true;
    }
  }

  @inline getOwner(): u32 {
    return Atomic.load(this.address()) & OWNER_MASK;
  }

  @inline isMine(): bool {
    return this.getOwner() == Self.owner();
  }

  /** One attempt; a flag left by waiters stays, so that they are woken in time. */
  private take(): bool {
    const seen = Atomic.load(this.address());
    return (seen & OWNER_MASK) == 0 && Atomic.swap(this.address(), seen, seen | Self.owner());
  }

  /** Sets WAITERS in a word that is owned; returns the word to sleep on, or 0 if it became free. */
  private flagWaiter(): u32 {
    while (true) {
      const seen = Atomic.load(this.address());
      if ((seen & OWNER_MASK) == 0) return 0;
      if ((seen & LOCK_WAITERS) != 0) return seen;
      if (Atomic.swap(this.address(), seen, seen | LOCK_WAITERS)) return seen | LOCK_WAITERS;
    }
  }

  @inline private address(): usize {
    return changetype<usize>(this);
  }
}
