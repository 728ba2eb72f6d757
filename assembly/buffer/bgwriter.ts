// What the background writer asks of the pool: where the hand is, which buffers ahead of it are
// dirty and will be evicted soon, and to be woken when somebody wants a buffer again. How much it
// does a round is decided in TypeScript (bindings/shared/writers.ts).
//
// A buffer is reusable if nobody holds it, nobody has it in I/O and it has no use left: what the
// sweep would take. One that is reusable and dirty is guarded and taken into this backend's write,
// without waiting: as a companion of an eviction (evict.ts), so that several are written behind one
// sync of the journal. What cannot be had at once is passed by.
//
//   results, on this backend's scratch page    0 first number · 4 second · 8 third, u32
//
// Sleeping for long: the backend puts its owner number into the strategy part, then looks whether
// allocations have come since; an allocation counts first, then looks at that word. One of the two
// sees the other. Should a plain load be late all the same, the sleeper looks again every second.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, SyncOneBuffer; freelist.c, StrategySyncStart,
// StrategyNotifyBgWriter

import { WAIT_BGWRITER_HIBERNATE } from "../common/activity-constants";
import { Atomic } from "../common/atomics";
import { ST_MISS, ST_OK, ST_WAIT, STATE_DIRTY, STATE_VALID, USAGE_MASK } from "../common/constants";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";
import { Sleep } from "../ipc/sleep";
import { ClockSweep, Sweep } from "./clocksweep";
import { ContentLock } from "./content";
import { BufferDesc, State } from "./desc";
import { Hold } from "./hold";
import { BufferIo } from "./io";
import { Pin } from "./pin";

/** What a look at one buffer found. */
const IN_USE: u32 = 0;
const REUSABLE: u32 = 1;
const IN_MY_WRITE: u32 = 2;

export class BgWriter {
  /** Results: the hand, its complete passes, allocations since the last call. */
  static start(): void {
    const position = ClockSweep.position();
    BgWriter.report(<u32>position, <u32>(position >> 32), ClockSweep.takeAllocations());
  }

  /**
   * Looks at up to `count` buffers from `first` on, until `wanted` reusable ones are found or one
   * of them is in this backend's write: that buffer, or ST_MISS. Results: buffers looked at,
   * reusable ones among them.
   */
  static scan(first: u32, count: u32, wanted: u32): i32 {
    const buffers = Region.get().buffers;
    let buffer = first;
    let scanned: u32 = 0;
    let reusable: u32 = 0;
    let begun: i32 = ST_MISS;
    while (begun == ST_MISS && scanned < count && reusable < wanted) {
      const found = BgWriter.look(buffer);
      if (found != IN_USE) reusable += 1;
      if (found == IN_MY_WRITE) begun = buffer;
      buffer = buffer + 1 == buffers ? 0 : buffer + 1;
      scanned += 1;
    }
    BgWriter.report(scanned, reusable, 0);
    return begun;
  }

  private static look(buffer: u32): u32 {
    const desc = BufferDesc.at(buffer);
    const seen = desc.getState();
    if (State.owner(seen) != 0 || (seen & USAGE_MASK) != 0) return IN_USE;
    if (Hold.byAnyone(buffer)) return IN_USE;
    const dirty: u32 = STATE_VALID | STATE_DIRTY;
    if ((seen & dirty) != dirty) return REUSABLE;
    if (!Sweep.guard(desc, buffer)) return IN_USE;
    if (ContentLock.tryShare(buffer) && BufferIo.beginWrite(buffer)) return IN_MY_WRITE;
    Pin.lower(buffer);
    return REUSABLE;
  }

  /**
   * Has the next allocation wake this backend, and registers what to sleep on: ST_WAIT; or ST_OK if
   * there have been allocations since `start`.
   */
  static hibernate(): i32 {
    const word = ClockSweep.wakeAddress();
    Atomic.store(word, Self.owner());
    if (ClockSweep.untaken() == 0) {
      return Sleep.prepare(word, Self.owner(), ST_WAIT, WAIT_BGWRITER_HIBERNATE);
    }
    Atomic.store(word, 0);
    return ST_OK;
  }

  /** Nobody need wake this backend any more. */
  static awake(): void {
    Atomic.swap(ClockSweep.wakeAddress(), Self.owner(), 0);
  }

  private static report(first: u32, second: u32, third: u32): void {
    const at = BufferIo.scratchPage();
    store<u32>(at, first);
    store<u32>(at + sizeof<u32>(), second);
    store<u32>(at + 2 * sizeof<u32>(), third);
  }
}

if (ST_MISS >= 0) ERROR("a status must be told from a buffer");
