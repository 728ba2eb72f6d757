/**
 * One thread's open files: at most `limit` of them, the least recently used closed first.
 *
 * Rules that keep a flush honest:
 * - A file this thread has written is never closed before it was synced by the descriptor that
 *   wrote it: a later descriptor may not be told of an error that came meanwhile. Unwritten files
 *   are closed first, so an eviction pays for a sync only when `limit` files were all written.
 * - A sync that failed is never repeated: the system may have dropped the data and would report
 *   success. One shared word remembers it, and from then on every sync of every thread fails.
 * - Names made (files, segments) count up a shared word; a flush syncs the directory unless the
 *   count it saw has been synced already. A word too many costs a sync, never a name.
 * - Names removed count up another: what was known of a fork before is looked at again, so that no
 *   thread goes on in a file that another one has removed.
 *
 * PostgreSQL: src/backend/storage/file/fd.c, LruDelete, data_sync_elevel
 */

import { errorCode, type FileCalls, type FileName, fileError } from "./file-calls.ts";
import { StorageError } from "./manager.ts";

/** Bytes of the words that all threads of one storage share. */
export const SYNC_STATE_BYTES = 16;
const SYNC_FAILED = 0;
const NAMES_MADE = 1;
const NAMES_SYNCED = 2;
const NAMES_REMOVED = 3;

const CLOSED = -1;

/** One segment file. */
export interface DataFile extends FileName {
  /** Descriptor, or -1 while closed. */
  descriptor: number;
  /** Blocks it is known to have; it only grows, so this is a lower bound. */
  blocks: number;
  /** Whether this thread wrote to it since its last sync. */
  written: boolean;
  /** Time of the last use, in uses. */
  used: number;
}

/** A file not opened yet. */
export function dataFile(name: string, path: string): DataFile {
  return { name, path, descriptor: CLOSED, blocks: 0, written: false, used: 0 };
}

/** Opens, syncs and closes the files of one data directory for one thread. */
export class Descriptors {
  readonly #calls: FileCalls;
  readonly #limit: number;
  readonly #state: Int32Array;
  readonly #syncDirectories: boolean;
  readonly #opened = new Set<DataFile>();
  #uses = 0;

  constructor(calls: FileCalls, limit: number, state: SharedArrayBuffer, syncDirectories: boolean) {
    this.#calls = calls;
    this.#limit = limit;
    this.#state = new Int32Array(state);
    this.#syncDirectories = syncDirectories;
  }

  /** How many are open now. */
  get openCount(): number {
    return this.#opened.size;
  }

  /** @returns the descriptor for reading and writing, or -1 if there is no such file */
  find(file: DataFile): number {
    file.used = ++this.#uses;
    if (file.descriptor !== CLOSED) return file.descriptor;
    return this.#open(file, "r+", "open");
  }

  /** As {@link find}. @throws {@link StorageError} 58P01 if there is no such file */
  get(file: DataFile): number {
    const descriptor = this.find(file);
    if (descriptor !== CLOSED) return descriptor;
    const cause = Object.assign(new Error("ENOENT"), { code: "ENOENT" });
    throw fileError(`could not open file "${file.name}"`, file.path, cause);
  }

  /** Makes the file, empty. @throws {@link StorageError} 58P02 if it is there */
  create(file: DataFile): void {
    this.#open(file, "wx+", "create");
    file.used = ++this.#uses;
    file.blocks = 0;
    this.nameMade();
  }

