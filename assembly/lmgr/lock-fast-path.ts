// The fast path: weak locks on relations (modes 1 to 3), which hardly ever conflict, are noted in
// an array of the backend's own instead of the table, by one store and one load.
//
// An entry, 32 bytes; sixteen make a group, and a relation's number says which group:
//
//  0          4                8                    16                   24        32
//  ┌──────────┬────────────────┬────────────────────┬────────────────────┬─────────┐
//  │ relation │ MOVED · modes  │ counts, session    │ …, transaction     │    -    │
//  └──────────┴────────────────┴────────────────────┴────────────────────┴─────────┘
//  └── one atomic u64; 0: free ┘  u16 a mode; the owner's own
//
// The handshake: whoever takes a weak lock stores the entry and then loads the strong flag of the
// relation's class (lock-strong.ts). Whoever takes a strong lock (modes 5 to 8) sets the flag and
// then looks at the entries of every backend. At least one sees the other. A weak locker who sees
// the flag takes his entry back by compare-and-swap and goes to the table.
//
// Moving an entry to the table, by who takes a strong lock, under the partition lock:
//
//   a record is filled in; its word then says {owner, modes, MOVING}; it is linked
//   · the entry is swapped to MOVED: this is the commit. If the owner has changed it meanwhile,
//     once more from what it says now, or the record is taken out again
//   · the record joins one that the owner has already, or loses MOVING
//
// MOVED stays in the entry until its owner notices (`settle`): he adds the counts of the entry to
// those of the record. He does it under the partition lock, so that a repair after a death in the
// middle still sees what was committed: an entry with MOVED means the record counts, one without
// means it does not (lock-reap.ts).
//
// Cost: a pair of acquire and release is one store and one compare-and-swap, and sixteen loads
// twice to find the entry.
//
// PostgreSQL: src/backend/storage/lmgr/lock.c, FastPathGrantRelationLock,
// FastPathUnGrantRelationLock, FastPathTransferRelationLocks

import { Atomic } from "../common/atomics";
import {
  ST_ALREADY_HELD,
  ST_LOCKS_FULL,
  ST_MISS,
  ST_OK,
  ST_TOO_MANY_LOCKS,
} from "../common/constants";
import {
  FAST_PATH_ENTRIES,
  FAST_PATH_ENTRY_BYTES,
  FAST_PATH_GROUP_SHIFT,
  FAST_PATH_MODES,
  FAST_PATH_MOVED,
  LEVEL_SESSION,
  LEVEL_TRANSACTION,
  RECORD_MOVING,
  ROW_EXCLUSIVE_LOCK,
} from "../common/lock-constants";
import { Region } from "../ipc/region";
import { me, Self } from "../ipc/self";
import { LockModes } from "./lock-modes";
import { LockRecord, RecordWord } from "./lock-record";
import { LockState } from "./lock-state";
import { Strong } from "./lock-strong";
import { LockTable } from "./lock-table";
import { LockTag } from "./lock-tag";

/** PostgreSQL's factor: it spreads neighbouring numbers over the groups. */
const GROUP_FACTOR: u32 = 49157;
const HALF_BITS: u64 = 32;
const COUNTS_OFFSET: usize = 8;
const COUNTS_BYTES: usize = 16;
const LEVEL_SHIFT: u32 = 3;
const COUNT_SHIFT: u32 = 1;
const MAX_COUNT: u32 = 0xffff;

/** What stands in the first eight bytes of an entry. */
export class EntryWord {
  @inline static of(relation: u32, modes: u32): u64 {
    return relation | ((<u64>modes) << HALF_BITS);
  }

  @inline static relation(word: u64): u32 {
    return <u32>word;
  }

  /** Held modes, bit `1 << mode`; 0 in a free entry. */
  @inline static modes(word: u64): u32 {
    return <u32>(word >>> HALF_BITS) & FAST_PATH_MODES;
  }

  @inline static isMoved(word: u64): bool {
    return (<u32>(word >>> HALF_BITS) & FAST_PATH_MOVED) != 0;
  }

