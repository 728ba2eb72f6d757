/**
 * One of two workers that hit pages at the same time (row 9). Between turns it sleeps on the words
 * of {@link Turns}; in a turn it meets its partner at the start, hits pages for as long as the turn
 * lasts, and says how many nanoseconds a hit took.
 */

import { parentPort, workerData } from "node:worker_threads";
import { Backend, type BufferPool, type Relation } from "../bindings/index.ts";
import { checkPage, openPool, RELATION } from "./pages.ts";
import { Turns } from "./turns.ts";
import { type HitsWorkerData, WORKERS } from "./workers.bench.ts";
import { SEED, shuffledBlocks } from "./workloads.ts";

/** Hits between two looks at the clock: about a tenth of a millisecond. */
const BATCH = 1000;

interface Place {
  readonly pool: BufferPool;
  readonly relation: Relation;
  leave(): void | Promise<void>;
}

const { handle, worker, pages, control } = workerData as HitsWorkerData;

/** The pool of the handle, or one of the worker's own. */
async function openPlace(): Promise<Place> {
  if (handle === undefined) {
    const { pool, relation, close } = await openPool(pages);
    return { pool, relation, leave: close };
  }
  const backend = Backend.attachSync(handle);
  const relation = backend.openRelationSync(RELATION);
  return { pool: backend.buffers, relation, leave: () => backend.detach() };
}

const { pool, relation, leave } = await openPlace();
const file = relation.id;
/** Each worker has an order of its own. */
const blocks = shuffledBlocks(pages, SEED + worker);
let next = 0;

function hits(): number {
  let sum = 0;
  for (let index = 0; index < BATCH; index += 1) {
    const buffer = pool.pin(file, blocks[next] ?? 0);
    sum += pool.offset(buffer);
    pool.unpin(buffer);
    next = next + 1 === pages ? 0 : next + 1;
  }
  return sum;
}

function check(): void {
  for (const block of blocks) {
    const buffer = pool.pin(file, block);
    checkPage(pool.bytes(buffer), block);
    pool.unpin(buffer);
  }
  if (pool.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
}

check();
const turns = new Turns(WORKERS, control);
parentPort?.postMessage("ready");
for (let turn = 1; turns.await(turn); turn += 1) {
  turns.meet();
  const start = performance.now();
  const end = start + turns.milliseconds;
  let done = 0;
  let now = start;
  do {
    if (hits() === 0) throw new Error("a frame stands at address 0");
    done += BATCH;
    now = performance.now();
  } while (now < end);
  turns.finish(worker, ((now - start) * 1e6) / done);
}
check();
await leave();
