// Proves that the pool's protocol is right in every order of steps within small bounds: each pair
// of operations with one preemption, some with two, and each pair with a backend that dies before
// any step while the owner repairs what it held. test/long goes further.
//
// How it works, and how a failure is run again, is told in engine.ts.

import { describe, expect, it } from "vitest";
import {
  engineFor,
  importantPairs,
  larger,
  narrow,
  pair,
  pairs,
  replay,
} from "./configurations.ts";
import { compileMutant } from "./hunt.ts";
import { otherMutants } from "./mutants.ts";
import { parseSchedule, type ScheduleError, scheduleText } from "./schedule.ts";
import { type Bounds, searchAll, searchByChance, shrink } from "./search.ts";

const SEED = 20260727;
const once: Bounds = { preemptions: 1, deaths: 0 };
const twice: Bounds = { preemptions: 2, deaths: 0 };
const dying: Bounds = { preemptions: 0, deaths: 1 };
/** Pairs whose schedules of two preemptions are few enough for every run. */
const brief = [
  pair("hit", "miss"),
  pair("hit", "change"),
  pair("change", "change"),
  pair("use", "drop"),
  ...narrow.slice(0, 2),
];

/** Pairs whose schedules are many, and which test/long has. */
const LENGTHY = /leave|reattach/;
const quick = pairs.filter(({ name }) => !LENGTHY.test(name));
const mortal = [
  pair("miss", "change"),
  pair("miss", "miss"),
  pair("change", "change"),
  pair("miss", "fail"),
  pair("use", "drop"),
  pair("hit", "leave"),
  pair("twice", "reattach"),
];

describe("every order of steps", () => {
  it.each([...quick, pair("leave", "reattach")])(
    "with one preemption is right: $name",
    (configuration) => {
      const { schedules } = searchAll(engineFor(configuration), once);
      expect(schedules).toBeGreaterThan(1);
    },
  );

  it.each(mortal)("is right when a backend dies before any step: $name", (configuration) => {
    const { schedules } = searchAll(engineFor(configuration), dying);
    expect(schedules).toBeGreaterThan(1);
  });

  it.each(brief)("with two preemptions is right: $name", (configuration) => {
    const { schedules } = searchAll(engineFor(configuration), twice);
    expect(schedules).toBeGreaterThan(1_000);
  });

  it.each(larger)("drawn by chance is right: $name", (configuration) => {
    const chances = { seed: SEED, steps: 200_000, deaths: 2 };
    const { steps } = searchByChance(engineFor(configuration), chances);
    expect(steps).toBeGreaterThanOrEqual(chances.steps);
  });
});

describe("a death while another leaves", () => {
  // The leaving backend used to take over every dead one's partition locks and to give them back
  // with its own: a frame that the dead one was linking could be found and pinned before the owner
  // freed it, and was then read into although it had no page.
  const [configuration] = larger.filter(({ name }) => name === "miss + leave + miss");
  const schedule = "o a27! o6 c b c o c4";

  it("leaves the dead one's partition lock to the owner", () => {
    expect(configuration).toBeDefined();
    if (configuration !== undefined) replay(configuration, schedule);
  });

  it("is found to be wrong where it does not, by the schedule that found it", async () => {
    const [mutant] = otherMutants.filter(({ name }) => name.startsWith("who leaves"));
    if (mutant === undefined || configuration === undefined) throw new Error("nothing to try");
    const engine = engineFor(configuration, await compileMutant(mutant));
    expect(() => engine.run(parseSchedule(schedule))).toThrow("I/O on a frame without a page");
  });
});

describe("a page that is dropped while its frame becomes another's", () => {
  // Its tag was looked at, then whether the frame had a page: in between the frame, a victim that
  // still had the old tag, had become another page's, which was then unlinked from a chain that it
  // was not in. Orders drawn by chance found it.
  const configuration = pair("miss", "drop");

  it("is found to be wrong where the tag decides, by the schedule that found it", async () => {
    const [mutant] = otherMutants.filter(({ name }) => name.includes("look of its tag"));
    if (mutant === undefined) throw new Error("nothing to try");
    const engine = engineFor(configuration, await compileMutant(mutant));
    expect(() => engine.run(parseSchedule("a42 o b2 a b b12"))).toThrow("linked and not mapped");
  });

  it("is right in every order with two preemptions", () => {
    const { schedules } = searchAll(engineFor(configuration), twice);
    expect(schedules).toBeGreaterThan(1_000);
  });
});

describe("a schedule", () => {
  it("prints as a text that runs the same steps again", () => {
    const engine = engineFor(pair("miss", "miss"));
    const told: string[] = [];
    engine.trace = (...step) => told.push(step.join());
    const text = "o a52 b a20! b o7";
    engine.run(parseSchedule(text));
    const first = told.splice(0);
    const whole = scheduleText(engine.segments);
    expect(whole.startsWith("o a52 b")).toBe(true);
    engine.run(parseSchedule(whole));
    expect(told).toEqual(first);
    expect(scheduleText(parseSchedule(text))).toBe(text);
  });

  it("that fails is shortened to one that fails too", async () => {
    const [mutant] = otherMutants.filter(({ name }) => name.includes("stays linked"));
    if (mutant === undefined) throw new Error("nothing to try");
    const engine = engineFor(importantPairs[0] ?? pair("hit", "miss"), await compileMutant(mutant));
    let failed: ScheduleError | undefined;
    try {
      engine.run(parseSchedule("o a3 b9 a2 b12 a1 b"));
    } catch (error) {
      failed = error as ScheduleError;
    }
    expect(failed?.reason).toContain("linked twice");
    const shorter = shrink(engine, failed as ScheduleError);
    const words = (text = ""): number => text.split(" ").length;
    expect(words(shorter.schedule)).toBeLessThan(words(failed?.schedule));
    expect(() => engine.run(parseSchedule(shorter.schedule))).toThrow("linked twice");
  });
});
