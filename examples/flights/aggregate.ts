/**
 * A hash aggregation whose table lives in wasm process memory. What is kept of each group is its
 * transition state (transition.ts); this file finds a key's state and never looks inside. Each
 * backend runs one over its share of the pages (the partial phase); the leader runs one over their
 * results (the final phase). Both obey the same limit.
 *
 *   ExecutorState                per-query context: the result, and everything below
 *   ├─ ExprContext               per-tuple context: one row's key, reset after each row
 *   ├─ HashAgg meta context      the bucket array, doubled when three quarters are taken
 *   └─ HashAgg hashed tuples     one chunk a group
 *
 *          0               4           8
 *         ┌───────────────┬───────────┐
 *  bucket │ entry, 0 free │ hash      │   open addressing: the next bucket is tried
 *         └───────────────┴───────────┘
 *          0                  state bytes     + 4
 *         ┌──────────────────┬──────────────┬───────────┬───┐
 *   entry │ transition state │ key length   │ key bytes │pad│ to 8 bytes
 *         └──────────────────┴──────────────┴───────────┴───┘
 *
 * The limit is work_mem × hash_mem_multiplier, compared with what the two HashAgg contexts have
 * taken in blocks, after each new group. Beyond it the aggregation refuses; it does not spill.
 *
 * PostgreSQL: src/backend/executor/nodeAgg.c, hash_agg_check_limits and hash_create_memory;
 * src/backend/executor/execGrouping.c, BuildTupleHashTable; src/include/lib/simplehash.h, SH_GROW
 */

import {
  type ChunkPtr,
  LimitExceededError,
  type MemoryContext,
  type ProcessMemory,
} from "../../bindings/index.ts";
import type { GroupValues, Transition } from "./transition.ts";

const BUCKET_SHIFT = 3; // 8 bytes
const FIRST_BUCKETS = 256;

const LENGTH_WORD_BYTES = 4;
const ENTRY_ALIGN_MASK = 7;

const MIN_BLOCK_BYTES = 8192; // 8 kB
const MAX_BLOCK_BYTES = 8388608; // 8 MB
/** A block is at most this part of work_mem, so that no single one jumps past the limit. */
const BLOCKS_PER_WORK_MEM = 16;

/** What a hash aggregation may use. */
export interface HashLimit {
  /** work_mem in bytes. */
  readonly workMemBytes: number;
  readonly hashMemMultiplier: number;
}

/** One group of a finished aggregation. */
export interface Group extends GroupValues {
  /** The key's bytes as they are in the rows. */
  readonly key: Uint8Array;
}

/** Largest power of two not above work_mem / 16, within 8 kB and 8 MB. */
function workSizedBlock(workMemBytes: number): number {
  const part = Math.max(1, Math.floor(workMemBytes / BLOCKS_PER_WORK_MEM));
  const power = 2 ** Math.floor(Math.log2(part));
  return Math.min(MAX_BLOCK_BYTES, Math.max(MIN_BLOCK_BYTES, power));
}

/** The hash table of one `group by`, in contexts of its own below a per-query context. */
export class HashAggregate {
  readonly #memory: ProcessMemory;
  readonly #executor: MemoryContext;
  readonly #meta: MemoryContext;
  readonly #tuples: MemoryContext;
  readonly #groupBy: string;
  readonly #limit: HashLimit;
  readonly #limitBytes: number;
  // Process memory is reserved in full here, so these views last as long as it does.
  readonly #u8: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #transition: Transition;
  /** Offsets in an entry. */
  readonly #keyLengthOffset: number;
  readonly #keyOffset: number;
  #buckets: ChunkPtr;
  #bucketCount: number = FIRST_BUCKETS;
  #groups = 0;

