// Which schedules are tried.
//
// *Exhaustive by preemption bound.* A schedule goes on with whoever runs; besides, up to `bound`
// times somebody is stopped before a step that matters, and another goes on. Who follows when one
// stops by itself is free, and every order of that is tried. Up to `deaths` times whoever runs dies
// before such a step instead, or somebody dies in his sleep; what follows is free as well. The tree
// of these schedules is walked to its end: each is run from the beginning, and what was prescribed
// is not checked twice.
//
// *Random.* Who runs next and for how many steps is drawn. *PCT* (Burckhardt and others, "A
// randomized scheduler with probabilistic guarantees of finding bugs"): backends have priorities,
// the highest that can runs, and at a few drawn steps whoever runs becomes the lowest.

import { Random } from "../support/random.ts";
import type { Engine } from "./engine.ts";
import { parseSchedule, ScheduleError, type Segment, TO_THE_END } from "./schedule.ts";
import { goOn, lowestOf, type Policy } from "./setting.ts";

/** How far an exhaustive search goes. */
export interface Bounds {
  readonly preemptions: number;
  readonly deaths: number;
}

/** What a search has done. */
export interface Tally {
  readonly schedules: number;
  readonly steps: number;
}

/** A schedule to try, and what it may still be given. */
interface Branch {
  readonly prefix: readonly Segment[];
  readonly preemptions: number;
  readonly deaths: number;
}

/** Time that a search may take, in milliseconds of {@link spentMs}. To run out is no error. */
export interface Limit {
  readonly milliseconds?: number;
  readonly onProgress?: (schedules: number, steps: number) => void;
}

/** A search that was not finished. */
export class OutOfTime extends Error {}

const LOOK_AT_CLOCK = 256;

/** Processor time of this process: a search is not cut short because others are at work too. */
export function spentMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Tries every schedule within the bounds.
 *
 * @throws {@link ScheduleError} of the first that fails
 */
export function searchAll(engine: Engine, bounds: Bounds, limit: Limit = {}): Tally {
  for (let preemptions = 0; ; ) {
    const tally = walk(engine, { ...bounds, preemptions }, limit);
    // What matters is learned at low bounds, where to begin anew costs little.
    if (engine.relearn()) continue;
    if (preemptions === bounds.preemptions) return tally;
    preemptions += 1;
  }
}

/** Tries the schedules within the bounds for so long and no longer; how many it tried. */
export function searchFor(milliseconds: number, engine: Engine, bounds: Bounds): number {
  const before = engine.schedules;
  try {
    searchAll(engine, bounds, { milliseconds });
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error;
  }
  return engine.schedules - before;
}

function walk(engine: Engine, bounds: Bounds, limit: Limit): Tally {
  const begin = spentMs();
  const before = { schedules: engine.schedules, steps: engine.total };
  const tally = (): Tally => ({
    schedules: engine.schedules - before.schedules,
    steps: engine.total - before.steps,
  });
  const waiting: Branch[] = [{ prefix: [], ...bounds }];
  for (let count = 1; waiting.length > 0; count += 1) {
    const branch = waiting.pop() as Branch;
    const last = branch.prefix.at(-1);
    // The last segment is new if it goes on to its end; a death is checked by what follows.
    const from = branch.prefix.length - (last?.steps === TO_THE_END ? 1 : 0);
    engine.run(branch.prefix, goOn, from);
    branchOff(engine, branch, from, waiting);
    if (count % LOOK_AT_CLOCK !== 0) continue;
    limit.onProgress?.(engine.schedules - before.schedules, engine.total - before.steps);
    if (spentMs() - begin > (limit.milliseconds ?? Number.POSITIVE_INFINITY)) {
      throw new OutOfTime(`${tally().schedules} schedules`);
    }
  }
  return tally();
}

/** The schedules that leave the one just run after what was prescribed to it. */
function branchOff(engine: Engine, branch: Branch, from: number, waiting: Branch[]): void {
  const { segments, choices } = engine;
  for (let index = Math.max(from, branch.prefix.length); index < segments.length; index += 1) {
    const chosen = segments[index]?.fiber ?? 0;
    const others = (choices[index] ?? 0) & ~(1 << chosen);
    for (let mask = others; mask !== 0; mask &= mask - 1) {
      const prefix = [...segments.slice(0, index), whole(lowestOf(mask))];
      waiting.push({ ...branch, prefix });
    }
  }
  if (branch.preemptions === 0 && branch.deaths === 0) return;
  for (let point = 0; point < engine.pointSegment.length; point += 1) {
    atPoint(engine, branch, point, waiting);
  }
}

function atPoint(engine: Engine, branch: Branch, point: number, waiting: Branch[]): void {
  const index = engine.pointSegment[point] ?? 0;
  const steps = engine.pointSteps[point] ?? 0;
  const fiber = engine.segments[index]?.fiber ?? 0;
  const before = engine.segments.slice(0, index);
  if (branch.preemptions > 0 && steps > 0) {
    for (let mask = engine.pointOthers[point] ?? 0; mask !== 0; mask &= mask - 1) {
      waiting.push({
        ...branch,
        preemptions: branch.preemptions - 1,
        prefix: [...before, { fiber, steps, dies: false }, whole(lowestOf(mask))],
      });
    }
  }
  if (branch.deaths === 0) return;
  const deaths = branch.deaths - 1;
  const run = steps === 0 ? [] : [{ fiber, steps, dies: false }];
  for (let mask = engine.pointAsleep[point] ?? 0; mask !== 0; mask &= mask - 1) {
    waiting.push({ ...branch, deaths, prefix: [...before, ...run, dead(lowestOf(mask))] });
  }
  // The owner does not die: the region would end with it.
  if (fiber === 0) return;
  waiting.push({ ...branch, deaths, prefix: [...before, { fiber, steps, dies: true }] });
}

