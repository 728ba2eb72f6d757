// The general allocator: chunks of eleven powers of two, cut from blocks that double in size.
//
// A request is rounded up to its class and taken from the class's free list, last in first out;
// else cut from the head block; else from a new block, after what was left of the old one has been
// carved into free chunks. Nothing is split, merged or searched, so the common path is straight.
// Requests above the chunk limit get a dedicated block, placed second in the list so that the head
// keeps its room; only those go back to the block provider when freed. Reset gives back every block
// but the keeper, which lies behind the context header in one piece with it. Deleted contexts of
// the two usual sizes are kept for the next creation.
//
// Do not reorder: the class limit of a recycled context is that of its first life, sizes double
// before the block is asked for, and a dedicated chunk stays dedicated. The golden traces hold all
// three, because PostgreSQL's numbers do.
//
//   context (112)                  keeper                          a chunk
//  ┌─────────┬────────┬──────────┬──────────────┬───────────┐     ┌────────┬──────────────────┐
//  │ common  │ blocks │ lists …  │ header (24)  │ chunks …  │     │ header │ 8 << class bytes │
//  └─────────┴────────┴──────────┴──────────────┴───────────┘     └────────┴──────────────────┘
//  0         44       48         112            136               0        8
//
//   block header: set · previous · next · free · end · mark
//
// PostgreSQL: src/backend/utils/mmgr/aset.c

import { Align } from "../common/align";
import { invariant } from "../common/check";
import {
  ASET_BACKOFF_BYTES,
  ASET_BLOCK_HEADER_BYTES,
  ASET_CHUNK_FRACTION,
  ASET_CHUNK_LIMIT,
  ASET_CONTEXT_BYTES,
  ASET_FREELISTS,
  ASET_MIN_CHUNK_SHIFT,
  CHUNK_HEADER_BYTES,
  KIND_ASET,
  MAX_ALLOC_BYTES,
  PANIC_BLOCK_HEADER,
  PANIC_CONTEXT_CLOSED,
  STATUS_INVALID_POINTER,
  STATUS_OK,
} from "../common/constants";
import { AllocBlock } from "./aset-block";
import { requestBlock, resizeBlock, returnBlock } from "./blocks";
import { admits, requestFor } from "./ceiling";
import { ChunkHeader } from "./chunk";
import { freeUncommon, MemoryContext } from "./context";
import { Statistics } from "./header";
import { KEEP_NONE, keepContext, keepListFor, returnContext, takeKept } from "./kept";
import { Shadow } from "./shadow";

const LAST_CLASS: u32 = ASET_FREELISTS - 1;
const MIN_CHUNK: u32 = 1 << ASET_MIN_CHUNK_SHIFT;
/** The class of a request is this less the leading zeroes of its last byte's index. */
const CLASS_OF_LEADING_ZEROES: u32 = 32 - ASET_MIN_CHUNK_SHIFT;
/** Header of a block and of the one chunk that is alone on it. */
const DEDICATED_OVERHEAD: u32 = ASET_BLOCK_HEADER_BYTES + CHUNK_HEADER_BYTES;

/** The header of a general context. */
@unmanaged
export class AllocSet extends MemoryContext {
  /** The head, from which chunks are cut; never a dedicated block, never null. */
  blocks: AllocBlock;
  /** Free chunks of each class, linked by header addresses in their first word. */
  private list0: usize;
  private list1: usize;
  private list2: usize;
  private list3: usize;
  private list4: usize;
  private list5: usize;
  private list6: usize;
  private list7: usize;
  private list8: usize;
  private list9: usize;
  private list10: usize;
  initBlockSize: u32;
  maxBlockSize: u32;
  /** Size of the next block, unless a chunk needs more. */
  nextBlockSize: u32;
  /** Largest request that is cut from a common block. */
  chunkLimit: u32;
  /** Where the context waits once it is deleted; see kept.ts. */
  keepList: i32;

  @inline static at(address: usize): AllocSet {
    return changetype<AllocSet>(address);
  }

