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

import { KIND_ASET, STATUS_INVALID_POINTER } from "./common/constants";
import { AllocSet, createAset } from "./mmgr/aset";
import { initializeBlocks, injectFaults as injectBlockFaults } from "./mmgr/blocks";
import {
  adopt,
  allocExtended as allocExtendedIn,
  Chunk,
  contextOf,
  countStatistics,
  deleteChildren as deleteChildrenOf,
  deleteContext as deleteTree,
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
import { ProcessHeader } from "./mmgr/header";
import { checkHeap as walkHeap } from "./mmgr/walk";

/** Takes over a memory that is all zero. Called once, before anything else. */
export function initialize(pages: u32, maximumPages: u32, shadow: usize): void {
  initializeBlocks(pages, maximumPages);
  ProcessHeader.get().shadow = shadow;
}

/** Allocates in a context; 0 on failure. The bytes are not cleared. */
export function alloc(context: usize, bytes: u32): usize {
  const set = AllocSet.at(context);
  if (set.kind == KIND_ASET) return set.allocFast(bytes);
  return 0;
}

/** Frees a chunk; STATUS_OK or STATUS_INVALID_POINTER. */
export function free(chunk: usize): i32 {
  if (Chunk.isReadable(chunk)) return AllocSet.freeFast(chunk);
  return STATUS_INVALID_POINTER;
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
  if (set === null) return 0;
  adopt(set, changetype<MemoryContext | null>(parent), handle);
  return set.address;
}

export function reset(context: usize): void {
  resetContext(MemoryContext.at(context));
}

export function resetOnly(context: usize): void {
  resetOnlyOf(MemoryContext.at(context));
}

export function resetChildren(context: usize): void {
  resetChildrenOf(MemoryContext.at(context));
}

export function deleteContext(context: usize): void {
  deleteTree(MemoryContext.at(context));
}

export function deleteChildren(context: usize): void {
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

/** Walks the whole heap; STATUS_OK, or the PANIC_ code of what is broken. */
export function checkHeap(): i32 {
  return walkHeap();
}
