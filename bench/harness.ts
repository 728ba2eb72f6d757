/**
 * Measures contenders side by side, so that their ratio is worth more than their times.
 *
 * The rules, each bought with a wrong number:
 * - A contender that gives a wrong answer is not timed; it is reported. Its check runs in another
 *   process than its timing: a check is another use of the same code, and what the engine learns
 *   from it stays. A pool in plain JavaScript took 8 ns or 25 ns for the same loop, depending on
 *   whether its check had run before.
 * - Rounds are interleaved: each round gives every contender of the row one turn, in an order that
 *   rotates, so that a slow second of the machine hits all of them. The ratio is taken round by
 *   round, and the median of those is the row's ratio.
 * - Each contender has a loop of its own from its own source text, and a wasm instance of its own:
 *   loops that share their text share what the engine has learnt at their calls, which was worth
 *   40 %. For the same reason every row runs in a process of its own (measure.ts).
 * - A turn is many short calls of that loop, not one endless one: an endless loop never leaves the
 *   engine's middle tier on some releases.
 * - What a loop computes goes into a sink that somebody reads, so that no loop is optimised away.
 *
 * Inside a turn `benchmark` samples: it sets the number of calls a sample from the clock's
 * resolution and the contender's speed.
 */

import Benchmark from "benchmark";

/** Whose work is timed: ours, somebody else's, or another form of ours shown beside it. */
export type Role = "ours" | "peer" | "also";

/** One way of doing a row's work. */
export interface Contender {
  /** How the table and the JSON call it; unique in its row. */
  readonly name: string;
  readonly role: Role;
  /** Operations in one call of `run`: enough for 10 µs, so that the call itself is free. */
  readonly operations: number;
  /** Does the work and returns something that depends on all of it. */
  run(): number;
  /**
   * Takes a turn by itself and answers a value in the row's unit: for rows that do not ask for the
   * time of an operation. It is not warmed up.
   */
  turn?(): number;
  /** Throws if the contender does not do what the row says it does. Not timed. */
  check(): void;
  /** Gives back what the contender holds. */
  dispose?(): void | Promise<void>;
}

/** One line of the table: the same work, done by several contenders. */
export interface Row {
  /** The row's number in the design and a name: `1.palloc-free-64`. */
  readonly id: string;
  /** What is done, in words. */
  readonly name: string;
  /** Unit of every value of the row. */
  readonly unit: string;
  /** Peer → the largest ratio ours / peer that is met; a peer without one is only compared with. */
  readonly targets: Readonly<Record<string, number>>;
  /** Turns each contender gets at most, where one takes seconds. */
  readonly rounds?: number;
  /** Builds the contenders; exactly one has the role "ours". */
  contenders(): Promise<readonly Contender[]>;
}

/** How long to measure. */
export interface Effort {
  /** Turns each contender gets. */
  readonly rounds: number;
  /** Seconds of one sample; a turn takes three. */
  readonly sampleSeconds: number;
  /** Seconds each contender runs before the first round. */
  readonly warmUpSeconds: number;
}

/** What `npm run bench` uses: about four seconds for a row of five contenders. */
export const defaultEffort: Effort = { rounds: 9, sampleSeconds: 0.015, warmUpSeconds: 0.2 };

const SAMPLES_PER_TURN = 3;
const NANOSECONDS = 1e9;

/** Times of one contender over all rounds, in the row's unit. */
export interface Timing {
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** (max - min) / median. */
  readonly spread: number;
  readonly rounds: readonly number[];
}

/** A contender that was not timed, and why. */
export interface Rejected {
  readonly name: string;
  readonly reason: string;
}

/** What was measured for one row; this is what the JSON file holds. */
export interface RowResult {
  readonly id: string;
  readonly name: string;
  readonly unit: string;
  /** Median of ours; null if ours gave a wrong answer. */
  readonly ours: number | null;
  readonly peers: Readonly<Record<string, number>>;
  /** Ours divided by the peer, round by round, then the median. */
  readonly ratios: Readonly<Record<string, number>>;
  /** Middle half of the rounds' ratios: a target inside it is neither clearly met nor missed. */
  readonly ratioRanges: Readonly<Record<string, readonly [low: number, high: number]>>;
  readonly targets: Readonly<Record<string, number>>;
  /** Other forms of ours. */
  readonly also: Readonly<Record<string, number>>;
  readonly timings: Readonly<Record<string, Timing>>;
  readonly rejected: readonly Rejected[];
}

/** The middle of `values`; the mean of the two middle ones where there are two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted.length >> 1;
  const high = sorted[upper] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[upper - 1] ?? Number.NaN) + high) / 2;
}

/** Minimum, median, maximum and spread of what the rounds gave. */
export function summarize(rounds: readonly number[]): Timing {
  const min = Math.min(...rounds);
  const max = Math.max(...rounds);
  const middle = median(rounds);
  return { min, median: middle, max, spread: (max - min) / middle, rounds };
}

