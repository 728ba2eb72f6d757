// Suites that run on both I/O methods: settings of a region, and what I/O workers need when the
// region is made by a test. They run the built package, which cannot load a test's TypeScript.

import type { SharedMemoryOptions } from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";

/** The values of io_method. */
export const ioMethods = ["sync", "worker"] as const;
export type IoMethod = (typeof ioMethods)[number];

const { PALLOC_IO_METHOD } = process.env;
/** What suites run with that are started once for each method (vitest.config.ts). */
export const ioMethod: IoMethod = PALLOC_IO_METHOD === "worker" ? "worker" : "sync";

/** The script of an I/O worker. */
export const IO_WORKER: URL = new URL("../../dist/bindings/io-worker.js", import.meta.url);

/** Options of a region of an I/O method; few workers, so that they start soon. */
export function withIoMethod(
  method: IoMethod,
  { settings, ...rest }: SharedMemoryOptions,
): SharedMemoryOptions {
  const chosen = { ...settings, io_method: method, io_workers: 2 };
  return { ...rest, settings: chosen, ioWorkers: IO_WORKER };
}

/** Options of a region of the method that this run of the suite is for. */
export function withThisMethod(options: SharedMemoryOptions): SharedMemoryOptions {
  const { storage } = options;
  if (ioMethod === "sync") return options;
  const ofWorkers = storage === undefined ? {} : { storage: built(storage) };
  const { settings } = withIoMethod(ioMethod, options);
  // One worker: these suites make hundreds of regions.
  return {
    ...options,
    ...ofWorkers,
    settings: { ...settings, io_workers: 1 },
    ioWorkers: IO_WORKER,
  };
}

/** Storage whose handle names the built module instead of its source. */
export function built(storage: StorageManager): StorageManager {
  const { module = "" } = storage.handle;
  const at = module.replace(/\/bindings\/storage\/(.*)\.ts$/, "/dist/bindings/storage/$1.js");
  const handle = { ...storage.handle, module: at };
  return new Proxy(storage, {
    get: (target, key) => {
      if (key === "handle") return handle;
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
