/**
 * A backend's storage, which changes nothing once the region has ended as after a crash: from then
 * on the owner brings storage back to its last checkpoint, and a write that came late would be in
 * it.
 *
 * The handshake of docs/concurrency.md once more. Who changes storage stores 1 into its slot, then
 * looks whether the region has crashed; the owner says that it has, then looks at every slot: at
 * least one sees the other. So a worker in the middle of a write is waited for, and one that is
 * anywhere else is not, whether it runs, sleeps or is stuck. All writes are synchronous calls, so
 * that the word spans each of them whole; reads change nothing, and pass by.
 */

import {
  REGION_STATUS_OFFSET,
  SLOT_WRITING_OFFSET,
  ST_GONE,
  STATUS_CRASHED,
} from "../../assembly/common/constants.ts";
import type {
  Fork,
  StorageCapabilities,
  StorageHandle,
  StorageManager,
} from "../storage/manager.ts";
import { errorOf } from "./statuses.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;

/** Where a backend's word is, and its region's status. @internal */
export interface WritingSlot {
  /** The region's words. */
  readonly i32: Int32Array;
  /** Byte address of the slot. */
  readonly slotAddress: number;
}

/** Storage behind that word. @internal */
export class GuardedStorage implements StorageManager {
  readonly handle: StorageHandle;
  readonly capabilities: StorageCapabilities;
  readonly readv?: NonNullable<StorageManager["readv"]>;
  readonly prefetch?: NonNullable<StorageManager["prefetch"]>;
  readonly #storage: StorageManager;
  readonly #words: Int32Array;
  readonly #writing: number;

  constructor(storage: StorageManager, { i32, slotAddress }: WritingSlot) {
    this.#storage = storage;
    this.#words = i32;
    this.#writing = (slotAddress + SLOT_WRITING_OFFSET) / WORD_BYTES;
    this.handle = storage.handle;
    this.capabilities = storage.capabilities;
    if (storage.readv !== undefined) this.readv = storage.readv.bind(storage);
    if (storage.prefetch !== undefined) this.prefetch = storage.prefetch.bind(storage);
  }

  #change<Result>(work: () => Result): Result {
    const words = this.#words;
    Atomics.store(words, this.#writing, 1);
    try {
      if (Atomics.load(words, REGION_STATUS_OFFSET / WORD_BYTES) === STATUS_CRASHED) {
        throw errorOf(ST_GONE, words);
      }
      return work();
    } finally {
      Atomics.store(words, this.#writing, 0);
    }
  }

  createSync(relation: number, fork: Fork): void {
    this.#change(() => this.#storage.createSync(relation, fork));
  }

  existsSync(relation: number, fork: Fork): boolean {
    return this.#storage.existsSync(relation, fork);
  }

  unlinkSync(relation: number, fork: Fork): void {
    this.#change(() => this.#storage.unlinkSync(relation, fork));
  }

  blocksSync(relation: number, fork: Fork): number {
    return this.#storage.blocksSync(relation, fork);
  }

  extendSync(relation: number, fork: Fork, blocks: number): void {
    this.#change(() => this.#storage.extendSync(relation, fork, blocks));
  }

  truncateSync(relation: number, fork: Fork, blocks: number): void {
    this.#change(() => this.#storage.truncateSync(relation, fork, blocks));
  }

  readSync(relation: number, fork: Fork, block: number, into: Uint8Array): void {
    this.#storage.readSync(relation, fork, block, into);
  }

  writeSync(relation: number, fork: Fork, block: number, from: Uint8Array): void {
    this.#change(() => this.#storage.writeSync(relation, fork, block, from));
  }

  readvSync(relation: number, fork: Fork, block: number, into: readonly Uint8Array[]): void {
    this.#storage.readvSync(relation, fork, block, into);
  }

  writevSync(relation: number, fork: Fork, block: number, from: readonly Uint8Array[]): void {
    this.#change(() => this.#storage.writevSync(relation, fork, block, from));
  }

  flushSync(relation: number, fork: Fork): void {
    this.#change(() => this.#storage.flushSync(relation, fork));
  }

  relationsSync(): number[] {
    return this.#storage.relationsSync();
  }

  createJournalSync(n: number): void {
    this.#change(() => this.#storage.createJournalSync(n));
  }

  writeJournalSync(n: number, position: number, parts: readonly Uint8Array[]): void {
    this.#change(() => this.#storage.writeJournalSync(n, position, parts));
  }

  readJournalSync(n: number, position: number, into: Uint8Array): number {
    return this.#storage.readJournalSync(n, position, into);
  }

  journalBytesSync(n: number): number {
    return this.#storage.journalBytesSync(n);
  }

  syncJournalSync(n: number): void {
    this.#change(() => this.#storage.syncJournalSync(n));
  }

  removeJournalSync(n: number): void {
    this.#change(() => this.#storage.removeJournalSync(n));
  }

  journalsSync(): number[] {
    return this.#storage.journalsSync();
  }

  readControlSync(): Uint8Array | undefined {
    return this.#storage.readControlSync();
  }

  writeControlSync(bytes: Uint8Array): void {
    this.#change(() => this.#storage.writeControlSync(bytes));
  }

  readRelationsSync(): Uint8Array | undefined {
    return this.#storage.readRelationsSync();
  }

  writeRelationsSync(bytes: Uint8Array): void {
    this.#change(() => this.#storage.writeRelationsSync(bytes));
  }

  closeSync(): void {
    this.#storage.closeSync();
  }
}
