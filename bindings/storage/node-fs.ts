/**
 * Storage in a directory of files, on Node. With interlock.ts, which only it imports, the one file
 * of storage that imports `node:` modules; what is done with the files is in files.ts.
 *
 * On Windows directories cannot be synced: there a file just made, or a control document just
 * replaced, is as durable as the file system's own journal makes it.
 *
 * PostgreSQL: src/backend/storage/smgr/md.c
 */

import * as fs from "node:fs";
import { dirname, resolve } from "node:path";
import { Descriptors, newSyncState } from "./descriptors.ts";
import { errorCode, fileError } from "./file-calls.ts";
import { FileStorage, type FilesHandle, SEGMENT_BLOCKS } from "./files.ts";
import { interlock } from "./interlock.ts";
import { StorageError, type StorageHandle, type StorageManager } from "./manager.ts";

/** How files are used. */
export interface NodeFilesOptions {
  /** Files a thread keeps open, at most, from 1. Default 256; one closed is opened again later. */
  readonly maxOpenFiles?: number;
  /**
   * Whether the directory, and its folder `base`, are made if they are not there. Default true.
   * With false opening writes nothing and checks nothing: for looking at a directory as it is.
   */
  readonly create?: boolean;
  /**
   * Blocks of a full segment file, for tests. Default 131,072, 1 GB. A directory written with one
   * value is not readable with another.
   * @internal
   */
  readonly segmentBlocks?: number;
}

const DEFAULT_OPEN_FILES = 256;
const SYNC_DIRECTORIES = process.platform !== "win32";

/**
 * Opens a data directory, and makes it and its folder `base` if they are not there. Relative paths
 * are resolved once, here. Posting its `handle` lets other threads open the same directory.
 *
 * @param directory - path; nothing outside it is touched
 * @throws {@link StorageError} 42501 or 58030 if the directory cannot be made or written
 * @see PostgreSQL: src/backend/storage/smgr/md.c
 */
export function nodeFiles(directory: string, options: NodeFilesOptions = {}): StorageManager {
  const { maxOpenFiles = DEFAULT_OPEN_FILES, segmentBlocks = SEGMENT_BLOCKS } = options;
  const { create = true } = options;
  for (const [name, value] of Object.entries({ maxOpenFiles, segmentBlocks })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`${name} is a number from 1, not ${value}`);
    }
  }
  const handle: FilesHandle = {
    kind: "node-fs",
    module: import.meta.url,
    directory: resolve(directory),
    segmentBlocks,
    maxOpenFiles,
    state: newSyncState(),
  };
  if (create) prepare(handle);
  return filesOf(handle);
}

/** Opens, in another thread, the directory that {@link nodeFiles} opened. */
export function openStorage(handle: StorageHandle): StorageManager {
  if (handle.kind !== "node-fs") {
    throw new TypeError(`not a handle of nodeFiles(): its kind is "${handle.kind}"`);
  }
  return filesOf(handle as FilesHandle);
}

function filesOf(handle: FilesHandle): FileStorage {
  return new FileStorage(handle, fs, SYNC_DIRECTORIES, () => interlock(handle.directory));
}

/** Makes the directories, durably, and sees that files can be made in them. */
function prepare(handle: FilesHandle): void {
  const { directory } = handle;
  const base = `${directory}/base`;
  let made: string | undefined;
  try {
    made = makeDirectories(base);
  } catch (cause) {
    throw directoryError(`could not create directory "${base}"`, base, cause);
  }
  for (const path of [directory, base]) {
    try {
      fs.accessSync(path, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    } catch (cause) {
      throw directoryError(`could not access directory "${path}"`, path, cause);
    }
  }
  if (made === undefined) return;
  const names = new Descriptors(fs, 1, handle.state, SYNC_DIRECTORIES);
  const top = dirname(made);
  for (let path = directory; ; path = dirname(path)) {
    names.syncDirectory({ name: path, path });
    if (path === top || path === dirname(path)) return;
  }
}

/**
 * Makes a directory and those above it that are missing. Node's own recursive form never returns
 * where the system answers ENOENT below a directory that is there, as /proc does.
 *
 * @returns the topmost directory made, or undefined if all were there
 */
function makeDirectories(path: string): string | undefined {
  const missing: string[] = [];
  for (let at = path; !fs.existsSync(at) && at !== dirname(at); at = dirname(at)) missing.push(at);
  for (const each of missing.toReversed()) {
    try {
      fs.mkdirSync(each);
    } catch (error) {
      // Another process may make the same directory at the same time.
      if (errorCode(error) !== "EEXIST") throw error;
    }
  }
  return missing.at(-1);
}

/** The system says "no such file" where it means that no directory can be made here. */
function directoryError(what: string, path: string, cause: unknown): StorageError {
  const error = fileError(what, path, cause);
  if (errorCode(cause) !== "ENOENT") return error;
  return new StorageError("58030", error.message, path, { cause });
}
