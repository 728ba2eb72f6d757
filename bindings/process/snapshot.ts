/**
 * What a memory holds at one moment, what changed between two, and what is left at the end.
 *
 * Contexts are grouped by their path of names and idents, so that the thousandth "request" is
 * compared with the first one although they are different contexts. A snapshot is plain data: it
 * keeps nothing alive and can be sent to another thread.
 *
 * @see PostgreSQL: src/backend/utils/resowner/resowner.c, which warns of what was not closed
 */

import type { MemoryContext } from "./context.ts";
import type { ProcessCore } from "./core.ts";
import { childrenOf } from "./rows.ts";

/** All contexts with one path, summed up. Of a {@link SnapshotDiff}: what was added; may be < 0. */
export interface SnapshotGroup {
  /** Names from the first context down, each with its ident if it has one: `request: GET /`. */
  readonly path: readonly string[];
  readonly contexts: number;
  /** Bytes of blocks, and those of them that are in use. */
  readonly totalBytes: number;
  readonly usedBytes: number;
  /** Chunks in use. Bump contexts cannot tell theirs and count none. */
  readonly chunks: number;
  /** Resources tied to the contexts. */
  readonly adopted: number;
}

/** What a memory held at one moment: `memory.snapshot()`. */
export interface MemorySnapshot {
  /** In the order of a walk from the top, parents first. */
  readonly groups: readonly SnapshotGroup[];
  readonly totalBytes: number;
  readonly usedBytes: number;
}

/** What changed from one snapshot to another. */
export interface SnapshotDiff {
  /** Only what changed; what grew most comes first. */
  readonly groups: readonly SnapshotGroup[];
  readonly totalBytes: number;
  readonly usedBytes: number;
  /** The same as text, a line each. */
  toString(): string;
}

/** What {@link ProcessMemoryOptions.onLeak} receives: contexts that nobody had deleted. */
export interface LeakReport {
  /** Groups that held a context, parents first; the permanent contexts are not among them. */
  readonly groups: readonly SnapshotGroup[];
  readonly contexts: number;
  readonly usedBytes: number;
  /** The same as text, a line each. */
  toString(): string;
}

type Counts = { -readonly [Key in keyof Omit<SnapshotGroup, "path">]: number };
interface OpenGroup extends Counts {
  readonly path: readonly string[];
}

const countKeys = ["contexts", "totalBytes", "usedBytes", "chunks", "adopted"] as const;
const nothing: Counts = { contexts: 0, totalBytes: 0, usedBytes: 0, chunks: 0, adopted: 0 };

/** What is in a context and below it now. O(chunks). @internal */
export function snapshotOf(core: ProcessCore, top: number): MemorySnapshot {
  const groups = groupsOf(core, top, () => true);
  const { totalBytes, usedBytes } = core.statistics(top, true);
  return { groups, totalBytes, usedBytes };
}

/**
 * What was added from one moment to another, grouped by path; what went counts as negative.
 *
 * @example
 * ```ts
 * const before = memory.snapshot();
 * serve();
 * const grown = diff(before, memory.snapshot());
 * if (grown.groups.length > 0) report(grown.toString());
 * ```
 */
export function diff(before: MemorySnapshot, after: MemorySnapshot): SnapshotDiff {
  const old = new Map(before.groups.map((group) => [keyOf(group.path), group]));
  const changes = after.groups.map((group) => {
    const key = keyOf(group.path);
    const change = subtract(group, old.get(key) ?? nothing);
    old.delete(key);
    return change;
  });
  for (const gone of old.values()) changes.push(subtract({ ...nothing, path: gone.path }, gone));
  const groups = changes
    .filter((change) => countKeys.some((key) => change[key] !== 0))
    .sort((a, b) => b.usedBytes - a.usedBytes || b.contexts - a.contexts);
  const totalBytes = after.totalBytes - before.totalBytes;
  const usedBytes = after.usedBytes - before.usedBytes;
  return { groups, totalBytes, usedBytes, toString: () => diffText(groups, totalBytes, usedBytes) };
}

