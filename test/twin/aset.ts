// The process memory once more, in plain TypeScript over an array of words: the oracle of the
// differential tests and the baseline of the benchmark. It predicts every address and every counter
// of assembly/mmgr, and imports nothing but constants and its own other files.
//
// General contexts are written out here, with context and block headers in the words just as they
// lie in wasm, as fast as JavaScript does it. The other kinds are an oracle only: one file each,
// their blocks objects, and found here behind everything general.

import {
  ALLOC_HUGE,
  ASET_BACKOFF_BYTES,
  ASET_BLOCK_HEADER_BYTES,
  ASET_CHUNK_FRACTION,
  ASET_CHUNK_LIMIT,
  ASET_CONTEXT_BYTES,
  ASET_DEFAULT_INIT_BYTES,
  ASET_FREELISTS,
  ASET_MAX_FREE_CONTEXTS,
  ASET_SMALL_INIT_BYTES,
  CHUNK_HEADER_BYTES,
  KIND_ASET,
  MAX_ALLOC_BYTES,
  MAX_ALLOC_HUGE_BYTES,
} from "../../assembly/common/constants.ts";
import { BlockTwin } from "./blocks.ts";
import { aligned, IS_RESET, KIND, MEM_ALLOCATED, type TwinStatistics } from "./kind.ts";
import { TwinKinds } from "./kinds.ts";
import { TwinTree } from "./tree.ts";

// Words of the header of a general context, behind those of every kind.
const BLOCKS = 11;
const LISTS = 12;
const INIT = 23;
const MAX = 24;
const NEXT_SIZE = 25;
const LIMIT = 26;
const KEEP = 27;
// Words of a block header.
const SET = 0;
const PREVIOUS = 1;
const NEXT = 2;
const FREE = 3;
const END = 4;
const MARK = 5;
/** The kind in the low word of a chunk's header. */
const KIND_BITS = 15;
/** A block header carries its own address under this pattern. */
const BLOCK_MARK = 0x5eb10c4d;
/** Header of the one chunk of a dedicated block. */
const EXTERNAL_LOW = 0x8eb6efb3 | 0;
const EXTERNAL_HIGH = 0xb1a8db85 | 0;
const DEDICATED_OVERHEAD = ASET_BLOCK_HEADER_BYTES + CHUNK_HEADER_BYTES;

/** A memory with its contexts; every method returns what the wasm export of its name returns. */
export class TwinMemory {
  readonly blocks: BlockTwin;
  /** The whole memory. */
  readonly words: Int32Array;
  /** All that is not general. */
  readonly kinds: TwinKinds;
  readonly #words: Int32Array;
  readonly #tree = new TwinTree();
  /** Deleted contexts kept for reuse: those that begin with 8 kB, and with 1 kB. */
  readonly #kept: [number[], number[]] = [[], []];

  /** @param bytes - of the whole memory, a multiple of 8 below 2 GB */
  constructor(bytes: number) {
    this.blocks = new BlockTwin(bytes);
    this.words = this.blocks.words;
    this.#words = this.words;
    this.kinds = new TwinKinds(this, this.blocks);
  }

  createContext(parent: number, min: number, init: number, max: number): number {
    const keep = min !== 0 ? -1 : keepListFor(init);
    const kept = keep < 0 ? undefined : this.#kept[keep as 0 | 1].pop();
    const context = kept ?? this.#createNew(min, init, max, keep);
    if (context === 0) return 0;
    const words = this.#words;
    const at = context >> 2;
    words[at + KIND] = KIND_ASET;
    words[at + IS_RESET] = 1;
    words[at + MAX] = max;
    const keeper = context + ASET_CONTEXT_BYTES;
    words[(keeper >> 2) + MARK] = keeper ^ BLOCK_MARK;
    words[at + MEM_ALLOCATED] = (words[(keeper >> 2) + END] as number) - context;
    this.#tree.add(context, parent);
    return context;
  }

  createGeneration(parent: number, min: number, init: number, max: number): number {
    return this.#placed(this.kinds.generations.create(min, init, max), parent);
  }

  createBump(parent: number, min: number, init: number, max: number): number {
    return this.#placed(this.kinds.bumps.create(min, init, max), parent);
  }

