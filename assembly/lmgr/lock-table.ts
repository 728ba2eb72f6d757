// The table of heavyweight locks: tag → the records on it.
//
//   heads[hash & mask] → reference → record.next → … → 0
//
// As the buffer table: chains run through the records, a link is one store and an unlink is one
// store, so that every chain is finite and ends in 0 at every instant. A chain holds the records of
// all tags whose hashes share its bits; those of one tag need not be neighbours. A reference is the
// number of a record + 1.
//
// Links and heads are stored plainly: who believes them holds the partition, whose lock orders them
// after. Who walks without it (`findHeld`, `isEmpty`) may see any of them late, and believes of
// what it finds only what it stored itself.
//
// The partition locks: sixteen owner words, that of a tag is hash mod 16. Nobody waits for anything
// else while holding one. Nobody holds two, but for who needs all of them (the deadlock check, the
// rows of pg_locks, the owner of the region who repairs): he takes them in ascending order, and
// gives all back if he cannot have one. Both `acquire…` fail only where OwnerLock.acquire does: the
// region has ended, or this thread may not wait that long. Then nothing is held, and the call is
// made again later.
//
// A backend takes a free record out of a section of its own, and only when that is used up one of
// somebody else's: so its records are found by looking through its section, and through all when
// it has borrowed.
//
// Cost: a lock nobody else has on a tag is found absent by one load of a head.
//
// PostgreSQL: src/backend/storage/lmgr/lock.c, LockMethodLockHash, LockMethodProcLockHash

import { Atomic } from "../common/atomics";
import { invariant } from "../common/check";
import { CACHE_LINE_BYTES, PANIC_LOCK_TABLE } from "../common/constants";
import { LOCK_PARTITION_MASK, LOCK_PARTITIONS } from "../common/lock-constants";
import { Region } from "../ipc/region";
import { me } from "../ipc/self";
import { LockRecord, RecordWord } from "./lock-record";
import { LockState } from "./lock-state";
import { LockTag } from "./lock-tag";
import { OwnerLock } from "./owner";

const HEAD_SHIFT: u32 = 2;
/** Steps of a walk without a lock: longer ones are led astray, or not worth it. */
const MAX_STEPS: u32 = 64;

export class LockTable {
  // ── Partitions ─────────────────────────────────────────────────────────────────────────────────

  /** The lock of the partition that a hash falls in. */
  @inline static partition(hash: u32): OwnerLock {
    return LockTable.partitionAt(hash & LOCK_PARTITION_MASK);
  }

  @inline static partitionAt(index: u32): OwnerLock {
    return OwnerLock.at(Region.get().lockPartitions + index * CACHE_LINE_BYTES);
  }

  /** Takes all partition locks, ascending; false if one could not be had: then none is held. */
  static acquireAll(): bool {
    for (let index: u32 = 0; index < <u32>LOCK_PARTITIONS; ++index) {
      if (LockTable.partitionAt(index).acquire()) continue;
      LockTable.releaseBelow(index);
      return false;
    }
    return true;
  }

  /** Gives back all partition locks, descending. */
  @inline static releaseAll(): void {
    LockTable.releaseBelow(LOCK_PARTITIONS);
  }

  private static releaseBelow(count: u32): void {
    for (let index = count; index-- > 0; ) LockTable.partitionAt(index).release();
  }

  // ── Chains ─────────────────────────────────────────────────────────────────────────────────────

  @inline static head(hash: u32): usize {
    const region = Region.get();
    return region.lockHeads + ((<usize>(hash & region.lockHeadMask)) << HEAD_SHIFT);
  }

  /** Whether no record stands in the chain of a hash; without the partition lock, just now. */
  @inline static isEmpty(hash: u32): bool {
    return Atomic.load(LockTable.head(hash)) == 0;
  }

  /** Whether a record is all that stands in its chain. The partition lock is held. */
  @inline static isAlone(hash: u32, reference: u32): bool {
    return (
      Atomic.load(LockTable.head(hash)) == reference && LockRecord.at(reference).getNext() == 0
    );
  }

  /** Takes the record that is all of its chain out of it. The partition lock is held. */
  @inline static unlinkOnly(hash: u32): void {
    Atomic.storePlain(LockTable.head(hash), 0);
  }

  /** Puts a record at the front of its chain. The partition lock is held. */
  static link(hash: u32, reference: u32): void {
    const head = LockTable.head(hash);
    Atomic.storePlain(LockRecord.at(reference).nextAddress(), Atomic.load(head));
    Atomic.storePlain(head, reference);
  }

  /** Takes a record out of its chain; false if it was not there. The partition lock is held. */
  static unlink(hash: u32, wanted: u32): bool {
    let at = LockTable.head(hash);
    while (true) {
      const reference = Atomic.load(at);
      if (reference == 0) return false;
      const next = LockRecord.at(reference).nextAddress();
      if (reference == wanted) {
        Atomic.storePlain(at, Atomic.load(next));
        return true;
      }
      at = next;
    }
  }

