// Entry of process.wasm, the private memory of one backend: the functions it exports, nothing else.
//
// Addresses come in and go out as numbers. A context address is one this module gave out and has
// not deleted; the callers' handles see to that, and 0 is refused everywhere. A chunk address may
// be anything. Failure is 0, or a negative STATUS_ constant; nothing was changed then. Out of
// memory and a size above the limit both give 0: the caller knows the size and can tell them
// apart.
//
// `alloc` and `free` are the hot ones: one crossing, and on the common path no call and no loop.
//
// PostgreSQL: src/include/utils/palloc.h, src/include/utils/memutils.h

import {
  ALLOC_HUGE,
  CALL_PALLOC,
  CALL_PFREE,
  CALL_REPALLOC,
  MAX_ALLOC_BYTES,
  MAX_ALLOC_HUGE_BYTES,
  STATUS_OK,
} from "./common/constants";
import { refused } from "./common/host";
import { allocAligned as allocAlignedIn } from "./mmgr/aligned";
import { createAset } from "./mmgr/aset";
import { initializeBlocks, injectFaults as injectBlockFaults } from "./mmgr/blocks";
import { createBump as createBumpContext } from "./mmgr/bump";
import {
  enclosingChunk as enclosingChunkOf,
  formerContext as formerContextOf,
  liveChunks as liveChunksIn,
} from "./mmgr/census";
import {
  adopt,
  allocExtended as allocExtendedIn,
  contextOf,
  countStatistics,
  deleteChildren as deleteChildrenOf,
  deleteContext as deleteTree,
  expectCallbacks as expectCallbacksOf,
  isEmpty as isEmptyContext,
  MemoryContext,
  memAllocated as memAllocatedBy,
  reallocChunk,
  resetChildren as resetChildrenOf,
  resetContext,
  resetOnly as resetOnlyOf,
  setParent as setParentOf,
  spaceOf,
} from "./mmgr/context";
import { currentContext, leave, leaveChildren, switchContext as switchTo } from "./mmgr/current";
import { createGeneration as createGenerationContext } from "./mmgr/generation";
import { ProcessHeader } from "./mmgr/header";
import { Palloc } from "./mmgr/palloc";
import {
  slabChunksPerBlock as chunksPerSlabBlock,
  createSlab as createSlabContext,
} from "./mmgr/slab";
import { checkHeap as walkHeap } from "./mmgr/walk";

/** Takes over a memory that is all zero. Called once, before anything else. */
export function initialize(pages: u32, maximumPages: u32, shadow: usize): void {
  initializeBlocks(pages, maximumPages);
  ProcessHeader.get().shadow = shadow;
}

/** Allocates in a context; 0 on failure. The bytes are not cleared. */
export function alloc(context: usize, bytes: u32): usize {
  return Palloc.alloc(context, bytes);
}

/** Frees a chunk; STATUS_OK or STATUS_INVALID_POINTER. */
export function free(chunk: usize): i32 {
  return Palloc.free(chunk);
}

/** As alloc, with the bytes cleared. */
export function allocZero(context: usize, bytes: u32): usize {
  const chunk = alloc(context, bytes);
  if (chunk != 0) memory.fill(chunk, 0, bytes);
  return chunk;
}

/** As alloc, with ALLOC_ flags; ALLOC_NO_OOM concerns the caller, who hears 0 either way. */
export function allocExtended(context: usize, bytes: u32, flags: u32): usize {
  return allocExtendedIn(MemoryContext.at(context), bytes, flags);
}

/** Resizes a chunk, which may move; 0 on failure, and then it is as before. */
export function realloc(chunk: usize, bytes: u32, flags: u32): usize {
  return reallocChunk(chunk, bytes, flags);
}

/** Context of a chunk; 0 if there is no such chunk. */
export function chunkContext(chunk: usize): usize {
  return changetype<usize>(contextOf(chunk));
}

/** Bytes a chunk occupies, header and rounding included; 0 if there is no such chunk. */
export function chunkSpace(chunk: usize): u32 {
  return spaceOf(chunk);
}

/** Makes a general context under `parent`, or a root under 0; 0 on failure. Sizes are valid. */
export function createContext(
  parent: usize,
  minSize: u32,
  initSize: u32,
  maxSize: u32,
  handle: u32,
): usize {
  const set = createAset(minSize, initSize, maxSize);
  return set === null ? 0 : placed(set, parent, handle);
}

/** As createContext: a generation context. */
export function createGeneration(
  parent: usize,
  minSize: u32,
  initSize: u32,
  maxSize: u32,
  handle: u32,
): usize {
  const set = createGenerationContext(minSize, initSize, maxSize);
  return set === null ? 0 : placed(set, parent, handle);
}

/** As createContext: a bump context. */
export function createBump(
  parent: usize,
  minSize: u32,
  initSize: u32,
  maxSize: u32,
  handle: u32,
): usize {
  const set = createBumpContext(minSize, initSize, maxSize);
  return set === null ? 0 : placed(set, parent, handle);
}