  @inline static moved(word: u64): u64 {
    return word | ((<u64>FAST_PATH_MOVED) << HALF_BITS);
  }
}

@unmanaged
export class FastPathEntry {
  /** Relation, modes, MOVED; atomic access only. */
  private word: u64;

  @inline static at(address: usize): FastPathEntry {
    return changetype<FastPathEntry>(address);
  }

  @inline address(): usize {
    return changetype<usize>(this);
  }

  @inline getWord(): u64 {
    return Atomic.load64(this.address());
  }

  @inline setWord(word: u64): void {
    Atomic.store64(this.address(), word);
  }

  @inline swapWord(seen: u64, next: u64): bool {
    return Atomic.swap64(this.address(), seen, next);
  }

  @inline private countAddress(mode: u32, level: u32): usize {
    const place: usize = (level << LEVEL_SHIFT) + (mode << COUNT_SHIFT);
    return this.address() + COUNTS_OFFSET + place;
  }

  @inline getCount(mode: u32, level: u32): u32 {
    return load<u16>(this.countAddress(mode, level));
  }

  @inline setCount(mode: u32, level: u32, count: u32): void {
    store<u16>(this.countAddress(mode, level), <u16>count);
  }

  /** Empties the entry of a backend that is gone. */
  clear(): void {
    if (this.getWord() == 0) return;
    memory.fill(this.address() + COUNTS_OFFSET, 0, COUNTS_BYTES);
    this.setWord(0);
  }
}

export class FastPath {
  /** First entry of the group of a relation. */
  @inline private static group(backend: u32, relation: u32): usize {
    const group = (relation * GROUP_FACTOR) & Region.get().fastPathMask;
    return LockState.of(backend).entries() + ((<usize>group) << FAST_PATH_GROUP_SHIFT);
  }

  /** Address of a backend's entry for a relation, or 0. */
  static find(backend: u32, relation: u32): usize {
    let at = FastPath.group(backend, relation);
    for (let index: u32 = 0; index < <u32>FAST_PATH_ENTRIES; ++index) {
      const word = FastPathEntry.at(at).getWord();
      if (EntryWord.relation(word) == relation && EntryWord.modes(word) != 0) return at;
      at += FAST_PATH_ENTRY_BYTES;
    }
    return 0;
  }

  // ── Weak locks, for their owner ────────────────────────────────────────────────────────────────

  /** ST_OK, ST_ALREADY_HELD, ST_TOO_MANY_LOCKS; ST_MISS: by way of the table. */
  static acquire(hash: u32, relation: u32, mode: u32, level: u32): i32 {
    let at = FastPath.group(me, relation);
    let free: usize = 0;
    for (let index: u32 = 0; index < <u32>FAST_PATH_ENTRIES; ++index) {
      const word = FastPathEntry.at(at).getWord();
      if (word == 0) {
        if (free == 0) free = at;
      } else if (EntryWord.relation(word) == relation) {
        return FastPath.addMode(FastPathEntry.at(at), word, hash, mode, level);
      }
      at += FAST_PATH_ENTRY_BYTES;
    }
    if (free == 0 || Strong.isSet(hash)) return ST_MISS;
    const entry = FastPathEntry.at(free);
    const taken = EntryWord.of(relation, LockModes.bit(mode));
    entry.setWord(taken);
    // Somebody has or wants a strong lock: back, unless he has moved the entry, with this lock.
    if (Strong.isSet(hash) && entry.swapWord(taken, 0)) return ST_MISS;
    entry.setCount(mode, level, 1);
    return ST_OK;
  }

  /**
   * One more mode in an entry that is there: whoever takes a strong lock finds it and swaps its
   * word, so that one of the two swaps fails, and no flag need be looked at afterwards.
   */
  private static addMode(entry: FastPathEntry, word: u64, hash: u32, mode: u32, level: u32): i32 {
    if (EntryWord.isMoved(word)) return ST_MISS;
    const count = entry.getCount(mode, level);
    if ((EntryWord.modes(word) & LockModes.bit(mode)) != 0) {
      if (count == MAX_COUNT) return ST_TOO_MANY_LOCKS;
      entry.setCount(mode, level, count + 1);
      return ST_ALREADY_HELD;
    }
    const taken = word | EntryWord.of(0, LockModes.bit(mode));
    if (Strong.isSet(hash) || !entry.swapWord(word, taken)) return ST_MISS;
    entry.setCount(mode, level, 1);
    return ST_OK;
  }

