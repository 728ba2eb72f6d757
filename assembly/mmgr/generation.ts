// Chunks that die in the order they were born, or in groups.
//
// Chunks are cut from the active block one behind the other, at their own size, and a freed chunk
// is only counted: there is no free list. When every chunk of a block has been freed the block is
// empty and goes back, but for three: the keeper, the active block, and one spare, which is the
// next active block if a request fits. The rest of a block that is left for another is abandoned
// until it empties; the keeper, once left, is not used again before a reset.
//
//   context (80)
//  ┌────────┬──────────┬────────┬───────┬────────┐
//  │ common │ sizes ×4 │ active │ spare │ blocks │
//  └────────┴──────────┴────────┴───────┴────────┘
//  0        44         60       64      68
//
//   block header (32)
//  ┌──────────┬──────┬─────┬──────┬────────┬───────┬──────┬─────┐
//  │ previous │ next │ set │ mark │ chunks │ freed │ free │ end │
//  └──────────┴──────┴─────┴──────┴────────┴───────┴──────┴─────┘
//  0          4      8     12     16       20      24     28
//
// A freed chunk's space counts as used until its block empties; PostgreSQL's numbers do so, too.
//
// PostgreSQL: src/backend/utils/mmgr/generation.c

import { Align } from "../common/align";
import { invariant } from "../common/check";
import {
  CHUNK_HEADER_BYTES,
  CHUNK_MAX_VALUE,
  GENERATION_BLOCK_HEADER_BYTES,
  GENERATION_CHUNK_FRACTION,
  GENERATION_CONTEXT_BYTES,
  KIND_GENERATION,
  PANIC_BLOCK_HEADER,
  STATUS_INVALID_POINTER,
  STATUS_OK,
} from "../common/constants";
import { keptBytes } from "./aset";
import { requestBlock, returnBlock } from "./blocks";
import { requestFor } from "./ceiling";
import { ChunkHeader } from "./chunk";
import { MemoryContext } from "./context";
import { Statistics } from "./header";
import { Shadow } from "./shadow";

/** Each live block header carries its own address under this pattern. */
const BLOCK_MARK: usize = 0x47e4b10c;
const DEDICATED_OVERHEAD: u32 = GENERATION_BLOCK_HEADER_BYTES + CHUNK_HEADER_BYTES;

/** The header of a block. */
@unmanaged
export class GenerationBlock {
  previous: GenerationBlock | null;
  next: GenerationBlock | null;
  set: Generation;
  private mark: usize;
  /** Chunks cut since the block was last empty, and how many of them were freed. */
  chunks: u32;
  freed: u32;
  /** Where the next chunk is cut; equal to `end` in a dedicated block. */
  free: usize;
  end: usize;

  @inline static at(address: usize): GenerationBlock {
    return changetype<GenerationBlock>(address);
  }

  @inline get address(): usize {
    return changetype<usize>(this);
  }

  @inline get start(): usize {
    return changetype<usize>(this) + GENERATION_BLOCK_HEADER_BYTES;
  }

  @inline get size(): u32 {
    return <u32>(this.end - changetype<usize>(this));
  }

  @inline get room(): u32 {
    return <u32>(this.end - this.free);
  }

  /** Whether a block of some living context begins here. */
  @inline get isGenuine(): bool {
    return this.mark == (changetype<usize>(this) ^ BLOCK_MARK);
  }

  @inline get isDedicated(): bool {
    return this.free == this.end && ChunkHeader.at(this.start).isExternalOf(KIND_GENERATION);
  }

  @inline unsign(): void {
    this.mark = 0;
  }

  /** Makes this the empty block of `set` that ends at `end`, in no list. */
  open(set: Generation, end: usize): void {
    this.set = set;
    this.end = end;
    this.mark = changetype<usize>(this) ^ BLOCK_MARK;
    this.empty();
  }

  empty(): void {
    this.chunks = 0;
    this.freed = 0;
    this.free = this.start;
    if (CHECKING) Shadow.wipe(this.start, <u32>(this.end - this.start));
  }
}

/** The header of a generation context. */
@unmanaged
export class Generation extends MemoryContext {
  initBlockSize: u32;
  maxBlockSize: u32;
  nextBlockSize: u32;
  /** Largest rounded request that is cut from a common block. */
  chunkLimit: u32;
  /** Where chunks are cut. */
  active: GenerationBlock;
  /** An empty block kept for later, or null. */
  spare: GenerationBlock | null;
  /** Head of the list of all blocks. */
  blocks: GenerationBlock | null;

