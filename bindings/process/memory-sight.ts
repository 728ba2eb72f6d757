/**
 * How a program sees what a memory holds: rows, a tree for tools, snapshots, allocation sites.
 */

import type { ProcessExports } from "../abi/process-exports.ts";
import type { CollectedContext } from "./collected.ts";
import type { MemoryContext } from "./context.ts";
import type { ProcessCore } from "./core.ts";
import { MemoryTools } from "./memory-tools.ts";
import { type ContextTree, type MemoryContextRow, rowsOf, treeOf } from "./rows.ts";
import {
  type AllocationSite,
  type AllocationSiteOptions,
  AllocationSites,
  sampleRate,
} from "./sites.ts";
import { type LeakReport, type MemorySnapshot, snapshotOf } from "./snapshot.ts";

/** What a program wants to be told about its memory. */
export interface SightOptions {
  /** Uses the checked build, which finds misuse and is several times slower. Default false. */
  readonly checked?: boolean;
  /**
   * Of a checked memory: which allocations leave their call stack, for `topSites` and for errors.
   */
  readonly allocationSites?: AllocationSiteOptions;
  /**
   * Hears at the end of the memory, before anything is deleted, which contexts are left besides the
   * permanent ones. Not called if there are none. Default: nothing.
   */
  readonly onLeak?: (report: LeakReport) => void;
  /**
   * Hears of contexts that still live although the program can no longer reach them: some time
   * after their handles were collected. For finding leaks: each call on a context then passes
   * through a Proxy. A context dies with its handle only if this function deletes it. Default:
   * nothing, and contexts are kept.
   */
  readonly onCollected?: (lost: CollectedContext) => void;
}

/**
 * The functions to call instead of wasm's: for a release memory wasm's own.
 *
 * @internal
 */
export function watched(
  wasm: ProcessExports,
  { checked = false, allocationSites = {} }: SightOptions,
): { exports: ProcessExports; sites: AllocationSites | undefined } {
  const rate = sampleRate(allocationSites);
  if (!checked) return { exports: wasm, sites: undefined };
  const sites = new AllocationSites(wasm, rate);
  return { exports: sites.exports(), sites };
}

/** The part of {@link ProcessMemory} that only looks. */
export abstract class MemorySight extends MemoryTools {
  /** What the classes over one memory share. @internal */
  protected abstract inside(): ProcessCore;

  /** PostgreSQL's report of a context, and everything below it. */
  abstract statsText(context?: MemoryContext): string;

  /**
   * One row for each context from `context` down, level by level, with the columns of
   * `pg_backend_memory_contexts`. Time in proportion to blocks and free chunks.
   *
   * @param context - where to begin; `top` if left out
   * @throws `ClosedError` for a deleted context or a closed memory; `TypeError` for a context of
   * another memory
   */
  rows(context: MemoryContext = this.top): MemoryContextRow[] {
    const { address } = context;
    if ((context.memory as MemorySight) !== this) {
      throw new TypeError(`"${context.name}" belongs to another memory`);
    }
    return rowsOf(this.inside(), address);
  }

  /** The tree of contexts from `top` down, as plain objects; `JSON.stringify` calls it. */
  toJSON(): ContextTree {
    return treeOf(this.inside(), this.top.address);
  }

  /**
   * What the memory holds now, grouped by context path; for {@link diff}. Time in proportion to
   * chunks in use.
   */
  snapshot(): MemorySnapshot {
    return snapshotOf(this.inside(), this.top.address);
  }

  /**
   * The places in the program with most bytes still in use, of the allocations that were sampled;
   * none for a memory that is not checked.
   *
   * @param count - how many at most
   */
  topSites(count = 10): AllocationSite[] {
    return this.inside().sites?.top(count) ?? [];
  }
}
