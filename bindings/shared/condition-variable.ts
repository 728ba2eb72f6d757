/**
 * Waiting until something becomes true: condition variables, named when the region is created, and
 * the latch that every backend has.
 *
 * Neither carries a message. Who is woken looks again: the wake-up may have been for another
 * reason, and whoever waits does so in a loop. No signal is slept over: a wait is prepared first,
 * and a signal that comes after that ends it, whenever it begins to sleep.
 *
 * PostgreSQL: src/backend/storage/lmgr/condition_variable.c; src/backend/storage/ipc/latch.c
 */

import { ST_OK } from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import type { WaitGround } from "./lightweight-lock.ts";
import { type Routine, SLEEP } from "./routine.ts";

/** How long to wait, and what ends it before. */
export interface WaitOptions {
  /** Milliseconds; the wait ends then without a signal. Default: without end. */
  readonly timeout?: number;
}

/** As {@link WaitOptions}, for a promise. */
export interface AsyncWaitOptions extends WaitOptions {
  /** Gives up at the next wait, with 57014. */
  readonly signal?: CancelSignal;
}

const LOOK_AGAIN_MS = 1000;
const FOREVER = Number.POSITIVE_INFINITY;

/** Sleeps until `call` is done: true; false when time is up. */
function* slept(call: () => number, deadline: number): Routine<boolean> {
  while (call() !== ST_OK) {
    const left = deadline - performance.now();
    if (left <= 0) return false;
    if (left === FOREVER) yield SLEEP;
    else yield { op: "sleep", milliseconds: Math.min(LOOK_AGAIN_MS, Math.ceil(left)) };
  }
  return true;
}

function deadlineOf({ timeout = FOREVER }: WaitOptions): number {
  if (!(timeout >= 0)) throw new RangeError(`timeout is 0 ms or more, not ${timeout}`);
  return performance.now() + timeout;
}

/**
 * A wait that has been prepared: a signal from now on ends it, whether it has begun or not. Close
 * its scope when what was waited for is true.
 */
export class PreparedWait {
  readonly #ground: WaitGround;
  readonly #condition: number;
  #ticket: number;

  /** @internal */
  constructor(ground: WaitGround, condition: number) {
    this.#ground = ground;
    this.#condition = condition;
    this.#ticket = ground.attachment.exports.conditionPrepare(condition);
  }

  /**
   * Sleeps until there was a signal since the wait was prepared, or since the last sleep. Look
   * again afterwards, whatever it returns.
   *
   * @returns whether there was a signal; false when time is up
   * @see PostgreSQL: src/backend/storage/lmgr/condition_variable.c, ConditionVariableTimedSleep
   */
  sleepSync(options: WaitOptions = {}): boolean {
    return this.#ground.runSync(this.slept(options));
  }

  /** As {@link sleepSync}, without blocking the thread. */
  sleep({ signal, ...options }: AsyncWaitOptions = {}): Promise<boolean> {
    return this.#ground.run(this.slept(options), signal);
  }

