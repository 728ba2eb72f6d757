// Vectors, truncation, journals and documents in files when the system's calls stop short, fail, or
// find the file cut or removed underneath: over a table of calls that shortens and refuses. What
// single blocks and syncs do then is in files.test.ts.

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { newSyncState } from "../../bindings/storage/descriptors.ts";
import type { FileCalls } from "../../bindings/storage/file-calls.ts";
import { FileStorage, type FilesHandle } from "../../bindings/storage/files.ts";
import { isSame, pageOf, readPage, zeroPage } from "./contract.ts";

const root = fs.mkdtempSync(join(tmpdir(), "palloc-faults-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let directories = 0;

function failing(code: string): () => never {
  return () => {
    throw Object.assign(new Error(`${code}: injected`), { code });
  };
}

/** A fork of 10 blocks in segments of 4, each block written, and a journal; made without faults. */
function prepared(maxOpenFiles = 100): FilesHandle {
  const directory = join(root, `data${directories++}`);
  fs.mkdirSync(join(directory, "base"), { recursive: true });
  const handle: FilesHandle = {
    kind: "node-fs",
    module: "",
    directory,
    segmentBlocks: 4,
    maxOpenFiles,
    state: newSyncState(),
  };
  const storage = new FileStorage(handle, fs, true);
  storage.createSync(5, 0);
  storage.extendSync(5, 0, 10);
  for (let block = 0; block < 10; block++) storage.writeSync(5, 0, block, pageOf(block));
  storage.createJournalSync(1);
  storage.writeJournalSync(1, 0, [pageOf(20), pageOf(21)]);
  storage.closeSync();
  return handle;
}

function over(replaced: Partial<FileCalls>, handle = prepared()): FileStorage {
  return new FileStorage(handle, { ...fs, ...replaced }, true);
}

function pages(count: number): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(8192).fill(0xa5));
}

function pathOf(storage: FileStorage, name: string): string {
  return join(storage.handle.directory, name);
}

function expectBlocks(storage: FileStorage, seeds: readonly number[]): void {
  for (const [block, seed] of seeds.entries()) {
    const expected = seed < 0 ? zeroPage : pageOf(seed);
    expect(isSame(readPage(storage, 5, 0, block), expected), `block ${block}`).toBe(true);
  }
}

const asWritten = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** The first `bytes` bytes of parts, as a system that stops short takes them. */
function shortened(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const some: Uint8Array[] = [];
  let left = bytes;
  for (const part of parts) {
    if (left > 0) some.push(part.subarray(0, left));
    left -= part.length;
  }
  return some;
}

