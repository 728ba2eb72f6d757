// The catalog cache in more orders of steps than a run of every day has time for: two preemptions,
// to the end, some 380,000 schedules; one with a death, of which some have an end within minutes;
// by chance for longer; and every planted mistake hunted down.

import { describe, expect, it } from "vitest";
import { catalogMutants, huntCatalog } from "../interleave/catalog-mutants.ts";
import {
  catalogConfigurations,
  catalogDetails,
  catalogEngine,
  catalogTrios,
} from "../interleave/catalog-setting.ts";
import { compileMutant } from "../interleave/hunt.ts";
import { searchAll, searchByChance, searchFor } from "../interleave/search.ts";

const SEED = 20261126;
const MINUTE_MS = 60_000;
const HUNT_MS = 2 * MINUTE_MS;
const STEPS = 5_000_000;
const pairs = [...catalogConfigurations, ...catalogDetails];

describe("the catalog cache", () => {
  it.each(pairs)(
    "with two preemptions is right: $name",
    (configuration) => {
      const bounds = { preemptions: 2, deaths: 0 };
      const { schedules } = searchAll(catalogEngine(configuration), bounds);
      expect(schedules).toBeGreaterThan(1000);
    },
    10 * MINUTE_MS,
  );

  it.each(pairs)(
    "with one preemption and a death is right: $name",
    (configuration) => {
      const bounds = { preemptions: 1, deaths: 1 };
      expect(searchFor(MINUTE_MS, catalogEngine(configuration), bounds)).toBeGreaterThan(1);
    },
    3 * MINUTE_MS,
  );

  it.each([...catalogTrios, ...pairs])(
    "drawn by chance is right: $name",
    (configuration) => {
      const chances = { seed: SEED, steps: STEPS, deaths: 2, milliseconds: MINUTE_MS };
      const { schedules } = searchByChance(catalogEngine(configuration), chances);
      expect(schedules).toBeGreaterThan(1);
    },
    3 * MINUTE_MS,
  );

  it.each(catalogMutants)(
    "shows a planted mistake: $name",
    async (mutant) => {
      expect(huntCatalog(await compileMutant(mutant), HUNT_MS, SEED)).toBeDefined();
    },
    HUNT_MS + 2 * MINUTE_MS,
  );
});
