// The second half of what every storage manager must do: vectors of blocks, truncation, journals.

import { expect, test } from "vitest";
import { isSame, pageOf, readPage, type Subject, zeroPage } from "./contract.ts";

/** Runs all of it over one kind of storage. */
export function wideContract(subject: Subject): void {
  vectorContract(subject);
  vectorErrors(subject);
  truncationContract(subject);
  journalContract(subject);
  closingContract(subject);
}

/** Pages of what these seeds make, one behind another. */
function pagesOf(seeds: readonly number[]): Uint8Array[] {
  return seeds.map(pageOf);
}

/** Compares pages quickly. */
function expectPages(pages: readonly Uint8Array[], seeds: readonly number[]): void {
  expect(pages.map((page, index) => isSame(page, pageOf(seeds[index] ?? -1)))).toEqual(
    seeds.map(() => true),
  );
}

/** Fresh pages that hold something else. */
function freshPages(count: number): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(8192).fill(0xa5));
}

function vectorContract(subject: Subject): void {
  test("consecutive blocks are written and read together, whatever lies between them", async () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 20);
    const seeds = Array.from({ length: 16 }, (_, index) => index + 1);
    storage.writevSync(5, 0, 2, pagesOf(seeds));
    const other = subject.open(storage.handle);
    const into = freshPages(16);
    other.readvSync(5, 0, 2, into);
    expectPages(into, seeds);
    expect(readPage(storage, 5, 0, 1)).toEqual(zeroPage);
    expect(readPage(storage, 5, 0, 18)).toEqual(zeroPage);
    storage.readvSync(5, 0, 2, []);
    storage.writevSync(5, 0, 2, []);
    if (storage.readv === undefined) return;
    const later = freshPages(16);
    await storage.readv(5, 0, 2, later);
    expectPages(later, seeds);
  });

  test("vectors of pages may be views of shared memory, in any order", async () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 3);
    const memory = new Uint8Array(new SharedArrayBuffer(4 * 8192));
    const frames = [3, 0, 2].map((at) => memory.subarray(at * 8192, (at + 1) * 8192));
    for (const [index, frame] of frames.entries()) frame.set(pageOf(index + 1));
    storage.writevSync(5, 0, 0, frames);
    const readLater = async (): Promise<void> => storage.readv?.(5, 0, 0, frames);
    const readNow = async (): Promise<void> => storage.readvSync(5, 0, 0, frames);
    for (const read of storage.readv === undefined ? [readNow] : [readNow, readLater]) {
      memory.fill(0);
      await read();
      expect(isSame(memory.subarray(3 * 8192), pageOf(1))).toBe(true);
      expect(isSame(memory.subarray(0, 8192), pageOf(2))).toBe(true);
      expect(isSame(memory.subarray(8192, 2 * 8192), zeroPage)).toBe(true);
    }
  });
}

