/**
 * One thread's open files: at most `limit` of them, the least recently used closed first.
 *
 * Rules that keep a flush honest:
 * - A file this thread has written is never closed before it was synced by the descriptor that
 *   wrote it: a later descriptor may not be told of an error that came meanwhile. Unwritten files
 *   are closed first, so an eviction pays for a sync only when `limit` files were all written.
 * - A sync that failed is never repeated: the system may have dropped the data and would report
 *   success. One shared word remembers it, and from then on every sync of every thread fails.
 * - Names made and removed count up a shared word, one for each directory; a flush syncs the
 *   directory unless the count it saw has been synced already. A word too many costs a sync, never
 *   a name. The count begins unsynced: a process that was killed may have left names behind.
 * - What is cut short or removed counts up another: what was known of a file before is looked at
 *   again, so that no thread goes on in a file, or in blocks, that another one has removed.
 * - A descriptor that is being read from by another thread of the system is closed when that has
 *   ended; until then its number cannot come to mean another file. It counts as closed before.
 *
 * PostgreSQL: src/backend/storage/file/fd.c, LruDelete, data_sync_elevel
 */

import { errorCode, type FileCalls, type FileName, fileError } from "./file-calls.ts";
import { StorageError } from "./manager.ts";
import { prepareUnsynced, UNSYNCED_BYTES } from "./unsynced.ts";

/** Bytes of the words here; those of unsynced.ts follow. */
const SYNC_STATE_BYTES = 32;
const SYNC_FAILED = 0;

/** Words about one directory, as offsets from its first one. */
const CHANGED = 0;
const SYNCED = 1;
const REMOVED = 2;

/** Where the words of a directory begin. */
const WORDS_OF = { base: 1, data: 4 } as const;

/** A directory whose names are counted: `base`, which has the forks, or the data directory. */
export interface Directory extends FileName {
  readonly words: keyof typeof WORDS_OF;
}

/** The words of a storage that is being opened by its first thread. */
export function newSyncState(): SharedArrayBuffer {
  const state = new SharedArrayBuffer(SYNC_STATE_BYTES + UNSYNCED_BYTES);
  const words = new Int32Array(state);
  for (const first of Object.values(WORDS_OF)) words[first + CHANGED] = 1;
  prepareUnsynced(unsyncedWords(state));
  return state;
}

/** The part of the shared words that unsynced.ts has. */
export function unsyncedWords(state: SharedArrayBuffer): Int32Array {
  return new Int32Array(state, SYNC_STATE_BYTES);
}

const CLOSED = -1;
/** What a system answers if a file may not be opened for writing. */
const REFUSALS = ["EROFS", "EACCES", "EPERM"];

/** One segment file, or one journal. */
export interface DataFile extends FileName {
  readonly directory: Directory;
  /** Descriptor, or -1 while closed. */
  descriptor: number;
  /** Blocks it is known to have: a lower bound, until something was cut short or removed. */
  blocks: number;
  /** Whether this thread wrote to it since its last sync. */
  written: boolean;
  /** Time of the last use, in uses. */
  used: number;
  /** Why it was opened for reading alone; undefined while it is closed or may be written. */
  refusal: unknown;
}

/** A file not opened yet. */
export function dataFile(directory: Directory, name: string, path: string): DataFile {
  const closed = { descriptor: CLOSED, blocks: 0, written: false, refusal: undefined };
  return { directory, name, path, used: 0, ...closed };
}

/** Opens, syncs and closes the files of one data directory for one thread. */
export class Descriptors {
  readonly #calls: FileCalls;
  readonly #limit: number;
  readonly #state: Int32Array;
  readonly #syncDirectories: boolean;
  readonly #opened = new Set<DataFile>();
  /** How many reads go on in a descriptor without blocking the thread. */
  readonly #reading = new Map<number, number>();
  readonly #closeLater = new Set<number>();
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

