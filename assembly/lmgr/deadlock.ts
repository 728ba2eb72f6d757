// The deadlock detector. A waiter calls it once, when it has waited for deadlock_timeout: is it in
// a cycle of the waits-for graph, and if so, is there an order of the queues that ends it?
//
//   search:  test the constraints so far   no cycle left → done
//            a cycle has soft edges        add one of them as a constraint and search on
//            a contradiction, or a cycle of hard edges alone: this branch is no way out
//
// Hard: this backend gives up its place, and its caller reports the cycle: the victim is who
// looked.
// Soft: the queues get the order found, and those who can be granted then are.
//
// All partition locks are held throughout. So a rearrangement needs no care for readers, but for a
// death: it touches several tickets, of several queues, and half of it may be a new deadlock of
// backends that have looked already. Therefore the new tickets are noted first, made valid by one
// store (`commitRedo`), and given then; who repairs after a death gives those that are left
// (`finish`, which may be repeated).
//
// Bounds: the search goes at most as deep as there are backends, and makes DEADLOCK_TESTS tests at
// most; at either it says "deadlock", as PostgreSQL does at the first. There is no recursion: depth
// is a number, and what a level of the search remembers stands in the work area.
//
// PostgreSQL: src/backend/storage/lmgr/deadlock.c, DeadLockCheck; proc.c, CheckDeadLock

import { invariant } from "../common/check";
import {
  BLOCK_BYTES,
  PANIC_LOCK_TABLE,
  ST_BUSY,
  ST_DEADLOCK,
  ST_GONE,
  ST_OK,
  ST_REARRANGED,
} from "../common/constants";
import { DEADLOCK_EDGE_BYTES, DEADLOCK_TESTS } from "../common/lock-constants";
import { Region } from "../ipc/region";
import { me } from "../ipc/self";
import {
  BLOCKERS,
  DeadlockArea,
  EDGE_BLOCKERS,
  EDGE_COUNTS,
  EDGE_WAITERS,
  FIRST_EDGES,
  LENGTHS,
  NEXT_EDGES,
  PATH,
  QUEUE,
  SORTED,
  TRIAL,
  WAITERS,
  WAITS,
} from "./deadlock-area";
import { SPACING } from "./lock-queue";
import { LockRecord, RecordWord } from "./lock-record";
import { LockRelease } from "./lock-release";
import { DeadlockEdge } from "./lock-report";
import { LockState } from "./lock-state";
import { LockTable } from "./lock-table";
import { LockWake } from "./lock-wake";
import { QueueOrders } from "./queue-orders";
import { NO_CYCLE, WaitsFor } from "./waits-for";

/** Edges that fit on the scratch page. */
const MAX_EDGES: u32 = BLOCK_BYTES / DEADLOCK_EDGE_BYTES;
/** A set of constraints that is no way out. */
const HOPELESS: i32 = -1;

export class Deadlock {
  /**
   * Looks for a deadlock that this backend is in: ST_OK, or ST_REARRANGED, and it may have been
   * granted what it waits for in both cases; ST_DEADLOCK, and it waits no more, the edges standing
   * where those of an early deadlock do; ST_BUSY: call again; ST_GONE.
   */
  static check(): i32 {
    if (!LockTable.acquireAll()) return Region.get().isRunning() ? ST_BUSY : ST_GONE;
    const status = Deadlock.checkLocked();
    LockTable.releaseAll();
    return status;
  }

  private static checkLocked(): i32 {
    WaitsFor.read();
    if (DeadlockArea.get(WAITS, me) == 0) return ST_OK;
    if (!Deadlock.search()) {
      QueueOrders.forget();
      const found = WaitsFor.cycle(me, 0);
      if (CHECKING) invariant(found != NO_CYCLE, PANIC_LOCK_TABLE);
      Deadlock.report();
      Deadlock.leave();
      return ST_DEADLOCK;
    }
    return Deadlock.rearrange() ? ST_REARRANGED : ST_OK;
  }

  /** Finds trial orders without a cycle; false if there are none. */
  private static search(): bool {
    const most = Region.get().backends;
    let level: u32 = 0;
    DeadlockArea.set(FIRST_EDGES, 0, 0);
    for (let tests: u32 = 0; tests < <u32>DEADLOCK_TESTS; ++tests) {
      const edges = Deadlock.test(level);
      if (edges == 0) return true;
      const tried = edges == HOPELESS || level == most ? 0 : edges;
      DeadlockArea.set(EDGE_COUNTS, level, tried);
      DeadlockArea.set(NEXT_EDGES, level, 0);
      while (DeadlockArea.get(NEXT_EDGES, level) == DeadlockArea.get(EDGE_COUNTS, level)) {
        if (level == 0) return false;
        level -= 1;
      }
      Deadlock.constrain(level);
      level += 1;
    }
    return false;
  }

