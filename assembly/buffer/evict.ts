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
// A dirty candidate is not written alone: TypeScript asks for `companions`, other dirty frames
// ahead of the hand that will be wanted soon, and one sync of the journal serves them all. Each is
// taken without waiting, and stays where it is when it is clean.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, GetVictimBuffer, InvalidateVictimBuffer,
// EvictUnpinnedBuffer; freelist.c, GetBufferFromRing, StrategyRejectBuffer

import {
  COUNTER_EVICTIONS,
  COUNTER_REUSES,
  IO_CONTEXT_BULKREAD,
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
  USAGE_ONE,
} from "../common/constants";
import { Hash } from "../common/hash";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";
import { ClockSweep, Sweep } from "./clocksweep";
import { ContentLock } from "./content";
import { BufferDesc, State } from "./desc";
import { Hold } from "./hold";
import { BufferIo } from "./io";
import { Pin } from "./pin";
import { BufferTable } from "./table";

export class Evict {
  /** A victim; or a candidate with NEED_WRITE, after whose write `claim` is called; or a status. */
  static victim(context: u32): i32 {
    ClockSweep.countAllocation();
    while (true) {
      const buffer = Sweep.next(Region.get().buffers);
      if (buffer < 0) return buffer;
      const taken = Evict.take(buffer, context);
      if (taken != ST_MISS) return taken;
    }
  }

  /**
   * As `victim`, for a frame that a ring has used before: ST_MISS unless nobody holds it and nobody
   * else has used it since. A scan that reads does not wait for what it, or somebody else, has
   * changed: its dirty frames stay behind, and are written by whose work that is.
   */
  static reuse(buffer: u32, context: u32): i32 {
    const desc = BufferDesc.at(buffer);
    const seen = desc.getState();
    if (context == IO_CONTEXT_BULKREAD && (seen & STATE_DIRTY) != 0) return ST_MISS;
    if (State.owner(seen) != 0 || (seen & USAGE_MASK) > <u32>USAGE_ONE) return ST_MISS;
    if (Hold.byAnyone(buffer) || !Evict.guard(desc, buffer)) return ST_MISS;
    const taken = Evict.take(buffer, context);
    if (taken >= 0 && (taken & NEED_WRITE) == 0) Hold.countedIn(context, COUNTER_REUSES);
    return taken;
  }

  /** Guards a buffer so that it can be evicted whatever its usage; false if somebody has it. */
  static guard(desc: BufferDesc, buffer: u32): bool {
    Hold.raise(buffer);
    const seen = desc.getState();
    if (State.owner(seen) == 0) {
      if ((seen & USAGE_MASK) == 0 || desc.swapState(seen, seen & ~USAGE_MASK)) return true;
    }
    Pin.lower(buffer);
    return false;
  }

  /** From guarded candidate to victim, or to a write; ST_MISS with the guard given back. */
  private static take(buffer: u32, context: u32): i32 {
    if ((BufferDesc.at(buffer).getState() & STATE_DIRTY) == 0) return Evict.claim(buffer, context);
    if (ContentLock.tryShare(buffer) && BufferIo.beginWrite(buffer)) return buffer | NEED_WRITE;
    Pin.lower(buffer);
    return ST_MISS;
  }

  /**
   * Among `count` buffers from `first` on: the next that is dirty, held by nobody and not in use
   * again, guarded and in this backend's write; ST_MISS if there is none.
   */
  static companion(first: u32, count: u32): i32 {
    const buffers = Region.get().buffers;
    for (let step: u32 = 0; step < count; ++step) {
      const buffer = (first + step) % buffers;
      const desc = BufferDesc.at(buffer);
      const seen = desc.getState();
      if ((seen & (STATE_DIRTY | OWNER_MASK | USAGE_MASK)) != STATE_DIRTY) continue;
      if (Hold.byAnyone(buffer) || !Sweep.guard(desc, buffer)) continue;
      if (ContentLock.tryShare(buffer) && BufferIo.beginWrite(buffer)) return buffer;
      Pin.lower(buffer);
    }
    return ST_MISS;
  }

  /** Takes a page out of the pool: as `victim`, for one buffer; ST_MISS if it is in use. */
  static one(buffer: u32): i32 {
    const desc = BufferDesc.at(buffer);
    if ((desc.getState() & STATE_VALID) == 0 || Hold.byAnyone(buffer)) return ST_MISS;
    return Evict.guard(desc, buffer) ? Evict.take(buffer, 0) : ST_MISS;
  }

  /**
   * Makes a guarded, clean candidate the victim; ST_MISS (guard given back) if somebody came in
   * between, ST_BUSY or ST_GONE (likewise) if the partition lock cannot be had.
   */
  static claim(buffer: u32, context: u32): i32 {
    const desc = BufferDesc.at(buffer);
    const seen = desc.getState();
    let result: i32 = ST_MISS;
    // More than the guard: this backend, in another of its tasks, has come to want the page.
    const free = Hold.count(Hold.get(buffer)) == 1;
    if (free && (seen & (OWNER_MASK | USAGE_MASK | STATE_DIRTY)) == 0) {
      if ((seen & STATE_TAG_VALID) != 0) result = Evict.takeMapped(desc, buffer, seen, context);
      else if (desc.swapState(seen, Evict.claimed())) result = buffer;
    }
    if (result < 0) Pin.lower(buffer);
    return result;
  }

  /** Gives a victim back that is not needed: its frame is free. */
  static abandon(victim: u32): void {
    BufferDesc.at(victim).setState(0);
    Pin.lower(victim);
  }

  /** State word of a frame that this backend has to itself. */
  @inline static claimed(): u32 {
    return STATE_CLAIM | Self.owner();
  }

  private static takeMapped(desc: BufferDesc, buffer: u32, seen: u32, context: u32): i32 {
    const hash = Hash.tag(desc.file, desc.block);
    const partition = BufferTable.partition(hash);
    if (!partition.acquire()) return Region.get().isRunning() ? ST_BUSY : ST_GONE;
    const taken = Evict.commit(desc, buffer, seen);
    if (taken) BufferTable.unlink(hash, buffer);
    partition.release();
    if (!taken) return ST_MISS;
    if ((seen & STATE_VALID) != 0) Hold.countedIn(context, COUNTER_EVICTIONS);
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
