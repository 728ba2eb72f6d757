/**
 * The flights job's queries beside the same in plain JavaScript objects and in PGlite, which is
 * PostgreSQL as WebAssembly: time, peak of resident memory, longest pause of the main thread. All
 * have the same 3,000,000 flights and answer with the number of groups and the ten largest.
 *
 * What is unequal is said here: ours scans with two workers beside the main thread, or with one;
 * the two others have only the main thread. Ours and PGlite have the rows in files that the system
 * caches, a table of 81 and of some 220 MB, and may use work_mem, 4 MB, for what they group, and a
 * pool of 16 and of 128 MB; objects have everything in the engine's heap, as a program has that
 * reads the file once. By date there are 213,834 groups: ours and PGlite spill, objects need not.
 *
 * Each figure is of a process of its own (queries-child.ts). Loading is no part of a query, and has
 * a row of its own. What lies in files is loaded once, into data/bench, and used again.
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Contender, Role, Row } from "./harness.ts";
import { packageRoot } from "./machine.ts";

/** What is grouped by. */
export type QueryKey = "origin" | "date";

/** What was found: the number of groups, and of the ten largest what the query asks. */
export interface Answer {
  readonly groups: number;
  /** Largest first, as the others; groups of the same count come in any order. */
  readonly counts: readonly number[];
  readonly delays: readonly number[];
  readonly distances: readonly number[];
}

/** What queries-child.ts prints of a query. */
export interface ChildOutcome {
  readonly seconds: number;
  readonly peakMegabytes: number;
  readonly pauseMs: number;
  readonly answer: Answer;
}

type Metric = "seconds" | "peakMegabytes" | "pauseMs";

const CHILD_MS = 10 * 60_000;
/** Turns of each contender: one takes seconds. */
const ROUNDS = 3;

/** The contenders, and whether their rows lie in files. */
const WHO: readonly (readonly [name: string, role: Role, inFiles: boolean])[] = [
  ["palloc", "ours", true],
  ["palloc, 1 worker", "also", true],
  ["objects", "peer", false],
  ["PGlite", "peer", true],
];

const ROWS = 3_000_000;
const GROUPS: Readonly<Record<QueryKey, number>> = { origin: 229, date: 213_834 };
/** Counts of the largest three. */
const LARGEST: Readonly<Record<QueryKey, readonly number[]>> = {
  origin: [166_341, 157_162, 124_711],
  date: [103, 102, 101],
};

const program = fileURLToPath(new URL("./queries-child.js", import.meta.url));
const home = join(packageRoot(), "data", "bench");

function child<Outcome>(...task: readonly string[]): Outcome {
  const words = ["--expose-gc", "--max-old-space-size=4096", program, ...task];
  const printed = execFileSync(process.execPath, words, { encoding: "utf8", timeout: CHILD_MS });
  return JSON.parse(printed) as Outcome;
}

/** Loads a contender's files unless they are there. @returns seconds that it took, then */
function loadedIn(name: string): number {
  const folder = name === "PGlite" ? "pglite" : "palloc";
  const noted = join(home, `${folder}.json`);
  if (existsSync(noted)) return (JSON.parse(readFileSync(noted, "utf8")) as Loaded).seconds;
  // Files without a note are those of a load that was interrupted.
  rmSync(join(home, folder), { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  const loaded = child<Loaded>("load", name, home);
  writeFileSync(`${noted}.new`, JSON.stringify(loaded));
  renameSync(`${noted}.new`, noted);
  return loaded.seconds;
}

interface Loaded {
  readonly seconds: number;
}

function checked({ groups, counts }: Answer, key: QueryKey): void {
  const largest = LARGEST[key];
  const wrong = groups !== GROUPS[key] || largest.some((count, index) => counts[index] !== count);
  if (wrong) throw new Error(`by ${key} there are ${groups} groups, the largest of ${counts}`);
}

function queryContenders(key: QueryKey, metric: Metric): Contender[] {
  return WHO.map(([name, role, inFiles]): Contender => {
    if (inFiles) loadedIn(name);
    const turn = (): number => {
      const outcome = child<ChildOutcome>("query", name, home, key);
      checked(outcome.answer, key);
      return outcome[metric];
    };
    return { name, role, operations: 1, run: turn, turn, check: () => void turn() };
  });
}

function loadContenders(): Contender[] {
  return WHO.filter(([, role]) => role !== "also").map(([name, role, inFiles]): Contender => {
    const turn = (): number =>
      inFiles ? loadedIn(name) : child<Loaded>("load", name, home).seconds;
    return { name, role, operations: 1, run: turn, turn, check: () => void turn() };
  });
}

const METRICS: readonly (readonly [Metric, id: string, what: string, unit: string])[] = [
  ["seconds", "time", "time", "s"],
  ["peakMegabytes", "memory", "peak of the program's memory", "MB"],
  ["pauseMs", "pause", "longest time that the main thread stood still", "ms"],
];

/** The query by `key`, measured in three ways. */
function queryRows(key: QueryKey): Row[] {
  const groups = GROUPS[key].toLocaleString("en");
  const flights = ROWS.toLocaleString("en");
  return METRICS.map(([metric, id, what, unit]) => ({
    id: `queries.${key}-${id}`,
    name: `${flights} flights grouped by ${key}, ${groups} groups: ${what}`,
    unit,
    targets: {},
    rounds: ROUNDS,
    contenders: async () => queryContenders(key, metric),
  }));
}

/** What a pool, two workers and work_mem are worth in a query. */
export const queryBenchRows: readonly Row[] = [
  ...queryRows("origin"),
  ...queryRows("date"),
  {
    id: "queries.load",
    name: `${ROWS.toLocaleString("en")} flights from a Parquet file: loading`,
    unit: "s",
    targets: {},
    rounds: 1,
    contenders: async () => loadContenders(),
  },
];
