// Chunks that are never freed one by one: an arena. A chunk has no header, so that nothing is lost
// between chunks but rounding, and nothing is known of a chunk but that it is somewhere in here.
//
// Chunks are cut from the head block one behind the other; a block that cannot serve a request is
// left for good, its rest abandoned until reset. Large requests get blocks of their own, at the
// tail.
//
//   context (72)                          block header (16)
//  ┌────────┬──────────┬───────┬──────┐  ┌──────────┬──────┬──────┬─────┬─────────────
//  │ common │ sizes ×4 │ first │ last │  │ previous │ next │ free │ end │ chunks …
//  └────────┴──────────┴───────┴──────┘  └──────────┴──────┴──────┴─────┴─────────────
//  0        44         60      64        0          4      8      12    16
//
// PostgreSQL: src/backend/utils/mmgr/bump.c

import { Align } from "../common/align";
import {
  BUMP_BLOCK_HEADER_BYTES,
  BUMP_CHUNK_FRACTION,
  BUMP_CONTEXT_BYTES,
  CHUNK_MAX_VALUE,
  KIND_BUMP,
} from "../common/constants";
import { requestBlock, returnBlock } from "./blocks";
import { requestFor } from "./ceiling";
import { MemoryContext } from "./context";
import { Statistics } from "./header";
import { Shadow } from "./shadow";

/** The header of a block. */
@unmanaged
export class BumpBlock {
  previous: BumpBlock | null;
  next: BumpBlock | null;
  /** Where the next chunk is cut. */
  free: usize;
  end: usize;

  @inline static at(address: usize): BumpBlock {
    return changetype<BumpBlock>(address);
  }

  @inline get address(): usize {
    return changetype<usize>(this);
  }

  @inline get start(): usize {
    return changetype<usize>(this) + BUMP_BLOCK_HEADER_BYTES;
  }

  @inline get size(): u32 {
    return <u32>(this.end - changetype<usize>(this));
  }

  @inline get room(): u32 {
    return <u32>(this.end - this.free);
  }
}

/** The header of a bump context. */
@unmanaged
export class Bump extends MemoryContext {
  initBlockSize: u32;
  maxBlockSize: u32;
  nextBlockSize: u32;
  /** Largest rounded request that is cut from a common block. */
  chunkLimit: u32;
  /** The block chunks are cut from. */
  first: BumpBlock;
  last: BumpBlock;

  @inline static at(address: usize): Bump {
    return changetype<Bump>(address);
  }

  @inline get keeper(): BumpBlock {
    return changetype<BumpBlock>(this.address + BUMP_CONTEXT_BYTES);
  }
}

if (offsetof<Bump>() > <usize>BUMP_CONTEXT_BYTES) ERROR("72 bytes before the keeper");
if (offsetof<BumpBlock>() != BUMP_BLOCK_HEADER_BYTES) ERROR("the block header is 16 bytes");

/** Makes a context without parent or children; null when there is no memory. Sizes are valid. */
export function createBump(minSize: u32, initSize: u32, maxSize: u32): Bump | null {
  const init = Align.max(initSize);
  const max = Align.max(maxSize);
  const first = minSize == 0 ? init : Align.max(minSize);
  const set = Bump.at(requestBlock(first));
  if (set.address == 0) return null;
  set.initialize(KIND_BUMP);
  set.initBlockSize = init;
  set.maxBlockSize = max;
  set.nextBlockSize = init;
  set.chunkLimit = chunkLimitFor(max);
  set.keeper.end = set.address + first;
  keepOnly(set);
  set.memAllocated = first;
  return set;
}

/** Largest chunk of which BUMP_CHUNK_FRACTION fit into the largest block. */
function chunkLimitFor(max: u32): u32 {
  const share = (max - BUMP_BLOCK_HEADER_BYTES) / BUMP_CHUNK_FRACTION;
  let limit = min<u32>(max, CHUNK_MAX_VALUE);
  while (limit > share) limit >>= 1;
  return limit;
}

/** Makes the keeper the only block, and empty. */
function keepOnly(set: Bump): void {
  const keeper = set.keeper;
  keeper.previous = null;
  keeper.next = null;
  keeper.free = keeper.start;
  set.first = keeper;
  set.last = keeper;
}

/** A chunk of `bytes`, which is at most `limit`; 0 on failure. Two of 0 bytes share an address. */
export function allocBump(set: Bump, bytes: u32, limit: u32): usize {
  // Refused before rounding: within seven of 2^32 the sum would wrap to a tiny size.
  if (bytes > limit) return 0;
  const size = Align.max(bytes);
  if (size > set.chunkLimit) return allocDedicated(set, bytes, size);
  if (set.first.room < size && !addBlock(set, size)) return 0;
  const block = set.first;
  const chunk = block.free;
  block.free += size;
  if (CHECKING) Shadow.fillUntracked(chunk, bytes, size);
  return chunk;
}

/** Puts a new block of the usual size, or a larger one if need be, at the head. */
function addBlock(set: Bump, need: u32): bool {
  let size = set.nextBlockSize;
  set.nextBlockSize = min(size << 1, set.maxBlockSize);
  const required = need + BUMP_BLOCK_HEADER_BYTES;
  if (required > size) size = Align.nextPowerOfTwo(required);
  const block = openBlock(set, size);
  if (block === null) return false;
  block.previous = null;
  block.next = set.first;
  set.first.previous = block;
  set.first = block;
  return true;
}

function openBlock(set: Bump, size: u32): BumpBlock | null {
  const at = requestFor(set, size);
  if (at == 0) return null;
  const block = BumpBlock.at(at);
  block.end = at + size;
  block.free = block.start;
  set.memAllocated += size;
  return block;
}

function allocDedicated(set: Bump, bytes: u32, size: u32): usize {
  const block = openBlock(set, size + BUMP_BLOCK_HEADER_BYTES);
  if (block === null) return 0;
  block.free = block.end;
  block.next = null;
  block.previous = set.last;
  set.last.next = block;
  set.last = block;
  if (CHECKING) Shadow.fillUntracked(block.start, bytes, size);
  return block.start;
}

/** Forgets every chunk: all blocks but the keeper go back. */
export function resetBump(set: Bump): void {
  let block: BumpBlock | null = set.first;
  while (block !== null) {
    const next: BumpBlock | null = block.next;
    if (block !== set.keeper) {
      set.memAllocated -= block.size;
      returnBlock(block.address, block.size);
    }
    block = next;
  }
  if (CHECKING) Shadow.wipe(set.keeper.start, <u32>(set.keeper.end - set.keeper.start));
  keepOnly(set);
  set.nextBlockSize = set.initBlockSize;
}

/** Ends the context. */
export function deleteBump(set: Bump): void {
  resetBump(set);
  set.kind = 0;
  returnBlock(set.address, <u32>(set.keeper.end - set.address));
}

/** Whether nothing was cut from any block. */
export function isBumpEmpty(set: Bump): bool {
  let block: BumpBlock | null = set.first;
  while (block !== null) {
    if (block.free != block.start) return false;
    block = block.next;
  }
  return true;
}

/** Adds this context's blocks to the sums; its header is in none of them. */
export function addBumpStatistics(set: Bump, sums: Statistics): void {
  let block: BumpBlock | null = set.first;
  while (block !== null) {
    sums.blocks += 1;
    sums.totalBytes += block.size;
    sums.freeBytes += block.room;
    block = block.next;
  }
}