  /** The block in one piece with this header. */
  @inline get keeper(): AllocBlock {
    return changetype<AllocBlock>(this.address + ASET_CONTEXT_BYTES);
  }

  /** Head of a class's free list: address of a chunk header, or 0. */
  @inline freeList(index: u32): usize {
    return load<usize>(this.address + ((<usize>index) << 2), offsetof<AllocSet>("list0"));
  }

  @inline setFreeList(index: u32, header: usize): void {
    store<usize>(this.address + ((<usize>index) << 2), header, offsetof<AllocSet>("list0"));
  }

  /** Class of a request of 1 to ASET_CHUNK_LIMIT bytes. */
  @inline static classOf(bytes: u32): u32 {
    return CLASS_OF_LEADING_ZEROES - clz<u32>((bytes - 1) | (MIN_CHUNK - 1));
  }

  @inline static chunkBytes(index: u32): u32 {
    return MIN_CHUNK << index;
  }

  /** Next in a free list. */
  @inline static nextFree(header: usize): usize {
    return load<usize>(header, CHUNK_HEADER_BYTES);
  }

  @inline static setNextFree(header: usize, next: usize): void {
    store<usize>(header, next, CHUNK_HEADER_BYTES);
  }

  /** A chunk of at least `bytes`, or 0. The common path of every allocation. */
  @inline allocFast(bytes: u32): usize {
    this.isReset = false;
    // One comparison for what is rare: no bytes at all, and more than the limit.
    if (bytes - 1 >= this.chunkLimit) return allocRare(this, bytes);
    const index = AllocSet.classOf(bytes);
    const free = this.freeList(index);
    if (free != 0) {
      if (CHECKING) Shadow.demandIntact(free + CHUNK_HEADER_BYTES, AllocSet.chunkBytes(index));
      this.setFreeList(index, AllocSet.nextFree(free));
      if (CHECKING) Shadow.give(free + CHUNK_HEADER_BYTES, bytes, AllocSet.chunkBytes(index));
      return free + CHUNK_HEADER_BYTES;
    }
    const block = this.blocks;
    const header = block.free;
    const need = AllocSet.chunkBytes(index) + CHUNK_HEADER_BYTES;
    if (<u32>(block.end - header) >= need) {
      block.free = header + need;
      ChunkHeader.at(header).setSmall(KIND_ASET, index, <u32>(header - block.address));
      if (CHECKING) Shadow.give(header + CHUNK_HEADER_BYTES, bytes, need - CHUNK_HEADER_BYTES);
      return header + CHUNK_HEADER_BYTES;
    }
    return allocFromNewBlock(this, index, bytes);
  }

  /**
   * Puts a common chunk on its free list; the rest is for freeUncommon of context.ts. `chunk` is a
   * multiple of 8 within the memory. What is no chunk is refused and nothing is changed.
   */
  @inline static freeFast(chunk: usize): i32 {
    const header = ChunkHeader.of(chunk);
    const index = header.smallValueOf(KIND_ASET);
    if (index > LAST_CLASS) return freeUncommon(chunk);
    const offset = header.smallOffset;
    const block = AllocBlock.at(header.address - offset);
    if (!isInside(offset, header.address) || !block.isGenuine) return STATUS_INVALID_POINTER;
    if (CHECKING && !Shadow.isLive(chunk)) return STATUS_INVALID_POINTER;
    if (CHECKING) Shadow.demandIntact(chunk, AllocSet.chunkBytes(index));
    if (CHECKING) Shadow.free(chunk, AllocSet.chunkBytes(index));
    const set = block.set;
    AllocSet.setNextFree(header.address, set.freeList(index));
    set.setFreeList(index, header.address);
    return STATUS_OK;
  }
}

if (offsetof<AllocSet>() != ASET_CONTEXT_BYTES) ERROR("the context header is 112 bytes");
if (MIN_CHUNK << LAST_CLASS != ASET_CHUNK_LIMIT) ERROR("the last class is the chunk limit");

