/**
 * Heavyweight locks as routines: asking, waiting in a queue, giving up, giving back.
 *
 * wasm decides everything at once and without waiting; here is only what happens between two looks.
 * A grant is complete before the waiter knows of it, so that a wait that ends in an error has one
 * thing to settle: whether the lock came in that very moment. Then it is given back at once, since
 * whoever asked was told that he has not got it.
 *
 * A backend waits for one lock at a time. A second task of the same backend takes its turn: as a
 * promise; a synchronous call would wait for itself and throws.
 *
 * PostgreSQL: src/backend/storage/lmgr/proc.c, ProcSleep, LockErrorCleanup
 */

import {
  ST_BUSY,
  ST_DEADLOCK,
  ST_NOT_AVAILABLE,
  ST_NOT_OWNED,
  ST_OK,
  ST_REARRANGED,
  ST_WAIT,
  ST_WAITING,
  STATISTIC_DEADLOCKS,
} from "../../assembly/common/constants.ts";
import { LEVEL_TRANSACTION } from "../../assembly/common/lock-constants.ts";
import type { DeadlockError } from "../abi/errors.ts";
import type { Attachment } from "./attachment.ts";
import { deadlockDetected, lockRefused, lockTimedOut } from "./lock-errors.ts";
import type { TagWords } from "./lock-tags.ts";
import type { LockWaitLog } from "./lock-wait-log.ts";
import { PAUSE, type Routine, SELF, SLEEP, type SleepStep } from "./routine.ts";

/** Bit of the flags that lockAcquire takes. */
const NO_WAIT = 2;

/** A lock that is wanted. @internal */
export interface LockRequest {
  readonly words: TagWords;
  readonly mode: number;
  readonly level: number;
  /** Whether a lock that is not free is refused. */
  readonly noWait?: boolean;
  /** Milliseconds; 0 for ever. */
  readonly timeout: number;
}

/** What a session's parameters say of its waits, as they stand. @internal */
export interface WaitHabits {
  /** Milliseconds of a wait before deadlocks are looked for, once. */
  readonly deadlockTimeout: number;
  /** Told of waits that last longer; undefined if nobody wants to know. */
  readonly log: LockWaitLog | undefined;
}

/** Who remembers the locks of transactions, to give some of them back early. @internal */
export interface LockObserver {
  /** A lock of the transaction was taken once more. */
  taken(words: TagWords, mode: number): void;
  /** One acquisition was given back. */
  givenBack(words: TagWords, mode: number): void;
}

/** Waits for heavyweight locks for one backend. @internal */
export class LockWaits {
  /** Told of locks of the transaction; undefined while nobody has transactions. */
  observer: LockObserver | undefined;
  readonly #attachment: Attachment;
  readonly #habits: WaitHabits;
  #acquired = (): void => {};

  constructor(attachment: Attachment, habits: WaitHabits) {
    this.#attachment = attachment;
    this.#habits = habits;
  }

  /** Calls `listener` after a lock was taken that was not held in that mode before. */
  onAcquired(listener: () => void): void {
    this.#acquired = listener;
  }

  /** A lock was taken: what others have changed under it is looked at before it is relied on. */
  acquired(): void {
    this.#acquired();
  }

  /**
   * Takes a lock. @returns ST_OK, ST_ALREADY_HELD, or ST_NOT_AVAILABLE for one that may not wait
   */
  *acquire(request: LockRequest): Routine<number> {
    const status = yield* this.#acquire(request);
    if (status >= ST_OK) this.took(request.words, request.mode, request.level);
    if (status === ST_OK) this.#acquired();
    return status;
  }

  /** Tells the observer of a lock that was taken without a routine. */
  took(words: TagWords, mode: number, level: number): void {
    if (level === LEVEL_TRANSACTION) this.observer?.taken(words, mode);
  }