  /**
   * Opens for writing too, unless the medium refuses that: what cannot be written can be looked at.
   *
   * @returns the descriptor, or -1 if there is no such file
   */
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

  /** As {@link get}, to write. @throws {@link StorageError} 42501 if it may only be read */
  writable(file: DataFile): number {
    const descriptor = this.get(file);
    if (file.refusal === undefined) return descriptor;
    throw fileError(`could not open file "${file.name}"`, file.path, file.refusal);
  }

  /** Makes the file, empty. @throws {@link StorageError} 58P02 if it is there */
  create(file: DataFile): void {
    this.#open(file, "wx+", "create");
    file.used = ++this.#uses;
    file.blocks = 0;
    this.nameMade(file.directory);
  }

  /** To be called after a file was made, or found that a thread now gone may have made. */
  nameMade(directory: Directory): void {
    Atomics.add(this.#state, WORDS_OF[directory.words] + CHANGED, 1);
  }

  /** How often something was cut short or removed, by whatever thread. */
  removals(directory: Directory): number {
    return Atomics.load(this.#state, WORDS_OF[directory.words] + REMOVED);
  }

  /** To be called after files were removed. */
  nameRemoved(directory: Directory): void {
    this.nameMade(directory);
    this.cutShort(directory);
  }

  /** To be called after files were cut short. */
  cutShort(directory: Directory): void {
    Atomics.add(this.#state, WORDS_OF[directory.words] + REMOVED, 1);
  }

  /** Keeps a descriptor from being closed while it is read from without blocking the thread. */
  async whileReading<T>(descriptor: number, read: () => Promise<T>): Promise<T> {
    this.#reading.set(descriptor, (this.#reading.get(descriptor) ?? 0) + 1);
    try {
      return await read();
    } finally {
      const left = (this.#reading.get(descriptor) ?? 1) - 1;
      if (left > 0) this.#reading.set(descriptor, left);
      else this.#reading.delete(descriptor);
      if (left === 0 && this.#closeLater.delete(descriptor)) this.#calls.closeSync(descriptor);
    }
  }

  /** Closes the file if it is open and no longer has a name; forgets how long it was. */
  forgetRemoved(file: DataFile): void {
    file.blocks = 0;
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
        file.descriptor = this.#calls.openSync(file.path, file.refusal === undefined ? flags : "r");
        this.#opened.add(file);
        return file.descriptor;
      } catch (cause) {
        const code = errorCode(cause);
        const isRefused = REFUSALS.includes(code ?? "") && file.refusal === undefined;
        file.refusal = what === "open" && isRefused ? cause : undefined;
        if (file.refusal !== undefined) continue;
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
    Object.assign(file, { descriptor: CLOSED, blocks: 0, written: false, refusal: undefined });
    this.#opened.delete(file);
    if (this.#reading.has(descriptor)) this.#closeLater.add(descriptor);
    else this.#calls.closeSync(descriptor);
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

  /**
   * Sees that an open file has a name still: what is synced without one is gone with the process.
   *
   * @throws {@link StorageError} XX001 if it was removed underneath
   */
  requireName(file: DataFile): void {
    if (this.stat(file).nlink > 0) return;
    throw new StorageError("XX001", `file "${file.name}" is missing`, file.path, {
      detail: "It was removed while it was open; what was written to it since is lost.",
      hint: "Restore the file from a copy of the directory.",
    });
  }

  /** Makes the file's bytes and length durable, whoever wrote them. */
  sync(file: DataFile): void {
    this.syncDescriptor(this.get(file), file);
    file.written = false;
  }

  /** Makes the names of files made and removed so far durable, unless that has been done. */
  syncNames(directory: Directory): void {
    const first = WORDS_OF[directory.words];
    const changed = Atomics.load(this.#state, first + CHANGED);
    if (Atomics.load(this.#state, first + SYNCED) === changed) return;
    this.syncDirectory(directory);
    Atomics.store(this.#state, first + SYNCED, changed);
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