  /** ST_OK if the lock was held here and is given back; ST_MISS: by way of the table. */
  static release(relation: u32, mode: u32, level: u32): i32 {
    const at = FastPath.find(me, relation);
    if (at == 0) return ST_MISS;
    const entry = FastPathEntry.at(at);
    const word = entry.getWord();
    const count = entry.getCount(mode, level);
    if (EntryWord.isMoved(word) || count == 0) return ST_MISS;
    if (count > 1 || entry.getCount(mode, LEVEL_TRANSACTION - level) != 0) {
      entry.setCount(mode, level, count - 1);
      return ST_OK;
    }
    if (!FastPath.drop(entry, word, LockModes.bit(mode))) return ST_MISS;
    entry.setCount(mode, level, 0);
    return ST_OK;
  }

  /** Takes modes off an entry; false if it was moved meanwhile. */
  @inline private static drop(entry: FastPathEntry, word: u64, modes: u32): bool {
    const left = EntryWord.modes(word) & ~modes;
    return entry.swapWord(word, left == 0 ? 0 : EntryWord.of(EntryWord.relation(word), left));
  }

  /** Gives back all that is held at the levels of `levels` (bit `1 << level`) and not moved. */
  static releaseAll(levels: u32): void {
    let at = LockState.mine().entries();
    const count = (Region.get().fastPathMask + 1) * FAST_PATH_ENTRIES;
    for (let index: u32 = 0; index < count; ++index) {
      const entry = FastPathEntry.at(at);
      const word = entry.getWord();
      if (word != 0 && !EntryWord.isMoved(word)) FastPath.dropLevels(entry, word, levels);
      at += FAST_PATH_ENTRY_BYTES;
    }
  }

  private static dropLevels(entry: FastPathEntry, word: u64, levels: u32): void {
    let dropped: u32 = 0;
    for (let mode: u32 = 1; mode <= <u32>ROW_EXCLUSIVE_LOCK; ++mode) {
      const session = (levels & 1) != 0 ? 0 : entry.getCount(mode, LEVEL_SESSION);
      const transaction = levels >>> 1 != 0 ? 0 : entry.getCount(mode, LEVEL_TRANSACTION);
      if (session + transaction == 0) dropped |= LockModes.bit(mode);
    }
    // Moved meanwhile: the counts must still be there for who settles it.
    if ((dropped & EntryWord.modes(word)) != 0 && !FastPath.drop(entry, word, dropped)) return;
    for (let mode: u32 = 1; mode <= <u32>ROW_EXCLUSIVE_LOCK; ++mode) {
      if ((levels & 1) != 0) entry.setCount(mode, LEVEL_SESSION, 0);
      if (levels >>> 1 != 0) entry.setCount(mode, LEVEL_TRANSACTION, 0);
    }
  }

  /** Empties the fast path of a backend that leaves or is dead. */
  static clear(backend: u32): void {
    let at = LockState.of(backend).entries();
    const count = (Region.get().fastPathMask + 1) * FAST_PATH_ENTRIES;
    for (let index: u32 = 0; index < count; ++index) {
      FastPathEntry.at(at).clear();
      at += FAST_PATH_ENTRY_BYTES;
    }
  }

  /** The number of the first relation whose entry of this backend's was moved; -1 without one. */
  static firstMoved(): i64 {
    let at = LockState.mine().entries();
    const count = (Region.get().fastPathMask + 1) * FAST_PATH_ENTRIES;
    for (let index: u32 = 0; index < count; ++index) {
      const word = FastPathEntry.at(at).getWord();
      if (EntryWord.isMoved(word)) return EntryWord.relation(word);
      at += FAST_PATH_ENTRY_BYTES;
    }
    return -1;
  }

