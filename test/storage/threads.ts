// Storage in real threads. A thread has no source files, only the built package: tests that use
// these make their storage from it too, so that the handle names a module a thread can load.

import { Worker } from "node:worker_threads";
import { expect } from "vitest";
import type { StorageHandle, StorageManager } from "../../bindings/storage/manager.ts";
import { isSame, pageOf } from "./contract.ts";

export const workerUrl: URL = new URL("./worker.mjs", import.meta.url);

/** A module of bindings/storage as built into dist/. */
export async function builtModule<Module>(name: string): Promise<Module> {
  const url = new URL(`../../dist/bindings/storage/${name}.js`, import.meta.url).href;
  return (await import(/* @vite-ignore */ url)) as Module;
}

/**
 * Makes the calls, each a method and its arguments, in a thread of their own.
 *
 * @param gate - one word that holds how many threads are to begin together
 * @returns what each call returned
 */
export function runInWorker(
  handle: StorageHandle,
  calls: unknown[][],
  gate?: Int32Array,
): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(workerUrl, { workerData: { handle, calls, gate } });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

/** Has two threads write one journal at once, and finds in it what each of them wrote. */
export async function expectJournalOfTwo(storage: StorageManager): Promise<void> {
  storage.createJournalSync(1);
  const parts = 100;
  const gate = new Int32Array(new SharedArrayBuffer(4)).fill(2);
  const calls = (thread: number): unknown[][] =>
    Array.from({ length: parts }, (_, at) => [
      "writeJournalSync",
      1,
      (2 * at + thread) * 8200,
      [pageOf(2 * at + thread), new Uint8Array(8).fill(thread)],
    ]);
  await Promise.all([0, 1].map((each) => runInWorker(storage.handle, calls(each), gate)));
  storage.syncJournalSync(1);
  expect(storage.journalBytesSync(1)).toBe(2 * parts * 8200);
  const bytes = new Uint8Array(8200);
  for (let part = 0; part < 2 * parts; part++) {
    storage.readJournalSync(1, part * 8200, bytes);
    const whole = isSame(bytes.subarray(0, 8192), pageOf(part)) && bytes[8199] === (part & 1);
    expect(whole, `part ${part}`).toBe(true);
  }
}
