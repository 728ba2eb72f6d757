// Heavyweight locks, further than every run goes: two preemptions, a preemption and a death, two
// deaths by chance, and every planted mistake hunted.

import { describe, expect, it } from "vitest";
import { compileMutant } from "../interleave/hunt.ts";
import { lockEngine, lockPairs, lockTrios } from "../interleave/lock-configurations.ts";
import { huntLocks, lockMutants } from "../interleave/lock-mutants.ts";
import { searchByChance, searchFor } from "../interleave/search.ts";

const SEED = 20260727;
const SEARCH_MS = 60_000;
const HUNT_MS = 60_000;

describe("heavyweight locks", () => {
  it.each(lockPairs)(
    "with two preemptions, and with one and a death, are right: $name",
    (configuration) => {
      for (const bounds of [
        { preemptions: 2, deaths: 0 },
        { preemptions: 1, deaths: 1 },
      ]) {
        expect(searchFor(SEARCH_MS, lockEngine(configuration), bounds)).toBeGreaterThan(1);
      }
    },
    4 * SEARCH_MS,
  );

  it.each(lockTrios)(
    "drawn by chance with two deaths are right: $name",
    (configuration) => {
      const chances = { seed: SEED, steps: 5_000_000, deaths: 2, milliseconds: SEARCH_MS };
      expect(searchByChance(lockEngine(configuration), chances).schedules).toBeGreaterThan(1);
    },
    4 * SEARCH_MS,
  );

  it.each(lockMutants)(
    "a planted mistake is found within a minute: $name",
    async (mutant) => {
      expect(huntLocks(mutant, await compileMutant(mutant), HUNT_MS, SEED)).toBeDefined();
    },
    3 * HUNT_MS,
  );
});
