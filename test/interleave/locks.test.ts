// Proves that the protocol of heavyweight locks is right in every order of steps within small
// bounds: queue and wake-up, upgrade and cancel, the fast path against strong locks, and a death
// before any step with the repair scheduled like the rest. lock-beliefs.ts says what right means.

import { describe, expect, it } from "vitest";
import { lockEngine, lockPairs, lockTrios } from "./lock-configurations.ts";
import { type Bounds, searchAll, searchByChance } from "./search.ts";

const SEED = 20260727;
const once: Bounds = { preemptions: 1, deaths: 0 };
const dying: Bounds = { preemptions: 0, deaths: 1 };

describe("heavyweight locks", () => {
  it.each(lockPairs)("with one preemption are right: $name", (configuration) => {
    const { schedules } = searchAll(lockEngine(configuration), once);
    expect(schedules).toBeGreaterThan(1);
  });

  it.each(lockPairs)("are right when a backend dies before any step: $name", (configuration) => {
    const { schedules } = searchAll(lockEngine(configuration), dying);
    expect(schedules).toBeGreaterThan(1);
  });

  it.each(lockTrios)("drawn by chance are right: $name", (configuration) => {
    const chances = { seed: SEED, steps: 200_000, deaths: 2 };
    const { steps } = searchByChance(lockEngine(configuration), chances);
    expect(steps).toBeGreaterThanOrEqual(chances.steps);
  });
});
