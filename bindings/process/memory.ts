/**
 * Process memory: one private wasm memory with a tree of memory contexts under `top`.
 *
 * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, MemoryContextInit
 */

import {
  BLOCK_STATISTICS_ADDRESS,
  CHUNK_HEADER_BYTES,
  PROCESS_DEFAULT_BYTES,
  PROCESS_MAX_BYTES,
  PROCESS_MIN_BYTES,
  WASM_PAGE_BYTES,
} from "../../assembly/common/constants.ts";
import { ClosedError, InvalidPointerError, OutOfMemoryError, PallocError } from "../abi/errors.ts";
import { compile, compileSync, instantiate } from "../abi/load.ts";
import { type ChunkPtr, ptr } from "../abi/pointers.ts";
import type { ProcessExports } from "../abi/process-exports.ts";
import { MemoryViews } from "../abi/views.ts";
import { type WasmMemory, type WasmModule, wasm } from "../abi/wasm-types.ts";
import { blamePanic, blamePointer } from "./blame.ts";
import { MemoryContext } from "./context.ts";
import { ProcessCore } from "./core.ts";
import { checkFlags, limitOf, requestFailure } from "./failures.ts";
import {
  answerRefused,
  importsFor,
  importsOf,
  type PlacedImports,
  type PlacementOptions,
  type WasmImports,
  whileCurrent,
} from "./imports.ts";
import { allocSet, type ContextMaker } from "./kinds.ts";
import { MemorySight, type SightOptions, watched } from "./memory-sight.ts";
import { ALLOCSET_DEFAULT_SIZES, type ContextSizes, parseBytes } from "./sizes.ts";
import { reportLeaks } from "./snapshot.ts";
import { type StatsTextLimits, statsText } from "./stats-text.ts";

/** How a process memory is made. */
export interface ProcessMemoryOptions extends SightOptions {
  /**
   * Most the memory may become: bytes, or text such as `"64MB"`. Default 64 MB; 64 kB to 4 GB (a
   * checked memory: to 2.66 GB), rounded down to whole 64 kB. Address space is reserved at once;
   * what is never touched costs no memory.
   */
  readonly maxMemory?: string | number;
  /**
   * What is reserved at first, for systems that charge for reserved memory. Default: `maxMemory`.
   * Below it the memory grows on demand, and each growth empties the views taken before.
   */
  readonly initialMemory?: string | number;
  /**
   * Sees each {@link OutOfMemoryError} before it is thrown, where PostgreSQL writes the statistics
   * of all contexts to its log. What it throws itself is thrown instead. Default: nothing.
   */
  readonly onOutOfMemory?: (error: OutOfMemoryError) => void;
}

/** Traffic between the contexts and the block provider underneath. */
export interface BlockStatistics {
  /** Successful requests, returns and resizes so far. */
  readonly requests: number;
  readonly returns: number;
  readonly resizes: number;
  /** Bytes, as requested, and blocks held now; deleted contexts kept for reuse included. */
  readonly liveBytes: number;
  readonly liveBlocks: number;
  readonly peakLiveBytes: number;
  /** Bytes outside the largest free area: what the blocks span; now and at the highest. */
  readonly footprintBytes: number;
  readonly peakFootprintBytes: number;
}

/** Whole pages of the memory: what the blocks may use now and at most, and what is behind them. */
interface Pages {
  readonly initial: number;
  readonly maximum: number;
  readonly shadow: number;
}

/**
 * A private memory and its contexts. One a thread is the intended use, not one a request.
 *
 * @example
 * ```ts
 * const memory = ProcessMemory.createSync({ maxMemory: "64MB" });
 * const scratch = memory.top.createChild("scratch");
 * const at = scratch.alloc(100);
 * memory.free(at);
 * scratch.delete();
 * ```
 */
