// The cleanup lock: exclusive, and nobody else has the page pinned. Whoever moves bytes about that
// others may point into needs it; pins that arrive later are harmless, since they cannot look
// before they get a lock.
//
//   exclusive → no other hold word? → held
//             → buffer into the own slot · PIN_WAITER into the state · look once more
//             → give the lock back, sleep on the own latch, begin anew
//
// Whoever clears a hold word loads the state afterwards: PIN_WAITER set → it wakes the waiter. The
// waiter sets PIN_WAITER and looks at the hold words afterwards. So one of the two sees the other.
// That goes for every hold word, guards of evicting backends included: all are cleared through
// `Pin.drop`. One waiter a buffer: whoever finds PIN_WAITER set by another is told so. Who waits is
// found by looking through the slots, which is rare; a descriptor has no room for it.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, LockBufferForCleanup, WakePinCountWaiter

import { WAIT_BUFFER_PIN } from "../common/activity-constants";
import {
  ST_BUSY,
  ST_CLEANUP_TAKEN,
  ST_NOT_PINNED,
  ST_OK,
  ST_PINNED_AGAIN,
  ST_WAIT,
  STATE_PIN_WAITER,
} from "../common/constants";
import { Region } from "../ipc/region";
import { me } from "../ipc/self";
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
    if (!Hold.byOthers(buffer)) return Cleanup.settled(buffer);
    const slot = Slot.mine();
    const latch = slot.getLatch();
    const again = slot.getCleanup() == buffer + 1;
    slot.setCleanup(buffer + 1);
    const seen = BufferDesc.at(buffer).changeState(0, STATE_PIN_WAITER);
    if ((seen & STATE_PIN_WAITER) != 0 && !again) {
      slot.setCleanup(0);
      ContentLock.dropExclusive(buffer);
      return ST_CLEANUP_TAKEN;
    }
    if (!Hold.byOthers(buffer)) return Cleanup.settled(buffer);
    ContentLock.dropExclusive(buffer);
    return Sleep.prepare(slot.latchAddress(), latch, ST_WAIT, WAIT_BUFFER_PIN);
  }

  /** With the exclusive lock held: ST_OK, or ST_BUSY after giving the lock back. */
  static settleNow(buffer: u32): i32 {
    if (!Hold.byOthers(buffer)) return ST_OK;
    ContentLock.dropExclusive(buffer);
    return ST_BUSY;
  }

  private static settled(buffer: u32): i32 {
    if (Slot.mine().getCleanup() == buffer + 1) Cleanup.forget(me);
    return ST_OK;
  }

  /**
   * Ends the wait of a backend, its own or that of a dead one. Should the flag have been another's,
   * who came first, that one sets it again when it is woken, as reaping does to everybody.
   */
  static forget(backend: u32): void {
    const slot = Slot.at(backend);
    const waitsFor = slot.getCleanup();
    if (waitsFor == 0) return;
    BufferDesc.at(waitsFor - 1).changeState(STATE_PIN_WAITER, 0);
    slot.setCleanup(0);
  }

  /** Wakes the waiter; called by whoever has cleared a hold word and seen PIN_WAITER. */
  static wake(buffer: u32): void {
    for (let backend = Region.get().backends; backend-- > 0; ) {
      const slot = Slot.at(backend);
      if (slot.getCleanup() == buffer + 1) slot.setLatch();
    }
  }
}