  @inline static at(address: usize): Generation {
    return changetype<Generation>(address);
  }

  @inline get keeper(): GenerationBlock {
    return changetype<GenerationBlock>(this.address + GENERATION_CONTEXT_BYTES);
  }
}

if (offsetof<Generation>() > <usize>GENERATION_CONTEXT_BYTES) ERROR("80 bytes before the keeper");
if (offsetof<GenerationBlock>() != GENERATION_BLOCK_HEADER_BYTES) ERROR("32 bytes of block header");

/** Makes a context without parent or children; 0 when there is no memory. Sizes are valid. */
export function createGeneration(minSize: u32, initSize: u32, maxSize: u32): Generation | null {
  const init = Align.max(initSize);
  const max = Align.max(maxSize);
  const first = minSize == 0 ? init : Align.max(minSize);
  const set = Generation.at(requestBlock(first));
  if (set.address == 0) return null;
  set.initialize(KIND_GENERATION);
  set.initBlockSize = init;
  set.maxBlockSize = max;
  set.nextBlockSize = init;
  set.chunkLimit = chunkLimitFor(max);
  set.spare = null;
  set.blocks = null;
  set.active = set.keeper;
  set.keeper.open(set, set.address + first);
  link(set, set.keeper);
  set.memAllocated = first - GENERATION_CONTEXT_BYTES;
  return set;
}

/** Largest chunk of which GENERATION_CHUNK_FRACTION fit into the largest block. */
function chunkLimitFor(max: u32): u32 {
  const share = (max - GENERATION_BLOCK_HEADER_BYTES) / GENERATION_CHUNK_FRACTION;
  let limit = min<u32>(max, CHUNK_MAX_VALUE);
  while (limit + CHUNK_HEADER_BYTES > share) limit >>= 1;
  return limit;
}

/** A chunk of `bytes`, which is at most `limit`; 0 on failure. */
export function allocGeneration(set: Generation, bytes: u32, limit: u32): usize {
  // Refused before rounding: within seven of 2^32 the sum would wrap to a tiny size.
  if (bytes > limit) return 0;
  const size = Align.max(bytes);
  if (size > set.chunkLimit) return allocDedicated(set, bytes, size);
  const need = size + CHUNK_HEADER_BYTES;
  if (set.active.room < need && !activate(set, need)) return 0;
  const block = set.active;
  const header = ChunkHeader.at(block.free);
  header.setSmall(KIND_GENERATION, size, <u32>(block.free - block.address));
  block.free += need;
  block.chunks += 1;
  if (CHECKING) Shadow.give(header.chunk, bytes, size);
  return header.chunk;
}

/** Finds another active block with room for `need` bytes: the spare, or a new one. */
function activate(set: Generation, need: u32): bool {
  const spare = set.spare;
  if (spare !== null && spare.room >= need) {
    set.spare = null;
    set.active = spare;
    return true;
  }
  let size = set.nextBlockSize;
  set.nextBlockSize = min(size << 1, set.maxBlockSize);
  const required = need + GENERATION_BLOCK_HEADER_BYTES;
  if (required > size) size = Align.nextPowerOfTwo(required);
  const block = openBlock(set, size);
  if (block === null) return false;
  set.active = block;
  return true;
}

function openBlock(set: Generation, size: u32): GenerationBlock | null {
  const at = requestFor(set, size);
  if (at == 0) return null;
  const block = GenerationBlock.at(at);
  block.open(set, at + size);
  link(set, block);
  set.memAllocated += size;
  return block;
}

/** A chunk alone on its block; the active block stays. */
function allocDedicated(set: Generation, bytes: u32, size: u32): usize {
  const block = openBlock(set, size + DEDICATED_OVERHEAD);
  if (block === null) return 0;
  const header = ChunkHeader.at(block.start);
  header.setExternal(KIND_GENERATION);
  block.free = block.end;
  block.chunks = 1;
  if (CHECKING) Shadow.give(header.chunk, bytes, size);
  return header.chunk;
}

function link(set: Generation, block: GenerationBlock): void {
  const first = set.blocks;
  block.previous = null;
  block.next = first;
  if (first !== null) first.previous = block;
  set.blocks = block;
}

function unlink(set: Generation, block: GenerationBlock): void {
  const previous = block.previous;
  const next = block.next;
  if (previous !== null) previous.next = next;
  else set.blocks = next;
  if (next !== null) next.previous = previous;
}

