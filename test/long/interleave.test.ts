// Proves the pool's protocol in far more orders of steps than `npm test` has time for: every pair
// to the end at two preemptions; single operations on one buffer at three; a death before any step
// of every schedule of one preemption, and of two on one buffer; then schedules by chance, 10^8
// steps and more; and that each planted mistake is found.
//
// PALLOC_SHARD=1/4 runs the first quarter of the configurations. Each prints what it did.

import { afterAll, describe, expect, it } from "vitest";
import {
  batches,
  type Configuration,
  cleared,
  collisions,
  durable,
  durablePairs,
  durableTrios,
  engineFor,
  importantPairs,
  larger,
  locking,
  narrow,
  pairs,
} from "../interleave/configurations.ts";
import { compileMutant, hunt } from "../interleave/hunt.ts";
import { mutants, otherMutants } from "../interleave/mutants.ts";
import { newMutants } from "../interleave/new-mutants.ts";
import { queueMutants, streamMutants } from "../interleave/queue-mutants.ts";
import { queued, queuedSingles, streams } from "../interleave/queues.ts";
import { type Bounds, searchAll, searchByChance, type Tally } from "../interleave/search.ts";
import { seed } from "../support/random.ts";

const CHANCE_STEPS = 100_000_000;
/** Steps of those that read by a queue, or ahead. */
const AHEAD_STEPS = 10_000_000;
const MINUTE_MS = 60_000;
/** A search that takes longer than this fails: it was to come to its end. */
const SEARCH_MS = 60 * MINUTE_MS;

const [shard = 1, shards = 1] = shardOf(process.env).split("/").map(Number);
let total = 0;

function shardOf({ PALLOC_SHARD = "1/1" }: NodeJS.ProcessEnv): string {
  return PALLOC_SHARD;
}

const behindJournals = [...durablePairs, ...batches, ...durableTrios, ...collisions, cleared];
const everyMutant = [...mutants, ...otherMutants, ...newMutants, ...queueMutants, ...streamMutants];
/** Those whose schedules of two stops come to an end in an hour. */
const checkpoints = [durable("checkpoint", "change"), durable("checkpoint", "miss")];

/** The configurations of this shard. */
function mine<Item>(items: readonly Item[]): readonly Item[] {
  return items.filter((_, index) => index % shards === shard - 1);
}

function say(what: string, { schedules, steps }: Tally, begin: number): void {
  total += steps;
  const seconds = (performance.now() - begin) / 1000;
  const rate = (steps / seconds / 1e6).toFixed(2);
  const took = `${seconds.toFixed(1)} s, ${rate} million steps/s`;
  process.stdout.write(`${what}: ${schedules} schedules, ${steps} steps, ${took}\n`);
}

function searchToTheEnd(configuration: Configuration, bounds: Bounds): void {
  const begin = performance.now();
  const tally = searchAll(engineFor(configuration), bounds, { milliseconds: SEARCH_MS });
  say(`${configuration.name}, ${bounds.preemptions} + ${bounds.deaths} deaths`, tally, begin);
}

describe("every order of steps is right", () => {
  const levels: readonly (readonly [string, readonly Configuration[], Bounds])[] = [
    ["one preemption", [...behindJournals, ...queued], { preemptions: 1, deaths: 0 }],
    ["a death", [...behindJournals, ...queued], { preemptions: 0, deaths: 1 }],
    [
      "two preemptions",
      [...pairs, ...locking, ...streams, ...queuedSingles],
      { preemptions: 2, deaths: 0 },
    ],
    [
      "one preemption and a death",
      [...pairs, ...larger, ...locking, ...streams, ...queuedSingles],
      { preemptions: 1, deaths: 1 },
    ],
    ["two preemptions, a checkpoint", checkpoints, { preemptions: 2, deaths: 0 }],
    ["one preemption and a death, a checkpoint", checkpoints, { preemptions: 1, deaths: 1 }],
    ["three preemptions, one buffer", narrow, { preemptions: 3, deaths: 0 }],
    ["two preemptions and a death, one buffer", narrow, { preemptions: 2, deaths: 1 }],
  ];
  describe.each(levels)("%s", (_name, configurations, bounds) => {
    it.each(mine(configurations))(
      "$name",
      (configuration) => searchToTheEnd(configuration, bounds),
      SEARCH_MS + MINUTE_MS,
    );
  });
});

describe("orders of steps drawn by chance are right", () => {
  const others = [...behindJournals, ...larger, ...narrow, ...importantPairs];
  const ahead = [...queuedSingles, ...queued, ...streams];
  it.each(mine([...others, ...ahead]))(
    "$name",
    (configuration) => {
      const begin = performance.now();
      const share = ahead.includes(configuration)
        ? AHEAD_STEPS / ahead.length
        : CHANCE_STEPS / others.length;
      const steps = Math.ceil(share);
      const tally = searchByChance(engineFor(configuration), { seed, steps, deaths: 2 });
      say(`${configuration.name}, by chance from seed ${seed}`, tally, begin);
      expect(tally.steps).toBeGreaterThanOrEqual(steps);
    },
    SEARCH_MS,
  );
});

describe("a planted mistake", () => {
  it.each(mine(everyMutant))(
    "is found within a minute, unless it is harmless: $name",
    async (mutant) => {
      const found = hunt(mutant, await compileMutant(mutant), MINUTE_MS, seed);
      const where = found === undefined ? "not found" : `${found.configuration}, ${found.bounds}`;
      const took = ((found?.milliseconds ?? MINUTE_MS) / 1000).toFixed(1);
      process.stdout.write(`${mutant.name}: ${where}, ${took} s\n`);
      expect(found === undefined, found?.error.message).toBe(mutant.harmless !== undefined);
    },
    // A minute of the processor's, which is longer where others are at work too.
    10 * MINUTE_MS,
  );
});

afterAll(() => {
  process.stdout.write(`shard ${shard} of ${shards}: ${total} steps\n`);
});
