// The tree of memory contexts, and what all kinds of context have in common.
//
// Every context has one parent, or none, and any number of children, the newest first. Deleting or
// resetting one first deletes everything below it, the deepest first; nothing here recurses, so a
// tree may be as deep as memory allows. What differs between kinds is decided by comparing the
// kind: general contexts come first, everything else is the branch.
//
// A context made from JavaScript has a handle number there, where its name lives; `name` and
// `ident` point to NUL-terminated text only for contexts that a wasm program makes for itself.
//
//       ┌──────┬───────┬───────┬────────┬────────┬───────┬──────────┬──────┬──────┬───────┬───────┐
//       │ kind │ reset │ bytes │ handle │ parent │ child │ previous │ next │ name │ ident │ calls │
//       └──────┴───────┴───────┴────────┴────────┴───────┴──────────┴──────┴──────┴───────┴───────┘
//       0      4       8       12       16       20      24         28     32     36      40     44
//
// PostgreSQL: src/backend/utils/mmgr/mcxt.c; src/include/nodes/memnodes.h, MemoryContextData

import { invariant } from "../common/check";
import {
  ALLOC_HUGE,
  ALLOC_ZERO,
  CHUNK_HEADER_BYTES,
  CONTEXT_FIRST_CHILD_OFFSET,
  CONTEXT_GUARDED_OFFSET,
  CONTEXT_HANDLE_OFFSET,
  CONTEXT_HEADER_BYTES,
  CONTEXT_IDENT_OFFSET,
  CONTEXT_KIND_OFFSET,
  CONTEXT_NAME_OFFSET,
  CONTEXT_NEXT_SIBLING_OFFSET,
  CONTEXT_PARENT_OFFSET,
  KIND_ASET,
  KIND_BUMP,
  KIND_GENERATION,
  KIND_SLAB,
  MAX_ALLOC_BYTES,
  MAX_ALLOC_HUGE_BYTES,
  PANIC_CONTEXT_CLOSED,
  PANIC_CONTEXT_LINK,
  STATUS_INVALID_POINTER,
  STATUS_OK,
} from "../common/constants";
import { callbacks } from "../common/host";
import { alignedInner, reallocAligned } from "./aligned";
import {
  AllocSet,
  addAsetStatistics,
  allocAset,
  chunkCapacity,
  deleteAset,
  freeDedicated,
  freeGenuine,
  genuineBlockOf,
  reallocAset,
  resetAset,
} from "./aset";
import { addBumpStatistics, allocBump, Bump, deleteBump, isBumpEmpty, resetBump } from "./bump";
import { ChunkHeader } from "./chunk";
import {
  addGenerationStatistics,
  allocGeneration,
  deleteGeneration,
  freeGeneration,
  Generation,
  generationBlockOf,
  generationCapacity,
  isGenerationEmpty,
  reallocGeneration,
  resetGeneration,
} from "./generation";
import { ProcessHeader, Statistics } from "./header";
import {
  addSlabStatistics,
  allocSlab,
  deleteSlab,
  freeSlab,
  resetSlab,
  Slab,
  slabBlockOf,
} from "./slab";

@unmanaged
export class MemoryContext {
  /** KIND_ASET or another kind; 0 once deleted. */
  kind: u32;
  /** Nothing was allocated since creation or the last reset. */
  isReset: bool;
  /** May allocate in a critical section; inherited when created. */
  allowInCriticalSection: bool;
  /** This context or one above it has a ceiling; the host keeps it, see ceiling.ts. */
  guarded: bool;
  /** Bytes of blocks held for this context alone. */
  memAllocated: u32;
  /** Number of the handle outside wasm; 0 if there is none. */
  handle: u32;
  parent: MemoryContext | null;
  firstChild: MemoryContext | null;
  previousSibling: MemoryContext | null;
  nextSibling: MemoryContext | null;
  /** NUL-terminated text, or 0. */
  name: usize;
  ident: usize;
  /** Whether the host has callbacks to run at the next reset or delete. */
  callbacks: u32;

  @inline static at(address: usize): MemoryContext {
    return changetype<MemoryContext>(address);
  }

  @inline get address(): usize {
    return changetype<usize>(this);
  }

  /** Fills the common header of a context that is in no tree. */
  initialize(kind: u32): void {
    this.kind = kind;
    this.isReset = true;
    this.allowInCriticalSection = false;
    this.guarded = false;
    this.memAllocated = 0;
    this.handle = 0;
    this.parent = null;
    this.firstChild = null;
    this.previousSibling = null;
    this.nextSibling = null;
    this.name = 0;
    this.ident = 0;
    this.callbacks = 0;
  }

