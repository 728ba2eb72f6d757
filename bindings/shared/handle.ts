/**
 * What travels from the owner of a region to the threads that attach: everything a backend needs.
 * It can be posted, and holds no functions.
 */

import { REGION_MAGIC, REGION_VERSION } from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { WasmMemory, WasmModule } from "../abi/wasm-types.ts";
import type { StorageHandle } from "../storage/manager.ts";
import type { WaitNames } from "./named-waits.ts";
import type { SettingValues } from "./settings.ts";

/** A user structure carved from the region at its creation. */
export interface SegmentPlace {
  /** Byte offset in the region; a multiple of 64. */
  readonly offset: number;
  /** Length in bytes, as asked for. */
  readonly size: number;
}

/** A user structure in shared memory; the same bytes in every thread. */
export interface SharedSegment {
  readonly bytes: Uint8Array;
  /** The same as 32-bit words, for `Atomics`. Length rounded down to whole words. */
  readonly words: Int32Array;
}

/** A postable reference to a region; pass it to {@link Backend.attachSync}. */
export interface SharedMemoryHandle {
  readonly kind: "palloc.SharedMemory";
  /** Random name of the region; tells one from another. */
  readonly region: string;
  /** Node's thread id of the owner. */
  readonly owner: number;
  readonly memory: WasmMemory<SharedArrayBuffer>;
  readonly module: WasmModule;
  readonly settings: SettingValues;
  readonly storage: StorageHandle;
  readonly segments: Readonly<Record<string, SegmentPlace>>;
  /** Locks and conditions that the region was created with. */
  readonly waits: WaitNames;
}

/**
 * Checks that a value received from elsewhere is a handle of a region of this version.
 *
 * @throws TypeError if it is no handle
 * @throws {@link PallocError} 0A000 if the region was made by another version of palloc
 */
export function checkHandle(handle: SharedMemoryHandle): void {
  if (handle?.kind !== "palloc.SharedMemory") {
    throw new TypeError("not a SharedMemory handle: pass shared.handle, whole, to the worker");
  }
  const [magic, version] = new Uint32Array(handle.memory.buffer, 0, 2);
  if (magic !== REGION_MAGIC || version !== REGION_VERSION) {
    throw new PallocError("0A000", `shared memory of another version of palloc (${version})`, {
      hint: `This is version ${REGION_VERSION}; use one copy of the package in all threads.`,
    });
  }
}

/**
 * The user structure of a name.
 *
 * @throws {@link PallocError} 42704 if the region has none
 */
export function segmentOf(handle: SharedMemoryHandle, name: string): SharedSegment {
  const { segments, memory } = handle;
  const place = Object.hasOwn(segments, name) ? segments[name] : undefined;
  if (place === undefined) {
    throw new PallocError("42704", `shared memory has no segment "${name}"`, {
      hint: `Ask for it when the region is created: segments: { ${JSON.stringify(name)}: bytes }.`,
    });
  }
  const { offset, size } = place;
  const words = Math.floor(size / Int32Array.BYTES_PER_ELEMENT);
  return {
    bytes: new Uint8Array(memory.buffer, offset, size),
    words: new Int32Array(memory.buffer, offset, words),
  };
}
