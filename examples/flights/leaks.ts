/**
 * The leak check: what a backend holds in its context tree, in buffer pins and in locks, counted
 * before a transaction and after it. The transaction has given everything back when the two are
 * equal.
 */

import type { MemoryContext, ProcessMemory, Session } from "../../bindings/index.ts";
import { ownLocks } from "./sight.ts";

/** What one backend holds. */
export interface Holdings {
  /** Memory contexts in the tree, TopMemoryContext included. */
  readonly contexts: number;
  /** Bytes in chunks, headers and block ends, over the whole tree. */
  readonly usedBytes: number;
  /** Chunks on free lists, over the whole tree. */
  readonly freeChunks: number;
  readonly pins: number;
  readonly locks: number;
}

/** Counts what a session holds. */
export function holdingsOf({ backend }: Session): Holdings {
  const pins = backend.buffers.pinnedBuffers();
  return { ...memoryHeld(backend.memory), pins, locks: ownLocks(backend).length };
}

/** Counts a context tree. */
export function memoryHeld(memory: ProcessMemory): Omit<Holdings, "pins" | "locks"> {
  let contexts = 0;
  let usedBytes = 0;
  let freeChunks = 0;
  const visit = (context: MemoryContext): void => {
    const stats = context.stats();
    contexts += 1;
    usedBytes += stats.usedBytes;
    freeChunks += stats.freeChunks;
    for (const child of context.children()) visit(child);
  };
  visit(memory.top);
  return { contexts, usedBytes, freeChunks };
}

/** What `after` has beyond `before`, in words; empty when nothing was left over. */
export function leftOver(before: Holdings, after: Holdings): string[] {
  const counts: readonly [number, string][] = [
    [after.contexts - before.contexts, "memory contexts"],
    [after.usedBytes - before.usedBytes, "bytes in chunks"],
    [after.freeChunks - before.freeChunks, "free chunks"],
    [after.pins - before.pins, "buffer pins"],
    [after.locks - before.locks, "locks"],
  ];
  return counts.filter(([count]) => count !== 0).map(([count, what]) => `${count} ${what}`);
}