  /** Puts a context that is in no tree at the head of the parent's children, or of the roots. */
  link(parent: MemoryContext | null): void {
    const next = parent === null ? firstRoot() : parent.firstChild;
    this.parent = parent;
    this.previousSibling = null;
    this.nextSibling = next;
    if (next !== null) next.previousSibling = this;
    if (parent === null) ProcessHeader.get().firstRoot = this.address;
    else parent.firstChild = this;
  }

  /** Takes the context out of its parent's children, or from the roots. */
  unlink(): void {
    const parent = this.parent;
    const previous = this.previousSibling;
    const next = this.nextSibling;
    if (next !== null) next.previousSibling = previous;
    if (previous !== null) previous.nextSibling = next;
    else if (parent !== null) parent.firstChild = next;
    else ProcessHeader.get().firstRoot = changetype<usize>(next);
  }

  /** The next in pre-order within the tree below `top`; null after the last. */
  nextBelow(top: MemoryContext): MemoryContext | null {
    if (this.firstChild !== null) return this.firstChild;
    let context: MemoryContext = this;
    while (context !== top) {
      if (context.nextSibling !== null) return context.nextSibling;
      context = changetype<MemoryContext>(changetype<usize>(context.parent));
    }
    return null;
  }
}

if (offsetof<MemoryContext>() != CONTEXT_HEADER_BYTES) ERROR("the common header is 44 bytes");
if (offsetof<MemoryContext>("kind") != CONTEXT_KIND_OFFSET) ERROR("kind");
if (offsetof<MemoryContext>("guarded") != CONTEXT_GUARDED_OFFSET) ERROR("guarded");
if (offsetof<MemoryContext>("handle") != CONTEXT_HANDLE_OFFSET) ERROR("handle");
if (offsetof<MemoryContext>("parent") != CONTEXT_PARENT_OFFSET) ERROR("parent");
if (offsetof<MemoryContext>("firstChild") != CONTEXT_FIRST_CHILD_OFFSET) ERROR("firstChild");
if (offsetof<MemoryContext>("nextSibling") != CONTEXT_NEXT_SIBLING_OFFSET) ERROR("nextSibling");
if (offsetof<MemoryContext>("name") != CONTEXT_NAME_OFFSET) ERROR("name");
if (offsetof<MemoryContext>("ident") != CONTEXT_IDENT_OFFSET) ERROR("ident");

/** First of the contexts without a parent, or null. */
export function firstRoot(): MemoryContext | null {
  return changetype<MemoryContext | null>(ProcessHeader.get().firstRoot);
}

/** Links a context its kind has made; it inherits from its parent. */
export function adopt(context: MemoryContext, parent: MemoryContext | null, handle: u32): void {
  context.handle = handle;
  if (parent !== null) {
    context.allowInCriticalSection = parent.allowInCriticalSection;
    context.guarded = parent.guarded;
  }
  context.link(parent);
}

/** Whether a chunk header can be read before `chunk`: a multiple of 8 inside the memory. */
@unmanaged
export class Chunk {
  @inline static isReadable(chunk: usize): bool {
    const index = rotr<u32>(<u32>(chunk - CHUNK_HEADER_BYTES), HEADER_SHIFT);
    return index < (<u32>memory.size()) << (PAGE_SHIFT - HEADER_SHIFT);
  }
}

const HEADER_SHIFT: u32 = 3;
const PAGE_SHIFT: u32 = 16;

if (1 << HEADER_SHIFT != CHUNK_HEADER_BYTES) ERROR("chunks are as aligned as their header is long");

/** A chunk of `bytes` as `flags` ask, or 0. A size above the limit leaves the context untouched. */
export function allocExtended(context: MemoryContext, bytes: u32, flags: u32): usize {
  const limit = Limit.of(flags);
  if (bytes > limit) return 0;
  const chunk = allocAny(context, bytes, limit);
  if (chunk != 0 && (flags & ALLOC_ZERO) != 0) memory.fill(chunk, 0, bytes);
  return chunk;
}

@unmanaged
class Limit {
  /** Largest request that these flags allow. */
  @inline static of(flags: u32): u32 {
    return (flags & ALLOC_HUGE) != 0 ? MAX_ALLOC_HUGE_BYTES : MAX_ALLOC_BYTES;
  }
}

