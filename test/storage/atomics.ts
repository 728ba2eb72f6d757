// Stops what shares words with other threads at each of its atomic operations in turn: there
// another thread does something of its own, or the thread ends. What matters to either is only the
// order of atomic operations, which this decides; so both can run in this thread.

import { expect } from "vitest";

const atomics = Atomics as unknown as Record<string, (...values: unknown[]) => unknown>;
const names = ["load", "store", "add", "compareExchange", "exchange"];

/** Does `action` before the given atomic operation of `run`. @returns whether `run` got that far */
export function stopAt(operation: number, action: () => void, run: () => void): boolean {
  const originals = names.map((name) => [name, atomics[name]] as const);
  let count = 0;
  for (const [name, original] of originals) {
    if (original === undefined) throw new Error(name);
    atomics[name] = (...values) => {
      if (count++ === operation) action();
      return original(...values);
    };
  }
  try {
    run();
  } finally {
    for (const [name, original] of originals) if (original !== undefined) atomics[name] = original;
  }
  return count > operation;
}

/** Runs `check` for each operation there is. */
export function everywhere(check: (operation: number) => boolean): void {
  let operation = 0;
  while (check(operation)) operation++;
  expect(operation).toBeGreaterThan(1);
}

class Death extends Error {}

/** As {@link stopAt}, and the thread ends there. */
export function dieAt(operation: number, run: () => void): boolean {
  const die = (): never => {
    throw new Death();
  };
  try {
    return stopAt(operation, die, run);
  } catch (error) {
    if (error instanceof Death) return true;
    throw error;
  }
}
