/**
 * The time limits of a session, each with at most one timer. A timer does not keep a process alive,
 * and fires between two tasks only: a thread that never awaits is never interrupted by one.
 *
 * PostgreSQL: src/backend/utils/misc/timeout.c
 */

/** What is limited. @internal */
export type Limit = "statement" | "transaction" | "idle";

/** Timers by what they limit. @internal */
export class Timers {
  readonly #timers = new Map<Limit, ReturnType<typeof setTimeout>>();

  /** Calls `fire` once after so long, instead of what was armed before; 0 disarms. */
  arm(limit: Limit, milliseconds: number, fire: () => void): void {
    this.disarm(limit);
    if (milliseconds <= 0) return;
    const timer = setTimeout(() => {
      this.#timers.delete(limit);
      fire();
    }, milliseconds);
    (timer as { unref?: () => void }).unref?.();
    this.#timers.set(limit, timer);
  }

  /** Forgets a timer. */
  disarm(limit: Limit): void {
    const timer = this.#timers.get(limit);
    if (timer === undefined) return;
    clearTimeout(timer);
    this.#timers.delete(limit);
  }

  /** Forgets all timers. */
  close(): void {
    for (const limit of [...this.#timers.keys()]) this.disarm(limit);
  }
}