describe("calls that stop short", () => {
  const short: Partial<FileCalls> = {
    readvSync: (descriptor, into, position) =>
      fs.readvSync(descriptor, shortened(into, 10_001), position),
    writevSync: (descriptor, from, position) =>
      fs.writevSync(descriptor, shortened(from, 9_999), position),
    readv: (descriptor, into, position, done) =>
      fs.readv(descriptor, shortened(into, 3_001), position, done),
  };

  test("are gone on with where they stopped, within a page and between pages", async () => {
    const storage = over(short);
    const into = pages(10);
    storage.readvSync(5, 0, 0, into);
    expect(into.map((page, block) => isSame(page, pageOf(block)))).not.toContain(false);
    storage.writevSync(5, 0, 1, [31, 32, 33, 34, 35, 36].map(pageOf));
    expectBlocks(storage, [0, 31, 32, 33, 34, 35, 36, 7, 8, 9]);
    const later = pages(6);
    await storage.readv(5, 0, 1, later);
    expect(later.map((page, index) => isSame(page, pageOf(31 + index)))).not.toContain(false);
    storage.writeJournalSync(1, 5, [pageOf(1), new Uint8Array(0), pageOf(2), pageOf(3)]);
    const bytes = new Uint8Array(3 * 8192);
    expect(storage.readJournalSync(1, 5, bytes)).toBe(bytes.length);
    expect(isSame(bytes, Buffer.concat([pageOf(1), pageOf(2), pageOf(3)]))).toBe(true);
  });

  test("take neighbours in memory as one, and go on within them where they stopped", () => {
    const region = new Uint8Array(new SharedArrayBuffer(12 * 8192)).fill(0xa5);
    const frame = (index: number): Uint8Array => region.subarray(index * 8192, (index + 1) * 8192);
    const apart = new Uint8Array(3 * 8192);
    // Two, one, two, one that is elsewhere though at the same place, and four.
    const frames = [2, 3, 7, 0, 1, 8, 9, 10, 11].map(frame);
    const into = [...frames.slice(0, 5), apart.subarray(2 * 8192), ...frames.slice(5)];
    for (const most of [Number.POSITIVE_INFINITY, 10_001]) {
      region.fill(0xa5);
      const counts: number[] = [];
      const storage = over({
        readvSync: (descriptor, parts, position) => {
          counts.push(parts.length);
          return fs.readvSync(descriptor, shortened(parts, most), position);
        },
      });
      storage.readvSync(5, 0, 0, into);
      expect(into.map((page, block) => isSame(page, pageOf(block)))).not.toContain(false);
      expect([4, 5, 6].map((index) => frame(index)[0])).toEqual([0xa5, 0xa5, 0xa5]);
      if (most !== 10_001) expect(counts).toEqual([3, 3, 1]);
    }
  });

  test("take one call for the blocks of a segment if they do not stop", () => {
    const calls: string[] = [];
    const storage = over({
      readvSync: (descriptor, into, position) => {
        calls.push(`read ${into.length} at ${position / 8192}`);
        return fs.readvSync(descriptor, into, position);
      },
      writevSync: (descriptor, from, position) => {
        calls.push(`write ${from.length} at ${position / 8192}`);
        return fs.writevSync(descriptor, from, position);
      },
    });
    storage.readvSync(5, 0, 2, pages(8));
    storage.writevSync(5, 0, 5, pages(3));
    storage.writeJournalSync(1, 16384, pages(3));
    expect(calls).toEqual([
      "read 2 at 2",
      "read 4 at 0",
      "read 2 at 0",
      "write 3 at 1",
      "write 3 at 2",
    ]);
  });

  test("and write nothing, with no error, are a full disk", () => {
    const storage = over({ writevSync: () => 0 });
    const full = (what: string): unknown =>
      expect.objectContaining({
        code: "53100",
        message: `could not ${what}: No space left on device`,
        hint: "Check free disk space.",
      });
    expect(() => storage.writevSync(5, 0, 4, pages(2))).toThrow(
      full('write blocks 4..5 in file "base/5.1"'),
    );
    expect(() => storage.writeJournalSync(1, 0, pages(1))).toThrow(
      full('write to file "palloc.journal.1"'),
    );
  });
});