export class ProcessMemory extends MemorySight {
  readonly #core: ProcessCore;
  #top: MemoryContext | undefined;
  #errorContext: MemoryContext | undefined;
  #roots: MemoryContext[] = [];
  readonly #imports: WasmImports;
  #disposing = false;
  #disposed = false;
  /** The export `free`, held in a field: the hot path is one property and one call. */
  #freeChunk: (chunk: number) => number;

  private constructor(module: WasmModule, pages: Pages, options: ProcessMemoryOptions) {
    super();
    const memory = reserve(pages);
    const callbacks = (number: number): undefined => this.#core.runCallbacks(number);
    const refused = (kind: number, address: number, bytes: number): number =>
      answerRefused(this.#core, kind, address, bytes);
    const panic = (code: number): never => {
      throw blamePanic(this.#core, code);
    };
    const host = { callbacks, refused, panic };
    const { exports, sites } = watched(instantiate(module, memory, host), options);
    const shadow = pages.shadow === 0 ? 0 : pages.maximum * WASM_PAGE_BYTES;
    exports.initialize(pages.initial, pages.maximum, shadow);
    this.#core = new ProcessCore(this, exports, new MemoryViews(memory));
    this.#core.watch(options, sites);
    this.#core.onOutOfMemory = options.onOutOfMemory;
    this.#freeChunk = exports.free;
    this.#imports = importsOf(this.#core, memory);
  }

  /**
   * Makes a memory with its two first contexts. Compiles the module in the calling thread, once;
   * a browser's main thread may refuse that: use {@link ProcessMemory.create} there.
   *
   * @throws {@link OutOfMemoryError} when the address space cannot be reserved
   * @throws `TypeError` or `RangeError` for malformed sizes
   */
  static createSync(options: ProcessMemoryOptions = {}): ProcessMemory {
    const pages = resolvePages(options);
    const module = compileSync("process", options.checked ?? false);
    return new ProcessMemory(module, pages, options).#begin();
  }

  /** As {@link ProcessMemory.createSync}, compiling off the calling thread. */
  static async create(options: ProcessMemoryOptions = {}): Promise<ProcessMemory> {
    const pages = resolvePages(options);
    const module = await compile("process", options.checked ?? false);
    return new ProcessMemory(module, pages, options).#begin();
  }

  /**
   * A memory without any context, as the recorded histories begin.
   *
   * @internal
   */
  static createEmptySync(options: ProcessMemoryOptions = {}): ProcessMemory {
    const pages = resolvePages(options);
    return new ProcessMemory(compileSync("process", options.checked ?? false), pages, options);
  }

  /** Opens the door of {@link internals}. @internal */
  static openInternals(memory: ProcessMemory): ProcessInternals {
    const core = memory.#core;
    return {
      exports: core.exports,
      contextAt: (address) => core.handleAt(address),
      create: (parent, name, maker) => {
        const context = MemoryContext.create(core, parent, name, maker);
        if (parent === null) memory.#roots.push(context);
        return context;
      },
      createRoot: (name, sizes = ALLOCSET_DEFAULT_SIZES) => {
        const root = MemoryContext.create(core, null, name, allocSet(sizes));
        memory.#roots.push(root);
        return root;
      },
      makeRoot: (context) => {
        MemoryContext.makeRoot(context);
        memory.#roots.push(context);
      },
    };
  }

  /** The context that lives as long as the memory; the parent of all others. */
  get top(): MemoryContext {
    const top = this.#top ?? this.#throwClosed();
    return this.#core.collected?.lend(top, true) ?? top;
  }

  /** A context whose 8 kB are kept for reporting errors, so that memory can run out elsewhere. */
  get errorContext(): MemoryContext {
    return this.#errorContext ?? this.#throwClosed();
  }

  /**
   * What another WebAssembly module imports to allocate in this memory: `env.memory`, `env.palloc`,
   * `env.pfree` and more. The module may have no data and no stack of its own in memory;
   * {@link ProcessMemory.importsFor} is for those that have.
   */
  get imports(): WasmImports {
    this.#demandOpen();
    return this.#imports;
  }

  /**
   * As {@link ProcessMemory.imports}, for a position-independent module (clang -fPIC, wasm-ld
   * -shared): allocates room for its data and its stack in a context that outlives its instance.
   *
   * @throws `TypeError` for a module that is not position-independent
   */
  importsFor(module: WasmModule, options: PlacementOptions = {}): PlacedImports {
    return importsFor(this.imports, module, options.context ?? this.top, options.stackBytes);
  }

  /** As described there; other modules' `palloc` follows. */
  override switchTo(context: MemoryContext): MemoryContext {
    const before = super.switchTo(context);
    this.#core.exports.switchContext(context.address);
    return before;
  }

  /** As described there; other modules' `palloc` follows. */
  override within<T>(context: MemoryContext, work: () => T): T {
    return super.within(context, () => whileCurrent(this.#core, context, work));
  }

  /** The whole memory as bytes. Lasts as long as the memory, unless it grows. */
  get u8(): Uint8Array {
    return this.#core.views.u8;
  }

  /** The whole memory as unsigned 16-bit words: index is address / 2. */
  get u16(): Uint16Array {
    return this.#core.views.u16;
  }

  /** The whole memory as signed 32-bit words: index is address / 4. */
  get i32(): Int32Array {
    return this.#core.views.i32;
  }

  /** The whole memory as unsigned 32-bit words: index is address / 4. */
  get u32(): Uint32Array {
    return this.#core.views.u32;
  }

  /** The whole memory as doubles: index is address / 8. */
  get f64(): Float64Array {
    return this.#core.views.f64;
  }

  /**
   * Frees a chunk, whatever context it is in. Constant time; memory goes back to its context, and
   * for a chunk above the context's limit to all.
   *
   * @throws {@link InvalidPointerError} for what is no chunk of this memory; nothing is changed
   * then
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, pfree
   */
  free(chunk: ChunkPtr): void {
    if ((chunk | 0) === chunk && this.#freeChunk(chunk) === 0) return;
    this.#freeUncommon(chunk);
  }

  /**
   * Makes a chunk `bytes` long, keeping its first bytes. It may move; new bytes are not cleared.
   *
   * @returns its address, a multiple of 8
   * @throws {@link OutOfMemoryError} or {@link InvalidSizeError}, and then the chunk is as before
   * @throws {@link InvalidPointerError} for what is no chunk of this memory
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, repalloc
   */
  realloc(chunk: ChunkPtr, bytes: number): ChunkPtr {
    const moved = this.#resize(chunk, bytes, 0);
    if (typeof moved !== "number") throw moved;
    return moved;
  }

  /**
   * As {@link ProcessMemory.realloc}, as flags ask: `ALLOC_HUGE` raises the limit to 2 GB - 1,
   * `ALLOC_NO_OOM` returns 0 where memory is exhausted; the chunk is as before then. `ALLOC_ZERO`
   * has no effect, as in PostgreSQL.
   *
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, repalloc_extended
   */
  reallocExtended(chunk: ChunkPtr, bytes: number, flags: number): ChunkPtr | 0 {
    checkFlags(flags);
    const moved = this.#resize(chunk, bytes, flags);
    if (moved === undefined) return 0;
    if (typeof moved !== "number") throw moved;
    return moved;
  }

  /**
   * The context that owns a chunk.
   *
   * @throws {@link InvalidPointerError} for what is no chunk of this memory
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, GetMemoryChunkContext
   */
  chunkContext(chunk: ChunkPtr): MemoryContext {
    const handle = this.#core.handleAt(this.#ownerOf("GetMemoryChunkContext", chunk));
    if (handle === undefined) this.#throwClosed();
    return (this.#core.collected?.outward(handle) ?? handle) as MemoryContext;
  }

  /**
   * Bytes a chunk occupies in its context, header and rounding included.
   *
   * @throws {@link InvalidPointerError} for what is no chunk of this memory
   * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, GetMemoryChunkSpace
   */
  chunkSpace(chunk: ChunkPtr): number {
    this.#ownerOf("GetMemoryChunkSpace", chunk);
    return this.#core.exports.chunkSpace(chunk) >>> 0;
  }

  /**
   * PostgreSQL's report of a context and everything below it, one line each and a grand total.
   *
   * @param context - where to begin; `top` if left out
   * @throws `TypeError` for a context of another memory
   */
  statsText(context: MemoryContext = this.top, limits: StatsTextLimits = {}): string {
    if (context.memory !== this) {
      throw new TypeError(`memory context "${context.name}" belongs to another memory`);
    }
    return statsText(this.#core, context.address, limits);
  }

  /** Counters of the block provider. */
  blockStatistics(): BlockStatistics {
    this.#demandOpen();
    const first = BLOCK_STATISTICS_ADDRESS >>> 2;
    const words = this.#core.views.u32.subarray(first, first + 8);
    const [requests = 0, returns = 0, resizes = 0, liveBytes = 0, liveBlocks = 0] = words;
    const [peakLiveBytes = 0, footprintBytes = 0, peakFootprintBytes = 0] = words.subarray(5);
    const traffic = { requests, returns, resizes, liveBytes, liveBlocks };
    return { ...traffic, peakLiveBytes, footprintBytes, peakFootprintBytes };
  }

  /**
   * Deletes every context: callbacks run in the order of deletion, those of `top` last; one that
   * throws does not keep the others from running. Then the memory is closed, and goes when nothing
   * refers to its views. Idempotent.
   *
   * @throws what a callback threw, as an `AggregateError` if several did; the memory is closed all
   * the same
   */
  dispose(): void {
    if (this.#disposing) return;
    this.#disposing = true;
    const thrown = reportLeaks(this.#core, this.#top, this.#errorContext);
    for (const root of this.#roots) thrown.push(...MemoryContext.close(root));
    this.#disposed = true;
    this.#roots = [];
    this.#top = undefined;
    this.#errorContext = undefined;
    this.#freeChunk = () => -1;
    if (thrown.length > 1) {
      throw new AggregateError(thrown, `${thrown.length} callbacks threw while memory was closed`);
    }
    if (thrown.length === 1) throw thrown[0];
  }

  /** As {@link ProcessMemory.dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Frees a chunk above 2 GiB, or says what is wrong with the pointer. */
  #freeUncommon(chunk: number): void {
    if (chunk > 0x7fffffff && chunk >>> 0 === chunk && this.#freeChunk(chunk) === 0) return;
    throw this.#invalidPointer("pfree", chunk);
  }

  /** What the other parts of this class share. @internal */
  protected override inside(): ProcessCore {
    this.#demandOpen();
    return this.#core;
  }

  /** Makes the contexts every memory begins with; the second reserves room for reporting errors. */
  #begin(): this {
    const core = this.#core;
    const make = (parent: MemoryContext | null, name: string, sizes: ContextSizes): MemoryContext =>
      MemoryContext.create(core, parent, name, allocSet(sizes), true);
    this.#top = make(null, "TopMemoryContext", ALLOCSET_DEFAULT_SIZES);
    this.#roots.push(this.#top);
    core.exports.switchContext(this.#top.address);
    this.#errorContext = make(this.#top, "ErrorContext", ERROR_CONTEXT_SIZES);
    return this;
  }

  /** The chunk, what to throw, or undefined where flags ask for 0 instead of an error. */
  #resize(chunk: number, bytes: number, flags: number): ChunkPtr | Error | undefined {
    this.#demandOpen();
    if (chunk >>> 0 === chunk && bytes >>> 0 === bytes) {
      const moved = this.#core.exports.realloc(chunk, bytes, flags);
      if (moved !== 0) return ptr<ChunkPtr>(moved);
    }
    const context = this.#ownerOf("repalloc", chunk);
    if (this.#core.typeAt(context) === "Slab" && bytes >>> 0 === bytes && bytes <= limitOf(flags)) {
      return new PallocError("XX000", "slab allocator does not support realloc()", {
        hint: "All chunks of a slab context have one size.",
      });
    }
    return requestFailure(this.#core, context, bytes, flags);
  }

  #demandOpen(): void {
    if (this.#disposed) this.#throwClosed();
  }

  #throwClosed(): never {
    throw new ClosedError("process memory");
  }

  /** Address of the context that owns a chunk. */
  #ownerOf(call: string, chunk: number): number {
    this.#demandOpen();
    const context = chunk >>> 0 === chunk ? this.#core.exports.chunkContext(chunk) >>> 0 : 0;
    if (context === 0) throw this.#invalidPointer(call, chunk);
    return context;
  }

  #invalidPointer(call: string, chunk: number): Error {
    if (this.#disposed) return new ClosedError("process memory");
    if (!Number.isInteger(chunk)) {
      return new TypeError(`a chunk is an address, not ${String(chunk)}`);
    }
    const { u8 } = this.#core.views;
    const header = u8.slice(Math.max(chunk - CHUNK_HEADER_BYTES, 0), Math.max(chunk, 0)).reverse();
    const digits = Array.from(header, (byte) => byte.toString(16).padStart(2, "0")).join("");
    const shown = `0x${chunk.toString(16)} (header 0x${digits.padStart(16, "0")})`;
    const message = `${call} called with invalid pointer ${shown}`;
    return new InvalidPointerError(chunk, message, blamePointer(this.#core, chunk));
  }
}

/** All that ErrorContext ever needs is reserved when it is made. */
const ERROR_CONTEXT_SIZES: ContextSizes = {
  minContextSize: 8192, // 8 kB
  initBlockSize: 8192,
  maxBlockSize: 8192,
};

/** What tests see of a memory besides its public side. @internal */
export interface ProcessInternals {
  readonly exports: ProcessExports;
  /** The handle of a context, or undefined. */
  contextAt(address: number): MemoryContext | undefined;
  /** Makes a context without a parent. */
  createRoot(name: string, sizes?: ContextSizes): MemoryContext;
  /** Makes a context of any kind, under a parent or none. */
  create(parent: MemoryContext | null, name: string, maker: ContextMaker): MemoryContext;
  /** Takes a context away from its parent. */
  makeRoot(context: MemoryContext): void;
}

/** The one door for tests. @internal */
export function internals(memory: ProcessMemory): ProcessInternals {
  return ProcessMemory.openInternals(memory);
}

function resolvePages(options: ProcessMemoryOptions): Pages {
  const { maxMemory = PROCESS_DEFAULT_BYTES, checked = false } = options;
  // The shadow table of a checked memory has half a byte for each byte, in the same 4 GB.
  const largest = checked ? Math.floor(PROCESS_MAX_BYTES / 3) * 2 : PROCESS_MAX_BYTES;
  const maximumBytes = parseBytes("maxMemory", maxMemory, PROCESS_MIN_BYTES, largest);
  const { initialMemory = maximumBytes } = options;
  const initialBytes = parseBytes("initialMemory", initialMemory, PROCESS_MIN_BYTES, maximumBytes);
  const maximum = Math.floor(maximumBytes / WASM_PAGE_BYTES);
  const initial = Math.floor(initialBytes / WASM_PAGE_BYTES);
  return { initial, maximum, shadow: checked ? Math.ceil(maximum / 2) : 0 };
}

/** Reserves the memory; a checked one in full, because its table lies behind the last block. */
function reserve({ initial, maximum, shadow }: Pages): WasmMemory {
  const whole = maximum + shadow;
  try {
    return new wasm.Memory({ initial: shadow === 0 ? initial : whole, maximum: whole });
  } catch (cause) {
    const bytes = (shadow === 0 ? initial : whole) * WASM_PAGE_BYTES;
    throw new OutOfMemoryError(bytes, undefined, {
      detail: `Failed to reserve ${bytes} bytes of address space for a process memory.`,
      hint: "Lower maxMemory, or set initialMemory below it to reserve less at first.",
      cause,
    });
  }
}
