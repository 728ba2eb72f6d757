// The edges of a deadlock, for the error's DETAIL: left on the scratch page of the backend that
// found it, one after another.
//
//   waiter · mode · blocker · 0 · tag (16 bytes)
//
// Waiter and blocker are slots. Wasm writes no text: bindings/shared/lock-errors.ts does.
//
// PostgreSQL: src/backend/storage/lmgr/deadlock.c, DEADLOCK_INFO, DeadLockReport

import { BLOCK_BYTES } from "../common/constants";
import { DEADLOCK_EDGE_BYTES } from "../common/lock-constants";
import { Region } from "../ipc/region";
import { me } from "../ipc/self";
import { LockTag } from "./lock-tag";

const PAGES_PER_SLOT: usize = 2;
const TAG_OFFSET: usize = 16;

@unmanaged
export class DeadlockEdge {
  waiter: u32;
  mode: u32;
  blocker: u32;
  private spare: u32;
  private field1: u32;
  private field2: u32;
  private field3: u32;
  private rest: u32;

  /** One edge on this backend's scratch page. @param index - below `LIMIT` */
  @inline static at(index: u32): DeadlockEdge {
    const page = Region.get().slotPages + (<usize>me * PAGES_PER_SLOT + 1) * BLOCK_BYTES;
    return changetype<DeadlockEdge>(page + <usize>index * DEADLOCK_EDGE_BYTES);
  }

  @inline fill(waiter: u32, mode: u32, blocker: u32, tag: LockTag): void {
    this.waiter = waiter;
    this.mode = mode;
    this.blocker = blocker;
    LockTag.at(changetype<usize>(this) + TAG_OFFSET).copy(tag);
  }
}

if (offsetof<DeadlockEdge>("field1") != TAG_OFFSET) ERROR("the tag moved");
if (offsetof<DeadlockEdge>() != DEADLOCK_EDGE_BYTES) ERROR("DeadlockEdge changed its size");
