// Who waits for whom: the graph the deadlock detector looks at, read off the records.
//
//   hard edge   who waits → who holds what it conflicts with
//   soft edge   who waits → who is ahead of it in the queue and asks for what it conflicts with
//
// All partition locks are held, so that nothing moves. `read` gathers who waits, and the queues one
// after the other; holders are found in the chains. Fast paths are not looked at: what is there
// blocks nobody, because whoever conflicts with it has moved it into the table first.
//
// `cycle` walks depth first without recursion: a backend is entered at most once, so that the path
// is at most as long as there are backends, and each edge is looked at once. Hard edges come first:
// who both holds and waits ahead must not be taken for one who can be passed.
//
// The dead wait for nobody: what they hold is given back as soon as the owner of the region comes
// to it, who may have to wait for these very partitions. Until then they keep their places in the
// queues. Who is dead is noted once, so that all cycles are looked for in one graph.
//
// PostgreSQL: src/backend/storage/lmgr/deadlock.c, FindLockCycle, FindLockCycleRecurseMember

import { Region } from "../ipc/region";
import { Slot } from "../ipc/slots";
import {
  CURSORS,
  DeadlockArea,
  EDGE_BLOCKERS,
  EDGE_WAITERS,
  LENGTHS,
  PATH,
  QUEUE,
  SOFT,
  SORTED,
  STARTS,
  TRIAL,
  VISITED,
  WAITS,
} from "./deadlock-area";
import { LockModes } from "./lock-modes";
import { LockRecord, RecordWord } from "./lock-record";
import { LockState } from "./lock-state";
import { LockTable } from "./lock-table";

/** No cycle through the start. */
export const NO_CYCLE: i32 = -1;
const NOBODY: u32 = u32.MAX_VALUE;
/** In VISITED. */
const WAS_VISITED: u32 = 1;
const IS_GONE: u32 = 2;

export class WaitsFor {
  /** Gathers who waits, and the queues. */
  static read(): void {
    const backends = Region.get().backends;
    for (let backend: u32 = 0; backend < backends; ++backend) {
      DeadlockArea.set(WAITS, backend, LockState.waitingWith(backend));
      DeadlockArea.set(STARTS, backend, NOBODY);
      DeadlockArea.set(VISITED, backend, Slot.at(backend).isGone() ? IS_GONE : 0);
    }
    let place: u32 = 0;
    for (let backend: u32 = 0; backend < backends; ++backend) {
      const waits = DeadlockArea.get(WAITS, backend) != 0;
      if (waits && DeadlockArea.get(STARTS, backend) == NOBODY) {
        place = WaitsFor.readQueue(backend, place);
      }
    }
  }

  /** Puts the queue that `first` stands in at `start`; returns the place behind it. */
  private static readQueue(first: u32, start: u32): u32 {
    const tag = LockRecord.at(DeadlockArea.get(WAITS, first)).tag();
    const backends = Region.get().backends;
    let end = start;
    for (let backend = first; backend < backends; ++backend) {
      const reference = DeadlockArea.get(WAITS, backend);
      if (reference == 0 || !LockRecord.at(reference).tag().equals(tag)) continue;
      DeadlockArea.set(STARTS, backend, start);
      WaitsFor.insert(backend, start, end);
      end += 1;
    }
    DeadlockArea.set(LENGTHS, start, end - start);
    return end;
  }

  /** Puts a backend at its place among those from `start` to `end`, by ticket. */
  private static insert(backend: u32, start: u32, end: u32): void {
    const ticket = WaitsFor.ticket(backend);
    let place = end;
    while (place > start) {
      const other = DeadlockArea.get(QUEUE, place - 1);
      if (WaitsFor.ticket(other) < ticket) break;
      DeadlockArea.set(QUEUE, place, other);
      place -= 1;
    }
    DeadlockArea.set(QUEUE, place, backend);
  }

  @inline private static ticket(backend: u32): u64 {
    return LockRecord.at(DeadlockArea.get(WAITS, backend)).getTicket();
  }

  /** The mode a backend waits for. */
  @inline static awaited(backend: u32): u32 {
    return RecordWord.awaited(LockRecord.at(DeadlockArea.get(WAITS, backend)).getWord());
  }

