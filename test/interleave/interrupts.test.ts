// Proves that no interrupt is lost, in every order of steps and with a death before any of them;
// and that slots are given back right when two backends are dead at one time (test/long has more).

import { describe, expect, it } from "vitest";
import { engineFor, pair } from "./configurations.ts";
import { compileMutant } from "./hunt.ts";
import { interruptEngine, interruptMutants } from "./interrupts.ts";
import { searchAll, searchByChance } from "./search.ts";
import { simulationModule } from "./world.ts";

const SEED = 20260727;
const MINUTE_MS = 60_000;

describe("cancelling a backend that sleeps", () => {
  it("reaches it in every order of steps with two preemptions", () => {
    const { schedules } = searchAll(interruptEngine(simulationModule()), {
      preemptions: 2,
      deaths: 0,
    });
    expect(schedules).toBeGreaterThan(10);
  });

  it("reaches it, or the owner frees it, when one of the two dies before any step", () => {
    const { schedules } = searchAll(interruptEngine(simulationModule()), {
      preemptions: 1,
      deaths: 1,
    });
    expect(schedules).toBeGreaterThan(10);
  });

  it.each(interruptMutants)(
    "fails where $name",
    async (mutant) => {
      const engine = interruptEngine(await compileMutant(mutant));
      const search = (): unknown => searchAll(engine, { preemptions: 2, deaths: 0 });
      expect(search).toThrow("sleeps for ever");
    },
    MINUTE_MS,
  );
});

describe("two deaths at one time", () => {
  it.each([pair("miss", "miss"), pair("change", "miss"), pair("miss", "leave")])(
    "leave nothing behind, drawn by chance: $name",
    (configuration) => {
      const chances = { seed: SEED, steps: 150_000, deaths: 2 };
      const { steps } = searchByChance(engineFor(configuration), chances);
      expect(steps).toBeGreaterThanOrEqual(chances.steps);
    },
  );
});
