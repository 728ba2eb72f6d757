/**
 * One of those whom queries.bench.ts compares, in a process of its own, so that its memory and its
 * pauses are its own.
 *
 *   node dist/bench/queries-child.js load CONTENDER DIRECTORY
 *   node dist/bench/queries-child.js query CONTENDER DIRECTORY origin|date
 *
 * `load` puts the flights where the contender looks for them and prints how long it took; `query`
 * asks once to warm up, then again, and prints what that took. The peak of resident memory is the
 * system's own, set back between the two; it is that of the whole process, engine and data
 * included. A pause is how long the main thread's event loop did not turn.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PGlite } from "@electric-sql/pglite";
import { FlightsJob } from "../examples/flights/job.ts";
import { type FlightColumns, flightsPath, withFlights } from "../examples/flights/parquet.ts";
import type { Answer, ChildOutcome, QueryKey } from "./queries.bench.ts";

const MEGABYTE = 1024 * 1024;
const KILOBYTE = 1024;
const TOP = 10;
const WORK_MEM = "4MB";
/** Milliseconds that the event loop is let turn after what is measured. */
const SETTLE_MS = 50;

/** Somebody who can be asked. */
interface Contender {
  ask(key: QueryKey): Promise<Answer>;
  close(): Promise<void>;
}

// ── palloc ───────────────────────────────────────────────────────────────────────────────────────

async function openPalloc(directory: string, workers: number): Promise<Contender> {
  const job = await FlightsJob.open({
    dataDirectory: join(directory, "palloc"),
    sharedBuffers: "16MB",
    workMem: WORK_MEM,
    workers,
    maxRows: Number.POSITIVE_INFINITY,
  });
  await job.load(() => {});
  return {
    async ask(groupBy) {
      const { groups, largest } = await job.query({ groupBy, workMem: WORK_MEM }, TOP);
      const [delays, distances] = [largest.map(({ sum }) => sum), largest.map(({ max }) => max)];
      return { groups, counts: largest.map(({ count }) => count), delays, distances };
    },
    async close() {
      await job.detach();
      await job.close();
    },
  };
}

// ── Objects ──────────────────────────────────────────────────────────────────────────────────────

interface FlightObject {
  readonly date: number;
  readonly delay: number;
  readonly distance: number;
  readonly origin: string;
  readonly destination: string;
}

interface GroupObject {
  readonly key: string | number;
  count: number;
  delays: number;
  distance: number;
}

/** Calls `visit` with each part of the file. */
async function eachPart(visit: (columns: FlightColumns) => void | Promise<void>): Promise<void> {
  await withFlights(flightsPath(), async (file) => {
    for await (const columns of file.rowGroups()) await visit(columns);
  });
}

/** Equal texts as one string, as a program that cares for memory would have them. */
class Texts {
  readonly #known = new Map<string, string>();

  of(bytes: Uint8Array | undefined): string {
    const text = Buffer.from(bytes ?? []).toString();
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    this.#known.set(text, text);
    return text;
  }
}

async function openObjects(): Promise<Contender> {
  const flights: FlightObject[] = [];
  const texts = new Texts();
  await eachPart(({ rows, date, delay, distance, origin, destination }) => {
    for (let row = 0; row < rows; row += 1) {
      flights.push({
        date: date[row] ?? 0,
        delay: Number(delay[row]),
        distance: Number(distance[row]),
        origin: texts.of(origin[row]),
        destination: texts.of(destination[row]),
      });
    }
  });
  return {
    async ask(key) {
      return answerOf([...groupsOf(flights, key).values()]);
    },
    async close() {},
  };
}

function groupsOf(flights: readonly FlightObject[], key: QueryKey): Map<unknown, GroupObject> {
  const groups = new Map<unknown, GroupObject>();
  for (const flight of flights) {
    const value = flight[key];
    const group = groups.get(value);
    if (group === undefined) {
      const { delay, distance } = flight;
      groups.set(value, { key: value, count: 1, delays: delay, distance });
      continue;
    }
    group.count += 1;
    group.delays += flight.delay;
    if (flight.distance > group.distance) group.distance = flight.distance;
  }
  return groups;
}