  /** Adds the counts of an entry that was moved to those of the record. Partition lock held. */
  static settle(hash: u32, tag: LockTag): void {
    const at = FastPath.find(me, tag.field2);
    if (at == 0) return;
    const entry = FastPathEntry.at(at);
    if (!EntryWord.isMoved(entry.getWord())) return;
    const reference = LockTable.find(hash, tag, Self.owner());
    for (let mode: u32 = 1; mode <= <u32>ROW_EXCLUSIVE_LOCK; ++mode) {
      for (let level: u32 = 0; level <= <u32>LEVEL_TRANSACTION; ++level) {
        const count = entry.getCount(mode, level);
        if (count == 0) continue;
        const record = LockRecord.at(reference);
        record.setCount(mode, level, min(record.getCount(mode, level) + count, MAX_COUNT));
        entry.setCount(mode, level, 0);
      }
    }
    entry.setWord(0);
  }

  // ── Moving, for who takes a strong lock ────────────────────────────────────────────────────────

  /** Moves every backend's entry for a relation to the table; ST_LOCKS_FULL if there is no room. */
  static move(hash: u32, tag: LockTag): i32 {
    for (let backend = Region.get().backends; backend-- > 0; ) {
      const at = FastPath.find(backend, tag.field2);
      if (at == 0 || EntryWord.isMoved(FastPathEntry.at(at).getWord())) continue;
      if (!FastPath.moveEntry(hash, tag, backend, FastPathEntry.at(at))) return ST_LOCKS_FULL;
    }
    return ST_OK;
  }

  private static moveEntry(hash: u32, tag: LockTag, backend: u32, entry: FastPathEntry): bool {
    let reference: u32 = 0;
    while (true) {
      const word = entry.getWord();
      const modes = EntryWord.modes(word);
      if (modes == 0 || EntryWord.relation(word) != tag.field2) {
        if (reference != 0) LockTable.remove(hash, reference);
        return true;
      }
      const moving = (backend + 1) | RECORD_MOVING | RecordWord.holding(modes);
      if (reference != 0) LockRecord.at(reference).setWord(moving);
      else reference = FastPath.makeRecord(hash, tag, backend, moving);
      if (reference == 0) return false;
      if (entry.swapWord(word, EntryWord.moved(word))) break;
    }
    FastPath.finish(hash, tag, reference);
    return true;
  }

  /** A record on another's behalf: until it is complete it is this backend's. */
  private static makeRecord(hash: u32, tag: LockTag, backend: u32, moving: u32): u32 {
    const reference = LockTable.allocate(backend, Self.owner());
    if (reference == 0) return 0;
    const record = LockRecord.at(reference);
    record.tag().copy(tag);
    record.clearCounts();
    record.setWord(moving);
    LockTable.link(hash, reference);
    return reference;
  }

  /** The entry says MOVED: the record counts from now on, by itself or as part of another. */
  static finish(hash: u32, tag: LockTag, reference: u32): void {
    const record = LockRecord.at(reference);
    const word = record.getWord();
    const other = LockTable.find(hash, tag, RecordWord.owner(word));
    if (other == 0) {
      record.setWord(word & ~RECORD_MOVING);
    } else {
      LockRecord.at(other).changeWord(0, RecordWord.holding(RecordWord.held(word)));
      LockTable.remove(hash, reference);
    }
  }
}

if (1 << FAST_PATH_GROUP_SHIFT != FAST_PATH_ENTRIES * FAST_PATH_ENTRY_BYTES) {
  ERROR("a group must be its entries");
}
if (COUNTS_OFFSET + COUNTS_BYTES > <usize>FAST_PATH_ENTRY_BYTES) ERROR("an entry is too small");
if (LEVEL_SESSION != 0 || LEVEL_TRANSACTION != 1) ERROR("levels are bits of a mask");
if ((FAST_PATH_MODES & FAST_PATH_MOVED) != 0) ERROR("MOVED is no mode");
if (FAST_PATH_MODES >>> (ROW_EXCLUSIVE_LOCK + 1) != 0) ERROR("modes of an entry are 1 to 3");
