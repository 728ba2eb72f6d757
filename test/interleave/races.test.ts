// Proves that no two backends touch a plain word without an order between them, in the schedules of
// each pair with a death or, where frames change hands, with a preemption, and in those of locks,
// of deadlocks and of the catalog; but for the words that races.ts lists with their reasons, each
// of which must have been needed.

import { describe, expect, it } from "vitest";
import {
  catalogConfigurations,
  catalogDetails,
  catalogEngine,
  laggards,
} from "./catalog-setting.ts";
import { engineFor, importantPairs, pair, pairs } from "./configurations.ts";
import { crosswise, halfDone, readers } from "./deadlock-configurations.ts";
import { lockEngine as deadlockEngine } from "./deadlock-setting.ts";
import type { Engine } from "./engine.ts";
import { lockEngine, lockPairs } from "./lock-configurations.ts";
import * as lwlocks from "./lwlocks.ts";
import { RACY, RaceCheck } from "./races.ts";
import { OutOfTime, searchAll } from "./search.ts";
import { simulationModule } from "./world.ts";

const module = simulationModule("shared-simulation-races");
const used = new Set<string>();
/** For one configuration and bound; where it is too short the check goes on with the next. */
const MOST_MS = 300;

interface Scene {
  readonly name: string;
  /** How many backends may die in a schedule. Default one. */
  readonly deaths?: number;
  make(check: RaceCheck): Engine;
}

/** Locks, deadlocks, the user's locks and conditions, the catalog: how each is made. */
const around: readonly Scene[] = [
  ...lockPairs.map((each) => ({
    name: `locks, ${each.name}`,
    make: (check: RaceCheck) => lockEngine(each, module, check),
  })),
  ...[...lwlocks.lockPairs, ...lwlocks.calledPairs].map((each) => ({
    name: `user's locks, ${each.name}`,
    make: (check: RaceCheck) => lwlocks.lockEngine(each, module, check),
  })),
  // Whoever waits for a dead one's signal waits for ever.
  ...lwlocks.conditions.map((each) => ({
    name: `conditions, ${each.name}`,
    deaths: 0,
    make: (check: RaceCheck) => lwlocks.lockEngine(each, module, check),
  })),
  ...[crosswise, readers, halfDone].map((each) => ({
    name: `deadlocks, ${each.name}`,
    make: (check: RaceCheck) => deadlockEngine(each, module, check).engine,
  })),
  ...[...catalogConfigurations, ...catalogDetails, ...laggards].map((each) => ({
    name: `catalog, ${each.name}`,
    make: (check: RaceCheck) => catalogEngine(each, {}, module, check),
  })),
];

describe("plain words", () => {
  it.each(importantPairs)("are touched in order, with one preemption: $name", (configuration) => {
    const check = new RaceCheck();
    searchAll(engineFor(configuration, module, check), { preemptions: 1, deaths: 0 });
    expect(check.accesses).toBeGreaterThan(1_000);
    for (const name of check.used) used.add(name);
  });

  it.each(pairs)("are touched in order, whatever the order of their turns: $name", (each) => {
    const check = new RaceCheck();
    searchAll(engineFor(each, module, check), { preemptions: 0, deaths: 0 });
    for (const name of check.used) used.add(name);
  });

  const repaired = [pair("miss", "change"), pair("miss", "leave"), pair("miss", "twice")];

  it.each(repaired)("and by the owner that repairs: $name", (each) => {
    const check = new RaceCheck();
    searchAll(engineFor(each, module, check), { preemptions: 0, deaths: 1 });
    for (const name of check.used) used.add(name);
  });

  it.each(around)(
    "and by the rest, for as long as each may take: $name",
    ({ make, deaths = 1 }) => {
      const check = new RaceCheck();
      for (const bounds of [
        { preemptions: 1, deaths: 0 },
        { preemptions: 0, deaths },
      ]) {
        try {
          searchAll(make(check), bounds, { milliseconds: MOST_MS });
        } catch (error) {
          if (!(error instanceof OutOfTime)) throw error;
        }
      }
      expect(check.accesses).toBeGreaterThan(100);
      for (const name of check.used) used.add(name);
    },
  );

  it("that are excused are those that need it", () => {
    expect(used).toEqual(new Set(RACY.map(({ name }) => name)));
  });

  it("are found to race where nothing orders them", () => {
    const check = new RaceCheck();
    const engine = engineFor(pair("hit", "change"), module, check);
    engine.run([]);
    const { blocks } = engine.world.at;
    check.begin(engine);
    check.bytes(1, blocks, true);
    expect(() => check.bytes(2, blocks, false)).toThrow("race for blocks + 0");
  });
});
