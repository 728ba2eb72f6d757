/**
 * The pool as a cache, against `lru-cache` with the same memory: 1,024 pages for a file of 10,240,
 * read in skewed order, in skewed order with scans in between, and round a loop. For each order one
 * row says how many of 100 reads miss and another what a read costs, misses included.
 *
 * The peer is given its best: numbers as keys, and the 8 kB of the page that leaves are used for
 * the page that comes. On a miss it reads the same file with `fs.readSync`; it verifies no checksum
 * and shares with nobody.
 */

import { closeSync, openSync, readSync } from "node:fs";
import { LRUCache } from "lru-cache";
import { BLOCK_BYTES } from "../assembly/common/constants.ts";
import { nodeFiles } from "../bindings/storage/node-fs.ts";
import type { Contender, Row } from "./harness.ts";
import {
  checkPage,
  type DataDirectory,
  makeDirectory,
  type OpenPool,
  openRegion,
  STAMP_OFFSET,
} from "./pages.ts";
import { loopTrace, scanPollutedTrace, skewedTrace } from "./traces.ts";

const FILE_PAGES = 10_240;
const CACHE_PAGES = 1024;
const LOOP_PAGES = 1280;
const TRACE_READS = 61_440;
/** Reads in one call of a loop. */
const STEP = 2048;
const SETTINGS = { shared_buffers: CACHE_PAGES };

/** A cache under test: how it is read, and how often it had to read the file. */
interface Cache {
  readonly contender: Contender;
  /** Reads of the file so far. */
  misses(): number;
}

function poolCache({ shared, pool, relation, close }: OpenPool, trace: Uint32Array): Cache {
  const file = relation.id;
  let next = 0;
  const contender: Contender = {
    name: "palloc",
    role: "ours",
    operations: STEP,
    run() {
      let sum = 0;
      for (let index = 0; index < STEP; index += 1) {
        const buffer = pool.pin(file, trace[next] ?? 0);
        sum += pool.bytes(buffer)[STAMP_OFFSET] ?? 0;
        pool.unpin(buffer);
        next = next + 1 === trace.length ? 0 : next + 1;
      }
      return sum;
    },
    check() {
      for (const block of trace) {
        const buffer = pool.pin(file, block);
        checkPage(pool.bytes(buffer), block);
        pool.unpin(buffer);
      }
      if (pool.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
    },
    dispose: close,
  };
  return { contender, misses: () => shared.statistics().reads };
}

function lruCache(data: DataDirectory, trace: Uint32Array): Cache {
  const descriptor = openSync(data.file, "r");
  const pages = new LRUCache<number, Uint8Array>({ max: CACHE_PAGES });
  const spare = new Uint8Array(CACHE_PAGES * BLOCK_BYTES);
  let taken = 0;
  let misses = 0;
  const room = (): Uint8Array => {
    if (taken === CACHE_PAGES) return pages.pop() ?? new Uint8Array(BLOCK_BYTES);
    const from = taken * BLOCK_BYTES;
    taken += 1;
    return spare.subarray(from, from + BLOCK_BYTES);
  };
  const load = (block: number): Uint8Array => {
    const page = room();
    readSync(descriptor, page, 0, BLOCK_BYTES, block * BLOCK_BYTES);
    pages.set(block, page);
    misses += 1;
    return page;
  };
  let at = 0;
  const contender: Contender = {
    name: "lru-cache",
    role: "peer",
    operations: STEP,
    run() {
      let total = 0;
      for (let turn = 0; turn < STEP; turn += 1) {
        const wanted = trace[at] ?? 0;
        total += (pages.get(wanted) ?? load(wanted))[STAMP_OFFSET] ?? 0;
        at = at + 1 === trace.length ? 0 : at + 1;
      }
      return total;
    },
    check() {
      for (const block of trace) checkPage(pages.get(block) ?? load(block), block);
      if (pages.size > CACHE_PAGES) throw new Error("the cache has more pages than the pool");
    },
    dispose() {
      closeSync(descriptor);
      data.remove();
    },
  };
  return { contender, misses: () => misses };
}

async function caches(trace: Uint32Array): Promise<Cache[]> {
  const data = await makeDirectory(FILE_PAGES, SETTINGS);
  const open = await openRegion(nodeFiles(data.directory), SETTINGS);
  return [poolCache(open, trace), lruCache(data, trace)];
}

/** What a cache misses on its next way through the trace, in 100 reads. */
function counting({ contender, misses }: Cache): Contender {
  const turn = (): number => {
    const before = misses();
    for (let read = 0; read < TRACE_READS; read += STEP) contender.run();
    return ((misses() - before) * 100) / TRACE_READS;
  };
  return { ...contender, turn };
}

function rowsOf(id: string, order: string, trace: () => Uint32Array): Row[] {
  return [
    {
      id: `cache.${id}`,
      name: `reads through a cache of 1,024 pages, ${order}, a miss reads the file`,
      unit: "ns a read",
      targets: {},
      contenders: async () => (await caches(trace())).map(({ contender }) => contender),
    },
    {
      id: `cache.${id}-misses`,
      name: `misses of a cache of 1,024 pages, ${order}`,
      unit: "misses in 100 reads",
      targets: {},
      contenders: async () => (await caches(trace())).map(counting),
    },
  ];
}

const LOOP = `round and round ${LOOP_PAGES.toLocaleString("en-US")} pages`;

/**
 * Hit ratio and throughput as a cache; no rows of the design, but of the issue that asks for them.
 */
export const cacheRows: readonly Row[] = [
  ...rowsOf("zipf", "10,240 pages in Zipf order (0.99)", () =>
    skewedTrace(TRACE_READS, FILE_PAGES),
  ),
  ...rowsOf("zipf-and-scans", "Zipf order with scans of 2,048 pages in between", () =>
    scanPollutedTrace(TRACE_READS, FILE_PAGES),
  ),
  ...rowsOf("loop", LOOP, () => loopTrace(TRACE_READS, LOOP_PAGES)),
];
