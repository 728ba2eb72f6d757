/**
 * What is said of waits for heavyweight locks that lasted longer than `deadlock_timeout`, with the
 * parameter `log_lock_waits`: still waiting, granted after all, a deadlock found or avoided. It
 * goes where warnings of a backend go, in PostgreSQL's words.
 *
 * PostgreSQL: src/backend/storage/lmgr/proc.c, ProcSleep
 */

import { describe, modeName, type TagWords } from "./lock-tags.ts";
import type { LockViews } from "./lock-views.ts";
import type { Routine } from "./routine.ts";

/** A wait that is under way. */
interface Waiting {
  readonly words: TagWords;
  readonly mode: number;
}

/** Writes of one backend's waits. @internal */
export class LockWaitLog {
  readonly #views: LockViews;
  readonly #warn: (message: string) => void;
  readonly #slot: number;

  constructor(views: LockViews, warn: (message: string) => void, slot: number) {
    this.#views = views;
    this.#warn = warn;
    this.#slot = slot;
  }

  *stillWaiting(wait: Waiting, milliseconds: number): Routine<void> {
    this.#warn(
      `${this.#text("still waiting for", wait, "after", milliseconds)}${yield* this.#who(wait)}`,
    );
  }

  *avoided(wait: Waiting, milliseconds: number): Routine<void> {
    const how = "by rearranging queue order after";
    const text = this.#text("avoided deadlock for", wait, how, milliseconds);
    this.#warn(`${text}${yield* this.#who(wait)}`);
  }

  *detected(wait: Waiting, milliseconds: number): Routine<void> {
    const text = this.#text("detected deadlock while waiting for", wait, "after", milliseconds);
    this.#warn(`${text}${yield* this.#who(wait)}`);
  }

  acquired(wait: Waiting, milliseconds: number): void {
    this.#warn(this.#text("acquired", wait, "after", milliseconds));
  }

  #text(what: string, { words, mode }: Waiting, how: string, milliseconds: number): string {
    const lock = `${modeName(mode)} on ${describe(words)}`;
    const process = `process ${this.#views.pid(this.#slot)}`;
    return `${process} ${what} ${lock} ${how} ${milliseconds.toFixed(3)} ms`;
  }

  *#who({ words }: Waiting): Routine<string> {
    const { holders, waiters } = yield* this.#views.queueOn(words);
    const processes = holders.length === 1 ? "Process" : "Processes";
    const queue = waiters.join(", ");
    return `\nDETAIL:  ${processes} holding the lock: ${holders.join(", ")}. Wait queue: ${queue}.`;
  }
}
