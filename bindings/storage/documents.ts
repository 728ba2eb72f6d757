/**
 * Small files that are read and replaced whole: written under another name and renamed, so that a
 * reader meets the old bytes or the new ones, and never a part of either. After a crash there may
 * be the old ones, the new ones, or none. One that has to be durable is in two-places.ts.
 *
 * PostgreSQL: src/backend/storage/file/fd.c, durable_rename (without what makes it durable)
 */

import type { Directory } from "./descriptors.ts";
import {
  errorCode,
  type FileCalls,
  type FileName,
  fileError,
  readFully,
  writeFully,
} from "./file-calls.ts";
import { StorageError } from "./manager.ts";

/** A small file of the data directory. */
export class Document {
  readonly #calls: FileCalls;
  readonly #file: FileName;

  constructor(calls: FileCalls, directory: Directory, name: string) {
    this.#calls = calls;
    this.#file = { name, path: `${directory.path}/${name}` };
  }

  /** @returns the bytes, or undefined if there is no such file */
  read(): Uint8Array | undefined {
    const { name, path } = this.#file;
    let descriptor: number;
    try {
      descriptor = this.#calls.openSync(path, "r");
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") return undefined;
      throw fileError(`could not open file "${name}"`, path, cause);
    }
    try {
      const bytes = new Uint8Array(this.#calls.fstatSync(descriptor).size);
      const got = readFully(this.#calls, descriptor, bytes, 0);
      if (got === bytes.length) return bytes;
      const message = `could not read file "${name}": read ${got} of ${bytes.length}`;
      throw new StorageError("XX001", message, path);
    } catch (cause) {
      if (cause instanceof StorageError) throw cause;
      throw fileError(`could not read file "${name}"`, path, cause);
    } finally {
      this.#calls.closeSync(descriptor);
    }
  }

  /** Replaces the bytes. */
  write(bytes: Uint8Array): void {
    const { name, path } = this.#file;
    const draft: FileName = { name: `${name}.tmp`, path: `${path}.tmp` };
    this.#writeDraft(draft, bytes);
    try {
      this.#calls.renameSync(draft.path, path);
    } catch (cause) {
      throw fileError(`could not rename file "${draft.name}" to "${name}"`, path, cause);
    }
  }

  #writeDraft(draft: FileName, bytes: Uint8Array): void {
    let descriptor: number;
    try {
      descriptor = this.#calls.openSync(draft.path, "w");
    } catch (cause) {
      throw fileError(`could not create file "${draft.name}"`, draft.path, cause);
    }
    try {
      writeFully(this.#calls, descriptor, bytes, bytes.length, 0);
    } catch (cause) {
      throw fileError(`could not write file "${draft.name}"`, draft.path, cause);
    } finally {
      this.#calls.closeSync(descriptor);
    }
  }
}