  *#acquire(request: LockRequest): Routine<number> {
    const { exports } = this.#attachment;
    const { words, mode, level, timeout } = request;
    const flags = level | (request.noWait === true ? NO_WAIT : 0);
    const began = performance.now();
    for (;;) {
      const status = exports.lockAcquire(...words, mode, flags);
      if (status >= ST_OK || status === ST_NOT_AVAILABLE) return status;
      if (status === ST_WAIT) return yield* this.#wait(request, began);
      if (status === ST_BUSY) yield PAUSE;
      else if (status === ST_WAITING) yield SELF;
      else throw this.#refused(status);
      if (timeout > 0 && performance.now() - began >= timeout) throw lockTimedOut();
    }
  }

  #refused(status: number): Error {
    if (status === ST_DEADLOCK) return this.#deadlock();
    return lockRefused(status, this.#attachment);
  }

  /** Sleeps until the lock is granted. The record stands in the queue. */
  *#wait(request: LockRequest, began: number): Routine<number> {
    const { exports } = this.#attachment;
    exports.lockWaitsSince(Date.now());
    const queued = performance.now();
    let lookAt = queued + this.#habits.deadlockTimeout;
    let granted = false;
    try {
      for (;;) {
        yield this.#sleepStep(request, began, lookAt);
        const status = exports.lockCheck();
        granted = status === ST_OK;
        if (granted) {
          const looked = lookAt === Number.POSITIVE_INFINITY;
          if (looked) this.#habits.log?.acquired(request, performance.now() - queued);
          return status;
        }
        if (performance.now() >= lookAt) {
          lookAt = Number.POSITIVE_INFINITY;
          yield* this.#lookForDeadlock(request, queued);
        }
        if (request.timeout > 0 && performance.now() - began >= request.timeout) {
          throw lockTimedOut();
        }
      }
    } finally {
      if (!granted) yield* this.#giveUp(request);
    }
  }

  #sleepStep({ timeout }: LockRequest, began: number, lookAt: number): SleepStep {
    const until = Math.min(lookAt, timeout === 0 ? Number.POSITIVE_INFINITY : began + timeout);
    if (until === Number.POSITIVE_INFINITY) return SLEEP;
    return { op: "sleep", milliseconds: Math.max(1, until - performance.now()) };
  }

  /**
   * Looks once for a deadlock that this wait is part of. One that another order of the queues ends
   * is ended so, and the wait goes on.
   *
   * @throws DeadlockError: the wait is over
   */
  *#lookForDeadlock(request: LockRequest, queued: number): Routine<void> {
    const { exports } = this.#attachment;
    const { log } = this.#habits;
    const status = yield* this.#attachment.untilDone(() => exports.lockCheckDeadlock());
    const waited = performance.now() - queued;
    if (status === ST_DEADLOCK) {
      // The edges are read before anything else is called: they stand on the scratch page.
      const error = this.#deadlock();
      if (log !== undefined) yield* log.detected(request, waited);
      throw error;
    }
    this.#attachment.check(status);
    if (log === undefined) return;
    if (status === ST_REARRANGED) yield* log.avoided(request, waited);
    else yield* log.stillWaiting(request, waited);
  }

  #deadlock(): DeadlockError {
    this.#attachment.exports.countShared(STATISTIC_DEADLOCKS, 1);
    return deadlockDetected(this.#attachment);
  }

  /** Leaves the queue; a lock that was granted meanwhile is given back. */
  *#giveUp({ words, mode, level }: LockRequest): Routine<void> {
    const { exports } = this.#attachment;
    const status = yield* this.#attachment.untilDone(() => exports.lockGiveUp());
    if (status === ST_OK) yield* this.#release(words, mode, level);
  }

  /** Gives back one acquisition. @returns whether it was held */
  *release(words: TagWords, mode: number, level: number): Routine<boolean> {
    const released = yield* this.#release(words, mode, level);
    if (released && level === LEVEL_TRANSACTION) this.observer?.givenBack(words, mode);
    return released;
  }

  *#release(words: TagWords, mode: number, level: number): Routine<boolean> {
    const { exports } = this.#attachment;
    const status = yield* this.#attachment.untilDone(() =>
      exports.lockRelease(...words, mode, level),
    );
    if (status === ST_NOT_OWNED) return false;
    this.#attachment.check(status);
    return true;
  }

  /** Gives back all at the levels of a mask, of one lock method or of all (0). */
  *releaseAll(levels: number, method: number): Routine<void> {
    const { exports } = this.#attachment;
    const status = yield* this.#attachment.untilDone(() => exports.lockReleaseAll(levels, method));
    this.#attachment.check(status);
  }
}
