// What every storage manager must do, as a suite to be run over any of them. What managers may
// differ in is declared in their capabilities, and tested both ways.

import { expect, test } from "vitest";
import type { Fork, StorageHandle, StorageManager } from "../../bindings/storage/manager.ts";

/** A kind of storage to run the suite over. */
export interface Subject {
  /** New, empty storage. */
  make(): StorageManager;
  /** As another thread would open it. */
  open(handle: StorageHandle): StorageManager;
  /** What is found after the process that made `storage` has ended and another one looks. */
  restart(storage: StorageManager): StorageManager;
}

const pages = new Map<number, Uint8Array>();

/** A page whose every byte depends on `seed`; the same array each time, not to be changed. */
export function pageOf(seed: number): Uint8Array {
  let page = pages.get(seed);
  if (page === undefined) {
    const byte = (_: unknown, index: number): number =>
      (seed * 37 + index * 11 + (index >> 8)) & 255;
    page = Uint8Array.from({ length: 8192 }, byte);
    pages.set(seed, page);
  }
  return page;
}

/** Whether two pages hold the same; quicker than comparing them by `expect`. */
export function isSame(page: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(page, other) === 0;
}

/** The block's bytes in a fresh page that held something else. */
export function readPage(
  storage: StorageManager,
  relation: number,
  fork: Fork,
  block: number,
): Uint8Array {
  const page = new Uint8Array(8192).fill(0xa5);
  storage.readSync(relation, fork, block, page);
  return page;
}

export const zeroPage: Uint8Array = new Uint8Array(8192);

