// Changing a page so that a death in the middle undoes it.
//
//   exclusive lock · page → shadow page · slot.changing = buffer + 1 · DIRTY
//   … the bytes change …
//   interval?           ← decides on which side of a checkpoint's cut the change is
//   slot.changing = 0   ← the commit: one store
//
// Whoever finds `changing` set in a dead backend's slot copies the shadow back before anything
// else. One page at a time: a change of several pages is not atomic against a death.
//
// A page that was dirty already, and was changed last before the cut of a checkpoint, holds what
// that checkpoint must keep, and nobody has written it yet. The shadow page is then the last copy:
// `end` asks with ST_JOURNAL that it go into the journal that the cut has begun, from where a
// recovery would bring it back; only then the change stands, and the checkpoint passes the page by.
// Of a frame whose changes were all undone since it was filled (`changed` is 0) the file has the
// right copy. The frame may not: it may have been cleared instead of read.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, MarkBufferDirty (its critical section restarts
// the whole server instead, and replays the log)

import { Atomic } from "../common/atomics";
import {
  BLOCK_BYTES,
  COUNTER_DIRTIED,
  ST_CHANGING,
  ST_JOURNAL,
  ST_NOT_LOCKED,
  ST_OK,
  STATE_DIRTY,
  STATE_JUST_DIRTIED,
} from "../common/constants";
import { Region } from "../ipc/region";
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
    slot.dirtyBefore = seen & STATE_DIRTY;
    if (slot.dirtyBefore == 0) Hold.counted(COUNTER_DIRTIED);
    return ST_OK;
  }

  /** Makes the change stand; ST_JOURNAL if the shadow page must be kept first (`kept`). */
  static end(buffer: u32): i32 {
    const slot = Slot.mine();
    if (slot.getChanging() != buffer + 1) return ST_NOT_LOCKED;
    const desc = BufferDesc.at(buffer);
    const interval = Region.get().getInterval();
    if (desc.changed != interval) {
      const isLastCopy = slot.dirtyBefore != 0 && desc.changed != 0;
      if (isLastCopy && Region.get().journalled != 0) return ST_JOURNAL;
      desc.changed = interval;
    }
    slot.setChanging(0);
    return ST_OK;
  }

  /** The shadow page stands in the journal of `interval`: call `end` again. */
  static kept(buffer: u32, interval: u32): void {
    BufferDesc.at(buffer).changed = interval;
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
