// Proves that no two backends touch a plain word without an order between them, in the schedules of
// each pair with a death or, where frames change hands, with a preemption; but for the words that
// races.ts lists with their reasons, each of which must have been needed.

import { describe, expect, it } from "vitest";
import { engineFor, importantPairs, pair, pairs } from "./configurations.ts";
import { lockEngine, lockPairs } from "./lock-configurations.ts";
import { RACY, RaceCheck } from "./races.ts";
import { searchAll } from "./search.ts";
import { simulationModule } from "./world.ts";

const module = simulationModule("shared-simulation-races");
const used = new Set<string>();

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

  it.each(lockPairs)("of heavyweight locks are touched in order: $name", (each) => {
    const check = new RaceCheck();
    searchAll(lockEngine(each, module, check), { preemptions: 0, deaths: 0 });
    expect(check.accesses).toBeGreaterThan(1_000);
  });

  const preempted = lockPairs.filter(({ name }) =>
    /^(exclusive|weak) [+] (share|strong)$/.test(name),
  );

  it.each(preempted)("of heavyweight locks, with one preemption: $name", (each) => {
    const check = new RaceCheck();
    searchAll(lockEngine(each, module, check), { preemptions: 1, deaths: 0 });
    for (const name of check.used) used.add(name);
  });

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