  /**
   * @param executor - the per-query context; deleting it frees the aggregation
   * @param groupBy - the column grouped by, for the message of a refusal
   * @param transition - what is kept of each group
   */
  constructor(executor: MemoryContext, groupBy: string, limit: HashLimit, transition: Transition) {
    const { memory } = executor;
    this.#memory = memory;
    this.#executor = executor;
    this.#groupBy = groupBy;
    this.#limit = limit;
    this.#limitBytes = Math.floor(limit.workMemBytes * limit.hashMemMultiplier);
    this.#meta = executor.createChild("HashAgg meta context");
    this.#tuples = executor.createChild("HashAgg hashed tuples", {
      minContextSize: 0,
      initBlockSize: MIN_BLOCK_BYTES,
      maxBlockSize: workSizedBlock(limit.workMemBytes),
    });
    this.#u8 = memory.u8;
    this.#u32 = memory.u32;
    this.#transition = transition;
    this.#keyLengthOffset = transition.bytes;
    this.#keyOffset = transition.bytes + LENGTH_WORD_BYTES;
    this.#buckets = this.#meta.allocZero(FIRST_BUCKETS << BUCKET_SHIFT);
  }

  /** Number of groups so far. */
  get groups(): number {
    return this.#groups;
  }

  /**
   * Finds the transition state of a key; makes it for a new one.
   *
   * @param key - address of the key's bytes in process memory; they are copied for a new group
   * @returns address of the state; it lasts as long as the aggregation
   * @throws {@link LimitExceededError} when the group was new and the limit is passed
   */
  state(key: number, keyBytes: number): number {
    return this.#entry(key, keyBytes);
  }

  /**
   * Adds the groups of another aggregation's {@link pack}.
   *
   * @param tuple - per-tuple context; holds one group at a time and is reset after each
   * @throws {@link LimitExceededError} as {@link state}
   */
  merge(packed: Uint8Array, tuple: MemoryContext): void {
    const words = new Uint32Array(packed.buffer, packed.byteOffset);
    for (let at = 0; at < packed.length; ) {
      const keyBytes = words[(at + this.#keyLengthOffset) >>> 2] ?? 0;
      const length = this.#packedBytes(keyBytes);
      const from = tuple.alloc(length);
      this.#u8.set(packed.subarray(at, at + length), from);
      this.#transition.combine(this.#entry(from + this.#keyOffset, keyBytes), from);
      tuple.reset();
      at += length;
    }
  }

  /** Writes all groups one after the other into a chunk of the per-query context. */
  pack(): { readonly at: ChunkPtr; readonly bytes: number } {
    let bytes = 0;
    this.#forEachEntry((_entry, keyBytes) => {
      bytes += this.#packedBytes(keyBytes);
    });
    const at = this.#executor.allocZero(bytes);
    let to: number = at;
    this.#forEachEntry((entry, keyBytes) => {
      this.#u8.copyWithin(to, entry, entry + this.#keyOffset + keyBytes);
      to += this.#packedBytes(keyBytes);
    });
    return { at, bytes };
  }

  /** Calls `visit` with each group, in no particular order. */
  forEachGroup(visit: (group: Group) => void): void {
    this.#forEachEntry((entry, keyBytes) => {
      const key = this.#u8.slice(entry + this.#keyOffset, entry + this.#keyOffset + keyBytes);
      visit({ key, ...this.#transition.values(entry) });
    });
  }

  /** Bytes a group's entry takes in a packed result. */
  #packedBytes(keyBytes: number): number {
    return (this.#keyOffset + keyBytes + ENTRY_ALIGN_MASK) & ~ENTRY_ALIGN_MASK;
  }

  /** Finds the entry of a key, or makes one. Ends because a bucket in four is free. */
  #entry(key: number, keyBytes: number): number {
    const hash = this.#hash(key, keyBytes);
    const mask = this.#bucketCount - 1;
    for (let bucket = hash & mask; ; bucket = (bucket + 1) & mask) {
      const word = (this.#buckets >>> 2) + (bucket << 1);
      const entry = this.#u32[word] ?? 0;
      if (entry === 0) return this.#newEntry(word, hash, key, keyBytes);
      if (this.#u32[word + 1] === hash && this.#sameKey(entry, key, keyBytes)) return entry;
    }
  }

  #sameKey(entry: number, key: number, keyBytes: number): boolean {
    if (this.#u32[(entry + this.#keyLengthOffset) >>> 2] !== keyBytes) return false;
    const own = entry + this.#keyOffset;
    for (let i = 0; i < keyBytes; i += 1) {
      if (this.#u8[own + i] !== this.#u8[key + i]) return false;
    }
    return true;
  }

  #newEntry(word: number, hash: number, key: number, keyBytes: number): number {
    const entry = this.#tuples.allocZero(this.#keyOffset + keyBytes);
    this.#transition.clear(entry);
    this.#u32[(entry + this.#keyLengthOffset) >>> 2] = keyBytes;
    this.#u8.copyWithin(entry + this.#keyOffset, key, key + keyBytes);
    this.#u32[word] = entry;
    this.#u32[word + 1] = hash;
    this.#groups += 1;
    if (this.#groups * 4 > this.#bucketCount * 3) this.#grow();
    this.#checkLimit();
    return entry;
  }

  /** Twice as many buckets; the old array goes back to its context. */
  #grow(): void {
    const old = this.#buckets >>> 2;
    const oldCount = this.#bucketCount;
    const count = oldCount * 2;
    const buckets = this.#meta.allocZero(count << BUCKET_SHIFT);
    const mask = count - 1;
    for (let word = old; word < old + (oldCount << 1); word += 2) {
      const entry = this.#u32[word] ?? 0;
      if (entry === 0) continue;
      const hash = this.#u32[word + 1] ?? 0;
      let bucket = hash & mask;
      while (this.#u32[(buckets >>> 2) + (bucket << 1)] !== 0) bucket = (bucket + 1) & mask;
      this.#u32[(buckets >>> 2) + (bucket << 1)] = entry;
      this.#u32[(buckets >>> 2) + (bucket << 1) + 1] = hash;
    }
    this.#memory.free(this.#buckets);
    this.#buckets = buckets;
    this.#bucketCount = count;
  }

  #checkLimit(): void {
    const meta = this.#meta.memAllocated(true);
    const tuples = this.#tuples.memAllocated(true);
    if (meta + tuples <= this.#limitBytes) return;
    const { workMemBytes, hashMemMultiplier } = this.#limit;
    throw new LimitExceededError(
      `hash table of "group by ${this.#groupBy}" exceeds its limit of ${kilobytes(this.#limitBytes)}`,
      { limitBytes: this.#limitBytes, usedBytes: meta + tuples, context: this.#tuples.name },
      {
        detail:
          `The limit is work_mem (${kilobytes(workMemBytes)}) times hash_mem_multiplier ` +
          `(${hashMemMultiplier}). With ${this.#groups.toLocaleString("en-US")} groups, memory ` +
          `context "${this.#tuples.name}" holds ${kilobytes(tuples)} and "${this.#meta.name}" ` +
          `${kilobytes(meta)}.`,
        hint: "Raise work_mem, or group by fewer values.",
      },
    );
  }

  #forEachEntry(visit: (entry: number, keyBytes: number) => void): void {
    const first = this.#buckets >>> 2;
    for (let word = first; word < first + (this.#bucketCount << 1); word += 2) {
      const entry = this.#u32[word] ?? 0;
      if (entry !== 0) visit(entry, this.#u32[(entry + this.#keyLengthOffset) >>> 2] ?? 0);
    }
  }

  /** FNV-1a over the bytes, then a finalizer that spreads them over the low bits. */
  #hash(key: number, keyBytes: number): number {
    let hash = 0x811c9dc5;
    for (let i = 0; i < keyBytes; i += 1) {
      hash = Math.imul(hash ^ (this.#u8[key + i] ?? 0), 0x01000193);
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}

function kilobytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024).toLocaleString("en-US")} kB`;
}
