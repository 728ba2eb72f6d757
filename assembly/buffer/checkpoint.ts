// Writing out everything that was dirty at one moment, in the order of the files.
//
//   cut      the interval number advances: what is committed later belongs to the next checkpoint
//   collect  marks every buffer that is dirty from before CHECKPOINT_NEEDED and lists it, sorted by
//            file and block
//   begin    of each: pin, wait out writers and exclusive holders, take the write
//   … storage writes … finishWrite, unpin; when all are done, storage makes the files durable
//
//   list entry, 16 B    0  file << 32 | block, u64     8  buffer, u32     12  0
//
// Pages dirtied after the cut are not part of it, so a checkpoint ends under any load. A page that
// is changed again before it was written has its version of the cut in the journal by then
// (change.ts), and is passed by. One list a region: the checkpoint lock is held.
//
// A backend that holds writes of several pages must not wait for a lock: who has that lock may wait
// for one of those pages. So `begin` has a form that gives up instead.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, BufferSync, SyncOneBuffer, FlushRelationBuffers

import { WAIT_BUFFER_IO } from "../common/activity-constants";
import {
  NEED_WRITE,
  ST_BUSY,
  ST_MISS,
  ST_OK,
  ST_WAIT,
  STATE_CHECKPOINT_NEEDED,
  STATE_CLAIM,
  STATE_DIRTY,
  STATE_IO_WAITERS,
} from "../common/constants";
import { Region } from "../ipc/region";
import { Sleep } from "../ipc/sleep";
import { ContentLock } from "./content";
import { BufferDesc, State } from "./desc";
import { Hold } from "./hold";
import { BufferIo } from "./io";
import { Pin } from "./pin";

const ENTRY_SHIFT: u32 = 4;
const BUFFER_OFFSET: usize = 8;

export class Checkpoint {
  /** Lists what is dirty from before the cut; returns how many. */
  static collect(): u32 {
    let count: u32 = 0;
    for (let buffer = Region.get().buffers; buffer-- > 0; ) {
      const desc = BufferDesc.at(buffer);
      if (!Checkpoint.mark(desc)) continue;
      store<u64>(Checkpoint.entry(count), ((<u64>desc.file) << 32) | desc.block);
      store<u32>(Checkpoint.entry(count), buffer, BUFFER_OFFSET);
      count += 1;
    }
    Checkpoint.sort(count);
    return count;
  }

  /** The buffer at place `index` of the list. */
  @inline static buffer(index: u32): u32 {
    return load<u32>(Checkpoint.entry(index), BUFFER_OFFSET);
  }

  /**
   * Begins to write a buffer that has all of the flags `wanted`, CHECKPOINT_NEEDED or DIRTY: the
   * buffer with NEED_WRITE, pinned; ST_OK if it was written meanwhile; ST_WAIT with the word
   * registered (ST_BUSY if `mayWait` is 0); ST_BUSY to try again at once; or why this backend may
   * not.
   */
  static begin(buffer: u32, wanted: u32, mayWait: u32): i32 {
    const desc = BufferDesc.at(buffer);
    if ((desc.getState() & wanted) == 0) return ST_OK;
    Hold.raise(buffer);
    let result = Checkpoint.beginHeld(desc, buffer, wanted, mayWait != 0);
    if (result > 0 && Checkpoint.isPassed(desc, wanted)) {
      BufferIo.cancelWrite(buffer);
      result = ST_OK;
    }
    if (result <= 0) Pin.lower(buffer);
    return result;
  }

  private static wait(desc: BufferDesc, seen: u32): i32 {
    return Sleep.prepare(desc.stateAddress(), seen, ST_WAIT, WAIT_BUFFER_IO);
  }

  private static beginHeld(desc: BufferDesc, buffer: u32, wanted: u32, mayWait: bool): i32 {
    while (true) {
      const seen = desc.getState();
      if ((seen & wanted) == 0) return ST_OK;
      // Somebody tries to evict it, and will find that it has been changed since.
      if ((seen & STATE_CLAIM) != 0) return ST_BUSY;
      if (State.owner(seen) != 0) {
        if (!mayWait) return ST_BUSY;
        if (!desc.swapState(seen, seen | STATE_IO_WAITERS)) continue;
        return Checkpoint.wait(desc, seen | STATE_IO_WAITERS);
      }
      const locked = mayWait ? ContentLock.share(buffer) : ContentLock.shareNow(buffer);
      if (locked != ST_OK) return locked;
      if (BufferIo.beginWrite(buffer)) return buffer | NEED_WRITE;
    }
  }

  /** Whether the page was changed after the cut: its version of the cut stands in the journal. */
  private static isPassed(desc: BufferDesc, wanted: u32): bool {
    const region = Region.get();
    if (wanted != STATE_CHECKPOINT_NEEDED || region.journalled == 0) return false;
    return desc.changed == region.getInterval();
  }

  /** The next buffer from `first` on that is dirty, of `file` or (0) of any; ST_MISS at the end. */
  static nextDirty(file: u32, first: u32): i32 {
    const buffers = Region.get().buffers;
    for (let buffer = first; buffer < buffers; ++buffer) {
      const desc = BufferDesc.at(buffer);
      if (file != 0 && desc.file != file) continue;
      if ((desc.getState() & STATE_DIRTY) != 0) return buffer;
    }
    return ST_MISS;
  }

  /** Marks a buffer that is dirty from before the cut; false if it is not. */
  private static mark(desc: BufferDesc): bool {
    while (true) {
      const seen = desc.getState();
      if ((seen & STATE_DIRTY) == 0 || Checkpoint.isPassed(desc, STATE_CHECKPOINT_NEEDED)) {
        return false;
      }
      if (desc.swapState(seen, seen | STATE_CHECKPOINT_NEEDED)) return true;
    }
  }

  @inline private static entry(index: u32): usize {
    return Region.get().checkpoint + ((<usize>index) << ENTRY_SHIFT);
  }

  /** Heap sort by file and block: in place, and bounded whatever the order. */
  private static sort(count: u32): void {
    for (let root = count / 2; root > 0; --root) Checkpoint.siftDown(root - 1, count);
    for (let end = count; end > 1; --end) {
      Checkpoint.swap(0, end - 1);
      Checkpoint.siftDown(0, end - 1);
    }
  }

  private static siftDown(start: u32, count: u32): void {
    let root = start;
    for (let child = root * 2 + 1; child < count; child = root * 2 + 1) {
      if (child + 1 < count && Checkpoint.key(child) < Checkpoint.key(child + 1)) child += 1;
      if (Checkpoint.key(root) >= Checkpoint.key(child)) return;
      Checkpoint.swap(root, child);
      root = child;
    }
  }

  @inline private static key(index: u32): u64 {
    return load<u64>(Checkpoint.entry(index));
  }

  private static swap(a: u32, b: u32): void {
    const left = Checkpoint.entry(a);
    const right = Checkpoint.entry(b);
    const key = load<u64>(left);
    const buffer = load<u64>(left, BUFFER_OFFSET);
    store<u64>(left, load<u64>(right));
    store<u64>(left, load<u64>(right, BUFFER_OFFSET), BUFFER_OFFSET);
    store<u64>(right, key);
    store<u64>(right, buffer, BUFFER_OFFSET);
  }
}

if (ST_WAIT >= 0) ERROR("a status must be told from a buffer");