/** A chunk in a context of any kind; 0 on failure. */
export function allocAny(context: MemoryContext, bytes: u32, limit: u32): usize {
  if (context.kind == KIND_ASET) return allocAset(changetype<AllocSet>(context), bytes, limit);
  if (context.kind == 0) return 0;
  context.isReset = false;
  if (context.kind == KIND_GENERATION) {
    return allocGeneration(changetype<Generation>(context), bytes, limit);
  }
  if (context.kind == KIND_BUMP) return allocBump(changetype<Bump>(context), bytes, limit);
  const slab = changetype<Slab>(context);
  return bytes == slab.chunkSize ? allocSlab(slab) : 0;
}

/** Frees what is no common chunk of a general context; the pointer is readable. */
export function freeUncommon(chunk: usize): i32 {
  const header = ChunkHeader.of(chunk);
  if (header.isExternalOf(KIND_ASET)) {
    const block = genuineBlockOf(header);
    if (block === null) return STATUS_INVALID_POINTER;
    freeDedicated(block);
    return STATUS_OK;
  }
  if (header.kind == KIND_GENERATION) return freeGeneration(chunk);
  if (header.kind == KIND_SLAB) return freeSlab(chunk);
  const inner = alignedInner(header);
  return inner == 0 ? STATUS_INVALID_POINTER : freeInner(inner);
}

/** Frees the chunk behind an aligned one, in a context that aligned chunks can be freed in. */
export function freeInner(chunk: usize): i32 {
  if (!Chunk.isReadable(chunk)) return STATUS_INVALID_POINTER;
  const header = ChunkHeader.of(chunk);
  if (header.kind == KIND_GENERATION) return freeGeneration(chunk);
  if (header.kind == KIND_SLAB) return freeSlab(chunk);
  const block = genuineBlockOf(header);
  if (block === null) return STATUS_INVALID_POINTER;
  freeGenuine(block, header);
  return STATUS_OK;
}

/**
 * The chunk, moved or not, now `bytes` long; 0 if that fails, if its context cannot do it, or if
 * there is no such chunk.
 */
export function reallocChunk(chunk: usize, bytes: u32, flags: u32): usize {
  if (!Chunk.isReadable(chunk)) return 0;
  const header = ChunkHeader.of(chunk);
  const limit = Limit.of(flags);
  const block = genuineBlockOf(header);
  if (block !== null) return reallocAset(block, header, bytes, limit);
  if (header.kind == KIND_GENERATION) {
    const found = generationBlockOf(header);
    return found === null ? 0 : reallocGeneration(found, header, bytes, limit);
  }
  if (header.kind == KIND_SLAB) {
    const found = slabBlockOf(header);
    return found !== null && bytes == found.set.chunkSize ? chunk : 0;
  }
  return reallocAligned(header, bytes, limit);
}

/** The context that owns a chunk; null if there is no such chunk. */
export function contextOf(chunk: usize): MemoryContext | null {
  if (!Chunk.isReadable(chunk)) return null;
  const header = ChunkHeader.of(chunk);
  const block = genuineBlockOf(header);
  if (block !== null) return block.set;
  if (header.kind == KIND_GENERATION) {
    const found = generationBlockOf(header);
    return found === null ? null : found.set;
  }
  if (header.kind == KIND_SLAB) {
    const found = slabBlockOf(header);
    return found === null ? null : found.set;
  }
  const inner = alignedInner(header);
  return inner == 0 ? null : contextOf(inner);
}

/** What a chunk occupies, header and rounding included; 0 if there is no such chunk. */
export function spaceOf(chunk: usize): u32 {
  if (!Chunk.isReadable(chunk)) return 0;
  const header = ChunkHeader.of(chunk);
  const block = genuineBlockOf(header);
  if (block !== null) return chunkCapacity(block, header) + CHUNK_HEADER_BYTES;
  if (header.kind == KIND_GENERATION) {
    const found = generationBlockOf(header);
    return found === null ? 0 : generationCapacity(found, header) + CHUNK_HEADER_BYTES;
  }
  if (header.kind == KIND_SLAB) {
    const found = slabBlockOf(header);
    return found === null ? 0 : found.set.fullSize;
  }
  const inner = alignedInner(header);
  return inner == 0 ? 0 : spaceOf(inner);
}

/** Resets this context alone; its children stay. Nothing to do if nothing was allocated. */
export function resetOnly(context: MemoryContext): void {
  if (CHECKING) invariant(context.kind != 0, PANIC_CONTEXT_CLOSED);
  if (context.isReset) return;
  runCallbacks(context);
  if (context.kind == KIND_ASET) resetAset(changetype<AllocSet>(context));
  else if (context.kind == KIND_GENERATION) resetGeneration(changetype<Generation>(context));
  else if (context.kind == KIND_BUMP) resetBump(changetype<Bump>(context));
  else resetSlab(changetype<Slab>(context));
  context.isReset = true;
}

