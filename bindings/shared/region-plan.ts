/**
 * What a region is to hold, by name: one record says it to the module that sizes a region and to
 * the one that lays it out (assembly/ipc/region.ts).
 */

import { type HostFunctions, instantiate } from "../abi/load.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { type WasmModule, wasm } from "../abi/wasm-types.ts";

/** Absent is 0, and no such part. @internal */
export interface RegionPlan {
  /** Pages of shared_buffers. */
  readonly buffers: number;
  /** Slots of backends, helpers and owner included. */
  readonly slots: number;
  /** So many of the slots are kept for helper threads. */
  readonly helpers?: number;
  /** With a queue for I/O workers. */
  readonly queued?: boolean;
  /** max_locks_per_transaction. */
  readonly locks?: number;
  /** Named locks of the user. */
  readonly lwlocks?: number;
  /** Named conditions of the user. */
  readonly conditions?: number;
  /** catalog_cache_size in kB. */
  readonly catalog?: number;
}

/** Says it to an instance. @internal */
export function planRegion(exports: Pick<SharedExports, "planRegion">, plan: RegionPlan): void {
  const { buffers, slots, helpers = 0, queued = false } = plan;
  const { locks = 0, lwlocks = 0, conditions = 0, catalog = 0 } = plan;
  const queues = queued ? 1 : 0;
  exports.planRegion(buffers, slots, helpers, queues, locks, lwlocks, conditions, catalog);
}

/**
 * Asks a module, over a memory of one page, how many wasm pages such a region needs; more than a
 * memory can have if too much is asked for.
 *
 * @param segmentBytes - of the user's segments, each rounded up to a cache line
 * @internal
 */
export function regionPages(
  module: WasmModule,
  plan: RegionPlan,
  segmentBytes = 0,
  host: HostFunctions = {},
): number {
  const probe = new wasm.Memory({ initial: 1, maximum: 1, shared: true });
  const exports = instantiate<SharedExports>(module, probe, host);
  planRegion(exports, plan);
  return exports.regionPages(segmentBytes) >>> 0;
}
