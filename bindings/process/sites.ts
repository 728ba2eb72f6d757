/**
 * Where chunks were allocated: checked memories keep the call stack of every n-th allocation until
 * the chunk is freed, or its context reset or deleted.
 *
 * Nothing of this is in the way of a release memory. A checked one is given other functions in the
 * place of wasm's exports, which do the sampling around the call; the classes above see no
 * difference. What other wasm modules allocate by themselves is not sampled, and a chunk that one
 * of them freed is noticed when the sites are asked for.
 *
 * @see PostgreSQL: none; USE_VALGRIND in src/backend/utils/mmgr/mcxt.c has the same hook points
 */

import { CONTEXT_KIND_OFFSET, KIND_BUMP, STATUS_OK } from "../../assembly/common/constants.ts";
import type { ProcessExports } from "../abi/process-exports.ts";
import type { MemoryContext } from "./context.ts";
import type { ProcessCore } from "./core.ts";
import { subtreeOf } from "./rows.ts";

/** Which allocations of a checked memory leave their call stack. */
export interface AllocationSiteOptions {
  /**
   * Every n-th allocation or reallocation does; 0 for none. Each costs some microseconds and some
   * hundred bytes. Default 100.
   */
  readonly every?: number;
}

/** A place in the program with chunks that are still in use. Only sampled chunks are counted. */
export interface AllocationSite {
  /** The call stack, a frame a line, innermost first. */
  readonly stack: string;
  readonly chunks: number;
  /** Bytes as they were asked for. */
  readonly bytes: number;
}

/** What is known of a sampled chunk. @internal */
export interface Sample {
  readonly stack: string;
  readonly bytes: number;
  readonly context: number;
  /** The handle at that time: the address may belong to another context later. */
  readonly handle: MemoryContext | undefined;
}

const DEFAULT_EVERY = 100;
/** Freed chunks whose site is kept, for the error of a second free. */
const MOST_FREED = 1000;
const FRAMES = 16;

/** The rate asked for. @throws RangeError for what is no whole number from 0. @internal */
export function sampleRate(options: AllocationSiteOptions = {}): number {
  const { every = DEFAULT_EVERY } = options;
  if (Number.isInteger(every) && every >= 0) return every;
  throw new RangeError(`allocationSites.every is a whole number from 0, not ${String(every)}`);
}

/** The samples of one checked memory. @internal */
export class AllocationSites {
  readonly #every: number;
  readonly #wasm: ProcessExports;
  #core: ProcessCore | undefined;
  /** Allocations until the next sample. */
  #left: number;
  readonly #live: Map<number, Sample> = new Map();
  readonly #chunksOf: Map<number, Set<number>> = new Map();
  readonly #freed: Map<number, Sample> = new Map();

  constructor(wasm: ProcessExports, every: number) {
    this.#wasm = wasm;
    this.#every = every;
    this.#left = every;
  }

  /** Where the contexts are known; before any of them is made. */
  attach(core: ProcessCore): void {
    this.#core = core;
  }

  /** What to call instead of wasm's exports. */
  exports(): ProcessExports {
    const wasm = this.#wasm;
    const born = (chunk: number, context: number, bytes: number): number => {
      if (chunk !== 0) this.#born(chunk >>> 0, context, bytes);
      return chunk;
    };
    const ending = (work: (context: number) => void) => (context: number) =>
      this.#ending(context, () => work(context));
    return {
      ...wasm,
      alloc: (context, bytes) => born(wasm.alloc(context, bytes), context, bytes),
      allocZero: (context, bytes) => born(wasm.allocZero(context, bytes), context, bytes),
      allocExtended: (context, bytes, flags) =>
        born(wasm.allocExtended(context, bytes, flags), context, bytes),
      allocAligned: (context, bytes, alignment, flags) =>
        born(wasm.allocAligned(context, bytes, alignment, flags), context, bytes),
      realloc: (chunk, bytes, flags) => this.#realloc(chunk, bytes, flags),
      free: (chunk) => {
        const status = wasm.free(chunk);
        if (status === STATUS_OK) this.#died(chunk >>> 0);
        return status;
      },
      reset: ending(wasm.reset),
      resetOnly: ending(wasm.resetOnly),
      resetChildren: ending(wasm.resetChildren),
      deleteContext: ending(wasm.deleteContext),
      deleteChildren: ending(wasm.deleteChildren),
    };
  }

  /** What is known of a chunk that is live, or was freed not long ago. */
  sampleOf(chunk: number): Sample | undefined {
    return this.#live.get(chunk) ?? this.#freed.get(chunk);
  }

