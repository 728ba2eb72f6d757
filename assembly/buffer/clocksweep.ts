// Who is evicted next: a hand goes round the buffers and takes one use from each it passes; the
// first that nobody holds and that has no use left is the candidate (evict.ts makes it a victim).
//
//   strategy word, u64     63            32 31             0
//                         ┌────────────────┬────────────────┐     +8 allocations, u32
//                         │ complete passes│      hand      │
//                         └────────────────┴────────────────┘    +12 of them taken, u32
//                                                                +16 backend to be woken, u32
//
// Hand and passes change together by one compare-and-swap: nobody ever sees one without the other,
// and a death between two instructions leaves a position that is right.
//
// Allocations are counted and never set back. The background writer notes how many it has taken
// account of, so what it has not seen is a difference: a writer that dies loses nothing, and its
// successor begins where it stood. The backend to be woken is read plainly, on purpose: a value
// seen too late costs a writer that has nothing to do a second of sleep (bgwriter.ts).
//
// PostgreSQL: src/backend/storage/buffer/freelist.c, ClockSweepTick, StrategyGetBuffer (without a
// free list, as after 18; there the two numbers are kept apart and joined under a spin lock)

import { Atomic } from "../common/atomics";
import { ST_NO_BUFFERS, USAGE_MASK, USAGE_ONE } from "../common/constants";
import { Region } from "../ipc/region";
import { BufferDesc, State } from "./desc";
import { Hold } from "./hold";
import { Pin } from "./pin";

const PASS_ONE: u64 = 1 << 32;
const ALLOCATIONS_OFFSET: usize = 8;
const TAKEN_OFFSET: usize = 12;
const WAKE_OFFSET: usize = 16;

export class ClockSweep {
  /** Moves the hand on by one buffer and returns the buffer it stood on. */
  static tick(): u32 {
    const at = Region.get().strategy;
    const last = Region.get().buffers - 1;
    while (true) {
      const seen = Atomic.load64(at);
      const hand = <u32>seen;
      const next = hand == last ? (seen & ~(PASS_ONE - 1)) + PASS_ONE : seen + 1;
      if (Atomic.swap64(at, seen, next)) return hand;
    }
  }

  /** The hand's position; for reports and tests. */
  @inline static hand(): u32 {
    return <u32>Atomic.load64(Region.get().strategy);
  }

  /** How often the hand has gone all the way round. */
  @inline static passes(): u32 {
    return <u32>(Atomic.load64(Region.get().strategy) >> 32);
  }

  /** One more frame was asked for; the background writer will want to know how many. */
  @inline static countAllocation(): void {
    Atomic.add(Region.get().strategy + ALLOCATIONS_OFFSET, 1);
    if (load<u32>(Region.get().strategy, WAKE_OFFSET) != 0) ClockSweep.wakeWriter();
  }

  @inline static allocations(): u32 {
    return Atomic.load(Region.get().strategy + ALLOCATIONS_OFFSET);
  }

  /** Hand and passes, of one moment. */
  @inline static position(): u64 {
    return Atomic.load64(Region.get().strategy);
  }

  /** Allocations that the background writer has not taken account of. */
  static untaken(): u32 {
    return ClockSweep.allocations() - Atomic.load(Region.get().strategy + TAKEN_OFFSET);
  }

  /** The same; from now on it has. */
  static takeAllocations(): u32 {
    const all = ClockSweep.allocations();
    return all - Atomic.exchange(Region.get().strategy + TAKEN_OFFSET, all);
  }

  /** Word that holds the owner number of the backend to be woken, or 0. */
  @inline static wakeAddress(): usize {
    return Region.get().strategy + WAKE_OFFSET;
  }

  private static wakeWriter(): void {
    const word = ClockSweep.wakeAddress();
    if (Atomic.exchange(word, 0) != 0) Atomic.notifyAll(word);
  }
}

/**
 * One sweep. `tries` lives from candidate to candidate: a pass in which every buffer is held ends
 * the search instead of going round for ever, and every use taken away starts the count anew.
 */
export class Sweep {
  /** Next candidate, guarded by an own hold word so that its identity is stable; or a status. */
  static next(triesLeft: u32): i32 {
    const buffers = Region.get().buffers;
    let tries = triesLeft;
    while (true) {
      const buffer = ClockSweep.tick();
      const desc = BufferDesc.at(buffer);
      const seen = desc.getState();
      if (State.owner(seen) != 0 || Hold.byAnyone(buffer)) {
        if (--tries == 0) return ST_NO_BUFFERS;
      } else if ((seen & USAGE_MASK) != 0) {
        desc.swapState(seen, seen - USAGE_ONE);
        tries = buffers;
      } else if (Sweep.guard(desc, buffer)) {
        return buffer;
      }
    }
  }

  /** Holds the candidate and looks again; false if somebody came in between. */
  static guard(desc: BufferDesc, buffer: u32): bool {
    Hold.raise(buffer);
    const seen = desc.getState();
    if (State.owner(seen) == 0 && (seen & USAGE_MASK) == 0) return true;
    Pin.lower(buffer);
    return false;
  }
}