  /** @internal */
  *slept(options: WaitOptions): Routine<boolean> {
    const deadline = deadlineOf(options);
    const { exports } = this.#ground.attachment;
    let done = false;
    try {
      const asleep = (): number => exports.conditionSleep(this.#condition, this.#ticket);
      const signalled = yield* slept(asleep, deadline);
      this.#ticket = exports.conditionPrepare(this.#condition);
      done = true;
      return signalled;
    } finally {
      if (!done) this.#passOn();
    }
  }

  /**
   * Ends the wait.
   *
   * @returns whether there was a signal that no sleep has seen
   * @see PostgreSQL: src/backend/storage/lmgr/condition_variable.c, ConditionVariableCancelSleep
   */
  cancel(): boolean {
    const { exports, closed } = this.#ground.attachment;
    return !closed && exports.conditionPrepare(this.#condition) !== this.#ticket;
  }

  /** {@link cancel}. */
  [Symbol.dispose](): void {
    this.cancel();
  }

  /** Given up in its sleep: the one wake-up of a signal may have come here. */
  #passOn(): void {
    const { attachment } = this.#ground;
    if (!attachment.closed) attachment.exports.conditionForward(this.#condition);
  }
}

/** One of the region's named condition variables, for one backend. */
export class ConditionVariable {
  readonly name: string;
  readonly #index: number;
  readonly #ground: WaitGround;

  /** @internal */
  constructor(name: string, index: number, ground: WaitGround) {
    this.name = name;
    this.#index = index;
    this.#ground = ground;
  }

  /**
   * Begins a wait: prepare, look whether it is true already, and if not, sleep and look again.
   *
   * @see PostgreSQL: src/backend/storage/lmgr/condition_variable.c, ConditionVariablePrepareToSleep
   */
  prepare(): PreparedWait {
    this.#ground.attachment.mustBeOpen();
    return new PreparedWait(this.#ground, this.#index);
  }

  /**
   * Waits until `isTrue` says so; it is asked before the first sleep and after each wake-up.
   *
   * @returns whether it became true; false when time is up
   */
  waitUntilSync(isTrue: () => boolean, options: WaitOptions = {}): boolean {
    return this.#ground.runSync(this.#became(isTrue, options));
  }

  /** As {@link waitUntilSync}, without blocking the thread. */
  waitUntil(
    isTrue: () => boolean,
    { signal, ...options }: AsyncWaitOptions = {},
  ): Promise<boolean> {
    return this.#ground.run(this.#became(isTrue, options), signal);
  }

  *#became(isTrue: () => boolean, options: WaitOptions): Routine<boolean> {
    const deadline = deadlineOf(options);
    const wait = this.prepare();
    for (;;) {
      if (isTrue()) return true;
      const left = deadline - performance.now();
      if (left <= 0) return false;
      yield* wait.slept(left === FOREVER ? {} : { timeout: left });
    }
  }

  /**
   * Wakes one of those who sleep. Those who have prepared and do not sleep yet look again as well.
   *
   * @see PostgreSQL: src/backend/storage/lmgr/condition_variable.c, ConditionVariableSignal
   */
  signal(): void {
    this.#ground.attachment.exports.conditionSignal(this.#index);
  }

  /**
   * Wakes all who sleep.
   *
   * @see PostgreSQL: src/backend/storage/lmgr/condition_variable.c, ConditionVariableBroadcast
   */
  broadcast(): void {
    this.#ground.attachment.exports.conditionBroadcast(this.#index);
  }
}

/**
 * The latch of this backend, which others set by its slot. Any wake-up may be for another reason:
 * reset, look whether there is work, and only then wait.
 */
export class Latch {
  readonly #ground: WaitGround;
  #seen: number;

  /** @internal */
  constructor(ground: WaitGround) {
    this.#ground = ground;
    this.#seen = ground.attachment.exports.latchValue();
  }

  /** Whether it was set since it was last reset. */
  get isSet(): boolean {
    return this.#ground.attachment.exports.latchValue() !== this.#seen;
  }

  /**
   * From now on the latch is not set.
   *
   * @see PostgreSQL: src/backend/storage/ipc/latch.c, ResetLatch
   */
  reset(): void {
    this.#seen = this.#ground.attachment.exports.latchValue();
  }

  /**
   * Waits until the latch is set.
   *
   * @returns whether it is; false when time is up
   * @see PostgreSQL: src/backend/storage/ipc/latch.c, WaitLatch
   */
  waitSync(options: WaitOptions = {}): boolean {
    return this.#ground.runSync(this.#set(options));
  }

  /** As {@link waitSync}, without blocking the thread. */
  wait({ signal, ...options }: AsyncWaitOptions = {}): Promise<boolean> {
    return this.#ground.run(this.#set(options), signal);
  }

  *#set(options: WaitOptions): Routine<boolean> {
    const { exports } = this.#ground.attachment;
    return yield* slept(() => exports.latchSleep(this.#seen), deadlineOf(options));
  }

  /**
   * Sets the latch of a backend, this one's or another's. Harmless if nobody has that slot.
   *
   * @param slot - `backend.slot` of the one to wake
   * @throws RangeError for a number that is no slot
   * @see PostgreSQL: src/backend/storage/ipc/latch.c, SetLatch
   */
  set(slot: number = this.#ground.attachment.slot): void {
    this.#ground.attachment.mustBeSlot(slot);
    this.#ground.attachment.exports.setLatch(slot);
  }
}
