/**
 * The leak check: what a backend holds in its context tree and in buffer pins, counted before and
 * after a query. A query has given everything back when the two are equal.
 */

import type { MemoryContext, ProcessMemory } from "../../bindings/index.ts";

/** What one backend holds. */
export interface Holdings {
  /** Memory contexts in the tree, TopMemoryContext included. */
  readonly contexts: number;
  /** Bytes in chunks, headers and block ends, over the whole tree. */
  readonly usedBytes: number;
  /** Chunks on free lists, over the whole tree. */
  readonly freeChunks: number;
  readonly pins: number;
}

/** Counts a context tree; `pins` is `BufferPool.pinnedBuffers()`. */
export function holdingsOf(memory: ProcessMemory, pins: number): Holdings {
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
  return { contexts, usedBytes, freeChunks, pins };
}

/** What `after` has beyond `before`, in words; empty when nothing was left over. */
export function leftOver(before: Holdings, after: Holdings): string[] {
  const counts: readonly [number, string][] = [
    [after.contexts - before.contexts, "memory contexts"],
    [after.usedBytes - before.usedBytes, "bytes in chunks"],
    [after.freeChunks - before.freeChunks, "free chunks"],
    [after.pins - before.pins, "buffer pins"],
  ];
  return counts.filter(([count]) => count !== 0).map(([count, what]) => `${count} ${what}`);
}
