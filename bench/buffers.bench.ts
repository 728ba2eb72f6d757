/**
 * Rows about pages that are in the pool already, read from JavaScript: against PostgreSQL's own C,
 * measured inside its server (5), and against what programs use today as a page cache, an LRU cache
 * with a string key a page (6).
 *
 * All contenders of row 6 visit the same pages in the same random order and give back 8 kB of bytes
 * each. In row 5 PostgreSQL visits as many pages in a random order of its own and gives back their
 * addresses, and ours gives back its likeness, `offset()`; the form with `bytes()` stands beside
 * it: one view a frame is more for the processor's caches to hold. None reads the page: what is
 * measured is finding it, and holding it where it could be taken away.
 */

import { LRUCache } from "lru-cache";
import { BLOCK_BYTES } from "../assembly/common/constants.ts";
import type { Contender, Row } from "./harness.ts";
import { checkPage, type OpenPool, openPool, RELATION, stamp } from "./pages.ts";
import { postgresPeer } from "./postgres-peer.ts";
import {
  POSTGRES_POOL_PAGES,
  shuffledBlocks,
  WHOLE_POOL_PAGES,
  WORKING_SET_PAGES,
} from "./workloads.ts";

/** Number form: numbers in, numbers out, the frame's own view. */
function hitNumbers(open: OpenPool, blocks: Uint32Array): Contender {
  const { pool, relation } = open;
  const fork = relation.id;
  return {
    name: "palloc",
    role: "ours",
    operations: blocks.length,
    run() {
      let bytes = 0;
      for (let index = 0; index < blocks.length; index += 1) {
        const buffer = pool.pin(fork, blocks[index] ?? 0);
        bytes += pool.bytes(buffer).length;
        pool.unpin(buffer);
      }
      return bytes;
    },
    check() {
      for (const block of blocks) {
        const buffer = pool.pin(fork, block);
        checkPage(pool.bytes(buffer), block);
        pool.unpin(buffer);
      }
      if (pool.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
    },
  };
}

/** Number form without a view: the page's place among the region's bytes, as C has its address. */
function hitOffsets(open: OpenPool, blocks: Uint32Array): Contender {
  const { pool, relation } = open;
  const file = relation.id;
  return {
    name: "palloc",
    role: "ours",
    operations: blocks.length,
    run() {
      let offsets = 0;
      for (let at = 0; at < blocks.length; at += 1) {
        const pinned = pool.pin(file, blocks[at] ?? 0);
        offsets += pool.offset(pinned);
        pool.unpin(pinned);
      }
      return offsets;
    },
    check() {
      for (const block of blocks) {
        const pinned = pool.pin(file, block);
        const from = pool.offset(pinned);
        checkPage(pool.u8.subarray(from, from + BLOCK_BYTES), block);
        pool.unpin(pinned);
      }
      if (pool.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
    },
  };
}

/** Object form: one object a page, pinned and share-locked until disposed. */
function hitObjects(open: OpenPool, blocks: Uint32Array): Contender {
  const { pool, relation } = open;
  return {
    name: "object form",
    role: "also",
    operations: blocks.length,
    run() {
      let length = 0;
      for (let at = 0; at < blocks.length; at += 1) {
        const page = pool.readSync(relation, blocks[at] ?? 0);
        length += page.bytes.length;
        page[Symbol.dispose]();
      }
      return length;
    },
    check() {
      for (const block of blocks) {
        const page = pool.readSync(relation, block);
        checkPage(page.bytes, block);
        page[Symbol.dispose]();
      }
      if (pool.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
    },
  };
}

/** Stamped pages outside of any pool, as a program without one keeps them. */
function loosePages(pages: number): Uint8Array[] {
  const all = new Uint8Array(pages * BLOCK_BYTES);
  return Array.from({ length: pages }, (_, block) => {
    const page = all.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    stamp(page, block);
    return page;
  });
}

/** What programs do today: an LRU cache whose key is built from the relation and the block. */
function hitStringKey(blocks: Uint32Array): Contender {
  const cache = new LRUCache<string, Uint8Array>({ max: blocks.length });
  const relation = RELATION;
  for (const [block, page] of loosePages(blocks.length).entries()) {
    cache.set(`${relation}:${block}`, page);
  }
  return {
    name: "string key",
    role: "peer",
    operations: blocks.length,
    run() {
      let total = 0;
      for (let turn = 0; turn < blocks.length; turn += 1) {
        const page = cache.get(`${relation}:${blocks[turn] ?? 0}`);
        if (page !== undefined) total += page.length;
      }
      return total;
    },
    check() {
      for (const block of blocks) checkPage(cache.get(`${relation}:${block}`), block);
    },
  };
}

/**
 * The floor: a Map with the block number as its key. It knows one relation, evicts nothing, and
 * nobody can take a page away, so it does less than the row asks for; shown for honesty.
 */
function hitNumberKey(blocks: Uint32Array): Contender {
  const pages = new Map(loosePages(blocks.length).entries());
  return {
    name: "number key",
    role: "peer",
    operations: blocks.length,
    run() {
      let size = 0;
      for (let step = 0; step < blocks.length; step += 1) {
        const found = pages.get(blocks[step] ?? 0);
        if (found !== undefined) size += found.length;
      }
      return size;
    },
    check() {
      for (const block of blocks) checkPage(pages.get(block), block);
    },
  };
}

/** Row 5: ours in its forms, and PostgreSQL's ReadBuffer and ReleaseBuffer. */
async function postgresContenders(pages: number, peer: Contender[]): Promise<Contender[]> {
  const open = await openPool(pages);
  const blocks = shuffledBlocks(pages);
  const offsets = hitOffsets(open, blocks);
  return [
    { ...offsets, dispose: open.close },
    { ...hitNumbers(open, blocks), name: "with bytes()", role: "also" },
    hitObjects(open, blocks),
    ...peer,
  ];
}

async function hitContenders(pages: number): Promise<Contender[]> {
  const open = await openPool(pages);
  const blocks = shuffledBlocks(pages);
  const numbers = hitNumbers(open, blocks);
  return [
    { ...numbers, dispose: open.close },
    hitObjects(open, blocks),
    hitStringKey(blocks),
    hitNumberKey(blocks),
  ];
}

/** Rows 5 and 6 of the design, each over a working set and over a whole pool. */
export const bufferRows: readonly Row[] = [
  {
    id: "5.hit-1000-pages",
    name: "buffer hit and release, 1,000 pages, from JavaScript",
    unit: "ns a hit",
    targets: { PostgreSQL: 0.5 },
    contenders: () => postgresContenders(WORKING_SET_PAGES, postgresPeer("hit-1000-pages")),
  },
  {
    id: "5.hit-whole-pool",
    name: "buffer hit and release, 16,000 of the 16,384 pages of a 128 MB pool, from JavaScript",
    unit: "ns a hit",
    targets: { PostgreSQL: 0.4 },
    contenders: () => postgresContenders(POSTGRES_POOL_PAGES, postgresPeer("hit-whole-pool")),
  },
  {
    id: "6.hit-vs-string-key",
    name: "buffer hit and release, 1,000 pages, from JavaScript",
    unit: "ns a hit",
    targets: { "string key": 0.4 },
    contenders: () => hitContenders(WORKING_SET_PAGES),
  },
  {
    id: "6.hit-vs-string-key-whole-pool",
    name: "buffer hit and release, all 16,384 pages of a 128 MB pool, from JavaScript",
    unit: "ns a hit",
    targets: { "string key": 0.4 },
    contenders: () => hitContenders(WHOLE_POOL_PAGES),
  },
];
