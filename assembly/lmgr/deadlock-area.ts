// Where the deadlock detector works: arrays of words in a part of the region, as many words each as
// there are backends. It is used only by who holds all partition locks of the lock table, so by one
// at a time, and nothing in it outlives the call but the redo list.
//
//   0 redo word · length of the path                         64 arrays
//        31            10 9            0
//       ┌────────────────┬──────────────┐
//  redo │    entries     │ owner + 1, 0 │    0: nothing to be done
//       └────────────────┴──────────────┘
//
// Shared, and not in an instance's own memory, because there is none: a module without data has no
// place of its own, and the redo list must be found when its writer is dead.
//
// Cost: 124 bytes a backend.
//
// PostgreSQL: src/backend/storage/lmgr/deadlock.c, InitDeadLockChecking

import { Atomic } from "../common/atomics";
import { CACHE_LINE_BYTES, OWNER_BITS, OWNER_MASK } from "../common/constants";
import { DEADLOCK_ARRAYS } from "../common/lock-constants";
import { LockParts } from "../ipc/lock-parts";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";

const PATH_LENGTH_OFFSET: usize = 4;
const WORD_SHIFT: usize = 2;
/** Edges of cycles that are kept, as multiples of the number of backends; the last is scratch. */
const KEPT_EDGES: u32 = 4;

// By backend: the record it waits with, where its queue begins, whether it was visited or is dead.
export const WAITS: u32 = 0;
export const STARTS: u32 = 1;
export const VISITED: u32 = 2;
// By place: the queues one after the other, as they are and as they might be.
export const QUEUE: u32 = 3;
export const TRIAL: u32 = 4;
// By start of a queue: how long it is, whether it has a trial order.
export const LENGTHS: u32 = 5;
export const SORTED: u32 = 6;
// By depth: the path from the start of a cycle, how far its edges were looked at, of which kind.
export const PATH: u32 = 7;
export const CURSORS: u32 = 8;
export const SOFT: u32 = 9;
// By constraint: who must come before whom; where the first stands; the next about the second.
export const WAITERS: u32 = 10;
export const BLOCKERS: u32 = 11;
export const PLACES: u32 = 12;
export const LINKS: u32 = 13;
// By place in the queue being sorted: constraints not yet met, and the first about whom it blocks.
export const BEFORE: u32 = 14;
export const AFTER: u32 = 15;
// By number of constraints: the edges to try, how many, which is next.
export const FIRST_EDGES: u32 = 16;
export const EDGE_COUNTS: u32 = 17;
export const NEXT_EDGES: u32 = 18;
// Edges of cycles, KEPT_EDGES arrays each.
export const EDGE_WAITERS: u32 = 19;
export const EDGE_BLOCKERS: u32 = 23;
// The redo list: a reference, a word unused, a ticket; four arrays.
const REDO: u32 = 27;
const REDO_SHIFT: usize = 4;
const TICKET_OFFSET: usize = 8;

export class DeadlockArea {
  @inline private static at(array: u32, index: u32): usize {
    const region = Region.get();
    const bytes = LockParts.deadlockArrayBytes(region.backends);
    return region.deadlock + CACHE_LINE_BYTES + array * bytes + ((<usize>index) << WORD_SHIFT);
  }

  @inline static get(array: u32, index: u32): u32 {
    return load<u32>(DeadlockArea.at(array, index));
  }

  @inline static set(array: u32, index: u32, value: u32): void {
    store<u32>(DeadlockArea.at(array, index), value);
  }

  /** Sets the first `count` words of an array. */
  static fill(array: u32, count: u32, value: u32): void {
    for (let index: u32 = 0; index < count; ++index) DeadlockArea.set(array, index, value);
  }

  /** Backends in the cycle that was found last; they are the first of PATH. */
  @inline static pathLength(): u32 {
    return load<u32>(Region.get().deadlock, PATH_LENGTH_OFFSET);
  }

  @inline static setPathLength(length: u32): void {
    store<u32>(Region.get().deadlock, length, PATH_LENGTH_OFFSET);
  }

  /** Room for edges. */
  @inline static edges(): u32 {
    return KEPT_EDGES * Region.get().backends;
  }

  // ── The redo list ──────────────────────────────────────────────────────────────────────────────

  /** Notes a ticket that a waiter shall have. */
  static noteTicket(index: u32, reference: u32, ticket: u64): void {
    const at = DeadlockArea.entry(index);
    store<u32>(at, reference);
    store<u64>(at, ticket, TICKET_OFFSET);
  }

  @inline static redoReference(index: u32): u32 {
    return load<u32>(DeadlockArea.entry(index));
  }

  @inline static redoTicket(index: u32): u64 {
    return load<u64>(DeadlockArea.entry(index), TICKET_OFFSET);
  }

  /** From now on the noted tickets are given, by this backend or by who repairs after it. */
  @inline static commitRedo(entries: u32): void {
    Atomic.store(Region.get().deadlock, (entries << OWNER_BITS) | Self.owner());
  }

  @inline static clearRedo(): void {
    Atomic.store(Region.get().deadlock, 0);
  }

  /** How many noted tickets a backend (+ 1) has committed and perhaps not given. */
  @inline static redoEntries(owner: u32): u32 {
    const word = Atomic.load(Region.get().deadlock);
    return (word & OWNER_MASK) == owner ? word >>> OWNER_BITS : 0;
  }

  @inline private static entry(index: u32): usize {
    return DeadlockArea.at(REDO, 0) + ((<usize>index) << REDO_SHIFT);
  }
}

if (EDGE_WAITERS + KEPT_EDGES != EDGE_BLOCKERS) ERROR("edges outgrew their arrays");
if (EDGE_BLOCKERS + KEPT_EDGES != REDO) ERROR("edges outgrew their arrays");
if (<usize>REDO + (1 << (REDO_SHIFT - WORD_SHIFT)) != DEADLOCK_ARRAYS)
  ERROR("arrays do not add up");
