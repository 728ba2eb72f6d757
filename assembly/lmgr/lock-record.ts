// One backend's hold on, or wait for, one lock: the only truth there is about heavyweight locks.
//
// A record belongs to one (backend, tag). Masks of what is granted or awaited, counts of holders
// and the order of a queue are read off the records when they are needed, and kept nowhere: so
// there is nothing that a death could leave wrong, and giving back what a dead backend held is
// taking its records out of their chains.
//
//  0        4        8                24               32                  48                 64
//  ┌────────┬────────┬────────────────┬────────────────┬───────────────────┬──────────────────┐
//  │  word  │  next  │      tag       │     ticket     │ counts, session   │ …, transaction   │
//  └────────┴────────┴────────────────┴────────────────┴───────────────────┴──────────────────┘
//
//         31    25     24       23     22    19 18      11 10  9             0
//        ┌────────┬────────┬────────┬────────┬──────────┬───┬───────────────┐
//  word  │        │ MOVING │ STRONG │  wait  │   hold   │ - │ owner + 1, 0  │
//        └────────┴────────┴────────┴────────┴──────────┴───┴───────────────┘
//
// Rules of life:
// * A record is free when its word is 0. Whoever wants it swaps 0 for his own number; then nobody
//   else touches it until it is linked. It is unlinked before its word becomes 0 again.
// * Once it is linked its word, ticket and link change only under the lock of its partition.
// * A grant is one compare-and-swap of the word: hold bit on, wait mode off. Who waits sleeps on
//   this very word, so that any change of it wakes him, and nothing is left to do for him
//   afterwards.
// * The counts are the owner's own: how often he has taken each mode, by plain stores. They are set
//   before he begins to wait, so that a grant makes them true.
// * MOVING: made by somebody else on the owner's behalf, out of his fast path (lock-fast-path.ts).
//   Until the bit goes the record is not there for its owner.
// * The ticket says where in the queue a waiter stands (lock-queue.ts).
//
// Cost: one cache line a record; a lock that nobody contends touches it, a head and a partition.
//
// PostgreSQL: src/include/storage/lock.h, LOCK, PROCLOCK, LOCALLOCK (three structures there)

import { Atomic } from "../common/atomics";
import { OWNER_MASK } from "../common/constants";
import {
  LEVEL_TRANSACTION,
  LOCK_LEVELS,
  LOCK_MODES,
  LOCK_RECORD_BYTES,
  LOCK_RECORD_SHIFT,
  RECORD_COUNTS_OFFSET,
  RECORD_HOLD_MASK,
  RECORD_HOLD_SHIFT,
  RECORD_MOVING,
  RECORD_STRONG,
  RECORD_TAG_OFFSET,
  RECORD_TICKET_OFFSET,
  RECORD_WAIT_MASK,
  RECORD_WAIT_SHIFT,
} from "../common/lock-constants";
import { Region } from "../ipc/region";
import { LockTag } from "./lock-tag";

/** Counts of one level, all modes: u16 each. */
const LEVEL_SHIFT: u32 = 3;
const COUNT_SHIFT: u32 = 1;
const MAX_COUNT: u32 = 0xffff;

/** What stands in a record's word. */
export class RecordWord {
  /** Backend + 1, or 0. */
  @inline static owner(word: u32): u32 {
    return word & OWNER_MASK;
  }

  /** Held modes, bit `1 << mode`. */
  @inline static held(word: u32): u32 {
    return (word & RECORD_HOLD_MASK) >>> RECORD_HOLD_SHIFT;
  }

  /** The mode waited for, or 0. */
  @inline static awaited(word: u32): u32 {
    return (word & RECORD_WAIT_MASK) >>> RECORD_WAIT_SHIFT;
  }

  @inline static isWaiting(word: u32): bool {
    return (word & RECORD_WAIT_MASK) != 0;
  }

  @inline static isStrong(word: u32): bool {
    return (word & RECORD_STRONG) != 0;
  }

  @inline static isMoving(word: u32): bool {
    return (word & RECORD_MOVING) != 0;
  }

  /** The bits that say that the modes of `mask` are held. */
  @inline static holding(mask: u32): u32 {
    return mask << RECORD_HOLD_SHIFT;
  }

  /** The bits that say that `mode` is waited for. */
  @inline static awaiting(mode: u32): u32 {
    return mode << RECORD_WAIT_SHIFT;
  }
}

@unmanaged
export class LockRecord {
  /** Owner, modes, flags. Atomic access only. */
  private word: u32;
  /** Reference to the next of the chain, or 0. Atomic access only. */
  private next: u32;
  /** The tag, through `tag()`. Written before the record is linked. */
  private field1: u32;
  private field2: u32;
  private field3: u32;
  private rest: u32;
  /** Place in the queue, while it waits. Written under the partition lock. */
  private ticket: u64;

