/**
 * One instance of shared.wasm acting for one backend slot, and the one place where a call sleeps,
 * in either way. What is above (pool, relations, backend) never sees a status that means "wait".
 */

import {
  WAIT_CHECKPOINT_DONE,
  WAIT_CONTROL_FILE,
  WAIT_LOCK_EXTEND,
  WAIT_WAL_WRITE_LOCK,
} from "../../assembly/common/activity-constants.ts";
import {
  LOCK_CHECKPOINT,
  LOCK_CONTROL,
  LOCK_JOURNAL,
  REGION_BACKENDS_OFFSET,
  REGION_HURRY_OFFSET,
  REGION_STATUS_OFFSET,
  SLOT_SLEEP_VALUE_OFFSET,
  SLOT_SLEEPING_ON_OFFSET,
  SLOT_WAIT_EVENT_OFFSET,
  ST_ALREADY_LOCKED,
  ST_BUSY,
  ST_GONE,
  ST_INTERRUPTED,
  ST_WAIT,
  STATUS_CRASHED,
  STATUS_RUNNING,
} from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import { ClosedError, type PallocError } from "../abi/errors.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { crashedBefore, guardExports } from "./crash.ts";
import { Interrupts, type Statement } from "./interrupts.ts";
import { PAUSE, type Routine, SELF, SLEEP } from "./routine.ts";
import { errorOf, waitedTooLong } from "./statuses.ts";
import { canSleep } from "./threads.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** A sleeper looks again at least this often whether the region still runs. */
const LOOK_AGAIN_MS = 1000;
/** On a thread that must not sleep: length of a nap, and how long a call may take in all. */
const NAP_MS = 10;
/** What somebody else does is over soon: a guard, a claim. */
const PAUSE_MS = 0.02;
/** A browser's page may not be put to sleep at all: there a wait is looking again. */
const napMs = canSleep() ? NAP_MS : 0;
const BOUNDED_WAIT_MS = 5000;
/** Where the engine has no Atomics.waitAsync, a word is looked at this often. */
const POLL_MS = 1;
/** A rest of this length and more is worth being woken from. */
const LONG_REST_MS = 20;

type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
  timeout: number,
) => { readonly value: Promise<string> | string };

const { waitAsync } = Atomics as unknown as { readonly waitAsync?: WaitAsync };

/** A backend's access to the region. @internal */
export class Attachment {
  /** What wasm exports; after `close` every one of them throws. */
  exports: SharedExports;
  /** The whole region. Fixed in size, so that these views last as long as it does. */
  readonly buffer: SharedArrayBuffer;
  readonly i32: Int32Array;
  readonly slot: number;
  /** What others ask of this backend. */
  readonly interrupts: Interrupts;
  readonly slotAddress: number;
  #mayBlock: boolean;
  #closedBy: PallocError | undefined;
  #retire: (error: PallocError) => void = () => {};
  #crash: { readonly cause: unknown } | undefined;

  /** @param statementTimeout - milliseconds; 0 is none */
  constructor(
    exports: SharedExports,
    buffer: SharedArrayBuffer,
    slot: number,
    mayBlock: boolean,
    statementTimeout = 0,
  ) {
    this.exports = exports;
    this.buffer = buffer;
    this.i32 = new Int32Array(buffer);
    this.slot = slot;
    this.#mayBlock = mayBlock;
    this.slotAddress = exports.slotAddress(slot) >>> 0;
    this.interrupts = new Interrupts(this.i32, this.slotAddress, statementTimeout);
    exports.enter(slot, mayBlock ? 1 : 0);
  }

  /** Whether this thread may sleep for long. */
  get mayBlock(): boolean {
    return this.#mayBlock;
  }