/** Dies where it sleeps. */
function dead(fiber: number): Segment {
  return { fiber, steps: 0, dies: true };
}

function whole(fiber: number): Segment {
  return { fiber, steps: TO_THE_END, dies: false };
}

// ── By chance ────────────────────────────────────────────────────────────────────────────────────

/** How schedules are drawn. */
export interface Chances {
  readonly seed: number;
  /** Steps in all, about. */
  readonly steps: number;
  /** Most deaths in a schedule. */
  readonly deaths: number;
  readonly milliseconds?: number;
}

/** Draws schedules until their steps add up; half of them random, half by priorities. */
export function searchByChance(engine: Engine, chances: Chances): Tally {
  const random = new Random(chances.seed);
  const begin = spentMs();
  const before = { schedules: engine.schedules, steps: engine.total };
  let longest = 1;
  for (let count = 1; engine.total - before.steps < chances.steps; count += 1) {
    const policy =
      count % 2 === 0
        ? new RandomPolicy(random, chances.deaths)
        : new PriorityPolicy(random, chances.deaths, engine.fibers.length, longest);
    engine.run([], policy, 0);
    longest = Math.max(longest, engine.steps);
    const spent = spentMs() - begin;
    if (count % LOOK_AT_CLOCK === 0 && spent > (chances.milliseconds ?? Infinity)) break;
  }
  return { schedules: engine.schedules - before.schedules, steps: engine.total - before.steps };
}

const SHORT = 4;
const LONG = 60;
/** One stop in so many is a death, while there may be one. */
const DEATH_RARITY = 8;

class RandomPolicy implements Policy {
  readonly #random: Random;
  #deaths: number;

  constructor(random: Random, deaths: number) {
    this.#random = random;
    this.#deaths = random.below(deaths + 1);
  }

  choose(mask: number): number {
    return pickFrom(mask, this.#random);
  }

  kills({ asleep }: Engine): Segment | undefined {
    if (this.#deaths === 0 || asleep === 0) return undefined;
    if (this.#random.below(DEATH_RARITY) !== 0) return undefined;
    this.#deaths -= 1;
    return dead(pickFrom(asleep, this.#random));
  }

  length(): number {
    return 1 + this.#random.below(this.#random.below(2) === 0 ? SHORT : LONG);
  }

  dies(fiber: number): boolean {
    if (fiber === 0 || this.#deaths === 0 || this.#random.below(DEATH_RARITY) !== 0) return false;
    this.#deaths -= 1;
    return true;
  }
}

const CHANGES = 3;

class PriorityPolicy implements Policy {
  readonly #random: Random;
  /** Fibers, the first to run first. */
  readonly #order: number[];
  /** Steps at which whoever runs becomes the last. */
  readonly #changes: number[];
  #deaths: number;

  constructor(random: Random, deaths: number, fibers: number, steps: number) {
    this.#random = random;
    this.#deaths = random.below(deaths + 1);
    this.#order = Array.from({ length: fibers }, (_, fiber) => fiber);
    for (let left = fibers - 1; left > 0; left -= 1) {
      const other = random.below(left + 1);
      const kept = this.#order[left] as number;
      this.#order[left] = this.#order[other] as number;
      this.#order[other] = kept;
    }
    this.#changes = Array.from({ length: 1 + random.below(CHANGES) }, () => random.below(steps));
    this.#changes.sort((a, b) => a - b);
  }

  choose(mask: number): number {
    return this.#order.find((fiber) => (mask & (1 << fiber)) !== 0) ?? lowestOf(mask);
  }

  length(_fiber: number, engine: Engine): number {
    while (this.#changes.length > 0 && (this.#changes[0] as number) <= engine.steps) {
      this.#changes.shift();
    }
    const next = this.#changes[0];
    return next === undefined ? TO_THE_END : next - engine.steps;
  }

  dies(fiber: number): boolean {
    this.#order.splice(this.#order.indexOf(fiber), 1);
    this.#order.push(fiber);
    if (fiber === 0 || this.#deaths === 0 || this.#random.below(2) !== 0) return false;
    this.#deaths -= 1;
    return true;
  }
}

function pickFrom(mask: number, random: Random): number {
  let left = mask;
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  for (let skip = random.below(count); skip > 0; skip -= 1) left &= left - 1;
  return lowestOf(left);
}

// ── Again, and shorter ───────────────────────────────────────────────────────────────────────────

/**
 * A schedule that fails too, with fewer segments: those are left out, or run to their end, one
 * after another, as long as what is left fails.
 */
export function shrink(engine: Engine, failed: ScheduleError): ScheduleError {
  let best = failed;
  for (let index = 0; index < parseSchedule(best.schedule).length; ) {
    const segments = parseSchedule(best.schedule);
    const shorter =
      failureOf(engine, segments.toSpliced(index, 1)) ??
      failureOf(engine, segments.toSpliced(index, segments.length));
    if (shorter !== undefined && parseSchedule(shorter.schedule).length < segments.length) {
      best = shorter;
    } else {
      index += 1;
    }
  }
  return best;
}

function failureOf(engine: Engine, segments: readonly Segment[]): ScheduleError | undefined {
  try {
    engine.run(segments);
  } catch (error) {
    if (error instanceof ScheduleError && !/cannot run/.test(error.reason)) return error;
  }
  return undefined;
}
