/**
 * The dozen calls on files that storage makes, as an interface: Node's `fs` fits, and so does a
 * table of a test's own that returns short or fails. Beside them, what an operating system's error
 * becomes here, and reads and writes that do not stop half-way.
 *
 * Messages are PostgreSQL's and name files relative to the data directory; `target` is the path.
 *
 * PostgreSQL: src/backend/storage/smgr/md.c; utils/error/elog.c, errcode_for_file_access
 */

import { StorageError } from "./manager.ts";

/** Synchronous calls on files, each as in `node:fs`. */
export interface FileCalls {
  openSync(path: string, flags: string): number;
  closeSync(descriptor: number): void;
  readSync(
    descriptor: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): number;
  writeSync(
    descriptor: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): number;
  fsyncSync(descriptor: number): void;
  ftruncateSync(descriptor: number, bytes: number): void;
  fstatSync(descriptor: number): { readonly size: number; readonly nlink: number };
  renameSync(from: string, to: string): void;
  unlinkSync(path: string): void;
  readdirSync(path: string): string[];
}

/** A file by its name in messages and its path. */
export interface FileName {
  /** Relative to the data directory: `base/16384_fsm.1`. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
}

/** What the C library says for the errors files meet. */
const texts: Readonly<Record<string, string>> = {
  EACCES: "Permission denied",
  EDQUOT: "Disk quota exceeded",
  EEXIST: "File exists",
  EFBIG: "File too large",
  EIO: "Input/output error",
  EISDIR: "Is a directory",
  EMFILE: "Too many open files",
  ENAMETOOLONG: "File name too long",
  ENFILE: "Too many open files in system",
  ENOENT: "No such file or directory",
  ENOSPC: "No space left on device",
  ENOTDIR: "Not a directory",
  EPERM: "Operation not permitted",
  EROFS: "Read-only file system",
};

/** Conditions with an SQLSTATE of their own; everything else is 58030, io_error. */
const states: Readonly<Record<string, string>> = {
  EACCES: "42501",
  EPERM: "42501",
  EROFS: "42501",
  EDQUOT: "53100",
  ENOSPC: "53100",
  EEXIST: "58P02",
  EMFILE: "53000",
  ENFILE: "53000",
  ENOENT: "58P01",
};

/** The system's name of an error, such as `"ENOENT"`. */
export function errorCode(cause: unknown): string | undefined {
  return (cause as { readonly code?: string } | undefined)?.code;
}

/**
 * The error for a call that failed.
 *
 * @param what - PostgreSQL's sentence up to the colon: `could not open file "base/1"`
 */
export function fileError(what: string, path: string, cause: unknown): StorageError {
  const code = errorCode(cause) ?? "";
  const text = texts[code] ?? (cause instanceof Error ? cause.message : String(cause));
  const state = states[code] ?? "58030";
  const hint = state === "53100" ? { hint: "Check free disk space." } : {};
  return new StorageError(state, `${what}: ${text}`, path, { ...hint, cause });
}

/** Reads until `bytes` is full or the file ends. @returns bytes read */
export function readFully(
  calls: FileCalls,
  descriptor: number,
  bytes: Uint8Array,
  position: number,
): number {
  let done = 0;
  while (done < bytes.length) {
    const got = calls.readSync(descriptor, bytes, done, bytes.length - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}

/**
 * Writes the first `length` bytes, going on where a call stopped short. A call that writes nothing
 * and reports nothing counts as a full disk, as in PostgreSQL.
 */
export function writeFully(
  calls: FileCalls,
  descriptor: number,
  bytes: Uint8Array,
  length: number,
  position: number,
): void {
  let done = 0;
  while (done < length) {
    const put = calls.writeSync(descriptor, bytes, done, length - done, position + done);
    if (put === 0) {
      throw Object.assign(new Error(`wrote only ${done} of ${length} bytes`), { code: "ENOSPC" });
    }
    done += put;
  }
}
