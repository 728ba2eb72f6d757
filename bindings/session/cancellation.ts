/**
 * Asking a query to end early: because its time is over, because somebody wants it, or because the
 * signal it was begun with says so. It is a signal, so that every promise form of the library that
 * takes one gives up; work without waits asks by `checkInterrupts()`.
 *
 * PostgreSQL: src/backend/tcop/postgres.c, ProcessInterrupts
 */

import type { CancelSignal } from "../abi/cancel-signal.ts";
import { PallocError } from "../abi/errors.ts";

/** A signal that can be given. @internal */
export class Cancellation implements CancelSignal {
  #reason: PallocError | undefined;
  readonly #listeners = new Set<() => void>();
  readonly #outer: CancelSignal | undefined;
  /** When the time is over: a thread that never awaits sees no timer. */
  readonly #deadline: number;

  /** @param milliseconds - statement_timeout; 0 for no end */
  constructor(milliseconds: number, outer?: CancelSignal) {
    this.#deadline = milliseconds > 0 ? performance.now() + milliseconds : Number.POSITIVE_INFINITY;
    this.#outer = outer;
    if (outer?.aborted === true) this.#cancelOuter();
    else outer?.addEventListener("abort", this.#cancelOuter, { once: true });
  }

  get aborted(): boolean {
    return this.#reason !== undefined;
  }

  get reason(): PallocError | undefined {
    return this.#reason;
  }

  addEventListener(_type: "abort", listener: () => void): void {
    this.#listeners.add(listener);
  }

  removeEventListener(_type: "abort", listener: () => void): void {
    this.#listeners.delete(listener);
  }

  /** Gives the signal, once. */
  cancel(reason: PallocError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener();
  }

  /** @throws what the query was cancelled with */
  check(): void {
    if (performance.now() >= this.#deadline) this.cancel(statementTimeout());
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** The query has ended: nobody listens any more. */
  close(): void {
    this.#listeners.clear();
    this.#outer?.removeEventListener("abort", this.#cancelOuter);
  }

  readonly #cancelOuter = (): void => this.cancel(userRequest(this.#outer?.reason));
}

/** @param cause - what the signal said @internal */
export function userRequest(cause?: unknown): PallocError {
  return new PallocError("57014", "canceling statement due to user request", { cause });
}

/** A query has taken longer than statement_timeout. @internal */
export function statementTimeout(): PallocError {
  return new PallocError("57014", "canceling statement due to statement timeout");
}
