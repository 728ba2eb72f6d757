// Storage in files: the contract, with segments of ordinary size and with tiny ones and one open
// file; then what only files have: segments, damage, descriptors, syncs, and calls that fail.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { nodeFiles, openStorage } from "../../bindings/storage/node-fs.ts";
import { pageOf, readPage, type Subject, storageContract } from "./contract.ts";
import { wideContract } from "./contract-wide.ts";
import { builtModule, expectJournalOfTwo, runInWorker } from "./threads.ts";

const root = mkdtempSync(join(tmpdir(), "palloc-files-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let directories = 0;
function newDirectory(): string {
  return join(root, `data${directories++}`);
}

function directoryOf(storage: StorageManager): string {
  return (storage.handle as unknown as { directory: string }).directory;
}

const small = { segmentBlocks: 4 };

/** Three and a half segments of 4 blocks, each block written, in a directory of its own. */
function fourSegments(): { directory: string; file: (name: string) => string } {
  const directory = newDirectory();
  const storage = nodeFiles(directory, small);
  storage.createSync(5, 0);
  storage.extendSync(5, 0, 14);
  for (let block = 0; block < 14; block++) storage.writeSync(5, 0, block, pageOf(block));
  storage.closeSync();
  return { directory, file: (name) => join(directory, "base", name) };
}

function restart(storage: StorageManager, options = {}): StorageManager {
  storage.closeSync();
  return nodeFiles(directoryOf(storage), options);
}

describe("files keep the contract", () => {
  const subject: Subject = { make: () => nodeFiles(newDirectory()), open: openStorage, restart };
  storageContract(subject);
  wideContract(subject);
});

describe("files of tiny segments, one open at a time, keep the contract", () => {
  const tiny = { segmentBlocks: 3, maxOpenFiles: 1 };
  const subject: Subject = {
    make: () => nodeFiles(newDirectory(), tiny),
    open: openStorage,
    restart: (storage) => restart(storage, tiny),
  };
  storageContract(subject);
  wideContract(subject);
});

describe("the layout of files", () => {
  test("is PostgreSQL's: number, fork, segment", () => {
    const storage = nodeFiles(newDirectory(), { segmentBlocks: 2 });
    for (const fork of [0, 1, 2, 3] as const) storage.createSync(16384, fork);
    storage.extendSync(16384, 0, 5);
    storage.extendSync(16384, 1, 3);
    storage.extendSync(16384, 2, 2);
    const base = join(directoryOf(storage), "base");
    expect(readdirSync(base).sort()).toEqual(
      ["16384", "16384.1", "16384.2", "16384_fsm", "16384_fsm.1", "16384_init", "16384_vm"].sort(),
    );
    expect(statSync(join(base, "16384.1")).size).toBe(16384);
    expect(statSync(join(base, "16384.2")).size).toBe(8192);
    storage.writeSync(16384, 0, 3, pageOf(3));
    expect(readFileSync(join(base, "16384.1")).subarray(8192)).toEqual(Buffer.from(pageOf(3)));
  });

  test("has segments of 131,072 blocks, 1 GB, by default", () => {
    expect(nodeFiles(newDirectory()).handle).toMatchObject({ segmentBlocks: 131072 });
  });

  test("resolves the path once: a later change of directory moves nothing", () => {
    const before = process.cwd();
    mkdirSync(join(root, "elsewhere"));
    process.chdir(root);
    try {
      const storage = nodeFiles("relative");
      process.chdir(join(root, "elsewhere"));
      storage.createSync(5, 0);
      openStorage(storage.handle).writeControlSync(pageOf(1));
    } finally {
      process.chdir(before);
    }
    expect(readdirSync(join(root, "relative"))).toEqual(["base", "palloc.control.1"]);
    expect(readdirSync(join(root, "elsewhere"))).toEqual([]);
  });

  test("files that are not ours are left alone", () => {
    const storage = nodeFiles(newDirectory());
    storage.createSync(5, 0);
    const base = join(directoryOf(storage), "base");
    for (const name of ["5.tmp", "notes", "05", "5_map", "7.01", "4294967296"]) {
      writeFileSync(join(base, name), "x");
    }
    const later = restart(storage);
    expect(later.relationsSync()).toEqual([5]);
    expect(later.blocksSync(5, 0)).toBe(0);
  });

  test("a segment left without those before it is listed, and goes with its relation", () => {
    const storage = nodeFiles(newDirectory(), small);
    const base = join(directoryOf(storage), "base");
    writeFileSync(join(base, "7.1"), pageOf(1));
    writeFileSync(join(base, "8_vm.2"), pageOf(1));
    expect(storage.relationsSync()).toEqual([7, 8]);
    storage.unlinkSync(7, 0);
    storage.unlinkSync(8, 2);
    expect(readdirSync(base)).toEqual([]);
  });

  test("removing a fork removes all of its segments, those behind a gap too", () => {
    const { directory, file } = fourSegments();
    rmSync(file("5.2"));
    const storage = nodeFiles(directory, small);
    storage.unlinkSync(5, 0);
    expect(readdirSync(join(directory, "base"))).toEqual([]);
  });

  test("a removed file's space is free while another thread has it open", () => {
    const storage = nodeFiles(newDirectory());
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 2);
    const other = openStorage(storage.handle);
    expect(other.blocksSync(5, 0)).toBe(2);
    storage.unlinkSync(5, 0);
    expect(() => readPage(other, 5, 0, 0)).toThrow(expect.objectContaining({ code: "58P01" }));
  });
});

describe("damage is reported, with what a file has and what it should have", () => {
  test("a missing segment", () => {
    const { directory, file } = fourSegments();
    rmSync(file("5.1"));
    const missing = expect.objectContaining({
      name: "StorageError",
      code: "XX001",
      message: 'file "base/5.1" is missing',
      detail: 'It should have 4 blocks, because "base/5.2" follows it.',
      target: file("5.1"),
    });
    expect(() => nodeFiles(directory, small).blocksSync(5, 0)).toThrow(missing);
    expect(() => readPage(nodeFiles(directory, small), 5, 0, 6)).toThrow(missing);
    expect(() => nodeFiles(directory, small).extendSync(5, 0, 20)).toThrow(missing);
    expect(() => nodeFiles(directory, small).flushSync(5, 0)).toThrow(missing);
    expect(existsSync(file("5.1"))).toBe(false);
  });

  test("a missing first segment, and two missing ones", () => {
    const { directory, file } = fourSegments();
    rmSync(file("5"));
    rmSync(file("5.1"));
    expect(() => nodeFiles(directory, small).blocksSync(5, 0)).toThrow(
      expect.objectContaining({
        code: "XX001",
        message: 'file "base/5" is missing',
        detail: 'It should have 4 blocks, because "base/5.2" follows it.',
      }),
    );
  });

  test("a segment shorter than the one behind it implies", () => {
    const { directory, file } = fourSegments();
    truncateSync(file("5.1"), 3 * 8192);
    const short = expect.objectContaining({
      code: "XX001",
      message: 'file "base/5.1" is truncated: it has 3 blocks',
      detail: 'It should have 4 blocks, because "base/5.2" follows it.',
    });
    expect(() => nodeFiles(directory, small).blocksSync(5, 0)).toThrow(short);
    expect(() => readPage(nodeFiles(directory, small), 5, 0, 7)).toThrow(short);
  });

  test("a file cut within a page", () => {
    const { directory, file } = fourSegments();
    truncateSync(file("5.3"), 8192 + 100);
    const cut = expect.objectContaining({
      code: "XX001",
      message: 'file "base/5.3" is truncated: it has 8292 bytes',
      detail: "These are 1 blocks and 100 bytes; it should have a multiple of 8192 bytes.",
    });
    expect(() => nodeFiles(directory, small).blocksSync(5, 0)).toThrow(cut);
    expect(() => readPage(nodeFiles(directory, small), 5, 0, 13)).toThrow(cut);
  });

  test("a segment longer than a segment can be", () => {
    const { directory } = fourSegments();
    expect(() => nodeFiles(directory, { segmentBlocks: 2 }).blocksSync(5, 0)).toThrow(
      'file "base/5" has 4 blocks',
    );
  });

  test("a tail of zeroes is an extension cut short: it is not counted, and written over", () => {
    const { directory, file } = fourSegments();
    truncateSync(file("5.3"), 2 * 8192 + 4096);
    const storage = nodeFiles(directory, small);
    expect(storage.blocksSync(5, 0)).toBe(14);
    expect(() => readPage(storage, 5, 0, 14)).toThrow(
      'could not read blocks 14..14 in file "base/5.3": read only 4096 of 8192 bytes',
    );
    storage.extendSync(5, 0, 15);
    expect(statSync(file("5.3")).size).toBe(3 * 8192);
  });
});

describe("a directory that cannot be used", () => {
  test("below a regular file is an error that names the path", () => {
    const file = join(root, "regular");
    writeFileSync(file, "");
    expect(() => nodeFiles(join(file, "data"))).toThrow(
      expect.objectContaining({
        name: "StorageError",
        code: "58030",
        message: `could not create directory "${join(file, "data")}/base": Not a directory`,
        target: `${join(file, "data")}/base`,
      }),
    );
  });

  if (process.platform === "linux") {
    test("in /proc is an error that names the path", () => {
      expect(() => nodeFiles("/proc/palloc")).toThrow(
        expect.objectContaining({
          code: "58030",
          message: 'could not create directory "/proc/palloc/base": No such file or directory',
        }),
      );
    });
  }

  test("with base removed underneath is an error that names what is missing", () => {
    const storage = nodeFiles(newDirectory());
    rmSync(join(directoryOf(storage), "base"), { recursive: true });
    expect(() => storage.createSync(5, 0)).toThrow(
      /^could not create file "base\/5": No such file/,
    );
    expect(() => storage.relationsSync()).toThrow(/^could not read directory "base": No such file/);
  });

  test("options out of range are refused", () => {
    expect(() => nodeFiles(newDirectory(), { maxOpenFiles: 0 })).toThrow(RangeError);
    expect(() => nodeFiles(newDirectory(), { segmentBlocks: 1.5 })).toThrow(RangeError);
  });
});

describe("files between threads", () => {
  test("another thread opens them by the handle's module, reads what this one wrote and adds to it", async () => {
    const { nodeFiles: open } =
      await builtModule<typeof import("../../bindings/storage/node-fs.ts")>("node-fs");
    const storage = open(newDirectory(), small);
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 6);
    storage.writeSync(5, 0, 5, pageOf(5));
    const page = new Uint8Array(new SharedArrayBuffer(8192));
    const results = await runInWorker(storage.handle, [
      ["blocksSync", 5, 0],
      ["readSync", 5, 0, 5, page],
      ["extendSync", 5, 0, 10],
      ["writeSync", 5, 0, 9, pageOf(9)],
      ["flushSync", 5, 0],
    ]);
    expect(results[0]).toBe(6);
    expect(Array.from(page)).toEqual(Array.from(pageOf(5)));
    expect(storage.blocksSync(5, 0)).toBe(10);
    expect(readPage(storage, 5, 0, 9)).toEqual(pageOf(9));
    storage.closeSync();
  });

  test("threads that write one journal at once find in it what each of them wrote", async () => {
    const { nodeFiles: open } =
      await builtModule<typeof import("../../bindings/storage/node-fs.ts")>("node-fs");
    const storage = open(newDirectory(), small);
    await expectJournalOfTwo(storage);
    storage.closeSync();
  });

  test("a length asked for while another thread extends is always one that was reached", async () => {
    const { nodeFiles: open } =
      await builtModule<typeof import("../../bindings/storage/node-fs.ts")>("node-fs");
    const storage = open(newDirectory(), { segmentBlocks: 8 });
    storage.createSync(5, 0);
    const calls = Array.from({ length: 400 }, (_, block) => [
      ["extendSync", 5, 0, block + 1],
      ["writeSync", 5, 0, block, pageOf(block)],
    ]).flat();
    let working = true;
    const done = runInWorker(storage.handle, calls).finally(() => {
      working = false;
    });
    let length = 0;
    while (working) {
      const now = storage.blocksSync(5, 0);
      expect(now).toBeGreaterThanOrEqual(length);
      length = now;
      await new Promise((next) => setImmediate(next));
    }
    await done;
    expect(storage.blocksSync(5, 0)).toBe(400);
  });
});
