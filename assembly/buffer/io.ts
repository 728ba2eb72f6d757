// Input and output of one frame. Wasm never calls storage: a function here says "write this" or
// "read into that frame", TypeScript does it while only the state word names this backend, and
// calls the finishing function, also on error. So no exception of a file system unwinds through a
// held word.
//
//   write   pin · share lock · DIRTY → IO|WRITING|me · copy to the write page · checksum there
//           … storage writes the write page … · DIRTY off unless changed since · IO off · unlock
//   read    IO|me (pool.ts) … storage reads into the frame … · VALID on, or IO_ERROR · IO off
//
// The page is always copied before it is written: the checksum must be that of the bytes written.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, FlushBuffer, StartBufferIO, TerminateBufferIO

import { Atomic } from "../common/atomics";
import { invariant } from "../common/check";
import {
  BLOCK_BYTES,
  COUNTER_WRITE_BYTES,
  COUNTER_WRITES,
  IO_CONTEXT_NORMAL,
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
import { Hold } from "./hold";
import { Page } from "./page";

/** Bits that end with an I/O, whatever came of it. */
const END_OF_IO: u32 = STATE_IO | STATE_WRITING | STATE_IO_WAITERS | OWNER_MASK;

export class BufferIo {
  /** Where backend `slot` keeps the page it is changing as it was before. */
  @inline static shadowPage(slot: u32): usize {
    return Region.get().slotPages + slot * (2 * BLOCK_BYTES);
  }

  /** Where this backend keeps the copy of a page that it writes. */
  @inline static writePage(): usize {
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
    Atomic.copyPage(BufferIo.writePage(), BufferDesc.frame(buffer), BLOCK_BYTES);
    Page.seal(BufferIo.writePage(), desc.block);
    return true;
  }

  /** Ends a write: the frame is clean unless it was changed since the write began. */
  static finishWrite(buffer: u32, good: bool): void {
    const desc = BufferDesc.at(buffer);
    if (good) {
      Hold.countedIo(IO_CONTEXT_NORMAL, COUNTER_WRITES, 1, COUNTER_WRITE_BYTES, BLOCK_BYTES);
    }
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