export function storageContract(subject: Subject): void {
  test("new storage has no relations and no control document", () => {
    const storage = subject.make();
    expect(storage.relationsSync()).toEqual([]);
    expect(storage.readControlSync()).toBeUndefined();
    expect(storage.existsSync(1, 0)).toBe(false);
  });

  test("a created fork exists, is empty, and its relation is listed, whichever fork it is", () => {
    const storage = subject.make();
    for (const relation of [7, 16384, 0x3fffffff, 0]) storage.createSync(relation, 0);
    storage.createSync(9, 1);
    storage.createSync(7, 3);
    expect(storage.relationsSync()).toEqual([0, 7, 9, 16384, 0x3fffffff]);
    expect(storage.existsSync(7, 0)).toBe(true);
    expect(storage.existsSync(7, 1)).toBe(false);
    expect(storage.blocksSync(0x3fffffff, 0)).toBe(0);
  });

  test("creating a fork that exists is an error and leaves it as it was", () => {
    const storage = subject.make();
    storage.createSync(7, 2);
    storage.extendSync(7, 2, 3);
    expect(() => storage.createSync(7, 2)).toThrow(
      expect.objectContaining({ name: "StorageError", code: "58P02" }),
    );
    expect(() => subject.open(storage.handle).createSync(7, 2)).toThrow(/7_vm": File exists/);
    expect(storage.blocksSync(7, 2)).toBe(3);
  });

  test("a block written is read back, by another manager of the same handle too", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 4);
    const other = subject.open(structuredClone(storage.handle));
    storage.writeSync(5, 0, 2, pageOf(1));
    expect(readPage(storage, 5, 0, 2)).toEqual(pageOf(1));
    expect(readPage(other, 5, 0, 2)).toEqual(pageOf(1));
    other.writeSync(5, 0, 3, pageOf(2));
    expect(readPage(storage, 5, 0, 3)).toEqual(pageOf(2));
    expect(readPage(storage, 5, 0, 1)).toEqual(zeroPage);
  });

  test("an extension by one manager is seen by another", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    const other = subject.open(storage.handle);
    expect(other.blocksSync(5, 0)).toBe(0);
    storage.extendSync(5, 0, 9);
    expect(other.blocksSync(5, 0)).toBe(9);
    other.extendSync(5, 0, 12);
    other.writeSync(5, 0, 11, pageOf(3));
    expect(storage.blocksSync(5, 0)).toBe(12);
    expect(readPage(storage, 5, 0, 11)).toEqual(pageOf(3));
  });

  test("extending never shortens, and leaves what is there", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 5);
    storage.writeSync(5, 0, 4, pageOf(4));
    storage.extendSync(5, 0, 2);
    storage.extendSync(5, 0, 5);
    expect(storage.blocksSync(5, 0)).toBe(5);
    storage.extendSync(5, 0, 6);
    expect(readPage(storage, 5, 0, 4)).toEqual(pageOf(4));
    expect(readPage(storage, 5, 0, 5)).toEqual(zeroPage);
  });

  test("the forks of a relation are separate", () => {
    const storage = subject.make();
    for (const fork of [0, 1, 2, 3] as const) {
      storage.createSync(5, fork);
      storage.extendSync(5, fork, fork + 1);
      storage.writeSync(5, fork, fork, pageOf(fork));
    }
    for (const fork of [0, 1, 2, 3] as const) {
      expect(storage.blocksSync(5, fork)).toBe(fork + 1);
      expect(readPage(storage, 5, fork, fork)).toEqual(pageOf(fork));
    }
  });

  test("pages may be views of shared memory, at any offset", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 1);
    const memory = new Uint8Array(new SharedArrayBuffer(40000)).fill(1);
    const frame = memory.subarray(9001, 9001 + 8192);
    frame.set(pageOf(6));
    storage.writeSync(5, 0, 0, frame);
    frame.fill(0);
    storage.readSync(5, 0, 0, frame);
    expect(Array.from(frame)).toEqual(Array.from(pageOf(6)));
    expect([memory[9000], memory[9001 + 8192]]).toEqual([1, 1]);
  });

  test("reading at or beyond the end is an error with PostgreSQL's words", () => {
    const storage = subject.make();
    storage.createSync(5, 1);
    for (const block of [0, 7, 0xfffffffe]) {
      const message = new RegExp(
        `^could not read blocks ${block}\\.\\.${block} in file ".*5_fsm(\\.\\d+)?": read only 0 of 8192 bytes$`,
      );
      expect(() => readPage(storage, 5, 1, block)).toThrow(message);
    }
    storage.extendSync(5, 1, 2);
    expect(readPage(storage, 5, 1, 1)).toEqual(zeroPage);
    expect(() => readPage(storage, 5, 1, 2)).toThrow(
      expect.objectContaining({ name: "StorageError", code: "XX001" }),
    );
  });

  test("writing at or beyond the end is an error and does not grow the fork", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 2);
    for (const block of [2, 100]) {
      expect(() => storage.writeSync(5, 0, block, zeroPage)).toThrow(/the fork has 2 blocks$/);
    }
    expect(storage.blocksSync(5, 0)).toBe(2);
  });

  test("a fork that does not exist is error 58P01, except to exists and unlink", () => {
    const storage = subject.make();
    const missing = expect.objectContaining({
      code: "58P01",
      message: expect.stringMatching(/^could not open file ".*8": No such file or directory$/),
    });
    expect(() => storage.blocksSync(8, 0)).toThrow(missing);
    expect(() => storage.extendSync(8, 0, 1)).toThrow(missing);
    expect(() => readPage(storage, 8, 0, 0)).toThrow(missing);
    expect(() => storage.writeSync(8, 0, 0, zeroPage)).toThrow(missing);
    expect(() => storage.flushSync(8, 0)).toThrow(missing);
    storage.unlinkSync(8, 0);
    expect(storage.relationsSync()).toEqual([]);
  });

  test("a removed fork is gone for every manager, and may be made again, empty", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.createSync(6, 0);
    storage.extendSync(5, 0, 3);
    storage.writeSync(5, 0, 1, pageOf(9));
    const other = subject.open(storage.handle);
    expect(other.blocksSync(5, 0)).toBe(3);
    storage.unlinkSync(5, 0);
    for (const each of [storage, other]) {
      expect(each.existsSync(5, 0)).toBe(false);
      expect(each.relationsSync()).toEqual([6]);
      expect(() => each.blocksSync(5, 0)).toThrow(expect.objectContaining({ code: "58P01" }));
    }
    other.createSync(5, 0);
    other.extendSync(5, 0, 2);
    expect(storage.blocksSync(5, 0)).toBe(2);
    expect(readPage(storage, 5, 0, 1)).toEqual(zeroPage);
  });

  test("documents are replaced whole, whatever their length, each for itself", () => {
    const storage = subject.make();
    const other = subject.open(storage.handle);
    expect(storage.readRelationsSync()).toBeUndefined();
    for (const length of [1, 8192, 20000, 0, 8191, 3]) {
      const document = new Uint8Array(length).map((_, index) => (index * 7 + length) & 255);
      storage.writeControlSync(document);
      other.writeRelationsSync(document.subarray(1));
      for (const each of [storage, other]) {
        expect(each.readControlSync()).toEqual(document);
        expect(each.readRelationsSync()).toEqual(document.subarray(1));
      }
    }
    expect(storage.relationsSync()).toEqual([]);
    expect(storage.journalsSync()).toEqual([]);
  });

  test("flushing returns, and what was flushed is there after the process if that is promised", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 2);
    storage.writeSync(5, 0, 1, pageOf(8));
    storage.flushSync(5, 0);
    storage.writeControlSync(pageOf(1));
    const later = subject.restart(storage);
    if (storage.capabilities.durable) {
      expect(readPage(later, 5, 0, 1)).toEqual(pageOf(8));
      expect(later.readControlSync()).toEqual(pageOf(1));
      expect(later.relationsSync()).toEqual([5]);
    } else {
      expect(later.relationsSync()).toEqual([]);
      expect(later.readControlSync()).toBeUndefined();
    }
  });

  test("numbers that name nothing, and pages of another size, are refused before anything happens", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 1);
    for (const relation of [-1, 1.5, 0x40000000, Number.NaN, "../../etc/passwd", "5/../6"]) {
      expect(() => storage.createSync(relation as number, 0)).toThrow(RangeError);
      expect(() => readPage(storage, relation as number, 0, 0)).toThrow(RangeError);
      expect(() => storage.unlinkSync(relation as number, 0)).toThrow(RangeError);
    }
    for (const fork of [-1, 4, 0.5, "_fsm"]) {
      expect(() => storage.existsSync(5, fork as Fork)).toThrow(RangeError);
    }
    for (const block of [-1, 0.5, 0xffffffff, 2 ** 40, Number.NaN]) {
      expect(() => readPage(storage, 5, 0, block)).toThrow(RangeError);
      expect(() => storage.writeSync(5, 0, block, zeroPage)).toThrow(RangeError);
    }
    for (const bytes of [0, 8191, 8193, 16384]) {
      expect(() => storage.readSync(5, 0, 0, new Uint8Array(bytes))).toThrow(RangeError);
      expect(() => storage.writeSync(5, 0, 0, new Uint8Array(bytes))).toThrow(RangeError);
    }
    expect(() => storage.extendSync(5, 0, -1)).toThrow(RangeError);
    expect(storage.blocksSync(5, 0)).toBe(1);
  });

  test("after closing every call throws 55000, and closing again does nothing", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 1);
    const other = subject.open(storage.handle);
    storage.closeSync();
    storage.closeSync();
    const calls = [
      () => storage.createSync(6, 0),
      () => storage.existsSync(5, 0),
      () => storage.unlinkSync(5, 0),
      () => storage.blocksSync(5, 0),
      () => storage.extendSync(5, 0, 2),
      () => readPage(storage, 5, 0, 0),
      () => storage.writeSync(5, 0, 0, zeroPage),
      () => storage.flushSync(5, 0),
      () => storage.relationsSync(),
      () => storage.readControlSync(),
      () => storage.writeControlSync(zeroPage),
    ];
    for (const call of calls) expect(call).toThrow(expect.objectContaining({ code: "55000" }));
    expect(other.blocksSync(5, 0)).toBe(1);
  });

  test("a handle of another kind is refused", () => {
    expect(() => subject.open({ kind: "elsewhere" })).toThrow(TypeError);
  });

  test("three managers of one storage agree with a model over a random history", () => {
    const storage = subject.make();
    const managers = [storage, subject.open(storage.handle), subject.open(storage.handle)];
    randomHistory(managers, 20261123, 600);
  });
}