  createSlab(parent: number, blockBytes: number, chunkBytes: number): number {
    return this.#placed(this.kinds.slabs.create(blockBytes, chunkBytes), parent);
  }

  /** Address of a chunk, or 0. */
  alloc(context: number, bytes: number): number {
    const words = this.#words;
    const at = context >> 2;
    if (words[at + KIND] !== KIND_ASET) return this.#allocAny(context, bytes, MAX_ALLOC_BYTES);
    words[at + IS_RESET] = 0;
    if (bytes > (words[at + LIMIT] as number)) {
      return this.#allocDedicated(context, bytes, MAX_ALLOC_BYTES);
    }
    const index = bytes <= 8 ? 0 : 29 - Math.clz32(bytes - 1);
    const list = at + LISTS + index;
    const free = words[list] as number;
    if (free !== 0) {
      words[list] = words[(free + CHUNK_HEADER_BYTES) >> 2] as number;
      return free + CHUNK_HEADER_BYTES;
    }
    const block = words[at + BLOCKS] as number;
    const header = words[(block >> 2) + FREE] as number;
    const end = header + (8 << index) + CHUNK_HEADER_BYTES;
    if (end <= (words[(block >> 2) + END] as number)) {
      words[(block >> 2) + FREE] = end;
      words[header >> 2] = (index << 5) | KIND_ASET;
      words[(header >> 2) + 1] = (header - block) << 2;
      return header + CHUNK_HEADER_BYTES;
    }
    return this.#allocFromNewBlock(context, index);
  }

  /** As alloc, up to the limit of the flags; above it nothing is touched. */
  allocExtended(context: number, bytes: number, flags: number): number {
    const limit = (flags & ALLOC_HUGE) === 0 ? MAX_ALLOC_BYTES : MAX_ALLOC_HUGE_BYTES;
    return bytes > limit ? 0 : this.#allocAny(context, bytes, limit);
  }

  allocAligned(context: number, bytes: number, alignment: number, flags: number): number {
    return this.kinds.aligned.alloc(context, bytes, alignment, flags);
  }

  /**
   * 0, or -1 for what is no chunk of a general context, and then nothing is changed. Chunks of
   * other kinds are taken on trust.
   */
  free(chunk: number): number {
    const words = this.#words;
    const header = chunk - CHUNK_HEADER_BYTES;
    if ((chunk & 7) !== 0 || header >>> 2 >= words.length) return -1;
    const low = words[header >> 2] as number;
    const index = low >>> 5;
    if ((low & 31) === KIND_ASET && index < ASET_FREELISTS) {
      const block = header - ((words[(header >> 2) + 1] as number) >>> 2);
      if (block <= 0 || words[(block >> 2) + MARK] !== (block ^ BLOCK_MARK)) return -1;
      const list = ((words[block >> 2] as number) >> 2) + LISTS + index;
      words[chunk >> 2] = words[list] as number;
      words[list] = header;
      return 0;
    }
    const block = header - ASET_BLOCK_HEADER_BYTES;
    if (low !== EXTERNAL_LOW || words[(header >> 2) + 1] !== EXTERNAL_HIGH) {
      return this.kinds.free(chunk);
    }
    if (words[(block >> 2) + MARK] !== (block ^ BLOCK_MARK)) return -1;
    this.#freeDedicated(block);
    return 0;
  }

  /** New address of the chunk, or 0, and then it is as before. */
  realloc(chunk: number, bytes: number): number {
    const words = this.#words;
    const header = (chunk - CHUNK_HEADER_BYTES) >> 2;
    const low = words[header] as number;
    if (low === EXTERNAL_LOW) return this.#reallocDedicated(chunk - DEDICATED_OVERHEAD, bytes);
    if ((low & KIND_BITS) !== KIND_ASET) return this.kinds.realloc(chunk, bytes);
    const capacity = 8 << (low >> 5);
    if (bytes <= capacity) return chunk;
    const block = chunk - CHUNK_HEADER_BYTES - ((words[header + 1] as number) >>> 2);
    const moved = this.alloc(words[(block >> 2) + SET] as number, bytes);
    if (moved === 0) return 0;
    words.copyWithin(moved >> 2, chunk >> 2, (chunk + capacity) >> 2);
    this.free(chunk);
    return moved;
  }