describe("calls that fail", () => {
  test("name the blocks that the call was about, and the file", async () => {
    const failed = (what: string): unknown =>
      expect.objectContaining({
        name: "StorageError",
        code: "58030",
        message: `could not ${what}: Input/output error`,
        cause: expect.objectContaining({ code: "EIO" }),
      });
    const fail = failing("EIO");
    const storage = over({
      readvSync: fail,
      writevSync: fail,
      readSync: fail,
      readv: (_descriptor, _into, _position, done) =>
        done(Object.assign(new Error("EIO"), { code: "EIO" }), 0),
    });
    expect(() => storage.readvSync(5, 0, 1, pages(2))).toThrow(
      failed('read blocks 1..2 in file "base/5"'),
    );
    expect(() => storage.readvSync(5, 0, 6, pages(1))).toThrow(
      failed('read blocks 6..6 in file "base/5.1"'),
    );
    expect(() => storage.writevSync(5, 0, 6, pages(4))).toThrow(
      failed('write blocks 6..7 in file "base/5.1"'),
    );
    await expect(storage.readv(5, 0, 8, pages(2))).rejects.toEqual(
      failed('read blocks 8..9 in file "base/5.2"'),
    );
    expect(() => storage.readJournalSync(1, 0, new Uint8Array(9))).toThrow(
      failed('read file "palloc.journal.1"'),
    );
    expect(() => storage.writeJournalSync(1, 0, pages(1))).toThrow(
      failed('write to file "palloc.journal.1"'),
    );
  });

  test("leave a fork that could not be cut without a gap, and it can be cut later", () => {
    let cuts = 0;
    const handle = prepared();
    const storage = over(
      {
        ftruncateSync: (descriptor, bytes) => {
          if (++cuts === 2) failing("EIO")();
          fs.ftruncateSync(descriptor, bytes);
        },
      },
      handle,
    );
    const other = new FileStorage(handle, fs, true);
    expect(other.blocksSync(5, 0)).toBe(10);
    expect(() => storage.truncateSync(5, 0, 1)).toThrow(
      'could not truncate file "base/5.1": Input/output error',
    );
    expectBlocks(storage, asWritten.slice(0, 8));
    storage.truncateSync(5, 0, 1);
    expect([storage.blocksSync(5, 0), other.blocksSync(5, 0)]).toEqual([1, 1]);
    expect(() => other.writeSync(5, 0, 1, zeroPage)).toThrow(/the fork has 1 blocks$/);
  });

  test("of too many open files are got over, for journals too", () => {
    let open = 0;
    const storage = over({
      openSync: (path, flags) => {
        if (open >= 2) failing("EMFILE")();
        const descriptor = fs.openSync(path, flags);
        open++;
        return descriptor;
      },
      closeSync: (descriptor) => {
        open--;
        fs.closeSync(descriptor);
      },
    });
    for (const n of [2, 3, 4]) {
      storage.createJournalSync(n);
      storage.writeJournalSync(n, 0, [pageOf(n)]);
      storage.writevSync(5, 0, 2, [pageOf(n), pageOf(n), pageOf(n)]);
    }
    const bytes = new Uint8Array(8192);
    for (const n of [2, 3, 4]) {
      expect(storage.readJournalSync(n, 0, bytes)).toBe(8192);
      expect(isSame(bytes, pageOf(n))).toBe(true);
    }
    storage.closeSync();
    expect(open).toBe(0);
  });

  test("in a directory that cannot be written are 42501, and what is there can be read", () => {
    for (const code of ["EROFS", "EACCES"]) {
      const handle = prepared();
      new FileStorage(handle, fs, true).writeRelationsSync(pageOf(1));
      const storage = over(
        {
          openSync: (path, flags) => (flags === "r" ? fs.openSync(path, flags) : failing(code)()),
          unlinkSync: failing(code),
          renameSync: failing(code),
        },
        handle,
      );
      const refused = expect.objectContaining({ name: "StorageError", code: "42501" });
      for (const call of [
        () => storage.createSync(6, 0),
        () => storage.extendSync(5, 0, 13),
        () => storage.truncateSync(5, 0, 1),
        () => storage.unlinkSync(5, 0),
        () => storage.writeSync(5, 0, 0, pageOf(2)),
        () => storage.writevSync(5, 0, 0, [pageOf(2), pageOf(3)]),
        () => storage.writeJournalSync(1, 0, [pageOf(2)]),
        () => storage.createJournalSync(1),
        () => storage.createJournalSync(2),
        () => storage.removeJournalSync(1),
        () => storage.writeControlSync(pageOf(2)),
        () => storage.writeRelationsSync(pageOf(2)),
      ]) {
        expect(call).toThrow(refused);
      }
      expect(storage.blocksSync(5, 0)).toBe(10);
      expectBlocks(storage, asWritten);
      expect(storage.journalBytesSync(1)).toBe(16384);
      expect(storage.readRelationsSync()).toEqual(pageOf(1));
    }
  });
});

