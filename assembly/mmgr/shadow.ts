// What a checked build knows about each chunk beyond its header: one word for every 8 bytes of
// memory, in a table behind the blocks, so that layout, addresses and numbers of the contexts are
// those of the release build.
//
// The word of a chunk's address says what lies there; the words of all other addresses are 0, so
// that a pointer into the middle of a chunk is no chunk. Slack, the bytes between what was asked
// for and what the chunk holds, carries one pattern, freed bytes another: a write into either is
// found when the chunk is next touched, and by the heap walk.
//
//   word = 0          no chunk begins here
//          1          a freed chunk
//          n + 2      a live chunk of n bytes
//
// Nothing here is reached in a release build: every call stands behind `if (CHECKING)`.
//
// PostgreSQL: src/backend/utils/mmgr/mcxt.c and aset.c under MEMORY_CONTEXT_CHECKING, by other
// means

import { Align } from "../common/align";
import { invariant } from "../common/check";
import {
  FILL_FREED,
  FILL_FRESH,
  FILL_SLACK,
  PANIC_WRITE_AFTER_FREE,
  PANIC_WRITE_PAST_END,
} from "../common/constants";
import { ProcessHeader } from "./header";

const NOTHING: u32 = 0;
const FREED: u32 = 1;
const LIVE: u32 = 2;
/** Eight bytes of memory have four of the table. */
const TABLE_SHIFT: u32 = 1;
/** A freed chunk begins with the link of its free list. */
const LINK_BYTES: u32 = 4;

@unmanaged
export class Shadow {
  private word: u32;

  @inline private static of(chunk: usize): Shadow {
    return changetype<Shadow>(ProcessHeader.get().shadow + (chunk >>> TABLE_SHIFT));
  }

  /** Whether a live chunk begins at `chunk`, which lies in this memory and is a multiple of 8. */
  static isLive(chunk: usize): bool {
    return Shadow.of(chunk).word >= LIVE;
  }

  /** Whether no chunk, live or freed, begins at `chunk`. */
  static isNothing(chunk: usize): bool {
    return Shadow.of(chunk).word == NOTHING;
  }

  static isFreed(chunk: usize): bool {
    return Shadow.of(chunk).word == FREED;
  }

  /** Bytes that were asked for; the chunk is live. */
  static requested(chunk: usize): u32 {
    return Shadow.of(chunk).word - LIVE;
  }

  /** A chunk of `capacity` bytes was given out for a request of `requested`. */
  static give(chunk: usize, requested: u32, capacity: u32): void {
    Shadow.of(chunk).word = requested + LIVE;
    memory.fill(chunk, <u8>FILL_FRESH, requested);
    memory.fill(chunk + requested, <u8>FILL_SLACK, capacity - requested);
  }

  /** As give, of a chunk that has no header and so can be neither freed nor resized. */
  static fillUntracked(chunk: usize, requested: u32, capacity: u32): void {
    memory.fill(chunk, <u8>FILL_FRESH, requested);
    memory.fill(chunk + requested, <u8>FILL_SLACK, capacity - requested);
  }

  /** A live chunk now serves a request of another size, its contents kept. */
  static resize(chunk: usize, requested: u32, capacity: u32): void {
    Shadow.of(chunk).word = requested + LIVE;
    memory.fill(chunk + requested, <u8>FILL_SLACK, capacity - requested);
  }

  /** A chunk came to a free list; its link is written after this. */
  static free(chunk: usize, capacity: u32): void {
    Shadow.of(chunk).word = FREED;
    memory.fill(chunk, <u8>FILL_FREED, capacity);
  }

  /** Makes a freed chunk look alive, for a moment, to code that only reads headers. */
  static revive(chunk: usize): void {
    Shadow.of(chunk).word = LIVE;
  }

  /** Ends what revive began. */
  static bury(chunk: usize): void {
    Shadow.of(chunk).word = FREED;
  }

  /** No chunk begins in these bytes any more. */
  static forget(start: usize, bytes: u32): void {
    memory.fill(changetype<usize>(Shadow.of(start)), <u8>NOTHING, Align.max(bytes) >>> TABLE_SHIFT);
  }

  /** As forget, and fills the bytes as freed. */
  static wipe(start: usize, bytes: u32): void {
    Shadow.forget(start, bytes);
    memory.fill(start, <u8>FILL_FREED, bytes);
  }

  /** Panics if somebody wrote behind the live chunk or into the freed one. */
  static demandIntact(chunk: usize, capacity: u32): void {
    ProcessHeader.get().suspect = chunk;
    if (Shadow.isFreed(chunk)) invariant(Shadow.isWiped(chunk, capacity), PANIC_WRITE_AFTER_FREE);
    else invariant(Shadow.hasSlack(chunk, capacity), PANIC_WRITE_PAST_END);
  }

  /** Whether the slack of a live chunk is as it was filled. */
  static hasSlack(chunk: usize, capacity: u32): bool {
    return holds(chunk + Shadow.requested(chunk), chunk + capacity, <u8>FILL_SLACK);
  }

  /** Whether a freed chunk still holds the pattern, behind its link. */
  static isWiped(chunk: usize, capacity: u32): bool {
    return holds(chunk + LINK_BYTES, chunk + capacity, <u8>FILL_FREED);
  }
}

function holds(start: usize, end: usize, pattern: u8): bool {
  for (let at = start; at < end; at += 1) {
    if (load<u8>(at) != pattern) return false;
  }
  return true;
}
