/**
 * What a storage manager is: pages in, pages out; beside them the journals that make a checkpoint
 * a commit, and two small documents. It knows files, URLs or handles, and nothing of wasm, buffers
 * or locks; another one can be written outside this repository against this file.
 *
 * A relation is a number; its name never reaches a storage manager, so no name can become a path.
 * Blocks are 8 kB; `into` and `from` may be views of shared memory.
 *
 * Contract, run over every manager by test/storage/contract.ts:
 * - a block written is read back, by any manager opened from the same handle;
 * - blocks between the old and the new end of an extended fork read as zeroes;
 * - reading or writing at or beyond the end throws, and never moves fewer bytes; what pages hold
 *   after a read that threw is undefined, and a write beyond the end writes nothing at all;
 * - a truncated fork is shorter for every thread, and one that grows again reads as zeroes;
 * - an extension that fails leaves whole blocks, none of the old ones changed;
 * - `flushSync` covers what every thread wrote to the fork before the call, and returns only when
 *   it survives what the medium promises; a flush that failed is not made good by another one;
 * - the control document is replaced whole or not at all;
 * - a journal's bytes are where they were written, by whatever thread; between them are zeroes;
 * - every failure of the medium is a {@link StorageError} that names what was touched.
 *
 * What callers see to: one writer at a time for one block, and one thread at a time that creates,
 * extends, truncates or removes a given fork, none of the others using it meanwhile. Different
 * forks may be extended by different threads at once. A journal is created and removed while nobody
 * else uses it; several threads may write it at once, each a part of its own. One thread at a time
 * replaces a document.
 *
 * PostgreSQL: src/include/storage/smgr.h, SMgrRelation; src/backend/storage/smgr/md.c
 */

import {
  BLOCK_BYTES,
  FORK_INIT,
  MAX_BLOCK_NUMBER,
  MAX_RELATION_NUMBER,
} from "../../assembly/common/constants.ts";
import { type ErrorParts, PallocError } from "../abi/errors.ts";

/** 0 main, 1 free-space map, 2 visibility map, 3 init. */
export type Fork = 0 | 1 | 2 | 3;

/** What lets another thread open the same storage; it can be posted. */
export interface StorageHandle {
  /** Which manager made it: `"memory"`, `"node-fs"`, or a name of your own. */
  readonly kind: string;
  /** Address of a module that exports `openStorage`, so that threads can load it by themselves. */
  readonly module?: string;
}

/** Opens storage from a handle, once a thread. A handle of another kind is a TypeError. */
export type StorageOpener = (handle: StorageHandle) => StorageManager;

/** What a manager promises. */
export interface StorageCapabilities {
  /** Whether what was flushed is there after the process has ended. */
  readonly durable: boolean;
  /** Whether several threads may have it open at once. */
  readonly shared: boolean;
}

/**
 * Pages of relations, journals, and two small documents. Every call may wait for the medium; those
 * that end in `Sync` do it in the calling thread.
 */
export interface StorageManager {
  readonly handle: StorageHandle;
  readonly capabilities: StorageCapabilities;

