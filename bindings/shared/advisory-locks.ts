/**
 * Advisory locks: locks on numbers whose meaning is the program's own. One key of 64 bits or two of
 * 32; the two kinds never meet.
 *
 * A lock of the session stays until it is unlocked as often as it was locked, or the backend
 * leaves; one of the transaction (`Xact`) until the transaction's locks are given back, and cannot
 * be unlocked alone. Both take part in deadlock detection and count against the lock table.
 *
 * PostgreSQL: src/backend/utils/adt/lockfuncs.c
 */

import { ST_NOT_AVAILABLE, ST_NOT_OWNED, ST_OK } from "../../assembly/common/constants.ts";
import {
  EXCLUSIVE_LOCK,
  LEVEL_SESSION,
  LEVEL_TRANSACTION,
  REGION_DATABASE,
  SHARE_LOCK,
  USER_LOCK_METHOD,
} from "../../assembly/common/lock-constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { ADVISORY_REST, modeName, type TagWords } from "./lock-tags.ts";
import type { LockRequest, LockWaits } from "./lock-waits.ts";
import type { Routine } from "./routine.ts";

/** A key of 64 bits, or a pair of 32 bits each; numbers are integers, bigints wrap as int8. */
export type AdvisoryKey = bigint | number | readonly [key1: number, key2: number];

const HIGH_FACTOR = 0x1_0000_0000;
const HIGH_BITS = 32n;
const LOW_BITS = 32;
/** Bit of the flags that lockAcquire takes. */
const NO_WAIT = 2;
/** A shift by it leaves nothing but the sign. */
const SIGN = 31;
/** `rest` of a tag of one key, and of one of two. */
const { 1: ONE_KEY, 2: TWO_KEYS } = ADVISORY_REST;
const SESSION_LEVELS = 1 << LEVEL_SESSION;

/** What locks are made with. @internal */
export interface LockGround {
  readonly exports: () => SharedExports;
  readonly waits: LockWaits;
  /** Milliseconds, 0 for ever. */
  readonly timeout: number;
  runSync<Result>(routine: Routine<Result>): Result;
  run<Result>(routine: Routine<Result>, signal?: CancelSignal): Promise<Result>;
  warn(message: string): void;
}

/** The advisory locks of one backend. */
export class AdvisoryLocks {
  protected readonly ground: LockGround;

  /** @internal */
  constructor(ground: LockGround) {
    this.ground = ground;
  }

  /** Takes an exclusive lock of the session. Waits without blocking the thread. */
  advisoryLock(key: AdvisoryKey, signal?: CancelSignal): Promise<void> {
    return this.#wait(key, EXCLUSIVE_LOCK, LEVEL_SESSION, signal);
  }

  /** Takes a shared lock of the session. Waits without blocking the thread. */
  advisoryLockShared(key: AdvisoryKey, signal?: CancelSignal): Promise<void> {
    return this.#wait(key, SHARE_LOCK, LEVEL_SESSION, signal);
  }

  /** Takes an exclusive lock of the transaction. Waits without blocking the thread. */
  advisoryXactLock(key: AdvisoryKey, signal?: CancelSignal): Promise<void> {
    return this.#wait(key, EXCLUSIVE_LOCK, LEVEL_TRANSACTION, signal);
  }

  /** Takes a shared lock of the transaction. Waits without blocking the thread. */
  advisoryXactLockShared(key: AdvisoryKey, signal?: CancelSignal): Promise<void> {
    return this.#wait(key, SHARE_LOCK, LEVEL_TRANSACTION, signal);
  }

  /** Takes an exclusive lock of the session. May block the thread. */
  advisoryLockSync(key: AdvisoryKey): void {
    this.#block(key, EXCLUSIVE_LOCK, LEVEL_SESSION);
  }

  /** Takes a shared lock of the session. May block the thread. */
  advisoryLockSharedSync(key: AdvisoryKey): void {
    this.#block(key, SHARE_LOCK, LEVEL_SESSION);
  }

  /** Takes an exclusive lock of the transaction. May block the thread. */
  advisoryXactLockSync(key: AdvisoryKey): void {
    this.#block(key, EXCLUSIVE_LOCK, LEVEL_TRANSACTION);
  }

  /** Takes a shared lock of the transaction. May block the thread. */
  advisoryXactLockSharedSync(key: AdvisoryKey): void {
    this.#block(key, SHARE_LOCK, LEVEL_TRANSACTION);
  }

  /** Takes an exclusive lock of the session if it is free. Does not wait. */
  tryAdvisoryLock(key: AdvisoryKey): boolean {
    return this.#try(key, EXCLUSIVE_LOCK, LEVEL_SESSION);
  }

  /** Takes a shared lock of the session if it is free. Does not wait. */
  tryAdvisoryLockShared(key: AdvisoryKey): boolean {
    return this.#try(key, SHARE_LOCK, LEVEL_SESSION);
  }