/** Whether a block that lies `offset` bytes below a header can be in this memory. */
function isInside(offset: u32, header: usize): bool {
  return offset - ASET_BLOCK_HEADER_BYTES <= <u32>header - ASET_BLOCK_HEADER_BYTES;
}

/** Makes a context without parent or children; 0 when there is no memory. Sizes are valid. */
export function createAset(minSize: u32, initSize: u32, maxSize: u32): AllocSet | null {
  const init = Align.max(initSize);
  const max = Align.max(maxSize);
  const first = minSize == 0 ? init : Align.max(minSize);
  const keep = keepListFor(minSize, init);
  const kept = takeKept(keep);
  if (kept !== null) {
    kept.maxBlockSize = max;
    kept.keeper.sign();
    kept.initialize(KIND_ASET);
    kept.memAllocated = <u32>(kept.keeper.end - kept.address);
    return kept;
  }
  const set = AllocSet.at(requestBlock(first));
  if (set.address == 0) return null;
  set.keeper.open(set, set.address + first);
  set.blocks = set.keeper;
  clearFreeLists(set);
  set.initBlockSize = init;
  set.maxBlockSize = max;
  set.nextBlockSize = init;
  set.chunkLimit = chunkLimitFor(max);
  set.keepList = keep;
  set.initialize(KIND_ASET);
  set.memAllocated = first;
  return set;
}

/** Largest class of which ASET_CHUNK_FRACTION chunks fit into the largest block. */
function chunkLimitFor(max: u32): u32 {
  const share = (max - ASET_BLOCK_HEADER_BYTES) / ASET_CHUNK_FRACTION;
  let limit: u32 = ASET_CHUNK_LIMIT;
  while (limit + CHUNK_HEADER_BYTES > share) limit >>= 1;
  return limit;
}

function clearFreeLists(set: AllocSet): void {
  for (let index: u32 = 0; index < <u32>ASET_FREELISTS; index += 1) set.setFreeList(index, 0);
}

/** A chunk for no bytes, which is of the least class, or one above the limit. */
function allocRare(set: AllocSet, bytes: u32): usize {
  if (bytes != 0) return allocDedicatedUpTo(set, bytes, <u32>MAX_ALLOC_BYTES);
  const chunk = set.allocFast(1);
  if (CHECKING && chunk != 0) Shadow.resize(chunk, 0, MIN_CHUNK);
  return chunk;
}

/** A chunk alone on a block of its own, placed second; 0 above the limit of the request. */
export function allocDedicatedUpTo(set: AllocSet, bytes: u32, limit: u32): usize {
  if (bytes > limit) return 0;
  const size = Align.max(bytes) + DEDICATED_OVERHEAD;
  const at = requestFor(set, size);
  if (at == 0) return 0;
  const block = AllocBlock.at(at);
  block.open(set, at + size);
  block.free = block.end;
  ChunkHeader.at(block.start).setExternal(KIND_ASET);
  linkSecond(set, block);
  set.memAllocated += size;
  const chunk = ChunkHeader.at(block.start).chunk;
  if (CHECKING) Shadow.give(chunk, bytes, <u32>(block.end - chunk));
  return chunk;
}

function linkSecond(set: AllocSet, block: AllocBlock): void {
  const head = set.blocks;
  const second = head.next;
  block.previous = head;
  block.next = second;
  head.next = block;
  if (second !== null) second.previous = block;
}

/** Carves what is left of the head, takes a block and cuts the chunk from it. */
function allocFromNewBlock(set: AllocSet, index: u32, bytes: u32): usize {
  carve(set, set.blocks);
  let size = set.nextBlockSize;
  set.nextBlockSize = min(size << 1, set.maxBlockSize);
  const need = AllocSet.chunkBytes(index) + CHUNK_HEADER_BYTES;
  const required = need + ASET_BLOCK_HEADER_BYTES;
  while (size < required) size <<= 1;
  let at = requestFor(set, size);
  while (at == 0 && size > <u32>ASET_BACKOFF_BYTES) {
    size >>= 1;
    if (size < required) break;
    at = requestFor(set, size);
  }
  if (at == 0) return 0;
  const block = AllocBlock.at(at);
  block.open(set, at + size);
  linkFirst(set, block);
  set.memAllocated += size;
  const header = ChunkHeader.at(block.start);
  block.free = block.start + need;
  header.setSmall(KIND_ASET, index, ASET_BLOCK_HEADER_BYTES);
  if (CHECKING) Shadow.give(header.chunk, bytes, AllocSet.chunkBytes(index));
  return header.chunk;
}