/** How one contender compares with another, round by round. */
export interface Ratio {
  readonly median: number;
  /** The middle half of the rounds lies between these two. */
  readonly low: number;
  readonly high: number;
}

const QUARTER = 0.25;

/** The ratios of two contenders that were measured in the same rounds. */
export function pairedRatio(ours: readonly number[], theirs: readonly number[]): Ratio {
  const ratios = ours.map((value, round) => value / (theirs[round] ?? Number.NaN));
  const sorted = ratios.toSorted((a, b) => a - b);
  const outside = Math.floor(sorted.length * QUARTER);
  return {
    median: median(ratios),
    low: sorted[outside] ?? Number.NaN,
    high: sorted[sorted.length - 1 - outside] ?? Number.NaN,
  };
}

/** `items` as round number `round` takes them: everyone is first once in as many rounds. */
export function rotated<T>(items: readonly T[], round: number): T[] {
  const first = items.length === 0 ? 0 : round % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}

let sum = 0;

/** Keeps `value` alive: nobody can prove that the sum is never read. */
export function sink(value: number): void {
  sum = (sum + value) % Number.MAX_SAFE_INTEGER;
}

/** Everything that went into the sink. */
export function sunk(): number {
  return sum;
}

/** Runs every contender's check; those that failed, with the reason. Times nothing. */
export async function checkRow(row: Row): Promise<Rejected[]> {
  return withContenders(row, (contenders) => contenders.flatMap(rejectionOf));
}

/** Warms up and times the contenders of a row, except for the rejected ones. */
export async function timeRow(
  row: Row,
  rejected: readonly Rejected[],
  effort: Effort = defaultEffort,
): Promise<RowResult> {
  return withContenders(row, (contenders) => {
    const sound = contenders.filter(({ name }) => !rejected.some((one) => one.name === name));
    for (const contender of sound) warmUp(contender, effort.warmUpSeconds);
    const rounds = Math.min(effort.rounds, row.rounds ?? effort.rounds);
    return report(row, sound, takeRounds(sound, { ...effort, rounds }), rejected);
  });
}

/** Builds a row's contenders for `use`, and gives back what they held. */
async function withContenders<Result>(
  row: Row,
  use: (contenders: readonly Contender[]) => Result,
): Promise<Result> {
  const contenders = await row.contenders();
  try {
    return use(contenders);
  } finally {
    for (const contender of contenders) await contender.dispose?.();
  }
}

function rejectionOf(contender: Contender): Rejected[] {
  try {
    contender.check();
    return [];
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [{ name: contender.name, reason }];
  }
}

function warmUp(contender: Contender, seconds: number): void {
  if (contender.turn !== undefined) return;
  const end = performance.now() + seconds * 1000;
  do sink(contender.run());
  while (performance.now() < end);
}

function takeRounds(contenders: readonly Contender[], effort: Effort): Map<string, number[]> {
  const taken = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < effort.rounds; round += 1) {
    for (const contender of rotated(contenders, round)) {
      taken.get(contender.name)?.push(takeTurn(contender, effort.sampleSeconds));
    }
  }
  return taken;
}

/** One turn: a few samples by `benchmark`; their median, in nanoseconds an operation. */
function takeTurn(contender: Contender, sampleSeconds: number): number {
  if (contender.turn !== undefined) return contender.turn();
  const bench = new Benchmark(contender.name, () => sink(contender.run()), {
    async: false,
    minTime: sampleSeconds,
    maxTime: sampleSeconds,
    minSamples: SAMPLES_PER_TURN,
  });
  bench.run();
  const error: unknown = (bench as { error?: unknown }).error;
  if (error !== undefined) throw error;
  return (median(bench.stats.sample) * NANOSECONDS) / contender.operations;
}

function report(
  row: Row,
  contenders: readonly Contender[],
  taken: ReadonlyMap<string, readonly number[]>,
  rejected: readonly Rejected[],
): RowResult {
  const timings: Record<string, Timing> = {};
  for (const [name, rounds] of taken) timings[name] = summarize(rounds);
  const withRole = (role: Role): Contender[] => contenders.filter((one) => one.role === role);
  const medians = (role: Role): Record<string, number> =>
    Object.fromEntries(
      withRole(role).map(({ name }) => [name, timings[name]?.median ?? Number.NaN]),
    );
  const ours = withRole("ours")[0];
  const ratios: Record<string, number> = {};
  const ratioRanges: Record<string, readonly [number, number]> = {};
  for (const peer of ours === undefined ? [] : withRole("peer")) {
    const ratio = pairedRatio(taken.get(ours?.name ?? "") ?? [], taken.get(peer.name) ?? []);
    ratios[peer.name] = ratio.median;
    ratioRanges[peer.name] = [ratio.low, ratio.high];
  }
  return {
    id: row.id,
    name: row.name,
    unit: row.unit,
    ours: ours === undefined ? null : (timings[ours.name]?.median ?? null),
    peers: medians("peer"),
    ratios,
    ratioRanges,
    targets: row.targets,
    also: medians("also"),
    timings,
    rejected,
  };
}