function answerOf(groups: GroupObject[]): Answer {
  const top = groups.sort((left, right) => right.count - left.count).slice(0, TOP);
  return {
    groups: groups.length,
    counts: top.map(({ count }) => count),
    delays: top.map(({ delays }) => delays),
    distances: top.map(({ distance }) => distance),
  };
}

// ── PGlite ───────────────────────────────────────────────────────────────────────────────────────

async function startPGlite(directory: string): Promise<PGlite> {
  const { PGlite: Server } = await import("@electric-sql/pglite");
  return await Server.create(join(directory, "pglite"));
}

async function loadPGlite(server: PGlite): Promise<void> {
  await server.exec(`
    create table flights (date timestamp not null, delay int not null, distance int not null,
      origin text not null, destination text not null)`);
  await eachPart(async ({ rows, date, delay, distance, origin, destination }) => {
    const lines: string[] = [];
    for (let row = 0; row < rows; row += 1) {
      const texts = [origin[row], destination[row]].map((text) => Buffer.from(text ?? []));
      const at = new Date(date[row] ?? 0).toISOString();
      lines.push(`${at},${delay[row]},${distance[row]},${texts.join(",")}\n`);
    }
    const blob = new Blob(lines);
    await server.query("copy flights from '/dev/blob' with (format csv)", [], { blob });
  });
  await server.exec("vacuum (freeze, analyze) flights");
}

async function openPGlite(directory: string): Promise<Contender> {
  const server = await startPGlite(directory);
  await server.exec(`set work_mem = '${WORK_MEM}'`);
  return {
    async ask(key) {
      const { rows } = await server.query<Record<"count" | "delays" | "distance" | "n", number>>(`
        with g as (select ${key} as key, count(*)::int as count, sum(delay)::int as delays,
          max(distance) as distance from flights group by ${key})
        select *, count(*) over ()::int as n from g order by count desc limit ${TOP}`);
      return {
        groups: rows[0]?.n ?? 0,
        counts: rows.map(({ count }) => count),
        delays: rows.map(({ delays }) => delays),
        distances: rows.map(({ distance }) => distance),
      };
    },
    close: () => server.close(),
  };
}

// ── Measuring ────────────────────────────────────────────────────────────────────────────────────

/** Sets the system's peak of this process's memory back to what it is now. Linux. */
function resetPeak(): void {
  (globalThis as { gc?: () => void }).gc?.();
  writeFileSync("/proc/self/clear_refs", "5");
}

function peakBytes(): number {
  const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return Number(peak) * KILOBYTE;
}

/** Notes how long the event loop did not turn, at most. */
class Pauses {
  readonly #timer = setInterval(() => this.#turn(), 1);
  #last = performance.now();
  longestMs = 0;

  #turn(): void {
    const now = performance.now();
    this.longestMs = Math.max(this.longestMs, now - this.#last);
    this.#last = now;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

async function measured(contender: Contender, key: QueryKey): Promise<ChildOutcome> {
  await contender.ask(key);
  resetPeak();
  const pauses = new Pauses();
  const started = performance.now();
  const answer = await contender.ask(key);
  const seconds = (performance.now() - started) / 1000;
  await sleep(SETTLE_MS);
  pauses.stop();
  return { seconds, peakMegabytes: peakBytes() / MEGABYTE, pauseMs: pauses.longestMs, answer };
}

async function opened(name: string, directory: string): Promise<Contender> {
  if (name === "objects") return openObjects();
  if (name === "PGlite") return openPGlite(directory);
  return openPalloc(directory, name === "palloc" ? 2 : 1);
}

/** Loads what lies in files; what does not is loaded by {@link opened}. */
async function load(name: string, directory: string): Promise<number> {
  const started = performance.now();
  if (name === "PGlite") {
    const server = await startPGlite(directory);
    await loadPGlite(server);
    await server.close();
  } else await (await opened(name, directory)).close();
  return (performance.now() - started) / 1000;
}

const [task, name = "", directory = "", key] = process.argv.slice(2);
if (task === "load") console.log(JSON.stringify({ seconds: await load(name, directory) }));
else {
  const contender = await opened(name, directory);
  console.log(JSON.stringify(await measured(contender, key as QueryKey)));
  await contender.close();
}
