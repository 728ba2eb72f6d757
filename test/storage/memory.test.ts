// Memory storage: the contract, what happens when it is full, and real threads that extend and die.
// Threads load the built package by the address in the handle.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import type { Fork } from "../../bindings/storage/manager.ts";
import { memoryStorage, openStorage } from "../../bindings/storage/memory.ts";
import { pageOf, readPage, type Subject, storageContract } from "./contract.ts";
import { wideContract } from "./contract-wide.ts";
import { builtModule, expectJournalOfTwo, runInWorker, workerUrl } from "./threads.ts";

describe("memory storage keeps the contract", () => {
  const subject: Subject = {
    make: () => memoryStorage({ maxBytes: 4194304 }),
    open: openStorage,
    restart: () => memoryStorage({ maxBytes: 4194304 }),
  };
  storageContract(subject);
  wideContract(subject);
});

describe("memory storage", () => {
  test("promises nothing beyond the process", () => {
    expect(memoryStorage({ maxBytes: 8192 }).capabilities).toEqual({
      durable: false,
      shared: true,
    });
  });

  test("holds maxBytes, then refuses with 53100, and is usable again when something is removed", () => {
    const storage = memoryStorage({ maxBytes: 10 * 8192 + 100 });
    storage.createSync(1, 0);
    storage.createSync(2, 0);
    storage.extendSync(1, 0, 4);
    storage.extendSync(2, 0, 6);
    expect(() => storage.extendSync(1, 0, 5)).toThrow(
      expect.objectContaining({
        name: "StorageError",
        code: "53100",
        message: 'could not extend file "memory/1": No space left on device',
        detail: "Fewer than 1 of its 10 pages (maxBytes) are free.",
        hint: "Create the memory storage with a larger maxBytes.",
      }),
    );
    storage.unlinkSync(2, 0);
    expect(() => storage.extendSync(1, 0, 11)).toThrow(/No space left/);
    expect(storage.blocksSync(1, 0)).toBe(4);
    storage.extendSync(1, 0, 10);
    expect(storage.blocksSync(1, 0)).toBe(10);
  });

  test("uses every page again after any number of removals", () => {
    const storage = memoryStorage({ maxBytes: 8 * 8192 });
    for (let life = 0; life < 3000; life++) {
      storage.createSync(life % 5, 0);
      storage.extendSync(life % 5, 0, 8);
      expect(readPage(storage, life % 5, 0, 7)[8191]).toBe(0);
      storage.writeSync(life % 5, 0, 7, pageOf(life));
      storage.unlinkSync(life % 5, 0);
    }
  });

  test("keeps the old control document when a new one does not fit", () => {
    const storage = memoryStorage({ maxBytes: 4 * 8192 });
    for (let turn = 0; turn < 20; turn++) storage.writeControlSync(pageOf(turn));
    expect(() => storage.writeControlSync(new Uint8Array(4 * 8192))).toThrow(
      expect.objectContaining({ code: "53100" }),
    );
    expect(storage.readControlSync()).toEqual(pageOf(19));
    storage.createSync(1, 0);
    storage.extendSync(1, 0, 3);
  });

  test("refuses a size below one page, and one the engine cannot reserve", () => {
    expect(() => memoryStorage({ maxBytes: 8191 })).toThrow(RangeError);
    expect(() => memoryStorage({ maxBytes: Number.NaN })).toThrow(RangeError);
    expect(() => memoryStorage({ maxBytes: 2 ** 43 })).toThrow(
      expect.objectContaining({ name: "OutOfMemoryError", code: "53200", requestedBytes: 2 ** 43 }),
    );
  });

  test("runs where there is no Node: its modules import nothing of it", async () => {
    const { readFile } = await import("node:fs/promises");
    for (const name of ["memory", "page-table", "manager"]) {
      const text = await readFile(new URL(`../../bindings/storage/${name}.ts`, import.meta.url));
      expect(text.toString()).not.toMatch(/from "node:|\bprocess\.[a-z]|\bBuffer\./);
    }
  });
});

describe("memory storage between threads", () => {
  test("another thread opens it by the handle's module and sees the same blocks", async () => {
    const storage = (
      await builtModule<typeof import("../../bindings/storage/memory.ts")>("memory")
    ).memoryStorage({ maxBytes: 1048576 });
    storage.createSync(3, 0);
    storage.extendSync(3, 0, 2);
    storage.writeSync(3, 0, 1, pageOf(5));
    const page = new Uint8Array(new SharedArrayBuffer(8192));
    const results = await runInWorker(storage.handle, [
      ["readSync", 3, 0, 1, page],
      ["extendSync", 3, 0, 7],
      ["writeSync", 3, 0, 6, pageOf(6)],
      ["blocksSync", 3, 0],
    ]);
    expect(results.at(-1)).toBe(7);
    expect(Array.from(page)).toEqual(Array.from(pageOf(5)));
    expect(readPage(storage, 3, 0, 6)).toEqual(pageOf(6));
  });

  test("threads that extend different relations at once never get the same page", async () => {
    const { memoryStorage: make } =
      await builtModule<typeof import("../../bindings/storage/memory.ts")>("memory");
    const blocks = 3000;
    const storage = make({ maxBytes: 2 * blocks * 8192 });
    const gate = new Int32Array(new SharedArrayBuffer(4)).fill(2);
    const relations = [1, 2];
    for (const relation of relations) storage.createSync(relation, 0);
    const calls = (relation: number): unknown[][] =>
      Array.from({ length: blocks }, (_, block) => ["extendSync", relation, 0, block + 1]);
    await Promise.all(relations.map((each) => runInWorker(storage.handle, calls(each), gate)));
    const page = new Uint8Array(8192);
    const stamp = new Uint32Array(page.buffer);
    for (let at = 0; at < 2 * blocks; at++) {
      stamp[0] = at;
      storage.writeSync(1 + (at & 1), 0, at >> 1, page);
    }
    for (let at = 0; at < 2 * blocks; at++) {
      storage.readSync(1 + (at & 1), 0, at >> 1, page);
      expect(stamp[0]).toBe(at);
    }
  });

  test("threads that write one journal at once find in it what each of them wrote", async () => {
    const { memoryStorage: make } =
      await builtModule<typeof import("../../bindings/storage/memory.ts")>("memory");
    const storage = make({ maxBytes: 4194304 });
    await expectJournalOfTwo(storage);
    storage.closeSync();
  });

  test("a thread terminated at any moment leaves whole forks, and its pages come back", async () => {
    const { memoryStorage: make } =
      await builtModule<typeof import("../../bindings/storage/memory.ts")>("memory");
    const storage = make({ maxBytes: 64 * 8192 });
    storage.createSync(1, 0);
    storage.extendSync(1, 0, 8);
    storage.writeSync(1, 0, 7, pageOf(1));
    for (let turn = 0; turn < 15; turn++) {
      const worker = new Worker(workerUrl, { workerData: { handle: storage.handle, churn: 2 } });
      await once(worker, "message");
      await new Promise((done) => setTimeout(done, turn % 5));
      await worker.terminate();
      for (const fork of [0, 1, 2, 3] as Fork[]) storage.unlinkSync(2, fork);
      storage.createSync(2, 0);
      storage.extendSync(2, 0, 40);
      for (let block = 0; block < 40; block++) {
        expect(readPage(storage, 2, 0, block).every((byte) => byte === 0)).toBe(true);
      }
      storage.unlinkSync(2, 0);
      expect(readPage(storage, 1, 0, 7)).toEqual(pageOf(1));
      expect(storage.relationsSync()).toEqual([1]);
    }
  });
});