  /** The record of a reference: its number + 1, as it stands in chains. */
  @inline static at(reference: u32): LockRecord {
    const index: usize = reference - 1;
    return changetype<LockRecord>(Region.get().lockRecords + (index << LOCK_RECORD_SHIFT));
  }

  /** Number of records. */
  @inline static total(): u32 {
    const region = Region.get();
    return region.locksPerBackend * region.backends;
  }

  @inline address(): usize {
    return changetype<usize>(this);
  }

  @inline tag(): LockTag {
    return LockTag.at(this.address() + RECORD_TAG_OFFSET);
  }

  // ── The word ───────────────────────────────────────────────────────────────────────────────────

  /** What a waiter sleeps on. */
  @inline wordAddress(): usize {
    return this.address();
  }

  @inline getWord(): u32 {
    return Atomic.load(this.wordAddress());
  }

  @inline setWord(word: u32): void {
    Atomic.store(this.wordAddress(), word);
  }

  @inline swapWord(seen: u32, next: u32): bool {
    return Atomic.swap(this.wordAddress(), seen, next);
  }

  /** Takes bits off and puts others on; the partition lock is held. Returns what stood there. */
  changeWord(off: u32, on: u32): u32 {
    while (true) {
      const seen = this.getWord();
      if (this.swapWord(seen, (seen & ~off) | on)) return seen;
    }
  }

  /** Backend + 1, or 0 if the record is free. */
  @inline owner(): u32 {
    return RecordWord.owner(this.getWord());
  }

  // ── Chain and queue ────────────────────────────────────────────────────────────────────────────

  @inline nextAddress(): usize {
    return this.address() + offsetof<LockRecord>("next");
  }

  @inline getNext(): u32 {
    return Atomic.load(this.nextAddress());
  }

  @inline getTicket(): u64 {
    return Atomic.load64(this.address() + offsetof<LockRecord>("ticket"));
  }

  @inline setTicket(ticket: u64): void {
    Atomic.store64(this.address() + offsetof<LockRecord>("ticket"), ticket);
  }

  // ── The owner's counts ─────────────────────────────────────────────────────────────────────────

  @inline private countAddress(mode: u32, level: u32): usize {
    const index: usize = (level << LEVEL_SHIFT) + mode - 1;
    return this.address() + RECORD_COUNTS_OFFSET + (index << COUNT_SHIFT);
  }

  /** How often the owner has taken a mode at a level. */
  @inline getCount(mode: u32, level: u32): u32 {
    return load<u16>(this.countAddress(mode, level));
  }

  @inline setCount(mode: u32, level: u32, count: u32): void {
    store<u16>(this.countAddress(mode, level), <u16>count);
  }

  /** Counts one more; false if it cannot. */
  @inline addCount(mode: u32, level: u32): bool {
    const count = this.getCount(mode, level);
    if (count == MAX_COUNT) return false;
    this.setCount(mode, level, count + 1);
    return true;
  }

  /** At both levels together. */
  @inline countOf(mode: u32): u32 {
    return this.getCount(mode, 0) + this.getCount(mode, LEVEL_TRANSACTION);
  }

  /** By stores, as a short fill costs more than all the rest of a lock. */
  @inline clearCounts(): void {
    const end = this.address() + LOCK_RECORD_BYTES;
    for (let at = this.address() + RECORD_COUNTS_OFFSET; at < end; at += sizeof<u64>()) {
      store<u64>(at, 0);
    }
  }
}

if (offsetof<LockRecord>("field1") != RECORD_TAG_OFFSET) ERROR("the tag moved");
if (offsetof<LockRecord>("ticket") != RECORD_TICKET_OFFSET) ERROR("the ticket moved");
if (offsetof<LockRecord>() != RECORD_COUNTS_OFFSET) ERROR("the counts moved");
if (RECORD_COUNTS_OFFSET + LOCK_LEVELS * LOCK_MODES * 2 != LOCK_RECORD_BYTES) {
  ERROR("a record must be one cache line");
}
if (1 << LOCK_RECORD_SHIFT != LOCK_RECORD_BYTES) ERROR("a record's size must be its shift");
if (1 << LEVEL_SHIFT != LOCK_MODES) ERROR("a level has a count for each mode");
if (RECORD_HOLD_MASK != ((1 << LOCK_MODES) - 1) << (RECORD_HOLD_SHIFT + 1)) {
  ERROR("hold bits must be those of modes 1 to 8");
}
if (((OWNER_MASK & RECORD_HOLD_MASK) | (RECORD_WAIT_MASK & RECORD_HOLD_MASK)) != 0) {
  ERROR("fields of the word overlap");
}
if (LOCK_MODES << RECORD_WAIT_SHIFT > RECORD_WAIT_MASK) ERROR("a mode must fit its bits");
if ((RECORD_WAIT_MASK & (RECORD_STRONG | RECORD_MOVING)) != 0) ERROR("flags overlap");
