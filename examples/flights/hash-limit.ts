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

import { BLOCK_BYTES, type MemoryLimit } from "../../bindings/index.ts";

const MIN_PARTITIONS = 4;
const MAX_PARTITIONS = 1024;
/** Partitions are smaller than they need be, because keys do not fall on them evenly. */
const PARTITION_FACTOR = 1.5;
/** Part of the limit that the partitions' buffers may take. */
const BUFFER_SHARE = 0.25;
/** What remains for the table at least, however small the limit is. */
const LEAST_TABLE_SHARE = 0.25;
const HASH_BITS = 32;

/** What a hash aggregation may use: `query.memoryLimit("hash")`. */
export type HashLimit = Pick<MemoryLimit, "bytes" | "maxBlockBytes">;

/**
 * Bits of the hash that tell partitions apart.
 *
 * @param wantedBytes - what everything would take that there is to aggregate
 * @param usedBits - bits that told apart what there is; they are the same in all of it
 */
export function partitionBits(limit: HashLimit, wantedBytes: number, usedBits: number): number {
  const { bytes: memory } = limit;
  const most = (memory * BUFFER_SHARE - BLOCK_BYTES) / BLOCK_BYTES;
  const wanted = Math.min((PARTITION_FACTOR * wantedBytes) / memory, most);
  const partitions = Math.min(MAX_PARTITIONS, Math.max(MIN_PARTITIONS, wanted));
  return Math.min(Math.ceil(Math.log2(partitions)), HASH_BITS - usedBits);
}

/** Bytes the hash table may take where it spills into 2 ** `bits` partitions. */
export function tableLimit(limit: HashLimit, bits: number): number {
  const { bytes: memory, maxBlockBytes } = limit;
  const rest = memory - maxBlockBytes - (2 ** bits + 1) * BLOCK_BYTES;
  return Math.max(rest, Math.floor(memory * LEAST_TABLE_SHARE));
}
