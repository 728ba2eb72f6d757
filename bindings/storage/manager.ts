/**
 * What a storage manager is: pages in, pages out. It knows files, URLs or handles, and nothing of
 * wasm, buffers or locks; another one can be written outside this repository against this file.
 *
 * A relation is a number; its name never reaches a storage manager, so no name can become a path.
 * Blocks are 8 kB; `into` and `from` may be views of shared memory.
 *
 * Contract, run over every manager by test/storage/contract.ts:
 * - a block written is read back, by any manager opened from the same handle;
 * - blocks between the old and the new end of an extended fork read as zeroes;
 * - reading or writing at or beyond the end throws, and never moves fewer bytes;
 * - an extension that fails leaves whole blocks, none of the old ones changed;
 * - `flushSync` covers what every thread wrote to the fork before the call, and returns only when
 *   it survives what the medium promises; a flush that failed is not made good by another one;
 * - the control document is replaced whole or not at all;
 * - every failure of the medium is a {@link StorageError} that names what was touched.
 *
 * What callers see to: one writer at a time for one block, and one thread at a time that creates,
 * extends or removes a given fork, none of the others using it meanwhile. Different forks may be
 * extended by different threads at once.
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

/** Pages of relations, and one small control document. Every call may wait for the medium. */
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
  /** Reads one block into exactly 8,192 bytes. */
  readSync(relation: number, fork: Fork, block: number, into: Uint8Array): void;
  /** Writes one block that lies within the fork. */
  writeSync(relation: number, fork: Fork, block: number, from: Uint8Array): void;
  /** Makes everything written to the fork since the last flush durable. */
  flushSync(relation: number, fork: Fork): void;
  /** The relations that have at least a main fork. */
  relationsSync(): number[];
  /** @returns the control document as last written, or undefined in new storage */
  readControlSync(): Uint8Array | undefined;
  /** Replaces the control document, whole and durably. */
  writeControlSync(bytes: Uint8Array): void;
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
  if (block >>> 0 !== block || block > MAX_BLOCK_NUMBER) {
    throw new RangeError(`a block is a number from 0 to ${MAX_BLOCK_NUMBER}, not ${block}`);
  }
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

/** XX001: a read that met the end. @param got - bytes that were there */
export function readPastEnd(
  file: string,
  target: string,
  block: number,
  got: number,
): StorageError {
  const message = `could not read blocks ${block}..${block} in file "${file}": read only ${got} of ${BLOCK_BYTES} bytes`;
  return new StorageError("XX001", message, target);
}

/** XX000: a write outside the fork; forks grow by extension alone. */
export function writePastEnd(
  file: string,
  target: string,
  block: number,
  blocks: number,
): StorageError {
  const message = `could not write blocks ${block}..${block} in file "${file}": the fork has ${blocks} blocks`;
  return new StorageError("XX000", message, target, { hint: "Extend the fork first." });
}
