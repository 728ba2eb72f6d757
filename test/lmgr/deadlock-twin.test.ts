// The oracle of the deadlock detector against brute force, over random histories of six backends
// and four objects.
//
// What is compared, and why that is all there is to compare:
//
// * When every waiter looks at once, no cycle stands before a wait begins, so that each cycle goes
//   through whoever looks. The verdict is then exact: "none" if and only if the graph as it is has
//   no cycle; "rearranged" only if the graph that is left has none; "deadlock" if and only if no
//   order of the queues leaves a graph without one. For suppose some order leaves none. Each
//   constraint the search tries reverses a soft edge of a cycle; a soft edge of each cycle is
//   reversed in that order, hard edges being the same in both; so one branch stays in agreement
//   with it, and each constraint is new. And a graph it accepts has no cycle: whatever the sorting
//   reverses has the waiter of a constraint in it, and cycles through those are looked for.
// * When waiters look at any time, cycles of others may stand. It says "none" if and only if the
//   looker is in no cycle; what it rearranges leaves the looker in none; and it says "deadlock"
//   only if no order leaves a graph without any. It may say so where an order exists that frees the
//   looker and leaves a cycle of others, which is not its business, but stands among the moved.
// * The details of a deadlock are a cycle of the graph as it is, and begin with the looker.
//
// After every step nobody waits who could be granted.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type LockStep, lockHistories, lockTangles } from "../support/lock-histories.ts";
import { scenes } from "../support/lock-scenes.ts";
import { seed } from "../support/random.ts";
import { checkDeadlock, type TwinVerdict } from "../twin/deadlock.ts";
import { conflict, TwinLockManager } from "../twin/lock-manager.ts";
import { blockersAt, everyOrder, presentOrders, WaitsFor } from "../twin/waits-for.ts";

const BACKENDS = 6;
const RUNS = 1500;
/** How often each verdict must have come, so that it was judged. */
const MET = 10;
const LIMIT_MS = 60_000;
/** More constraints than pairs of six backends: the limit is not what is judged. */
const LIMITS = { constraints: 64, tests: 100_000 };
const shape = { backends: BACKENDS, objects: 4, maxLength: 60 };
const every = { seed, numRuns: RUNS };

type Tally = Record<TwinVerdict | "early", number>;

/** Runs a history; `look` says whether a wait that began is followed by a look at once. */
class Run {
  readonly manager = new TwinLockManager();
  readonly tally: Tally = { none: 0, rearranged: 0, deadlock: 0, early: 0 };
  readonly #atOnce: boolean;

  constructor(atOnce: boolean) {
    this.#atOnce = atOnce;
  }

  step(step: LockStep): void {
    const { op, backend, object, mode } = step;
    const waiting = this.manager.waits.has(backend);
    if (op === "check" || op === "give up") {
      if (!waiting) return;
      if (op === "check") this.look(backend);
      else this.manager.giveUp(backend);
    } else if (op === "end") this.manager.end(backend);
    else if (!waiting && op === "release") this.manager.release(backend, `${object}`, mode);
    else if (!waiting) this.acquire(step);
    expect(grantable(this.manager)).toEqual([]);
  }

  acquire({ op, backend, object, mode }: LockStep): void {
    const outcome = this.manager.acquire(backend, `${object}`, mode, op === "try");
    if (outcome === "deadlock") this.tally.early += 1;
    if (outcome === "waiting" && this.#atOnce) this.look(backend);
  }

  look(backend: number): void {
    const before = presentOrders(this.manager);
    const graph = new WaitsFor(this.manager, before, BACKENDS);
    const solvable = this.#solvable();
    const verdict = checkDeadlock(this.manager, backend, LIMITS);
    this.tally[verdict] += 1;
    const after = new WaitsFor(this.manager, presentOrders(this.manager), BACKENDS);
    expect(verdict === "none").toBe(!graph.inCycle(backend));
    if (verdict === "deadlock") {
      expect(solvable).toBe(false);
      this.#checkDetails(backend);
      this.manager.giveUp(backend);
    } else {
      expect(after.inCycle(backend)).toBe(false);
      for (let other = 0; other < BACKENDS; other += 1) {
        if (!graph.inCycle(other)) expect(after.inCycle(other)).toBe(false);
      }
    }
    if (this.#atOnce) {
      expect(solvable).toBe(verdict !== "deadlock");
      const left = new WaitsFor(this.manager, presentOrders(this.manager), BACKENDS);
      expect(left.hasCycle).toBe(false);
    }
    if (verdict === "none") expect(presentOrders(this.manager)).toEqual(before);
  }

  /** Whether the queues have an order that leaves no cycle at all. */
  #solvable(): boolean {
    for (const orders of everyOrder(presentOrders(this.manager))) {
      if (!new WaitsFor(this.manager, orders, BACKENDS).hasCycle) return true;
    }
    return false;
  }

