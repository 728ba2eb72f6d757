/**
 * Journals as files of the data directory, `palloc.journal.3`: bytes written where the caller says,
 * by several threads at once, and made durable by whichever of them asks. What is in them is the
 * caller's business.
 *
 * One that is there is cut to nothing rather than removed, so that threads that have it open go on
 * in the same file, and so that its name, once durable, need not be made durable again. The cut is
 * as durable as what is synced after it, and no more.
 */

import { type DataFile, type Descriptors, type Directory, dataFile } from "./descriptors.ts";
import { errorCode, type FileCalls, fileError, readFully, writeParts } from "./file-calls.ts";
import { checkJournal, checkPosition } from "./manager.ts";

const JOURNAL_FILE = /^palloc\.journal\.(0|[1-9]\d*)$/;

/** The journals of one data directory, for one thread. */
export class Journals {
  readonly #calls: FileCalls;
  readonly #open: Descriptors;
  readonly #directory: Directory;
  readonly #files = new Map<number, DataFile>();
  #removals = 0;

  constructor(calls: FileCalls, open: Descriptors, directory: Directory) {
    this.#calls = calls;
    this.#open = open;
    this.#directory = directory;
  }

  /** Makes the journal, empty. */
  create(n: number): void {
    const file = this.#file(n);
    if (this.#open.find(file) < 0) {
      this.#open.create(file);
      return;
    }
    const descriptor = this.#open.writable(file);
    try {
      this.#calls.ftruncateSync(descriptor, 0);
    } catch (cause) {
      throw fileError(`could not truncate file "${file.name}"`, file.path, cause);
    }
    file.written = true;
  }

  /** Writes parts one behind another from `position` on; a gap before it is zero. */
  write(n: number, position: number, parts: readonly Uint8Array[]): void {
    checkPosition(position);
    const file = this.#file(n);
    const descriptor = this.#open.writable(file);
    file.written = true;
    try {
      writeParts(this.#calls, descriptor, parts, position);
    } catch (cause) {
      throw fileError(`could not write to file "${file.name}"`, file.path, cause);
    }
  }

  /** @returns bytes read from `position` on */
  read(n: number, position: number, into: Uint8Array): number {
    checkPosition(position);
    const file = this.#file(n);
    const descriptor = this.#open.get(file);
    try {
      return readFully(this.#calls, descriptor, into, position);
    } catch (cause) {
      throw fileError(`could not read file "${file.name}"`, file.path, cause);
    }
  }

  /** Length of the journal. */
  bytes(n: number): number {
    const file = this.#file(n);
    this.#open.get(file);
    return this.#open.stat(file).size;
  }

  /** Makes bytes, length and name durable, whoever wrote and made them. */
  sync(n: number): void {
    const file = this.#file(n);
    this.#open.sync(file);
    this.#open.requireName(file);
    this.#open.syncNames(this.#directory);
  }

  /** Removes the journal, if there is one. */
  remove(n: number): void {
    const file = this.#file(n);
    this.#open.abandon(file);
    this.#files.delete(n);
    try {
      this.#calls.unlinkSync(file.path);
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") return;
      throw fileError(`could not remove file "${file.name}"`, file.path, cause);
    }
    this.#open.nameRemoved(this.#directory);
  }

  /** Numbers of the journals there are, ascending. */
  numbers(): number[] {
    const numbers: number[] = [];
    for (const name of this.#names()) {
      const digits = JOURNAL_FILE.exec(name)?.[1];
      if (digits !== undefined) numbers.push(Number(digits));
    }
    return numbers.sort((a, b) => a - b);
  }

  #names(): string[] {
    const { name, path } = this.#directory;
    try {
      return this.#calls.readdirSync(path);
    } catch (cause) {
      throw fileError(`could not read directory "${name}"`, path, cause);
    }
  }

  /** After a removal by whatever thread, a file that has no name any more is not gone on in. */
  #file(n: number): DataFile {
    checkJournal(n);
    const removals = this.#open.removals(this.#directory);
    if (removals !== this.#removals) {
      for (const [number, file] of this.#files) {
        this.#open.forgetRemoved(file);
        if (file.descriptor < 0) this.#files.delete(number);
      }
      this.#removals = removals;
    }
    let file = this.#files.get(n);
    if (file === undefined) {
      const name = `palloc.journal.${n}`;
      file = dataFile(this.#directory, name, `${this.#directory.path}/${name}`);
      this.#files.set(n, file);
    }
    return file;
  }
}
