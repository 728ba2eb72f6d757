// The lock manager against its twin: random histories of requests, releases, looks for deadlocks,
// waits given up and backends that end. After every step each backend holds what the twin says, as
// often as it says, and every queue stands in the same order; every request has the same outcome,
// every look the same verdict, every deadlock the same cycle in the same order.
//
// The twin is judged by brute force in test/lmgr/deadlock-twin.test.ts. A failing history is
// printed shrunk, with its seed.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEADLOCK_TESTS } from "../../assembly/common/lock-constants.ts";
import { type LockStep, lockHistories, lockTangles } from "../support/lock-histories.ts";
import { scenes } from "../support/lock-scenes.ts";
import { ObjectLocks } from "../support/object-locks.ts";
import { seed } from "../support/random.ts";
import { builds } from "../support/region.ts";
import { checkDeadlock, type TwinVerdict } from "../twin/deadlock.ts";
import { TwinLockManager } from "../twin/lock-manager.ts";

const RUNS = 300;
const LIMIT_MS = 60_000;
const MET = 10;
const shape = { backends: 9, objects: 5, maxLength: 120 };
const BACKENDS = shape.backends;

/** Both, one step at a time. */
class Pair {
  readonly twin = new TwinLockManager();
  readonly region: ObjectLocks;
  readonly met: Record<TwinVerdict | "early", number> = {
    none: 0,
    rearranged: 0,
    deadlock: 0,
    early: 0,
  };
  readonly #limits = { constraints: BACKENDS + 1, tests: DEADLOCK_TESTS };

  constructor(region: ObjectLocks) {
    this.region = region;
  }

  step({ op, backend, object, mode }: LockStep): void {
    const waiting = this.twin.waits.has(backend);
    const tag = `${object}`;
    if (op === "check") this.look(backend);
    else if (op === "end") {
      this.twin.end(backend);
      this.region.end(backend);
    } else if (op === "give up" && waiting) {
      this.twin.giveUp(backend);
      this.region.giveUp(backend);
    } else if (waiting || op === "give up") return;
    else if (op === "release") {
      const released = this.twin.release(backend, tag, mode);
      expect(this.region.release(backend, tag, mode)).toBe(released);
    } else this.acquire(backend, tag, mode, op === "try");
    this.compare();
  }

  acquire(backend: number, tag: string, mode: number, noWait: boolean): void {
    const outcome = this.twin.acquire(backend, tag, mode, noWait);
    expect(this.region.acquire(backend, tag, mode, noWait)).toBe(outcome);
    if (outcome !== "deadlock") return;
    this.met.early += 1;
    expect(this.region.details(backend)).toEqual(this.twin.details);
  }

  look(backend: number): void {
    const verdict = checkDeadlock(this.twin, backend, this.#limits);
    expect(this.region.check(backend)).toBe(verdict);
    this.met[verdict] += 1;
    if (verdict !== "deadlock") return;
    expect(this.region.details(backend)).toEqual(this.twin.details);
    this.twin.giveUp(backend);
  }

  compare(): void {
    for (const backend of this.twin.granted) expect(this.region.settles(backend)).toBe(true);
    expect(rowsOf(this.region)).toEqual(rowsOfTwin(this.twin));
    expect(queuesOf(this.region)).toEqual(queuesOfTwin(this.twin));
  }
}

function rowsOf(region: ObjectLocks): string[] {
  return region
    .rows()
    .map(({ backend, object, held, awaited }) => `${backend} on ${object}: ${held}, ${awaited}`);
}

function rowsOfTwin({ locks }: TwinLockManager): string[] {
  const rows = [...locks.values()].flatMap(({ tag, records, queue }) =>
    records.map(({ backend, times }) => {
      const held = [...times].sort(([one], [other]) => one - other);
      const awaited = queue.find((waiter) => waiter.backend === backend)?.mode ?? 0;
      const text = held.map(([mode, count]) => `${mode}×${count}`).join(" ");
      return `${backend} on ${tag}: ${text}, ${awaited}`;
    }),
  );
  return rows.sort();
}

type Queues = Record<string, number[]>;

function queuesOf(region: ObjectLocks): Queues {
  const waiting = region.rows().filter(({ awaited }) => awaited !== 0);
  waiting.sort((one, other) => (one.ticket < other.ticket ? -1 : 1));
  const queues: Queues = {};
  for (const { object, backend } of waiting) queues[object] = [...(queues[object] ?? []), backend];
  return queues;
}

function queuesOfTwin({ locks }: TwinLockManager): Queues {
  const waited = [...locks.values()].filter(({ queue }) => queue.length > 0);
  return Object.fromEntries(
    waited.map(({ tag, queue }) => [tag, queue.map(({ backend }) => backend)]),
  );
}

describe.each(builds)("the lock manager, %s build", (_, checked) => {
  it(
    "grants, queues, refuses and finds deadlocks as the twin does, and ends up empty",
    () => {
      const region = new ObjectLocks(checked, BACKENDS);
      const met = { none: 0, rearranged: 0, deadlock: 0, early: 0 };
      const play = (steps: readonly LockStep[]): void => {
        const pair = new Pair(region);
        for (const step of steps) pair.step(step);
        for (const key of Object.keys(met) as (keyof typeof met)[]) met[key] += pair.met[key];
      };
      const history = fc.oneof(lockTangles(shape), lockHistories(shape));
      const emptied = (): void => {
        for (let backend = 0; backend < BACKENDS; backend += 1) region.end(backend);
        expect(region.rows()).toEqual([]);
      };
      fc.assert(fc.property(history, play).afterEach(emptied), { seed, numRuns: RUNS });
      for (const [key, times] of Object.entries(met)) expect(times, key).toBeGreaterThan(MET);
    },
    LIMIT_MS,
  );

  for (const { name, requests, looks, verdict, granted, queues } of scenes) {
    it(`knows: ${name}`, () => {
      const region = new ObjectLocks(checked, BACKENDS);
      const numbers = new Map([..."abcde"].map((letter, index) => [letter, `${index}`]));
      const numberOf = (letter: string): string => numbers.get(letter) ?? letter;
      for (const [backend, object, mode, outcome] of requests) {
        expect(region.acquire(backend, numberOf(object), mode)).toBe(outcome);
      }
      expect(region.check(looks)).toBe(verdict);
      for (const backend of granted) expect(region.settles(backend)).toBe(true);
      const left = queuesOf(region);
      for (const [object, queue] of Object.entries(queues)) {
        const rest = verdict === "deadlock" ? queue.filter((one) => one !== looks) : queue;
        expect(left[numberOf(object)] ?? []).toEqual(rest);
      }
    });
  }
});
