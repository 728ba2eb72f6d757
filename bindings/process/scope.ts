/**
 * The callback form of a context's life: made, used, deleted, whichever way the callback ends.
 *
 * One function serves both kinds of callback. A form that only knew synchronous ones would delete
 * the context at the first `await` of an asynchronous one that got there by mistake.
 */

import type { MemoryContext } from "./context.ts";

/** Whether something can be waited for, as `await` sees it. @internal */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  const known = typeof value === "object" || typeof value === "function";
  return known && value !== null && typeof (value as { then?: unknown }).then === "function";
}

/** Runs `work` with `child`, then deletes it: at return or throw, or when the promise settles. */
export function runScope<T>(child: MemoryContext, work: (child: MemoryContext) => T): T {
  let result: T;
  try {
    result = work(child);
  } catch (error) {
    deleteAfter(child, error);
    throw error;
  }
  if (isThenable(result)) return settled(child, result) as T;
  child[Symbol.dispose]();
  return result;
}

async function settled<T>(child: MemoryContext, promise: PromiseLike<T>): Promise<T> {
  let result: T;
  try {
    result = await promise;
  } catch (error) {
    deleteAfter(child, error);
    throw error;
  }
  child[Symbol.dispose]();
  return result;
}

/** Deletes after a failure. Should that fail as well, both errors are told, as `using` does. */
function deleteAfter(child: MemoryContext, suppressed: unknown): void {
  try {
    child[Symbol.dispose]();
  } catch (error) {
    const both = new Error("an error was suppressed during disposal");
    throw Object.assign(both, { name: "SuppressedError", error, suppressed });
  }
}
