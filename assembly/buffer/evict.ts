// From candidate to victim: a frame that belongs to this backend alone and holds no page.
//
//   sweep → guard → (dirty? write it back, under the guard) → partition lock → CLAIM
//         → nobody holds it? → commit → unlink → unlock → victim
//
// The commit is a compare-and-swap of the very word in which CLAIM was set: a backend that pinned
// the frame before CLAIM may have changed it and gone again before the hold words were looked at; a
// plain store would lose its change. CLAIM on a mapped frame is set only under its partition lock,
// and undoing it restores the frame fully.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, GetVictimBuffer, InvalidateVictimBuffer

import {
  COUNTER_EVICTIONS,
  NEED_WRITE,
  OWNER_MASK,
  ST_BUSY,
  ST_GONE,
  ST_MISS,
  STATE_CLAIM,
  STATE_DIRTY,
  STATE_TAG_VALID,
  STATE_VALID,
  USAGE_MASK,
} from "../common/constants";
import { Hash } from "../common/hash";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";
import { ClockSweep, Sweep } from "./clocksweep";
import { ContentLock } from "./content";
import { BufferDesc } from "./desc";
import { Hold } from "./hold";
import { BufferIo } from "./io";
import { BufferTable } from "./table";

export class Evict {
  /** A victim; or a candidate with NEED_WRITE, after whose write `claim` is called; or a status. */
  static victim(): i32 {
    ClockSweep.countAllocation();
    while (true) {
      const buffer = Sweep.next(Region.get().buffers);
      if (buffer < 0) return buffer;
      const desc = BufferDesc.at(buffer);
      const seen = desc.getState();
      if ((seen & STATE_DIRTY) == 0) {
        const claimed = Evict.claim(buffer);
        if (claimed != ST_MISS) return claimed;
      } else if (ContentLock.tryShare(buffer) && BufferIo.beginWrite(buffer)) {
        return buffer | NEED_WRITE;
      } else {
        Hold.set(buffer, 0);
      }
    }
  }

  /**
   * Makes a guarded, clean candidate the victim; ST_MISS (guard given back) if somebody came in
   * between, ST_BUSY or ST_GONE (likewise) if the partition lock cannot be had.
   */
  static claim(buffer: u32): i32 {
    const desc = BufferDesc.at(buffer);
    const seen = desc.getState();
    let result: i32 = ST_MISS;
    if ((seen & (OWNER_MASK | USAGE_MASK | STATE_DIRTY)) == 0) {
      result = (seen & STATE_TAG_VALID) != 0 ? Evict.takeMapped(desc, buffer, seen) : ST_MISS;
      if ((seen & STATE_TAG_VALID) == 0 && desc.swapState(seen, Evict.claimed())) result = buffer;
    }
    if (result < 0) Hold.set(buffer, 0);
    return result;
  }

  /** State word of a frame that this backend has to itself. */
  @inline static claimed(): u32 {
    return STATE_CLAIM | Self.owner();
  }

  private static takeMapped(desc: BufferDesc, buffer: u32, seen: u32): i32 {
    const hash = Hash.tag(desc.file, desc.block);
    const partition = BufferTable.partition(hash);
    if (!partition.acquire()) return Region.get().isRunning() ? ST_BUSY : ST_GONE;
    const taken = Evict.commit(desc, buffer, seen);
    if (taken) BufferTable.unlink(hash, buffer);
    partition.release();
    if (!taken) return ST_MISS;
    if ((seen & STATE_VALID) != 0) Hold.counted(COUNTER_EVICTIONS);
    return buffer;
  }

  /** CLAIM, look at the hold words, commit; false, with the frame as it was, if it is wanted. */
  private static commit(desc: BufferDesc, buffer: u32, seen: u32): bool {
    const marked = seen | Evict.claimed();
    if (!desc.swapState(seen, marked)) return false;
    if (!Hold.byOthers(buffer) && desc.swapState(marked, Evict.claimed())) return true;
    desc.changeState(Evict.claimed(), 0);
    return false;
  }
}
