// Proves that the deadlock detector is right whatever comes between its steps: backends that lock
// crosswise, in a circle, and so that an order of the queues frees them, with preemptions at every
// step and with a backend that dies before any of them: the one that looks, while it holds all
// partitions and while it gives tickets. Right means: exactly one victim where there must be one,
// none where there need not be; nobody is stuck; nothing is left over; conflicting modes are never
// held at the same time (deadlock-setting.ts). Planted mistakes show that all that is seen.

import { describe, expect, it } from "vitest";
import {
  circle,
  crosswise,
  halfDone,
  lateCrosswise,
  oneLate,
  readers,
} from "./deadlock-configurations.ts";
import { type LockConfiguration, lockEngine } from "./deadlock-setting.ts";
import type { Engine } from "./engine.ts";
import { compileMutant } from "./hunt.ts";
import { type Mutant, mutant } from "./mutants.ts";
import { parseSchedule, TO_THE_END } from "./schedule.ts";
import { searchAll, searchByChance } from "./search.ts";

const SEED = 20260727;
const LIMIT_MS = 180_000;
const CHANCE_STEPS = 150_000;
const once = { preemptions: 1, deaths: 0 };
const dying = { preemptions: 0, deaths: 1 };

/** Who looks last, and what runs before it. */
const lookers = [
  { ...crosswise, before: "a", looker: 2 },
  { ...circle, before: "a b", looker: 3 },
  { ...readers, before: "a", looker: 2 },
  { ...halfDone, before: "", looker: 4 },
];

/** Lets a backend die before each of its steps in turn; returns how many there are. */
function dieAtEachStep(engine: Engine, before: string, fiber: number): number {
  const prefix = parseSchedule(before);
  for (let steps = 0; ; steps += 1) {
    engine.run([...prefix, { fiber, steps, dies: true }]);
    if (engine.segments[prefix.length]?.dies !== true) return steps;
  }
}

describe("the deadlock detector", () => {
  it.each([crosswise, lateCrosswise])(
    "is right in every order of steps with one preemption: $name",
    (configuration) => {
      const { schedules } = searchAll(lockEngine(configuration).engine, once);
      expect(schedules).toBeGreaterThan(1_000);
    },
    LIMIT_MS,
  );

  it(
    "is right whoever dies before any step, in every order of what follows",
    () => {
      const { schedules } = searchAll(lockEngine(crosswise).engine, dying);
      expect(schedules).toBeGreaterThan(1_000);
    },
    LIMIT_MS,
  );

  it.each(lookers)(
    "leaves nobody stuck when who looks dies before any of its steps: $name",
    ({ before, looker, ...configuration }) => {
      const steps = dieAtEachStep(lockEngine(configuration).engine, before, looker);
      expect(steps).toBeGreaterThan(100);
    },
    LIMIT_MS,
  );

  it.each([circle, readers, halfDone])(
    "is right in orders drawn by chance, with deaths: $name",
    (configuration) => {
      const chances = { seed: SEED, steps: CHANCE_STEPS, deaths: 2 };
      const { steps } = searchByChance(lockEngine(configuration).engine, chances);
      expect(steps).toBeGreaterThanOrEqual(CHANCE_STEPS);
    },
    LIMIT_MS,
  );
});

/**
 * One of two that entangle themselves dies in its sleep, the owner of the region goes so many steps
 * of its repair, and the other looks for a deadlock then; returns how many steps there are.
 */
function lookBesideTheDead(engine: Engine): number {
  const asleep = parseSchedule("o a b a0!");
  for (let steps = 1; ; steps += 1) {
    engine.run([...asleep, { fiber: 0, steps, dies: false }, ...parseSchedule("b")]);
    if (engine.segments[asleep.length]?.steps === TO_THE_END) return steps;
  }
}

describe("a deadlock with the dead", () => {
  it("is none: whoever looks in the midst of their repair waits for what they held", () => {
    expect(lookBesideTheDead(lockEngine(oneLate).engine)).toBeGreaterThan(10);
  });

  it("would be found by who takes them for waiting", async () => {
    const gone = "Slot.at(backend).isGone() ? IS_GONE : 0";
    const mistake = mutant("the dead wait", "lmgr/waits-for.ts", gone, "0");
    const { engine } = lockEngine(oneLate, await compileMutant(mistake));
    expect(() => lookBesideTheDead(engine)).toThrow("a deadlock with the dead");
  });
});

interface Planted {
  readonly mistake: Mutant;
  readonly search: (engine: Engine) => void;
  readonly configuration: LockConfiguration;
  readonly finds: string;
}

const planted: readonly Planted[] = [
  {
    mistake: mutant(
      "tickets that a dead one had decided on are forgotten",
      "lmgr/deadlock.ts",
      "    const entries = DeadlockArea.redoEntries(backend + 1);\n",
      "    const entries = backend == me ? DeadlockArea.redoEntries(backend + 1) : 0;\n" +
        "    if (backend != me) DeadlockArea.clearRedo();\n",
    ),
    configuration: halfDone,
    search: (engine) => dieAtEachStep(engine, "", 4),
    finds: "sleeps for ever",
  },
  {
    mistake: mutant(
      "nobody looks who can be granted after a rearrangement",
      "lmgr/deadlock.ts",
      "      LockWake.scan(tag.hash(), tag);\n",
      "",
    ),
    configuration: readers,
    search: (engine) => engine.run([]),
    finds: "sleeps for ever",
  },
  {
    mistake: {
      name: "the partitions are not locked",
      patches: [
        {
          file: "lmgr/deadlock.ts",
          find: "    if (!LockTable.acquireAll()) return Region.get().isRunning() ? ST_BUSY : ST_GONE;\n",
          put: "",
        },
        { file: "lmgr/deadlock.ts", find: "    LockTable.releaseAll();\n", put: "" },
      ],
    },
    configuration: lateCrosswise,
    search: (engine) => searchAll(engine, once),
    finds: "2 victims instead of 1",
  },
];

describe("a mistake planted in the detector", () => {
  it.each(planted)(
    "is found: $mistake.name",
    async ({ mistake, configuration, search, finds }) => {
      const { engine } = lockEngine(configuration, await compileMutant(mistake));
      expect(() => search(engine)).toThrow(finds);
    },
    LIMIT_MS,
  );
});
