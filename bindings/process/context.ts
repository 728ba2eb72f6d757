/**
 * A memory context: a region whose chunks die together.
 *
 * Thin: each method checks its arguments, makes one call into wasm and wraps the answer. The
 * handles mirror the tree that lives in wasm, so that deleting or resetting a context closes the
 * handles of everything below it; a closed handle has address 0, which wasm refuses like any other
 * non-context.
 */

import {
  ALLOC_HUGE,
  ALLOC_NO_OOM,
  ALLOC_ZERO,
  MAX_ALLOC_BYTES,
  MAX_ALLOC_HUGE_BYTES,
} from "../../assembly/common/constants.ts";
import { ClosedError, InvalidSizeError, OutOfMemoryError, PallocError } from "../abi/errors.ts";
import { type ChunkPtr, type ContextPtr, ptr } from "../abi/pointers.ts";
import type { ContextStatistics, ProcessCore } from "./core.ts";
import type { ProcessMemory } from "./memory.ts";
import { ALLOCSET_DEFAULT_SIZES, type ContextSizes, resolveSizes } from "./sizes.ts";

/** Flags of {@link MemoryContext.allocExtended}. */
export { ALLOC_HUGE, ALLOC_NO_OOM, ALLOC_ZERO };

/** Sum of all ALLOC_ flags. */
const ALL_FLAGS = ALLOC_HUGE | ALLOC_NO_OOM | ALLOC_ZERO;

/**
 * A region of process memory, made by {@link MemoryContext.createChild}. Everything allocated in it
 * lives until it is freed, or until the context is reset or deleted. Not for use by two threads.
 *
 * @example
 * ```ts
 * using request = memory.top.createChild("request");
 * const at = request.alloc(64);
 * memory.u8.fill(1, at, at + 64);
 * ```
 * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, src/backend/utils/mmgr/aset.c
 */
export class MemoryContext {
  /** Name given at creation. */
  readonly name: string;
  readonly #core: ProcessCore;
  /** The export `alloc`, held in a field: the hot path is one property and one call. */
  readonly #allocIn: (context: number, bytes: number) => number;
  readonly #number: number;
  readonly #permanent: boolean;
  /** 0 once closed. */
  #address: number;
  #ident: string | null = null;
  #parent: MemoryContext | null = null;
  #firstChild: MemoryContext | null = null;
  #previous: MemoryContext | null = null;
  #next: MemoryContext | null = null;

  private constructor(
    core: ProcessCore,
    name: string,
    place: { address: number; number: number; parent: MemoryContext | null; permanent: boolean },
  ) {
    this.name = name;
    this.#core = core;
    this.#allocIn = core.exports.alloc;
    this.#number = place.number;
    this.#permanent = place.permanent;
    this.#address = place.address;
    if (place.parent !== null) this.#link(place.parent);
    core.keep(place.number, this);
  }

  /**
   * Makes a context in wasm and its handle.
   *
   * @internal
   */
  static create(
    core: ProcessCore,
    parent: MemoryContext | null,
    name: string,
    options: { sizes: ContextSizes; permanent?: boolean },
  ): MemoryContext {
    const { minContextSize, initBlockSize, maxBlockSize } = resolveSizes(options.sizes);
    const above = parent === null ? 0 : parent.#address;
    const number = core.reserveNumber();
    const address =
      core.exports.createContext(above, minContextSize, initBlockSize, maxBlockSize, number) >>> 0;
    if (address === 0) {
      core.release(number);
      throw new OutOfMemoryError(minContextSize === 0 ? initBlockSize : minContextSize, name, {
        detail: `Failed while creating memory context "${name}".`,
      });
    }
    const permanent = options.permanent ?? false;
    return new MemoryContext(core, name, { address, number, parent, permanent });
  }

  /**
   * Takes a context out of the tree, to stand beside the others without a parent.
   *
   * @internal
   */
  static makeRoot(context: MemoryContext): void {
    context.#core.exports.setParent(context.#demandOpen(), 0);
    context.#unlink();
  }

  /**
   * Closes handles without touching wasm: for a memory that is disposed of as a whole.
   *
   * @internal
   */
  static close(context: MemoryContext): void {
    context.#closeTree();
  }

  /** The memory this context is part of. */
  get memory(): ProcessMemory {
    return this.#core.owner;
  }

