// Chunks of one size: the fullest block is filled first, so that sparse ones drain and can go back.
//
// Blocks with room stand in one of two lists by how much room they have, full ones in a third; an
// allocation takes from the first list that has any. A block whose chunks are all free is kept
// aside, ten at most, and is what the next block is made of. There is no keeper: an unused context
// holds its header alone.
//
//   context (104)
//  ┌────────┬──────────┬─────────────┬───────┬───────┬────────────────┐
//  │ common │ sizes ×6 │ empty count │ empty │ spare │ lists by room  │
//  └────────┴──────────┴─────────────┴───────┴───────┴────────────────┘
//  0        44         68            72      76      80
//
//   block header (32)
//  ┌─────┬────────────┬──────────────┬───────────┬────────┬──────────┬──────┬──────┐
//  │ set │ free count │ unused count │ free head │ unused │ previous │ next │ mark │
//  └─────┴────────────┴──────────────┴───────────┴────────┴──────────┴──────┴──────┘
//  0     4            8              12          16       20         24     28
//
//   list = ceil(free chunks / 2^shift), with the shift for which that is at most 2
//
// PostgreSQL: src/backend/utils/mmgr/slab.c

import { Align } from "../common/align";
import {
  CHUNK_HEADER_BYTES,
  KIND_SLAB,
  SLAB_BLOCK_HEADER_BYTES,
  SLAB_CONTEXT_BYTES,
  SLAB_LISTS,
  SLAB_MAX_EMPTY_BLOCKS,
  SLAB_MIN_CHUNK_BYTES,
  STATUS_INVALID_POINTER,
  STATUS_OK,
} from "../common/constants";
import { requestBlock, returnBlock } from "./blocks";
import { requestFor } from "./ceiling";
import { ChunkHeader } from "./chunk";
import { MemoryContext } from "./context";
import { Statistics } from "./header";
import { Shadow } from "./shadow";

/** Each live block header carries its own address under this pattern. */
const BLOCK_MARK: usize = 0x51abb10c;

/** The header of a block. */
@unmanaged
export class SlabBlock {
  set: Slab;
  /** Free chunks: those on the list and those never used. */
  freeCount: u32;
  unusedCount: u32;
  /** First of the freed chunks, linked by header addresses in their first word; or 0. */
  freeHead: usize;
  /** Header of the first chunk that was never used. */
  unused: usize;
  previous: SlabBlock | null;
  next: SlabBlock | null;
  private mark: usize;

  @inline static at(address: usize): SlabBlock {
    return changetype<SlabBlock>(address);
  }

  @inline get address(): usize {
    return changetype<usize>(this);
  }

  @inline get start(): usize {
    return changetype<usize>(this) + SLAB_BLOCK_HEADER_BYTES;
  }

  @inline get isGenuine(): bool {
    return this.mark == (changetype<usize>(this) ^ BLOCK_MARK);
  }

  @inline sign(): void {
    this.mark = changetype<usize>(this) ^ BLOCK_MARK;
  }

  @inline unsign(): void {
    this.mark = 0;
  }
}

/** The header of a slab context. */
@unmanaged
export class Slab extends MemoryContext {
  /** The only size that may be asked for. */
  chunkSize: u32;
  /** What a chunk takes: header and rounding included. */
  fullSize: u32;
  blockSize: u32;
  chunksPerBlock: u32;
  /** The list allocations take from: the lowest with room that is not empty; 0 if there is none. */
  current: u32;
  shift: u32;
  emptyCount: u32;
  /** Blocks that are all free, the last one emptied first. */
  empty: SlabBlock | null;
  private spare: u32;
  /** Heads of the lists by room; list 0 holds the full blocks. */
  private list0: SlabBlock | null;
  private list1: SlabBlock | null;
  private list2: SlabBlock | null;

  @inline static at(address: usize): Slab {
    return changetype<Slab>(address);
  }

  @inline list(index: u32): SlabBlock | null {
    return load<SlabBlock | null>(this.address + ((<usize>index) << 2), offsetof<Slab>("list0"));
  }

  @inline setList(index: u32, block: SlabBlock | null): void {
    store<SlabBlock | null>(this.address + ((<usize>index) << 2), block, offsetof<Slab>("list0"));
  }