type Model = Map<string, number[]>;

/** Random calls on random managers; the model holds each block's seed, -1 for zeroes. */
function randomHistory(managers: readonly StorageManager[], seed: number, steps: number): void {
  const next = random(seed);
  const model: Model = new Map();
  for (let step = 0; step < steps; step++) {
    const storage = managers[next(managers.length)];
    const relation = 1 + next(3);
    const fork = next(2) as Fork;
    if (storage === undefined) throw new Error("no manager");
    const key = `${relation}.${fork}`;
    const blocks = model.get(key);
    const where = `seed ${seed}, step ${step}, fork ${key}`;
    if (blocks === undefined) {
      storage.createSync(relation, fork);
      model.set(key, []);
    } else {
      randomCall(storage, relation, fork, blocks, next, where);
      if (next(40) === 0) {
        storage.unlinkSync(relation, fork);
        model.delete(key);
      }
    }
    expect(storage.existsSync(relation, fork), where).toBe(model.has(key));
  }
}

function randomCall(
  storage: StorageManager,
  relation: number,
  fork: Fork,
  blocks: number[],
  next: (below: number) => number,
  where: string,
): void {
  const choice = next(7);
  if (choice === 0) {
    const length = blocks.length + next(4);
    storage.extendSync(relation, fork, length);
    while (blocks.length < length) blocks.push(-1);
  } else if (choice === 1 && blocks.length > 0) {
    const block = next(blocks.length);
    blocks[block] = next(250);
    storage.writeSync(relation, fork, block, pageOf(blocks[block]));
  } else if (choice === 2 && blocks.length > 0) {
    const block = next(blocks.length);
    const expected = blocks[block] ?? -1;
    const page = readPage(storage, relation, fork, block);
    const same = isSame(page, expected < 0 ? zeroPage : pageOf(expected));
    expect(same, `${where}, block ${block}`).toBe(true);
  } else if (choice === 3 && blocks.length > 0) {
    const block = next(blocks.length);
    const seeds = Array.from({ length: 1 + next(blocks.length - block) }, () => next(250));
    blocks.splice(block, seeds.length, ...seeds);
    storage.writevSync(relation, fork, block, seeds.map(pageOf));
  } else if (choice === 4) {
    const pages = blocks.map(() => new Uint8Array(8192).fill(0xa5));
    storage.readvSync(relation, fork, 0, pages);
    for (const [block, page] of pages.entries()) {
      const expected = blocks[block] ?? -1;
      const same = isSame(page, expected < 0 ? zeroPage : pageOf(expected));
      expect(same, `${where}, block ${block}`).toBe(true);
    }
  } else if (choice === 5 && next(4) === 0) {
    blocks.length = next(blocks.length + 1);
    storage.truncateSync(relation, fork, blocks.length);
  } else {
    expect(storage.blocksSync(relation, fork), where).toBe(blocks.length);
    storage.flushSync(relation, fork);
  }
}

/** Numbers below a limit, the same ones for the same seed. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * below);
  };
}
