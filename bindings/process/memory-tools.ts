/**
 * What a JavaScript program does with a memory beyond allocating in it: views and text over
 * chunks, arrays that change their length, the current context. All of it rests on the operations
 * of {@link ProcessMemory}.
 */

import { PallocError } from "../abi/errors.ts";
import type { ChunkPtr } from "../abi/pointers.ts";
import { mulSize } from "./arrays.ts";
import { LastingView, type ViewType, viewOf } from "./chunk-views.ts";
import type { MemoryContext } from "./context.ts";
import { type CurrentStore, FieldStore } from "./current.ts";
import { readText, writeText } from "./strings.ts";

/** The part of {@link ProcessMemory} that is made of its other operations. */
export abstract class MemoryTools {
  #dataView: DataView = new DataView(new ArrayBuffer(0));
  /** The bytes when the view was made: empty before that, and once the memory has grown. */
  #viewed: Uint8Array = new Uint8Array(0);
  #current: CurrentStore = new FieldStore();

  /** The whole memory as bytes. */
  abstract get u8(): Uint8Array;
  /** The context above all others. */
  abstract get top(): MemoryContext;
  /** Makes a chunk `bytes` long. */
  abstract realloc(chunk: ChunkPtr, bytes: number): ChunkPtr;
  /** Makes a chunk `bytes` long, as flags ask. */
  abstract reallocExtended(chunk: ChunkPtr, bytes: number, flags: number): ChunkPtr | 0;

  /** The whole memory as a DataView. Lasts as long as the memory, unless it grows. */
  get dataView(): DataView {
    if (this.#viewed.length === 0) {
      this.#viewed = this.u8;
      this.#dataView = new DataView(this.u8.buffer);
    }
    return this.#dataView;
  }

  /**
   * The bytes of a chunk, or of a part of one. Valid for the chunk's whole life, unless the memory
   * grows (`initialMemory` below `maxMemory`); see {@link lastingView}.
   *
   * @throws `RangeError` if they are not all inside the memory
   */
  bytes(chunk: number, length: number): Uint8Array {
    return viewOf(this, Uint8Array, chunk, length);
  }

  /**
   * A chunk, or a part of one, as a typed array of `count` elements or a `DataView` of `count`
   * bytes. Valid as {@link bytes} is.
   *
   * @example
   * ```ts
   * const samples = memory.view(Float64Array, context.allocArray(1000, 8), 1000);
   * samples.fill(0.5);
   * ```
   * @throws `RangeError` if it is not all inside the memory, or the address is no multiple of the
   * size of an element
   */
  view<View>(type: ViewType<View>, chunk: number, count: number): View {
    return viewOf(this, type, chunk, count);
  }

  /** As {@link view}, for a memory that grows: the view is asked for before each use. */
  lastingView<View>(type: ViewType<View>, chunk: number, count: number): LastingView<View> {
    return new LastingView(this, type, chunk, count);
  }

  /**
   * Text from `chunk` to a NUL, or of `maxBytes` bytes if none comes before. What is no UTF-8
   * becomes U+FFFD.
   *
   * @throws `RangeError` if `chunk` is not inside the memory
   */
  readString(chunk: number, maxBytes?: number): string {
    return readText(this, chunk, maxBytes);
  }

  /**
   * Writes text as UTF-8, and a NUL after it, over the first of `roomBytes` bytes at `chunk`.
   *
   * @returns bytes written, the NUL not counted
   * @throws `RangeError` if it does not fit, or holds U+0000; nothing is written then
   */
  writeString(chunk: number, text: string, roomBytes: number): number {
    return writeText(this, chunk, text, roomBytes);
  }

  /**
   * Makes a chunk `count * bytes` long, as `realloc` does.
   *
   * @throws `SizeOverflowError` 54000 if the product exceeds 32 bits; the chunk is as before then
   * @see PostgreSQL: src/include/utils/palloc.h, repalloc_array; mcxt.c, repalloc_mul
   */
  reallocArray(chunk: ChunkPtr, count: number, bytes: number): ChunkPtr {
    return this.realloc(chunk, mulSize(count, bytes));
  }

  /** As {@link reallocArray}, as flags ask: PostgreSQL's repalloc_mul_extended. */
  reallocArrayExtended(chunk: ChunkPtr, count: number, bytes: number, flags: number): ChunkPtr | 0 {
    return this.reallocExtended(chunk, mulSize(count, bytes), flags);
  }

  /**
   * Makes a chunk of `oldBytes` longer and clears what is new. The caller knows `oldBytes`: a chunk
   * does not remember it.
   *
   * @throws `PallocError` XX000 if `oldBytes` exceeds `bytes`; else as `realloc`
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, repalloc0
   */
  reallocZero(chunk: ChunkPtr, oldBytes: number, bytes: number): ChunkPtr {
    mulSize(oldBytes, 1);
    if (oldBytes > bytes) {
      const message = `invalid repalloc0 call: oldsize ${oldBytes}, new size ${bytes}`;
      throw new PallocError("XX000", message);
    }
    const moved = this.realloc(chunk, bytes);
    this.u8.fill(0, moved + oldBytes, moved + bytes);
    return moved;
  }

  /**
   * As {@link reallocZero}, counted in elements of `bytes` each.
   *
   * @see PostgreSQL: src/include/utils/palloc.h, repalloc0_array
   */
  reallocArrayZero(chunk: ChunkPtr, oldCount: number, count: number, bytes: number): ChunkPtr {
    return this.reallocZero(chunk, mulSize(oldCount, bytes), mulSize(count, bytes));
  }

  /** The current context; `top` until another is chosen. It may have been deleted since. */
  get current(): MemoryContext {
    return this.#current.get() ?? this.top;
  }

  /**
   * Makes a context current.
   *
   * @returns the one that was current, to be switched back to
   * @throws `ClosedError` for a deleted context; `TypeError` for one of another memory
   * @see PostgreSQL: src/include/utils/palloc.h, MemoryContextSwitchTo
   */
  switchTo(context: MemoryContext): MemoryContext {
    const before = this.current;
    this.#demandOwn(context);
    this.#current.set(context);
    return before;
  }

  /**
   * Runs `work` with `context` current, and restores what was current when it returns or throws.
   *
   * @example
   * ```ts
   * memory.within(request, () => memory.alloc(64)); // in `request`
   * ```
   * @throws `TypeError` if `work` returns a promise, unless `palloc/async-context` has been told to
   * follow this memory: what is current would change under it
   */
  within<T>(context: MemoryContext, work: () => T): T {
    this.#demandOwn(context);
    return this.#current.run(context, work);
  }

  /**
   * Allocates in the current context: PostgreSQL's palloc.
   *
   * @throws as `alloc` of a context
   */
  alloc(bytes: number): ChunkPtr {
    return this.current.alloc(bytes);
  }

  /** Replaces the keeper of the current context. @internal */
  static keepCurrent(memory: MemoryTools, store: CurrentStore): void {
    const before = memory.#current.get();
    memory.#current = store;
    if (before !== undefined) store.set(before);
  }

  #demandOwn(context: MemoryContext): void {
    if (context.address !== 0 && context.memory !== (this as MemoryTools)) {
      throw new TypeError(`"${context.name}" belongs to another memory`);
    }
  }
}