  /** The list that a block with so many free chunks belongs to. */
  @inline listOf(freeCount: u32): u32 {
    return <u32>-(-(<i32>freeCount) >> <i32>this.shift);
  }

  @inline get capacity(): u32 {
    return this.fullSize - CHUNK_HEADER_BYTES;
  }
}

if (offsetof<Slab>() > <usize>SLAB_CONTEXT_BYTES) ERROR("the context header is 104 bytes");
if (offsetof<SlabBlock>() != SLAB_BLOCK_HEADER_BYTES) ERROR("the block header is 32 bytes");

/** How many chunks a block would have; 0 if not one fits. */
export function slabChunksPerBlock(blockSize: u32, chunkSize: u32): u32 {
  if (blockSize < <u32>SLAB_BLOCK_HEADER_BYTES) return 0;
  const full = CHUNK_HEADER_BYTES + Align.max(max<u32>(chunkSize, SLAB_MIN_CHUNK_BYTES));
  return (blockSize - SLAB_BLOCK_HEADER_BYTES) / full;
}

/** Makes a context without parent, children or blocks; null when there is no memory. */
export function createSlab(blockSize: u32, chunkSize: u32): Slab | null {
  const set = Slab.at(requestBlock(SLAB_CONTEXT_BYTES));
  if (set.address == 0) return null;
  set.initialize(KIND_SLAB);
  set.chunkSize = max<u32>(chunkSize, SLAB_MIN_CHUNK_BYTES);
  set.fullSize = CHUNK_HEADER_BYTES + Align.max(set.chunkSize);
  set.blockSize = blockSize;
  set.chunksPerBlock = slabChunksPerBlock(blockSize, chunkSize);
  set.shift = 0;
  while (set.chunksPerBlock >> set.shift >= <u32>SLAB_LISTS - 1) set.shift += 1;
  set.current = 0;
  set.empty = null;
  set.emptyCount = 0;
  for (let index: u32 = 0; index < <u32>SLAB_LISTS; index += 1) set.setList(index, null);
  return set;
}

/** A chunk; 0 on failure. The caller has seen that the size is the context's. */
export function allocSlab(set: Slab): usize {
  const block = set.current > 0 ? set.list(set.current) : takeBlock(set);
  if (block === null) return 0;
  const header = takeChunk(set, block);
  const index = set.listOf(block.freeCount);
  if (set.current == 0) {
    push(set, index, block);
    set.current = index;
  } else if (index != set.current) {
    remove(set, set.current, block);
    push(set, index, block);
    if (set.list(set.current) === null) set.current = firstWithRoom(set);
  }
  header.set(KIND_SLAB, Align.max(set.chunkSize), <u32>(header.address - block.address));
  if (CHECKING) Shadow.give(header.chunk, set.chunkSize, set.capacity);
  return header.chunk;
}

/** A block all of whose chunks are free, in no list: the one emptied last, or a new one. */
function takeBlock(set: Slab): SlabBlock | null {
  const kept = set.empty;
  if (kept !== null) {
    set.empty = kept.next;
    set.emptyCount -= 1;
    return kept;
  }
  const at = requestFor(set, set.blockSize);
  if (at == 0) return null;
  const block = SlabBlock.at(at);
  block.set = set;
  block.freeCount = set.chunksPerBlock;
  block.unusedCount = set.chunksPerBlock;
  block.freeHead = 0;
  block.unused = block.start;
  block.sign();
  set.memAllocated += set.blockSize;
  return block;
}

/** Takes the chunk freed last, else the next that was never used. */
function takeChunk(set: Slab, block: SlabBlock): ChunkHeader {
  const freed = block.freeHead;
  block.freeCount -= 1;
  if (freed != 0) {
    const header = ChunkHeader.at(freed);
    if (CHECKING) Shadow.demandIntact(header.chunk, set.capacity);
    block.freeHead = load<usize>(header.chunk);
    return header;
  }
  const header = ChunkHeader.at(block.unused);
  block.unused += set.fullSize;
  block.unusedCount -= 1;
  return header;
}

/** The lowest list with room that has a block; 0 if there is none. */
function firstWithRoom(set: Slab): u32 {
  for (let index: u32 = 1; index < <u32>SLAB_LISTS; index += 1) {
    if (set.list(index) !== null) return index;
  }
  return 0;
}

