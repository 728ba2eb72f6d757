// Tests of the calls that a backend makes of its own storage. Where I/O workers read it makes none,
// and a suite that runs once for each method leaves them out then: see test/workers.

import { describe, it } from "vitest";
import { ioMethod } from "./io-methods.ts";

/** A test that there is with io_method sync alone. */
export function ofOwnReads(name: string, work: () => Promise<void> | void): void {
  if (ioMethod === "sync") it(name, work);
}

/** A group of such tests alone. */
export function groupOfOwnReads(name: string, tests: () => void): void {
  if (ioMethod === "sync") describe(name, tests);
}