/** What is refused of vectors, and what a hint may not do. */
function vectorErrors(subject: Subject): void {
  test("a vector that reaches beyond the end is an error, and a write of it writes nothing", async () => {
    const storage = subject.make();
    storage.createSync(5, 1);
    storage.extendSync(5, 1, 5);
    const past = expect.objectContaining({
      name: "StorageError",
      code: "XX001",
      message: expect.stringMatching(
        /^could not read blocks [34]\.\.[56] in file ".*5_fsm(\.\d)?": read only \d+ of \d+ bytes$/,
      ),
    });
    expect(() => storage.readvSync(5, 1, 3, freshPages(4))).toThrow(past);
    if (storage.readv !== undefined) {
      await expect(storage.readv(5, 1, 3, freshPages(4))).rejects.toEqual(past);
    }
    expect(() => storage.writevSync(5, 1, 3, pagesOf([1, 2, 3, 4]))).toThrow(
      expect.objectContaining({
        code: "XX000",
        message: expect.stringMatching(
          /^could not write blocks [34]\.\.[56] .*the fork has 5 blocks$/,
        ),
      }),
    );
    expect(storage.blocksSync(5, 1)).toBe(5);
    for (const block of [3, 4]) expect(readPage(storage, 5, 1, block)).toEqual(zeroPage);
    const missing = expect.objectContaining({ code: "58P01" });
    expect(() => storage.readvSync(6, 0, 0, freshPages(2))).toThrow(missing);
    expect(() => storage.writevSync(6, 0, 0, freshPages(2))).toThrow(missing);
  });

  test("a prefetch is a hint: it changes nothing, beyond the end and of nothing too", async () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 9);
    storage.writeSync(5, 0, 8, pageOf(8));
    storage.prefetch?.(5, 0, 0, 9);
    storage.prefetch?.(5, 0, 7, 1000);
    storage.prefetch?.(5, 0, 100, 1);
    storage.prefetch?.(6, 0, 0, 4);
    expect(readPage(storage, 5, 0, 8)).toEqual(pageOf(8));
    storage.unlinkSync(5, 0);
    await new Promise((next) => setTimeout(next, 5));
    expect(storage.relationsSync()).toEqual([]);
  });

  test("what names no block, no journal or no position is refused, by a rejection where one is due", async () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 2);
    storage.createJournalSync(1);
    const short = [new Uint8Array(8192), new Uint8Array(8191)];
    for (const call of [
      () => storage.readvSync(5, 0, 0, short),
      () => storage.writevSync(5, 0, 0, short),
      () => storage.readvSync(5, 0, -1, freshPages(1)),
      () => storage.writevSync(5, 0, 0xfffffffe, freshPages(2)),
      () => storage.truncateSync(5, 0, -1),
      () => storage.truncateSync(5, 4 as 0, 0),
      () => storage.prefetch?.(5, 0, 0, -1) ?? refuse(),
      () => storage.createJournalSync(-1),
      () => storage.journalBytesSync(2 ** 32),
      () => storage.syncJournalSync("../control" as unknown as number),
      () => storage.removeJournalSync(0.5),
      () => storage.writeJournalSync(1, -1, []),
      () => storage.readJournalSync(1, Number.NaN, new Uint8Array(1)),
    ]) {
      expect(call).toThrow(RangeError);
    }
    await expect(storage.readv?.(5, 0, 0, short) ?? Promise.reject(refusal())).rejects.toThrow(
      RangeError,
    );
    expect([storage.blocksSync(5, 0), storage.journalBytesSync(1)]).toEqual([2, 0]);
  });
}

/** Stands for the answer of a call that a manager does not have. */
function refusal(): RangeError {
  return new RangeError("there is no such call");
}

function refuse(): never {
  throw refusal();
}

function closingContract(subject: Subject): void {
  test("after closing the wide calls throw 55000 too, and journals stay for others", async () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 1);
    storage.createJournalSync(3);
    storage.writeJournalSync(3, 0, [pageOf(3)]);
    const other = subject.open(storage.handle);
    storage.closeSync();
    const closed = expect.objectContaining({ code: "55000" });
    for (const call of [
      () => storage.readvSync(5, 0, 0, freshPages(1)),
      () => storage.writevSync(5, 0, 0, freshPages(1)),
      () => storage.truncateSync(5, 0, 0),
      () => storage.createJournalSync(4),
      () => storage.writeJournalSync(3, 0, [zeroPage]),
      () => storage.readJournalSync(3, 0, new Uint8Array(1)),
      () => storage.journalBytesSync(3),
      () => storage.syncJournalSync(3),
      () => storage.removeJournalSync(3),
      () => storage.journalsSync(),
      () => storage.readRelationsSync(),
      () => storage.writeRelationsSync(zeroPage),
    ]) {
      expect(call).toThrow(closed);
    }
    if (storage.readv !== undefined) {
      await expect(storage.readv(5, 0, 0, freshPages(1))).rejects.toEqual(closed);
      expect(() => storage.prefetch?.(5, 0, 0, 1)).toThrow(closed);
    }
    const bytes = new Uint8Array(8192);
    expect(other.readJournalSync(3, 0, bytes)).toBe(8192);
    expect(isSame(bytes, pageOf(3))).toBe(true);
  });

  test("journals that were synced are there after the process if that is promised", () => {
    const storage = subject.make();
    storage.createJournalSync(9);
    storage.writeJournalSync(9, 100, [pageOf(9)]);
    storage.syncJournalSync(9);
    const later = subject.restart(storage);
    if (!storage.capabilities.durable) {
      expect(later.journalsSync()).toEqual([]);
      return;
    }
    expect(later.journalsSync()).toEqual([9]);
    const bytes = new Uint8Array(9000);
    expect(later.readJournalSync(9, 0, bytes)).toBe(8292);
    expect(isSame(bytes.subarray(100, 8292), pageOf(9))).toBe(true);
    later.removeJournalSync(9);
    expect(later.journalsSync()).toEqual([]);
  });
}

