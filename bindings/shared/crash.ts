/**
 * What happens when an exception leaves a call into shared memory: a stack that overflowed in the
 * middle of it, an invariant that does not hold, a trap. The call was torn between two of its
 * stores, perhaps with a partition lock in its hand. So this backend counts as dead: its calls are
 * refused from now on, its slot says so, and the owner of the region gives back what it held, as
 * for a thread that has ended. Nothing else is known of what it did.
 *
 * Where the stack is at its end no function of ours can be called any more. What must not fail is
 * therefore done in the `catch` itself, by plain stores and builtins; the rest may wait for a
 * moment with more room. The owner looks once a second for slots that could not tell it.
 *
 * Calls that are made often have a guard of their own: hot-calls.ts.
 *
 * PostgreSQL: an exit of the process; src/backend/postmaster/postmaster.c, HandleChildCrash
 */

import { LIFE_CRASHED, REGION_REQUESTS_OFFSET } from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { type CallGuard, hotCalls } from "./hot-calls.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;

/** Where a backend says that it has crashed. @internal */
export interface CrashSite {
  /** The region's words. */
  readonly i32: Int32Array;
  /** Byte address of the slot. */
  readonly slotAddress: number;
  /** Called once, when there is room for it. */
  crashed(cause: unknown): void;
}

/** Parameters of the calls that a backend makes. */
const MOST_PARAMETERS = 6;

type Call = (...values: number[]) => number;
type Raw = Record<string, Call>;

/** Exports that can be called until a call is torn, or until they are retired. @internal */
export interface GuardedExports {
  readonly exports: SharedExports;
  /** From now on every call throws that error, whoever still has it. */
  retire(error: PallocError): void;
}

/** Puts a guard before exports. @internal */
export function guardExports(exports: SharedExports, site: CrashSite): GuardedExports {
  const guard = new Guard(exports, site);
  const calls = { ...coldCalls(exports, guard), ...hotCalls(guard) } as unknown as SharedExports;
  return { exports: calls, retire: (error) => guard.retire(error) };
}

/** The error of every call after the one that was torn. @internal */
export function crashedBefore(cause: unknown): PallocError {
  return new PallocError("57P02", "this backend has crashed: a call into shared memory was torn", {
    detail: `It ended with: ${cause instanceof Error ? cause.message : String(cause)}`,
    hint: "What it held has been given back. Detach it, and attach again.",
    cause,
  });
}

class Guard implements CallGuard {
  raw: SharedExports;
  readonly sound: SharedExports;
  readonly refusing: SharedExports;
  readonly words: Int32Array;
  readonly life: number;
  readonly #site: CrashSite;
  #cause: unknown;
  #told = false;
  #retired: PallocError | undefined;

  constructor(exports: SharedExports, site: CrashSite) {
    this.raw = exports;
    this.sound = exports;
    this.words = site.i32;
    this.life = site.slotAddress / WORD_BYTES;
    this.#site = site;
    const refuse = (): never => this.refuse();
    const names = Object.keys(exports);
    const refusing = Object.fromEntries(names.map((name) => [name, refuse]));
    this.refusing = refusing as unknown as SharedExports;
  }

  refuse(): never {
    throw this.#retired ?? crashedBefore(this.#cause);
  }

  retire(error: PallocError): void {
    this.raw = this.refusing;
    if (!this.#told) this.#retired = error;
    this.#told = true;
  }

  torn(error: unknown): unknown {
    if (this.#told) return error;
    this.#told = true;
    this.#cause = error;
    const requests = REGION_REQUESTS_OFFSET / WORD_BYTES;
    Atomics.add(this.words, requests, 1);
    Atomics.notify(this.words, requests);
    this.#site.crashed(error);
    return error;
  }
}

/**
 * Calls by the number of their parameters: what they have in common is compiled once, and
 * costs each call a few nanoseconds.
 */
function coldCalls(exports: SharedExports, guard: Guard): Raw {
  const calls = Object.entries(exports as unknown as Raw);
  return Object.fromEntries(calls.map(([name, call]) => [name, coldCall(call, guard)]));
}

function coldCall(call: Call, guard: Guard): Call {
  const { words, life, sound, refusing } = guard;
  const one = (a = 0): number => {
    try {
      if (guard.raw !== sound) guard.refuse();
      return call(a);
    } catch (error) {
      if (guard.raw === sound) {
        guard.raw = refusing;
        Atomics.or(words, life, LIFE_CRASHED);
      }
      throw guard.torn(error);
    }
  };
  const many = (a = 0, b = 0, c = 0, d = 0, e = 0, f = 0): number => {
    try {
      if (guard.raw !== sound) guard.refuse();
      return call(a, b, c, d, e, f);
    } catch (error) {
      if (guard.raw === sound) {
        guard.raw = refusing;
        Atomics.or(words, life, LIFE_CRASHED);
      }
      throw guard.torn(error);
    }
  };
  // Calls of the region's creator, which nobody makes often.
  const all = (...values: number[]): number => {
    try {
      if (guard.raw !== sound) guard.refuse();
      return call(...values);
    } catch (error) {
      if (guard.raw === sound) {
        guard.raw = refusing;
        Atomics.or(words, life, LIFE_CRASHED);
      }
      throw guard.torn(error);
    }
  };
  if (call.length > MOST_PARAMETERS) return all;
  return call.length < 2 ? one : many;
}
