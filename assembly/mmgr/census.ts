// Counts what statistics do not: the chunks a context has given out and not taken back.
//
// No allocator keeps this number, because keeping it would cost each allocation a store. General
// contexts are walked, block by block and chunk by chunk, so the price is one load a chunk; the
// others know it from their block headers. A bump context cannot tell one chunk from the next, and
// is counted as having none.
//
// PostgreSQL: none; its statistics stop at free chunks

import {
  CHUNK_HEADER_BYTES,
  KIND_ASET,
  KIND_BUMP,
  KIND_GENERATION,
  PROCESS_HEADER_BYTES,
} from "../common/constants";
import { AllocSet } from "./aset";
import { AllocBlock } from "./aset-block";
import { ChunkHeader } from "./chunk";
import { Chunk, contextOf, countStatistics, MemoryContext, spaceOf } from "./context";
import { ProcessHeader, Statistics } from "./header";
import { Shadow } from "./shadow";
import { Slab } from "./slab";

/** Chunks in use in a context alone: O(chunks) in a general one. */
export function liveChunks(context: MemoryContext): u32 {
  if (context.kind == KIND_BUMP) return 0;
  countStatistics(context, false);
  const sums = Statistics.get();
  if (context.kind == KIND_ASET) return cutChunks(changetype<AllocSet>(context)) - sums.freeChunks;
  if (context.kind == KIND_GENERATION) return sums.chunks - sums.freeChunks;
  return sums.blocks * changetype<Slab>(context).chunksPerBlock - sums.freeChunks;
}

/** Chunks cut from the blocks of a general context, those on free lists included. */
function cutChunks(set: AllocSet): u32 {
  let chunks: u32 = 0;
  let block: AllocBlock | null = set.blocks;
  while (block !== null) {
    chunks += block.isDedicated ? 1 : chunksIn(block);
    block = block.next;
  }
  return chunks;
}

/** Ends because every chunk has at least its header. */
function chunksIn(block: AllocBlock): u32 {
  let chunks: u32 = 0;
  let at = block.start;
  while (at < block.free) {
    at += CHUNK_HEADER_BYTES + AllocSet.chunkBytes(ChunkHeader.at(at).value);
    chunks += 1;
  }
  return chunks;
}

/** The context of a chunk, of a freed one too where a checked build still knows it; 0 if none. */
export function formerContext(chunk: usize): usize {
  if (CHECKING) {
    if (!Chunk.isReadable(chunk) || chunk >= ProcessHeader.get().shadow) return 0;
    // The header of a chunk on a free list is whole; only the shadow says that the chunk is free.
    const isFreed = Shadow.isFreed(chunk);
    if (isFreed) Shadow.revive(chunk);
    const context = changetype<usize>(contextOf(chunk));
    if (isFreed) Shadow.bury(chunk);
    return context;
  }
  return changetype<usize>(contextOf(chunk));
}

/** The live chunk that an address lies in, where a checked build knows it; 0 if there is none. */
export function enclosingChunk(address: usize): usize {
  if (CHECKING) {
    if (address >= ProcessHeader.get().shadow) return 0;
    let at = address & ~(<usize>CHUNK_HEADER_BYTES - 1);
    // Ends at the first chunk below: at most as far as the chunk, or the free memory, is long.
    while (at > <usize>PROCESS_HEADER_BYTES && Shadow.isNothing(at)) at -= CHUNK_HEADER_BYTES;
    if (at <= <usize>PROCESS_HEADER_BYTES || !Shadow.isLive(at)) return 0;
    return address - at < spaceOf(at) - CHUNK_HEADER_BYTES ? at : 0;
  }
  return 0;
}
