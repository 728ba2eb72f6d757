// Proves that reads by I/O workers, and read streams, are right in every order of steps within
// small bounds: requesters that wait, give up, leave or die; workers that read, fail or die, the
// last of them too; the owner that repairs; streams while others pin, evict, change and read the
// same pages. test/long goes further.

import { afterEach, describe, expect, it } from "vitest";
import { cleared, collisions, engineFor } from "./configurations.ts";
import { compileMutant, hunt } from "./hunt.ts";
import type { Mutant } from "./mutants.ts";
import { newMutants } from "./new-mutants.ts";
import { plant } from "./parts.ts";
import { queueMutants, streamMutants } from "./queue-mutants.ts";
import { queued, queuedSingles, streams } from "./queues.ts";
import { RaceCheck } from "./races.ts";
import { type Bounds, searchAll, searchByChance } from "./search.ts";
import { simulationModule } from "./world.ts";

const SEED = 20260727;
const MINUTE_MS = 60_000;
const turns: Bounds = { preemptions: 0, deaths: 0 };
const once: Bounds = { preemptions: 1, deaths: 0 };
const dying: Bounds = { preemptions: 0, deaths: 1 };

afterEach(() => plant());

describe("reads by I/O workers", () => {
  it.each(queuedSingles)("are right in every order of steps: $name", (configuration) => {
    const { schedules } = searchAll(engineFor(configuration), once);
    expect(schedules).toBeGreaterThan(100);
  });

  const mortal = queuedSingles.filter(({ name }) => /: (?:miss|run|give up)$/.test(name));
  it.each(mortal)("are right when anybody dies before any step: $name", (configuration) => {
    const { schedules } = searchAll(engineFor(configuration), dying);
    expect(schedules).toBeGreaterThan(1_000);
  });

  it.each(queued)("are right in every order of turns: $name", (configuration) => {
    const { schedules } = searchAll(engineFor(configuration), turns);
    expect(schedules).toBeGreaterThan(50);
  });

  it.each(queued)("are right in orders drawn by chance: $name", (configuration) => {
    const chances = { seed: SEED, steps: 100_000, deaths: 2 };
    const { steps } = searchByChance(engineFor(configuration), chances);
    expect(steps).toBeGreaterThanOrEqual(chances.steps);
  });

  it.each(queuedSingles)("touch plain words in order: $name", (configuration) => {
    const check = new RaceCheck();
    const races = simulationModule("shared-simulation-races");
    searchAll(engineFor(configuration, races, check), turns);
    expect(check.accesses).toBeGreaterThan(100);
  });
});

describe("read streams", () => {
  it.each(streams)("are right in every order of steps: $name", (configuration) => {
    const { schedules } = searchAll(engineFor(configuration), once);
    expect(schedules).toBeGreaterThan(10);
  });

  const mortal = streams.filter(({ name }) => /stream \+ (?:read|evict|stream)$/.test(name));
  it.each(mortal)("are right when anybody dies before any step: $name", (configuration) => {
    const { schedules } = searchAll(engineFor(configuration), dying);
    expect(schedules).toBeGreaterThan(500);
  });
});

describe("pages that meet in one place, or are cleared at a cut", () => {
  it.each([collisions[0] ?? cleared, cleared])("come back from any crash: $name", (each) => {
    const engine = engineFor(each);
    searchAll(engine, turns);
    expect(engine.ledger.cuts.checked).toBeGreaterThan(20);
  });
});

describe("a planted mistake", () => {
  const often = /does not wait for a worker|after its last look/;
  const mistakes: readonly Mutant[] = [
    ...newMutants.filter(({ hunted }) => hunted !== undefined),
    ...queueMutants.filter(({ name }) => often.test(name)),
    ...streamMutants,
  ];

  it.each(mistakes)(
    "is found: $name",
    async (mutant) => {
      const found = hunt(mutant, await compileMutant(mutant), MINUTE_MS, SEED);
      expect(found?.error.schedule).toMatch(/^[oabc]/);
    },
    2 * MINUTE_MS,
  );
});
