// Real backends on the test's one thread, a step at a time: the routine that a call would run to
// its end is taken out of it, and run between the steps of others.

import type { Backend } from "../../bindings/index.ts";
import { BackendParts } from "../../bindings/shared/backend-parts.ts";
import type { BufferPoolParts } from "../../bindings/shared/number-pool.ts";
import { type Routine, type Step, transfer } from "../../bindings/shared/routine.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";

/** Travels out of a call whose routine was taken. */
const TAKEN = Symbol("taken");

/**
 * The routine that a synchronous call of a backend would run. A call that needed none has been made
 * already, and its result comes at the routine's first step.
 */
export function routineOf<Result>(call: () => Result): Routine<Result> {
  let taken: Routine<unknown> | undefined;
  const { runSync } = BackendParts.prototype;
  BackendParts.prototype.runSync = (routine) => {
    taken = routine;
    throw TAKEN;
  };
  try {
    return at(call());
  } catch (error) {
    if (error !== TAKEN || taken === undefined) throw error;
    return taken as Routine<Result>;
  } finally {
    BackendParts.prototype.runSync = runSync;
  }
}

// biome-ignore lint/correctness/useYield: it has its result already
function* at<Result>(result: Result): Routine<Result> {
  return result;
}

/** What a backend's pool is made of: its attachment, for a test that plays TypeScript's part. */
export function partsOf(backend: Backend): BufferPoolParts {
  return Reflect.get(backend.buffers, "parts") as BufferPoolParts;
}

/** A routine between two steps. */
export class Fiber {
  readonly kind: string;
  readonly #backend: Backend;
  readonly #storage: StorageManager;
  readonly #routine: Routine<unknown>;
  #step: Step | undefined;
  #result: unknown;

  constructor(kind: string, backend: Backend, storage: StorageManager, routine: Routine<unknown>) {
    this.kind = kind;
    this.#backend = backend;
    this.#storage = storage;
    this.#routine = routine;
  }

  get result(): unknown {
    return this.#result;
  }

  /** What it waits for. */
  get step(): Step | undefined {
    return this.#step;
  }

  /** Does what the routine waits for, and goes on to what it waits for next. */
  turn(): boolean {
    try {
      this.#perform();
    } catch (error) {
      return this.#took(this.#routine.throw(error));
    }
    return this.#took(this.#routine.next());
  }

  /** Has the step fail, as an abort does. */
  fail(error: unknown): boolean {
    return this.#took(this.#routine.throw(error));
  }

  #took(next: IteratorResult<Step, unknown>): boolean {
    this.#step = next.done === true ? undefined : next.value;
    if (next.done === true) this.#result = next.value;
    return next.done === true;
  }

  #perform(): void {
    const step = this.#step;
    if (step?.op === "sleep") partsOf(this.#backend).attachment.exports.sleep(0);
    else if (step !== undefined && ("journal" in step || "pages" in step)) {
      transfer(this.#storage, step);
    }
  }
}