describe("a sync that fails", () => {
  const earlier = expect.objectContaining({
    code: "58030",
    message: expect.stringMatching(/^could not fsync file ".*": an earlier fsync failed$/),
  });

  test("of a journal, or of the directory of its name, is the end of all syncs", () => {
    for (const failingSync of [1, 2]) {
      const handle = prepared();
      let syncs = 0;
      const storage = over(
        {
          fsyncSync: (descriptor) => {
            if (++syncs === failingSync) failing("EIO")();
            fs.fsyncSync(descriptor);
          },
        },
        handle,
      );
      const other = new FileStorage(handle, fs, true);
      storage.createJournalSync(2);
      expect(() => storage.syncJournalSync(2)).toThrow(
        /^could not fsync file ".*": Input\/output error$/,
      );
      for (const each of [storage, other]) {
        expect(() => each.syncJournalSync(2)).toThrow(earlier);
        expect(() => each.flushSync(5, 0)).toThrow(earlier);
        expect(() => each.writeControlSync(pageOf(1))).toThrow(earlier);
      }
      expect(syncs).toBe(failingSync);
    }
  });

  test("of a fork is the end of a journal's syncs, and of cuts that need one", () => {
    const storage = over({ fsyncSync: failing("EIO") });
    storage.writeSync(5, 0, 0, pageOf(1));
    expect(() => storage.flushSync(5, 0)).toThrow(/Input\/output error$/);
    expect(() => storage.syncJournalSync(1)).toThrow(earlier);
    expect(() => storage.truncateSync(5, 0, 1)).toThrow(earlier);
    expect(storage.blocksSync(5, 0)).toBeGreaterThanOrEqual(8);
  });

  test("of names is not needed for a list of relations, which promises nothing", () => {
    const storage = over({ fsyncSync: failing("EIO") });
    storage.writeRelationsSync(pageOf(3));
    expect(storage.readRelationsSync()).toEqual(pageOf(3));
  });
});

describe("names are synced", () => {
  test("with a journal once, whoever made it, and again after a removal", () => {
    const handle = prepared();
    const synced: string[] = [];
    const names = new Map<number, string>();
    const noting: Partial<FileCalls> = {
      openSync: (path, flags) => {
        const descriptor = fs.openSync(path, flags);
        names.set(descriptor, path.replace(handle.directory, "data"));
        return descriptor;
      },
      fsyncSync: (descriptor) => {
        synced.push(names.get(descriptor) ?? "");
        fs.fsyncSync(descriptor);
      },
    };
    const [one, two] = [over(noting, handle), over(noting, handle)];
    one.createJournalSync(2);
    two.syncJournalSync(2);
    one.syncJournalSync(2);
    expect(synced).toEqual(["data/palloc.journal.2", "data", "data/palloc.journal.2"]);
    synced.length = 0;
    two.removeJournalSync(1);
    one.syncJournalSync(2);
    expect(synced).toEqual(["data/palloc.journal.2", "data"]);
    synced.length = 0;
    one.createSync(6, 0);
    one.flushSync(6, 0);
    two.unlinkSync(6, 0);
    one.createJournalSync(2);
    one.flushSync(5, 0);
    expect(synced.filter((name) => name === "data/base")).toHaveLength(2);
  });
});

describe("a file that something else", () => {
  test("cut short while it was open: reading tells, with what is there", async () => {
    const storage = over({});
    expectBlocks(storage, asWritten);
    fs.truncateSync(pathOf(storage, "base/5.2"), 8192);
    const cut = 'could not read blocks 8..9 in file "base/5.2": read only 8192 of 16384 bytes';
    expect(() => storage.readvSync(5, 0, 8, pages(2))).toThrow(cut);
    await expect(storage.readv(5, 0, 8, pages(2))).rejects.toThrow(cut);
    fs.truncateSync(pathOf(storage, "base/5.1"), 8192);
    const gap = expect.objectContaining({
      code: "XX001",
      message: 'file "base/5.1" is truncated: it has 1 blocks',
    });
    expect(() => storage.readvSync(5, 0, 4, pages(2))).toThrow(gap);
    expect(() => storage.blocksSync(5, 0)).toThrow(gap);
    fs.truncateSync(pathOf(storage, "palloc.journal.1"), 100);
    expect(storage.readJournalSync(1, 0, new Uint8Array(8192))).toBe(100);
  });

  test("removed while it was open: what is synced then is refused, not lost in silence", () => {
    const storage = over({});
    storage.writeSync(5, 0, 0, pageOf(1));
    fs.rmSync(pathOf(storage, "base/5"));
    expect(() => storage.flushSync(5, 0)).toThrow(
      expect.objectContaining({
        code: "XX001",
        message: 'file "base/5" is missing',
        target: pathOf(storage, "base/5"),
      }),
    );
    storage.writeJournalSync(1, 0, [pageOf(1)]);
    fs.rmSync(pathOf(storage, "palloc.journal.1"));
    expect(() => storage.syncJournalSync(1)).toThrow('file "palloc.journal.1" is missing');
    const other = over({}, storage.handle);
    expect(() => other.readvSync(5, 0, 0, pages(2))).toThrow('file "base/5" is missing');
    expect(() => other.journalBytesSync(1)).toThrow(expect.objectContaining({ code: "58P01" }));
  });
});

