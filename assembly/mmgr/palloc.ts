// Allocating and freeing, for inlining: the bodies of the exports `alloc` and `free`, for wasm
// programs that compile the allocator in and would rather not pay a call for each chunk.
//
// PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextAlloc, pfree

import { KIND_ASET, MAX_ALLOC_BYTES, STATUS_INVALID_POINTER } from "../common/constants";
import { AllocSet } from "./aset";
import { allocAny, Chunk } from "./context";

@unmanaged
export class Palloc {
  /** A chunk in a context of any kind; 0 on failure. General contexts go first, without a call. */
  @inline static alloc(context: usize, bytes: u32): usize {
    const set = AllocSet.at(context);
    if (set.kind == KIND_ASET) return set.allocFast(bytes);
    return allocAny(set, bytes, MAX_ALLOC_BYTES);
  }

  /** Frees a chunk; STATUS_OK or STATUS_INVALID_POINTER. */
  @inline static free(chunk: usize): i32 {
    if (Chunk.isReadable(chunk)) return AllocSet.freeFast(chunk);
    return STATUS_INVALID_POINTER;
  }
}