function linkFirst(set: AllocSet, block: AllocBlock): void {
  const head = set.blocks;
  block.next = head;
  head.previous = block;
  set.blocks = block;
}

/** Cuts the rest of a block into free chunks, the largest that fits first: ten at most. */
function carve(set: AllocSet, block: AllocBlock): void {
  while (<u32>(block.end - block.free) >= MIN_CHUNK + CHUNK_HEADER_BYTES) {
    const room = <u32>(block.end - block.free) - CHUNK_HEADER_BYTES;
    const index = min<u32>(Align.floorLog2(room) - ASET_MIN_CHUNK_SHIFT, LAST_CLASS);
    const header = ChunkHeader.at(block.free);
    header.setSmall(KIND_ASET, index, <u32>(block.free - block.address));
    if (CHECKING) Shadow.free(header.chunk, AllocSet.chunkBytes(index));
    AllocSet.setNextFree(header.address, set.freeList(index));
    set.setFreeList(index, header.address);
    block.free += AllocSet.chunkBytes(index) + CHUNK_HEADER_BYTES;
  }
}

/** The block of a header that says it is a chunk of ours, or null if that is not so. */
export function genuineBlockOf(header: ChunkHeader): AllocBlock | null {
  const external = header.isExternalOf(KIND_ASET);
  if (!external && header.smallValueOf(KIND_ASET) > LAST_CLASS) return null;
  const offset: u32 = external ? ASET_BLOCK_HEADER_BYTES : header.smallOffset;
  if (!isInside(offset, header.address)) return null;
  const block = AllocBlock.at(header.address - offset);
  if (!block.isGenuine || block.isDedicated != external) return null;
  if (CHECKING && !Shadow.isLive(header.chunk)) return null;
  return block;
}

/** Frees a chunk whose block genuineBlockOf found; the uncommon way of AllocSet.freeFast. */
export function freeGenuine(block: AllocBlock, header: ChunkHeader): void {
  if (header.isExternal) {
    freeDedicated(block);
    return;
  }
  const index = header.value;
  if (CHECKING) demandIntact(block, header);
  if (CHECKING) Shadow.free(header.chunk, AllocSet.chunkBytes(index));
  AllocSet.setNextFree(header.address, block.set.freeList(index));
  block.set.setFreeList(index, header.address);
}

/** Gives back the block of a dedicated chunk that genuineBlockOf found. */
export function freeDedicated(block: AllocBlock): void {
  const set = block.set;
  if (CHECKING) demandIntact(block, ChunkHeader.at(block.start));
  if (CHECKING) invariant(block !== set.blocks, PANIC_BLOCK_HEADER);
  const previous = block.previous;
  const next = block.next;
  if (previous !== null) previous.next = next;
  if (next !== null) next.previous = previous;
  set.memAllocated -= block.size;
  block.unsign();
  returnBlock(block.address, block.size);
}

function demandIntact(block: AllocBlock, header: ChunkHeader): void {
  Shadow.demandIntact(header.chunk, chunkCapacity(block, header));
}

/** Bytes that a chunk of this block can hold. */
export function chunkCapacity(block: AllocBlock, header: ChunkHeader): u32 {
  if (header.isExternal) return <u32>(block.end - header.chunk);
  return AllocSet.chunkBytes(header.value);
}