  /** Makes an empty fork. @throws {@link StorageError} if it exists */
  createSync(relation: number, fork: Fork): void;
  existsSync(relation: number, fork: Fork): boolean;
  /** Removes a fork and its blocks; one that does not exist is no error. */
  unlinkSync(relation: number, fork: Fork): void;
  /** @returns length of the fork in blocks */
  blocksSync(relation: number, fork: Fork): number;
  /** Makes the fork `blocks` long, never shorter; new ones are zero. A full medium shows here. */
  extendSync(relation: number, fork: Fork, blocks: number): void;
  /**
   * Makes the fork `blocks` long, never longer, for every thread. Works on a fork whose end a crash
   * left in disorder too, as long as the blocks that are to stay are there.
   *
   * @throws {@link StorageError} XX000 if the fork is shorter than that
   */
  truncateSync(relation: number, fork: Fork, blocks: number): void;
  /** Reads one block into exactly 8,192 bytes. */
  readSync(relation: number, fork: Fork, block: number, into: Uint8Array): void;
  /** Writes one block that lies within the fork. */
  writeSync(relation: number, fork: Fork, block: number, from: Uint8Array): void;
  /**
   * Reads consecutive blocks from `block` on, one into each page of exactly 8,192 bytes; where the
   * medium has it, with one call for what lies together. No pages: nothing happens.
   */
  readvSync(relation: number, fork: Fork, block: number, into: readonly Uint8Array[]): void;
  /** Writes consecutive blocks that lie within the fork, as {@link readvSync} reads them. */
  writevSync(relation: number, fork: Fork, block: number, from: readonly Uint8Array[]): void;
  /**
   * As {@link readvSync}, without blocking the thread. The pages belong to the storage until the
   * promise settles. Missing where reading waits for nothing.
   */
  readv?(relation: number, fork: Fork, block: number, into: readonly Uint8Array[]): Promise<void>;
  /**
   * Asks the medium to have `count` blocks ready soon. A hint: it may do less or nothing, and tells
   * of no failure. Missing where reading waits for nothing.
   */
  prefetch?(relation: number, fork: Fork, block: number, count: number): void;
  /** Makes everything written to the fork since the last flush durable. */
  flushSync(relation: number, fork: Fork): void;
  /** The relations of which there is anything: a fork, or what a crash left of one. */
  relationsSync(): number[];

  /** Makes journal `n` and leaves it empty; one of that number left over is replaced. */
  createJournalSync(n: number): void;
  /**
   * Writes parts one behind another from byte `position` on, which may lie beyond the end. Not
   * durable before {@link syncJournalSync}.
   *
   * @throws {@link StorageError} 58P01 if there is no such journal
   */
  writeJournalSync(n: number, position: number, parts: readonly Uint8Array[]): void;
  /** Reads from byte `position` on. @returns bytes read: fewer than asked for at the end only */
  readJournalSync(n: number, position: number, into: Uint8Array): number;
  /** @returns length of the journal in bytes */
  journalBytesSync(n: number): number;
  /** Makes the journal durable: what every thread wrote to it, its length and its name. */
  syncJournalSync(n: number): void;
  /** Removes a journal; one that does not exist is no error. */
  removeJournalSync(n: number): void;
  /** Numbers of the journals there are, ascending. */
  journalsSync(): number[];

  /** @returns the control document as last written, or undefined in new storage */
  readControlSync(): Uint8Array | undefined;
  /** Replaces the control document, whole and durably. */
  writeControlSync(bytes: Uint8Array): void;
  /** @returns the list of relations as last written, or undefined if there is none */
  readRelationsSync(): Uint8Array | undefined;
  /** Replaces the list of relations, whole, not durably: a crash may leave an old or empty one. */
  writeRelationsSync(bytes: Uint8Array): void;

  /**
   * Takes the storage for one owner, to be asked for before anything else is done with it. What is
   * held is given back by the system however the owner ends, a thread or a process.
   *
   * Missing where nobody but the holder of the handle can reach the storage.
   *
   * @returns a function that gives it back; a second call does nothing
   * @throws {@link StorageError} 55006 if it has an owner, in whatever process or thread
   */
  claim?(): Promise<() => void>;

  /** Gives back this thread's files and handles. Idempotent; every later call throws. */
  closeSync(): void;
}

/** 58030, 53100, 42501, XX001 …: the medium refused or does not hold what it should. */
export class StorageError extends PallocError {
  /** File, URL or other name of what was touched. */
  readonly target: string;

  constructor(code: string, message: string, target: string, parts: ErrorParts = {}) {
    super(code, message, parts);
    this.target = target;
  }
}

/** A fork's name as PostgreSQL's files have it: the number, and `_fsm`, `_vm` or `_init`. */
export function forkName(relation: number, fork: Fork): string {
  return `${relation}${["", "_fsm", "_vm", "_init"][fork] ?? ""}`;
}

/** @throws RangeError unless these are the numbers of a fork; what passes can be part of a path */
export function checkFork(relation: number, fork: Fork): void {
  if (!Number.isInteger(relation) || relation < 0 || relation > MAX_RELATION_NUMBER) {
    throw new RangeError(
      `a relation is a number from 0 to ${MAX_RELATION_NUMBER}, not ${relation}`,
    );
  }
  if (!Number.isInteger(fork) || fork < 0 || fork > FORK_INIT) {
    throw new RangeError(`a fork is a number from 0 to ${FORK_INIT}, not ${fork}`);
  }
}

