/**
 * Row 9: two workers that hit pages of one shared pool at the same time, against the same two
 * workers each with a pool of its own. Real threads, one pair a contender; a turn starts in both at
 * once and lasts the same time, and the time of a hit is the mean of the two.
 */

import { Worker } from "node:worker_threads";
import type { SharedMemoryHandle } from "../bindings/index.ts";
import type { Contender, Role, Row } from "./harness.ts";
import { openPool } from "./pages.ts";
import { Turns } from "./turns.ts";
import { WORKING_SET_PAGES } from "./workloads.ts";

/** How many at a time. */
export const WORKERS = 2;

/** What bench/hits.worker.ts is started with. */
export interface HitsWorkerData {
  /** The pool that both share; undefined is a pool of the worker's own. */
  readonly handle: SharedMemoryHandle | undefined;
  /** 0 or 1. */
  readonly worker: number;
  /** Pages that are hit, all of them in the pool. */
  readonly pages: number;
  readonly control: SharedArrayBuffer;
}

const TURN_MS = 60;
const WARM_UP_MS = 200;

/** Starts one worker; it has checked its pages when the promise resolves. */
function start(data: HitsWorkerData): Promise<Worker> {
  const worker = new Worker(new URL("./hits.worker.js", import.meta.url), { workerData: data });
  return new Promise((resolve, reject) => {
    worker.once("message", () => resolve(worker));
    worker.once("error", reject);
  });
}

/** The harmonic mean: as much is hit in all as if every hit took this long. */
function together(nanoseconds: readonly number[]): number {
  const rate = nanoseconds.reduce((sum, each) => sum + 1 / each, 0);
  return nanoseconds.length / rate;
}

async function pair(
  name: string,
  role: Role,
  pages: number,
  handle: SharedMemoryHandle | undefined,
): Promise<Contender> {
  const turns = new Turns(WORKERS);
  const { control } = turns;
  const workers: Worker[] = [];
  for (let worker = 0; worker < WORKERS; worker += 1) {
    workers.push(await start({ handle, worker, pages, control }));
  }
  turns.take(WARM_UP_MS);
  return {
    name,
    role,
    operations: 1,
    run: () => together(turns.take(TURN_MS)),
    turn: () => together(turns.take(TURN_MS)),
    // Each worker has checked every page before it was ready, and ends only after another check.
    check: () => {},
    async dispose() {
      const ended = workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve)));
      turns.end();
      const codes = await Promise.all(ended);
      if (codes.some((code) => code !== 0)) throw new Error("a worker failed");
    },
  };
}

async function workerContenders(pages: number): Promise<Contender[]> {
  const open = await openPool(pages);
  const shared = await pair("palloc", "ours", pages, open.shared.handle);
  const own = await pair("own pool", "peer", pages, undefined);
  const dispose = async (): Promise<void> => {
    await shared.dispose?.();
    await open.close();
  };
  return [{ ...shared, dispose }, own];
}

/** Row 9 of the design. */
export const workerRows: readonly Row[] = [
  {
    id: "9.two-workers-1000-pages",
    name: "buffer hit and release by two workers at once, 1,000 pages of one shared pool",
    unit: "ns a hit",
    targets: { "own pool": 1.1 },
    contenders: () => workerContenders(WORKING_SET_PAGES),
  },
  {
    id: "9.two-workers-one-page",
    name: "buffer hit and release by two workers at once, one page of one shared pool",
    unit: "ns a hit",
    targets: { "own pool": 1.3 },
    contenders: () => workerContenders(1),
  },
];
