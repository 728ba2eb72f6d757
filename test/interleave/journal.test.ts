// Proves that a crash at any step brings back the last checkpoint, all pages together: with
// changes, evictions, flushes, truncations and other checkpoints under way, and whoever dies.
// Besides: locks for cleanup, locks that are only tried, rings, pages that are cleared instead of
// read.
//
// A crash is looked at after every step that storage would show (cuts.ts). test/long goes further.

import { afterEach, describe, expect, it } from "vitest";
import {
  batches,
  durable,
  durablePairs,
  durableTrios,
  engineFor,
  locking,
} from "./configurations.ts";
import { compileMutant, hunt } from "./hunt.ts";
import { newMutants } from "./new-mutants.ts";
import { plant } from "./parts.ts";
import { type Bounds, searchAll, searchByChance } from "./search.ts";

const SEED = 20260727;
const MINUTE_MS = 60_000;
const turns: Bounds = { preemptions: 0, deaths: 0 };
const once: Bounds = { preemptions: 1, deaths: 0 };
const dying: Bounds = { preemptions: 0, deaths: 1 };
const [checkpointAndChange, checkpointAndTruncate, zeroAndMiss] = [
  durable("checkpoint", "change"),
  durable("checkpoint", "truncate"),
  durable("zero", "miss"),
];
const pairsOfLocks = locking.filter(({ backends }) => backends.length === 2);
const mortal = ["locks: cleanup + read", "locks: zero + read", "locks: cleanup + cleanup"];

afterEach(() => plant());

describe("behind journals", () => {
  it.each(durablePairs)("every order of turns can crash at any step: $name", (configuration) => {
    const engine = engineFor(configuration);
    searchAll(engine, turns);
    expect(engine.ledger.cuts.checked).toBeGreaterThan(20);
  });

  it.each([checkpointAndChange, zeroAndMiss])("so can every order of steps: $name", (each) => {
    const { schedules } = searchAll(engineFor(each), once);
    expect(schedules).toBeGreaterThan(100);
  });

  it.each([checkpointAndChange, checkpointAndTruncate])(
    "and with a death: $name",
    (each) => {
      const { schedules } = searchAll(engineFor(each), dying);
      expect(schedules).toBeGreaterThan(1_000);
    },
    3 * MINUTE_MS,
  );

  it.each([...durableTrios, ...batches])("and drawn by chance: $name", (configuration) => {
    const chances = { seed: SEED, steps: 100_000, deaths: 2 };
    const { steps } = searchByChance(engineFor(configuration), chances);
    expect(steps).toBeGreaterThanOrEqual(chances.steps);
  });
});

describe("locks and rings", () => {
  it.each(pairsOfLocks)("are right in every order of steps: $name", (configuration) => {
    const { schedules } = searchAll(engineFor(configuration), once);
    expect(schedules).toBeGreaterThan(100);
  });

  it.each(pairsOfLocks.filter(({ name }) => mortal.includes(name)))(
    "are right when a backend dies before any step: $name",
    (configuration) => {
      const { schedules } = searchAll(engineFor(configuration), dying);
      expect(schedules).toBeGreaterThan(100);
    },
  );
});

// Two of these were faults: changes were lost when a backend died in a truncation, and the journal
// of a committed checkpoint was removed when its backend died right after the commit.
describe("a mistake planted in TypeScript", () => {
  // Half a minute each: test/long hunts them, with all others.
  const late = ["noted before it is appended", "are not in the file"];
  const inTypeScript = newMutants.filter(
    ({ name, plants }) => plants !== undefined && !late.some((end) => name.endsWith(end)),
  );

  it.each(inTypeScript)(
    "is found: $name",
    async (mutant) => {
      const found = hunt(mutant, await compileMutant(mutant), MINUTE_MS, SEED);
      expect(found?.error.schedule).toMatch(/^[oabc]/);
    },
    2 * MINUTE_MS,
  );
});