  /** Bytes a chunk occupies, header and rounding included. */
  chunkSpace(chunk: number): number {
    const header = chunk - CHUNK_HEADER_BYTES;
    const low = this.#words[header >> 2] as number;
    if ((low & KIND_BITS) !== KIND_ASET) return this.kinds.chunkSpace(chunk) ?? 0;
    if (low !== EXTERNAL_LOW) return (8 << (low >> 5)) + CHUNK_HEADER_BYTES;
    return (this.#words[((header - ASET_BLOCK_HEADER_BYTES) >> 2) + END] as number) - header;
  }

  chunkContext(chunk: number): number {
    const words = this.#words;
    const header = chunk - CHUNK_HEADER_BYTES;
    const low = words[header >> 2] as number;
    if ((low & KIND_BITS) !== KIND_ASET) return this.kinds.chunkContext(chunk) ?? 0;
    const block =
      low === EXTERNAL_LOW
        ? header - ASET_BLOCK_HEADER_BYTES
        : header - ((words[(header >> 2) + 1] as number) >>> 2);
    return words[(block >> 2) + SET] as number;
  }

  reset(context: number): void {
    this.deleteChildren(context);
    this.resetOnly(context);
  }

  resetOnly(context: number): void {
    if (this.#words[(context >> 2) + IS_RESET] === 1) return;
    const kind = this.kinds.of(context);
    if (kind === undefined) this.#emptyOut(context);
    else kind.reset(context);
    this.#words[(context >> 2) + IS_RESET] = 1;
  }

  resetChildren(context: number): void {
    for (const child of this.children(context)) {
      this.resetOnly(child);
      this.resetChildren(child);
    }
  }

  deleteContext(context: number): void {
    this.deleteChildren(context);
    this.#tree.remove(context);
    const kind = this.kinds.of(context);
    if (kind === undefined) this.#destroy(context);
    else {
      this.#words[(context >> 2) + KIND] = 0;
      kind.destroy(context);
    }
  }

  deleteChildren(context: number): void {
    let child = this.#tree.firstChild(context);
    while (child !== undefined) {
      this.deleteContext(child);
      child = this.#tree.firstChild(context);
    }
  }

  setParent(context: number, parent: number): void {
    this.#tree.move(context, parent);
  }

  /** Addresses of the contexts below, newest first. */
  children(context: number): number[] {
    return this.#tree.children(context);
  }

  isEmpty(context: number): boolean {
    if (this.#tree.firstChild(context) !== undefined) return false;
    const kind = this.kinds.of(context);
    if (kind !== undefined) return kind.isEmpty(context);
    return this.#words[(context >> 2) + IS_RESET] === 1;
  }

  memAllocated(context: number): number {
    return this.#words[(context >> 2) + MEM_ALLOCATED] as number;
  }

  /** Counters of this context alone. */
  statistics(context: number): TwinStatistics {
    return this.kinds.of(context)?.statistics(context) ?? this.#statistics(context);
  }

  #statistics(context: number): TwinStatistics {
    const words = this.#words;
    const at = context >> 2;
    let blocks = 0;
    let total = ASET_CONTEXT_BYTES;
    let free = 0;
    let freeChunks = 0;
    let block = words[at + BLOCKS] as number;
    while (block !== 0) {
      const end = words[(block >> 2) + END] as number;
      blocks += 1;
      total += end - block;
      free += end - (words[(block >> 2) + FREE] as number);
      block = words[(block >> 2) + NEXT] as number;
    }
    for (let index = 0; index < ASET_FREELISTS; index += 1) {
      let header = words[at + LISTS + index] as number;
      while (header !== 0) {
        freeChunks += 1;
        free += (8 << index) + CHUNK_HEADER_BYTES;
        header = words[(header + CHUNK_HEADER_BYTES) >> 2] as number;
      }
    }
    return [blocks, total, free, freeChunks, total - free, 0, 0];
  }

  #placed(context: number, parent: number): number {
    if (context !== 0) this.#tree.add(context, parent);
    return context;
  }

  #allocAny(context: number, bytes: number, limit: number): number {
    const kind = this.kinds.of(context);
    if (kind !== undefined) return kind.alloc(context, bytes, limit);
    if (this.#words[(context >> 2) + KIND] !== KIND_ASET) return 0;
    if (bytes <= MAX_ALLOC_BYTES) return this.alloc(context, bytes);
    this.#words[(context >> 2) + IS_RESET] = 0;
    return this.#allocDedicated(context, bytes, limit);
  }

  #createNew(min: number, init: number, max: number, keep: number): number {
    const words = this.#words;
    const first = min === 0 ? init : min;
    const context = this.blocks.request(first);
    if (context === 0) return 0;
    const at = context >> 2;
    words.fill(0, at, at + ASET_CONTEXT_BYTES / 4);
    const keeper = context + ASET_CONTEXT_BYTES;
    this.#openBlock(keeper, context, context + first);
    words[at + BLOCKS] = keeper;
    words[at + INIT] = init;
    words[at + NEXT_SIZE] = init;
    words[at + LIMIT] = chunkLimitFor(max);
    words[at + KEEP] = keep;
    return context;
  }

