// Chunks at multiples of more than 8: a larger chunk of any context, with a second header inside
// it.
//
//     chunk of the context                 what the caller gets, a multiple of the alignment
//    ┌────────┬─────────────┬────────────┬──────────────────────────────┐
//    │ header │   skipped   │  redirect  │  bytes …                     │
//    └────────┴─────────────┴────────────┴──────────────────────────────┘
//              └── offset ──┘
//
// The redirect header has a kind of its own, the alignment as its value, and the distance back to
// the inner chunk as its offset, not to a block as all others. Everything else is asked of the
// inner chunk. In slab contexts the enlarged request seldom has the right size; in bump contexts
// allocation works, and nothing can be done with the chunk afterwards.
//
// PostgreSQL: src/backend/utils/mmgr/alignedalloc.c; mcxt.c, MemoryContextAllocAligned

import {
  ALLOC_ZERO,
  CHUNK_HEADER_BYTES,
  KIND_ALIGNED,
  MAX_ALIGN,
  MAX_ALIGNMENT_BYTES,
} from "../common/constants";
import { ChunkHeader } from "./chunk";
import { allocAny, allocExtended, contextOf, freeInner, MemoryContext, spaceOf } from "./context";

/** A chunk at a multiple of `alignment`, a power of two; 0 on failure. */
export function allocAligned(
  context: MemoryContext,
  bytes: u32,
  alignment: u32,
  limit: u32,
  flags: u32,
): usize {
  if (alignment <= <u32>MAX_ALIGN) return allocExtended(context, bytes, flags);
  if (bytes > limit - alignment) return 0;
  const chunk = allocInside(context, bytes, alignment, limit);
  if (chunk != 0 && (flags & ALLOC_ZERO) != 0) memory.fill(chunk, 0, bytes);
  return chunk;
}

function allocInside(context: MemoryContext, bytes: u32, alignment: u32, limit: u32): usize {
  const inner = allocAny(context, bytes + alignment, limit);
  if (inner == 0) return 0;
  const aligned = (inner + CHUNK_HEADER_BYTES + alignment - 1) & ~(<usize>alignment - 1);
  const header = ChunkHeader.of(aligned);
  header.set(KIND_ALIGNED, alignment, <u32>(header.address - inner));
  return aligned;
}

/** The chunk of the context behind a redirect header; 0 if the header is none. */
export function alignedInner(header: ChunkHeader): usize {
  const alignment = header.value;
  const offset = header.offset;
  if (header.kind != KIND_ALIGNED || header.isExternal) return 0;
  if (alignment <= <u32>MAX_ALIGN || alignment >= <u32>MAX_ALIGNMENT_BYTES) return 0;
  if (popcnt<u32>(alignment) != 1 || (header.chunk & (alignment - 1)) != 0) return 0;
  return offset < alignment && offset < <u32>header.address ? header.address - offset : 0;
}

/** Always moves: a new chunk of the same alignment takes over what the old one holds. */
export function reallocAligned(header: ChunkHeader, bytes: u32, limit: u32): usize {
  const inner = alignedInner(header);
  if (inner == 0) return 0;
  const context = contextOf(inner);
  if (context === null) return 0;
  const alignment = header.value;
  if (bytes > limit - alignment) return 0;
  const capacity = spaceOf(inner) - alignment - CHUNK_HEADER_BYTES;
  const moved = allocInside(context, bytes, alignment, limit);
  if (moved == 0) return 0;
  memory.copy(moved, header.chunk, min(bytes, capacity));
  freeInner(inner);
  return moved;
}