  /** To be called after a file was made, or found that a thread now gone may have made. */
  nameMade(): void {
    Atomics.add(this.#state, NAMES_MADE, 1);
  }

  /** How often names were removed, by whatever thread. */
  get removals(): number {
    return Atomics.load(this.#state, NAMES_REMOVED);
  }

  /** To be called after files were removed. */
  nameRemoved(): void {
    Atomics.add(this.#state, NAMES_REMOVED, 1);
  }

  /** Closes the file if it is open and no longer has a name. */
  forgetRemoved(file: DataFile): void {
    if (file.descriptor !== CLOSED && this.stat(file).nlink === 0) this.abandon(file);
  }

  /** Size of an open file, and its number of names. */
  stat(file: DataFile): { readonly size: number; readonly nlink: number } {
    try {
      return this.#calls.fstatSync(file.descriptor);
    } catch (cause) {
      throw fileError(`could not stat file "${file.name}"`, file.path, cause);
    }
  }

  #open(file: DataFile, flags: string, what: "open" | "create"): number {
    while (this.#opened.size >= this.#limit) this.#closeOldest();
    for (;;) {
      try {
        file.descriptor = this.#calls.openSync(file.path, flags);
        this.#opened.add(file);
        return file.descriptor;
      } catch (cause) {
        const code = errorCode(cause);
        if (code === "ENOENT" && what === "open") return CLOSED;
        const full = code === "EMFILE" || code === "ENFILE";
        if (!full || this.#opened.size === 0) {
          throw fileError(`could not ${what} file "${file.name}"`, file.path, cause);
        }
        this.#closeOldest();
      }
    }
  }

  #closeOldest(): void {
    let oldest: DataFile | undefined;
    for (const file of this.#opened) {
      const better =
        oldest === undefined ||
        (file.written === oldest.written ? file.used < oldest.used : oldest.written);
      if (better) oldest = file;
    }
    if (oldest !== undefined) this.close(oldest);
  }

  /** Closes the file if it is open; what this thread wrote is synced first. */
  close(file: DataFile): void {
    if (file.descriptor === CLOSED) return;
    try {
      if (file.written) this.sync(file);
    } finally {
      this.abandon(file);
    }
  }

  /** Closes the file without a sync, for one that has been or will be removed. */
  abandon(file: DataFile): void {
    if (file.descriptor === CLOSED) return;
    const descriptor = file.descriptor;
    file.descriptor = CLOSED;
    file.blocks = 0;
    file.written = false;
    this.#opened.delete(file);
    this.#calls.closeSync(descriptor);
  }

  /** Closes every file. The first failure is thrown after all are closed. */
  closeAll(): void {
    const failures: unknown[] = [];
    for (const file of [...this.#opened]) {
      try {
        this.close(file);
      } catch (failure) {
        failures.push(failure);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Makes the file's bytes and length durable, whoever wrote them. */
  sync(file: DataFile): void {
    this.syncDescriptor(this.get(file), file);
    file.written = false;
  }

  /** Makes the names of files made so far durable, unless that has been done. */
  syncNames(directory: FileName): void {
    const made = Atomics.load(this.#state, NAMES_MADE);
    if (Atomics.load(this.#state, NAMES_SYNCED) === made) return;
    this.syncDirectory(directory);
    Atomics.store(this.#state, NAMES_SYNCED, made);
  }

  /**
   * Makes names, renames and removals in a directory durable. Windows has no such call, and some
   * file systems refuse it (EINVAL, EBADF): there it is the system's own order that counts.
   */
  syncDirectory(directory: FileName): void {
    if (!this.#syncDirectories) return;
    let descriptor: number;
    try {
      descriptor = this.#calls.openSync(directory.path, "r");
    } catch (cause) {
      throw fileError(`could not open directory "${directory.name}"`, directory.path, cause);
    }
    try {
      this.syncDescriptor(descriptor, directory, ["EINVAL", "EBADF"]);
    } finally {
      this.#calls.closeSync(descriptor);
    }
  }

  /** Syncs once; a failure is remembered for all threads. @param refusals - codes that are none */
  syncDescriptor(descriptor: number, file: FileName, refusals: readonly string[] = []): void {
    this.requireSynced(file);
    try {
      this.#calls.fsyncSync(descriptor);
    } catch (cause) {
      if (refusals.includes(errorCode(cause) ?? "")) return;
      Atomics.store(this.#state, SYNC_FAILED, 1);
      throw fileError(`could not fsync file "${file.name}"`, file.path, cause);
    }
  }

  /** @throws {@link StorageError} 58030 if a sync has failed, in whatever thread */
  requireSynced(file: FileName): void {
    if (Atomics.load(this.#state, SYNC_FAILED) === 0) return;
    const message = `could not fsync file "${file.name}": an earlier fsync failed`;
    throw new StorageError("58030", message, file.path, {
      detail: "The system may have dropped what was written; syncing again would not report it.",
      hint: "Close this storage, and restore the directory from what was last known to be durable.",
    });
  }
}