  /** Makes the next edge of a level a constraint, and says where the next level puts its edges. */
  private static constrain(level: u32): void {
    const first = DeadlockArea.get(FIRST_EDGES, level);
    const count = DeadlockArea.get(EDGE_COUNTS, level);
    const next = DeadlockArea.get(NEXT_EDGES, level);
    const kept = first + count + Region.get().backends <= DeadlockArea.edges();
    // Where there was no room to keep them, those tested since have been put over them.
    if (!kept && next > 0) Deadlock.test(level);
    DeadlockArea.set(WAITERS, level, DeadlockArea.get(EDGE_WAITERS, first + next));
    DeadlockArea.set(BLOCKERS, level, DeadlockArea.get(EDGE_BLOCKERS, first + next));
    DeadlockArea.set(NEXT_EDGES, level, next + 1);
    DeadlockArea.set(FIRST_EDGES, level + 1, kept ? first + count : first);
  }

  /**
   * Sorts the queues by the constraints of the levels below, and looks for cycles through all that
   * these move, and last through this backend: moving somebody may entangle him. Returns the number
   * of soft edges of the last cycle found, 0 if there is none, or HOPELESS.
   */
  private static test(level: u32): i32 {
    if (!QueueOrders.expand(level)) return HOPELESS;
    const edges = DeadlockArea.get(FIRST_EDGES, level);
    let found = 0;
    for (let index: u32 = 0; index < level; ++index) {
      const waiter = WaitsFor.cycle(DeadlockArea.get(WAITERS, index), edges);
      if (waiter == 0) return HOPELESS;
      if (waiter != NO_CYCLE) found = waiter;
      const blocker = WaitsFor.cycle(DeadlockArea.get(BLOCKERS, index), edges);
      if (blocker == 0) return HOPELESS;
      if (blocker != NO_CYCLE) found = blocker;
    }
    const own = WaitsFor.cycle(me, edges);
    if (own == 0) return HOPELESS;
    return own == NO_CYCLE ? found : own;
  }

  // ── What comes of it ───────────────────────────────────────────────────────────────────────────

  /**
   * Puts the cycle that was found last where the edges of an early deadlock are put. It ends with
   * the edge whose blocker is the first waiter; one that does not fit the page is cut short.
   */
  private static report(): void {
    const length = DeadlockArea.pathLength();
    const reported = min(length, MAX_EDGES);
    for (let depth: u32 = 0; depth < reported; ++depth) {
      const waiter = DeadlockArea.get(PATH, depth);
      const blocker = DeadlockArea.get(PATH, depth + 1 == reported ? 0 : depth + 1);
      const tag = LockRecord.at(DeadlockArea.get(WAITS, waiter)).tag();
      DeadlockEdge.at(depth).fill(waiter, WaitsFor.awaited(waiter), blocker, tag);
    }
  }

  /** The victim waits no more. */
  private static leave(): void {
    const reference = DeadlockArea.get(WAITS, me);
    const tag = LockRecord.at(reference).tag();
    LockRelease.leaveQueue(tag.hash(), tag, reference);
    LockState.mine().setWaitRecord(0);
  }

  /** Gives the queues their trial orders; false if there are none. */
  private static rearrange(): bool {
    let entries: u32 = 0;
    const backends = Region.get().backends;
    for (let start: u32 = 0; start < backends; ++start) {
      if (DeadlockArea.get(SORTED, start) != 0) entries = Deadlock.noteOrder(start, entries);
    }
    if (entries == 0) return false;
    DeadlockArea.commitRedo(entries);
    Deadlock.finish(me);
    return true;
  }

  /** Notes tickets beyond the present ones, in the trial order of a queue. */
  private static noteOrder(start: u32, noted: u32): u32 {
    const length = DeadlockArea.get(LENGTHS, start);
    const last = DeadlockArea.get(WAITS, DeadlockArea.get(QUEUE, start + length - 1));
    let ticket = LockRecord.at(last).getTicket();
    for (let place: u32 = 0; place < length; ++place) {
      ticket += SPACING;
      const backend = DeadlockArea.get(TRIAL, start + place);
      DeadlockArea.noteTicket(noted + place, DeadlockArea.get(WAITS, backend), ticket);
    }
    return noted + length;
  }

  /**
   * Gives the tickets that a backend has committed, then what can be granted. For the backend
   * itself, and for who repairs after its death, with all the partition locks it held taken over.
   */
  static finish(backend: u32): void {
    const entries = DeadlockArea.redoEntries(backend + 1);
    for (let index: u32 = 0; index < entries; ++index) {
      const record = LockRecord.at(DeadlockArea.redoReference(index));
      if (RecordWord.isWaiting(record.getWord())) record.setTicket(DeadlockArea.redoTicket(index));
    }
    for (let index: u32 = 0; index < entries; ++index) {
      const tag = LockRecord.at(DeadlockArea.redoReference(index)).tag();
      LockWake.scan(tag.hash(), tag);
    }
    if (entries != 0) DeadlockArea.clearRedo();
  }
}
