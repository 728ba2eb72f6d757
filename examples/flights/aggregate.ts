/**
 * A hash aggregation whose table lives in wasm process memory. What is kept of each group is its
 * transition state (transition.ts); this file finds a key's state and never looks inside. Each
 * backend runs one over its share of the pages (the partial phase); the leader runs one over their
 * results (the final phase). Both obey the same limit (hash-limit.ts).
 *
 *   ExecutorState                per-query context
 *   ├─ ExprContext               per-tuple context: one row's key, reset after each row
 *   ├─ HashAgg meta context      the bucket array, doubled when three quarters are taken
 *   ├─ HashAgg hashed tuples     one chunk a group
 *   └─ HashAgg spill             once it spills: a record in hand, a block a file in use
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
 * Where the next group would not fit the table grows no more: rows of groups that are in it still
 * go into their states, rows of others are spilled (spill.ts), each as an entry of its own. When
 * the groups are taken out, first those of the table come, then the table is emptied and filled
 * from one batch of the spilled after the other; a batch that does not fit spills again, by further
 * bits of the hash. Each pass finishes at least one group, so it ends.
 *
 * PostgreSQL: src/backend/executor/nodeAgg.c, hash_agg_check_limits, agg_refill_hash_table;
 * src/backend/executor/execGrouping.c, BuildTupleHashTable and its hash_iv;
 * src/include/lib/simplehash.h, SH_GROW
 */

import type { ChunkPtr, MemoryContext, ProcessMemory } from "../../bindings/index.ts";
import { type HashLimit, partitionBits, tableLimit } from "./hash-limit.ts";
import { type Batch, type CreateFile, RECORD_HEADER_BYTES, Spill } from "./spill.ts";
import type { GroupValues, Transition } from "./transition.ts";

const FNV_BASIS = 0x811c9dc5;
const BUCKET_SHIFT = 3; // 8 bytes
const FIRST_BUCKETS = 256;

const LENGTH_WORD_BYTES = 4;
const ENTRY_ALIGN_MASK = 7;

const MIN_BLOCK_BYTES = 8192; // 8 kB
/** Groups expected of an input of which nothing is known. PostgreSQL: DEFAULT_NUM_DISTINCT */
const UNKNOWN_GROUPS = 200;
/** What is sent at a time, as large as the queue of a parallel worker in PostgreSQL. */
const PACKED_BYTES = 65536; // 64 kB

/** What a {@link HashAggregate} is made of. */
export interface HashAggregateOptions {
  /** The per-query context; deleting it frees the aggregation's memory. */
  readonly executor: MemoryContext;
  readonly limit: HashLimit;
  /** What is kept of each group. */
  readonly transition: Transition;
  /** Files of an aggregation that is given up are closed by whoever made them. */
  readonly createFile: CreateFile;
  /**
   * Where hashes begin. An aggregation that merges what others drain needs another one than they:
   * they drain in the order of their buckets, and by the same hash such groups would all be put
   * next to each other.
   */
  readonly seed: number;
}

/** One group of a finished aggregation. */
export interface Group extends GroupValues {
  /** The key's bytes as they are in the rows. */
  readonly key: Uint8Array;
}

/** What an aggregation has used. */
export interface HashUse {
  /** Bytes it may take: work_mem × hash_mem_multiplier. */
  readonly limitBytes: number;
  /** The most its contexts held at any moment, in blocks. */
  readonly peakBytes: number;
  /** Times the table was filled; 1 when everything fitted. */
  readonly batches: number;
  /** Bytes written to temporary files. */
  readonly diskBytes: number;
}

