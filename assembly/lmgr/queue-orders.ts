// Orders that queues might have: those that a set of constraints, each "this one before that one",
// leaves, disturbing as little as it can.
//
// Each queue is sorted by itself: from its back, always the last one left that need not come before
// another one left. Whoever is in no constraint keeps its place among the others.
//
// PostgreSQL: src/backend/storage/lmgr/deadlock.c, ExpandConstraints, TopoSort

import { Region } from "../ipc/region";
import {
  AFTER,
  BEFORE,
  BLOCKERS,
  DeadlockArea,
  LENGTHS,
  LINKS,
  PLACES,
  QUEUE,
  SORTED,
  STARTS,
  TRIAL,
  WAITERS,
} from "./deadlock-area";

/** In BEFORE: has its place already. */
const PLACED: u32 = u32.MAX_VALUE;

export class QueueOrders {
  /** Every queue is as it is. */
  @inline static forget(): void {
    DeadlockArea.fill(SORTED, Region.get().backends, 0);
  }

  /** Sorts the queues that the first `count` constraints are about; false: they contradict. */
  static expand(count: u32): bool {
    QueueOrders.forget();
    // The last one is the only one that may contradict: those before it were sorted already.
    for (let index = count; index-- > 0; ) {
      const start = DeadlockArea.get(STARTS, DeadlockArea.get(WAITERS, index));
      if (DeadlockArea.get(SORTED, start) != 0) continue;
      if (!QueueOrders.sort(start, index + 1)) return false;
      DeadlockArea.set(SORTED, start, 1);
    }
    return true;
  }

  private static sort(start: u32, count: u32): bool {
    const length = DeadlockArea.get(LENGTHS, start);
    QueueOrders.link(start, length, count);
    for (let place = length; place-- > 0; ) {
      const next = QueueOrders.lastFree(length);
      if (next == length) return false;
      DeadlockArea.set(TRIAL, start + place, DeadlockArea.get(QUEUE, start + next));
      DeadlockArea.set(BEFORE, next, PLACED);
      QueueOrders.release(next);
    }
    return true;
  }

  /** Enters each constraint with its two ends. */
  private static link(start: u32, length: u32, count: u32): void {
    DeadlockArea.fill(BEFORE, length, 0);
    DeadlockArea.fill(AFTER, length, 0);
    for (let index: u32 = 0; index < count; ++index) {
      const waiter = DeadlockArea.get(WAITERS, index);
      if (DeadlockArea.get(STARTS, waiter) != start) continue;
      const first = QueueOrders.placeOf(waiter, start);
      const second = QueueOrders.placeOf(DeadlockArea.get(BLOCKERS, index), start);
      DeadlockArea.set(BEFORE, first, DeadlockArea.get(BEFORE, first) + 1);
      DeadlockArea.set(PLACES, index, first);
      DeadlockArea.set(LINKS, index, DeadlockArea.get(AFTER, second));
      DeadlockArea.set(AFTER, second, index + 1);
    }
  }

  /** Where a backend stands in its queue. */
  private static placeOf(backend: u32, start: u32): u32 {
    let place: u32 = 0;
    while (DeadlockArea.get(QUEUE, start + place) != backend) place += 1;
    return place;
  }

  /** The last place whose backend need not come before another; `length` if there is none. */
  private static lastFree(length: u32): u32 {
    for (let place = length; place-- > 0; ) {
      if (DeadlockArea.get(BEFORE, place) == 0) return place;
    }
    return length;
  }

  /** Those that must come before whoever stood at `place` have one constraint less each. */
  private static release(place: u32): void {
    for (let index = DeadlockArea.get(AFTER, place); index != 0; ) {
      const first = DeadlockArea.get(PLACES, index - 1);
      DeadlockArea.set(BEFORE, first, DeadlockArea.get(BEFORE, first) - 1);
      index = DeadlockArea.get(LINKS, index - 1);
    }
  }
}
