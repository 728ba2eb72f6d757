// Pinning a page: by the short way when it is in the pool, by the long way when it is not.
//
//   hit    hash → walk the chain → store own hold word → state valid and unclaimed? → tag still
//          this one? → one more use. No lock, and nothing written that another backend writes,
//          but the usage count below five.
//   miss   look again under the partition lock → victim (evict.ts) → tag it → look once more, link,
//          publish with IO set, all under the lock → storage reads into the frame → valid
//
// A walk without a lock may be led astray: a false miss costs a partition lock, and a false hit is
// excluded, because whoever takes a frame away sets CLAIM before it looks at hold words, and
// everything that is believed is read after the own hold word was stored.
//
// TypeScript drives the long way: `locate` does all of it that needs no storage and no sleep, and
// says what is to be done next: read, write a victim back (then claim and install), or wait.
//
// `context` is the IO_CONTEXT_ of the access: whose counters grow, and whether a use makes the page
// dearer (a scan with a ring must not push out what others use).
//
// Locks: one partition lock at a time, nothing is waited for while it is held.
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, ReadBuffer, BufferAlloc, PinBuffer

import { WAIT_BUFFER_IO } from "../common/activity-constants";
import { Atomic } from "../common/atomics";
import {
  BUFFER_MASK,
  COUNTER_HITS,
  HOLD_COUNT_MASK,
  IN_PROGRESS,
  IO_CONTEXT_NORMAL,
  NEED_READ,
  NEED_WRITE,
  ST_BUSY,
  ST_GONE,
  ST_MISS,
  ST_SELF,
  ST_TOO_MANY_PINS,
  ST_WAIT,
  STATE_CLAIM,
  STATE_IO,
  STATE_IO_WAITERS,
  STATE_TAG_VALID,
  STATE_VALID,
  USAGE_ONE,
} from "../common/constants";
import { Hash } from "../common/hash";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";
import { Sleep } from "../ipc/sleep";
import { BufferDesc, State } from "./desc";
import { Evict } from "./evict";
import { Hold } from "./hold";
import { IoQueue } from "./ioqueue";
import { Pin } from "./pin";
import { BufferTable, NO_BUFFER } from "./table";

/** Steps a walk without a lock takes before it gives up: chains are short, or in motion. */
const MAX_STEPS: u32 = 32;

export class Pool {
  /** The short way: the buffer, pinned; ST_MISS if only the long way can tell; or a status. */
  @inline static pin(file: u32, block: u32): i32 {
    if (!Region.get().isRunning()) return ST_GONE;
    const tag = BufferDesc.tagOf(file, block);
    let reference = Atomic.load(BufferTable.head(Hash.tag(file, block)));
    for (let steps: u32 = 0; reference != 0 && steps < MAX_STEPS; ++steps) {
      const desc = BufferDesc.at(reference - 1);
      if (desc.looksLike(tag)) return Pool.hold(desc, reference - 1, tag, IO_CONTEXT_NORMAL);
      reference = Atomic.load(desc.nextAddress());
    }
    return ST_MISS;
  }

  /** As `pin`, in a context: with a ring the page gets no dearer than by a first use. */
  static pinIn(file: u32, block: u32, context: u32): i32 {
    const buffer = Pool.lookUp(file, block);
    return buffer < 0 ? ST_MISS : Pool.pinRecent(buffer, file, block, context);
  }

  /** Where a page seems to be, or ST_MISS. A hint, of no effect on the page. */
  static lookUp(file: u32, block: u32): i32 {
    const tag = BufferDesc.tagOf(file, block);
    let reference = Atomic.load(BufferTable.head(Hash.tag(file, block)));
    for (let steps: u32 = 0; reference != 0 && steps < MAX_STEPS; ++steps) {
      const desc = BufferDesc.at(reference - 1);
      if (desc.looksLike(tag)) return reference - 1;
      reference = Atomic.load(desc.nextAddress());
    }
    return ST_MISS;
  }

  /** Pins a buffer if it has this page; ST_MISS if not. PostgreSQL: bufmgr.c, ReadRecentBuffer */
  static pinRecent(buffer: u32, file: u32, block: u32, context: u32): i32 {
    if (!Region.get().isRunning()) return ST_GONE;
    const desc = BufferDesc.at(buffer);
    const tag = BufferDesc.tagOf(file, block);
    return desc.looksLike(tag) ? Pool.hold(desc, buffer, tag, context) : ST_MISS;
  }

  @inline private static hold(desc: BufferDesc, buffer: u32, tag: u64, context: u32): i32 {
    const held = Hold.get(buffer);
    if (held != 0) return Pool.holdAgain(desc, buffer, held, context);
    Hold.set(buffer, 1);
    const seen = desc.getState();
    if ((seen & (STATE_CLAIM | STATE_VALID)) == STATE_VALID && desc.isTagged(tag)) {
      if (context == IO_CONTEXT_NORMAL) desc.bumpUsage(seen);
      else desc.touchUsage(seen);
      Hold.addPinned(1);
      Hold.countedIn(context, COUNTER_HITS);
      return buffer;
    }
    Pin.drop(buffer);
    return ST_MISS;
  }