/** As createContext: a slab context. slabChunksPerBlock is not 0. */
export function createSlab(parent: usize, blockSize: u32, chunkSize: u32, handle: u32): usize {
  const set = createSlabContext(blockSize, chunkSize);
  return set === null ? 0 : placed(set, parent, handle);
}

/** How many chunks fit a block; 0 if not one does. */
export function slabChunksPerBlock(blockSize: u32, chunkSize: u32): u32 {
  return chunksPerSlabBlock(blockSize, chunkSize);
}

function placed(context: MemoryContext, parent: usize, handle: u32): usize {
  adopt(context, changetype<MemoryContext | null>(parent), handle);
  return context.address;
}

/** A chunk at a multiple of `alignment`, a power of two below 128 MB, as `flags` ask; or 0. */
export function allocAligned(context: usize, bytes: u32, alignment: u32, flags: u32): usize {
  const limit: u32 = (flags & ALLOC_HUGE) != 0 ? MAX_ALLOC_HUGE_BYTES : MAX_ALLOC_BYTES;
  return allocAlignedIn(MemoryContext.at(context), bytes, alignment, limit, flags);
}

/** Notes that the host has callbacks for a context. */
export function expectCallbacks(context: usize): void {
  expectCallbacksOf(MemoryContext.at(context));
}

export function reset(context: usize): void {
  leaveChildren(MemoryContext.at(context));
  resetContext(MemoryContext.at(context));
}

export function resetOnly(context: usize): void {
  resetOnlyOf(MemoryContext.at(context));
}

export function resetChildren(context: usize): void {
  resetChildrenOf(MemoryContext.at(context));
}

export function deleteContext(context: usize): void {
  leave(MemoryContext.at(context));
  deleteTree(MemoryContext.at(context));
}

export function deleteChildren(context: usize): void {
  leaveChildren(MemoryContext.at(context));
  deleteChildrenOf(MemoryContext.at(context));
}

export function setParent(context: usize, parent: usize): void {
  setParentOf(MemoryContext.at(context), changetype<MemoryContext | null>(parent));
}

export function isEmpty(context: usize): bool {
  return isEmptyContext(MemoryContext.at(context));
}

/** Bytes of blocks a context holds, with everything below it if `recurse`. */
export function memAllocated(context: usize, recurse: bool): u32 {
  return memAllocatedBy(MemoryContext.at(context), recurse);
}

/** Leaves the counters at STATISTICS_ADDRESS. */
export function statistics(context: usize, recurse: bool): void {
  countStatistics(MemoryContext.at(context), recurse);
}

/** Of the coming block requests and resizes, lets `skip` succeed and makes `count` fail. */
export function injectFaults(skip: u32, count: u32): void {
  injectBlockFaults(skip, count);
}

/** Makes a context the one that palloc allocates in; the one it was. */
export function switchContext(context: usize): usize {
  return switchTo(context);
}

/** For other wasm modules: allocates in the current context. Where it cannot, the host throws. */
export function palloc(bytes: u32): usize {
  return pallocIn(currentContext(), bytes);
}

/** As palloc, in a given context. */
export function pallocIn(context: usize, bytes: u32): usize {
  const chunk = alloc(context, bytes);
  return chunk == 0 ? refused(CALL_PALLOC, context, bytes) : chunk;
}

/** As palloc, with the bytes cleared. */
export function palloc0(bytes: u32): usize {
  const chunk = palloc(bytes);
  memory.fill(chunk, 0, bytes);
  return chunk;
}

/** For other wasm modules: resizes a chunk, which may move. Where it cannot, the host throws. */
export function repalloc(chunk: usize, bytes: u32): usize {
  const moved = reallocChunk(chunk, bytes, 0);
  return moved == 0 ? refused(CALL_REPALLOC, chunk, bytes) : moved;
}

/** For other wasm modules: frees a chunk. For what is none the host throws. */
export function pfree(chunk: usize): void {
  if (free(chunk) != STATUS_OK) refused(CALL_PFREE, chunk, 0);
}

/** Chunks in use in a context alone; 0 for a bump context, which cannot tell. O(chunks). */
export function liveChunks(context: usize): u32 {
  return liveChunksIn(MemoryContext.at(context));
}

/** Context of a chunk, of a freed one too where a checked build still knows it; else 0. */
export function formerContext(chunk: usize): usize {
  return formerContextOf(chunk);
}

/** The live chunk that an address lies in, in checked builds; 0 if there is none. */
export function enclosingChunk(address: usize): usize {
  return enclosingChunkOf(address);
}

/** Checked builds: the chunk that was last looked at for damage. */
export function suspect(): usize {
  return ProcessHeader.get().suspect;
}

/** Walks the whole heap; STATUS_OK, or the PANIC_ code of what is broken. */
export function checkHeap(): i32 {
  return walkHeap();
}
