/**
 * The tree of contexts as rows with the columns of `pg_backend_memory_contexts`, and as a tree for
 * tools.
 *
 * Numbers in `path` are given out breadth-first, anew in each call: 1 is the context the rows begin
 * with, then come its children, the newest first, then theirs. To sum up a subtree, take all rows
 * whose `path` has the subtree's number at the place of its level.
 *
 * @see PostgreSQL: src/backend/utils/adt/mcxtfuncs.c, pg_get_backend_memory_contexts
 */

import {
  CONTEXT_FIRST_CHILD_OFFSET,
  CONTEXT_NEXT_SIBLING_OFFSET,
} from "../../assembly/common/constants.ts";
import type { ContextStatistics, ContextType, ProcessCore } from "./core.ts";

/** Longest ident in a row, in bytes of UTF-8. */
const ROW_IDENT_BYTES = 1023;

/** One context, with the columns of `pg_backend_memory_contexts`. */
export interface MemoryContextRow {
  /** Name of the context; of a hash table (`dynahash`) its ident. */
  readonly name: string;
  /** At most 1023 bytes of UTF-8, or null. */
  readonly ident: string | null;
  readonly type: ContextType;
  /** 1 for the first context: the length of `path`. */
  readonly level: number;
  /** Numbers of the contexts from the first down to this one. */
  readonly path: readonly number[];
  readonly total_bytes: number;
  readonly total_nblocks: number;
  readonly free_bytes: number;
  readonly free_chunks: number;
  readonly used_bytes: number;
}

/** One context with those below it, as `JSON.stringify(memory)` writes it. */
export interface ContextTree extends ContextStatistics {
  readonly name: string;
  readonly ident: string | null;
  readonly type: ContextType;
  /** The newest first. */
  readonly children: readonly ContextTree[];
}

/** The rows of a context and everything below it, level by level. @internal */
export function rowsOf(core: ProcessCore, top: number): MemoryContextRow[] {
  const rows: MemoryContextRow[] = [];
  const queue = [{ context: top, path: [1] }];
  // The queue grows while it is walked, by each context once.
  for (const { context, path } of queue) {
    rows.push(rowOf(core, context, path));
    for (const child of childrenOf(core, context)) {
      queue.push({ context: child, path: [...path, queue.length + 1] });
    }
  }
  return rows;
}

/** A context and everything below it as nested objects. @internal */
export function treeOf(core: ProcessCore, top: number): ContextTree {
  const root: ContextTree[] = [];
  const waiting = [{ context: top, siblings: root }];
  for (const { context, siblings } of waiting) {
    const children: ContextTree[] = [];
    siblings.push({ ...labelOf(core, context), ...countersOf(core, context), children });
    for (const child of childrenOf(core, context)) {
      waiting.push({ context: child, siblings: children });
    }
  }
  const [tree] = root;
  if (tree === undefined) throw new RangeError("a tree has at least one context");
  return tree;
}

/** Addresses of the contexts directly below one, newest first. @internal */
export function childrenOf(core: ProcessCore, context: number): number[] {
  const found: number[] = [];
  let child = core.word(context, CONTEXT_FIRST_CHILD_OFFSET);
  while (child !== 0) {
    found.push(child);
    child = core.word(child, CONTEXT_NEXT_SIBLING_OFFSET);
  }
  return found;
}

/** Addresses of a context and everything below it, parents first. @internal */
export function subtreeOf(core: ProcessCore, top: number): number[] {
  const found = [top];
  // The list grows while it is walked, by each context once.
  for (const context of found) {
    for (const child of childrenOf(core, context)) found.push(child);
  }
  return found;
}

/** Name and ident as the view shows them. */
function labelOf(
  core: ProcessCore,
  context: number,
): { name: string; ident: string | null; type: ContextType } {
  const name = core.nameAt(context);
  const ident = core.identAt(context);
  const type = core.typeAt(context);
  // Hash tables all have one name; what they are called is their ident.
  if (name === "dynahash" && ident !== null) return { name: ident, ident: null, type };
  return { name, ident: ident === null ? null : clip(ident, ROW_IDENT_BYTES), type };
}

function countersOf(core: ProcessCore, context: number): ContextStatistics {
  const { blocks, totalBytes, freeBytes, freeChunks, usedBytes } = core.statistics(context, false);
  return { blocks, totalBytes, freeBytes, freeChunks, usedBytes };
}

function rowOf(core: ProcessCore, context: number, path: readonly number[]): MemoryContextRow {
  const sums = core.statistics(context, false);
  return {
    ...labelOf(core, context),
    level: path.length,
    path,
    total_bytes: sums.totalBytes,
    total_nblocks: sums.blocks,
    free_bytes: sums.freeBytes,
    free_chunks: sums.freeChunks,
    used_bytes: sums.usedBytes,
  };
}

/** At most `limit` bytes of UTF-8, no character split, nothing put in the place of the rest. */
function clip(text: string, limit: number): string {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= limit) return text;
  let end = limit;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return new TextDecoder().decode(bytes.subarray(0, end));
}
