// One slot a backend: its life, and the few words through which others reach it.
//
//   life word: FREE → CLAIMED → ACTIVE → EXITING → FREE
//                        └→ REFUSED        any → DEAD (by the owner alone) → FREE
//                        └→ WATCHED → ACTIVE
//                                          any → ENDED (by who watched the thread) → DEAD
//
//    31                          3 2    0
//   ┌─────────────────────────────┬──────┐
//   │          thread id          │ state│
//   └─────────────────────────────┴──────┘
//
// One compare-and-swap claims a slot together with the thread it belongs to, so that the owner of
// the region, who alone learns of a thread's end, always knows whose slot it is. A number is used
// again only after the dead backend's holds are gone (buffer/reap.ts).
//
// PostgreSQL: src/include/storage/proc.h, PGPROC; src/backend/storage/lmgr/proc.c, InitProcess

import { Atomic } from "../common/atomics";
import {
  BACKEND_CLIENT,
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_CRASHED,
  LIFE_DEAD,
  LIFE_ENDED,
  LIFE_FREE,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  SLOT_BYTES,
  SLOT_CHANGING_OFFSET,
  SLOT_CLEANUP_OFFSET,
  SLOT_DIRTY_BEFORE_OFFSET,
  SLOT_GENERATION_OFFSET,
  SLOT_INTERRUPTS_OFFSET,
  SLOT_KIND_OFFSET,
  SLOT_LATCH_OFFSET,
  SLOT_LIFE_OFFSET,
  SLOT_MAY_BLOCK_OFFSET,
  SLOT_SLEEP_VALUE_OFFSET,
  SLOT_SLEEPING_ON_OFFSET,
  SLOT_WAIT_EVENT_OFFSET,
  SLOT_WATCHER_OFFSET,
  SLOT_WRITING_OFFSET,
  ST_NO_SLOT,
} from "../common/constants";
import { Region } from "./region";
import { me } from "./self";

@unmanaged
export class Slot {
  /** State and thread id. Atomic. */
  private life: u32;
  /** How often the slot was given back. Written by whoever frees it. */
  private generation: u32;
  /** Address of the word its backend sleeps on, or 0. Atomic. */
  private sleepingOn: u32;
  /** Value that word had. Private to the backend. */
  sleepValue: u32;
  /** Buffer + 1 of the page being changed, or 0. Atomic; the store of 0 commits the change. */
  private changing: u32;
  /** 0 on a thread that must not sleep. Private to the backend. */
  mayBlock: u32;
  /** BACKEND_: which rows its counters join when it is gone. Atomic. */
  private kind: u32;
  /** Counts the times this backend was woken by name (cleanup locks). Atomic. */
  private latch: u32;
  /** Whether the page being changed was dirty before. Private to the backend. */
  dirtyBefore: u32;
  /** Buffer + 1 whose cleanup lock this backend waits for, or 0. Atomic. */
  private cleanup: u32;
  /** INTERRUPT_ bits that others set and this backend clears. Atomic. */
  private interrupts: u32;
  /** WAIT_: what this backend sleeps for, or 0. Its own; others read it for their rows. */
  waitEvent: u32;
  /** Token + 1 of the thread that watches this one's for the owner, or 0. In TypeScript. */
  private watcher: u32;
  /** 1 while its backend changes storage. Atomic; written in TypeScript. */
  private writing: u32;

  @inline static at(index: u32): Slot {
    return changetype<Slot>(Region.get().slots + index * SLOT_BYTES);
  }

  @inline static mine(): Slot {
    return Slot.at(me);
  }

  /**
   * Claims a free slot for a thread; its number, or ST_NO_SLOT. Helpers have the topmost slots, and
   * nobody else may: however many clients there are, a helper that died finds its place again.
   */
  static claim(threadId: u32, helper: bool): i32 {
    const claimed = (threadId << LIFE_STATE_BITS) | LIFE_CLAIMED;
    const region = Region.get();
    const border = region.backends - region.helpers;
    const end = helper ? region.backends : border;
    for (let index: u32 = helper ? border : 1; index < end; ++index) {
      const slot = Slot.at(index);
      if (slot.getLife() == LIFE_FREE && slot.swapLife(LIFE_FREE, claimed)) return index;
    }
    return ST_NO_SLOT;
  }

  /** Empties the slot and makes it free; the last step of detaching and of reaping. */
  release(): void {
    this.sleepValue = 0;
    this.waitEvent = 0;
    Atomic.store(this.interruptsAddress(), 0);
    Atomic.store(this.address(offsetof<Slot>("watcher")), 0);
    Atomic.store(this.address(offsetof<Slot>("writing")), 0);
    this.setKind(BACKEND_CLIENT);
    this.generation += 1;
    Atomic.store(this.address(offsetof<Slot>("life")), LIFE_FREE);
  }

