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
  CONTEXT_HEADER_BYTES,
  MAX_ALIGN,
} from "../../assembly/common/constants.ts";
import { ClosedError, PallocError } from "../abi/errors.ts";
import { type ChunkPtr, type ContextPtr, ptr } from "../abi/pointers.ts";
import { markGuarded } from "./ceiling.ts";
import { ContextTools } from "./context-tools.ts";
import type { ContextStatistics, ContextType, ProcessCore } from "./core.ts";
import {
  checkFlags,
  creationFailure,
  demandAdmission,
  limitOf,
  requestFailure,
  wrongSlabSize,
} from "./failures.ts";
import {
  allocSet,
  bump,
  type ContextMaker,
  checkAlignment,
  generation,
  type SlabSizes,
  slab,
} from "./kinds.ts";
import type { ProcessMemory } from "./memory.ts";
import { ALLOCSET_DEFAULT_SIZES, type ContextSizes } from "./sizes.ts";

/** Flags of {@link MemoryContext.allocExtended}. */
export { ALLOC_HUGE, ALLOC_NO_OOM, ALLOC_ZERO };

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
export class MemoryContext extends ContextTools {
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
    address: number,
    number: number,
    permanent: boolean,
  ) {
    super();
    this.name = name;
    this.#core = core;
    this.#allocIn = core.exports.alloc;
    this.#number = number;
    this.#permanent = permanent;
    this.#address = address;
    core.keep(number, this);
  }

  /** Makes a context in wasm and its handle. @internal */
  static create(
    core: ProcessCore,
    parent: MemoryContext | null,
    name: string,
    maker: ContextMaker,
    permanent = false,
  ): MemoryContext {
    if (typeof name !== "string") throw new TypeError("the name of a context must be a string");
    const above = parent === null ? 0 : parent.#demandOpen();
    demandAdmission(core, above, maker.firstBytes);
    const number = core.reserveNumber();
    let address = 0;
    try {
      address = maker.make(core.exports, above, number) >>> 0;
    } finally {
      if (address === 0) core.release(number);
    }
    if (address === 0) throw creationFailure(core, above, name, maker.firstBytes);
    const context = new MemoryContext(core, name, address, number, permanent);
    if (parent !== null) context.#link(parent);
    return context;
  }

  /** Takes a context out of the tree, to stand beside the others without a parent. @internal */
  static makeRoot(context: MemoryContext): void {
    context.#core.exports.setParent(context.#demandOpen(), 0);
    markGuarded(context.#core, context.#address);
    context.#unlink();
  }

  /**
   * Runs the callbacks of a tree and closes its handles in the order of deletion, without touching
   * wasm: for a memory that goes as a whole. Returns what callbacks threw. @internal
   */
  static close(root: MemoryContext): unknown[] {
    const thrown: unknown[] = [];
    // Each round closes a handle or takes a callback that throws.
    for (let context = root; !root.closed; ) {
      while (context.#firstChild !== null) context = context.#firstChild;
      try {
        context.runCallbacks();
        if (context.#firstChild !== null) continue;
        const above: MemoryContext | null = context.#parent;
        context.#unlink();
        if (!context.closed) context.#closeTree();
        context = above ?? root;
      } catch (error) {
        thrown.push(error);
      }
    }
    return thrown;
  }

  /** The memory this context is part of. */
  get memory(): ProcessMemory {
    return this.#core.owner;
  }

  /** Where the context's header lies. @throws {@link ClosedError} after deletion */
  get address(): ContextPtr {
    return ptr<ContextPtr>(this.#demandOpen());
  }

  /** Kind of the context. */
  get type(): ContextType {
    return this.#core.typeAt(this.#demandOpen());
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
    if (text !== null && typeof text !== "string") throw new TypeError("an ident must be a string");
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
    const { allocExtended } = this.#core.exports;
    const chunk = bytes >>> 0 === bytes ? allocExtended(this.#address, bytes, flags) : 0;
    return this.#chunkOrZero(chunk, bytes, flags);
  }

  /**
   * Allocates at a multiple of `alignment`. The chunk can be freed and resized, keeping its
   * alignment, in general and generation contexts; in a slab the enlarged request seldom has the
   * right size.
   *
   * @param alignment - a power of two below 128 MB; up to 8 it is as {@link allocExtended}
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextAllocAligned
   */
  allocAligned(bytes: number, alignment: number, flags = 0): ChunkPtr | 0 {
    checkFlags(flags);
    checkAlignment(alignment);
    const { allocAligned } = this.#core.exports;
    const chunk = bytes >>> 0 === bytes ? allocAligned(this.#address, bytes, alignment, flags) : 0;
    return this.#chunkOrZero(chunk, alignment > MAX_ALIGN ? bytes + alignment : bytes, flags);
  }

  /**
   * Makes a context below this one. It dies with this one, or when it is deleted or disposed of.
   *
   * @param sizes - of its blocks; {@link ALLOCSET_DEFAULT_SIZES} if left out
   * @throws {@link OutOfMemoryError} when there is no memory for its first block
   * @see PostgreSQL: src/backend/utils/mmgr/aset.c, AllocSetContextCreateInternal
   */
  createChild(name: string, sizes: ContextSizes = ALLOCSET_DEFAULT_SIZES): MemoryContext {
    return MemoryContext.create(this.#core, this, name, allocSet(sizes));
  }

  /**
   * Makes a generation context below this one: for chunks freed in the order they were allocated,
   * or in groups. A freed chunk is only counted; its block goes back when all of its chunks are
   * free.
   *
   * @see PostgreSQL: src/backend/utils/mmgr/generation.c, GenerationContextCreate
   */
  createGeneration(name: string, sizes: ContextSizes = ALLOCSET_DEFAULT_SIZES): MemoryContext {
    return MemoryContext.create(this.#core, this, name, generation(sizes));
  }

  /**
   * Makes a slab context below this one: all chunks have one size, and blocks that drain go back.
   *
   * @throws {@link PallocError} XX000 if a block is too small for one chunk
   * @see PostgreSQL: src/backend/utils/mmgr/slab.c, SlabContextCreate
   */
  createSlab(name: string, sizes: SlabSizes): MemoryContext {
    return MemoryContext.create(this.#core, this, name, slab(sizes));
  }

  /**
   * Makes a bump context below this one: an arena without chunk headers. Its chunks can be neither
   * freed nor resized, nor asked for their context; reset or delete frees them all.
   *
   * @see PostgreSQL: src/backend/utils/mmgr/bump.c, BumpContextCreate
   */
  createBump(name: string, sizes: ContextSizes = ALLOCSET_DEFAULT_SIZES): MemoryContext {
    return MemoryContext.create(this.#core, this, name, bump(sizes));
  }

  /** Has wasm announce the next reset or delete. @internal */
  expectCallbacks(): void {
    this.#core.exports.expectCallbacks(this.#demandOpen());
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
    this.#clearing(() => this.#core.exports.reset(address));
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
    this.#clearing(() => this.#core.exports.deleteContext(address));
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
    this.#clearing(() => this.#core.exports.deleteChildren(address));
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
    markGuarded(this.#core, address);
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
    const { blocks, totalBytes, freeBytes, freeChunks, usedBytes } = this.#core.statistics(
      this.#demandOpen(),
      recurse,
    );
    return { blocks, totalBytes, freeBytes, freeChunks, usedBytes };
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

  /** Resets or deletes in wasm. Should a callback throw, what was deleted before it is closed. */
  #clearing(work: () => void): void {
    try {
      work();
    } catch (error) {
      const { interrupted } = this.#core;
      this.#core.interrupted = undefined;
      if (interrupted !== undefined) this.#closeBefore(interrupted);
      throw error;
    }
  }

  /** Closes what comes before `stop` in the order of deletion; whether `stop` was met. */
  #closeBefore(stop: MemoryContext): boolean {
    for (let child = this.#firstChild; child !== null; child = this.#firstChild) {
      if (child.#closeBefore(stop)) return true;
      child.#unlink();
      child.#closeTree();
    }
    return this === stop;
  }

  /** Lends the inside to what is made of it. @internal */
  withCore(work: (core: ProcessCore, context: MemoryContext) => void): void {
    work(this.#core, this);
  }

  #demandOpen(): number {
    if (this.#address === 0) throw new ClosedError(`memory context "${this.name}"`);
    return this.#address;
  }

  /** The rare outcomes of an ordinary request: an address above 2 GiB, or none. */
  #chunkOrFailure(chunk: number, bytes: number): ChunkPtr {
    if (chunk === 0) throw this.#failure(bytes);
    return ptr<ChunkPtr>(chunk);
  }

  /** The outcome of a request with flags. */
  #chunkOrZero(chunk: number, bytes: number, flags: number): ChunkPtr | 0 {
    if (chunk !== 0) return ptr<ChunkPtr>(chunk);
    const failure = this.#failure(bytes, flags);
    if (failure === undefined) return 0;
    throw failure;
  }

  /** What to throw for a request that gave no chunk; undefined if 0 was asked for instead. */
  #failure(bytes: number, flags = 0): Error | undefined {
    if (this.#address === 0) return new ClosedError(`memory context "${this.name}"`);
    if (this.type === "Slab" && bytes >>> 0 === bytes && bytes <= limitOf(flags)) {
      const chunkSize = this.#core.word(this.#address, CONTEXT_HEADER_BYTES);
      if (bytes !== chunkSize) return wrongSlabSize(bytes, chunkSize);
    }
    return requestFailure(this.#core, this.#address, bytes, flags);
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
