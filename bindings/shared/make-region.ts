/**
 * Making a region over a storage: at its creation, and again after it had to end. The storage is
 * brought to its last checkpoint before anybody attaches.
 *
 * PostgreSQL: src/backend/storage/ipc/ipci.c; src/backend/access/transam/xlog.c, StartupXLOG
 */

import { BLOCK_BYTES, REGION_JOURNAL_RECORDS_OFFSET } from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { WasmModule } from "../abi/wasm-types.ts";
import type { StorageManager } from "../storage/manager.ts";
import { type CarvedRegion, carve } from "./carve.ts";
import { readControl } from "./control.ts";
import type { SharedMemoryHandle } from "./handle.ts";
import type { WaitPlan } from "./named-waits.ts";
import { initialiseStorage, type RecoveryResult, recover, restart } from "./recovery.ts";
import type { LiveRegion } from "./restart.ts";
import type { ResolvedSettings } from "./settings.ts";
import { nodeIdentity } from "./threads.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;

/** The owner's storage for a backend of his thread, which must not close it. @internal */
export function unclosable(storage: StorageManager): StorageManager {
  return new Proxy(storage, {
    get: (target, name) => {
      if (name === "closeSync") return () => {};
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** What a region is made from, each time that it is. @internal */
export interface RegionPlan {
  readonly module: WasmModule;
  readonly settings: ResolvedSettings;
  readonly segments: readonly (readonly [string, number])[];
  readonly waits: WaitPlan;
  readonly storage: StorageManager;
}

/** A region that backends may attach to. @internal */
export interface MadeRegion extends LiveRegion {
  readonly recovery: RecoveryResult;
}

// ── Creating ─────────────────────────────────────────────────────────────────────────────────────

/** Carves a new region, and brings the storage to where it begins. @internal */
export function makeRegion(plan: RegionPlan): MadeRegion {
  const { module, settings, waits, storage } = plan;
  const region = carve(module, settings, plan.segments, waits);
  const recovery = prepareStorage(storage, settings, region);
  const handle: SharedMemoryHandle = {
    kind: "palloc.SharedMemory",
    region: crypto.randomUUID(),
    owner: nodeIdentity()?.token ?? 0,
    memory: region.memory,
    module,
    settings: settings.values,
    storage: storage.handle,
    segments: region.places,
    waits: { locks: waits.locks, conditions: waits.conditions },
  };
  return { handle, exports: region.exports, recovery };
}

/**
 * Initialises new storage, refuses storage that does not fit this region, and brings what is there
 * to its last checkpoint; then tells the region where it stands.
 */
function prepareStorage(
  storage: StorageManager,
  settings: ResolvedSettings,
  region: CarvedRegion,
): RecoveryResult {
  const found = readControl(storage) ?? initialiseStorage(storage, settings.dataChecksums);
  if (found.dataChecksums !== settings.dataChecksums) {
    const now = found.dataChecksums ? "on" : "off";
    throw new PallocError("55000", `the data directory was made with data_checksums ${now}`, {
      hint: `Set data_checksums to ${now}.`,
    });
  }
  const journalled = settings.values.full_page_writes && storage.capabilities.durable;
  const recovered = recover(storage, found, digestIn(region));
  // Without a journal pages are overwritten as they come: no old image may be put back any more.
  const result = journalled ? recovered : restart(storage, found, recovered);
  region.exports.startAt(result.checkpoint, journalled ? 1 : 0);
  const records =
    (REGION_JOURNAL_RECORDS_OFFSET + (result.checkpoint & 1) * WORD_BYTES) / WORD_BYTES;
  new Int32Array(region.memory.buffer)[records] = result.records;
  return result;
}

/** Sums pages on the owner's scratch page. */
function digestIn({ exports, memory }: CarvedRegion): (image: Uint8Array) => number {
  const address = exports.scratchAddress() >>> 0;
  const scratch = new Uint8Array(memory.buffer, address, BLOCK_BYTES);
  return (image) => {
    scratch.set(image);
    return exports.pageDigest(address) >>> 0;
  };
}
