/**
 * How much memory a hash aggregation may take, and into how many parts it spills what does not fit.
 *
 *   work_mem × hash_mem_multiplier
 *  ┌──────────────────────────────────────────────┬──────────┬─────────────────────────┐
 *  │ hash table: buckets and entries              │ a block  │ one 8 kB buffer a part, │
 *  │ (what is compared with the limit)            │ to grow  │ one for the part read   │
 *  └──────────────────────────────────────────────┴──────────┴─────────────────────────┘
 *
 * All of it counts, so that what is measured stays below the limit and not a little above. That is
 * stricter than PostgreSQL, which takes the buffers off only when it expects to spill.
 *
 * PostgreSQL: src/backend/executor/nodeAgg.c, hash_agg_set_limits and hash_choose_num_partitions
 */

import { BLOCK_BYTES } from "../../bindings/index.ts";

const MIN_BLOCK_BYTES = 8192; // 8 kB
const MAX_BLOCK_BYTES = 8388608; // 8 MB
/** A block is at most this part of work_mem, so that no single one jumps past the limit. */
const BLOCKS_PER_WORK_MEM = 16;

const MIN_PARTITIONS = 4;
const MAX_PARTITIONS = 1024;
/** Partitions are smaller than they need be, because keys do not fall on them evenly. */
const PARTITION_FACTOR = 1.5;
/** Part of the limit that the partitions' buffers may take. */
const BUFFER_SHARE = 0.25;
/** What remains for the table at least, however small the limit is. */
const LEAST_TABLE_SHARE = 0.25;
const HASH_BITS = 32;

/** What a hash aggregation may use. */
export interface HashLimit {
  /** work_mem in bytes. */
  readonly workMemBytes: number;
  readonly hashMemMultiplier: number;
}

/** Bytes of all the memory of one hash aggregation. */
export function hashMemory({ workMemBytes, hashMemMultiplier }: HashLimit): number {
  return Math.floor(workMemBytes * hashMemMultiplier);
}

/** Largest block of the table: a power of two not above work_mem / 16, within 8 kB and 8 MB. */
export function largestBlock({ workMemBytes }: HashLimit): number {
  const part = Math.max(1, Math.floor(workMemBytes / BLOCKS_PER_WORK_MEM));
  const power = 2 ** Math.floor(Math.log2(part));
  return Math.min(MAX_BLOCK_BYTES, Math.max(MIN_BLOCK_BYTES, power));
}

/**
 * Bits of the hash that tell partitions apart.
 *
 * @param wantedBytes - what everything would take that there is to aggregate
 * @param usedBits - bits that told apart what there is; they are the same in all of it
 */
export function partitionBits(limit: HashLimit, wantedBytes: number, usedBits: number): number {
  const memory = hashMemory(limit);
  const most = (memory * BUFFER_SHARE - BLOCK_BYTES) / BLOCK_BYTES;
  const wanted = Math.min((PARTITION_FACTOR * wantedBytes) / memory, most);
  const partitions = Math.min(MAX_PARTITIONS, Math.max(MIN_PARTITIONS, wanted));
  return Math.min(Math.ceil(Math.log2(partitions)), HASH_BITS - usedBits);
}

/** Bytes the hash table may take where it spills into 2 ** `bits` partitions. */
export function tableLimit(limit: HashLimit, bits: number): number {
  const memory = hashMemory(limit);
  const rest = memory - largestBlock(limit) - (2 ** bits + 1) * BLOCK_BYTES;
  return Math.max(rest, Math.floor(memory * LEAST_TABLE_SHARE));
}