/** Makes a chunk of ours `bytes` long; 0 when that fails, and then the chunk is as before. */
export function reallocAset(block: AllocBlock, header: ChunkHeader, bytes: u32, limit: u32): usize {
  if (CHECKING) demandIntact(block, header);
  if (header.isExternal) return reallocDedicated(block, bytes, limit);
  const capacity = chunkCapacity(block, header);
  if (bytes <= capacity) {
    if (CHECKING) Shadow.resize(header.chunk, bytes, capacity);
    return header.chunk;
  }
  const moved = allocAset(block.set, bytes, limit);
  if (moved == 0) return 0;
  memory.copy(moved, header.chunk, keptBytes(header.chunk, capacity));
  AllocSet.freeFast(header.chunk);
  return moved;
}

/**
 * What a move copies: all the chunk holds; in checked builds what was asked for, slack left out.
 */
export function keptBytes(chunk: usize, capacity: u32): u32 {
  if (CHECKING) return Shadow.requested(chunk);
  return capacity;
}

function reallocDedicated(block: AllocBlock, bytes: u32, limit: u32): usize {
  if (bytes > limit) return 0;
  const set = block.set;
  const oldSize = block.size;
  const newSize = Align.max(bytes) + DEDICATED_OVERHEAD;
  if (newSize > oldSize && !admits(set, newSize - oldSize)) return 0;
  block.unsign();
  const at = resizeBlock(block.address, oldSize, newSize);
  if (at == 0) {
    block.sign();
    return 0;
  }
  const moved = AllocBlock.at(at);
  moved.end = at + newSize;
  moved.free = moved.end;
  moved.sign();
  const previous = moved.previous;
  const next = moved.next;
  if (previous !== null) previous.next = moved;
  if (next !== null) next.previous = moved;
  set.memAllocated += newSize - oldSize;
  const chunk = ChunkHeader.at(moved.start).chunk;
  if (CHECKING) Shadow.resize(chunk, bytes, <u32>(moved.end - chunk));
  return chunk;
}

/** A chunk with a limit other than the usual one; 0 on failure. */
export function allocAset(set: AllocSet, bytes: u32, limit: u32): usize {
  if (bytes <= set.chunkLimit) return set.allocFast(bytes);
  set.isReset = false;
  return allocDedicatedUpTo(set, bytes, limit);
}

/** Forgets every chunk: all blocks but the keeper go back, the next one is of the first size. */
export function resetAset(set: AllocSet): void {
  clearFreeLists(set);
  const keeper = set.keeper;
  let block: AllocBlock | null = set.blocks;
  while (block !== null) {
    const next: AllocBlock | null = block.next;
    if (block !== keeper) {
      set.memAllocated -= block.size;
      block.unsign();
      returnBlock(block.address, block.size);
    }
    block = next;
  }
  if (CHECKING) Shadow.wipe(keeper.start, <u32>(keeper.end - keeper.start));
  keeper.open(set, keeper.end);
  set.blocks = keeper;
  set.nextBlockSize = set.initBlockSize;
}

/** Ends the context: kept for reuse if it is of a usual size, else given back whole. */
export function deleteAset(set: AllocSet): void {
  if (CHECKING) invariant(set.kind == KIND_ASET, PANIC_CONTEXT_CLOSED);
  if (!set.isReset || set.keepList == KEEP_NONE) resetAset(set);
  set.kind = 0;
  set.keeper.unsign();
  if (set.keepList == KEEP_NONE) returnContext(set);
  else keepContext(set);
}

/** Adds this context's blocks and free chunks to the sums. */
export function addAsetStatistics(set: AllocSet, sums: Statistics): void {
  let total: u32 = ASET_CONTEXT_BYTES;
  let free: u32 = 0;
  let block: AllocBlock | null = set.blocks;
  while (block !== null) {
    sums.blocks += 1;
    total += block.size;
    free += <u32>(block.end - block.free);
    block = block.next;
  }
  for (let index: u32 = 0; index < <u32>ASET_FREELISTS; index += 1) {
    let header = set.freeList(index);
    while (header != 0) {
      sums.freeChunks += 1;
      free += AllocSet.chunkBytes(index) + CHUNK_HEADER_BYTES;
      header = AllocSet.nextFree(header);
    }
  }
  sums.totalBytes += total;
  sums.freeBytes += free;
}
