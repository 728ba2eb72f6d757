/**
 * Shared memory as rows: counters summed over all backends, what the buffers hold, and the named
 * parts of the region. Nothing is locked; each number is right, the set of them is a moment's blur.
 *
 * PostgreSQL: contrib/pg_buffercache; src/backend/storage/ipc/shmem.c, pg_get_shmem_allocations
 */

import {
  BACKEND_KINDS,
  BLOCK_BYTES,
  COUNTER_DIRTIED,
  COUNTER_EVICTIONS,
  COUNTER_EXTEND_BYTES,
  COUNTER_HITS,
  COUNTER_READ_BYTES,
  COUNTER_WAITS,
  COUNTER_WRITE_BYTES,
  COUNTERS_BYTES,
  INDEX_ENTRY_BYTES,
  INDEX_NAME_BYTES,
  INDEX_OFFSET_OFFSET,
  INDEX_SIZE_OFFSET,
  IO_CONTEXT_TEMP,
  IO_ROW_BYTES,
  LIFE_FREE,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  MAX_USAGE,
  PART_DEPARTED,
  PART_HOLDS,
  REGION_HEADER_BYTES,
  STATE_DIRTY,
  USAGE_MASK,
  USAGE_SHIFT,
} from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { SharedMemoryHandle } from "./handle.ts";
import { resolveSettings } from "./settings.ts";

/** What all backends have done with the pool, those that have left included. */
export interface BufferStatistics {
  /** Pins that found their page in the pool. */
  readonly hits: number;
  /** Pages read from storage. */
  readonly reads: number;
  /** Pages written to storage, by evictions and checkpoints. */
  readonly writes: number;
  /** Frames taken away from a page to hold another. */
  readonly evictions: number;
  /** Blocks added to relations. */
  readonly extends: number;
  /** Clean pages that were changed. */
  readonly dirtied: number;
  /** Times a backend went to sleep on a word of another. */
  readonly waits: number;
}

/** A row of `pg_buffercache_usage_counts()`. */
export interface UsageCountRow {
  readonly usage_count: number;
  readonly buffers: number;
  readonly dirty: number;
  readonly pinned: number;
}

/** A row of `pg_shmem_allocations`. The free tail has no name. */
export interface ShmemAllocationRow {
  readonly name: string | null;
  readonly off: number;
  /** Bytes asked for. */
  readonly size: number;
  /** Bytes up to the next part: `size` and what alignment costs. Sums to the region. */
  readonly allocated_size: number;
}

/** An attached backend. */
export interface BackendRow {
  readonly slot: number;
  /** Node's thread id, or the token of a browser's worker. */
  readonly threadId: number;
  readonly state: "attaching" | "active" | "exiting" | "dead" | "refused";
}

/** Where each number stands in a row of counters, and what one of it counts there. */
const COUNTERS: Readonly<Record<keyof BufferStatistics, readonly [at: number, unit: number]>> = {
  hits: [COUNTER_HITS, 1],
  reads: [COUNTER_READ_BYTES, BLOCK_BYTES],
  writes: [COUNTER_WRITE_BYTES, BLOCK_BYTES],
  evictions: [COUNTER_EVICTIONS, 1],
  extends: [COUNTER_EXTEND_BYTES, BLOCK_BYTES],
  dirtied: [COUNTER_DIRTIED, 1],
  waits: [COUNTER_WAITS, 1],
};

const LIFE_NAMES = [
  "free",
  "attaching",
  "active",
  "exiting",
  "dead",
  "refused",
  "dead",
  "attaching",
] as const;

/**
 * Adds up the counters that begin at the given addresses, over the contexts of the shared pool.
 *
 * @internal
 */
export function sumCounters(
  buffer: SharedArrayBuffer,
  counters: readonly number[],
): BufferStatistics {
  const view = new DataView(buffer);
  const contexts = Array.from({ length: IO_CONTEXT_TEMP }, (_, context) => context * IO_ROW_BYTES);
  const rows = counters.flatMap((first) => contexts.map((row) => first + row));
  const sums = Object.entries(COUNTERS).map(([name, [at, unit]]) => {
    const total = rows.reduce((sum, row) => sum + Number(view.getBigUint64(row + at, true)), 0);
    return [name, total / unit];
  });
  return Object.fromEntries(sums) as unknown as BufferStatistics;
}

