/**
 * The dozen and a half calls on files that storage makes, as an interface: Node's `fs` fits, and so
 * does a table of a test's own that returns short or fails. Beside them, what an operating system's
 * error becomes here, and reads and writes that do not stop half-way.
 *
 * Messages are PostgreSQL's and name files relative to the data directory; `target` is the path.
 *
 * PostgreSQL: src/backend/storage/smgr/md.c; utils/error/elog.c, errcode_for_file_access
 */

import { bytesOf, StorageError } from "./manager.ts";

/** Calls on files, each as in `node:fs`. */
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
  readvSync(descriptor: number, pages: readonly Uint8Array[], position: number): number;
  writevSync(descriptor: number, parts: readonly Uint8Array[], position: number): number;
  /** Reads in another thread of the system, and then calls `done` in this one. */
  readv(
    descriptor: number,
    pages: readonly Uint8Array[],
    position: number,
    done: (error: Error | null, got: number) => void,
  ): void;
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

/** Reads until all pages are full or the file ends, as few calls as the system lets it be. */
export function readPages(
  calls: FileCalls,
  descriptor: number,
  pages: readonly Uint8Array[],
  position: number,
): number {
  let done = 0;
  for (let rest = joined(pages); rest.length > 0; rest = partsBehind(pages, done)) {
    const got = calls.readvSync(descriptor, rest, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}

/** As {@link readPages}, without blocking the thread. */
export async function readPagesLater(
  calls: FileCalls,
  descriptor: number,
  pages: readonly Uint8Array[],
  position: number,
): Promise<number> {
  let done = 0;
  for (let rest = pages; rest.length > 0; rest = partsBehind(pages, done)) {
    const got = await new Promise<number>((resolve, reject) => {
      calls.readv(descriptor, rest, position + done, (error, bytes) => {
        if (error === null) resolve(bytes);
        else reject(error);
      });
    });
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
    if (put === 0) throw stoppedShort(done, length);
    done += put;
  }
}

/** Writes all parts one behind another, going on as {@link writeFully} does. */
export function writeParts(
  calls: FileCalls,
  descriptor: number,
  parts: readonly Uint8Array[],
  position: number,
): void {
  let done = 0;
  for (let rest = partsBehind(parts, 0); rest.length > 0; rest = partsBehind(parts, done)) {
    const put = calls.writevSync(descriptor, rest, position + done);
    if (put === 0) throw stoppedShort(done, bytesOf(parts));
    done += put;
  }
}

function stoppedShort(done: number, length: number): Error {
  return Object.assign(new Error(`wrote only ${done} of ${length} bytes`), { code: "ENOSPC" });
}

/**
 * The same bytes as fewer parts: those that lie one behind another in memory are one. Node takes
 * each part by itself, which for a page costs a sixth of the copy.
 */
function joined(parts: readonly Uint8Array[]): readonly Uint8Array[] {
  const wholes: Uint8Array[] = [];
  for (let at = 0; at < parts.length; ) {
    const first = parts[at] as Uint8Array;
    const { buffer, byteOffset } = first;
    let { length } = first;
    let next = at + 1;
    for (; next < parts.length; next += 1) {
      const part = parts[next] as Uint8Array;
      if (part.buffer !== buffer || part.byteOffset !== byteOffset + length) break;
      length += part.length;
    }
    wholes.push(next === at + 1 ? first : new Uint8Array(buffer, byteOffset, length));
    at = next;
  }
  return wholes;
}

/** What is left of the parts behind their first `done` bytes; none of it is empty. */
function partsBehind(parts: readonly Uint8Array[], done: number): readonly Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = done;
  for (const part of parts) {
    if (skip < part.length) rest.push(skip === 0 ? part : part.subarray(skip));
    skip = Math.max(0, skip - part.length);
  }
  return rest;
}