  /** From now on this thread's waits are bounded: others' ends are noticed in its event loop. */
  stayAwake(): void {
    if (!this.#mayBlock || this.closed) return;
    this.#mayBlock = false;
    this.exports.enter(this.slot, 0);
  }

  /** Whether the backend has detached, and so holds nothing any more. */
  get closed(): boolean {
    return this.#closedBy !== undefined;
  }

  /** From now on every call throws that the backend is closed, or why it had to end. */
  close(): void {
    const error = this.interrupts.reason ?? new ClosedError("the backend");
    this.#closedBy = error;
    this.interrupts.close();
    this.#retire(error);
    const closed = (): never => {
      throw error;
    };
    this.exports = new Proxy({} as SharedExports, { get: () => closed });
  }

  /** Has a call that an exception leaves end this backend; see crash.ts. */
  guard(): void {
    const guarded = guardExports(this.exports, {
      i32: this.i32,
      slotAddress: this.slotAddress,
      crashed: (cause) => {
        this.#crash = { cause };
      },
    });
    this.exports = guarded.exports;
    this.#retire = guarded.retire;
  }

  /** Whether a call of this backend was torn: the owner gives back what it held. */
  get hasCrashed(): boolean {
    return this.#crash !== undefined;
  }

  /** Whether the region has ended as after a crash. */
  get isRegionLost(): boolean {
    return this.word(REGION_STATUS_OFFSET) === STATUS_CRASHED;
  }

  /** @throws {@link ClosedError} after `close`, or 57P01; 57P02 after a crash of this backend */
  mustBeOpen(): void {
    if (this.#closedBy !== undefined) throw this.#closedBy;
    if (this.#crash !== undefined) throw crashedBefore(this.#crash.cause);
  }

  /** When a call that begins now has waited long enough. */
  deadline(): number {
    return this.mayBlock ? Number.POSITIVE_INFINITY : performance.now() + BOUNDED_WAIT_MS;
  }

  /**
   * Sleeps on the word that a status registered.
   *
   * @param longest - when to look again in any case, in milliseconds
   * @throws when the region is gone, time is up, or somebody asks for it
   */
  sleep(deadline: number, statement?: Statement, longest: number = LOOK_AGAIN_MS): void {
    const { interrupts } = this;
    const milliseconds = interrupts.bound(
      statement,
      this.mayBlock ? longest : Math.min(napMs, longest),
    );
    const status = this.exports.sleep(milliseconds);
    if (status < 0 && status !== ST_INTERRUPTED) throw errorOf(status, this.i32);
    interrupts.check(statement);
    if (performance.now() > deadline) throw waitedTooLong(BOUNDED_WAIT_MS);
  }

  /** Lets others run for a moment. @throws as {@link sleep} */
  pause(deadline: number, statement: Statement): void {
    this.delay(PAUSE_MS);
    this.interrupts.check(statement);
    if (performance.now() > deadline) throw waitedTooLong(BOUNDED_WAIT_MS);
  }

  /** Says what this backend waits for, or 0; where wasm does not know. */
  setWaitEvent(event: number): void {
    Atomics.store(this.i32, (this.slotAddress + SLOT_WAIT_EVENT_OFFSET) / WORD_BYTES, event);
  }

  /** Lets time pass in this thread. Ends early with the region. */
  delay(milliseconds: number): void {
    if (canSleep()) {
      Atomics.wait(this.i32, REGION_STATUS_OFFSET / WORD_BYTES, STATUS_RUNNING, milliseconds);
    }
    this.mustRun();
  }

  /** As {@link sleep}, without blocking the thread. The word is looked at anew in any case. */
  async awaitWord(
    statement: Statement,
    signal?: CancelSignal,
    longest: number = LOOK_AGAIN_MS,
  ): Promise<void> {
    const words = this.i32;
    const word = (words[(this.slotAddress + SLOT_SLEEPING_ON_OFFSET) / WORD_BYTES] ?? 0) >>> 0;
    const value = words[(this.slotAddress + SLOT_SLEEP_VALUE_OFFSET) / WORD_BYTES] ?? 0;
    if (word === 0 || waitAsync === undefined) {
      await this.rest(POLL_MS);
      this.interrupts.check(statement);
      return;
    }
    this.interrupts.check(statement);
    const milliseconds = this.interrupts.bound(statement, longest);
    const waiting = waitAsync(words, word / WORD_BYTES, value, milliseconds).value;
    if (typeof waiting !== "string") await this.#keepingAlive(waiting, signal);
    this.exports.sleep(0);
    this.mustRun();
    this.interrupts.check(statement);
  }

  /** Lets time pass without blocking the thread. A long rest ends early with the region. */
  async rest(milliseconds: number, signal?: CancelSignal): Promise<void> {
    const long = milliseconds >= LONG_REST_MS && waitAsync !== undefined;
    const over = long ? this.#statusChange(milliseconds) : elapsed(milliseconds);
    await this.#keepingAlive(over, signal);
    this.mustRun();
  }

  /**
   * A pending `waitAsync` alone would let a Node process end; a timer holds it until then. Ends
   * with what is waited for, an abort, or an interrupt.
   */
  async #keepingAlive(waiting: Promise<unknown>, signal?: CancelSignal): Promise<void> {
    const timer = setInterval(() => {}, LOOK_AGAIN_MS);
    let forget = (): void => {};
    const given = new Promise<void>((resolve) => {
      const given = (): void => resolve();
      const forgetInterrupt = this.interrupts.onRaised(given);
      if (signal?.aborted === true) resolve();
      signal?.addEventListener("abort", given, { once: true });
      forget = () => {
        forgetInterrupt();
        signal?.removeEventListener("abort", given);
      };
    });
    try {
      await Promise.race([waiting, given]);
    } finally {
      forget();
      clearInterval(timer);
    }
  }

  async #statusChange(milliseconds: number): Promise<void> {
    const index = REGION_STATUS_OFFSET / WORD_BYTES;
    await waitAsync?.(this.i32, index, STATUS_RUNNING, milliseconds).value;
  }

  /** @throws RangeError for a number that is no slot of a backend */
  mustBeSlot(slot: number): void {
    if (Number.isInteger(slot) && slot > 0 && slot < this.word(REGION_BACKENDS_OFFSET)) return;
    throw new RangeError(`a slot is a number from 1, as backend.slot, not ${slot}`);
  }

  /** @throws 57P01 or 57P02 when the region has ended */
  mustRun(): void {
    if (Atomics.load(this.i32, REGION_STATUS_OFFSET / WORD_BYTES) !== STATUS_RUNNING) {
      throw errorOf(ST_GONE, this.i32);
    }
  }

  /** A word of the region's header that TypeScript shares with other backends. */
  word(offset: number): number {
    return Atomics.load(this.i32, offset / WORD_BYTES) >>> 0;
  }

  setWord(offset: number, value: number): void {
    Atomics.store(this.i32, offset / WORD_BYTES, value | 0);
  }

  /** Calls until the result is neither ST_WAIT nor ST_BUSY, sleeping in between. */
  *untilDone(call: () => number): Routine<number> {
    for (;;) {
      const status = call();
      if (status === ST_WAIT) yield SLEEP;
      else if (status === ST_BUSY) yield PAUSE;
      else return status;
    }
  }

  /** Passes a good result on, and throws what a bad one stands for. */
  check(status: number): number {
    if (status < 0) throw errorOf(status, this.i32);
    return status;
  }

  /** Whether somebody waits for the checkpoint lock, which this backend holds. */
  get isHurried(): boolean {
    return Atomics.load(this.i32, REGION_HURRY_OFFSET / WORD_BYTES) !== 0;
  }

  /**
   * Takes a named lock, which may be held across I/O. Not reentrant. Who waits for that of the
   * checkpoint says so, at each look again, to one that is spread over time.
   */
  *lockNamed(lock: number): Routine<void> {
    for (;;) {
      const status = this.exports.lockNamed(lock, waitForNamed(lock));
      if (lock === LOCK_CHECKPOINT) this.#hurry(status === ST_WAIT ? 1 : 0);
      if (status === ST_WAIT) yield SLEEP;
      else if (status === ST_ALREADY_LOCKED) yield SELF;
      else {
        this.check(status);
        return;
      }
    }
  }

  #hurry(value: number): void {
    Atomics.store(this.i32, REGION_HURRY_OFFSET / WORD_BYTES, value);
  }

  /** Runs a routine under a named lock. */
  *withNamedLock<Result>(lock: number, work: () => Routine<Result>): Routine<Result> {
    yield* this.lockNamed(lock);
    try {
      return yield* work();
    } finally {
      this.exports.unlockNamed(lock);
    }
  }
}

/** What others see while a backend waits for a named lock. */
function waitForNamed(lock: number): number {
  if (lock === LOCK_CHECKPOINT) return WAIT_CHECKPOINT_DONE;
  if (lock === LOCK_CONTROL) return WAIT_CONTROL_FILE;
  return lock === LOCK_JOURNAL ? WAIT_WAL_WRITE_LOCK : WAIT_LOCK_EXTEND;
}

function elapsed(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
