/**
 * Rows about pages that are not in the pool: a miss whose victim is clean (7), and a sequential
 * scan through a cold pool (8), by a read stream with a ring, as scans of large tables are. Both
 * are set against the least a program can do, a bare `fs.readSync` of 8 kB at the same place of the
 * same file, which stands in the system's cache.
 *
 * The pool has an eighth of the file's pages and the file is gone through from end to end again and
 * again, so that a page has always left the pool before its turn comes. Ours verifies each page's
 * checksum, as it does by default; what it costs without is shown beside it, and so is the bare
 * call into as many places as the pool has.
 */

import { closeSync, openSync, readSync } from "node:fs";
import { BLOCK_BYTES } from "../assembly/common/constants.ts";
import type { Settings } from "../bindings/index.ts";
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
import { shuffledBlocks } from "./workloads.ts";

/** 64 MB. */
const FILE_PAGES = 8192;
const POOL_PAGES = 1024;
/** Pages in one call of a loop. */
const STEP = 512;
const VERIFIED: Settings = { shared_buffers: POOL_PAGES };
const UNVERIFIED: Settings = { shared_buffers: POOL_PAGES, data_checksums: false };

/** Where a loop that goes round and round `blocks` begins next. */
class Round {
  readonly blocks: Uint32Array;
  #next = 0;

  constructor(blocks: Uint32Array) {
    this.blocks = blocks;
  }

  /** The next {@link STEP} blocks. */
  take(): Uint32Array {
    const first = this.#next;
    this.#next = (first + STEP) % this.blocks.length;
    return this.blocks.subarray(first, first + STEP);
  }
}

