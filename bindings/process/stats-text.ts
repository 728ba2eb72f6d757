/**
 * The text of MemoryContextStats, line for line as PostgreSQL writes it.
 *
 * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextStatsDetail, MemoryContextStatsPrint
 */

import {
  CONTEXT_FIRST_CHILD_OFFSET,
  CONTEXT_NEXT_SIBLING_OFFSET,
  STATS_IDENT_BYTES,
  STATS_MAX_CHILDREN,
  STATS_MAX_LEVEL,
} from "../../assembly/common/constants.ts";
import type { ContextStatistics, ProcessCore } from "./core.ts";

/** How much of the tree the text shows; what is left out is summed up in one line. */
export interface StatsTextLimits {
  /** Levels below the first whose children are shown. Default 100. */
  readonly maxLevel?: number;
  /** Children shown of each context. Default 100. */
  readonly maxChildren?: number;
}

/** A context whose children are being shown. */
interface Visit {
  readonly context: number;
  readonly level: number;
  next: number;
  shown: number;
}

/** The report of a context and everything below it, with a line end after each line. */
export function statsText(core: ProcessCore, top: number, limits: StatsTextLimits): string {
  const { maxLevel = STATS_MAX_LEVEL, maxChildren = STATS_MAX_CHILDREN } = limits;
  const lines = [contextLine(core, top, 1)];
  const visits: Visit[] = [visitOf(core, top, 1)];
  for (let visit = visits.at(-1); visit !== undefined; visit = visits.at(-1)) {
    if (visit.next !== 0 && visit.level <= maxLevel && visit.shown < maxChildren) {
      const child = visit.next;
      visit.next = core.word(child, CONTEXT_NEXT_SIBLING_OFFSET);
      visit.shown += 1;
      lines.push(contextLine(core, child, visit.level + 1));
      visits.push(visitOf(core, child, visit.level + 1));
    } else {
      if (visit.next !== 0) lines.push(summaryLine(core, visit));
      visits.pop();
    }
  }
  lines.push(grandTotal(core.statistics(top, true)));
  return `${lines.join("\n")}\n`;
}

function visitOf(core: ProcessCore, context: number, level: number): Visit {
  return { context, level, next: core.word(context, CONTEXT_FIRST_CHILD_OFFSET), shown: 0 };
}

function contextLine(core: ProcessCore, context: number, level: number): string {
  const indent = "  ".repeat(level - 1);
  const name = core.nameAt(context);
  const ident = core.identAt(context);
  const numbers = countersOf(core, context);
  if (ident === null) return `${indent}${name}: ${numbers}`;
  if (name === "dynahash") return `${indent}${ident}: ${numbers}`;
  return `${indent}${name}: ${numbers}: ${clipIdent(ident)}`;
}

/** One line for the children that are not shown, with everything below them. */
function summaryLine(core: ProcessCore, visit: Visit): string {
  const sums = { contexts: 0, blocks: 0, totalBytes: 0, freeBytes: 0, freeChunks: 0, usedBytes: 0 };
  let child = visit.next;
  while (child !== 0) {
    const below = core.statistics(child, true);
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += below[key];
    child = core.word(child, CONTEXT_NEXT_SIBLING_OFFSET);
  }
  const indent = "  ".repeat(visit.level);
  return `${indent}${sums.contexts} more child contexts containing ${counters(sums)}`;
}

/** The counters of one context, as its kind has them. */
function countersOf(core: ProcessCore, context: number): string {
  const sums = core.statistics(context, false);
  const { totalBytes, blocks, freeBytes, freeChunks, usedBytes, chunks, emptyBlocks } = sums;
  const free = `${freeBytes} free (${freeChunks} chunks); ${usedBytes} used`;
  switch (core.typeAt(context)) {
    case "Generation":
      return `${totalBytes} total in ${blocks} blocks (${chunks} chunks); ${free}`;
    case "Slab":
      return `${totalBytes} total in ${blocks} blocks; ${emptyBlocks} empty blocks; ${free}`;
    case "Bump":
      return `${totalBytes} total in ${blocks} blocks; ${freeBytes} free; ${usedBytes} used`;
    default:
      return counters(sums);
  }
}

function counters({
  totalBytes,
  blocks,
  freeBytes,
  freeChunks,
  usedBytes,
}: ContextStatistics): string {
  const free = `${freeBytes} free (${freeChunks} chunks)`;
  return `${totalBytes} total in ${blocks} blocks; ${free}; ${usedBytes} used`;
}

function grandTotal({
  totalBytes,
  blocks,
  freeBytes,
  freeChunks,
  usedBytes,
}: ContextStatistics): string {
  const free = `${freeBytes} free (${freeChunks} chunks)`;
  return `Grand total: ${totalBytes} bytes in ${blocks} blocks; ${free}; ${usedBytes} used`;
}

/** At most 100 bytes of UTF-8, no character split, control characters as spaces. */
function clipIdent(ident: string): string {
  const bytes = new TextEncoder().encode(ident);
  let end = Math.min(bytes.length, STATS_IDENT_BYTES);
  while (end < bytes.length && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  const clipped = bytes.subarray(0, end).map((byte) => (byte < 0x20 ? 0x20 : byte));
  return new TextDecoder().decode(clipped) + (end < bytes.length ? "..." : "");
}
