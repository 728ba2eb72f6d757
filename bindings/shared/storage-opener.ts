/**
 * How a thread that attaches gets at the storage: with an opener it was given; by itself, for pages
 * in memory; or from the module that the handle names.
 */

import { PallocError } from "../abi/errors.ts";
import type { StorageHandle, StorageManager, StorageOpener } from "../storage/manager.ts";
import { openStorage as openMemory } from "../storage/memory.ts";
import { nodeModule } from "./threads.ts";

interface StorageModule {
  readonly openStorage: StorageOpener;
}

interface ModuleBuiltin {
  createRequire(url: string): (specifier: string) => unknown;
}

/** Opens storage in this thread, without waiting. Node loads the module by itself. @internal */
export function openStorageSync(handle: StorageHandle, opener?: StorageOpener): StorageManager {
  if (opener !== undefined) return opener(handle);
  if (handle.kind === "memory") return openMemory(handle);
  const builtin = nodeModule<ModuleBuiltin>("node:module");
  const url = nodeModule<{ fileURLToPath(url: string): string }>("node:url");
  if (builtin === undefined || url === undefined || handle.module === undefined) {
    throw unknownKind(handle);
  }
  const load = builtin.createRequire(import.meta.url);
  const specifier = handle.module.startsWith("file:")
    ? url.fileURLToPath(handle.module)
    : handle.module;
  return (load(specifier) as StorageModule).openStorage(handle);
}

/** As {@link openStorageSync}, where modules load asynchronously. @internal */
export async function openStorage(
  handle: StorageHandle,
  opener?: StorageOpener,
): Promise<StorageManager> {
  if (opener !== undefined || handle.kind === "memory") return openStorageSync(handle, opener);
  if (handle.module === undefined) throw unknownKind(handle);
  const module = (await import(/* @vite-ignore */ handle.module)) as StorageModule;
  return module.openStorage(handle);
}

function unknownKind(handle: StorageHandle): PallocError {
  return new PallocError("0A000", `storage of kind "${handle.kind}" cannot be opened here`, {
    hint: "Pass its opener: Backend.attach(handle, { storage: openStorage }).",
  });
}
