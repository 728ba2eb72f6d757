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
 * - reading at or beyond the end throws, and never returns fewer bytes;
 * - `flushSync` returns only when what was written before survives what the medium promises;
 * - the control document is replaced whole or not at all;
 * - every failure is a {@link StorageError} that names what was touched.
 *
 * PostgreSQL: src/include/storage/smgr.h, SMgrRelation; src/backend/storage/smgr/md.c
 */

import { type ErrorParts, PallocError } from "../abi/errors.ts";

/** 0 main, 1 free-space map, 2 visibility map, 3 init. */
export type Fork = 0 | 1 | 2 | 3;

/** What lets another thread open the same storage; it can be posted. */
export interface StorageHandle {
  /** Which manager made it: `"memory"`, `"node-fs"`, or a name of your own. */
  readonly kind: string;
  /** Address of a module that exports `openStorage(handle)`, where threads can load it by themselves. */
  readonly module?: string;
}

/** Opens storage from a handle; each thread does so once. */
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
  /** Makes the fork `blocks` blocks long; new ones are zero. It never shortens. */
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
  /** Gives back files and handles. Idempotent. */
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
