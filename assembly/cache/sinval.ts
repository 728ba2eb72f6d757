// The ring through which backends learn what has changed: a message names entries that must not be
// believed any more. Who changes something sends before it gives its lock back; who has got a lock
// receives before it looks.
//
//   messages   … │ 16 bytes │ …       number of a message = place in the ring, mod 4096
//   reserved     numbers below this may be overwritten now    ┐ changed under the lock, by whoever
//   written      numbers below this are sent: the commit      ┘ sends, in this order
//   position     of each receiver, in its own row: written by it alone
//
// A sender looks at nobody: it never waits, and it marks no one. A receiver copies messages, then
// looks at `reserved`: if that is more than a ring ahead of where the copy began, something of it
// may have been overwritten, and everything the receiver has cached must go. So a reset is not a
// flag that somebody sets but a distance that somebody has; and to reset everybody is to move both
// words a ring further. Numbers wrap at 2^32, a multiple of the ring; only differences are
// compared.
//
// Who is half a ring behind is asked to catch up, the furthest first and one at a time; when it has
// it asks the next.
//
// PostgreSQL: src/backend/storage/ipc/sinvaladt.c, SIInsertDataEntries, SIGetDataEntries,
// SICleanupQueue

import { Atomic } from "../common/atomics";
import {
  MESSAGE_ALL,
  ROW_INVALIDATING_OFFSET,
  ROW_MESSAGES_OFFSET,
  ROW_POSITION_OFFSET,
  ROW_RECEIVING_OFFSET,
  SINVAL_BATCH,
  SINVAL_CATCH_UP,
  SINVAL_LOCK_OFFSET,
  SINVAL_LOOK_MASK,
  SINVAL_MESSAGE_MASK,
  SINVAL_MESSAGE_SHIFT,
  SINVAL_MESSAGES,
  SINVAL_RESERVED_OFFSET,
  SINVAL_ROW_BYTES,
  SINVAL_ROWS_OFFSET,
  SINVAL_WRITTEN_OFFSET,
  ST_RESET,
} from "../common/cache-constants";
import { INTERRUPT_CATCH_UP, LIFE_ACTIVE, LIFE_STATE_MASK } from "../common/constants";
import { CacheParts } from "../ipc/cache-parts";
import { Region } from "../ipc/region";
import { me } from "../ipc/self";
import { Slot } from "../ipc/slots";
import { OwnerLock } from "../lmgr/owner";

const WORD_BITS: u64 = 32;
const SECOND_HALF: usize = 8;

export class Sinval {
  /** One at a time sends, links and unlinks entries, and allocates them. */
  @inline static lock(): OwnerLock {
    return OwnerLock.at(Region.get().sinval + SINVAL_LOCK_OFFSET);
  }

  /** Takes the lock; false as OwnerLock.acquire. */
  @inline static acquire(): bool {
    return Sinval.lock().acquire();
  }

  @inline static row(backend: u32): usize {
    return Region.get().sinval + SINVAL_ROWS_OFFSET + backend * SINVAL_ROW_BYTES;
  }

  @inline static mine(): usize {
    return Sinval.row(me);
  }

  /** Number of the next message. What is read after this look is as new as every earlier one. */
  @inline static written(): u32 {
    return Atomic.load(Region.get().sinval + SINVAL_WRITTEN_OFFSET);
  }

  // ── Sending, under the lock ────────────────────────────────────────────────────────────────────

  static send(catalog: u32, hash: u32, kind: u32): void {
    const ring = <usize>Region.get().sinval;
    const number = Atomic.load(ring + SINVAL_WRITTEN_OFFSET);
    Atomic.store(ring + SINVAL_RESERVED_OFFSET, number + 1);
    const at = Sinval.message(number);
    Atomic.store64(at, <u64>catalog | ((<u64>hash) << WORD_BITS));
    Atomic.store64(at + SECOND_HALF, <u64>kind | ((<u64>number) << WORD_BITS));
    Atomic.store(ring + SINVAL_WRITTEN_OFFSET, number + 1);
  }

  /** Every receiver finds itself more than a ring behind. */
  static resetEverybody(): void {
    const ring = <usize>Region.get().sinval;
    const next = Atomic.load(ring + SINVAL_WRITTEN_OFFSET) + SINVAL_MESSAGES + 1;
    Atomic.store(ring + SINVAL_RESERVED_OFFSET, next);
    Atomic.store(ring + SINVAL_WRITTEN_OFFSET, next);
  }

  /** Whether a message since `since` may be about entries of this hash. Under the lock. */
  static mentions(since: u32, catalog: u32, hash: u32): bool {
    const written = Sinval.written();
    if (written - since > <u32>SINVAL_MESSAGES) return true;
    for (let number = since; number != written; ++number) {
      const at = Sinval.message(number);
      const first = Atomic.load64(at);
      if (<u32>first != catalog) continue;
      if (<u32>(first >>> WORD_BITS) == hash) return true;
      if (<u32>Atomic.load64(at + SECOND_HALF) == MESSAGE_ALL) return true;
    }
    return false;
  }