  @inline getLife(): u32 {
    return Atomic.load(this.address(offsetof<Slot>("life")));
  }

  @inline isInUse(): bool {
    return this.getLife() != LIFE_FREE;
  }

  /** Whether its backend is known to have ended, or has crashed, and is about to be repaired. */
  isGone(): bool {
    const state = this.getLife() & LIFE_STATE_MASK;
    return state == LIFE_DEAD || state == LIFE_ENDED || state == LIFE_CRASHED;
  }

  @inline swapLife(seen: u32, next: u32): bool {
    return Atomic.swap(this.address(offsetof<Slot>("life")), seen, next);
  }

  /** Moves the life word to `state`, keeping the thread id; returns false if it was not `from`. */
  advance(from: u32, state: u32): bool {
    const life = this.getLife();
    if ((life & LIFE_STATE_MASK) != from) return false;
    return this.swapLife(life, (life & ~LIFE_STATE_MASK) | state);
  }

  @inline getSleepingOn(): u32 {
    return Atomic.load(this.address(offsetof<Slot>("sleepingOn")));
  }

  @inline setSleepingOn(word: u32): void {
    Atomic.store(this.address(offsetof<Slot>("sleepingOn")), word);
  }

  @inline latchAddress(): usize {
    return this.address(offsetof<Slot>("latch"));
  }

  @inline getLatch(): u32 {
    return Atomic.load(this.latchAddress());
  }

  /** Wakes the backend of this slot, if it sleeps on its latch. */
  setLatch(): void {
    Atomic.add(this.latchAddress(), 1);
    Atomic.notifyAll(this.latchAddress());
  }

  @inline getCleanup(): u32 {
    return Atomic.load(this.address(offsetof<Slot>("cleanup")));
  }

  @inline setCleanup(bufferPlusOne: u32): void {
    Atomic.store(this.address(offsetof<Slot>("cleanup")), bufferPlusOne);
  }

  @inline getChanging(): u32 {
    return Atomic.load(this.address(offsetof<Slot>("changing")));
  }

  @inline setChanging(bufferPlusOne: u32): void {
    Atomic.store(this.address(offsetof<Slot>("changing")), bufferPlusOne);
  }

  @inline getInterrupts(): u32 {
    return Atomic.load(this.interruptsAddress());
  }

  @inline interruptsAddress(): usize {
    return this.address(offsetof<Slot>("interrupts"));
  }

  /** Asks the backend of this slot for something; it is to be woken afterwards. */
  @inline interrupt(bits: u32): void {
    Atomic.or(this.interruptsAddress(), bits);
  }

  @inline getKind(): u32 {
    return Atomic.load(this.address(offsetof<Slot>("kind")));
  }

  @inline setKind(kind: u32): void {
    Atomic.store(this.address(offsetof<Slot>("kind")), kind);
  }

  @inline private address(offset: usize): usize {
    return changetype<usize>(this) + offset;
  }
}

if (offsetof<Slot>("life") != SLOT_LIFE_OFFSET) ERROR("life moved");
if (offsetof<Slot>("generation") != SLOT_GENERATION_OFFSET) ERROR("generation moved");
if (offsetof<Slot>("sleepingOn") != SLOT_SLEEPING_ON_OFFSET) ERROR("sleepingOn moved");
if (offsetof<Slot>("sleepValue") != SLOT_SLEEP_VALUE_OFFSET) ERROR("sleepValue moved");
if (offsetof<Slot>("changing") != SLOT_CHANGING_OFFSET) ERROR("changing moved");
if (offsetof<Slot>("mayBlock") != SLOT_MAY_BLOCK_OFFSET) ERROR("mayBlock moved");
if (offsetof<Slot>("kind") != SLOT_KIND_OFFSET) ERROR("kind moved");
if (offsetof<Slot>("latch") != SLOT_LATCH_OFFSET) ERROR("latch moved");
if (offsetof<Slot>("dirtyBefore") != SLOT_DIRTY_BEFORE_OFFSET) ERROR("dirtyBefore moved");
if (offsetof<Slot>("cleanup") != SLOT_CLEANUP_OFFSET) ERROR("cleanup moved");
if (offsetof<Slot>("interrupts") != SLOT_INTERRUPTS_OFFSET) ERROR("interrupts moved");
if (offsetof<Slot>("waitEvent") != SLOT_WAIT_EVENT_OFFSET) ERROR("waitEvent moved");
if (offsetof<Slot>("watcher") != SLOT_WATCHER_OFFSET) ERROR("watcher moved");
if (offsetof<Slot>("writing") != SLOT_WRITING_OFFSET) ERROR("writing moved");
if (offsetof<Slot>() > <usize>SLOT_BYTES) ERROR("Slot outgrew its stride");
if (LIFE_ACTIVE > LIFE_STATE_MASK) ERROR("a life state must fit its bits");
