// Walks over everything: every area, every context, every block, every chunk, every free list.
//
// For tests, and for a program that suspects itself. Nothing is repaired and nothing is raised: the
// result is STATUS_OK or the code of the first thing that is wrong. Costs time in proportion to the
// memory in use.
//
// PostgreSQL: src/backend/utils/mmgr/aset.c, AllocSetCheck; mcxt.c, MemoryContextCheck

import {
  ASET_CONTEXT_BYTES,
  ASET_FREELISTS,
  CHUNK_HEADER_BYTES,
  KIND_ASET,
  KIND_BUMP,
  KIND_GENERATION,
  KIND_SLAB,
  PANIC_ACCOUNTING,
  PANIC_BLOCK_HEADER,
  PANIC_BLOCK_WALK,
  PANIC_CHUNK_HEADER,
  PANIC_CONTEXT_KIND,
  PANIC_CONTEXT_LINK,
  PANIC_FREE_LIST,
  PANIC_WRITE_AFTER_FREE,
  PANIC_WRITE_PAST_END,
  STATUS_OK,
} from "../common/constants";
import { AllocSet } from "./aset";
import { AllocBlock } from "./aset-block";
import { checkBlocks } from "./blocks";
import { Bump } from "./bump";
import { ChunkHeader } from "./chunk";
import { firstRoot, MemoryContext } from "./context";
import { Generation } from "./generation";
import { Shadow } from "./shadow";
import { Slab } from "./slab";
import { checkBump, checkGeneration, checkSlab } from "./walk-kinds";

/** Checks the block provider and every context. */
export function checkHeap(): i32 {
  let code = checkBlocks();
  let root = firstRoot();
  while (code == STATUS_OK && root !== null) {
    code = checkTree(root);
    root = root.nextSibling;
  }
  return code;
}

function checkTree(top: MemoryContext): i32 {
  let context: MemoryContext | null = top;
  while (context !== null) {
    let code = checkLinks(context);
    if (code == STATUS_OK) code = checkContext(context);
    if (code != STATUS_OK) return code;
    context = context.nextBelow(top);
  }
  return STATUS_OK;
}

function checkLinks(context: MemoryContext): i32 {
  const previous = context.previousSibling;
  const parent = context.parent;
  if (previous !== null) {
    if (previous.nextSibling !== context) return PANIC_CONTEXT_LINK;
    if (previous.parent !== parent) return PANIC_CONTEXT_LINK;
  } else if (parent !== null) {
    if (parent.firstChild !== context) return PANIC_CONTEXT_LINK;
  } else if (firstRoot() !== context) return PANIC_CONTEXT_LINK;
  return STATUS_OK;
}

function checkContext(context: MemoryContext): i32 {
  if (context.kind == KIND_ASET) return checkAset(changetype<AllocSet>(context));
  if (context.kind == KIND_GENERATION) return checkGeneration(changetype<Generation>(context));
  if (context.kind == KIND_SLAB) return checkSlab(changetype<Slab>(context));
  return context.kind == KIND_BUMP ? checkBump(changetype<Bump>(context)) : PANIC_CONTEXT_KIND;
}

/** Checks one general context: O(chunks). */
export function checkAset(set: AllocSet): i32 {
  let total: u32 = ASET_CONTEXT_BYTES;
  let chunks: u32 = 0;
  let keepers: u32 = 0;
  let previous: AllocBlock | null = null;
  let block: AllocBlock | null = set.blocks;
  while (block !== null) {
    if (!block.isGenuine || block.set !== set) return PANIC_BLOCK_HEADER;
    if (block.previous !== previous || block.free > block.end) return PANIC_BLOCK_HEADER;
    if (block === set.keeper) keepers += 1;
    const found = block.isDedicated ? checkDedicated(set, block) : checkChunks(block);
    if (found < 0) return -found;
    chunks += found;
    total += block.size;
    previous = block;
    block = block.next;
  }
  if (keepers != 1 || total != set.memAllocated) return PANIC_ACCOUNTING;
  if (set.isReset && set.blocks !== set.keeper) return PANIC_ACCOUNTING;
  return checkFreeLists(set, chunks);
}

/** Number of chunks in a dedicated block, or the negated code of what is wrong with it. */
function checkDedicated(set: AllocSet, block: AllocBlock): i32 {
  const header = ChunkHeader.at(block.start);
  if (!header.isExternalOf(KIND_ASET) || block === set.blocks) return -PANIC_CHUNK_HEADER;
  if (CHECKING && !Shadow.isLive(header.chunk)) return -PANIC_CHUNK_HEADER;
  if (CHECKING && !Shadow.hasSlack(header.chunk, <u32>(block.end - header.chunk))) {
    return -PANIC_WRITE_PAST_END;
  }
  return 1;
}

/** Number of chunks cut from a common block, or the negated code of what is wrong with it. */
function checkChunks(block: AllocBlock): i32 {
  let chunks = 0;
  let at = block.start;
  while (at < block.free) {
    const header = ChunkHeader.at(at);
    const index = header.smallValueOf(KIND_ASET);
    if (index >= <u32>ASET_FREELISTS) return -PANIC_CHUNK_HEADER;
    if (header.smallOffset != <u32>(at - block.address)) return -PANIC_CHUNK_HEADER;
    if (CHECKING) {
      const code = checkShadow(header.chunk, AllocSet.chunkBytes(index));
      if (code != STATUS_OK) return -code;
    }
    chunks += 1;
    at += CHUNK_HEADER_BYTES + AllocSet.chunkBytes(index);
  }
  return at == block.free ? chunks : -PANIC_BLOCK_WALK;
}

function checkShadow(chunk: usize, capacity: u32): i32 {
  if (Shadow.isLive(chunk))
    return Shadow.hasSlack(chunk, capacity) ? STATUS_OK : PANIC_WRITE_PAST_END;
  if (!Shadow.isFreed(chunk)) return PANIC_CHUNK_HEADER;
  return Shadow.isWiped(chunk, capacity) ? STATUS_OK : PANIC_WRITE_AFTER_FREE;
}

/** Checks that the lists hold chunks of their class and of this context, and end. */
function checkFreeLists(set: AllocSet, chunks: u32): i32 {
  let free: u32 = 0;
  for (let index: u32 = 0; index < <u32>ASET_FREELISTS; index += 1) {
    let at = set.freeList(index);
    while (at != 0) {
      const header = ChunkHeader.at(at);
      if (header.smallValueOf(KIND_ASET) != index) return PANIC_FREE_LIST;
      const block = AllocBlock.at(at - header.smallOffset);
      if (!block.isGenuine || block.set !== set || at >= block.free) return PANIC_FREE_LIST;
      if (CHECKING && !Shadow.isFreed(header.chunk)) return PANIC_FREE_LIST;
      free += 1;
      if (free > chunks) return PANIC_FREE_LIST;
      at = AllocSet.nextFree(at);
    }
  }
  return STATUS_OK;
}