/** @throws RangeError unless `block` can be a block's number and `page` holds exactly one block */
export function checkBlock(block: number, page: Uint8Array): void {
  checkBlocks(block, 1);
  checkPage(page);
}

/** @throws RangeError unless pages of one block each can be the blocks from `block` on */
export function checkPages(block: number, pages: readonly Uint8Array[]): void {
  checkBlocks(block, pages.length);
  for (const page of pages) checkPage(page);
}

/** @throws RangeError unless `count` blocks from `block` on can be blocks of a fork */
export function checkBlocks(block: number, count: number): void {
  if (block >>> 0 !== block || block > MAX_BLOCK_NUMBER) {
    throw new RangeError(`a block is a number from 0 to ${MAX_BLOCK_NUMBER}, not ${block}`);
  }
  const most = MAX_BLOCK_NUMBER + 1 - block;
  if (!Number.isInteger(count) || count < 0 || count > most) {
    throw new RangeError(`from block ${block} on there are 0 to ${most} blocks, not ${count}`);
  }
}

function checkPage(page: Uint8Array): void {
  if (page.length !== BLOCK_BYTES) {
    throw new RangeError(`a page has ${BLOCK_BYTES} bytes, not ${page.length}`);
  }
}

/** @throws RangeError unless a fork can be `blocks` blocks long */
export function checkLength(blocks: number): void {
  if (!Number.isInteger(blocks) || blocks < 0 || blocks > MAX_BLOCK_NUMBER + 1) {
    throw new RangeError(`a fork has 0 to ${MAX_BLOCK_NUMBER + 1} blocks, not ${blocks}`);
  }
}

/** Largest number of a journal. */
const MAX_JOURNAL = 0xffffffff;

/** @throws RangeError unless this is a journal's number; what passes can be part of a path */
export function checkJournal(n: number): void {
  if (!Number.isInteger(n) || n < 0 || n > MAX_JOURNAL) {
    throw new RangeError(`a journal is a number from 0 to ${MAX_JOURNAL}, not ${n}`);
  }
}

/** @throws RangeError unless this is a place in a journal */
export function checkPosition(position: number): void {
  if (!Number.isSafeInteger(position) || position < 0) {
    throw new RangeError(`a position is a number of bytes from 0, not ${position}`);
  }
}

/** Bytes of several pages or parts. */
export function bytesOf(parts: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  return bytes;
}

/** Blocks of one file, as messages name them. */
export interface BlockRange {
  /** Name of the file in messages. */
  readonly file: string;
  /** Its path, URL or other name. */
  readonly target: string;
  /** Number of the first block, counted in its fork. */
  readonly block: number;
  /** How many, from 1. */
  readonly count: number;
}

/** `could not read blocks 4..7 in file "base/5"` */
export function rangeMessage(what: "read" | "write", range: BlockRange): string {
  const last = range.block + range.count - 1;
  return `could not ${what} blocks ${range.block}..${last} in file "${range.file}"`;
}

/** XX001: a read that met the end. @param got - bytes that were there */
export function readPastEnd(range: BlockRange, got: number): StorageError {
  const wanted = range.count * BLOCK_BYTES;
  const message = `${rangeMessage("read", range)}: read only ${got} of ${wanted} bytes`;
  return new StorageError("XX001", message, range.target);
}

/** XX000: a write outside the fork; forks grow by extension alone. @param blocks - its length */
export function writePastEnd(range: BlockRange, blocks: number): StorageError {
  const message = `${rangeMessage("write", range)}: the fork has ${blocks} blocks`;
  return new StorageError("XX000", message, range.target, { hint: "Extend the fork first." });
}

/** XX000: truncation to more than there is. @param length - blocks there are */
export function truncatePastEnd(
  file: string,
  target: string,
  blocks: number,
  length: number,
): StorageError {
  const message = `could not truncate file "${file}" to ${blocks} blocks: it's only ${length} blocks now`;
  return new StorageError("XX000", message, target);
}