function truncationContract(subject: Subject): void {
  test("a truncated fork is shorter for every manager, and grows again with zeroes", () => {
    const storage = subject.make();
    storage.createSync(5, 0);
    storage.extendSync(5, 0, 14);
    for (let block = 0; block < 14; block++) storage.writeSync(5, 0, block, pageOf(block + 1));
    const other = subject.open(storage.handle);
    expect(readPage(other, 5, 0, 13)).toEqual(pageOf(14));
    other.writeSync(5, 0, 13, pageOf(14));
    for (const blocks of [14, 8, 6, 1, 0]) {
      storage.truncateSync(5, 0, blocks);
      for (const each of [storage, other]) {
        expect(each.blocksSync(5, 0)).toBe(blocks);
        expect(() => readPage(each, 5, 0, blocks)).toThrow(/read only 0 of 8192 bytes$/);
        expect(() => each.writeSync(5, 0, blocks, zeroPage)).toThrow(
          new RegExp(`the fork has ${blocks} blocks$`),
        );
        if (blocks > 0) expect(readPage(each, 5, 0, blocks - 1)).toEqual(pageOf(blocks));
      }
      storage.flushSync(5, 0);
    }
    other.extendSync(5, 0, 14);
    for (let block = 0; block < 14; block++) {
      expect(isSame(readPage(storage, 5, 0, block), zeroPage)).toBe(true);
    }
  });

  test("truncating to more than there is, or what is not there, is an error", () => {
    const storage = subject.make();
    storage.createSync(5, 1);
    storage.extendSync(5, 1, 3);
    expect(() => storage.truncateSync(5, 1, 4)).toThrow(
      expect.objectContaining({
        name: "StorageError",
        code: "XX000",
        message: expect.stringMatching(
          /^could not truncate file ".*5_fsm" to 4 blocks: it's only 3 blocks now$/,
        ),
      }),
    );
    expect(storage.blocksSync(5, 1)).toBe(3);
    expect(() => storage.truncateSync(6, 0, 0)).toThrow(expect.objectContaining({ code: "58P01" }));
  });
}

function journalContract(subject: Subject): void {
  test("a journal holds what was written where it was written, and zeroes between", () => {
    const storage = subject.make();
    expect(storage.journalsSync()).toEqual([]);
    storage.createJournalSync(12);
    storage.createJournalSync(3);
    expect(storage.journalsSync()).toEqual([3, 12]);
    expect(storage.journalBytesSync(3)).toBe(0);
    const other = subject.open(storage.handle);
    storage.writeJournalSync(3, 0, [pageOf(1).subarray(0, 100), new Uint8Array(0), pageOf(2)]);
    other.writeJournalSync(3, 20000, [pageOf(3), pageOf(4)]);
    expect(storage.journalBytesSync(3)).toBe(20000 + 2 * 8192);
    const expected = new Uint8Array(20000 + 2 * 8192);
    expected.set(pageOf(1).subarray(0, 100));
    expected.set(pageOf(2), 100);
    expected.set(pageOf(3), 20000);
    expected.set(pageOf(4), 20000 + 8192);
    const bytes = new Uint8Array(50000);
    expect(other.readJournalSync(3, 0, bytes)).toBe(expected.length);
    expect(isSame(bytes.subarray(0, expected.length), expected)).toBe(true);
    expect(storage.readJournalSync(3, 20000 + 8192 + 5, bytes)).toBe(8192 - 5);
    expect(isSame(bytes.subarray(0, 8187), pageOf(4).subarray(5))).toBe(true);
    expect(storage.readJournalSync(3, 1e9, bytes)).toBe(0);
    other.syncJournalSync(3);
    expect(storage.journalBytesSync(12)).toBe(0);
  });

  test("a journal made again is empty, and one removed is gone, for every manager", () => {
    const storage = subject.make();
    const other = subject.open(storage.handle);
    storage.createJournalSync(1);
    other.writeJournalSync(1, 0, [pageOf(1)]);
    storage.createJournalSync(1);
    expect(other.journalBytesSync(1)).toBe(0);
    other.writeJournalSync(1, 10, [pageOf(2).subarray(0, 5)]);
    expect(storage.journalBytesSync(1)).toBe(15);
    other.removeJournalSync(1);
    other.removeJournalSync(1);
    for (const each of [storage, other]) {
      expect(each.journalsSync()).toEqual([]);
      for (const call of [
        () => each.journalBytesSync(1),
        () => each.syncJournalSync(1),
        () => each.writeJournalSync(1, 0, [zeroPage]),
        () => each.readJournalSync(1, 0, new Uint8Array(1)),
      ]) {
        expect(call).toThrow(expect.objectContaining({ code: "58P01" }));
      }
    }
    storage.createJournalSync(1);
    storage.writeJournalSync(1, 0, [pageOf(3)]);
    expect(other.journalBytesSync(1)).toBe(8192);
  });
}
