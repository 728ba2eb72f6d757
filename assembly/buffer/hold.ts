// Hold words: who has which buffer pinned or share-locked.
//
//   hold[backend][buffer], u16      15      14                  0
//                                  ┌───────┬─────────────────────┐
//                                  │ SHARE │ pins of this backend│
//                                  └───────┴─────────────────────┘
//
// A word is written by its own backend alone and read by all, so nothing is ever counted by
// several: giving back what a dead backend held is clearing its column. A column begins with the
// backend's counters, which nobody else writes either.
//
// The handshake: a holder stores its hold word, then loads the state; whoever wants the frame to
// itself sets CLAIM (or takes the owner word), then loads the hold words. At least one sees the
// other. Only 0 ↔ not 0 and the SHARE bit need atomic stores; one pin more or less is a plain one.

import { Atomic } from "../common/atomics";
import {
  BUFFER_MASK,
  CACHE_LINE_BYTES,
  COLUMN_HEADER_BYTES,
  COLUMN_PINNED_OFFSET,
  COUNTERS_BYTES,
  HOLD_COUNT_MASK,
  HOLD_SHARE,
  IO_ROW_SHIFT,
} from "../common/constants";
import { Region } from "../ipc/region";
import { column, me } from "../ipc/self";

const HOLD_SHIFT: u32 = 1; // two bytes

export class Hold {
  /** Address of this backend's word for a buffer. */
  @inline static mine(buffer: u32): usize {
    return column + ((<usize>buffer) << HOLD_SHIFT) + COLUMN_HEADER_BYTES;
  }

  /** Address of another backend's word for a buffer. */
  @inline static of(backend: u32, buffer: u32): usize {
    const region = Region.get();
    const start = region.holds + backend * region.columnBytes + COLUMN_HEADER_BYTES;
    return start + ((<usize>buffer) << HOLD_SHIFT);
  }

  /** Own word, read plainly: nobody else writes it. */
  @inline static get(buffer: u32): u32 {
    return load<u16>(Hold.mine(buffer));
  }

  @inline static set(buffer: u32, word: u32): void {
    Atomic.store16(Hold.mine(buffer), word);
  }

  @inline static setPlain(buffer: u32, word: u32): void {
    store<u16>(Hold.mine(buffer), <u16>word);
  }

  @inline static count(word: u32): u32 {
    return word & HOLD_COUNT_MASK;
  }

  /** First pin of this backend on a frame whose identity is stable already. */
  static raise(buffer: u32): void {
    const word = Hold.get(buffer);
    if (word != 0) {
      Hold.setPlain(buffer, word + 1);
    } else {
      Hold.set(buffer, 1);
      Hold.addPinned(1);
    }
  }

  /** Whether any backend, this one included, holds the buffer. */
  static byAnyone(buffer: u32): bool {
    const region = Region.get();
    let at = Hold.of(0, buffer);
    for (let backend: u32 = 0; backend < region.backends; ++backend) {
      if (Atomic.load16(at) != 0) return true;
      at += region.columnBytes;
    }
    return false;
  }

  /** Whether a backend other than this one holds the buffer. */
  static byOthers(buffer: u32): bool {
    const region = Region.get();
    let at = Hold.of(0, buffer);
    for (let backend: u32 = 0; backend < region.backends; ++backend) {
      if (backend != me && Atomic.load16(at) != 0) return true;
      at += region.columnBytes;
    }
    return false;
  }

  /** How many backends hold the buffer; for reports. */
  static holders(buffer: u32): u32 {
    let holders: u32 = 0;
    for (let backend = Region.get().backends; backend-- > 0; ) {
      if (Atomic.load16(Hold.of(backend, buffer)) != 0) holders += 1;
    }
    return holders;
  }

  /** Buffers this backend has pinned. */
  @inline static pinned(): u32 {
    return load<u32>(column, COLUMN_PINNED_OFFSET);
  }

  @inline static addPinned(change: i32): void {
    store<u32>(column, load<u32>(column, COLUMN_PINNED_OFFSET) + change, COLUMN_PINNED_OFFSET);
  }

  /** Adds one to a counter of this backend, context normal. */
  @inline static counted(counter: usize): void {
    store<u64>(column + counter, load<u64>(column + counter) + 1);
  }

  /** Adds one to a counter of this backend in a context. */
  @inline static countedIn(context: u32, counter: usize): void {
    Hold.counted(((<usize>context) << IO_ROW_SHIFT) + counter);
  }

  /** Adds operations to one counter of a context and the bytes they moved to another. */
  static countedIo(context: u32, counter: u32, times: u32, byteCounter: u32, bytes: u64): void {
    const row = column + ((<usize>context) << IO_ROW_SHIFT);
    store<u64>(row + counter, load<u64>(row + counter) + times);
    store<u64>(row + byteCounter, load<u64>(row + byteCounter) + bytes);
  }
}

if (HOLD_SHARE != HOLD_COUNT_MASK + 1) ERROR("SHARE must stand above the count");
if (BUFFER_MASK < 0xffff) ERROR("a buffer number must fit its results");
if (COUNTERS_BYTES > COLUMN_PINNED_OFFSET) ERROR("counters overlap the pin count");
if (COLUMN_HEADER_BYTES % CACHE_LINE_BYTES != 0) ERROR("hold words must begin a cache line");