/** Every page is read from storage each time round, and is the right one. */
function checkMisses({ shared, pool, relation }: OpenPool, { blocks }: Round): void {
  for (const block of blocks) {
    const buffer = pool.pin(relation.id, block);
    checkPage(pool.bytes(buffer), block);
    pool.unpin(buffer);
  }
  const before = shared.statistics();
  for (const block of blocks) pool.unpin(pool.pin(relation.id, block));
  const { reads, writes } = shared.statistics();
  if (reads - before.reads !== blocks.length) throw new Error("a page was in the pool already");
  if (writes !== before.writes) throw new Error("a victim was dirty");
  if (pool.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
}

function missPool(open: OpenPool, round: Round): Contender {
  const { pool, relation } = open;
  const file = relation.id;
  return {
    name: "palloc",
    role: "ours",
    operations: STEP,
    run() {
      let sum = 0;
      const blocks = round.take();
      for (let index = 0; index < blocks.length; index += 1) {
        const buffer = pool.pin(file, blocks[index] ?? 0);
        sum += pool.bytes(buffer)[STAMP_OFFSET] ?? 0;
        pool.unpin(buffer);
      }
      return sum;
    },
    check: () => checkMisses(open, round),
    dispose: open.close,
  };
}

/** The same loop from a text of its own, with checksums left unread. */
function missUnverified(open: OpenPool, round: Round): Contender {
  const { pool, relation } = open;
  const fork = relation.id;
  return {
    name: "no checksums",
    role: "also",
    operations: STEP,
    run() {
      let total = 0;
      const wanted = round.take();
      for (let at = 0; at < wanted.length; at += 1) {
        const pinned = pool.pin(fork, wanted[at] ?? 0);
        total += pool.bytes(pinned)[STAMP_OFFSET] ?? 0;
        pool.unpin(pinned);
      }
      return total;
    },
    check: () => checkMisses(open, round),
    dispose: open.close,
  };
}

/** Every page of a round comes from storage, several by one read, and is the right one. */
function checkScan({ shared, backend, pool, relation }: OpenPool): void {
  const all = { first: 0, end: FILE_PAGES };
  backend.buffers.evictAllSync();
  const before = readsOf(shared);
  const { hits } = shared.statistics();
  let expected = 0;
  for (const buffer of pool.readStream(relation, all, { sequential: true })) {
    checkPage(pool.bytes(buffer), expected);
    expected += 1;
  }
  if (expected !== FILE_PAGES) throw new Error(`${expected} pages were delivered`);
  if (shared.statistics().hits !== hits) throw new Error("a page was in the pool already");
  const reads = readsOf(shared) - before;
  if (reads > FILE_PAGES / 8) throw new Error(`neighbours came by ${reads} reads`);
  if (pool.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
}

/** Calls of storage that read. */
function readsOf(shared: OpenPool["shared"]): number {
  return shared.views.pgStatIo().reduce((sum, row) => sum + (row.reads ?? 0), 0);
}

/** A read stream that goes round and round the file. */
function scanPool(open: OpenPool, name: string, role: Contender["role"]): Contender {
  const { pool, relation } = open;
  let block = 0;
  const source = (): number => {
    const next = block;
    block = next + 1 === FILE_PAGES ? 0 : next + 1;
    return next;
  };
  const strategy = pool.strategy("bulkread");
  const ring = strategy === undefined ? {} : { strategy };
  const stream = pool.readStream(relation, source, { sequential: true, ...ring });
  return {
    name,
    role,
    operations: STEP,
    run() {
      let sum = 0;
      for (let page = 0; page < STEP; page += 1) {
        const buffer = stream.nextSync();
        if (buffer === undefined) throw new Error("the file has ended");
        sum += pool.bytes(buffer)[STAMP_OFFSET] ?? 0;
        pool.unpin(buffer);
      }
      return sum;
    },
    check: () => checkScan(open),
    dispose() {
      stream[Symbol.dispose]();
      return open.close();
    },
  };
}

/** Opens the file and reads one block after the other into the same 8 kB. */
function bareReads(file: string, round: Round): Contender {
  const descriptor = openSync(file, "r");
  const page = new Uint8Array(BLOCK_BYTES);
  return {
    name: "readSync",
    role: "peer",
    operations: STEP,
    run() {
      let size = 0;
      const places = round.take();
      for (let turn = 0; turn < places.length; turn += 1) {
        readSync(descriptor, page, 0, BLOCK_BYTES, (places[turn] ?? 0) * BLOCK_BYTES);
        size += page[STAMP_OFFSET] ?? 0;
      }
      return size;
    },
    check() {
      for (const block of round.blocks) {
        const read = readSync(descriptor, page, 0, BLOCK_BYTES, block * BLOCK_BYTES);
        checkPage(page.subarray(0, read), block);
      }
    },
    dispose: () => closeSync(descriptor),
  };
}

/**
 * The same reads into as many places as the pool has frames, as every cache must: the processor's
 * caches hold 8 kB that are written again and again, and do not hold these.
 */
function spreadReads(file: string, round: Round): Contender {
  const descriptor = openSync(file, "r");
  const places = Array.from({ length: POOL_PAGES }, () => new Uint8Array(BLOCK_BYTES));
  let frame = 0;
  return {
    name: "readSync, as many places",
    role: "peer",
    operations: STEP,
    run() {
      let size = 0;
      const blocks = round.take();
      for (let step = 0; step < blocks.length; step += 1) {
        const into = places[frame] ?? new Uint8Array(BLOCK_BYTES);
        frame = frame + 1 === POOL_PAGES ? 0 : frame + 1;
        readSync(descriptor, into, 0, BLOCK_BYTES, (blocks[step] ?? 0) * BLOCK_BYTES);
        size += into[STAMP_OFFSET] ?? 0;
      }
      return size;
    },
    check() {
      for (const block of round.blocks) {
        const into = places[block % POOL_PAGES] ?? new Uint8Array(0);
        readSync(descriptor, into, 0, BLOCK_BYTES, block * BLOCK_BYTES);
        checkPage(into, block);
      }
    },
    dispose: () => closeSync(descriptor),
  };
}

/** Ours with and without checksums, each on a directory of its own, and the bare loop. */
async function missContenders(
  order: () => Uint32Array,
  ours: (verified: OpenPool, unverified: OpenPool) => Contender[],
): Promise<Contender[]> {
  const data = await makeDirectory(FILE_PAGES, VERIFIED);
  const other = await makeDirectory(FILE_PAGES, UNVERIFIED);
  const verified = await openRegion(nodeFiles(data.directory), VERIFIED);
  const unverified = await openRegion(nodeFiles(other.directory), UNVERIFIED);
  return [
    ...ours(verified, unverified),
    spreadReads(data.file, new Round(order())),
    endingWith(bareReads(data.file, new Round(order())), [data, other]),
  ];
}

/** The last to be disposed takes the files with it. */
function endingWith(contender: Contender, directories: readonly DataDirectory[]): Contender {
  return {
    ...contender,
    dispose() {
      contender.dispose?.();
      for (const directory of directories) directory.remove();
    },
  };
}

const inOrder = (): Uint32Array => Uint32Array.from({ length: FILE_PAGES }, (_, block) => block);

const shuffled = (): Uint32Array => shuffledBlocks(FILE_PAGES);

/** Rows 7 and 8 of the design. */
export const missRows: readonly Row[] = [
  {
    id: "7.miss-clean",
    name: "miss with a clean victim, random pages of a file in the system's cache, from JavaScript",
    unit: "ns a miss",
    targets: { readSync: 1.3 },
    contenders: () =>
      missContenders(shuffled, (verified, unverified) => [
        missPool(verified, new Round(shuffled())),
        missUnverified(unverified, new Round(shuffled())),
      ]),
  },
  {
    id: "8.scan-cold",
    name: "sequential scan of a file through a cold pool, from JavaScript",
    unit: "ns a page",
    targets: { readSync: 0.7 },
    contenders: () =>
      missContenders(inOrder, (verified, unverified) => [
        scanPool(verified, "palloc", "ours"),
        scanPool(unverified, "no checksums", "also"),
      ]),
  },
];
