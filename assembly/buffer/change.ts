// Changing a page so that a death in the middle undoes it.
//
//   exclusive lock · page → shadow page · slot.changing = buffer + 1 · DIRTY
//   … the bytes change …
//   slot.changing = 0   ← the commit: one store
//
// Whoever finds `changing` set in a dead backend's slot copies the shadow back before anything
// else. One page at a time: a change of several pages is not atomic against a death.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, MarkBufferDirty (its critical section restarts
// the whole server instead, and replays the log)

import { Atomic } from "../common/atomics";
import {
  BLOCK_BYTES,
  COUNTER_DIRTIED,
  ST_CHANGING,
  ST_NOT_LOCKED,
  ST_OK,
  STATE_DIRTY,
  STATE_JUST_DIRTIED,
} from "../common/constants";
import { me } from "../ipc/self";
import { Slot } from "../ipc/slots";
import { ContentLock } from "./content";
import { BufferDesc } from "./desc";
import { Hold } from "./hold";
import { BufferIo } from "./io";

export class Change {
  /** Keeps the page as it is and marks it dirty. The exclusive lock is held. */
  static begin(buffer: u32): i32 {
    const slot = Slot.mine();
    if (!ContentLock.isMine(buffer)) return ST_NOT_LOCKED;
    if (slot.getChanging() != 0) return ST_CHANGING;
    Atomic.copyPage(BufferIo.shadowPage(me), BufferDesc.frame(buffer), BLOCK_BYTES);
    slot.setChanging(buffer + 1);
    const seen = BufferDesc.at(buffer).changeState(0, STATE_DIRTY | STATE_JUST_DIRTIED);
    if ((seen & STATE_DIRTY) == 0) Hold.counted(COUNTER_DIRTIED);
    return ST_OK;
  }

  /** Makes the change stand. */
  static end(buffer: u32): i32 {
    const slot = Slot.mine();
    if (slot.getChanging() != buffer + 1) return ST_NOT_LOCKED;
    slot.setChanging(0);
    return ST_OK;
  }

  /** Brings back the page as it was at `begin`. */
  static undo(buffer: u32): i32 {
    if (Slot.mine().getChanging() != buffer + 1) return ST_NOT_LOCKED;
    Change.restore(me);
    return ST_OK;
  }

  /** Undoes the change that backend `slot` is in, if any. */
  static restore(backend: u32): void {
    const slot = Slot.at(backend);
    const changing = slot.getChanging();
    if (changing == 0) return;
    Atomic.copyPage(BufferDesc.frame(changing - 1), BufferIo.shadowPage(backend), BLOCK_BYTES);
    slot.setChanging(0);
  }
}
