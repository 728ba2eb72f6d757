// Giving hold words back. Every hold word is cleared here, whether it was a pin or the guard of an
// evicting backend, because a cleanup lock may wait for it (cleanup.ts).
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, UnpinBufferNoOwner

import {
  HOLD_SHARE,
  ST_NOT_LOCKED,
  ST_NOT_PINNED,
  ST_OK,
  STATE_PIN_WAITER,
} from "../common/constants";
import { Cleanup } from "./cleanup";
import { ContentLock } from "./content";
import { BufferDesc } from "./desc";
import { Hold } from "./hold";

export class Pin {
  /** Gives back one pin; ST_OK, or why it cannot be. */
  @inline static release(buffer: u32): i32 {
    const held = Hold.get(buffer);
    if (Hold.count(held) > 1) {
      Hold.setPlain(buffer, held - 1);
      return ST_OK;
    }
    return Pin.releaseLast(buffer, held);
  }

  private static releaseLast(buffer: u32, held: u32): i32 {
    if (Hold.count(held) == 0) return ST_NOT_PINNED;
    if ((held & HOLD_SHARE) != 0 || ContentLock.isMine(buffer)) return ST_NOT_LOCKED;
    Pin.drop(buffer);
    Hold.addPinned(-1);
    return ST_OK;
  }

  /** Gives back what `Hold.raise` took: a pin, or the guard of an evicting backend. */
  static lower(buffer: u32): void {
    const word = Hold.get(buffer);
    if (Hold.count(word) > 1) {
      Hold.setPlain(buffer, word - 1);
    } else {
      Pin.drop(buffer);
      Hold.addPinned(-1);
    }
  }

  /** Clears the own hold word. */
  @inline static drop(buffer: u32): void {
    Hold.set(buffer, 0);
    if ((BufferDesc.at(buffer).getState() & STATE_PIN_WAITER) != 0) Cleanup.wake(buffer);
  }
}
