// The cleanup lock: exclusive, and nobody else has the page pinned. Whoever moves bytes about that
// others may point into needs it; pins that arrive later are harmless, since they cannot look
// before they get a lock.
//
//   exclusive → no other hold word? → held
//             → own number into `cleanupWaiter` · PIN_WAITER into the state · look once more
//             → give the lock back, sleep on the own latch, begin anew
//
// Whoever clears a hold word loads the state afterwards: PIN_WAITER set → it wakes the waiter. The
// waiter sets PIN_WAITER and looks at the hold words afterwards. So one of the two sees the other.
// That goes for every hold word, guards of evicting backends included: all are cleared through
// `Pin.drop`. One waiter a buffer; a second one is told so.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, LockBufferForCleanup, WakePinCountWaiter

import { Atomic } from "../common/atomics";
import {
  ST_BUSY,
  ST_CLEANUP_TAKEN,
  ST_NOT_PINNED,
  ST_OK,
  ST_PINNED_AGAIN,
  STATE_PIN_WAITER,
} from "../common/constants";
import { Self } from "../ipc/self";
import { Sleep } from "../ipc/sleep";
import { Slot } from "../ipc/slots";
import { ContentLock } from "./content";
import { BufferDesc } from "./desc";
import { Hold } from "./hold";

export class Cleanup {
  /** Whether this backend may ask for the lock: ST_OK, or why not. */
  static refusal(buffer: u32): i32 {
    const pins = Hold.count(Hold.get(buffer));
    if (pins == 1) return ST_OK;
    return pins == 0 ? ST_NOT_PINNED : ST_PINNED_AGAIN;
  }

  /**
   * With the exclusive lock held: ST_OK if nobody else holds the buffer. Else the lock is given
   * back, and ST_WAIT says that the latch is registered, or ST_CLEANUP_TAKEN that another waits.
   */
  static settle(buffer: u32): i32 {
    const desc = BufferDesc.at(buffer);
    const waiter = desc.cleanupWaiterAddress();
    if (!Hold.byOthers(buffer)) return Cleanup.settled(desc);
    const latch = Slot.mine().getLatch();
    const before = Atomic.load(waiter);
    if (before != Self.owner() && (before != 0 || !Atomic.swap(waiter, 0, Self.owner()))) {
      ContentLock.dropExclusive(buffer);
      return ST_CLEANUP_TAKEN;
    }
    desc.changeState(0, STATE_PIN_WAITER);
    if (!Hold.byOthers(buffer)) return Cleanup.settled(desc);
    ContentLock.dropExclusive(buffer);
    return Sleep.prepare(Slot.mine().latchAddress(), latch);
  }

  /** With the exclusive lock held: ST_OK, or ST_BUSY after giving the lock back. */
  static settleNow(buffer: u32): i32 {
    if (!Hold.byOthers(buffer)) return ST_OK;
    ContentLock.dropExclusive(buffer);
    return ST_BUSY;
  }

  /** Ends a wait that was given up. */
  static giveUp(buffer: u32): void {
    Cleanup.forget(BufferDesc.at(buffer), Self.owner());
  }

  private static settled(desc: BufferDesc): i32 {
    Cleanup.forget(desc, Self.owner());
    return ST_OK;
  }

  /** Takes a waiter's number out, if it is there, and the flag with it. */
  static forget(desc: BufferDesc, owner: u32): void {
    const waiter = desc.cleanupWaiterAddress();
    if (Atomic.load(waiter) != owner) return;
    desc.changeState(STATE_PIN_WAITER, 0);
    Atomic.store(waiter, 0);
  }

  /** Wakes the waiter; called by whoever has cleared a hold word and seen PIN_WAITER. */
  static wake(desc: BufferDesc): void {
    const owner = Atomic.load(desc.cleanupWaiterAddress());
    if (owner != 0) Slot.at(owner - 1).setLatch();
  }
}