/** The block of a header that says it is a chunk of a generation, or null if that is not so. */
export function generationBlockOf(header: ChunkHeader): GenerationBlock | null {
  const external = header.isExternalOf(KIND_GENERATION);
  const offset: u32 = external ? GENERATION_BLOCK_HEADER_BYTES : header.offset;
  if (!external && header.isExternal) return null;
  if (offset < <u32>GENERATION_BLOCK_HEADER_BYTES || offset > <u32>header.address) return null;
  const block = GenerationBlock.at(header.address - offset);
  if (!block.isGenuine || block.isDedicated != external) return null;
  if (header.address >= block.free || block.freed >= block.chunks) return null;
  if (!external && header.value > <u32>(block.free - header.chunk)) return null;
  if (CHECKING && !Shadow.isLive(header.chunk)) return null;
  return block;
}

/** Bytes that a chunk of this block can hold. */
export function generationCapacity(block: GenerationBlock, header: ChunkHeader): u32 {
  return header.isExternal ? <u32>(block.end - header.chunk) : header.value;
}

/** Frees a chunk; with the last one of a block the block is emptied, kept or given back. */
export function freeGeneration(chunk: usize): i32 {
  const header = ChunkHeader.of(chunk);
  const block = generationBlockOf(header);
  if (block === null) return STATUS_INVALID_POINTER;
  const capacity = generationCapacity(block, header);
  if (CHECKING) Shadow.demandIntact(chunk, capacity);
  if (CHECKING) Shadow.free(chunk, capacity);
  block.freed += 1;
  if (block.freed == block.chunks) emptied(block.set, block);
  return STATUS_OK;
}

function emptied(set: Generation, block: GenerationBlock): void {
  if (block === set.keeper || block === set.active) {
    block.empty();
  } else if (set.spare === null && block.size <= <u32>CHUNK_MAX_VALUE) {
    block.empty();
    set.spare = block;
  } else {
    unlink(set, block);
    giveBack(set, block);
  }
}

function giveBack(set: Generation, block: GenerationBlock): void {
  if (CHECKING) invariant(block !== set.keeper, PANIC_BLOCK_HEADER);
  set.memAllocated -= block.size;
  block.unsign();
  returnBlock(block.address, block.size);
}

/**
 * Makes a chunk `bytes` long; 0 when that fails, and then the chunk is as before. Never shrinks.
 */
export function reallocGeneration(
  block: GenerationBlock,
  header: ChunkHeader,
  bytes: u32,
  limit: u32,
): usize {
  const capacity = generationCapacity(block, header);
  if (CHECKING) Shadow.demandIntact(header.chunk, capacity);
  if (bytes <= capacity) {
    if (CHECKING) Shadow.resize(header.chunk, bytes, capacity);
    return header.chunk;
  }
  const moved = allocGeneration(block.set, bytes, limit);
  if (moved == 0) return 0;
  memory.copy(moved, header.chunk, keptBytes(header.chunk, capacity));
  freeGeneration(header.chunk);
  return moved;
}

/** Forgets every chunk: all blocks but the keeper go back. */
export function resetGeneration(set: Generation): void {
  set.spare = null;
  let block = set.blocks;
  while (block !== null) {
    const next: GenerationBlock | null = block.next;
    if (block !== set.keeper) giveBack(set, block);
    block = next;
  }
  set.keeper.empty();
  set.blocks = null;
  link(set, set.keeper);
  set.active = set.keeper;
  set.nextBlockSize = set.initBlockSize;
}

/** Ends the context. */
export function deleteGeneration(set: Generation): void {
  resetGeneration(set);
  set.kind = 0;
  set.keeper.unsign();
  returnBlock(set.address, <u32>(set.keeper.end - set.address));
}

/** Whether no block has a chunk: freeing everything is as good as a reset. */
export function isGenerationEmpty(set: Generation): bool {
  let block = set.blocks;
  while (block !== null) {
    if (block.chunks > 0) return false;
    block = block.next;
  }
  return true;
}

/** Adds this context's blocks to the sums. */
export function addGenerationStatistics(set: Generation, sums: Statistics): void {
  sums.totalBytes += GENERATION_CONTEXT_BYTES;
  let block = set.blocks;
  while (block !== null) {
    sums.blocks += 1;
    sums.totalBytes += block.size;
    sums.freeBytes += block.room;
    sums.freeChunks += block.freed;
    sums.chunks += block.chunks;
    block = block.next;
  }
}