  /** Where the context's header lies. @throws {@link ClosedError} after deletion */
  get address(): ContextPtr {
    return ptr<ContextPtr>(this.#demandOpen());
  }

  /** Whether the context was deleted, by itself or with one above it. */
  get closed(): boolean {
    return this.#address === 0;
  }

  /** The context above, or null for the top one. */
  get parent(): MemoryContext | null {
    this.#demandOpen();
    return this.#parent;
  }

  /** Text that tells this context from others of its name, or null. Reset keeps it. */
  get ident(): string | null {
    this.#demandOpen();
    return this.#ident;
  }

  set ident(text: string | null) {
    this.#demandOpen();
    this.#ident = text;
  }

  /** The contexts directly below, newest first. */
  children(): MemoryContext[] {
    this.#demandOpen();
    const found: MemoryContext[] = [];
    for (let child = this.#firstChild; child !== null; child = child.#next) found.push(child);
    return found;
  }

  /**
   * Allocates in this context. The bytes are not cleared. Constant time unless a new block is
   * needed.
   *
   * @param bytes - 0 to 1 GB - 1; 0 gives a chunk that may be freed and resized
   * @returns address, a multiple of 8
   * @throws {@link OutOfMemoryError} when the memory is exhausted
   * @throws {@link InvalidSizeError} above 1 GB - 1
   * @throws {@link ClosedError} after the context was deleted
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextAlloc
   */
  alloc(bytes: number): ChunkPtr {
    if (bytes >>> 0 === bytes) {
      // A closed context has address 0, for which wasm answers 0. From 2 GiB up the answer is
      // negative; the comparison with 0 keeps the common result a small integer of the engine's.
      const chunk = this.#allocIn(this.#address, bytes);
      if (chunk > 0) return chunk as ChunkPtr;
      return this.#chunkOrFailure(chunk, bytes);
    }
    return this.#chunkOrFailure(0, bytes);
  }

  /** As {@link MemoryContext.alloc}, with the bytes cleared. */
  allocZero(bytes: number): ChunkPtr {
    if (bytes >>> 0 === bytes) {
      const chunk = this.#core.exports.allocZero(this.#address, bytes);
      if (chunk > 0) return chunk as ChunkPtr;
      return this.#chunkOrFailure(chunk, bytes);
    }
    return this.#chunkOrFailure(0, bytes);
  }

  /**
   * Allocates as flags ask: `ALLOC_HUGE` raises the limit to 2 GB - 1, `ALLOC_NO_OOM` returns 0
   * where memory is exhausted, `ALLOC_ZERO` clears the bytes.
   *
   * @throws as {@link MemoryContext.alloc}; a size above the limit is an error with every flag
   */
  allocExtended(bytes: number, flags: number): ChunkPtr | 0 {
    checkFlags(flags);
    const limit = (flags & ALLOC_HUGE) !== 0 ? MAX_ALLOC_HUGE_BYTES : MAX_ALLOC_BYTES;
    if (bytes >>> 0 === bytes) {
      const chunk = this.#core.exports.allocExtended(this.#address, bytes, flags);
      if (chunk !== 0) return ptr<ChunkPtr>(chunk);
    }
    const failure = this.#failure(bytes, limit);
    if (failure instanceof OutOfMemoryError && (flags & ALLOC_NO_OOM) !== 0) return 0;
    throw failure;
  }

  /**
   * Makes a context below this one. It dies with this one, or when it is deleted or disposed of.
   *
   * @param sizes - of its blocks; {@link ALLOCSET_DEFAULT_SIZES} if left out
   * @throws {@link OutOfMemoryError} when there is no memory for its first block
   * @see PostgreSQL: src/backend/utils/mmgr/aset.c, AllocSetContextCreateInternal
   */
  createChild(name: string, sizes: ContextSizes = ALLOCSET_DEFAULT_SIZES): MemoryContext {
    if (typeof name !== "string") throw new TypeError("the name of a context must be a string");
    this.#demandOpen();
    return MemoryContext.create(this.#core, this, name, { sizes });
  }

  /**
   * Frees everything allocated here and deletes every context below. For `TopMemoryContext`, the
   * ErrorContext is reset and stays.
   */
  reset(): void {
    const address = this.#demandOpen();
    if (this.#permanent) {
      this.deleteChildren();
      this.#core.exports.resetOnly(address);
      return;
    }
    this.#core.exports.reset(address);
    this.#closeChildren();
  }

  /** Frees everything allocated here; the contexts below stay as they are. */
  resetOnly(): void {
    this.#core.exports.resetOnly(this.#demandOpen());
  }

  /** Frees everything allocated in the contexts below; they and this one stay. */
  resetChildren(): void {
    this.#core.exports.resetChildren(this.#demandOpen());
  }

  /**
   * Deletes the context and everything below it; their handles are closed.
   *
   * @throws {@link PallocError} 55006 for `TopMemoryContext` and `ErrorContext`
   */
  delete(): void {
    const address = this.#demandOpen();
    if (this.#permanent) {
      throw new PallocError("55006", `memory context "${this.name}" cannot be deleted`, {
        hint: "Dispose of the memory itself, or reset the context.",
      });
    }
    this.#core.exports.deleteContext(address);
    this.#unlink();
    this.#closeTree();
  }

  /** Deletes every context below this one, except a permanent one, which is reset. */
  deleteChildren(): void {
    const address = this.#demandOpen();
    if (this.#permanent) {
      for (const child of this.children()) {
        if (child.#permanent) child.reset();
        else child.delete();
      }
      return;
    }
    this.#core.exports.deleteChildren(address);
    this.#closeChildren();
  }

  /**
   * Moves the context, with everything below it, under another one of the same memory. No number
   * changes.
   *
   * @throws `TypeError` for a context of another memory or one below this; `PallocError` 55006 for
   * the permanent contexts
   */
  setParent(parent: MemoryContext): void {
    const address = this.#demandOpen();
    const above = parent.#demandOpen();
    if (this.#permanent) {
      throw new PallocError("55006", `memory context "${this.name}" cannot be moved`);
    }
    if (parent.#core !== this.#core) {
      throw new TypeError(`"${parent.name}" belongs to another memory than "${this.name}"`);
    }
    for (let at: MemoryContext | null = parent; at !== null; at = at.#parent) {
      if (at === this) throw new TypeError(`"${this.name}" cannot be moved below itself`);
    }
    if (this.#parent === parent) return;
    this.#core.exports.setParent(address, above);
    this.#unlink();
    this.#link(parent);
  }

  /**
   * Counters of this context, with those of everything below it if `recurse`. Time in proportion to
   * blocks and free chunks.
   *
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextMemConsumed
   */
  stats(recurse = false): ContextStatistics {
    const { contexts, ...sums } = this.#core.statistics(this.#demandOpen(), recurse);
    return sums;
  }

  /** Bytes of blocks held for this context, with those of everything below it if `recurse`. */
  memAllocated(recurse = false): number {
    return this.#core.exports.memAllocated(this.#demandOpen(), recurse ? 1 : 0) >>> 0;
  }

  /** Whether nothing was allocated since the last reset and there is no context below. */
  isEmpty(): boolean {
    return this.#core.exports.isEmpty(this.#demandOpen()) !== 0;
  }

  /** Deletes the context if that has not happened yet. */
  [Symbol.dispose](): void {
    if (this.#address !== 0) this.delete();
  }

  #demandOpen(): number {
    if (this.#address === 0) throw new ClosedError(`memory context "${this.name}"`);
    return this.#address;
  }

  /** The rare outcomes of an ordinary request: an address above 2 GiB, or none. */
  #chunkOrFailure(chunk: number, bytes: number): ChunkPtr {
    if (chunk === 0) throw this.#failure(bytes, MAX_ALLOC_BYTES);
    return ptr<ChunkPtr>(chunk);
  }

  /** What to throw for a request that gave no chunk. */
  #failure(bytes: number, limit: number): Error {
    if (this.#address === 0) return new ClosedError(`memory context "${this.name}"`);
    return requestFailure(bytes, limit, this.name);
  }

  #link(parent: MemoryContext): void {
    this.#parent = parent;
    this.#previous = null;
    this.#next = parent.#firstChild;
    if (this.#next !== null) this.#next.#previous = this;
    parent.#firstChild = this;
  }

  #unlink(): void {
    if (this.#next !== null) this.#next.#previous = this.#previous;
    if (this.#previous !== null) this.#previous.#next = this.#next;
    else if (this.#parent !== null) this.#parent.#firstChild = this.#next;
    this.#parent = null;
    this.#previous = null;
    this.#next = null;
  }

  #closeChildren(): void {
    for (let child = this.#firstChild; child !== null; child = child.#next) child.#closeTree();
    this.#firstChild = null;
  }

  /** Marks this handle and all below as closed. */
  #closeTree(): void {
    const open: MemoryContext[] = [];
    // Each round closes one handle.
    for (let context: MemoryContext | undefined = this; context; context = open.pop()) {
      for (let child = context.#firstChild; child !== null; child = child.#next) open.push(child);
      context.#firstChild = null;
      context.#address = 0;
      context.#core.release(context.#number);
    }
  }
}

/** Rejects what is no sum of ALLOC_ flags. */
export function checkFlags(flags: number): void {
  if ((flags & ALL_FLAGS) !== flags) {
    throw new RangeError(`unknown allocation flags ${flags}`);
  }
}

/** What to throw for a size that is wrong, too large, or not to be had. */
export function requestFailure(bytes: number, limit: number, context: string): Error {
  if (!Number.isInteger(bytes)) {
    return new TypeError(`a request must be a whole number of bytes, not ${String(bytes)}`);
  }
  if (bytes < 0) return new RangeError(`a request cannot be negative: ${bytes}`);
  if (bytes > limit) return new InvalidSizeError(bytes, limit);
  return new OutOfMemoryError(bytes, context);
}
