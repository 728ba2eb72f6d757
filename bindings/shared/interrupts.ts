/**
 * What others ask of a backend: to cancel what it does, or to end. They set a bit in its slot and
 * wake it; it looks before and after each wait, before each read, and in its event loop.
 *
 * - Cancel: what is under way fails with 57014, every task of the backend that waits. Where nothing
 *   is, it is forgotten, as PostgreSQL's idle backend forgets it.
 * - Terminate: 57P01. What is under way unwinds, then the backend detaches. A thread that is in its
 *   event loop detaches at once.
 *
 * A backend that computes, and neither waits nor returns to its event loop, notices nothing until
 * it asks: `backend.checkInterrupts()`.
 *
 * PostgreSQL: src/backend/tcop/postgres.c, ProcessInterrupts; storage/ipc/signalfuncs.c
 */

import {
  INTERRUPT_CANCEL,
  INTERRUPT_CATCH_UP,
  INTERRUPT_TERMINATE,
  INTERRUPTS_THAT_BREAK,
  LIFE_ACTIVE,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  SLOT_INTERRUPTS_OFFSET,
  ST_BUSY,
  ST_NO_SLOT,
} from "../../assembly/common/constants.ts";
import type { PallocError } from "../abi/errors.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { PAUSE, type Routine } from "./routine.ts";
import { cancelled, statementTimedOut, terminated } from "./statuses.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
const AGAIN_MS = 1;
/** A sleeper looks by itself each second; waking it is not tried for longer than this. */
const MAX_TRIES = 2000;

type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
) => { readonly value: Promise<string> | string };

const { waitAsync } = Atomics as unknown as { readonly waitAsync?: WaitAsync };

/** Where something under way stood when it first waited. @internal */
export interface Statement {
  /** Cancellations before it. */
  readonly cancels: number;
  /** When it has taken too long, by performance.now(). */
  readonly deadline: number;
}

/** What is asked of one backend. @internal */
export class Interrupts {
  readonly #words: Int32Array;
  readonly #index: number;
  #timeoutMs: number;
  #cancels = 0;
  #waiting = 0;
  #statement: Statement | undefined;
  #reason: PallocError | undefined;
  #ignoresCancel = false;
  readonly #raised = new Set<() => void>();
  #closed = false;
  #catchUp: () => void = () => {};

  /** @param timeoutMs - statement_timeout; 0 is none */
  constructor(words: Int32Array, slotAddress: number, timeoutMs: number) {
    this.#words = words;
    this.#index = (slotAddress + SLOT_INTERRUPTS_OFFSET) / WORD_BYTES;
    this.#timeoutMs = timeoutMs;
  }

  /** Why the backend is to end, once it is. */
  get reason(): PallocError | undefined {
    return this.#reason;
  }

  /** Calls `listener` when something is asked, for what waits as a promise. @returns forgets */
  onRaised(listener: () => void): () => void {
    this.#raised.add(listener);
    return () => this.#raised.delete(listener);
  }

  /** Sets statement_timeout for statements that begin from now on; 0 is none. */
  limit(milliseconds: number): void {
    this.#timeoutMs = milliseconds;
  }

  /** Calls `listener` in the event loop when this backend has fallen behind with its messages. */
  onCatchUp(listener: () => void): void {
    this.#catchUp = listener;
  }

  /** This backend works for others, and without end: only termination reaches it. */
  ignoreCancel(): void {
    this.#ignoresCancel = true;
  }