/**
 * Runs what is to run before the context's chunks go. The host runs them one by one and forgets
 * each before it calls it; should one throw, the context is as it was, with the rest still
 * registered.
 */
function runCallbacks(context: MemoryContext): void {
  if (context.callbacks == 0) return;
  callbacks(context.handle);
  context.callbacks = 0;
}

/** Notes that the host has callbacks for this context: the next reset must not be skipped. */
export function expectCallbacks(context: MemoryContext): void {
  context.callbacks = 1;
  context.isReset = false;
}

/** Deletes everything below a context and resets it. */
export function resetContext(context: MemoryContext): void {
  deleteChildren(context);
  resetOnly(context);
}

/** Resets every context below this one, parents first; deletes none. */
export function resetChildren(context: MemoryContext): void {
  let below = context.nextBelow(context);
  while (below !== null) {
    resetOnly(below);
    below = below.nextBelow(context);
  }
}

/** Deletes a context and everything below it, the deepest first. */
export function deleteContext(context: MemoryContext): void {
  if (CHECKING) invariant(context.kind != 0, PANIC_CONTEXT_CLOSED);
  let current = context;
  // Each round deletes one context that has no children.
  while (true) {
    while (current.firstChild !== null)
      current = changetype<MemoryContext>(changetype<usize>(current.firstChild));
    const parent = current.parent;
    deleteOne(current);
    if (current === context || parent === null) return;
    current = parent;
  }
}

/** Unlinked before it is destroyed, so that a failure leaks instead of leaving a dangling link. */
function deleteOne(context: MemoryContext): void {
  runCallbacks(context);
  context.unlink();
  context.ident = 0;
  if (context.kind == KIND_ASET) deleteAset(changetype<AllocSet>(context));
  else if (context.kind == KIND_GENERATION) deleteGeneration(changetype<Generation>(context));
  else if (context.kind == KIND_BUMP) deleteBump(changetype<Bump>(context));
  else deleteSlab(changetype<Slab>(context));
}

/** Deletes everything below a context. */
export function deleteChildren(context: MemoryContext): void {
  let child = context.firstChild;
  while (child !== null) {
    deleteContext(child);
    child = context.firstChild;
  }
}

/** Moves a context under another parent, or makes it a root; no number changes. */
export function setParent(context: MemoryContext, parent: MemoryContext | null): void {
  if (CHECKING) invariant(context !== parent, PANIC_CONTEXT_LINK);
  if (context.parent === parent) return;
  context.unlink();
  context.link(parent);
}

/** Whether a context counts as empty: nothing lives below it, and its kind says so of itself. */
export function isEmpty(context: MemoryContext): bool {
  if (context.firstChild !== null) return false;
  if (context.kind == KIND_ASET) return context.isReset;
  if (context.kind == KIND_GENERATION) return isGenerationEmpty(changetype<Generation>(context));
  if (context.kind == KIND_BUMP) return isBumpEmpty(changetype<Bump>(context));
  return context.memAllocated == 0;
}

/** Bytes of blocks held by a context, or by it and everything below. */
export function memAllocated(context: MemoryContext, recurse: bool): u32 {
  let sum: u32 = context.memAllocated;
  if (!recurse) return sum;
  let below = context.nextBelow(context);
  while (below !== null) {
    sum += below.memAllocated;
    below = below.nextBelow(context);
  }
  return sum;
}

/** Leaves the counters of a context, or of it and everything below, in Statistics. */
export function countStatistics(context: MemoryContext, recurse: bool): void {
  const sums = Statistics.get();
  sums.clear();
  addStatistics(context, sums);
  sums.contexts = 1;
  if (!recurse) return;
  let below = context.nextBelow(context);
  while (below !== null) {
    addStatistics(below, sums);
    sums.contexts += 1;
    below = below.nextBelow(context);
  }
}

function addStatistics(context: MemoryContext, sums: Statistics): void {
  if (context.kind == KIND_ASET) addAsetStatistics(changetype<AllocSet>(context), sums);
  else if (context.kind == KIND_GENERATION) {
    addGenerationStatistics(changetype<Generation>(context), sums);
  } else if (context.kind == KIND_BUMP) addBumpStatistics(changetype<Bump>(context), sums);
  else addSlabStatistics(changetype<Slab>(context), sums);
}