  #openBlock(block: number, context: number, end: number): void {
    const at = block >> 2;
    const words = this.#words;
    words[at + SET] = context;
    words[at + PREVIOUS] = 0;
    words[at + NEXT] = 0;
    words[at + FREE] = block + ASET_BLOCK_HEADER_BYTES;
    words[at + END] = end;
    words[at + MARK] = block ^ BLOCK_MARK;
  }

  #allocDedicated(context: number, bytes: number, limit: number): number {
    if (bytes > limit) return 0;
    const words = this.#words;
    const size = aligned(bytes) + DEDICATED_OVERHEAD;
    const block = this.blocks.request(size);
    if (block === 0) return 0;
    this.#openBlock(block, context, block + size);
    words[(block >> 2) + FREE] = block + size;
    words[(block + ASET_BLOCK_HEADER_BYTES) >> 2] = EXTERNAL_LOW;
    words[((block + ASET_BLOCK_HEADER_BYTES) >> 2) + 1] = EXTERNAL_HIGH;
    const head = words[(context >> 2) + BLOCKS] as number;
    this.#chain(block, words[(head >> 2) + NEXT] as number);
    this.#chain(head, block);
    words[(context >> 2) + MEM_ALLOCATED] = this.memAllocated(context) + size;
    return block + DEDICATED_OVERHEAD;
  }

  /** Makes two blocks neighbours in a list; 0 stands for its end. */
  #chain(block: number, next: number): void {
    if (block !== 0) this.#words[(block >> 2) + NEXT] = next;
    if (next !== 0) this.#words[(next >> 2) + PREVIOUS] = block;
  }

  #allocFromNewBlock(context: number, index: number): number {
    const words = this.#words;
    const at = context >> 2;
    this.#carve(context);
    let size = words[at + NEXT_SIZE] as number;
    words[at + NEXT_SIZE] = Math.min(size * 2, words[at + MAX] as number);
    const need = (8 << index) + CHUNK_HEADER_BYTES;
    while (size < need + ASET_BLOCK_HEADER_BYTES) size *= 2;
    let block = this.blocks.request(size);
    while (block === 0 && size > ASET_BACKOFF_BYTES) {
      size = Math.floor(size / 2);
      if (size < need + ASET_BLOCK_HEADER_BYTES) break;
      block = this.blocks.request(size);
    }
    if (block === 0) return 0;
    this.#openBlock(block, context, block + size);
    this.#chain(block, words[at + BLOCKS] as number);
    words[at + BLOCKS] = block;
    words[at + MEM_ALLOCATED] = this.memAllocated(context) + size;
    const header = block + ASET_BLOCK_HEADER_BYTES;
    words[(block >> 2) + FREE] = header + need;
    words[header >> 2] = (index << 5) | KIND_ASET;
    words[(header >> 2) + 1] = ASET_BLOCK_HEADER_BYTES << 2;
    return header + CHUNK_HEADER_BYTES;
  }

  /** Cuts what is left of the head block into free chunks. */
  #carve(context: number): void {
    const words = this.#words;
    const block = words[(context >> 2) + BLOCKS] as number;
    const end = words[(block >> 2) + END] as number;
    let header = words[(block >> 2) + FREE] as number;
    while (end - header >= 16) {
      const index = Math.min(28 - Math.clz32(end - header - 8), ASET_FREELISTS - 1);
      const list = (context >> 2) + LISTS + index;
      words[header >> 2] = (index << 5) | KIND_ASET;
      words[(header >> 2) + 1] = (header - block) << 2;
      words[(header + CHUNK_HEADER_BYTES) >> 2] = words[list] as number;
      words[list] = header;
      header += (8 << index) + CHUNK_HEADER_BYTES;
    }
    words[(block >> 2) + FREE] = header;
  }

  #freeDedicated(block: number): void {
    const words = this.#words;
    const at = block >> 2;
    const context = words[at + SET] as number;
    const size = (words[at + END] as number) - block;
    this.#chain(words[at + PREVIOUS] as number, words[at + NEXT] as number);
    words[at + MARK] = 0;
    words[(context >> 2) + MEM_ALLOCATED] = this.memAllocated(context) - size;
    this.blocks.release(block, size);
  }

  #reallocDedicated(block: number, bytes: number): number {
    if (bytes > MAX_ALLOC_BYTES) return 0;
    const words = this.#words;
    const oldSize = (words[(block >> 2) + END] as number) - block;
    const newSize = ((bytes + 7) & ~7) + DEDICATED_OVERHEAD;
    // Unmarked first: where the block was may be the links of a free area afterwards.
    words[(block >> 2) + MARK] = 0;
    const moved = this.blocks.resize(block, oldSize, newSize);
    if (moved === 0) {
      words[(block >> 2) + MARK] = block ^ BLOCK_MARK;
      return 0;
    }
    const at = moved >> 2;
    words[at + MARK] = moved ^ BLOCK_MARK;
    words[at + FREE] = moved + newSize;
    words[at + END] = moved + newSize;
    this.#chain(words[at + PREVIOUS] as number, moved);
    this.#chain(moved, words[at + NEXT] as number);
    const context = words[at + SET] as number;
    words[(context >> 2) + MEM_ALLOCATED] = this.memAllocated(context) + newSize - oldSize;
    return moved + DEDICATED_OVERHEAD;
  }

  /** Gives back all blocks but the keeper. */
  #emptyOut(context: number): void {
    const words = this.#words;
    const at = context >> 2;
    words.fill(0, at + LISTS, at + LISTS + ASET_FREELISTS);
    const keeper = context + ASET_CONTEXT_BYTES;
    let block = words[at + BLOCKS] as number;
    while (block !== 0) {
      const next = words[(block >> 2) + NEXT] as number;
      const size = (words[(block >> 2) + END] as number) - block;
      if (block !== keeper) {
        words[(block >> 2) + MARK] = 0;
        words[at + MEM_ALLOCATED] = this.memAllocated(context) - size;
        this.blocks.release(block, size);
      }
      block = next;
    }
    this.#openBlock(keeper, context, words[(keeper >> 2) + END] as number);
    words[at + BLOCKS] = keeper;
    words[at + NEXT_SIZE] = words[at + INIT] as number;
  }

  #destroy(context: number): void {
    const keep = this.#words[(context >> 2) + KEEP] as number;
    this.resetOnly(context);
    this.#words[(context >> 2) + KIND] = 0;
    this.#words[((context + ASET_CONTEXT_BYTES) >> 2) + MARK] = 0;
    if (keep < 0) {
      this.#giveBack(context);
      return;
    }
    const kept = this.#kept[keep as 0 | 1];
    if (kept.length >= ASET_MAX_FREE_CONTEXTS) {
      for (let old = kept.pop(); old !== undefined; old = kept.pop()) this.#giveBack(old);
    }
    kept.push(context);
  }

  #giveBack(context: number): void {
    const keeper = context + ASET_CONTEXT_BYTES;
    this.blocks.release(context, (this.#words[(keeper >> 2) + END] as number) - context);
  }
}

function keepListFor(init: number): number {
  if (init === ASET_DEFAULT_INIT_BYTES) return 0;
  return init === ASET_SMALL_INIT_BYTES ? 1 : -1;
}

function chunkLimitFor(max: number): number {
  const share = Math.floor((max - ASET_BLOCK_HEADER_BYTES) / ASET_CHUNK_FRACTION);
  let limit = ASET_CHUNK_LIMIT;
  while (limit + CHUNK_HEADER_BYTES > share) limit /= 2;
  return limit;
}
