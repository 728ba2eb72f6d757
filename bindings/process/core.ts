/**
 * What the objects over one process memory share: its exports, its views, and the handles of its
 * contexts, which the context headers name by number.
 */

import {
  ADMISSION_CALL,
  CONTEXT_HANDLE_OFFSET,
  CONTEXT_IDENT_OFFSET,
  CONTEXT_KIND_OFFSET,
  CONTEXT_NAME_OFFSET,
  KIND_ASET,
  KIND_BUMP,
  KIND_GENERATION,
  KIND_SLAB,
  STATISTICS_ADDRESS,
} from "../../assembly/common/constants.ts";
import type { OutOfMemoryError } from "../abi/errors.ts";
import type { ProcessExports } from "../abi/process-exports.ts";
import type { MemoryViews } from "../abi/views.ts";
import { answerAdmission, type Refusal } from "./ceiling.ts";
import { CollectedContexts } from "./collected.ts";
import type { MemoryContext } from "./context.ts";
import type { ProcessMemory } from "./memory.ts";
import type { SightOptions } from "./memory-sight.ts";
import type { AllocationSites } from "./sites.ts";

/** The kinds of context, by the names that `pg_backend_memory_contexts` has for them. */
export type ContextType = "AllocSet" | "Generation" | "Slab" | "Bump";

const contextTypes: Readonly<Record<number, ContextType>> = {
  [KIND_ASET]: "AllocSet",
  [KIND_GENERATION]: "Generation",
  [KIND_SLAB]: "Slab",
  [KIND_BUMP]: "Bump",
};

/** Counters of one context, as `MemoryContextStats` shows them. */
export interface ContextStatistics {
  /** Blocks held. */
  readonly blocks: number;
  /** Bytes of all blocks, the context header included. */
  readonly totalBytes: number;
  /** Bytes that are in no live chunk. */
  readonly freeBytes: number;
  /** Chunks on free lists. */
  readonly freeChunks: number;
  /** `totalBytes - freeBytes`. */
  readonly usedBytes: number;
}

/** Counters with those that only some kinds have. */
export interface SubtreeStatistics extends ContextStatistics {
  readonly contexts: number;
  /** Chunks cut in the blocks of generation contexts, freed ones included. */
  readonly chunks: number;
  /** Blocks that slab contexts keep empty. */
  readonly emptyBlocks: number;
}

/** The inside of one {@link ProcessMemory}. */
export class ProcessCore {
  readonly owner: ProcessMemory;
  readonly exports: ProcessExports;
  readonly views: MemoryViews;
  /** Where chunks were allocated; undefined in a memory that is not checked. */
  sites: AllocationSites | undefined;
  /** The stand-ins given out for contexts; undefined where contexts are given out themselves. */
  collected: CollectedContexts | undefined;
  /** What a ceiling has just forbidden. */
  refusal: Refusal | undefined;
  /** Hears at the end what was not deleted. */
  onLeak: SightOptions["onLeak"];
  /** Sees each OutOfMemoryError before it is thrown. */
  onOutOfMemory: ((error: OutOfMemoryError) => void) | undefined;
  /**
   * The context whose callback threw in the middle of a deletion, until that has been dealt with.
   */
  interrupted: MemoryContext | undefined;
  /** Handles by number; number 0 means none. */
  readonly #handles: (MemoryContext | undefined)[] = [undefined];
  readonly #freeNumbers: number[] = [];

  constructor(owner: ProcessMemory, exports: ProcessExports, views: MemoryViews) {
    this.owner = owner;
    this.exports = exports;
    this.views = views;
  }

  /** Takes over what the program wants to be told. @throws for options that make no sense */
  watch(options: SightOptions, sites: AllocationSites | undefined): void {
    this.sites = sites;
    this.onLeak = options.onLeak;
    const { onCollected } = options;
    if (onCollected !== undefined) this.collected = new CollectedContexts(this, onCollected);
    sites?.attach(this);
  }

  /** A number for a handle that is about to be made. */
  reserveNumber(): number {
    return this.#freeNumbers.pop() ?? this.#handles.push(undefined) - 1;
  }

  /** Ties a handle to its number. */
  keep(number: number, handle: MemoryContext): void {
    this.#handles[number] = handle;
  }

  /** Gives a number back. */
  release(number: number): void {
    this.#handles[number] = undefined;
    this.#freeNumbers.push(number);
  }

  /** The handle of a context, or undefined for one that a wasm program made for itself. */
  handleAt(context: number): MemoryContext | undefined {
    return this.#handles[this.word(context, CONTEXT_HANDLE_OFFSET)];
  }

  /** Name of a context, with or without a handle. */
  nameAt(context: number): string {
    const handle = this.handleAt(context);
    return handle?.name ?? this.textAt(this.word(context, CONTEXT_NAME_OFFSET)) ?? "";
  }

  /** Identifier of a context, or null. */
  identAt(context: number): string | null {
    const handle = this.handleAt(context);
    if (handle !== undefined) return handle.ident;
    return this.textAt(this.word(context, CONTEXT_IDENT_OFFSET));
  }

  /** A word of a context header, unsigned. */
  word(context: number, offset: number): number {
    return this.views.u32[(context + offset) >>> 2] ?? 0;
  }

  /** Kind of a context. */
  typeAt(context: number): ContextType {
    return contextTypes[this.word(context, CONTEXT_KIND_OFFSET)] ?? "AllocSet";
  }

  /** Counters of a context, or of it and everything below. */
  statistics(context: number, recurse: boolean): SubtreeStatistics {
    this.exports.statistics(context, recurse ? 1 : 0);
    const first = STATISTICS_ADDRESS >>> 2;
    const words = this.views.u32.subarray(first, first + 7);
    const [blocks = 0, totalBytes = 0, freeBytes = 0, freeChunks = 0] = words;
    const [contexts = 0, chunks = 0, emptyBlocks = 0] = words.subarray(4);
    const usedBytes = totalBytes - freeBytes;
    const sums = { blocks, totalBytes, freeBytes, freeChunks, usedBytes };
    return { ...sums, contexts, chunks, emptyBlocks };
  }

  /** Runs the callbacks of a handle; wasm calls this when it is about to reset or delete. */
  runCallbacks(number: number): undefined {
    if (number === ADMISSION_CALL) return answerAdmission(this);
    const handle = this.#handles[number];
    this.interrupted = handle;
    handle?.runCallbacks();
    this.interrupted = undefined;
  }

  /** NUL-terminated text, or null at address 0. */
  textAt(address: number): string | null {
    if (address === 0) return null;
    const { u8 } = this.views;
    return new TextDecoder().decode(u8.subarray(address, u8.indexOf(0, address)));
  }
}
