// Two backends that die in one schedule, each before any of its steps, the second in the midst of
// the repair of the first as well: the reaper meets what the other dead one holds.

import { describe, expect, it } from "vitest";
import { engineFor, pair } from "../interleave/configurations.ts";
import { searchAll, searchByChance } from "../interleave/search.ts";

const SEED = 20260727;

describe("two deaths at one time", () => {
  it("leave nothing behind, wherever both are: hit + leave", () => {
    const { schedules } = searchAll(engineFor(pair("hit", "leave")), { preemptions: 0, deaths: 2 });
    expect(schedules).toBeGreaterThan(100);
  });

  it.each([pair("miss", "miss"), pair("change", "miss"), pair("leave", "reattach")])(
    "leave nothing behind, drawn by chance: $name",
    (configuration) => {
      const chances = { seed: SEED, steps: 3_000_000, deaths: 2 };
      const { steps } = searchByChance(engineFor(configuration), chances);
      expect(steps).toBeGreaterThanOrEqual(chances.steps);
    },
  );
});