  /**
   * Looks for a cycle through `start`, with queues in their trial orders where they have one. Its
   * soft edges are put at `edges`, the last of the path first; returns their number, or NO_CYCLE.
   * The path of the cycle is left: `pathLength` backends.
   */
  static cycle(start: u32, edges: u32): i32 {
    if (DeadlockArea.get(VISITED, start) == IS_GONE) return NO_CYCLE;
    WaitsFor.forgetVisits();
    WaitsFor.enter(0, start);
    let depth: u32 = 0;
    while (true) {
      const next = WaitsFor.nextBlocker(depth);
      if (next == start) return WaitsFor.collect(depth + 1, start, edges);
      if (next == NOBODY) {
        if (depth == 0) return NO_CYCLE;
        depth -= 1;
      } else if (DeadlockArea.get(VISITED, next) == 0) {
        depth += 1;
        WaitsFor.enter(depth, next);
      }
    }
  }

  private static forgetVisits(): void {
    for (let backend = Region.get().backends; backend-- > 0; ) {
      DeadlockArea.set(VISITED, backend, DeadlockArea.get(VISITED, backend) & IS_GONE);
    }
  }

  @inline private static enter(depth: u32, backend: u32): void {
    DeadlockArea.set(VISITED, backend, WAS_VISITED);
    DeadlockArea.set(PATH, depth, backend);
    DeadlockArea.set(CURSORS, depth, 0);
    DeadlockArea.set(SOFT, depth, 0);
  }

  /** The next edge of the backend at a depth: whom it waits for, or NOBODY. */
  private static nextBlocker(depth: u32): u32 {
    const backend = DeadlockArea.get(PATH, depth);
    if (DeadlockArea.get(WAITS, backend) == 0) return NOBODY;
    const conflicts = LockModes.conflicts(WaitsFor.awaited(backend));
    if (DeadlockArea.get(SOFT, depth) == 0) {
      const holder = WaitsFor.nextHolder(depth, backend, conflicts);
      if (holder != NOBODY) return holder;
      DeadlockArea.set(SOFT, depth, 1);
      DeadlockArea.set(CURSORS, depth, 0);
    }
    return WaitsFor.nextAhead(depth, backend, conflicts);
  }

  /** The next who holds one of the modes; the cursor is the record looked at last. */
  private static nextHolder(depth: u32, backend: u32, conflicts: u32): u32 {
    const tag = LockRecord.at(DeadlockArea.get(WAITS, backend)).tag();
    const last = DeadlockArea.get(CURSORS, depth);
    let reference = last == 0 ? LockTable.first(tag.hash(), tag) : LockTable.after(last, tag);
    while (reference != 0) {
      const word = LockRecord.at(reference).getWord();
      const holder = RecordWord.owner(word) - 1;
      const blocks = (RecordWord.held(word) & conflicts) != 0 && !RecordWord.isMoving(word);
      if (blocks && holder != backend) {
        DeadlockArea.set(CURSORS, depth, reference);
        return holder;
      }
      reference = LockTable.after(reference, tag);
    }
    return NOBODY;
  }

  /** The next ahead in the queue who asks for one of the modes; the cursor counts those seen. */
  private static nextAhead(depth: u32, backend: u32, conflicts: u32): u32 {
    const start = DeadlockArea.get(STARTS, backend);
    const order = DeadlockArea.get(SORTED, start) != 0 ? TRIAL : QUEUE;
    let seen = DeadlockArea.get(CURSORS, depth);
    while (true) {
      const ahead = DeadlockArea.get(order, start + seen);
      if (ahead == backend) return NOBODY;
      seen += 1;
      if ((LockModes.bit(WaitsFor.awaited(ahead)) & conflicts) != 0) {
        DeadlockArea.set(CURSORS, depth, seen);
        return ahead;
      }
    }
  }

  /** Puts the soft edges of the path at `edges`, from its far end; returns their number. */
  private static collect(length: u32, start: u32, edges: u32): u32 {
    DeadlockArea.setPathLength(length);
    let blocker = start;
    let found: u32 = 0;
    for (let depth = length; depth-- > 0; ) {
      const waiter = DeadlockArea.get(PATH, depth);
      if (DeadlockArea.get(SOFT, depth) != 0) {
        DeadlockArea.set(EDGE_WAITERS, edges + found, waiter);
        DeadlockArea.set(EDGE_BLOCKERS, edges + found, blocker);
        found += 1;
      }
      blocker = waiter;
    }
    return found;
  }
}
