// Storage in files when the system's calls stop short or fail, and in which order files are synced
// and closed: over a table of calls that counts, shortens and refuses.

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { newSyncState } from "../../bindings/storage/descriptors.ts";
import type { FileCalls } from "../../bindings/storage/file-calls.ts";
import { FileStorage, type FilesHandle } from "../../bindings/storage/files.ts";
import { pageOf, readPage } from "./contract.ts";

const root = fs.mkdtempSync(join(tmpdir(), "palloc-calls-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let directories = 0;

function newHandle(maxOpenFiles = 100): FilesHandle {
  const directory = join(root, `data${directories++}`);
  fs.mkdirSync(join(directory, "base"), { recursive: true });
  const state = newSyncState();
  return { kind: "node-fs", module: "", directory, segmentBlocks: 4, maxOpenFiles, state };
}

/** Calls that note what is opened, synced and closed, with some of them replaced. */
function noting(log: string[], replaced: Partial<FileCalls> = {}): FileCalls {
  const names = new Map<number, string>();
  const calls: FileCalls = {
    ...fs,
    openSync: (path, flags) => {
      const descriptor = fs.openSync(path, flags);
      names.set(descriptor, path.slice(path.lastIndexOf("/") + 1));
      return descriptor;
    },
    fsyncSync: (descriptor) => {
      log.push(`sync ${names.get(descriptor)}`);
      fs.fsyncSync(descriptor);
    },
    closeSync: (descriptor) => {
      log.push(`close ${names.get(descriptor)}`);
      fs.closeSync(descriptor);
    },
    renameSync: (from, to) => {
      log.push("rename");
      fs.renameSync(from, to);
    },
  };
  return { ...calls, ...replaced };
}

function failing(code: string): () => never {
  return () => {
    throw Object.assign(new Error(`${code}: injected`), { code });
  };
}

function storageWith(replaced: Partial<FileCalls>): FileStorage {
  const handle = newHandle();
  const storage = new FileStorage(handle, fs, true);
  storage.createSync(5, 0);
  storage.extendSync(5, 0, 3);
  storage.writeSync(5, 0, 1, pageOf(1));
  storage.flushSync(5, 0);
  storage.closeSync();
  return new FileStorage(handle, { ...fs, ...replaced }, true);
}

test("reads and writes that stop short go on where they stopped", () => {
  const storage = storageWith({
    readSync: (descriptor, bytes, offset, length, position) =>
      fs.readSync(descriptor, bytes, offset, Math.min(length, 1000), position),
    writeSync: (descriptor, bytes, offset, length, position) =>
      fs.writeSync(descriptor, bytes, offset, Math.min(length, 3000), position),
  });
  expect(readPage(storage, 5, 0, 1)).toEqual(pageOf(1));
  storage.writeSync(5, 0, 2, pageOf(2));
  storage.extendSync(5, 0, 6);
  storage.writeControlSync(new Uint8Array(20000).fill(7));
  expect(readPage(storage, 5, 0, 2)).toEqual(pageOf(2));
  expect(storage.blocksSync(5, 0)).toBe(6);
  expect(storage.readControlSync()).toEqual(new Uint8Array(20000).fill(7));
});

test("a read that fails is 58030 with PostgreSQL's words and the path", () => {
  const storage = storageWith({ readSync: failing("EIO") });
  expect(() => readPage(storage, 5, 0, 1)).toThrow(
    expect.objectContaining({
      name: "StorageError",
      code: "58030",
      message: 'could not read blocks 1..1 in file "base/5": Input/output error',
      target: join(storage.handle.directory, "base/5"),
      cause: expect.objectContaining({ code: "EIO" }),
    }),
  );
});

test("a write that fails is 58030, and 53100 with a hint where the disk is full", () => {
  expect(() => storageWith({ writeSync: failing("EIO") }).writeSync(5, 0, 1, pageOf(2))).toThrow(
    expect.objectContaining({
      code: "58030",
      message: 'could not write blocks 1..1 in file "base/5": Input/output error',
      hint: undefined,
    }),
  );
  for (const writeSync of [failing("ENOSPC"), () => 0]) {
    expect(() => storageWith({ writeSync }).writeSync(5, 0, 1, pageOf(2))).toThrow(
      expect.objectContaining({
        code: "53100",
        message: 'could not write blocks 1..1 in file "base/5": No space left on device',
        hint: "Check free disk space.",
      }),
    );
  }
});

test("a full disk shows when a fork is extended, and leaves its length and blocks as they were", () => {
  let room = 8192 + 5000;
  const storage = storageWith({
    writeSync: (descriptor, bytes, offset, length, position) => {
      const put = Math.min(length, room);
      if (put === 0) failing("ENOSPC")();
      room -= put;
      return fs.writeSync(descriptor, bytes, offset, put, position);
    },
  });
  expect(() => storage.extendSync(5, 0, 7)).toThrow(
    expect.objectContaining({
      code: "53100",
      message: 'could not extend file "base/5.1": No space left on device',
      hint: "Check free disk space.",
    }),
  );
  expect(storage.blocksSync(5, 0)).toBe(4);
  expect(fs.statSync(join(storage.handle.directory, "base/5.1")).size).toBe(0);
  expect(readPage(storage, 5, 0, 1)).toEqual(pageOf(1));
  room = 1e9;
  storage.extendSync(5, 0, 7);
  expect(readPage(storage, 5, 0, 6)).toEqual(new Uint8Array(8192));
});

test("a block that another thread finishes and fills while the length is asked for is no damage", () => {
  let looks = 0;
  const storage = storageWith({
    fstatSync: (descriptor) => {
      const { size, nlink } = fs.fstatSync(descriptor);
      return { size: looks++ === 0 ? 2 * 8192 - 4096 : size, nlink };
    },
  });
  expect(storage.blocksSync(5, 0)).toBe(3);
  expect(looks).toBeGreaterThan(1);
});

test("a sync that failed is reported and never repeated, in any thread", () => {
  const log: string[] = [];
  let broken = true;
  const calls = noting(log, {
    fsyncSync: (descriptor) => {
      log.push("sync");
      if (broken) failing("EIO")();
      fs.fsyncSync(descriptor);
    },
  });
  const handle = newHandle();
  const storage = new FileStorage(handle, calls, true);
  const other = new FileStorage(handle, calls, true);
  storage.createSync(5, 0);
  storage.extendSync(5, 0, 1);
  const failed = expect.objectContaining({
    code: "58030",
    message: 'could not fsync file "base/5": Input/output error',
  });
  expect(() => storage.flushSync(5, 0)).toThrow(failed);
  broken = false;
  const earlier = expect.objectContaining({
    code: "58030",
    message: expect.stringMatching(/^could not fsync file ".*": an earlier fsync failed$/),
  });
  expect(() => storage.flushSync(5, 0)).toThrow(earlier);
  expect(() => other.flushSync(5, 0)).toThrow(earlier);
  expect(() => other.writeControlSync(pageOf(1))).toThrow(earlier);
  expect(storage.readControlSync()).toBeUndefined();
  expect(() => storage.closeSync()).toThrow(earlier);
  expect(log.filter((line) => line === "sync")).toHaveLength(1);
});

test("a flush syncs every segment if one was written, and the directory if names were made", () => {
  const log: string[] = [];
  const handle = newHandle();
  const storage = new FileStorage(handle, noting(log), true);
  storage.createSync(5, 0);
  storage.extendSync(5, 0, 6);
  const other = new FileStorage(handle, noting(log), true);
  other.flushSync(5, 0);
  expect(log).toEqual(["sync 5", "sync 5.1", "sync base", "close base"]);
  log.length = 0;
  for (const each of [storage, other]) each.flushSync(5, 0);
  expect(log).toEqual([]);
  storage.writeSync(5, 0, 5, pageOf(5));
  for (const each of [other, storage]) each.flushSync(5, 0);
  expect(log.splice(0)).toEqual(["sync 5", "sync 5.1"]);
  storage.createSync(6, 0);
  log.length = 0;
  storage.flushSync(6, 0);
  expect(log).toEqual(["sync 6", "sync base", "close base"]);
});

test("files that were written are closed last, and synced before that", () => {
  const log: string[] = [];
  const storage = new FileStorage(newHandle(3), noting(log), true);
  for (const relation of [1, 2, 3]) {
    storage.createSync(relation, 0);
    storage.extendSync(relation, 0, 1);
    storage.flushSync(relation, 0);
  }
  storage.writeSync(1, 0, 0, pageOf(1));
  readPage(storage, 3, 0, 0);
  log.length = 0;
  storage.createSync(4, 0);
  expect(log).toEqual(["close 2"]);
  storage.extendSync(4, 0, 1);
  storage.writeSync(3, 0, 0, pageOf(3));
  log.length = 0;
  readPage(storage, 2, 0, 0);
  expect(log).toEqual(["sync 1", "close 1"]);
  expect(readPage(storage, 1, 0, 0)).toEqual(pageOf(1));
  log.length = 0;
  storage.closeSync();
  expect(log.filter((line) => line.startsWith("sync")).sort()).toEqual(["sync 3", "sync 4"]);
});

test("at most maxOpenFiles descriptors are open, and fewer where the system allows fewer", () => {
  let open = 0;
  let most = 0;
  let limit = 1000;
  const storage = new FileStorage(
    newHandle(8),
    {
      ...fs,
      openSync: (path, flags) => {
        if (open >= limit) failing("EMFILE")();
        const descriptor = fs.openSync(path, flags);
        most = Math.max(most, ++open);
        return descriptor;
      },
      closeSync: (descriptor) => {
        open--;
        fs.closeSync(descriptor);
      },
    },
    true,
  );
  for (let relation = 0; relation < 20; relation++) {
    storage.createSync(relation, 0);
    storage.extendSync(relation, 0, 1);
    storage.writeSync(relation, 0, 0, pageOf(relation));
  }
  expect(most).toBe(8);
  limit = 3;
  storage.createSync(99, 0);
  for (let relation = 0; relation < 20; relation++) {
    expect(readPage(storage, relation, 0, 0)).toEqual(pageOf(relation));
  }
  expect(open).toBeLessThanOrEqual(8);
  storage.closeSync();
  expect(open).toBe(0);
});

test("the control document is synced in its two files by turns, and each one's name once", () => {
  const log: string[] = [];
  const handle = newHandle();
  const storage = new FileStorage(handle, noting(log), true);
  for (let turn = 0; turn < 4; turn += 1) storage.writeControlSync(pageOf(turn));
  const directory = handle.directory.split("/").at(-1);
  const names = [`sync ${directory}`, `close ${directory}`];
  expect(log.splice(0)).toEqual([
    "sync palloc.control.1",
    ...names,
    "sync palloc.control.0",
    ...names,
    "sync palloc.control.1",
    "sync palloc.control.0",
  ]);
  // Who finds one that it did not write makes it durable before the other is written over.
  new FileStorage(handle, noting(log), true).writeControlSync(pageOf(4));
  expect(log).toEqual(["sync palloc.control.0", "sync palloc.control.1"]);
});

test("a control document that cannot be written leaves the one before", () => {
  for (const [replaced, message] of [
    [{ writevSync: failing("ENOSPC") }, /write file "palloc.control.1": No space left on device$/],
    [{ fsyncSync: failing("EIO") }, /fsync file "palloc.control.1": Input\/output error$/],
  ] as const) {
    const handle = newHandle();
    new FileStorage(handle, fs, true).writeControlSync(pageOf(1));
    const storage = new FileStorage(handle, { ...fs, ...replaced }, true);
    expect(() => storage.writeControlSync(pageOf(2))).toThrow(message);
    expect(storage.readControlSync()).toEqual(pageOf(1));
  }
});

test("where directories cannot be synced, nothing tries to", () => {
  const log: string[] = [];
  const storage = new FileStorage(newHandle(), noting(log), false);
  storage.createSync(5, 0);
  storage.flushSync(5, 0);
  storage.writeControlSync(pageOf(1));
  expect(log.filter((line) => line.startsWith("sync"))).toEqual([
    "sync 5",
    "sync palloc.control.1",
  ]);
});

test("a file system that refuses to sync directories is no error", () => {
  const handle = newHandle();
  const directories = new Set<number>();
  const calls: FileCalls = {
    ...fs,
    openSync: (path, flags) => {
      const descriptor = fs.openSync(path, flags);
      if (flags === "r") directories.add(descriptor);
      return descriptor;
    },
    fsyncSync: (descriptor) => {
      if (directories.has(descriptor)) failing("EINVAL")();
      fs.fsyncSync(descriptor);
    },
  };
  const storage = new FileStorage(handle, calls, true);
  storage.createSync(5, 0);
  storage.flushSync(5, 0);
  storage.flushSync(5, 0);
  expect(storage.blocksSync(5, 0)).toBe(0);
});
