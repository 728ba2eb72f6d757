/**
 * How much memory one node of a query may use, and how its contexts are to be made so that it keeps
 * to that. What a node has in its contexts counts by their blocks, which catches whatever is
 * allocated below them, by whomever.
 *
 * PostgreSQL: src/backend/executor/nodeHash.c, get_hash_memory_limit; execUtils.c,
 * CreateWorkExprContext
 */

import {
  ASET_DEFAULT_INIT_BYTES,
  ASET_DEFAULT_MAX_BYTES,
} from "../../assembly/common/constants.ts";
import type { MemoryContext } from "../process/context.ts";
import { ALLOCSET_DEFAULT_SIZES, type ContextSizes } from "../process/sizes.ts";
import type { SettingValues } from "../shared/settings.ts";

/**
 * What the memory is for: `hash` may use work_mem times hash_mem_multiplier, `sort` work_mem,
 * `maintenance` maintenance_work_mem.
 */
export type MemoryUse = "hash" | "sort" | "maintenance";

const KB = 1024;
/** Largest size on a memory of 32 bits. */
const SIZE_MAX = 0xffff_ffff;
/** One doubling of a block must not jump past the limit: it is at most this part of work_mem. */
const BLOCKS_IN_WORK_MEM = 16;

/** The limit of one node, as the parameters were when it was asked for. */
export class MemoryLimit {
  /** Most that the node may use. */
  readonly bytes: number;
  /** Largest block its contexts should take: a power of two, 8 kB to 8 MB. */
  readonly maxBlockBytes: number;

  /** @internal */
  constructor(values: SettingValues, use: MemoryUse) {
    const { work_mem, maintenance_work_mem, hash_mem_multiplier } = values;
    const base = (use === "maintenance" ? maintenance_work_mem : work_mem) * KB;
    const bytes = use === "hash" ? base * hash_mem_multiplier : base;
    this.bytes = Math.min(Math.floor(bytes), SIZE_MAX);
    const power = 2 ** Math.floor(Math.log2(base / BLOCKS_IN_WORK_MEM));
    this.maxBlockBytes = Math.min(Math.max(power, ASET_DEFAULT_INIT_BYTES), ASET_DEFAULT_MAX_BYTES);
  }

  /** Sizes for a context of the node: `createChild(name, limit.sizes)`. */
  get sizes(): ContextSizes {
    return { ...ALLOCSET_DEFAULT_SIZES, maxBlockSize: this.maxBlockBytes };
  }

  /** Bytes that contexts hold, with everything below them. One call a context. */
  used(...contexts: readonly MemoryContext[]): number {
    return contexts.reduce((total, context) => total + context.memAllocated(true), 0);
  }

  /** Whether contexts hold more than the limit: time to write to temporary files. */
  isExceededBy(...contexts: readonly MemoryContext[]): boolean {
    return this.used(...contexts) > this.bytes;
  }
}
