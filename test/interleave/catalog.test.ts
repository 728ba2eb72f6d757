// Proves that nobody who has the lock finds a stale entry, in every order of steps within small
// bounds, with a death at any step; and that the searches find the mistakes that the protocol is
// there to prevent. catalog-setting.ts says what is done and what right means.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { catalogMutants, huntCatalog } from "./catalog-mutants.ts";
import {
  type CatalogConfiguration,
  type CatalogPlant,
  catalogConfigurations,
  catalogDetails,
  catalogEngine,
  catalogTrios,
  laggards,
} from "./catalog-setting.ts";
import { compileMutant } from "./hunt.ts";
import { type Bounds, searchAll, searchByChance } from "./search.ts";

const SEED = 20261126;
const MINUTE_MS = 60_000;
const once: Bounds = { preemptions: 1, deaths: 0 };
const twice: Bounds = { preemptions: 2, deaths: 0 };
const dying: Bounds = { preemptions: 0, deaths: 1 };
const [simple, , both] = catalogConfigurations as readonly [
  CatalogConfiguration,
  CatalogConfiguration,
  CatalogConfiguration,
];

describe("the catalog cache", () => {
  it.each([...catalogConfigurations, ...catalogDetails])(
    "with one preemption is right: $name",
    (configuration) => {
      expect(searchAll(catalogEngine(configuration), once).schedules).toBeGreaterThan(1);
    },
  );

  it("with two preemptions is right", () => {
    expect(searchAll(catalogEngine(simple), twice).schedules).toBeGreaterThan(1_000);
  });

  it.each(catalogConfigurations)(
    "is right when one dies before any step: $name",
    (configuration) => {
      expect(searchAll(catalogEngine(configuration), dying).schedules).toBeGreaterThan(1);
    },
  );

  it.each(catalogTrios)("drawn by chance is right: $name", (configuration) => {
    const chances = { seed: SEED, steps: 200_000, deaths: 1 };
    expect(searchByChance(catalogEngine(configuration), chances).steps).toBeGreaterThan(100_000);
  });

  it.each(laggards)("resets who is $name", (configuration) => {
    const { schedules } = searchAll(catalogEngine(configuration), { preemptions: 1, deaths: 0 });
    expect(schedules).toBeGreaterThan(1);
  });
});

const plants: readonly (readonly [string, CatalogPlant, CatalogConfiguration, Bounds])[] = [
  ["a message is sent before the change", { tellsFirst: true }, simple, once],
  ["messages are received before the lock", { receivesFirst: true }, both, twice],
  ["a reset is forgotten", { forgetsReset: true }, laggards[2] as CatalogConfiguration, once],
  ["a change is not announced", { silent: true }, simple, { preemptions: 1, deaths: 1 }],
];

describe("a mistake planted in the catalog cache", () => {
  it.each(catalogMutants.slice(0, 1))(
    "is found: $name",
    async (mutant) => {
      const found = huntCatalog(await compileMutant(mutant), MINUTE_MS, SEED);
      expect(found?.error.reason).toContain("while it was held");
    },
    2 * MINUTE_MS,
  );

  it.each(catalogMutants)("has its place: $name", ({ patches }) => {
    for (const { file, find } of patches) {
      const source = readFileSync(new URL(`../../assembly/${file}`, import.meta.url), "utf8");
      expect(source.split(find), file).toHaveLength(2);
    }
  });
});

describe("a mistake planted in what surrounds the catalog cache", () => {
  it.each(plants)("is found: %s", (_, plant, configuration, bounds) => {
    expect(() => searchAll(catalogEngine(configuration, plant), bounds)).toThrow("stale entry");
  });
});
