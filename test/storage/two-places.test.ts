// A document in two files: what a crash leaves of either, and who reads while somebody writes. What
// a disk may do to them in every order is crash-disk.test.ts and test/durability.

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { newSyncState } from "../../bindings/storage/descriptors.ts";
import type { FileCalls } from "../../bindings/storage/file-calls.ts";
import { FileStorage, type FilesHandle } from "../../bindings/storage/files.ts";
import { Random, seed } from "../support/random.ts";
import { CrashDisk, isCrash } from "./crash-disk.ts";

const root = fs.mkdtempSync(join(tmpdir(), "palloc-places-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let directories = 0;

function newHandle(): FilesHandle {
  const directory = join(root, `data${directories++}`);
  fs.mkdirSync(join(directory, "base"), { recursive: true });
  const state = newSyncState();
  return { kind: "node-fs", module: "", directory, segmentBlocks: 4, maxOpenFiles: 8, state };
}

const document = (text: string): Uint8Array => new TextEncoder().encode(text);

function read(storage: FileStorage): string | undefined {
  const bytes = storage.readControlSync();
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}

/** A directory in which these documents were written, and the files they are in. */
function written(...texts: string[]): { handle: FilesHandle; even: string; odd: string } {
  const handle = newHandle();
  const storage = new FileStorage(handle, fs, true);
  for (const text of texts) storage.writeControlSync(document(text));
  storage.closeSync();
  const file = (n: number): string => join(handle.directory, `palloc.control.${n}`);
  return { handle, even: file(0), odd: file(1) };
}

/** The storage as a process that starts finds it. */
function opened({ directory }: FilesHandle, calls: FileCalls = fs): FileStorage {
  return new FileStorage({ ...newHandle(), directory }, calls, true);
}

test("its files can be read by a person", () => {
  const { even, odd } = written("one\n", "two, and longer\n", "three\n");
  expect(fs.readFileSync(even, "utf8")).toMatch(
    /^palloc document 2: 16 bytes, digest [0-9a-f]{8}\ntwo, and longer\n$/,
  );
  expect(fs.readFileSync(odd, "utf8")).toMatch(
    /^palloc document 3: 6 bytes, digest [0-9a-f]{8}\nthree\n$/,
  );
});

describe("what is left of a replacement is passed over for the one before", () => {
  const { handle, even, odd } = written("one", "two and its end");
  const whole = fs.readFileSync(even);
  const before = fs.readFileSync(odd);

  test("if it is cut short, anywhere", () => {
    for (let length = 0; length < whole.length; length += 1) {
      fs.writeFileSync(even, whole.subarray(0, length));
      expect(read(opened(handle))).toBe("one");
    }
  });

  test("if any byte of it is another one", () => {
    for (let at = 0; at < whole.length; at += 1) {
      const broken = Uint8Array.from(whole);
      broken[at] = (broken[at] ?? 0) ^ 1;
      fs.writeFileSync(even, broken);
      expect(read(opened(handle))).toBe("one");
    }
  });

  test("and the next one takes its place", () => {
    fs.writeFileSync(even, whole.subarray(0, 20));
    const storage = opened(handle);
    storage.writeControlSync(document("two again"));
    expect(fs.readFileSync(odd)).toEqual(before);
    expect(read(opened(handle))).toBe("two again");
  });
});

test("a first replacement that was not finished leaves a new directory", () => {
  const { handle, odd } = written("one");
  fs.writeFileSync(odd, "palloc document 1: 3 by");
  const storage = opened(handle);
  expect(read(storage)).toBeUndefined();
  storage.writeControlSync(document("first"));
  expect(read(opened(handle))).toBe("first");
});

test("if both files are damaged, that is an error, and nothing is written over", () => {
  const { handle, even, odd } = written("one", "two");
  for (const file of [even, odd]) fs.appendFileSync(file, "behind the end nobody looks");
  expect(read(opened(handle))).toBe("two");
  for (const file of [even, odd]) fs.writeFileSync(file, "damaged");
  const storage = opened(handle);
  const damaged = expect.objectContaining({
    code: "XX001",
    message: 'files "palloc.control.0" and "palloc.control.1" are damaged',
  });
  expect(() => storage.readControlSync()).toThrow(damaged);
  expect(() => storage.writeControlSync(document("three"))).toThrow(damaged);
  expect(fs.readFileSync(even, "utf8")).toBe("damaged");
});

test("a document of the formats before 4 is found where it was", () => {
  const handle = newHandle();
  fs.writeFileSync(join(handle.directory, "palloc.control"), "the former form");
  expect(read(opened(handle))).toBe("the former form");
});

test("who reads while others replace finds one of the documents, wherever they come in", () => {
  for (let stop = 1; stop <= 8; stop += 1) {
    const { handle } = written("1", "2", "3");
    const writer = opened(handle);
    let next = 4;
    let calls = 0;
    const reader = opened(handle, {
      ...fs,
      readSync: (...read) => {
        calls += 1;
        if (calls <= stop) {
          writer.writeControlSync(document(String(next)));
          next += 1;
        }
        return fs.readSync(...read);
      },
    });
    const found = Number(read(reader));
    expect(found).toBeGreaterThanOrEqual(3);
    expect(found).toBeLessThan(next);
  }
});

test("a thread that ends before its sync leaves the one before to whoever replaces next", () => {
  const texts = ["a", "b", "c", "d"].map((letter) => letter.repeat(3000));
  const [first = "", second = "", third = "", fourth = ""] = texts;
  const found = new Set<string | undefined>();
  for (let n = 0; n < 400; n += 1) {
    const disk = new CrashDisk();
    const random = new Random(seed + n);
    const storage = disk.open();
    for (const text of [first, second]) storage.writeControlSync(document(text));
    disk.fsyncSync = () => {};
    storage.writeControlSync(document(third));
    Reflect.deleteProperty(disk, "fsyncSync");
    disk.crashAt(disk.operations + 1 + random.below(4));
    try {
      disk.open(storage.handle).writeControlSync(document(fourth));
    } catch (error) {
      if (!isCrash(error)) throw error;
    }
    found.add(read(disk.image(random).open()));
  }
  expect(found).toEqual(new Set([second, third, fourth]));
});