  /**
   * Takes a record out of its chain and makes it free, in this order: a free record is anybody's.
   * The partition lock is held.
   */
  static remove(hash: u32, reference: u32): void {
    LockTable.unlink(hash, reference);
    LockRecord.at(reference).setWord(0);
  }

  /** The first record on a tag, or 0. The partition lock is held. */
  @inline static first(hash: u32, tag: LockTag): u32 {
    return LockTable.matching(Atomic.load(LockTable.head(hash)), tag);
  }

  /** The record on the same tag after `reference`, or 0. The partition lock is held. */
  @inline static after(reference: u32, tag: LockTag): u32 {
    return LockTable.matching(LockRecord.at(reference).getNext(), tag);
  }

  /** The first record on `tag` of a chain from `reference` on. */
  private static matching(from: u32, tag: LockTag): u32 {
    let reference = from;
    let steps: u32 = 0;
    while (reference != 0) {
      const record = LockRecord.at(reference);
      if (record.tag().equals(tag)) return reference;
      reference = record.getNext();
      if (CHECKING) invariant(++steps <= LockRecord.total(), PANIC_LOCK_TABLE);
    }
    return 0;
  }

  /** The record of one owner (backend + 1) on a tag, or 0; not one that is being moved. */
  static find(hash: u32, tag: LockTag, owner: u32): u32 {
    let reference = LockTable.first(hash, tag);
    while (reference != 0) {
      const word = LockRecord.at(reference).getWord();
      if (RecordWord.owner(word) == owner && !RecordWord.isMoving(word)) return reference;
      reference = LockTable.after(reference, tag);
    }
    return 0;
  }

  /**
   * As `find`, for this backend's own record that holds one of the modes of `mask`, without a lock.
   * What is found is right: such a record changes by its owner alone. It may be missed, as links
   * change under the walk.
   */
  @inline static findHeld(hash: u32, tag: LockTag, owner: u32, mask: u32): u32 {
    let reference = Atomic.load(LockTable.head(hash));
    for (let steps: u32 = 0; reference != 0 && steps < MAX_STEPS; ++steps) {
      const record = LockRecord.at(reference);
      const word = record.getWord();
      const mine = RecordWord.owner(word) == owner && !RecordWord.isMoving(word);
      if (mine && (RecordWord.held(word) & mask) != 0 && record.tag().equals(tag)) return reference;
      reference = record.getNext();
    }
    return 0;
  }

  // ── A backend's records ────────────────────────────────────────────────────────────────────────

  /**
   * A free record for `owner` (backend + 1), with `word`, which contains him; 0 if there is none.
   * Out of the section of `section`, else out of somebody else's.
   */
  @inline static allocate(section: u32, word: u32): u32 {
    const hint = section == me ? LockState.mine().hint : 0;
    if (hint != 0 && LockTable.take(hint, word)) return hint;
    return LockTable.allocateAny(section, word);
  }

  /** `allocate` without a record to try first. */
  private static allocateAny(section: u32, word: u32): u32 {
    const size = Region.get().locksPerBackend;
    const own = LockTable.takeWithin(section * size, size, word);
    if (own != 0) return own;
    LockState.of(section).setBorrowed(1);
    return LockTable.takeWithin(0, LockRecord.total(), word);
  }

  @inline private static take(reference: u32, word: u32): bool {
    const record = LockRecord.at(reference);
    return record.getWord() == 0 && record.swapWord(0, word);
  }

  private static takeWithin(first: u32, count: u32, word: u32): u32 {
    for (let reference = first + 1; reference <= first + count; ++reference) {
      if (LockTable.take(reference, word)) return reference;
    }
    return 0;
  }

  /** The first record of a backend, or 0; for who holds its partition, or is the backend. */
  @inline static firstOf(backend: u32): u32 {
    return LockTable.nextOf(backend, 0);
  }

  /** The record of a backend after `reference`: those of its section, then all others. */
  static nextOf(backend: u32, reference: u32): u32 {
    const size = Region.get().locksPerBackend;
    const first = backend * size;
    const inSection = reference == 0 || (reference > first && reference <= first + size);
    if (inSection) {
      const from = reference == 0 ? first : reference;
      const own = LockTable.ownedWithin(from, first + size, backend + 1);
      if (own != 0) return own;
      if (!LockState.of(backend).hasBorrowed()) return 0;
    }
    const from: u32 = inSection ? 0 : reference;
    if (from < first) {
      const below = LockTable.ownedWithin(from, first, backend + 1);
      if (below != 0) return below;
    }
    return LockTable.ownedWithin(max(from, first + size), LockRecord.total(), backend + 1);
  }

  /** The first record of an owner after reference `from` and up to `last`, or 0. */
  private static ownedWithin(from: u32, last: u32, owner: u32): u32 {
    for (let reference = from + 1; reference <= last; ++reference) {
      if (LockRecord.at(reference).owner() == owner) return reference;
    }
    return 0;
  }
}