/** The hash table of one `group by`, in contexts of its own below a per-query context. */
export class HashAggregate {
  readonly #memory: ProcessMemory;
  readonly #executor: MemoryContext;
  readonly #meta: MemoryContext;
  readonly #tuples: MemoryContext;
  readonly #limit: HashLimit;
  readonly #createFile: CreateFile;
  readonly #seed: number;
  // Process memory is reserved in full here, so these views last as long as it does.
  readonly #u8: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #transition: Transition;
  /** Offsets in an entry. */
  readonly #keyLengthOffset: number;
  readonly #keyOffset: number;
  #buckets: ChunkPtr;
  #bucketCount: number = FIRST_BUCKETS;
  /** Groups in the table. */
  #groups = 0;
  /** What the table may take, and the bits it would spill by, in this pass. */
  #tableBytes: number;
  #usedBits = 0;
  #bits: number;
  /** Where this pass spills to, once it does. */
  #spill: Spill | undefined;
  #spillContext: MemoryContext | undefined;
  /** A record being made: its address, 0 before the first; its room; its bytes, 0 for none. */
  #record = 0;
  #recordRoom = 0;
  #pendingBytes = 0;
  readonly #batches: Batch[] = [];
  #peakBytes = 0;
  #batchCount = 1;
  #diskBytes = 0;