function push(set: Slab, index: u32, block: SlabBlock): void {
  const first = set.list(index);
  block.previous = null;
  block.next = first;
  if (first !== null) first.previous = block;
  set.setList(index, block);
}

function remove(set: Slab, index: u32, block: SlabBlock): void {
  const previous = block.previous;
  const next = block.next;
  if (previous !== null) previous.next = next;
  else set.setList(index, next);
  if (next !== null) next.previous = previous;
}

/** The block of a header that says it is a chunk of a slab, or null if that is not so. */
export function slabBlockOf(header: ChunkHeader): SlabBlock | null {
  const offset = header.offset;
  if (header.isExternal || offset > <u32>header.address) return null;
  const block = SlabBlock.at(header.address - offset);
  if (offset < <u32>SLAB_BLOCK_HEADER_BYTES || !block.isGenuine) return null;
  if (header.address >= block.unused) return null;
  const set = block.set;
  if ((offset - SLAB_BLOCK_HEADER_BYTES) % set.fullSize != 0) return null;
  if (block.freeCount >= set.chunksPerBlock) return null;
  if (CHECKING && !Shadow.isLive(header.chunk)) return null;
  return block;
}

/** Frees a chunk; a block that is all free then is kept aside or given back. */
export function freeSlab(chunk: usize): i32 {
  const header = ChunkHeader.of(chunk);
  const block = slabBlockOf(header);
  if (block === null) return STATUS_INVALID_POINTER;
  const set = block.set;
  if (CHECKING) Shadow.demandIntact(chunk, set.capacity);
  if (CHECKING) Shadow.free(chunk, set.capacity);
  store<usize>(chunk, block.freeHead);
  block.freeHead = header.address;
  const old = set.listOf(block.freeCount);
  block.freeCount += 1;
  const index = set.listOf(block.freeCount);
  if (index != old) {
    remove(set, old, block);
    push(set, index, block);
    if (set.current >= old) set.current = firstWithRoom(set);
  }
  if (block.freeCount == set.chunksPerBlock) emptied(set, index, block);
  return STATUS_OK;
}

function emptied(set: Slab, index: u32, block: SlabBlock): void {
  remove(set, index, block);
  if (set.emptyCount < <u32>SLAB_MAX_EMPTY_BLOCKS) {
    block.next = set.empty;
    set.empty = block;
    set.emptyCount += 1;
  } else {
    giveBack(set, block);
  }
  if (set.current == index && set.list(index) === null) set.current = firstWithRoom(set);
}

function giveBack(set: Slab, block: SlabBlock): void {
  set.memAllocated -= set.blockSize;
  block.unsign();
  if (CHECKING) Shadow.forget(block.start, set.blockSize - SLAB_BLOCK_HEADER_BYTES);
  returnBlock(block.address, set.blockSize);
}

/** Gives back every block, the empty ones included. */
export function resetSlab(set: Slab): void {
  giveBackAll(set, set.empty);
  set.empty = null;
  set.emptyCount = 0;
  for (let index: u32 = 0; index < <u32>SLAB_LISTS; index += 1) {
    giveBackAll(set, set.list(index));
    set.setList(index, null);
  }
  set.current = 0;
}

function giveBackAll(set: Slab, first: SlabBlock | null): void {
  let block = first;
  while (block !== null) {
    const next: SlabBlock | null = block.next;
    giveBack(set, block);
    block = next;
  }
}

/** Ends the context. */
export function deleteSlab(set: Slab): void {
  resetSlab(set);
  set.kind = 0;
  returnBlock(set.address, SLAB_CONTEXT_BYTES);
}

/** Adds this context's blocks to the sums; empty ones count as bytes, not as blocks. */
export function addSlabStatistics(set: Slab, sums: Statistics): void {
  sums.totalBytes += SLAB_CONTEXT_BYTES + set.emptyCount * set.blockSize;
  sums.emptyBlocks += set.emptyCount;
  for (let index: u32 = 0; index < <u32>SLAB_LISTS; index += 1) {
    let block = set.list(index);
    while (block !== null) {
      sums.blocks += 1;
      sums.totalBytes += set.blockSize;
      sums.freeBytes += block.freeCount * set.fullSize;
      sums.freeChunks += block.freeCount;
      block = block.next;
    }
  }
}
