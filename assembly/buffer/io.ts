// Input and output of one frame. Wasm never calls storage: a function here says "write this" or
// "read into that frame", TypeScript does it while only the state word names this backend, and
// calls the finishing function, also on error. So no exception of a file system unwinds through a
// held word.
//
//   write   pin · share lock · DIRTY → IO|WRITING|me … old image into the journal, synced · a copy
//           of the frame is sealed and written … DIRTY off unless changed since · IO off · unlock
//   read    IO|me (pool.ts) … storage reads into the frame … · VALID on, or IO_ERROR · IO off
//
// The page is copied, to private memory, before it is written: the checksum must be that of the
// bytes written. The share lock stays until the end, so `changed` tells what the copy is.
//
// Which old images a write needs: let c be the last committed checkpoint. Whatever stands in the
// file is overwritten, so journal c must have it. While another checkpoint runs, a page changed
// after its cut also needs its image in that one's journal; one changed before the cut must not
// have it there, since it is itself what the checkpoint is to keep.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, FlushBuffer, StartBufferIO, TerminateBufferIO

import { Atomic } from "../common/atomics";
import { invariant } from "../common/check";
import {
  BLOCK_BYTES,
  IMAGE_COMMITTED,
  IMAGE_CURRENT,
  OWNER_MASK,
  PANIC_STATE,
  STATE_CHECKPOINT_NEEDED,
  STATE_DIRTY,
  STATE_IO,
  STATE_IO_ERROR,
  STATE_IO_WAITERS,
  STATE_JUST_DIRTIED,
  STATE_VALID,
  STATE_WRITING,
} from "../common/constants";
import { Region } from "../ipc/region";
import { me, Self } from "../ipc/self";
import { ContentLock } from "./content";
import { BufferDesc, State } from "./desc";
import { Imaged } from "./imaged";

/** Bits that end with an I/O, whatever came of it. */
const END_OF_IO: u32 = STATE_IO | STATE_WRITING | STATE_IO_WAITERS | OWNER_MASK;

export class BufferIo {
  /** Where backend `slot` keeps the page it is changing as it was before. */
  @inline static shadowPage(slot: u32): usize {
    return Region.get().slotPages + slot * (2 * BLOCK_BYTES);
  }

  /** A page of this backend's own in shared memory, for whatever needs one for a moment. */
  @inline static scratchPage(): usize {
    return BufferIo.shadowPage(me) + BLOCK_BYTES;
  }

  /**
   * Begins to write a dirty frame that this backend holds and has share-locked. False if it is
   * clean by now, or in somebody's I/O; the share lock is given back then.
   */
  static beginWrite(buffer: u32): bool {
    const desc = BufferDesc.at(buffer);
    while (true) {
      const seen = desc.getState();
      if ((seen & STATE_DIRTY) == 0 || State.owner(seen) != 0) {
        ContentLock.dropShare(buffer);
        return false;
      }
      const next = (seen & ~STATE_JUST_DIRTIED) | STATE_IO | STATE_WRITING | Self.owner();
      if (desc.swapState(seen, next)) break;
    }
    return true;
  }

  /** IMAGE_ flags: the journals that must hold the page's old image before it is written. */
  static imagesNeeded(buffer: u32): u32 {
    const desc = BufferDesc.at(buffer);
    const committed = Region.get().getCommitted();
    const interval = Region.get().getInterval();
    const file = desc.file;
    const block = desc.block;
    let needed: u32 = Imaged.has(file, block, committed) ? 0 : IMAGE_COMMITTED;
    if (interval != committed && desc.changed == interval) {
      if (!Imaged.has(file, block, interval)) needed |= IMAGE_CURRENT;
    }
    return needed;
  }

  /** Takes a write back that has not begun to touch storage; the page needs no checkpoint. */
  static cancelWrite(buffer: u32): void {
    const desc = BufferDesc.at(buffer);
    BufferIo.wake(desc, desc.changeState(END_OF_IO | STATE_CHECKPOINT_NEEDED, 0));
    ContentLock.dropShare(buffer);
  }

  /** Ends a write: the frame is clean unless it was changed since the write began. */
  static finishWrite(buffer: u32, good: bool): void {
    const desc = BufferDesc.at(buffer);
    while (true) {
      const seen = desc.getState();
      if (CHECKING) invariant(State.isMine(seen) && (seen & STATE_WRITING) != 0, PANIC_STATE);
      let next = seen & ~END_OF_IO;
      if (!good) next |= STATE_IO_ERROR;
      else if ((seen & STATE_JUST_DIRTIED) == 0) next = BufferIo.cleaned(next);
      if (desc.swapState(seen, next)) {
        BufferIo.wake(desc, seen);
        break;
      }
    }
    ContentLock.dropShare(buffer);
  }

  /** Ends a read: the page is valid, or the next who wants it tries again. */
  static finishRead(buffer: u32, good: bool): void {
    const desc = BufferDesc.at(buffer);
    if (CHECKING) invariant(State.isMine(desc.getState()), PANIC_STATE);
    const set: u32 = good ? STATE_VALID : STATE_IO_ERROR;
    const clear: u32 = good ? END_OF_IO | STATE_IO_ERROR : END_OF_IO;
    BufferIo.wake(desc, desc.changeState(clear, set));
  }

  /**
   * Ends the I/O of a dead backend: a read is taken over by the next reader, a write is repeated.
   */
  static abandon(buffer: u32): void {
    const desc = BufferDesc.at(buffer);
    const wasWriting = (desc.getState() & STATE_WRITING) != 0;
    BufferIo.wake(desc, desc.changeState(END_OF_IO, wasWriting ? 0 : STATE_IO_ERROR));
  }

  @inline private static cleaned(state: u32): u32 {
    return state & ~(STATE_DIRTY | STATE_CHECKPOINT_NEEDED | STATE_IO_ERROR);
  }

  @inline private static wake(desc: BufferDesc, seen: u32): void {
    if ((seen & STATE_IO_WAITERS) != 0) Atomic.notifyAll(desc.stateAddress());
  }
}
