/**
 * Row 13, second half: what a hit costs in a pool of 400,000 buffers, 3.2 GB, against a pool of
 * 1,000. Nothing in the hit path grows with the pool but what the processor's caches must hold.
 *
 * The large pool is full of pages that nobody has read: its storage leaves the frames as they are,
 * so the system gives memory to the descriptors, the table and the hold words only. The address is
 * asked for, not a view: 400,000 views would be a measurement of the engine's heap.
 */

import { MAX_USAGE } from "../assembly/common/constants.ts";
import { OutOfMemoryError, type Settings } from "../bindings/index.ts";
import type { StorageManager, StorageOpener } from "../bindings/storage/manager.ts";
import { memoryStorage, openStorage } from "../bindings/storage/memory.ts";
import type { Contender, Row } from "./harness.ts";
import { type OpenPool, openRegion } from "./pages.ts";
import { shuffledBlocks } from "./workloads.ts";

const MANY = 400_000;
const FEW = 1000;
/** Hits in one call of a loop. */
const STEP = 2000;

/**
 * Storage that leaves frames as they are when it is asked to read, and has no end; all else is that
 * of pages in memory.
 */
function blank(memory: StorageManager): StorageManager {
  const changed: Partial<StorageManager> = { readSync: () => {}, extendSync: () => {} };
  return new Proxy(memory, {
    get(target, name) {
      const own: unknown = Reflect.get(changed, name) ?? Reflect.get(target, name);
      return typeof own === "function" ? own.bind(target) : own;
    },
  });
}

/** A pool that holds `pages` pages, each used so often by now that a hit counts no further use. */
async function openBlank(pages: number): Promise<OpenPool> {
  const settings: Settings = { shared_buffers: pages, max_connections: 2, data_checksums: false };
  const opener: StorageOpener = (handle) => blank(openStorage(handle));
  const open = await openRegion(blank(memoryStorage()), settings, opener);
  for (let use = 0; use < MAX_USAGE; use += 1) {
    for (let block = 0; block < pages; block += 1) {
      open.pool.unpin(open.pool.pin(open.relation.id, block));
    }
  }
  return open;
}

/** Every page is a hit, in a frame of its own. */
function checkResident({ shared, pool, relation }: OpenPool, pages: number): void {
  const before = shared.statistics();
  const frames = new Set<number>();
  for (let block = 0; block < pages; block += 1) {
    const buffer = pool.pin(relation.id, block);
    frames.add(pool.offset(buffer));
    pool.unpin(buffer);
  }
  const { hits, reads } = shared.statistics();
  if (frames.size !== pages) throw new Error("two pages are in one frame");
  if (hits - before.hits !== pages || reads !== before.reads) throw new Error("a page was not in");
}

function hitAmongMany(open: OpenPool): Contender {
  const { pool, relation } = open;
  const file = relation.id;
  const blocks = shuffledBlocks(MANY);
  let next = 0;
  return {
    name: "400,000 buffers",
    role: "ours",
    operations: STEP,
    run() {
      let sum = 0;
      for (let index = 0; index < STEP; index += 1) {
        const buffer = pool.pin(file, blocks[next] ?? 0);
        sum += pool.offset(buffer);
        pool.unpin(buffer);
        next = next + 1 === MANY ? 0 : next + 1;
      }
      return sum;
    },
    check: () => checkResident(open, MANY),
    dispose: open.close,
  };
}

/** As many pages as the small pool has, of the large one: what the pool's size itself costs. */
function hitFewAmongMany({ pool, relation }: OpenPool): Contender {
  const id = relation.id;
  const chosen = shuffledBlocks(MANY).slice(0, FEW);
  let place = 0;
  return {
    name: "10^3 of 400,000",
    role: "also",
    operations: STEP,
    run() {
      let offsets = 0;
      for (let step = 0; step < STEP; step += 1) {
        const held = pool.pin(id, chosen[place] ?? 0);
        offsets += pool.offset(held);
        pool.unpin(held);
        place = place + 1 === FEW ? 0 : place + 1;
      }
      return offsets;
    },
    check: () => {},
  };
}

function hitAmongFew(open: OpenPool): Contender {
  const { pool, relation } = open;
  const fork = relation.id;
  const order = shuffledBlocks(FEW);
  let at = 0;
  return {
    name: "10^3 buffers",
    role: "peer",
    operations: STEP,
    run() {
      let total = 0;
      for (let turn = 0; turn < STEP; turn += 1) {
        const pinned = pool.pin(fork, order[at] ?? 0);
        total += pool.offset(pinned);
        pool.unpin(pinned);
        at = at + 1 === FEW ? 0 : at + 1;
      }
      return total;
    },
    check: () => checkResident(open, FEW),
    dispose: open.close,
  };
}

/** The large pool, or a contender whose check says why this system has no room for it. */
async function largePool(): Promise<Contender[]> {
  try {
    const open = await openBlank(MANY);
    return [hitAmongMany(open), hitFewAmongMany(open)];
  } catch (error) {
    if (!(error instanceof OutOfMemoryError)) throw error;
    const check = (): never => {
      throw new Error(`no region of 3.2 GB could be reserved here: ${error.message}`);
    };
    return [{ name: "400,000 buffers", role: "ours", operations: 1, run: check, check }];
  }
}

/** Row 13 of the design, second half. */
export const largeRows: readonly Row[] = [
  {
    id: "13.hit-400000-buffers",
    name: "buffer hit and release, random pages of a full pool of 400,000 buffers, from JavaScript",
    unit: "ns a hit",
    targets: { "10^3 buffers": 4.0 },
    contenders: async () => [...(await largePool()), hitAmongFew(await openBlank(FEW))],
  },
];
