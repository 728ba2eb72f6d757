// Waiting until something becomes true: a condition is one word that changes with every signal.
//
//    31                          1        0
//   ┌─────────────────────────────┬──────────┐
//   │ times it was signalled      │ SLEEPERS │
//   └─────────────────────────────┴──────────┘
//
// Who wants to wait sets SLEEPERS and takes the word as a ticket, *then* looks whether what it
// waits for is true, and sleeps only while the word is still the ticket. A signal that comes at any
// moment after the ticket was taken changes the word: it cannot be slept over. SLEEPERS says that
// there may be somebody; a broadcast clears it, a signal does not, because others sleep on.
//
// There is no list, so that nothing has to be repaired after a death, and nobody is told that the
// signal was for him: whoever finds the word changed looks again. One signal wakes one sleeper, and
// lets those go on who had taken a ticket and did not sleep yet. What a sleeper got that no longer
// wants it, it passes on (`forward`); what one got that died, the reaper passes on, because it
// wakes everybody.
//
// PostgreSQL: src/backend/storage/lmgr/condition_variable.c (the role; without its list)

import { WAIT_USER_CONDITION } from "../common/activity-constants";
import { Atomic } from "../common/atomics";
import { CACHE_LINE_BYTES, ST_OK, ST_WAIT } from "../common/constants";
import { CONDITION_ONE, CONDITION_SLEEPERS } from "../common/lock-constants";
import { Region } from "../ipc/region";
import { Sleep } from "../ipc/sleep";

@unmanaged
export class Condition {
  /** Atomic. */
  private word: u32;

  @inline static at(index: u32): Condition {
    return changetype<Condition>(Region.get().conditions + index * CACHE_LINE_BYTES);
  }

  /** Says that somebody may sleep; returns the ticket. */
  prepare(): u32 {
    while (true) {
      const seen = Atomic.load(this.address());
      if ((seen & CONDITION_SLEEPERS) != 0) return seen;
      if (Atomic.swap(this.address(), seen, seen | CONDITION_SLEEPERS)) {
        return seen | CONDITION_SLEEPERS;
      }
    }
  }

  /** ST_OK if there was a signal since `ticket`; else ST_WAIT with the word registered. */
  sleep(ticket: u32): i32 {
    if (Atomic.load(this.address()) != ticket) return ST_OK;
    const offset = <u32>(changetype<usize>(this) - Region.get().conditions);
    const event = WAIT_USER_CONDITION | (offset / CACHE_LINE_BYTES);
    return Sleep.register(this.address(), ticket, ST_WAIT, event);
  }

  /** Wakes one who sleeps, and lets go on all who hold a ticket and do not sleep yet. */
  signal(): void {
    while (true) {
      const seen = Atomic.load(this.address());
      if ((seen & CONDITION_SLEEPERS) == 0) return;
      if (Atomic.swap(this.address(), seen, seen + CONDITION_ONE)) break;
    }
    Atomic.notifyOne(this.address());
  }

  /** Wakes all. */
  broadcast(): void {
    while (true) {
      const seen = Atomic.load(this.address());
      if ((seen & CONDITION_SLEEPERS) == 0) return;
      const next = (seen + CONDITION_ONE) & ~CONDITION_SLEEPERS;
      if (Atomic.swap(this.address(), seen, next)) break;
    }
    Atomic.notifyAll(this.address());
  }

  /** Has all who sleep look again: a signal may have gone to one who no longer wants it. */
  forward(): void {
    Atomic.notifyAll(this.address());
  }

  @inline private address(): usize {
    return changetype<usize>(this);
  }
}