  /** Takes an exclusive lock of the transaction if it is free. Does not wait. */
  tryAdvisoryXactLock(key: AdvisoryKey): boolean {
    return this.#try(key, EXCLUSIVE_LOCK, LEVEL_TRANSACTION);
  }

  /** Takes a shared lock of the transaction if it is free. Does not wait. */
  tryAdvisoryXactLockShared(key: AdvisoryKey): boolean {
    return this.#try(key, SHARE_LOCK, LEVEL_TRANSACTION);
  }

  /** Gives back an exclusive lock of the session; false, with a warning, if it is not held. */
  advisoryUnlock(key: AdvisoryKey): boolean {
    return this.#unlock(key, EXCLUSIVE_LOCK);
  }

  /** Gives back a shared lock of the session; false, with a warning, if it is not held. */
  advisoryUnlockShared(key: AdvisoryKey): boolean {
    return this.#unlock(key, SHARE_LOCK);
  }

  /** Gives back all advisory locks of the session, however often they were taken. */
  advisoryUnlockAll(): void {
    this.ground.runSync(this.ground.waits.releaseAll(SESSION_LEVELS, USER_LOCK_METHOD));
  }

  // ── One call into wasm, unless it has to wait ──────────────────────────────────────────────────

  async #wait(
    key: AdvisoryKey,
    mode: number,
    level: number,
    signal: CancelSignal | undefined,
  ): Promise<void> {
    const request = this.#request(key, mode, level);
    await this.ground.run(this.ground.waits.acquire(request), signal);
  }

  #block(key: AdvisoryKey, mode: number, level: number): void {
    // As one who may not wait: most locks are free, and then nothing else is needed.
    if (this.#take(key, mode, level | NO_WAIT) < ST_OK) this.#blockSlowly(key, mode, level);
    else if (level === LEVEL_TRANSACTION) this.#took(key, mode);
  }

  #take(key: AdvisoryKey, mode: number, flags: number): number {
    const exports = this.ground.exports();
    return isSmall(key)
      ? exports.lockAcquire(REGION_DATABASE, key >> SIGN, key, ONE_KEY, mode, flags)
      : exports.lockAcquire(...wordsOf(key), mode, flags);
  }

  #blockSlowly(key: AdvisoryKey, mode: number, level: number): void {
    this.ground.runSync(this.ground.waits.acquire(this.#request(key, mode, level)));
  }

  #took(key: AdvisoryKey, mode: number): void {
    this.ground.waits.took(wordsOf(key), mode, LEVEL_TRANSACTION);
  }

  #try(key: AdvisoryKey, mode: number, level: number): boolean {
    const request = { ...this.#request(key, mode, level), noWait: true };
    return this.ground.runSync(this.ground.waits.acquire(request)) !== ST_NOT_AVAILABLE;
  }

  #unlock(key: AdvisoryKey, mode: number): boolean {
    const exports = this.ground.exports();
    const status = isSmall(key)
      ? exports.lockRelease(REGION_DATABASE, key >> SIGN, key, ONE_KEY, mode, LEVEL_SESSION)
      : exports.lockRelease(...wordsOf(key), mode, LEVEL_SESSION);
    return status === ST_OK || this.#unlockSlowly(key, mode, status);
  }

  #unlockSlowly(key: AdvisoryKey, mode: number, status: number): boolean {
    const released =
      status !== ST_NOT_OWNED &&
      this.ground.runSync(this.ground.waits.release(wordsOf(key), mode, LEVEL_SESSION));
    if (!released) this.ground.warn(`you don't own a lock of type ${modeName(mode)}`);
    return released;
  }

  #request(key: AdvisoryKey, mode: number, level: number): LockRequest {
    return { words: wordsOf(key), mode, level, timeout: this.ground.timeout };
  }
}

/** Whether a key is one whose upper half is its sign. */
function isSmall(key: AdvisoryKey): key is number {
  return typeof key === "number" && (key | 0) === key;
}

function wordsOf(key: AdvisoryKey): TagWords {
  return [REGION_DATABASE, highOf(key), lowOf(key), typeof key === "object" ? TWO_KEYS : ONE_KEY];
}

function highOf(key: AdvisoryKey): number {
  if (typeof key === "number") return Math.floor(whole(key) / HIGH_FACTOR) | 0;
  if (typeof key === "bigint") return Number(BigInt.asIntN(LOW_BITS, key >> HIGH_BITS));
  return half(key[0]);
}

function lowOf(key: AdvisoryKey): number {
  if (typeof key === "number") return key | 0;
  if (typeof key === "bigint") return Number(BigInt.asIntN(LOW_BITS, key));
  return half(key[1]);
}

function whole(key: number): number {
  if (!Number.isSafeInteger(key)) throw new RangeError(`an advisory key is an integer, not ${key}`);
  return key;
}

function half(key: number): number {
  if ((key | 0) !== key) throw new RangeError(`a key of two is an integer of 32 bits, not ${key}`);
  return key;
}
