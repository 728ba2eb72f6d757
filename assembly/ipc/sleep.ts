// Sleeping, in two halves, so that a thread that must not block can await the same word.
//
//   prepare(word, value)   registers the word in the slot, where repair and shutdown find it
//   now(milliseconds)      looks at the region's status and at what others ask of this backend,
//                          then sleeps while the word has that value
//
// The caller has set a flag in the word before, so that its holder knows that somebody must be
// woken; `value` is the word with the flag. Every return is a reason to look again and never a
// result. No sleep is for ever: after at most a second the sleeper looks whether the region still
// runs. An interrupt is not lost: the word is registered before the look, and who interrupts sets
// the bit before he looks for the word (interrupt-calls.ts).
//
// What is waited for is noted as a WAIT_ number for the rows of activity, and is 0 afterwards.
//
// PostgreSQL: src/backend/storage/ipc/latch.c, WaitLatch (the role; the wait is on the word itself)

import { Atomic } from "../common/atomics";
import {
  COUNTER_WAITS,
  INTERRUPTS_THAT_BREAK,
  ST_GONE,
  ST_INTERRUPTED,
  ST_OK,
  ST_WAIT,
} from "../common/constants";
import { Region } from "./region";
import { column } from "./self";
import { Slot } from "./slots";

const NANOSECONDS: i64 = 1_000_000;

export class Sleep {
  /** Registers what to wait for, another backend's doing; returns the status that says so. */
  static prepare(word: usize, value: u32, status: i32 = ST_WAIT, event: u32 = 0): i32 {
    store<u64>(column, load<u64>(column, COUNTER_WAITS) + 1, COUNTER_WAITS);
    return Sleep.register(word, value, status, event);
  }

  /** As `prepare`, for what is no wait in the statistics: idleness, and a read of one's own. */
  static register(word: usize, value: u32, status: i32 = ST_WAIT, event: u32 = 0): i32 {
    const slot = Slot.mine();
    slot.sleepValue = value;
    slot.waitEvent = event;
    slot.setSleepingOn(<u32>word);
    return status;
  }

  /**
   * Sleeps on what was prepared; at 0 ms it only looks: some threads may not wait at all.
   * ST_INTERRUPTED if it did not sleep because somebody asks for something.
   */
  static now(milliseconds: i32): i32 {
    const slot = Slot.mine();
    if ((slot.getInterrupts() & INTERRUPTS_THAT_BREAK) == 0) return Sleep.through(milliseconds);
    Sleep.end(slot);
    return Region.get().isRunning() ? ST_INTERRUPTED : ST_GONE;
  }

  /** As `now`, whatever others ask: for locks that are held for a moment. */
  static through(milliseconds: i32): i32 {
    const slot = Slot.mine();
    const word = slot.getSleepingOn();
    if (word != 0 && milliseconds > 0 && Region.get().isRunning()) {
      Atomic.wait(word, slot.sleepValue, <i64>milliseconds * NANOSECONDS);
    }
    Sleep.end(slot);
    return Region.get().isRunning() ? ST_OK : ST_GONE;
  }

  private static end(slot: Slot): void {
    slot.setSleepingOn(0);
    slot.waitEvent = 0;
  }
}
