/**
 * Making a region: how large it must be is asked of the module, the memory is reserved whole, wasm
 * lays it out, and what wasm has no strings for, the names of the parts, is written from here.
 *
 * PostgreSQL: src/backend/storage/ipc/ipci.c, CreateSharedMemoryAndSemaphores; shmem.c
 */

import {
  CACHE_LINE_BYTES,
  INDEX_NAME_BYTES,
  LIFE_ACTIVE,
  LIFE_FREE,
  MAX_SEGMENTS,
  PART_STATISTICS,
  PARTS,
  STATISTIC_RESET,
  WASM_PAGE_BYTES,
} from "../../assembly/common/constants.ts";
import { OutOfMemoryError } from "../abi/errors.ts";
import { instantiate } from "../abi/load.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { type WasmMemory, type WasmModule, wasm } from "../abi/wasm-types.ts";
import type { SegmentPlace } from "./handle.ts";
import type { WaitPlan } from "./named-waits.ts";
import { planRegion, type RegionPlan, regionPages } from "./region-plan.ts";
import type { ResolvedSettings } from "./settings.ts";
import { partOf, writeName } from "./statistics.ts";

const MAX_PAGES = 65535;
const KILOBYTE = 1024;

/** Names of the parts of a region, in the order of PART_. */
const PART_NAMES = [
  "Shared Memory Header",
  "ShmemIndex",
  "Backend Slots",
  "Named Locks",
  "Buffer Mapping Locks",
  "Buffer Strategy Status",
  "Departed Backend Counters",
  "Checkpointer and Writer Statistics",
  "Buffer Descriptors",
  "Shared Buffer Lookup Table",
  "Buffer Holds",
  "Checkpoint BufferIds",
  "Journalled Blocks",
  "Backend Pages",
  "AioWorkerSubmissionQueue",
  "PROCLOCK hash",
  "LOCK hash",
  "Lock Partitions",
  "Fast Path Strong Relation Lock Data",
  "Fast-Path Lock Array",
  "Backend Status Array",
  "Deadlock Detector",
  "Named LWLocks",
  "Named Condition Variables",
  "shmInvalBuffer",
  "Catalog Cache",
  "Buffer Blocks",
] as const;

/** A region that has just been laid out. @internal */
export interface CarvedRegion {
  readonly exports: SharedExports;
  readonly memory: WasmMemory<SharedArrayBuffer>;
  readonly places: Readonly<Record<string, SegmentPlace>>;
}

/**
 * Makes the memory, lays it out and publishes it, with this thread in the owner's slot 0.
 *
 * @internal
 */
export function carve(
  module: WasmModule,
  settings: ResolvedSettings,
  segments: readonly (readonly [string, number])[],
  waits: WaitPlan,
): CarvedRegion {
  const segmentBytes = segments.reduce((sum, [, bytes]) => sum + roundedUp(bytes), 0);
  const plan = planOf(settings, waits);
  const memory = reserve(regionPages(module, plan, segmentBytes), settings);
  const exports = instantiate<SharedExports>(module, memory);
  planRegion(exports, plan);
  exports.createRegion(memory.buffer.byteLength, settings.dataChecksums ? 1 : 0);
  waits.policies.forEach((policy, lock) => {
    exports.setLwlockPolicy(lock, policy);
  });
  PART_NAMES.forEach((name, part) => {
    writeName(memory.buffer, part, name);
  });
  const statistics = partOf(memory.buffer, PART_STATISTICS).off;
  new DataView(memory.buffer).setFloat64(statistics + STATISTIC_RESET, Date.now(), true);
  const places = segments.map(([name, size], index): [string, SegmentPlace] => {
    const offset = exports.addSegment(size) >>> 0;
    writeName(memory.buffer, PARTS + index, name);
    return [name, { offset, size }];
  });
  exports.advanceSlot(0, LIFE_FREE, LIFE_ACTIVE);
  exports.enter(0, 0);
  exports.publishRegion();
  return { exports, memory, places: Object.fromEntries(places) };
}

function planOf(settings: ResolvedSettings, { locks, conditions }: WaitPlan): RegionPlan {
  const { values } = settings;
  return {
    buffers: settings.sharedBuffers,
    slots: settings.slots,
    helpers: settings.helperSlots,
    queued: values.io_method === "worker",
    locks: values.max_locks_per_transaction,
    lwlocks: locks.length,
    conditions: conditions.length,
    catalog: values.catalog_cache_size,
  };
}

function reserve(pages: number, settings: ResolvedSettings): WasmMemory<SharedArrayBuffer> {
  const bytes = pages * WASM_PAGE_BYTES;
  const hint =
    `Lower shared_buffers (${settings.show("shared_buffers")}) or max_connections ` +
    `(${settings.maxConnections}); a WebAssembly memory ends at 4 GB.`;
  const detail = `A region of ${Math.ceil(bytes / KILOBYTE)} kB was asked for.`;
  const message = "could not create shared memory segment";
  if (pages > MAX_PAGES) throw new OutOfMemoryError(bytes, undefined, { message, detail, hint });
  try {
    const memory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    return memory as WasmMemory<SharedArrayBuffer>;
  } catch (cause) {
    throw new OutOfMemoryError(bytes, undefined, { message, detail, hint, cause });
  }
}

function roundedUp(bytes: number): number {
  return Math.ceil(bytes / CACHE_LINE_BYTES) * CACHE_LINE_BYTES;
}

/** Checks what a user wants carved for himself. @throws RangeError @internal */
export function checkSegments(segments: Readonly<Record<string, number>>): [string, number][] {
  const entries = Object.entries(segments);
  if (entries.length > MAX_SEGMENTS) {
    throw new RangeError(`a region has at most ${MAX_SEGMENTS} segments, not ${entries.length}`);
  }
  for (const [name, bytes] of entries) {
    const length = new TextEncoder().encode(name).length;
    if (length < 1 || length > INDEX_NAME_BYTES) {
      throw new RangeError(`a segment's name has 1 to ${INDEX_NAME_BYTES} bytes: "${name}"`);
    }
    if (!Number.isInteger(bytes) || bytes < 1 || bytes > MAX_PAGES * WASM_PAGE_BYTES) {
      throw new RangeError(`segment "${name}" has a size of 1 byte or more, not ${bytes}`);
    }
  }
  return entries;
}