  /** Begins a statement of many calls: cancellations from before do not concern it. */
  begin(): void {
    Atomics.and(this.#words, this.#index, ~INTERRUPT_CANCEL);
    this.#statement = this.#fresh();
  }

  /** Ends it. */
  end(): void {
    this.#statement = undefined;
  }

  /** The statement that a call belongs to; a call outside of one is its own. */
  current(): Statement {
    return this.#statement ?? this.#fresh();
  }

  #fresh(): Statement {
    const limit = this.#timeoutMs === 0 ? Number.POSITIVE_INFINITY : this.#timeoutMs;
    return { cancels: this.#cancels, deadline: performance.now() + limit };
  }

  /** How long a wait may last at most. */
  bound(statement: Statement | undefined, milliseconds: number): number {
    if (statement === undefined || this.#ignoresCancel) return Math.ceil(milliseconds);
    const left = Math.ceil(statement.deadline - performance.now());
    return Math.max(0, Math.min(Math.ceil(milliseconds), left));
  }

  /**
   * @param statement - what is under way; without, nothing that could be cancelled
   * @throws 57P01 if the backend is to end, 57014 if what is under way is to be cancelled
   */
  check(statement?: Statement): void {
    this.#take();
    if (this.#reason !== undefined) throw this.#reason;
    if (statement === undefined || this.#ignoresCancel) return;
    if (this.#cancels !== statement.cancels) throw cancelled(undefined);
    if (performance.now() > statement.deadline) throw statementTimedOut();
  }

  /** {@link check} for a caller that does not wait: what was asked since the last look counts. */
  checkNow(): void {
    const { cancels } = this.#statement ?? { cancels: this.#cancels };
    this.check({ ...this.current(), cancels });
  }

  #take(): void {
    const bits = Atomics.load(this.#words, this.#index);
    if ((bits & INTERRUPT_TERMINATE) !== 0) this.#reason ??= terminated();
    if ((bits & INTERRUPT_CANCEL) === 0) return;
    Atomics.and(this.#words, this.#index, ~INTERRUPT_CANCEL);
    this.#cancels += 1;
  }

  /** Runs something that waits as a promise, so that a cancellation finds it. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#waiting += 1;
    try {
      return await work();
    } finally {
      this.#waiting -= 1;
    }
  }

  /**
   * Has this thread's event loop notice what is asked. Keeps nothing alive.
   *
   * @param onTerminate - called when the backend is to end
   */
  async listen(onTerminate: () => void): Promise<void> {
    while (!this.#closed && waitAsync !== undefined) {
      const bits = Atomics.load(this.#words, this.#index);
      if ((bits & INTERRUPTS_THAT_BREAK) !== 0) this.#notice();
      if (this.#reason !== undefined) return onTerminate();
      if ((bits & INTERRUPT_CANCEL) !== 0) continue;
      if ((bits & INTERRUPT_CATCH_UP) !== 0) this.#receive();
      await waitAsync(this.#words, this.#index, bits).value;
    }
  }

  /** Receiving clears the bit; where nothing is received it is cleared all the same. */
  #receive(): void {
    this.#catchUp();
    Atomics.and(this.#words, this.#index, ~INTERRUPT_CATCH_UP);
  }

  #notice(): void {
    const cancels = this.#cancels;
    this.#take();
    const isIdle = this.#waiting === 0 && this.#statement === undefined;
    if (isIdle) this.#cancels = cancels;
    for (const listener of [...this.#raised]) listener();
  }

  close(): void {
    this.#closed = true;
    Atomics.notify(this.#words, this.#index);
  }
}

// ── Asking others ────────────────────────────────────────────────────────────────────────────────

/**
 * A backend, by its slot; or all backends of a thread, by what `pg_stat_activity` shows as pid.
 */
export type BackendTarget = { readonly slot: number } | { readonly pid: number };

/**
 * Asks backends to cancel what they do. True if there is one; it may not have noticed yet.
 *
 * @internal
 */
export function cancelBackend(exports: SharedExports, slots: number, to: BackendTarget): boolean {
  return ask(exports, slots, to, INTERRUPT_CANCEL);
}

/** As {@link cancelBackend}: asks them to end. @internal */
export function terminateBackend(
  exports: SharedExports,
  slots: number,
  to: BackendTarget,
): boolean {
  return ask(exports, slots, to, INTERRUPT_TERMINATE);
}

function ask(exports: SharedExports, slots: number, to: BackendTarget, bits: number): boolean {
  let asked = false;
  for (let slot = 1; slot < slots; slot += 1) {
    const life = exports.slotLife(slot) >>> 0;
    if ((life & LIFE_STATE_MASK) !== LIFE_ACTIVE) continue;
    const wanted = "slot" in to ? to.slot === slot : to.pid === life >>> LIFE_STATE_BITS;
    if (wanted && send(exports, slot, life, bits)) asked = true;
  }
  return asked;
}

function send(exports: SharedExports, slot: number, life: number, bits: number): boolean {
  const sending = interrupting(exports, { slot, life, bits });
  const first = sending.next();
  if (first.done === true) return first.value;
  let tries = 0;
  const again = (): void => {
    tries += 1;
    if (tries > MAX_TRIES || sending.next().done === true) return;
    const timer: unknown = setTimeout(again, AGAIN_MS);
    (timer as { unref?(): void }).unref?.();
  };
  again();
  return true;
}

/**
 * Sets bits of a backend and wakes it for as long as it may sleep without having seen them. False
 * if the slot is no longer of that life.
 *
 * @internal
 */
export function* interrupting(
  exports: SharedExports,
  { slot, life, bits }: { readonly slot: number; readonly life: number; readonly bits: number },
): Routine<boolean> {
  let status = exports.interrupt(slot, life, bits);
  if (status === ST_NO_SLOT) return false;
  while (status === ST_BUSY) {
    yield PAUSE;
    status = exports.wakeInterrupted(slot, bits);
  }
  return true;
}