/** Six rows, one a usage count; buffers without a page count as usage 0. @internal */
export function usageCounts(exports: SharedExports, buffers: number): UsageCountRow[] {
  const rows = Array.from({ length: MAX_USAGE + 1 }, (_, usage_count) => ({
    usage_count,
    buffers: 0,
    dirty: 0,
    pinned: 0,
  }));
  for (let buffer = 0; buffer < buffers; buffer += 1) {
    const state = exports.stateOf(buffer);
    const row = rows[(state & USAGE_MASK) >>> USAGE_SHIFT];
    if (row === undefined) continue;
    row.buffers += 1;
    if ((state & STATE_DIRTY) !== 0) row.dirty += 1;
    if (exports.holders(buffer) > 0) row.pinned += 1;
  }
  return rows;
}

/** The parts of the region in their order, and its free tail. @internal */
export function shmemAllocations(buffer: SharedArrayBuffer, entries: number): ShmemAllocationRow[] {
  const parts = Array.from({ length: entries }, (_, index) => {
    const entry = REGION_HEADER_BYTES + index * INDEX_ENTRY_BYTES;
    return { name: readName(buffer, entry), ...partOf(buffer, index) };
  });
  const last = parts.at(-1);
  const tail = Math.ceil(((last?.off ?? 0) + (last?.size ?? 0)) / 64) * 64;
  const ends = [...parts.slice(1).map(({ off }) => off), tail];
  const rows: ShmemAllocationRow[] = parts.map((part, index) => ({
    ...part,
    allocated_size: (ends[index] ?? tail) - part.off,
  }));
  const free = buffer.byteLength - tail;
  return [...rows, { name: null, off: tail, size: free, allocated_size: free }];
}

/** Where a part of the region lies. @internal */
export function partOf(buffer: SharedArrayBuffer, part: number): { off: number; size: number } {
  const entry = new DataView(buffer, REGION_HEADER_BYTES + part * INDEX_ENTRY_BYTES);
  return {
    off: entry.getUint32(INDEX_OFFSET_OFFSET, true),
    size: entry.getUint32(INDEX_SIZE_OFFSET, true),
  };
}

/**
 * Addresses of counters: of the backends that have gone, by kind, and of the slots.
 *
 * @internal
 */
export function countersOf({ memory, settings }: SharedMemoryHandle): {
  readonly departed: readonly number[];
  readonly columns: readonly number[];
} {
  const gone = partOf(memory.buffer, PART_DEPARTED).off;
  const holds = partOf(memory.buffer, PART_HOLDS);
  const { slots } = resolveSettings(settings);
  const columnBytes = holds.size / slots;
  return {
    departed: Array.from({ length: BACKEND_KINDS }, (_, kind) => gone + kind * COUNTERS_BYTES),
    columns: Array.from({ length: slots }, (_, slot) => holds.off + slot * columnBytes),
  };
}

/** Writes the name of an index entry. @internal */
export function writeName(buffer: SharedArrayBuffer, index: number, name: string): void {
  const entry = REGION_HEADER_BYTES + index * INDEX_ENTRY_BYTES;
  new Uint8Array(buffer, entry, INDEX_NAME_BYTES).set(new TextEncoder().encode(name));
}

function readName(buffer: SharedArrayBuffer, entry: number): string {
  const bytes = new Uint8Array(buffer, entry, INDEX_NAME_BYTES);
  const end = bytes.indexOf(0);
  // A copy, because decoders refuse views over shared memory.
  return new TextDecoder().decode(bytes.slice(0, end < 0 ? INDEX_NAME_BYTES : end));
}

/** The slots that are in use. @internal */
export function backendRows(exports: SharedExports, slots: number): BackendRow[] {
  const rows: BackendRow[] = [];
  for (let slot = 1; slot < slots; slot += 1) {
    const life = exports.slotLife(slot);
    const state = LIFE_NAMES[life & LIFE_STATE_MASK];
    if ((life & LIFE_STATE_MASK) === LIFE_FREE || state === undefined || state === "free") continue;
    rows.push({ slot, threadId: life >>> LIFE_STATE_BITS, state });
  }
  return rows;
}
