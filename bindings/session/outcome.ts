/**
 * Work of a caller that ends in one of two ways, now or later: one function for what returns and
 * for what returns a promise.
 */

import { isThenable } from "../process/scope.ts";

/** What follows the two ends of a piece of work. @internal */
export interface Following {
  /** It is done. What this throws is thrown instead of the result. */
  succeeded(): void;
  /** It threw. @returns what to throw */
  failed(error: unknown): unknown;
}

/** Runs work, then what follows its end: at once, or when its promise settles. @internal */
export function runToEnd<T>(work: () => T, following: Following): T {
  let result: T;
  try {
    result = work();
  } catch (error) {
    throw following.failed(error);
  }
  if (isThenable(result)) return later(result, following) as T;
  following.succeeded();
  return result;
}

async function later<T>(promise: PromiseLike<T>, following: Following): Promise<T> {
  let result: T;
  try {
    result = await promise;
  } catch (error) {
    throw following.failed(error);
  }
  following.succeeded();
  return result;
}

/** Two errors of which the first would be lost, as `using` tells them. @internal */
export function suppressed(error: unknown, before: unknown): Error {
  const both = new Error("an error was suppressed while a transaction was rolled back");
  return Object.assign(both, { name: "SuppressedError", error, suppressed: before });
}