  /** The sites with most bytes still in use. */
  top(count: number): AllocationSite[] {
    const sites = new Map<string, { stack: string; chunks: number; bytes: number }>();
    for (const [chunk, sample] of [...this.#live]) {
      if (this.#isGone(chunk, sample)) {
        this.#forget(chunk);
        continue;
      }
      const site = sites.get(sample.stack) ?? { stack: sample.stack, chunks: 0, bytes: 0 };
      site.chunks += 1;
      site.bytes += sample.bytes;
      sites.set(sample.stack, site);
    }
    return [...sites.values()]
      .sort((a, b) => b.bytes - a.bytes || b.chunks - a.chunks)
      .slice(0, count);
  }

  #born(chunk: number, context: number, bytes: number): void {
    // Whoever had this address before is gone, perhaps freed by another module.
    this.#forget(chunk);
    this.#freed.delete(chunk);
    if (this.#every === 0) return;
    this.#left -= 1;
    if (this.#left > 0) return;
    this.#left = this.#every;
    this.#keep(chunk, context, bytes);
  }

  #keep(chunk: number, context: number, bytes: number): void {
    const handle = this.#core?.handleAt(context);
    this.#live.set(chunk, { stack: callerStack(), bytes, context, handle });
    const chunks = this.#chunksOf.get(context);
    if (chunks === undefined) this.#chunksOf.set(context, new Set([chunk]));
    else chunks.add(chunk);
  }

  #died(chunk: number): void {
    const sample = this.#live.get(chunk);
    if (sample === undefined) return;
    this.#forget(chunk);
    this.#freed.set(chunk, sample);
    const [oldest] = this.#freed.keys();
    if (this.#freed.size > MOST_FREED && oldest !== undefined) this.#freed.delete(oldest);
  }

  #forget(chunk: number): void {
    const sample = this.#live.get(chunk);
    if (sample === undefined) return;
    this.#live.delete(chunk);
    const chunks = this.#chunksOf.get(sample.context);
    chunks?.delete(chunk);
    if (chunks?.size === 0) this.#chunksOf.delete(sample.context);
  }

  #realloc(chunk: number, bytes: number, flags: number): number {
    const sample = this.#live.get(chunk >>> 0);
    const moved = this.#wasm.realloc(chunk, bytes, flags);
    if (moved === 0) return moved;
    if (moved !== chunk) this.#died(chunk >>> 0);
    if (sample !== undefined) {
      // A sampled chunk stays one; its site is now where it was resized.
      this.#forget(moved >>> 0);
      this.#freed.delete(moved >>> 0);
      this.#keep(moved >>> 0, sample.context, bytes);
    } else this.#born(moved >>> 0, this.#wasm.chunkContext(moved) >>> 0, bytes);
    return moved;
  }

  /** Resets or deletes, and drops the samples of what went. */
  #ending(context: number, work: () => void): void {
    const core = this.#core;
    if (core === undefined || this.#live.size === 0) {
      work();
      return;
    }
    const contexts = subtreeOf(core, context).filter((below) => this.#chunksOf.has(below));
    try {
      work();
    } finally {
      const chunks = contexts.flatMap((below) => [...(this.#chunksOf.get(below) ?? [])]);
      for (const chunk of chunks) {
        const sample = this.#live.get(chunk);
        if (sample !== undefined && this.#isGone(chunk, sample)) this.#forget(chunk);
      }
    }
  }

  /** Whether the chunk went without a call of free. */
  #isGone(chunk: number, { context, handle }: Sample): boolean {
    const core = this.#core;
    if (core === undefined || handle?.closed === true) return true;
    const owner = this.#wasm.chunkContext(chunk) >>> 0;
    if (owner !== 0) return owner !== context;
    // Chunks of a bump context have no header that could say; its being empty does.
    if (core.word(context, CONTEXT_KIND_OFFSET) !== KIND_BUMP) return true;
    return this.#wasm.isEmpty(context) !== 0;
  }
}

/** `file:///…/bindings/process/` without the scheme, as call stacks have it. */
const ownFolder = import.meta.url.replace(/^[a-z]+:\/\//, "").replace(/[^/]*$/, "");

interface StackLimit {
  stackTraceLimit?: number;
}

/** The call stack above palloc's own frames. @internal */
export function callerStack(): string {
  const limit: StackLimit = Error;
  const before = limit.stackTraceLimit;
  limit.stackTraceLimit = FRAMES;
  const { stack = "" } = new Error("allocated here");
  if (before === undefined) delete limit.stackTraceLimit;
  else limit.stackTraceLimit = before;
  const frames = stack.split("\n").filter((line) => /^\s+at |@/.test(line));
  const first = frames.findIndex((line) => !line.includes(ownFolder));
  return frames
    .slice(Math.max(first, 0))
    .map((line) => line.trim())
    .join("\n");
}
