// The queue of those who wait for a lock, in PostgreSQL's order, without a list: each waiter's
// record has a ticket, and the queue is the waiting records of the tag by ascending ticket.
//
//   ticket   2^20 · 2·2^20 · 3·2^20 …     the tail: the largest + 2^20
//   before w: halfway between w's ticket and that of the one before it (0 before the first)
//
// When there is no number left in between, the queue gets new tickets from its tail up: first the
// last one a number beyond all that are in use, then the one before it a number below that, and so
// on. At every instant the order is the same, so that it is right whenever the writer stops.
//
// Everything here is done under the lock of the partition.
//
// Cost: a step along the queue looks at the records of the tag, so that walking a queue of n is n².
// Queues are short: their length is the number of backends that wait for one thing.
//
// PostgreSQL: src/backend/storage/lmgr/proc.c, JoinWaitQueue (a linked list there)

import { LockRecord, RecordWord } from "./lock-record";
import { LockTable } from "./lock-table";
import { LockTag } from "./lock-tag";

export const SPACING: u64 = 1 << 20;

export class LockQueue {
  /** Reference to the first waiter for a tag, or 0. */
  @inline static first(hash: u32, tag: LockTag): u32 {
    return LockQueue.after(hash, tag, 0);
  }

  /** Reference to the first waiter whose ticket is above `ticket`, or 0. */
  static after(hash: u32, tag: LockTag, ticket: u64): u32 {
    let found: u32 = 0;
    let least: u64 = u64.MAX_VALUE;
    let reference = LockTable.first(hash, tag);
    while (reference != 0) {
      const record = LockRecord.at(reference);
      if (RecordWord.isWaiting(record.getWord())) {
        const other = record.getTicket();
        if (other > ticket && other < least) {
          least = other;
          found = reference;
        }
      }
      reference = LockTable.after(reference, tag);
    }
    return found;
  }

  /** The waiter before a ticket, or 0. */
  static before(hash: u32, tag: LockTag, ticket: u64): u32 {
    let found: u32 = 0;
    let greatest: u64 = 0;
    let reference = LockTable.first(hash, tag);
    while (reference != 0) {
      const record = LockRecord.at(reference);
      if (RecordWord.isWaiting(record.getWord())) {
        const other = record.getTicket();
        if (other < ticket && other > greatest) {
          greatest = other;
          found = reference;
        }
      }
      reference = LockTable.after(reference, tag);
    }
    return found;
  }

  /** How many wait for a tag. */
  static length(hash: u32, tag: LockTag): u32 {
    let count: u32 = 0;
    let reference = LockTable.first(hash, tag);
    while (reference != 0) {
      if (RecordWord.isWaiting(LockRecord.at(reference).getWord())) count += 1;
      reference = LockTable.after(reference, tag);
    }
    return count;
  }

  /** The ticket of the next who stands at the tail. */
  static tail(hash: u32, tag: LockTag): u64 {
    return LockQueue.ticketOf(LockQueue.before(hash, tag, u64.MAX_VALUE)) + SPACING;
  }

  /** The ticket of somebody who stands just before the waiter of `reference`. */
  static justBefore(hash: u32, tag: LockTag, reference: u32): u64 {
    const record = LockRecord.at(reference);
    let high = record.getTicket();
    let low = LockQueue.ticketOf(LockQueue.before(hash, tag, high));
    if (high - low < 2) {
      LockQueue.renumber(hash, tag);
      high = record.getTicket();
      low = LockQueue.ticketOf(LockQueue.before(hash, tag, high));
    }
    return low + ((high - low) >>> 1);
  }

  /** New tickets for all, far apart, in the same order. */
  private static renumber(hash: u32, tag: LockTag): void {
    const last = LockQueue.before(hash, tag, u64.MAX_VALUE);
    let old = LockQueue.ticketOf(last);
    let ticket = old + SPACING * (<u64>LockQueue.length(hash, tag) + 1);
    let reference = last;
    while (reference != 0) {
      LockRecord.at(reference).setTicket(ticket);
      ticket -= SPACING;
      reference = LockQueue.before(hash, tag, old);
      old = LockQueue.ticketOf(reference);
    }
  }

  @inline private static ticketOf(reference: u32): u64 {
    return reference == 0 ? 0 : LockRecord.at(reference).getTicket();
  }
}