describe("reading without blocking the thread", () => {
  /** Calls whose `readv` waits until it is let go on. */
  function held(): {
    calls: Partial<FileCalls>;
    closed: number[];
    go: () => void;
    waiting: () => number;
  } {
    const waiting: (() => void)[] = [];
    const closed: number[] = [];
    const calls: Partial<FileCalls> = {
      readv: (descriptor, into, position, done) => {
        waiting.push(() => fs.readv(descriptor, into, position, done));
      },
      closeSync: (descriptor) => {
        closed.push(descriptor);
        fs.closeSync(descriptor);
      },
    };
    const go = (): void => {
      for (const each of waiting.splice(0)) each();
    };
    return { calls, closed, go, waiting: () => waiting.length };
  }

  test("keeps its descriptor, though others take its place among the open files", async () => {
    const { calls, closed, go } = held();
    const storage = over(calls, prepared(1));
    const into = pages(2);
    const read = storage.readv(5, 0, 4, into);
    const again = storage.readv(5, 0, 6, pages(1));
    await Promise.resolve();
    readPage(storage, 5, 0, 0);
    readPage(storage, 5, 0, 8);
    expect(closed).toHaveLength(1);
    go();
    await Promise.all([read, again]);
    expect(into.map((page, index) => isSame(page, pageOf(4 + index)))).toEqual([true, true]);
    expect(closed).toHaveLength(2);
    expect(new Set(closed).size).toBe(2);
  });

  test("ends, and closes its file, after the storage was closed", async () => {
    const { calls, closed, go } = held();
    const storage = over(calls);
    const into = pages(1);
    const read = storage.readv(5, 0, 3, into);
    storage.closeSync();
    expect(closed).toEqual([]);
    go();
    await read;
    expect(isSame(into[0] ?? zeroPage, pageOf(3))).toBe(true);
    expect(closed).toHaveLength(1);
  });

  test("ahead of need reads the blocks asked for, a bounded number at a time, and ignores failure", async () => {
    const { calls, go, waiting } = held();
    const asked: string[] = [];
    const inner = calls.readv;
    const storage = over({
      ...calls,
      readv: (descriptor, into, position, done) => {
        asked.push(`${into.length} at ${position / 8192}`);
        inner?.(descriptor, into, position, done);
      },
    });
    storage.prefetch(5, 0, 2, 5);
    expect(asked).toEqual(["2 at 2", "3 at 0"]);
    for (let turn = 0; turn < 100; turn++) storage.prefetch(5, 0, 0, 1);
    expect(waiting()).toBeLessThanOrEqual(8);
    go();
    await new Promise((next) => setTimeout(next, 20));
    storage.prefetch(5, 0, 0, 1);
    expect(waiting()).toBe(1);
    go();
    const failed = over({
      readv: (_descriptor, _into, _position, done) => done(new Error("EIO"), 0),
    });
    failed.prefetch(5, 0, 0, 10);
    await new Promise((next) => setTimeout(next, 5));
    expectBlocks(failed, asWritten);
  });
});
