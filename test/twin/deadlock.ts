// The deadlock detector in plain TypeScript, over the twin of the lock manager: cycles in the
// waits-for graph, and the order of queues that ends them if there is one.
//
//   hard edge   who waits → who holds what it conflicts with
//   soft edge   who waits → who is ahead of it in the queue and asks for what it conflicts with
//
// A soft edge goes away when the waiter moves before the one that blocks it. The search adds one
// such constraint after the other, each from a cycle that is left, and sorts the queues anew from
// all of them; a contradiction, or a cycle of hard edges alone, ends a branch.
//
// Recursive, with sets and maps, where the one in wasm iterates over a work area.
//
// PostgreSQL: src/backend/storage/lmgr/deadlock.c, DeadLockCheck

import { conflict, type TwinLock, type TwinLockManager, type TwinStep } from "./lock-manager.ts";

/** What the detector finds. */
export type TwinVerdict = "none" | "rearranged" | "deadlock";

/** A soft edge, and at the same time the demand that the waiter come before the blocker. */
interface Edge {
  readonly waiter: number;
  readonly blocker: number;
  readonly lock: TwinLock;
}

/** A cycle: its steps in order, its soft edges from the far end. */
interface Cycle {
  readonly steps: readonly TwinStep[];
  readonly soft: readonly Edge[];
}

/** Queues as they might be. */
type Orders = ReadonlyMap<TwinLock, readonly number[]>;

/** Limits of the search, as the work area has them. */
export interface TwinLimits {
  /** Constraints at a time, and tests in all. */
  readonly constraints: number;
  readonly tests: number;
}

/** Looks for a deadlock that `start` is in; ends it by rearranging queues if that is possible. */
export function checkDeadlock(
  manager: TwinLockManager,
  start: number,
  limits: TwinLimits,
): TwinVerdict {
  manager.granted = [];
  if (!manager.waits.has(start)) return "none";
  const search = new Search(manager, start, limits);
  const orders = search.from([]);
  if (orders === undefined) {
    const cycle = findCycle(manager, start, new Map());
    if (cycle === undefined) throw new Error("deadlock seems to have disappeared");
    manager.details = cycle.steps;
    return "deadlock";
  }
  for (const [lock, order] of orders) {
    lock.queue.sort((one, other) => order.indexOf(one.backend) - order.indexOf(other.backend));
    manager.wake(lock);
  }
  return orders.size > 0 ? "rearranged" : "none";
}

class Search {
  readonly #manager: TwinLockManager;
  readonly #start: number;
  readonly #limits: TwinLimits;
  #tests = 0;

  constructor(manager: TwinLockManager, start: number, limits: TwinLimits) {
    this.#manager = manager;
    this.#start = start;
    this.#limits = limits;
  }

  /** Orders that satisfy the constraints and leave no cycle; undefined if there are none. */
  from(constraints: readonly Edge[]): Orders | undefined {
    if (this.#tests === this.#limits.tests) return undefined;
    this.#tests += 1;
    const orders = expand(constraints);
    const left = orders && this.#lastCycle(constraints, orders);
    if (orders === undefined || left === "hard") return undefined;
    if (left === undefined) return orders;
    if (constraints.length >= this.#limits.constraints) return undefined;
    for (const edge of left.soft) {
      const found = this.from([...constraints, edge]);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Of the cycles through those that are moved and through the start, the last one found. */
  #lastCycle(constraints: readonly Edge[], orders: Orders): Cycle | "hard" | undefined {
    let last: Cycle | undefined;
    const moved = constraints.flatMap(({ waiter, blocker }) => [waiter, blocker]);
    for (const backend of [...moved, this.#start]) {
      const cycle = findCycle(this.#manager, backend, orders);
      if (cycle?.soft.length === 0) return "hard";
      last = cycle ?? last;
    }
    return last;
  }
}

/** A cycle through `start`, with queues in the orders given, and as they are otherwise. */
export function findCycle(
  manager: TwinLockManager,
  start: number,
  orders: Orders,
): Cycle | undefined {
  const visited = new Set<number>();

  const visit = (backend: number): Cycle | undefined => {
    if (visited.has(backend)) return backend === start ? { steps: [], soft: [] } : undefined;
    visited.add(backend);
    const step = manager.waiter(backend);
    const lock = manager.waits.get(backend);
    if (step === undefined || lock === undefined) return undefined;
    for (const blocker of hardBlockers(manager, lock, step)) {
      const rest = visit(blocker);
      if (rest !== undefined) return { steps: [step, ...rest.steps], soft: rest.soft };
    }
    for (const blocker of softBlockers(manager, step, orders.get(lock) ?? queueOf(lock))) {
      const rest = visit(blocker);
      if (rest === undefined) continue;
      const edge = { waiter: backend, blocker, lock };
      return { steps: [step, ...rest.steps], soft: [...rest.soft, edge] };
    }
    return undefined;
  };

  return visit(start);
}

function queueOf(lock: TwinLock): number[] {
  return lock.queue.map(({ backend }) => backend);
}

/** Those who hold what a waiter conflicts with, the newest record first. */
export function hardBlockers(manager: TwinLockManager, lock: TwinLock, step: TwinStep): number[] {
  return lock.records
    .map(({ backend }) => backend)
    .filter((other) => other !== step.backend && manager.holdsConflicting(lock, other, step.mode));
}

/** Those ahead of a waiter who ask for what it conflicts with, the first in the queue first. */
export function softBlockers(
  manager: TwinLockManager,
  step: TwinStep,
  queue: readonly number[],
): number[] {
  const ahead = queue.slice(0, queue.indexOf(step.backend));
  return ahead.filter((other) => conflict(manager.waiter(other)?.mode ?? 0, step.mode));
}

/** The queues that constraints are about, sorted anew; undefined if they contradict each other. */
function expand(constraints: readonly Edge[]): Orders | undefined {
  const orders = new Map<TwinLock, readonly number[]>();
  for (const { lock } of [...constraints].reverse()) {
    if (orders.has(lock)) continue;
    const own = constraints.filter((constraint) => constraint.lock === lock);
    const order = sortQueue(queueOf(lock), own);
    if (order === undefined) return undefined;
    orders.set(lock, order);
  }
  return orders;
}

/** From the back: always the last one left that needs not come before another one left. */
function sortQueue(queue: readonly number[], constraints: readonly Edge[]): number[] | undefined {
  const left = [...queue];
  const order: number[] = [];
  while (left.length > 0) {
    const mustWait = (one: number): boolean =>
      constraints.some(({ waiter, blocker }) => waiter === one && left.includes(blocker));
    const at = left.findLastIndex((one) => !mustWait(one));
    if (at < 0) return undefined;
    order.unshift(...left.splice(at, 1));
  }
  return order;
}