  // ── Receiving ──────────────────────────────────────────────────────────────────────────────────

  /** From now on this backend is behind when it does not receive; it has nothing cached yet. */
  static join(): void {
    const row = Sinval.mine();
    if (load<u32>(row, ROW_RECEIVING_OFFSET) != 0) return;
    Atomic.store(row + ROW_POSITION_OFFSET, Sinval.written());
    Atomic.store(row + ROW_RECEIVING_OFFSET, 1);
  }

  /** Copies the next messages into the own row; how many, 0 if there are none, or ST_RESET. */
  static receive(): i32 {
    const row = Sinval.mine();
    const position = load<u32>(row, ROW_POSITION_OFFSET);
    const written = Sinval.written();
    const behind = written - position;
    if (behind == 0) return 0;
    if (behind > <u32>SINVAL_MESSAGES) return Sinval.startAnew(row);
    const count = min<u32>(behind, SINVAL_BATCH);
    Sinval.copy(row + ROW_MESSAGES_OFFSET, position, count);
    const reserved = Atomic.load(Region.get().sinval + SINVAL_RESERVED_OFFSET);
    if (reserved - position > <u32>SINVAL_MESSAGES) return Sinval.startAnew(row);
    Atomic.store(row + ROW_POSITION_OFFSET, position + count);
    if (count == behind) Sinval.caughtUp();
    return count;
  }

  /** What was missed is taken to concern everything; what comes from now on will be received. */
  private static startAnew(row: usize): i32 {
    Atomic.store(row + ROW_POSITION_OFFSET, Sinval.written());
    Sinval.caughtUp();
    return ST_RESET;
  }

  private static copy(to: usize, position: u32, count: u32): void {
    for (let index: u32 = 0; index < count; ++index) {
      const from = Sinval.message(position + index);
      const at = to + ((<usize>index) << SINVAL_MESSAGE_SHIFT);
      store<u64>(at, Atomic.load64(from));
      store<u64>(at + SECOND_HALF, Atomic.load64(from + SECOND_HALF));
    }
  }

  // ── Those who are behind ───────────────────────────────────────────────────────────────────────

  /** This backend has caught up; if it was asked to, the next who is behind is asked now. */
  private static caughtUp(): void {
    const word = Slot.mine().interruptsAddress();
    while (true) {
      const seen = Atomic.load(word);
      if ((seen & INTERRUPT_CATCH_UP) == 0) return;
      if (Atomic.swap(word, seen, seen & ~INTERRUPT_CATCH_UP)) break;
    }
    Sinval.askFurthest();
  }

  /** To be called after sending: looks at others once in a while. */
  @inline static askSometimes(): void {
    if ((Sinval.written() & SINVAL_LOOK_MASK) == 0) Sinval.askFurthest();
  }

  /** Asks the furthest behind that is not asked yet to catch up. */
  static askFurthest(): void {
    const written = Sinval.written();
    let furthest: u32 = 0;
    let most: u32 = SINVAL_CATCH_UP;
    for (let index = Region.get().backends; index-- > 0; ) {
      const behind = written - Atomic.load(Sinval.row(index) + ROW_POSITION_OFFSET);
      if (behind <= most || !Sinval.canBeAsked(index)) continue;
      most = behind;
      furthest = index + 1;
    }
    if (furthest == 0) return;
    const slot = Slot.at(furthest - 1);
    slot.interrupt(INTERRUPT_CATCH_UP);
    Atomic.notifyAll(slot.interruptsAddress());
  }

  private static canBeAsked(index: u32): bool {
    const slot = Slot.at(index);
    if (index == me || Atomic.load(Sinval.row(index) + ROW_RECEIVING_OFFSET) == 0) return false;
    if ((slot.getLife() & LIFE_STATE_MASK) != LIFE_ACTIVE) return false;
    return (slot.getInterrupts() & INTERRUPT_CATCH_UP) == 0;
  }

  // ── Announcing ─────────────────────────────────────────────────────────────────────────────────

  /**
   * Says that what others may have cached is about to change, or that all messages of it are sent.
   * Whoever dies in between has everybody reset.
   */
  @inline static setInvalidating(backend: u32, value: u32): void {
    Atomic.store(Sinval.row(backend) + ROW_INVALIDATING_OFFSET, value);
  }

  @inline static isInvalidating(backend: u32): bool {
    return Atomic.load(Sinval.row(backend) + ROW_INVALIDATING_OFFSET) != 0;
  }

  /** Address of a message's place. */
  @inline private static message(number: u32): usize {
    const region = Region.get();
    const first = <usize>region.sinval + CacheParts.messages(region.backends);
    return first + ((<usize>(number & SINVAL_MESSAGE_MASK)) << SINVAL_MESSAGE_SHIFT);
  }
}
