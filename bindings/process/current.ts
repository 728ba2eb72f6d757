/**
 * Which context is current, for one memory: PostgreSQL's CurrentMemoryContext, with its habit of
 * switching to another and back.
 *
 * Where it is kept can be replaced: a field is right while nothing awaits; the entry
 * `palloc/async-context` puts a store in its place that follows `await`.
 *
 * @see PostgreSQL: src/include/utils/palloc.h, MemoryContextSwitchTo
 */

import type { MemoryContext } from "./context.ts";
import { isThenable } from "./scope.ts";

/** Where the current context of a memory is kept. */
export interface CurrentStore {
  /** The current context, or undefined if none was chosen yet. */
  get(): MemoryContext | undefined;
  /** Makes a context current from now on. */
  set(context: MemoryContext): void;
  /** Runs `work` with a context current, and restores what was before. */
  run<T>(context: MemoryContext, work: () => T): T;
}

/** A plain field. Asynchronous work is refused: at its first `await` the field is restored. */
export class FieldStore implements CurrentStore {
  #current: MemoryContext | undefined;

  get(): MemoryContext | undefined {
    return this.#current;
  }

  set(context: MemoryContext): void {
    this.#current = context;
  }

  run<T>(context: MemoryContext, work: () => T): T {
    const before = this.#current;
    this.#current = context;
    try {
      const result = work();
      if (!isThenable(result)) return result;
    } finally {
      this.#current = before;
    }
    throw new TypeError(
      "asynchronous work outlives the current context; use followAwait of palloc/async-context",
    );
  }
}
