// Storage in real threads. A thread has no source files, only the built package: tests that use
// these make their storage from it too, so that the handle names a module a thread can load.

import { Worker } from "node:worker_threads";
import type { StorageHandle } from "../../bindings/storage/manager.ts";

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
