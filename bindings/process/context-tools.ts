/**
 * What a JavaScript program does with a context beyond allocating in it: scopes, resources that die
 * with it, strings and arrays. All of it rests on the operations of {@link MemoryContext}.
 */

import { ALLOC_ZERO } from "../../assembly/common/constants.ts";
import type { ChunkPtr } from "../abi/pointers.ts";
import { type Adoptable, adopt, adoptedBy, unadopt } from "./adopt.ts";
import { mulSize } from "./arrays.ts";
import { type ContextCeiling, setCeiling } from "./ceiling.ts";
import type { MemoryContext } from "./context.ts";
import type { ProcessCore } from "./core.ts";
import type { ProcessMemory } from "./memory.ts";
import { runScope } from "./scope.ts";
import type { ContextSizes } from "./sizes.ts";
import { copyText } from "./strings.ts";

/** The part of {@link MemoryContext} that is made of its other operations. */
export abstract class ContextTools {
  /** What runs at the next reset or delete, the latest last; most contexts have nothing. */
  #callbacks: (() => void)[] | undefined;

  /** Name given at creation. */
  abstract readonly name: string;
  /** The memory this context is part of. */
  abstract get memory(): ProcessMemory;
  /** Allocates in this context. */
  abstract alloc(bytes: number): ChunkPtr;
  /** Allocates as flags ask. */
  abstract allocExtended(bytes: number, flags: number): ChunkPtr | 0;
  /** Makes a context below this one. */
  abstract createChild(name: string, sizes?: ContextSizes): MemoryContext;
  /** Runs `work` with the inside of the memory. @internal */
  abstract withCore(work: (core: ProcessCore, context: MemoryContext) => void): void;
  /** Has wasm call {@link runCallbacks} at the next reset or delete. @internal */
  abstract expectCallbacks(): void;

  /**
   * Makes a context below this one, runs `work` with it and deletes it: when `work` returns or
   * throws, or, should it return a promise, when that settles. What `work` gives is given on.
   *
   * @example
   * ```ts
   * const words = memory.top.scope("request", (request) => {
   *   const at = request.strdup("drei Wörter hier");
   *   return memory.readString(at).split(" ").length;
   * });
   * ```
   * @throws what `work` throws; an error named `SuppressedError` with `error` and `suppressed` if
   * a callback of the context throws after that
   */
  scope<T>(name: string, work: (child: MemoryContext) => T, sizes?: ContextSizes): T {
    return runScope(this.createChild(name, sizes), work);
  }

  /**
   * Runs `work` once, before this context is next reset or deleted: the latest registered first,
   * and those of contexts below first. One that throws ends the reset or deletion there; it is not
   * run again, the others stay registered.
   *
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextRegisterResetCallback
   */
  onReset(work: () => void): void {
    this.expectCallbacks();
    this.#callbacks ??= [];
    this.#callbacks.push(work);
  }

  /**
   * Takes back what {@link onReset} registered, the latest if it did so more than once. Time in
   * proportion to what was registered after it.
   *
   * @throws `RangeError` if it is not registered
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextUnregisterResetCallback
   */
  offReset(work: () => void): void {
    const at = this.#callbacks?.lastIndexOf(work) ?? -1;
    if (at < 0) throw new RangeError(`not registered with memory context "${this.name}"`);
    this.#callbacks?.splice(at, 1);
  }

  /** Runs what {@link onReset} registered. @internal */
  runCallbacks(): void {
    const callbacks = this.#callbacks ?? [];
    for (let work = callbacks.pop(); work !== undefined; work = callbacks.pop()) work();
  }

  /**
   * Ties an object to this context: at the next reset or delete it is ended, once, in turn with
   * what {@link onReset} registered. Without `dispose`, by the first of these that it has:
   * `[Symbol.dispose]()`, `free()`, `delete()`; the latter two only if they take no argument, so
   * that a `Map` is refused. Adopting it again changes nothing; in another context, moves it there.
   *
   * @returns the object
   * @throws `TypeError` for what is no object or has none of the three
   */
  adopt<T extends Adoptable>(resource: T): T;
  adopt<T extends object>(resource: T, dispose: (resource: T) => void): T;
  adopt<T extends object>(resource: T, dispose?: (resource: T) => void): T {
    return adopt(this, resource, dispose);
  }

  /**
   * Takes back what {@link adopt} tied to this context; the caller ends it.
   *
   * @throws `PallocError` 42704 if it is not adopted, or was ended already
   */
  unadopt<T extends object>(resource: T): T {
    return unadopt(this, resource);
  }

  /** How many objects this context has adopted and not yet ended. */
  get adopted(): number {
    return adoptedBy(this);
  }

  /**
   * Limits what this context and everything below it may hold, in blocks; null takes the limit
   * away. A request that needs a block beyond `limitBytes` throws; with `ALLOC_NO_OOM` it gives 0.
   * Beyond `warnBytes`, `onWarn` is called once: before that error, or in a microtask.
   *
   * @example
   * ```ts
   * request.setCeiling({ limitBytes: "16MB", warnBytes: "8MB", onWarn: report });
   * ```
   * @throws `TypeError` or `RangeError` for malformed sizes. The requests then throw
   * `LimitExceededError` 53400
   */
  setCeiling(ceiling: ContextCeiling | null): void {
    this.withCore((core, context) => setCeiling(core, context, ceiling));
  }

  /**
   * Allocates for `count` elements of `bytes` each.
   *
   * @throws `SizeOverflowError` 54000 if the product exceeds 32 bits; else as `alloc`
   * @see PostgreSQL: src/include/utils/palloc.h, palloc_array; mcxt.c, palloc_mul
   */
  allocArray(count: number, bytes: number): ChunkPtr {
    return this.alloc(mulSize(count, bytes));
  }

  /** As {@link allocArray}, with the bytes cleared: PostgreSQL's palloc0_mul. */
  allocArrayZero(count: number, bytes: number): ChunkPtr {
    // Without ALLOC_NO_OOM the answer is never 0.
    return this.allocExtended(mulSize(count, bytes), ALLOC_ZERO) as ChunkPtr;
  }

  /** As {@link allocArray}, as flags ask: PostgreSQL's palloc_mul_extended. */
  allocArrayExtended(count: number, bytes: number, flags: number): ChunkPtr | 0 {
    return this.allocExtended(mulSize(count, bytes), flags);
  }

  /**
   * Copies text into a new chunk, as UTF-8 with a NUL after it. A lone surrogate becomes U+FFFD.
   *
   * @throws `RangeError` if the text holds U+0000, which would end it there
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextStrdup
   */
  strdup(text: string): ChunkPtr {
    return copyText(this, text);
  }

  /**
   * As {@link strdup}, of at most `maxBytes` bytes, the NUL not counted. Unlike PostgreSQL's,
   * it ends before a character that does not fit whole.
   *
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, pnstrdup
   */
  strndup(text: string, maxBytes: number): ChunkPtr {
    return copyText(this, text, maxBytes);
  }

  /**
   * As {@link strdup}, without the line feeds at the end, however many.
   *
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, pchomp
   */
  strchomp(text: string): ChunkPtr {
    if (typeof text !== "string") return copyText(this, text);
    let end = text.length;
    while (end > 0 && text[end - 1] === "\n") end -= 1;
    return copyText(this, text.slice(0, end));
  }
}
