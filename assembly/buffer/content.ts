// The content lock of a buffer: shared to look at a page, exclusive to change it.
//
//   owner word   31  30      29     28   10 9            0
//               ┌──┬───────┬───────┬───────┬──────────────┐
//               │ -│WAITERS│ DRAIN │   0   │ owner + 1, 0 │
//               └──┴───────┴───────┴───────┴──────────────┘
//
// Exclusive is the owner word; share is the SHARE bit in a backend's own hold word. A share taker
// stores its bit, then loads the owner word; an exclusive taker takes the owner word, then loads
// the bits: at least one sees the other. WAITERS: somebody sleeps until the owner is gone. DRAIN:
// the owner sleeps until the share holders are gone. Both sleep on the owner word.
//
// A share taker who backs off clears its bit and *then* looks for DRAIN: the owner may have begun
// to sleep in between, and would sleep on if only the first look counted.
//
// Nothing here sleeps; a function that would have to registers the word and says so.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, LockBuffer (an LWLock in each descriptor there)

import { WAIT_BUFFER_CONTENT } from "../common/activity-constants";
import { Atomic } from "../common/atomics";
import {
  HOLD_SHARE,
  LOCK_DRAIN,
  LOCK_WAITERS,
  OWNER_MASK,
  ST_ALREADY_LOCKED,
  ST_BUSY,
  ST_CHANGING,
  ST_DRAIN,
  ST_GONE,
  ST_NOT_LOCKED,
  ST_NOT_PINNED,
  ST_OK,
  ST_WAIT,
} from "../common/constants";
import { Region } from "../ipc/region";
import { me, Self } from "../ipc/self";
import { Sleep } from "../ipc/sleep";
import { Slot } from "../ipc/slots";
import { BufferDesc } from "./desc";
import { Hold } from "./hold";

export class ContentLock {
  /** Whether this backend holds the buffer's lock exclusively. */
  @inline static isMine(buffer: u32): bool {
    return (Atomic.load(BufferDesc.at(buffer).contentAddress()) & OWNER_MASK) == Self.owner();
  }

  /** Share lock: ST_OK, or ST_WAIT with the word registered, or why not. */
  static share(buffer: u32): i32 {
    const refusal = ContentLock.refusal(buffer);
    if (refusal != ST_OK) return refusal;
    while (true) {
      if (ContentLock.tryShare(buffer)) return ST_OK;
      if (!Region.get().isRunning()) return ST_GONE;
      const word = BufferDesc.at(buffer).contentAddress();
      const seen = ContentLock.flag(word, LOCK_WAITERS);
      if ((seen & OWNER_MASK) != 0) return ContentLock.wait(word, seen);
    }
  }

  /** Share lock if it can be had at once. The buffer is held by this backend. */
  static tryShare(buffer: u32): bool {
    const word = BufferDesc.at(buffer).contentAddress();
    const held = Hold.get(buffer);
    Hold.set(buffer, held | HOLD_SHARE);
    if ((Atomic.load(word) & OWNER_MASK) == 0) return true;
    ContentLock.dropShare(buffer);
    return false;
  }

  /** Exclusive lock: ST_OK, or ST_WAIT (call again), or ST_DRAIN (call `drain`), or why not. */
  static exclusive(buffer: u32): i32 {
    const refusal = ContentLock.refusal(buffer);
    if (refusal != ST_OK) return refusal;
    const word = BufferDesc.at(buffer).contentAddress();
    while (true) {
      if (!Region.get().isRunning()) return ST_GONE;
      const seen = Atomic.load(word);
      if ((seen & OWNER_MASK) != 0) {
        const flagged = ContentLock.flag(word, LOCK_WAITERS);
        if ((flagged & OWNER_MASK) != 0) return ContentLock.wait(word, flagged);
      } else if (Atomic.swap(word, seen, seen | Self.owner())) {
        return ContentLock.drain(buffer);
      }
    }
  }

