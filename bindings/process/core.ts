/**
 * What the objects over one process memory share: its exports, its views, and the handles of its
 * contexts, which the context headers name by number.
 */

import {
  CONTEXT_HANDLE_OFFSET,
  CONTEXT_IDENT_OFFSET,
  CONTEXT_NAME_OFFSET,
  STATISTICS_ADDRESS,
} from "../../assembly/common/constants.ts";
import type { ProcessExports } from "../abi/process-exports.ts";
import type { MemoryViews } from "../abi/views.ts";
import type { MemoryContext } from "./context.ts";
import type { ProcessMemory } from "./memory.ts";

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

/** The inside of one {@link ProcessMemory}. */
export class ProcessCore {
  readonly owner: ProcessMemory;
  readonly exports: ProcessExports;
  readonly views: MemoryViews;
  /** Handles by number; number 0 means none. */
  readonly #handles: (MemoryContext | undefined)[] = [undefined];
  readonly #freeNumbers: number[] = [];

  constructor(owner: ProcessMemory, exports: ProcessExports, views: MemoryViews) {
    this.owner = owner;
    this.exports = exports;
    this.views = views;
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
    return handle?.name ?? this.#textAt(this.word(context, CONTEXT_NAME_OFFSET)) ?? "";
  }

  /** Identifier of a context, or null. */
  identAt(context: number): string | null {
    const handle = this.handleAt(context);
    if (handle !== undefined) return handle.ident;
    return this.#textAt(this.word(context, CONTEXT_IDENT_OFFSET));
  }

  /** A word of a context header, unsigned. */
  word(context: number, offset: number): number {
    return this.views.u32[(context + offset) >>> 2] ?? 0;
  }

  /** Counters of a context, or of it and everything below. */
  statistics(context: number, recurse: boolean): ContextStatistics & { readonly contexts: number } {
    this.exports.statistics(context, recurse ? 1 : 0);
    const first = STATISTICS_ADDRESS >>> 2;
    const [blocks = 0, totalBytes = 0, freeBytes = 0, freeChunks = 0, contexts = 0] =
      this.views.u32.subarray(first, first + 5);
    const usedBytes = totalBytes - freeBytes;
    return { blocks, totalBytes, freeBytes, freeChunks, usedBytes, contexts };
  }

  /** NUL-terminated text, or null at address 0. */
  #textAt(address: number): string | null {
    if (address === 0) return null;
    const { u8 } = this.views;
    return new TextDecoder().decode(u8.subarray(address, u8.indexOf(0, address)));
  }
}
