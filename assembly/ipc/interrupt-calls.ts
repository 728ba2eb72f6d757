// Asking another backend to cancel what it does, or to end.
//
//   interrupter   bit ─► load sleeping-on ─► notify, again until the sleeper has moved
//   sleeper       store sleeping-on ─► load bits ─► sleep
//
// Either the sleeper sees the bit, or the interrupter sees the word. In between, after the
// sleeper's look and before its sleep, a notify finds nobody: so it is repeated for as long as the
// word is registered and the bit is not taken. What is waited for does not change, and its holder
// need not know: it is the sleeper who gives up his place. A thread in its event loop awaits the
// bits.
//
// PostgreSQL: src/backend/storage/ipc/procsignal.c, SendProcSignal; src/backend/tcop/postgres.c,
// ProcessInterrupts

import { Atomic } from "../common/atomics";
import { LIFE_ACTIVE, LIFE_STATE_MASK, ST_BUSY, ST_NO_SLOT, ST_OK } from "../common/constants";
import { Slot } from "./slots";

/** Sets INTERRUPT_ bits of a backend and wakes it: as `wakeInterrupted`. */
export function interrupt(index: u32, life: u32, bits: u32): i32 {
  const slot = Slot.at(index);
  if (slot.getLife() != life || (life & LIFE_STATE_MASK) != LIFE_ACTIVE) return ST_NO_SLOT;
  slot.interrupt(bits);
  return wakeInterrupted(index, bits);
}

/** ST_BUSY while the backend may be asleep without having seen the bits: call again. */
export function wakeInterrupted(index: u32, bits: u32): i32 {
  const slot = Slot.at(index);
  if ((slot.getInterrupts() & bits) == 0) return ST_OK;
  Atomic.notifyAll(slot.interruptsAddress());
  const word = slot.getSleepingOn();
  if (word == 0) return ST_OK;
  Atomic.notifyAll(word);
  return ST_BUSY;
}