  /** With the owner word taken, waits out the share holders: ST_OK or ST_DRAIN. */
  static drain(buffer: u32): i32 {
    const word = BufferDesc.at(buffer).contentAddress();
    for (let backend = Region.get().backends; backend-- > 0; ) {
      if (backend == me) continue;
      const hold = Hold.of(backend, buffer);
      while ((Atomic.load16(hold) & HOLD_SHARE) != 0) {
        const seen = ContentLock.flag(word, LOCK_DRAIN);
        if ((Atomic.load16(hold) & HOLD_SHARE) != 0) return ContentLock.wait(word, seen, ST_DRAIN);
      }
    }
    return ST_OK;
  }

  /** Exclusive lock if nobody has any. The buffer is held by this backend. */
  static tryExclusive(buffer: u32): i32 {
    const word = BufferDesc.at(buffer).contentAddress();
    const seen = Atomic.load(word);
    if ((seen & OWNER_MASK) != 0 || !Atomic.swap(word, seen, seen | Self.owner())) return ST_BUSY;
    for (let backend = Region.get().backends; backend-- > 0; ) {
      if (backend == me || (Atomic.load16(Hold.of(backend, buffer)) & HOLD_SHARE) == 0) continue;
      ContentLock.dropExclusive(buffer);
      return ST_BUSY;
    }
    return ST_OK;
  }

  /** Share lock, or ST_BUSY at once, or why this backend may not ask. */
  static shareNow(buffer: u32): i32 {
    const refusal = ContentLock.refusal(buffer);
    if (refusal != ST_OK) return refusal;
    return ContentLock.tryShare(buffer) ? ST_OK : ST_BUSY;
  }

  /** Exclusive lock, or ST_BUSY at once, or why this backend may not ask. */
  static exclusiveNow(buffer: u32): i32 {
    const refusal = ContentLock.refusal(buffer);
    return refusal == ST_OK ? ContentLock.tryExclusive(buffer) : refusal;
  }

  /** Gives back whichever lock this backend holds. */
  static release(buffer: u32): i32 {
    if ((Hold.get(buffer) & HOLD_SHARE) != 0) {
      ContentLock.dropShare(buffer);
      return ST_OK;
    }
    if (!ContentLock.isMine(buffer)) return ST_NOT_LOCKED;
    if (Slot.mine().getChanging() == buffer + 1) return ST_CHANGING;
    ContentLock.dropExclusive(buffer);
    return ST_OK;
  }

  /** Clears the SHARE bit and wakes an owner who waits for that. */
  static dropShare(buffer: u32): void {
    Hold.set(buffer, Hold.get(buffer) & ~HOLD_SHARE);
    ContentLock.wakeDrainer(buffer);
  }

  /** Wakes the owner if it sleeps until share holders are gone. */
  static wakeDrainer(buffer: u32): void {
    const word = BufferDesc.at(buffer).contentAddress();
    while (true) {
      const seen = Atomic.load(word);
      if ((seen & LOCK_DRAIN) == 0) return;
      if (Atomic.swap(word, seen, seen & ~LOCK_DRAIN)) break;
    }
    Atomic.notifyAll(word);
  }

  /** Puts 0 in the owner's place and wakes who waits for that. */
  static dropExclusive(buffer: u32): void {
    const word = BufferDesc.at(buffer).contentAddress();
    if ((Atomic.exchange(word, 0) & LOCK_WAITERS) != 0) Atomic.notifyAll(word);
  }

  private static wait(word: usize, seen: u32, status: i32 = ST_WAIT): i32 {
    return Sleep.prepare(word, seen, status, WAIT_BUFFER_CONTENT);
  }

  /** Why this backend may not ask for the lock, or ST_OK. */
  private static refusal(buffer: u32): i32 {
    const held = Hold.get(buffer);
    if (Hold.count(held) == 0) return ST_NOT_PINNED;
    if ((held & HOLD_SHARE) != 0 || ContentLock.isMine(buffer)) return ST_ALREADY_LOCKED;
    return Region.get().isRunning() ? ST_OK : ST_GONE;
  }

  /**
   * Sets `bit` while the word has an owner; returns the word then, without an owner if it is free.
   */
  private static flag(word: usize, bit: u32): u32 {
    while (true) {
      const seen = Atomic.load(word);
      if ((seen & OWNER_MASK) == 0 || (seen & bit) != 0) return seen;
      if (Atomic.swap(word, seen, seen | bit)) return seen | bit;
    }
  }
}
