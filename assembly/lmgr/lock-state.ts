// What the lock manager keeps for each backend beside its records, in front of its fast path: what
// it waits for, and a few words of its own.
//
//   0 wait record · hint · borrowed · level        16 tag asked for
//  32 wait start · ticket · mode                   64 fast path entries (lock-fast-path.ts)
//
// `waitRecord` is stored before the record's wait mode and is believed only together with it: a
// backend waits when the record it names is its own and has a wait mode. So it may be left behind.
//
// PostgreSQL: src/include/storage/proc.h, PGPROC: waitLock, waitProcLock, waitLockMode, waitStart

import { Atomic } from "../common/atomics";
import {
  LOCK_STATE_BYTES,
  LOCK_STATE_WAIT_RECORD_OFFSET,
  LOCK_STATE_WAIT_START_OFFSET,
} from "../common/lock-constants";
import { Region } from "../ipc/region";
import { me } from "../ipc/self";
import { LockRecord, RecordWord } from "./lock-record";
import { LockTag } from "./lock-tag";

const TAG_OFFSET: usize = 16;

@unmanaged
export class LockState {
  /** Reference to the record this backend waits with. Atomic; see above. */
  private waitRecord: u32;
  /** Reference to the record to try first when one is needed. Private to the backend. */
  hint: u32;
  /** 1 once it has, or somebody made for it, a record outside of its own section. Atomic. */
  private borrowed: u32;
  /** Level of the lock being waited for. Private to the backend. */
  level: u32;
  /** The tag asked for, through `tag()`. Private to the backend. */
  private field1: u32;
  private field2: u32;
  private field3: u32;
  private rest: u32;
  /** When the wait began, milliseconds since 1970; 0 until that is known. */
  waitStart: f64;
  /** Ticket for the place in a queue that was decided on. Private to the backend. */
  ticket: u64;
  /** Mode being waited for. Private to the backend. */
  mode: u32;

  @inline static of(backend: u32): LockState {
    const region = Region.get();
    return changetype<LockState>(region.lockStates + backend * region.lockStateBytes);
  }

  @inline static mine(): LockState {
    return LockState.of(me);
  }

  /** Where this backend writes what it asks for. */
  @inline tag(): LockTag {
    return LockTag.at(changetype<usize>(this) + TAG_OFFSET);
  }

  /** First entry of the fast path. */
  @inline entries(): usize {
    return changetype<usize>(this) + LOCK_STATE_BYTES;
  }

  @inline getWaitRecord(): u32 {
    return Atomic.load(changetype<usize>(this) + offsetof<LockState>("waitRecord"));
  }

  @inline setWaitRecord(reference: u32): void {
    Atomic.store(changetype<usize>(this) + offsetof<LockState>("waitRecord"), reference);
  }

  @inline hasBorrowed(): bool {
    return Atomic.load(changetype<usize>(this) + offsetof<LockState>("borrowed")) != 0;
  }

  @inline setBorrowed(borrowed: u32): void {
    Atomic.store(changetype<usize>(this) + offsetof<LockState>("borrowed"), borrowed);
  }

  /**
   * Reference to the record that backend waits with, or 0. True as long as the lock of the record's
   * partition is held, a hint otherwise.
   */
  static waitingWith(backend: u32): u32 {
    const reference = LockState.of(backend).getWaitRecord();
    if (reference == 0) return 0;
    const word = LockRecord.at(reference).getWord();
    return RecordWord.owner(word) == backend + 1 && RecordWord.isWaiting(word) ? reference : 0;
  }
}

if (offsetof<LockState>("waitRecord") != LOCK_STATE_WAIT_RECORD_OFFSET) ERROR("waitRecord moved");
if (offsetof<LockState>("waitStart") != LOCK_STATE_WAIT_START_OFFSET) ERROR("waitStart moved");
if (offsetof<LockState>("field1") != TAG_OFFSET) ERROR("the tag moved");
if (offsetof<LockState>() > <usize>LOCK_STATE_BYTES) ERROR("LockState outgrew its bytes");
