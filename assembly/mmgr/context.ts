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
  CONTEXT_HANDLE_OFFSET,
  CONTEXT_HEADER_BYTES,
  CONTEXT_IDENT_OFFSET,
  CONTEXT_KIND_OFFSET,
  CONTEXT_NAME_OFFSET,
  CONTEXT_NEXT_SIBLING_OFFSET,
  CONTEXT_PARENT_OFFSET,
  KIND_ASET,
  MAX_ALLOC_BYTES,
  MAX_ALLOC_HUGE_BYTES,
  PANIC_CONTEXT_CLOSED,
  PANIC_CONTEXT_LINK,
  STATUS_INVALID_POINTER,
  STATUS_OK,
} from "../common/constants";
import {
  AllocSet,
  addAsetStatistics,
  allocAset,
  chunkCapacity,
  deleteAset,
  freeDedicated,
  genuineBlockOf,
  reallocAset,
  resetAset,
} from "./aset";
import { ChunkHeader } from "./chunk";
import { ProcessHeader, Statistics } from "./header";

@unmanaged
export class MemoryContext {
  /** KIND_ASET or another kind; 0 once deleted. */
  kind: u32;
  /** Nothing was allocated since creation or the last reset. */
  isReset: bool;
  /** May allocate in a critical section; inherited when created. */
  allowInCriticalSection: bool;
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
  /** Callbacks to run at the next reset or delete. */
  callbacks: usize;

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
  if (parent !== null) context.allowInCriticalSection = parent.allowInCriticalSection;
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
  const limit: u32 = (flags & ALLOC_HUGE) != 0 ? MAX_ALLOC_HUGE_BYTES : MAX_ALLOC_BYTES;
  if (bytes > limit) return 0;
  if (context.kind != KIND_ASET) return 0;
  const chunk = allocAset(changetype<AllocSet>(context), bytes, limit);
  if (chunk != 0 && (flags & ALLOC_ZERO) != 0) memory.fill(chunk, 0, bytes);
  return chunk;
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
  return STATUS_INVALID_POINTER;
}

/** The chunk, moved or not, now `bytes` long; 0 if that fails or there is no such chunk. */
export function reallocChunk(chunk: usize, bytes: u32, flags: u32): usize {
  if (!Chunk.isReadable(chunk)) return 0;
  const header = ChunkHeader.of(chunk);
  const limit: u32 = (flags & ALLOC_HUGE) != 0 ? MAX_ALLOC_HUGE_BYTES : MAX_ALLOC_BYTES;
  const block = genuineBlockOf(header);
  return block === null ? 0 : reallocAset(block, header, bytes, limit);
}

/** The context that owns a chunk; null if there is no such chunk. */
export function contextOf(chunk: usize): MemoryContext | null {
  if (!Chunk.isReadable(chunk)) return null;
  const block = genuineBlockOf(ChunkHeader.of(chunk));
  return block === null ? null : block.set;
}

/** What a chunk occupies, header and rounding included; 0 if there is no such chunk. */
export function spaceOf(chunk: usize): u32 {
  if (!Chunk.isReadable(chunk)) return 0;
  const header = ChunkHeader.of(chunk);
  const block = genuineBlockOf(header);
  return block === null ? 0 : chunkCapacity(block, header) + CHUNK_HEADER_BYTES;
}

/** Resets this context alone; its children stay. Nothing to do if nothing was allocated. */
export function resetOnly(context: MemoryContext): void {
  if (CHECKING) invariant(context.kind == KIND_ASET, PANIC_CONTEXT_CLOSED);
  if (context.isReset) return;
  resetAset(changetype<AllocSet>(context));
  context.isReset = true;
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
  context.unlink();
  context.ident = 0;
  deleteAset(changetype<AllocSet>(context));
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

/** Whether nothing was allocated since the last reset and nothing lives below. */
export function isEmpty(context: MemoryContext): bool {
  return context.firstChild === null && context.isReset;
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
  addAsetStatistics(changetype<AllocSet>(context), sums);
  sums.contexts = 1;
  if (!recurse) return;
  let below = context.nextBelow(context);
  while (below !== null) {
    addAsetStatistics(changetype<AllocSet>(below), sums);
    sums.contexts += 1;
    below = below.nextBelow(context);
  }
}