/**
 * Tells whoever asked what is still there besides the permanent contexts; what that throws.
 *
 * @internal
 */
export function reportLeaks(
  core: ProcessCore,
  ...permanent: (MemoryContext | undefined)[]
): unknown[] {
  const [top] = permanent;
  if (core.onLeak === undefined || top === undefined) return [];
  const addresses = permanent.map((context): unknown => context?.address);
  const report = leaksOf(core, top.address, (context) => addresses.includes(context));
  try {
    if (report !== null) core.onLeak(report);
  } catch (error) {
    return [error];
  }
  return [];
}

/** What is still there besides the permanent contexts, or null. */
function leaksOf(
  core: ProcessCore,
  top: number,
  isPermanent: (context: number) => boolean,
): LeakReport | null {
  const groups = groupsOf(core, top, (context) => !isPermanent(context));
  if (groups.length === 0) return null;
  const contexts = sum(groups, "contexts");
  const usedBytes = sum(groups, "usedBytes");
  return { groups, contexts, usedBytes, toString: () => groups.map(leakLine).join("\n") };
}

function groupsOf(
  core: ProcessCore,
  top: number,
  isWanted: (context: number) => boolean,
): OpenGroup[] {
  const groups = new Map<string, OpenGroup>();
  const waiting = [{ context: top, path: [labelOf(core, top)] }];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    const { context, path } = at;
    if (isWanted(context)) count(core, context, openGroup(groups, path));
    // The stack gives back the last first: children enter it oldest first.
    for (const child of childrenOf(core, context).reverse()) {
      waiting.push({ context: child, path: [...path, labelOf(core, child)] });
    }
  }
  return [...groups.values()];
}

function openGroup(groups: Map<string, OpenGroup>, path: readonly string[]): OpenGroup {
  const key = keyOf(path);
  const found = groups.get(key) ?? { path, ...nothing };
  groups.set(key, found);
  return found;
}

function count(core: ProcessCore, context: number, group: OpenGroup): void {
  const { totalBytes, usedBytes } = core.statistics(context, false);
  group.contexts += 1;
  group.totalBytes += totalBytes;
  group.usedBytes += usedBytes;
  group.chunks += core.exports.liveChunks(context) >>> 0;
  group.adopted += core.handleAt(context)?.adopted ?? 0;
}

function labelOf(core: ProcessCore, context: number): string {
  const name = core.nameAt(context);
  const ident = core.identAt(context);
  return ident === null ? name : `${name}: ${ident}`;
}

function keyOf(path: readonly string[]): string {
  return JSON.stringify(path);
}

function subtract(group: SnapshotGroup, old: Counts): OpenGroup {
  const change: OpenGroup = { ...nothing, path: group.path };
  for (const key of countKeys) change[key] = group[key] - old[key];
  return change;
}

function sum(groups: readonly SnapshotGroup[], key: keyof Counts): number {
  return groups.reduce((total, group) => total + group[key], 0);
}

function diffText(groups: readonly SnapshotGroup[], totalBytes: number, usedBytes: number): string {
  const lines = groups.map((group) => {
    const parts = [`${signed(group.usedBytes)} bytes used`, `${signed(group.chunks)} chunks`];
    parts.push(`${signed(group.contexts)} contexts`, `${signed(group.totalBytes)} total`);
    if (group.adopted !== 0) parts.push(`${signed(group.adopted)} adopted`);
    return `${group.path.join(" / ")}: ${parts.join("; ")}`;
  });
  lines.push(`Grand total: ${signed(usedBytes)} bytes used; ${signed(totalBytes)} total`);
  return lines.join("\n");
}

function signed(value: number): string {
  return value > 0 ? `+${value}` : String(value);
}

function leakLine({ path, contexts, usedBytes, chunks, adopted }: SnapshotGroup): string {
  const which = contexts === 1 ? "memory context was" : `${contexts} memory contexts were`;
  const tied = adopted === 0 ? "" : `; ${adopted} adopted`;
  return `${which} not deleted: ${path.join(" / ")}: ${usedBytes} used (${chunks} chunks)${tied}`;
}
