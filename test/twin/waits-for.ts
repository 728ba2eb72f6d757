// The waits-for graph of a lock manager's state as a matrix, and every order its queues could have:
// the judge of the detector, by brute force. It knows the matrix of conflicts and nothing else of
// what it judges: no search, no constraints, no sorting.
//
// For up to six backends: 720 orders at most.

import { conflict, type TwinLock, type TwinLockManager } from "./lock-manager.ts";

/** The order of every queue: backends by tag. */
export type QueueOrders = ReadonlyMap<string, readonly number[]>;

/** Who waits for whom, directly or by others, with queues in a given order. */
export class WaitsFor {
  readonly #reach: boolean[][];

  constructor(manager: TwinLockManager, orders: QueueOrders, backends: number) {
    this.#reach = Array.from({ length: backends }, () =>
      Array.from({ length: backends }, () => false),
    );
    for (const lock of manager.locks.values()) this.#addEdges(lock, orders.get(lock.tag) ?? []);
    this.#close();
  }

  /** Whether a backend waits for itself. */
  inCycle(backend: number): boolean {
    return this.#reach[backend]?.[backend] === true;
  }

  /** Whether anybody does. */
  get hasCycle(): boolean {
    return this.#reach.some((_, backend) => this.inCycle(backend));
  }

  #addEdges(lock: TwinLock, order: readonly number[]): void {
    for (const [place, backend] of order.entries()) {
      for (const blocker of blockersAt(lock, order, place)) this.#edge(backend, blocker);
    }
  }

  #edge(from: number, to: number): void {
    const row = this.#reach[from];
    if (row !== undefined) row[to] = true;
  }

  /** Warshall's closure. */
  #close(): void {
    for (const [middle, onward] of this.#reach.entries()) {
      for (const row of this.#reach) {
        if (row[middle]) for (const [to, there] of onward.entries()) row[to] ||= there;
      }
    }
  }
}

/** Who blocks the backend at a place of a queue: holders, and those ahead. */
export function blockersAt(lock: TwinLock, order: readonly number[], place: number): number[] {
  const backend = order[place];
  const modeOf = (other: number | undefined): number =>
    lock.queue.find((waiter) => waiter.backend === other)?.mode ?? 0;
  const mode = modeOf(backend);
  const holders = lock.records.filter(
    (record) =>
      record.backend !== backend && [...record.times.keys()].some((held) => conflict(held, mode)),
  );
  const ahead = order.slice(0, place).filter((other) => conflict(modeOf(other), mode));
  return [...holders.map((record) => record.backend), ...ahead];
}

/** The queues as they are. */
export function presentOrders(manager: TwinLockManager): QueueOrders {
  const locks = [...manager.locks.values()];
  return new Map(locks.map((lock) => [lock.tag, lock.queue.map(({ backend }) => backend)]));
}

/** Every order of every queue, each with each. */
export function* everyOrder(present: QueueOrders): Generator<QueueOrders> {
  const queues = [...present].filter(([, queue]) => queue.length > 0);
  yield* combine(queues, new Map());
}

function* combine(
  queues: readonly (readonly [string, readonly number[]])[],
  chosen: QueueOrders,
): Generator<QueueOrders> {
  const [first, ...rest] = queues;
  if (first === undefined) {
    yield chosen;
    return;
  }
  for (const order of permutations(first[1])) {
    yield* combine(rest, new Map([...chosen, [first[0], order]]));
  }
}

function* permutations(items: readonly number[]): Generator<readonly number[]> {
  if (items.length === 0) yield [];
  for (const [at, item] of items.entries()) {
    const others = items.filter((_, index) => index !== at);
    for (const rest of permutations(others)) yield [item, ...rest];
  }
}
