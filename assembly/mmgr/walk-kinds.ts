// The heap walk of generation, slab and bump contexts; walk.ts says what it is for. Each returns
// STATUS_OK or the code of the first thing that is wrong, and costs time in proportion to the
// chunks.
//
// PostgreSQL: src/backend/utils/mmgr/generation.c, GenerationCheck; slab.c, SlabCheck; bump.c,
// BumpCheck

import {
  CHUNK_HEADER_BYTES,
  KIND_GENERATION,
  KIND_SLAB,
  PANIC_ACCOUNTING,
  PANIC_BLOCK_HEADER,
  PANIC_BLOCK_WALK,
  PANIC_CHUNK_HEADER,
  PANIC_FREE_LIST,
  PANIC_WRITE_AFTER_FREE,
  PANIC_WRITE_PAST_END,
  SLAB_LISTS,
  STATUS_OK,
} from "../common/constants";
import { Bump, BumpBlock } from "./bump";
import { ChunkHeader } from "./chunk";
import { Generation, GenerationBlock } from "./generation";
import { Shadow } from "./shadow";
import { Slab, SlabBlock } from "./slab";

/** Checks one generation context. */
export function checkGeneration(set: Generation): i32 {
  let total: u32 = 0;
  let found: u32 = 0;
  let previous: GenerationBlock | null = null;
  let block = set.blocks;
  while (block !== null) {
    if (!block.isGenuine || block.set !== set || block.previous !== previous) {
      return PANIC_BLOCK_HEADER;
    }
    if (block.free > block.end || block.freed > block.chunks) return PANIC_BLOCK_HEADER;
    if (block === set.keeper || block === set.active || block === set.spare) found += 1;
    const code = checkGenerationChunks(block);
    if (code != STATUS_OK) return code;
    total += block.size;
    previous = block;
    block = block.next;
  }
  const expected: u32 = 1 + u32(set.active !== set.keeper) + u32(set.spare !== null);
  return found == expected && total == set.memAllocated ? STATUS_OK : PANIC_ACCOUNTING;
}

function checkGenerationChunks(block: GenerationBlock): i32 {
  if (block.isDedicated) return block.chunks == 1 ? STATUS_OK : PANIC_ACCOUNTING;
  let chunks: u32 = 0;
  let at = block.start;
  while (at < block.free) {
    const header = ChunkHeader.at(at);
    if (header.kind != KIND_GENERATION || header.isExternal) return PANIC_CHUNK_HEADER;
    if (header.offset != <u32>(at - block.address)) return PANIC_CHUNK_HEADER;
    if (CHECKING) {
      const code = checkShadow(header.chunk, header.value);
      if (code != STATUS_OK) return code;
    }
    chunks += 1;
    at += CHUNK_HEADER_BYTES + header.value;
  }
  return at == block.free && chunks == block.chunks ? STATUS_OK : PANIC_BLOCK_WALK;
}

function checkShadow(chunk: usize, capacity: u32): i32 {
  if (Shadow.isLive(chunk)) {
    return Shadow.hasSlack(chunk, capacity) ? STATUS_OK : PANIC_WRITE_PAST_END;
  }
  if (!Shadow.isFreed(chunk)) return PANIC_CHUNK_HEADER;
  return Shadow.isWiped(chunk, capacity) ? STATUS_OK : PANIC_WRITE_AFTER_FREE;
}

/** Checks one slab context. */
export function checkSlab(set: Slab): i32 {
  let blocks: u32 = 0;
  for (let index: u32 = 0; index < <u32>SLAB_LISTS; index += 1) {
    let previous: SlabBlock | null = null;
    let block = set.list(index);
    while (block !== null) {
      if (block.previous !== previous || set.listOf(block.freeCount) != index) {
        return PANIC_BLOCK_HEADER;
      }
      const code = checkSlabBlock(set, block);
      if (code != STATUS_OK) return code;
      blocks += 1;
      previous = block;
      block = block.next;
    }
  }
  return checkEmptyBlocks(set, blocks);
}

function checkEmptyBlocks(set: Slab, blocks: u32): i32 {
  let empty: u32 = 0;
  let block = set.empty;
  while (block !== null) {
    const code = checkSlabBlock(set, block);
    if (code != STATUS_OK || block.freeCount != set.chunksPerBlock) return PANIC_FREE_LIST;
    empty += 1;
    block = block.next;
  }
  if (empty != set.emptyCount) return PANIC_ACCOUNTING;
  return (blocks + empty) * set.blockSize == set.memAllocated ? STATUS_OK : PANIC_ACCOUNTING;
}

function checkSlabBlock(set: Slab, block: SlabBlock): i32 {
  if (!block.isGenuine || block.set !== set) return PANIC_BLOCK_HEADER;
  const used = set.chunksPerBlock - block.unusedCount;
  if (block.unused != block.start + used * set.fullSize) return PANIC_BLOCK_WALK;
  for (let at = block.start; at < block.unused; at += set.fullSize) {
    const header = ChunkHeader.at(at);
    if (header.kind != KIND_SLAB || header.offset != <u32>(at - block.address)) {
      return PANIC_CHUNK_HEADER;
    }
    if (CHECKING) {
      const code = checkShadow(header.chunk, set.capacity);
      if (code != STATUS_OK) return code;
    }
  }
  return checkSlabList(block);
}

function checkSlabList(block: SlabBlock): i32 {
  let free = block.unusedCount;
  let at = block.freeHead;
  while (at != 0) {
    if (at < block.start || at >= block.unused) return PANIC_FREE_LIST;
    free += 1;
    if (free > block.freeCount) return PANIC_FREE_LIST;
    at = load<usize>(ChunkHeader.at(at).chunk);
  }
  return free == block.freeCount ? STATUS_OK : PANIC_FREE_LIST;
}

/** Checks one bump context: its blocks, since nothing is known of its chunks. */
export function checkBump(set: Bump): i32 {
  let total: u32 = <u32>(set.keeper.address - set.address);
  let keepers: u32 = 0;
  let previous: BumpBlock | null = null;
  let block: BumpBlock | null = set.first;
  while (block !== null) {
    if (block.previous !== previous || block.free > block.end) return PANIC_BLOCK_HEADER;
    if (block === set.keeper) keepers += 1;
    total += block.size;
    previous = block;
    block = block.next;
  }
  if (previous !== set.last || keepers != 1) return PANIC_BLOCK_HEADER;
  return total == set.memAllocated ? STATUS_OK : PANIC_ACCOUNTING;
}
