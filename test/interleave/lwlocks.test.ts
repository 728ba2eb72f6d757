// Every order of steps, within bounds, of the user's locks and conditions, with a backend that dies
// before any of them: nobody has a lock beside an exclusive holder, everybody who waits is woken,
// and nothing is left. Planted mistakes show that the search sees what it is for.

import { describe, expect, it } from "vitest";
import { compileMutant } from "./hunt.ts";
import {
  beside,
  calledPairs,
  conditions,
  type LockConfiguration,
  lockEngine,
  lockPairs,
  lockTrios,
} from "./lwlocks.ts";
import { mutant } from "./mutants.ts";
import { ScheduleError } from "./schedule.ts";
import { type Bounds, searchFor } from "./search.ts";
import { simulationModule } from "./world.ts";

const module = simulationModule();
/** For one configuration; where it is too short the search goes on with the next (test/long). */
const MOST_MS = 400;

function search(of: readonly LockConfiguration[], bounds: Bounds, with_ = module): number {
  return of.reduce((sum, each) => sum + searchFor(MOST_MS, lockEngine(each, with_), bounds), 0);
}

describe("locks and conditions of the user, in every order", () => {
  it("any two operations on one lock, with two preemptions", () => {
    expect(search(lockPairs, { preemptions: 2, deaths: 0 })).toBeGreaterThan(1000);
  });

  it("any two operations on one lock, with a preemption and a death at any step", () => {
    expect(search([...lockPairs, ...calledPairs], { preemptions: 1, deaths: 1 })).toBeGreaterThan(
      1000,
    );
  });

  it("three backends at one lock, with a preemption, and with a death", () => {
    expect(search(lockTrios, { preemptions: 1, deaths: 0 })).toBeGreaterThan(100);
    expect(search(lockTrios, { preemptions: 0, deaths: 1 })).toBeGreaterThan(100);
  });

  it("signals and broadcasts, with two preemptions: nobody sleeps over one", () => {
    expect(search(conditions, { preemptions: 2, deaths: 0 })).toBeGreaterThan(100);
  });
});

const lock = "lmgr/lwlock.ts";
const condition = "lmgr/condition.ts";

const mistakes = [
  mutant(
    "share takers do not look at the word again",
    lock,
    "if (owner == 0) return ST_OK;\n    this.dropShare(me);",
    "if (owner != 0x7fffffff) return ST_OK;\n    this.dropShare(me);",
  ),
  mutant(
    "a conditional taker does not look at the bytes",
    lock,
    "if (!this.hasShares()) return ST_OK;\n    this.putBack",
    "if (seen != 0x7fffffff) return ST_OK;\n    this.putBack",
  ),
  mutant(
    "who waits is not woken",
    lock,
    "if ((last & LOCK_WAITERS) != 0) Atomic.notifyAll(this.address());",
    "if ((last & LOCK_WAITERS) == 0) Atomic.notifyAll(this.address());",
  ),
  mutant(
    "an owner looks for waiters in the word as it was before it gave it back",
    lock,
    "if ((last & LOCK_WAITERS) != 0) Atomic.notifyAll(this.address());",
    "if ((seen & LOCK_WAITERS) != 0 && last != 0) Atomic.notifyAll(this.address());",
  ),
  mutant(
    "an exclusive taker does not look at the bytes",
    lock,
    "return this.hasShares() ? this.drain() : ST_OK;",
    "return seen == 0x7fffffff ? this.drain() : ST_OK;",
  ),
  mutant(
    "an owner that drains does not look again after its flag",
    lock,
    "if (this.hasShares()) return this.await(seen, ST_DRAIN);",
    "return this.await(seen, ST_DRAIN);",
  ),
  mutant(
    "a share holder does not wake who drains",
    lock,
    "if ((seen & LOCK_DRAIN) == 0) return;",
    "if (seen != 0x7fffffff) return;",
  ),
  mutant(
    "a dead backend's share stays",
    lock,
    "if (lock.isShared(dead)) lock.dropShare(dead);",
    "",
  ),
  mutant(
    "a ticket is taken without a flag",
    condition,
    "if (Atomic.swap(this.address(), seen, seen | CONDITION_SLEEPERS)) {\n        return seen | CONDITION_SLEEPERS;\n      }",
    "return seen;",
  ),
  mutant(
    "a signal clears the flag",
    condition,
    "if (Atomic.swap(this.address(), seen, seen + CONDITION_ONE)) break;",
    "if (Atomic.swap(this.address(), seen, (seen + CONDITION_ONE) & ~CONDITION_SLEEPERS)) break;",
  ),
  mutant(
    "a signal does not change the word",
    condition,
    "if (Atomic.swap(this.address(), seen, seen + CONDITION_ONE)) break;",
    "if (seen != 0) break;",
  ),
];

describe("planted mistakes in locks and conditions", () => {
  it.each(mistakes)("is found: $name", async (mistake) => {
    const mutated = await compileMutant(mistake);
    const all = [...lockPairs, ...lockTrios, ...conditions];
    expect(() => {
      search(all, { preemptions: 1, deaths: 0 }, mutated);
      search(all, { preemptions: 0, deaths: 1 }, mutated);
      search(conditions, { preemptions: 2, deaths: 0 }, mutated);
    }).toThrow(ScheduleError);
  });

  it("the right build passes the search that finds them", () => {
    const all = [beside("share", "exclusive"), ...conditions];
    expect(search(all, { preemptions: 1, deaths: 0 })).toBeGreaterThan(10);
  });
});
