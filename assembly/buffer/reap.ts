// Giving back what a backend held: one that leaves, or one that is dead. For the dead this is run
// by the owner of the region, once it has proof that the thread has stopped: nothing of the dead
// one can touch memory any more.
//
//   undo the page change it was in · settle its requests, and those it served (ioqueue.ts)
//   · take over its partition locks
//   · put right every frame it had CLAIM or IO on · clear its content locks and named locks
//   · give back the user's locks as each of them says, which may end the region (lwlock.ts)
//   · clear its column of hold words · give back the partition locks · give back its heavyweight
//   locks (lmgr/lock-reap.ts) · wake every sleeper · free the slot
//
// Every step is found from the words themselves, and each may be repeated: when a live backend
// holds a partition lock for longer than a bounded number of tries, or an I/O worker is just taking
// over frames of the dead one, this stops with ST_BUSY and is begun again later. Waking every
// sleeper pays all the wake-ups that the dead one owed.
//
// PostgreSQL: none for the dead. A server restarts everybody when a backend dies (postmaster.c,
// HandleChildCrash). For the leaving: src/backend/storage/buffer/bufmgr.c, AtProcExit_Buffers

import { Atomic } from "../common/atomics";
import {
  BUFFER_PARTITIONS,
  CACHE_LINE_BYTES,
  HOLD_SHARE,
  NAMED_LOCKS,
  OWNER_MASK,
  ST_BUSY,
  ST_OK,
  STATE_CLAIM,
  STATE_IO,
  STATE_PIN_WAITER,
  STATE_TAG_VALID,
} from "../common/constants";
import { Hash } from "../common/hash";
import { Region } from "../ipc/region";
import { me, Self } from "../ipc/self";
import { Slot } from "../ipc/slots";
import { LockReap } from "../lmgr/lock-reap";
import { LwLock } from "../lmgr/lwlock";
import { OwnerLock } from "../lmgr/owner";
import { Change } from "./change";
import { Cleanup } from "./cleanup";
import { ContentLock } from "./content";
import { Counters } from "./counters";
import { BufferDesc, State } from "./desc";
import { Hold } from "./hold";
import { BufferIo } from "./io";
import { IoQueue } from "./ioqueue";
import { BufferTable } from "./table";

export class Reap {
  /** Frees a slot, EXITING or DEAD, and all it held; ST_BUSY if it must be called again. */
  static backend(dead: u32): i32 {
    Change.restore(dead);
    if (IoQueue.settle(dead) != ST_OK) return ST_BUSY;
    Reap.takeOverPartitions(dead);
    const repaired = Reap.repairFrames(dead);
    if (repaired == ST_OK) {
      Cleanup.forget(dead);
      Reap.releaseNamedLocks(dead);
      LwLock.reap(dead);
      Reap.clearColumn(dead);
    }
    Reap.releasePartitions();
    if (repaired != ST_OK) return repaired;
    if (LockReap.backend(dead) != ST_OK) return ST_BUSY;
    Reap.wakeEverybody();
    Counters.addDeparted(dead);
    Slot.at(dead).setSleepingOn(0);
    Slot.at(dead).release();
    return ST_OK;
  }

  /**
   * The dead one's partition locks become the reaper's. Not those of another dead one: they would
   * be given back here before the frame is put right that it was linking or unlinking under them.
   */
  private static takeOverPartitions(dead: u32): void {
    for (let index: u32 = 0; index < <u32>BUFFER_PARTITIONS; ++index) {
      Reap.partition(index).handOver(dead + 1, Self.owner());
    }
  }

  private static releasePartitions(): void {
    for (let index: u32 = 0; index < <u32>BUFFER_PARTITIONS; ++index) {
      Reap.partition(index).releaseIfMine();
    }
  }

  private static repairFrames(dead: u32): i32 {
    for (let buffer = Region.get().buffers; buffer-- > 0; ) {
      const desc = BufferDesc.at(buffer);
      const state = desc.getState();
      if (State.owner(state) == dead + 1) {
        if ((state & STATE_IO) != 0) BufferIo.abandon(buffer);
        else if ((state & STATE_TAG_VALID) != 0) desc.changeState(STATE_CLAIM | OWNER_MASK, 0);
        else if (!Reap.freeFrame(desc, buffer)) return ST_BUSY;
      }
      Reap.releaseContent(desc, dead);
    }
    return ST_OK;
  }

  /** A frame past the commit of its eviction: perhaps still linked under its tag, perhaps not. */
  private static freeFrame(desc: BufferDesc, buffer: u32): bool {
    const hash = Hash.tag(desc.file, desc.block);
    const partition = BufferTable.partition(hash);
    const takenOver = partition.isMine();
    if (!takenOver && !partition.acquire()) return false;
    BufferTable.unlink(hash, buffer);
    desc.setState(0);
    if (!takenOver) partition.release();
    return true;
  }

  private static releaseContent(desc: BufferDesc, dead: u32): void {
    const word = desc.contentAddress();
    if ((Atomic.load(word) & OWNER_MASK) != dead + 1) return;
    Atomic.store(word, 0);
    Atomic.notifyAll(word);
  }

  private static releaseNamedLocks(dead: u32): void {
    for (let index: u32 = 0; index < <u32>NAMED_LOCKS; ++index) {
      const lock = OwnerLock.at(Region.get().locks + index * CACHE_LINE_BYTES);
      if (lock.handOver(dead + 1, Self.owner())) lock.release();
    }
  }

  private static clearColumn(dead: u32): void {
    for (let buffer = Region.get().buffers; buffer-- > 0; ) {
      const at = Hold.of(dead, buffer);
      const word = Atomic.load16(at);
      if (word == 0) continue;
      Atomic.store16(at, 0);
      if ((word & HOLD_SHARE) != 0) ContentLock.wakeDrainer(buffer);
      if ((BufferDesc.at(buffer).getState() & STATE_PIN_WAITER) != 0) Cleanup.wake(buffer);
    }
  }

  /** Wakes every backend that sleeps, whatever on. */
  static wakeEverybody(): void {
    for (let index = Region.get().backends; index-- > 0; ) {
      const slot = Slot.at(index);
      const word = slot.getSleepingOn();
      if (index != me && slot.isInUse() && word != 0) Atomic.notifyAll(word);
    }
  }

  @inline private static partition(index: u32): OwnerLock {
    return OwnerLock.at(Region.get().partitions + index * CACHE_LINE_BYTES);
  }
}