  constructor({ executor, limit, transition, createFile, seed }: HashAggregateOptions) {
    const { memory } = executor;
    this.#memory = memory;
    this.#executor = executor;
    this.#limit = limit;
    this.#createFile = createFile;
    this.#seed = FNV_BASIS ^ seed;
    this.#meta = executor.createChild("HashAgg meta context");
    this.#tuples = executor.createChild("HashAgg hashed tuples", {
      minContextSize: 0,
      initBlockSize: MIN_BLOCK_BYTES,
      maxBlockSize: limit.maxBlockBytes,
    });
    this.#u8 = memory.u8;
    this.#u32 = memory.u32;
    this.#transition = transition;
    this.#keyLengthOffset = transition.bytes;
    this.#keyOffset = transition.bytes + LENGTH_WORD_BYTES;
    this.#bits = partitionBits(limit, UNKNOWN_GROUPS * this.#keyOffset, 0);
    this.#tableBytes = tableLimit(limit, this.#bits);
    this.#buckets = this.#meta.allocZero(FIRST_BUCKETS << BUCKET_SHIFT);
  }

  /** What has been used so far. */
  get use(): HashUse {
    return {
      limitBytes: this.#limit.bytes,
      peakBytes: this.#peakBytes,
      batches: this.#batchCount,
      diskBytes: this.#diskBytes,
    };
  }

  /**
   * Finds the transition state of a key; makes it for a new one.
   *
   * @param key - address of the key's bytes in process memory; they are copied for a new group
   * @returns address of the state, to be changed before the next call of any method
   * @throws {@link StorageError} 53100 if there is no room for what must be spilled
   */
  state(key: number, keyBytes: number): number {
    this.#flush();
    const hash = this.#hash(key, keyBytes);
    const entry = this.#entry(hash, key, keyBytes);
    return entry === 0 ? this.#spilledState(hash, key, keyBytes) : entry;
  }

  /**
   * Adds the groups that another aggregation has packed.
   *
   * @param tuple - per-tuple context; holds one group at a time and is reset after each
   * @throws {@link StorageError} as {@link state}
   */
  merge(packed: Uint8Array, tuple: MemoryContext): void {
    const words = new Uint32Array(packed.buffer, packed.byteOffset);
    for (let at = 0; at < packed.length; ) {
      const keyBytes = words[(at + this.#keyLengthOffset) >>> 2] ?? 0;
      const length = this.#packedBytes(keyBytes);
      const record = tuple.alloc(RECORD_HEADER_BYTES + length);
      this.#u8.set(packed.subarray(at, at + length), record + RECORD_HEADER_BYTES);
      this.#combine(record, keyBytes);
      tuple.reset();
      at += length;
    }
  }

  /**
   * Calls `visit` with the groups of the table, in no particular order, then fills the table from
   * the next batch: to be called until there is none. The aggregation is empty then.
   *
   * @returns whether there was another batch
   */
  drainBatch(visit: (group: Group) => void): boolean {
    return this.#drainBatch((entry, keyBytes) => {
      const key = this.#u8.slice(entry + this.#keyOffset, entry + this.#keyOffset + keyBytes);
      visit({ key, ...this.#transition.values(entry) });
    });
  }

  /**
   * Calls `send` with all groups in the form that {@link merge} takes, some 64 kB at a time; the
   * aggregation is empty then.
   *
   * @param send - gets an array of its own, which it may transfer, and how many groups are in it
   */
  drainPacked(send: (packed: Uint8Array<ArrayBuffer>, groups: number) => void): void {
    let packed = new Uint8Array(PACKED_BYTES);
    let used = 0;
    let groups = 0;
    const flush = (): void => {
      if (groups > 0) send(packed.subarray(0, used), groups);
      packed = new Uint8Array(PACKED_BYTES);
      used = 0;
      groups = 0;
    };
    const pack = (entry: number, keyBytes: number): void => {
      const length = this.#packedBytes(keyBytes);
      if (used + length > packed.length) flush();
      packed.set(this.#u8.subarray(entry, entry + this.#keyOffset + keyBytes), used);
      used += length;
      groups += 1;
    };
    while (this.#drainBatch(pack));
    flush();
  }

  // ── Passes ─────────────────────────────────────────────────────────────────────────────────────

  #drainBatch(visit: (entry: number, keyBytes: number) => void): boolean {
    this.#flush();
    this.#forEachEntry(visit);
    this.#endPass();
    const batch = this.#batches.pop();
    if (batch === undefined) return false;
    this.#beginPass(batch);
    this.#load(batch);
    return true;
  }

  /** Empties the table; what was spilled becomes batches. */
  #endPass(): void {
    this.#notePeak();
    const batches = this.#spill?.finish() ?? [];
    this.#spill = undefined;
    for (const { file } of batches) this.#diskBytes += file.bytes;
    this.#batches.push(...batches);
    this.#tuples.reset();
    this.#u32.fill(0, this.#buckets >>> 2, (this.#buckets >>> 2) + (this.#bucketCount << 1));
    this.#groups = 0;
  }

  /** Records are at least as many as groups: so large the table may become. */
  #beginPass({ file, usedBits }: Batch): void {
    this.#batchCount += 1;
    this.#usedBits = usedBits;
    this.#bits = partitionBits(this.#limit, file.bytes, usedBits);
    this.#tableBytes = tableLimit(this.#limit, this.#bits);
  }

  #load({ file }: Batch): void {
    try {
      for (;;) {
        const record = this.#recordOf(RECORD_HEADER_BYTES);
        if (file.read(record, RECORD_HEADER_BYTES) === 0) return;
        const length = this.#u32[(record >>> 2) + 1] ?? 0;
        const whole = this.#recordOf(RECORD_HEADER_BYTES + length);
        file.read(whole + RECORD_HEADER_BYTES, length);
        const entry = whole + RECORD_HEADER_BYTES;
        this.#combine(whole, this.#u32[(entry + this.#keyLengthOffset) >>> 2] ?? 0);
      }
    } finally {
      file.close();
    }
  }

  /** Adds an entry that has room for a record's header before it. */
  #combine(record: number, keyBytes: number): void {
    this.#flush();
    const from = record + RECORD_HEADER_BYTES;
    const key = from + this.#keyOffset;
    const hash = this.#hash(key, keyBytes);
    const entry = this.#entry(hash, key, keyBytes);
    if (entry !== 0) this.#transition.combine(entry, from);
    else this.#write(record, hash, this.#packedBytes(keyBytes));
  }

  /** Bytes a group's entry takes in a packed result, and in a record. */
  #packedBytes(keyBytes: number): number {
    return (this.#keyOffset + keyBytes + ENTRY_ALIGN_MASK) & ~ENTRY_ALIGN_MASK;
  }

  // ── Spilling ───────────────────────────────────────────────────────────────────────────────────

  /** The state of a row that the table has no room for; {@link #flush} writes it. */
  #spilledState(hash: number, key: number, keyBytes: number): number {
    const bytes = this.#packedBytes(keyBytes);
    const record = this.#recordOf(RECORD_HEADER_BYTES + bytes);
    const entry = record + RECORD_HEADER_BYTES;
    this.#u8.fill(0, entry, entry + bytes);
    this.#transition.clear(entry);
    this.#u32[(entry + this.#keyLengthOffset) >>> 2] = keyBytes;
    this.#u8.copyWithin(entry + this.#keyOffset, key, key + keyBytes);
    this.#u32[record >>> 2] = hash;
    this.#pendingBytes = bytes;
    return entry;
  }

  #flush(): void {
    if (this.#pendingBytes === 0) return;
    const bytes = this.#pendingBytes;
    this.#pendingBytes = 0;
    this.#write(this.#record, this.#u32[this.#record >>> 2] ?? 0, bytes);
  }

  #write(record: number, hash: number, bytes: number): void {
    this.#u32[record >>> 2] = hash;
    this.#u32[(record >>> 2) + 1] = bytes;
    this.#spill ??= new Spill(this.#spilling(), this.#createFile, this.#usedBits, this.#bits);
    this.#spill.write(record, RECORD_HEADER_BYTES + bytes, hash);
  }

  /** Room for a record, made larger where it must be; what was in it stays. */
  #recordOf(bytes: number): number {
    if (bytes > this.#recordRoom) {
      const larger = this.#spilling().alloc(bytes);
      if (this.#record !== 0) {
        this.#u8.copyWithin(larger, this.#record, this.#record + this.#recordRoom);
        this.#memory.free(this.#record as ChunkPtr);
      }
      this.#record = larger;
      this.#recordRoom = bytes;
    }
    return this.#record;
  }

  #spilling(): MemoryContext {
    this.#spillContext ??= this.#executor.createChild("HashAgg spill", {
      minContextSize: 0,
      initBlockSize: MIN_BLOCK_BYTES,
      maxBlockSize: MIN_BLOCK_BYTES,
    });
    return this.#spillContext;
  }

  // ── Table ──────────────────────────────────────────────────────────────────────────────────────

  /** Finds a key's entry, or makes it; 0 if it must be spilled. Ends: a bucket in four is free. */
  #entry(hash: number, key: number, keyBytes: number): number {
    const mask = this.#bucketCount - 1;
    for (let bucket = hash & mask; ; bucket = (bucket + 1) & mask) {
      const word = (this.#buckets >>> 2) + (bucket << 1);
      const entry = this.#u32[word] ?? 0;
      if (entry === 0) return this.#hasRoom() ? this.#newEntry(word, hash, key, keyBytes) : 0;
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

  /**
   * Whether the table may take another group. Within a pass it never gets smaller: once one group
   * did not fit none does, and there is nothing to ask.
   */
  #hasRoom(): boolean {
    if (this.#spill !== undefined) return false;
    if (this.#groups === 0) return true;
    const growing = (this.#groups + 1) * 4 > this.#bucketCount * 3;
    const buckets = growing ? this.#bucketCount << (BUCKET_SHIFT + 1) : 0;
    const used = this.#meta.memAllocated(true) + this.#tuples.memAllocated(true);
    return used + buckets <= this.#tableBytes;
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
    return entry;
  }

  /** Twice as many buckets; the old array goes back to its context. */
  #grow(): void {
    const old = this.#buckets >>> 2;
    const oldCount = this.#bucketCount;
    const count = oldCount * 2;
    const buckets = this.#meta.allocZero(count << BUCKET_SHIFT);
    this.#notePeak();
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

  /** Looked at where the contexts are largest: when a table has grown, and at the end of a pass. */
  #notePeak(): void {
    const spill = this.#spillContext?.memAllocated(true) ?? 0;
    const table = this.#meta.memAllocated(true) + this.#tuples.memAllocated(true);
    this.#peakBytes = Math.max(this.#peakBytes, table + spill);
  }

  #forEachEntry(visit: (entry: number, keyBytes: number) => void): void {
    const first = this.#buckets >>> 2;
    for (let word = first; word < first + (this.#bucketCount << 1); word += 2) {
      const entry = this.#u32[word] ?? 0;
      if (entry !== 0) visit(entry, this.#u32[(entry + this.#keyLengthOffset) >>> 2] ?? 0);
    }
  }

  /** FNV-1a over the bytes, then a finalizer that spreads them over all bits. */
  #hash(key: number, keyBytes: number): number {
    let hash = this.#seed;
    for (let i = 0; i < keyBytes; i += 1) {
      hash = Math.imul(hash ^ (this.#u8[key + i] ?? 0), 0x01000193);
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}