  /** One more pin on a frame this backend holds already: nothing shared is written. */
  private static holdAgain(desc: BufferDesc, buffer: u32, held: u32, context: u32): i32 {
    if (Hold.count(held) == HOLD_COUNT_MASK) return ST_TOO_MANY_PINS;
    if ((desc.getState() & STATE_VALID) == 0) return ST_MISS;
    Hold.setPlain(buffer, held + 1);
    Hold.countedIn(context, COUNTER_HITS);
    return buffer;
  }

  /**
   * The long way as far as it goes without storage: a buffer as `ensureValid` says, or one with
   * NEED_WRITE whose write comes first, then `claim` and `install`; or a status.
   */
  static locate(file: u32, block: u32, context: u32): i32 {
    const found = Pool.pinMapped(file, block, context);
    if (found != ST_MISS) return found;
    const victim = Evict.victim(context);
    if (victim < 0 || (victim & NEED_WRITE) != 0) return victim;
    return Pool.install(victim, file, block, context);
  }

  /** First step of the long way: the page's buffer pinned, as `ensureValid` says, or ST_MISS. */
  static pinMapped(file: u32, block: u32, context: u32): i32 {
    if (!Region.get().isRunning()) return ST_GONE;
    const hash = Hash.tag(file, block);
    const partition = BufferTable.partition(hash);
    if (!partition.acquire()) return Pool.refused();
    const buffer = BufferTable.find(hash, file, block);
    const pinned = buffer == NO_BUFFER ? ST_MISS : Pool.raise(buffer, context);
    partition.release();
    return pinned < 0 ? pinned : Pool.settle(pinned, context);
  }

  /**
   * Makes a victim the frame of a page. The frame with NEED_READ; or, if another backend was
   * faster, its buffer as `ensureValid` says, and the victim is free again.
   */
  static install(victim: u32, file: u32, block: u32, context: u32): i32 {
    const hash = Hash.tag(file, block);
    const partition = BufferTable.partition(hash);
    BufferDesc.at(victim).setTag(file, block);
    if (!partition.acquire()) {
      Evict.abandon(victim);
      return Pool.refused();
    }
    const found = BufferTable.find(hash, file, block);
    if (found != NO_BUFFER) {
      const pinned = Pool.raise(found, context);
      partition.release();
      Evict.abandon(victim);
      return pinned < 0 ? pinned : Pool.settle(pinned, context);
    }
    BufferTable.link(hash, victim);
    BufferDesc.at(victim).setState(STATE_TAG_VALID | STATE_IO | USAGE_ONE | Self.owner());
    partition.release();
    return victim | NEED_READ;
  }

  /**
   * What to do with a pinned buffer whose page may not be there yet: the buffer if it is valid;
   * with NEED_READ if this backend has taken on its read; with IN_PROGRESS if another reads it, or
   * will as a worker (the word to sleep on is registered); ST_SELF if this backend itself reads it
   * in another task.
   */
  static ensureValid(buffer: u32, context: u32): i32 {
    const desc = BufferDesc.at(buffer);
    while (true) {
      const seen = desc.getState();
      if ((seen & STATE_VALID) != 0) {
        Hold.countedIn(context, COUNTER_HITS);
        return buffer;
      }
      if (State.isMine(seen)) {
        if (IoQueue.awaitOwn(buffer)) return buffer | IN_PROGRESS;
        // A worker may have taken it between the two looks.
        if (desc.getState() == seen) return ST_SELF;
      } else if (State.owner(seen) == 0) {
        if (desc.swapState(seen, seen | STATE_IO | Self.owner())) return buffer | NEED_READ;
      } else if (desc.swapState(seen, seen | STATE_IO_WAITERS)) {
        Sleep.prepare(desc.stateAddress(), seen | STATE_IO_WAITERS, ST_WAIT, WAIT_BUFFER_IO);
        return buffer | IN_PROGRESS;
      }
    }
  }

  /** `ensureValid` for a pin that has just been taken; it is given back where it must not wait. */
  private static settle(buffer: u32, context: u32): i32 {
    const result = Pool.ensureValid(buffer, context);
    if (result == ST_SELF) Pin.lower(buffer);
    return result;
  }

  /** Why a partition lock was not granted. */
  @inline static refused(): i32 {
    return Region.get().isRunning() ? ST_BUSY : ST_GONE;
  }

  /** Pins a mapped buffer under its partition lock: no claim can commit meanwhile. */
  private static raise(buffer: u32, context: u32): i32 {
    const held = Hold.get(buffer);
    if (Hold.count(held) == HOLD_COUNT_MASK) return ST_TOO_MANY_PINS;
    Hold.raise(buffer);
    if (held != 0) return buffer;
    const desc = BufferDesc.at(buffer);
    if (context == IO_CONTEXT_NORMAL) desc.bumpUsage(desc.getState());
    else desc.touchUsage(desc.getState());
    return buffer;
  }
}

if ((BUFFER_MASK & (NEED_READ | IN_PROGRESS)) != 0) ERROR("flags must stand above buffer numbers");