  #checkDetails(start: number): void {
    const { details } = this.manager;
    expect(details[0]?.backend).toBe(start);
    for (const [index, step] of details.entries()) {
      const next = details[(index + 1) % details.length];
      expect(this.manager.waiter(step.backend)).toEqual(step);
      const lock = this.manager.waits.get(step.backend);
      const order = lock?.queue.map((waiter) => waiter.backend) ?? [];
      const blockers = lock && blockersAt(lock, order, order.indexOf(step.backend));
      expect(blockers).toContain(next?.backend);
    }
  }
}

/** Waiters that nobody blocks: a lost wake-up. */
function grantable(manager: TwinLockManager): string[] {
  return [...manager.locks.values()].flatMap((lock) => {
    const order = lock.queue.map(({ backend }) => backend);
    return order
      .filter((_, place) => blockersAt(lock, order, place).length === 0)
      .map((backend) => `${backend} waits for ${lock.tag}, and nobody blocks it`);
  });
}

function play(atOnce: boolean, steps: readonly LockStep[]): Tally {
  const run = new Run(atOnce);
  for (const step of steps) run.step(step);
  return run.tally;
}

/** Plays histories and adds up what they met. */
function playAll(atOnce: boolean): Tally {
  const total: Tally = { none: 0, rearranged: 0, deadlock: 0, early: 0 };
  fc.assert(
    fc.property(fc.oneof(lockTangles(shape), lockHistories(shape)), (steps) => {
      const tally = play(atOnce, steps);
      for (const key of Object.keys(tally) as (keyof Tally)[]) total[key] += tally[key];
    }),
    every,
  );
  return total;
}

describe("the twin of the deadlock detector", () => {
  it(
    "says deadlock exactly when no order of the queues is free of cycles, if all look at once",
    () => {
      const met = playAll(true);
      for (const key of ["none", "rearranged", "deadlock", "early"] as const) {
        expect(met[key], key).toBeGreaterThan(MET);
      }
    },
    LIMIT_MS,
  );

  it(
    "frees whoever looks, or no order leaves a graph without cycles, if some look late",
    () => {
      const met = playAll(false);
      for (const key of ["none", "rearranged", "deadlock"] as const) {
        expect(met[key], key).toBeGreaterThan(MET);
      }
    },
    LIMIT_MS,
  );

  it("has the matrix symmetric, each mode in conflict with the strongest", () => {
    for (let one = 1; one <= 8; one += 1) {
      expect(conflict(one, 8)).toBe(true);
      for (let other = 1; other <= 8; other += 1) {
        expect(conflict(one, other)).toBe(conflict(other, one));
      }
    }
  });

  for (const { name, requests, looks, verdict, granted, queues } of scenes) {
    it(`knows: ${name}`, () => {
      const manager = new TwinLockManager();
      for (const [backend, object, mode, outcome] of requests) {
        expect(manager.acquire(backend, object, mode)).toBe(outcome);
      }
      expect(checkDeadlock(manager, looks, LIMITS)).toBe(verdict);
      expect(manager.granted).toEqual(granted);
      for (const [object, queue] of Object.entries(queues)) {
        expect(manager.locks.get(object)?.queue.map(({ backend }) => backend)).toEqual(queue);
      }
    });
  }
});
