/**
 * What another WebAssembly module imports to share a process memory and its contexts.
 *
 * The module imports `env.memory` instead of having a memory, and `env.palloc`, `env.pfree` and the
 * others. Those that are called often are exports of palloc's own module: such a call goes from
 * wasm to wasm. A call that cannot be answered throws the error that the JavaScript side would
 * throw; it passes through the other module's frames as PostgreSQL's errors pass through C.
 *
 * Two modules over one memory must not both believe that they own an address. Ours own all of it,
 * so the other may have no data and no stack but what it was given:
 * - Position-independent modules (clang -fPIC, wasm-ld -shared) say in their section `dylink.0` how
 *   many bytes they need, and take their place as `env.__memory_base` and `env.__stack_pointer`.
 *   {@link importsFor} allocates both.
 * - Other modules may be used if they have no data segments and use no stack in memory:
 *   hand-written ones, AssemblyScript's without a runtime, C of that sort.
 */

import { CALL_PALLOC, CALL_REPALLOC } from "../../assembly/common/constants.ts";
import { ClosedError } from "../abi/errors.ts";
import { type ChunkPtr, ptr } from "../abi/pointers.ts";
import { type WasmMemory, type WasmModule, wasm } from "../abi/wasm-types.ts";
import type { MemoryContext } from "./context.ts";
import type { ProcessCore } from "./core.ts";

/** What `env` holds. Addresses and sizes are unsigned 32-bit numbers; contexts are addresses. */
export interface ImportedFunctions {
  readonly memory: WasmMemory;
  /**
   * `void *palloc(size_t)`: allocates in the current context, `top` at first. What
   * `memory.switchTo` and `within` choose is current here, too; a choice that follows `await` is
   * not: pass its address to `palloc_in`.
   */
  readonly palloc: (bytes: number) => number;
  /** `void *palloc0(size_t)`: as palloc, with the bytes cleared. */
  readonly palloc0: (bytes: number) => number;
  /** `void *palloc_in(context, size_t)`: allocates in a given context. */
  readonly palloc_in: (context: number, bytes: number) => number;
  /** `void *repalloc(void *, size_t)` */
  readonly repalloc: (chunk: number, bytes: number) => number;
  /** `void pfree(void *)` */
  readonly pfree: (chunk: number) => void;
  /** `context context_create(parent, const char *name)`; parent 0 is the current context. */
  readonly context_create: (parent: number, name: number) => number;
  /** `void context_reset(context)`: frees its chunks, deletes everything below it. */
  readonly context_reset: (context: number) => void;
  /** `void context_delete(context)` */
  readonly context_delete: (context: number) => void;
  /** `context context_switch(context)`: makes it current and returns the one that was. */
  readonly context_switch: (context: number) => number;
}

/** Import object of another module, or a part of it: spread `env` to add functions. */
export interface WasmImports {
  readonly env: ImportedFunctions;
}

/** Where the data and the stack of a module go. */
export interface PlacementOptions {
  /** Whose chunks they are: it must outlive the module's instance. Default: `top`. */
  readonly context?: MemoryContext;
  /** Bytes of its stack, which nothing guards. Default 64 kB. */
  readonly stackBytes?: number;
}

/** As {@link WasmImports}, with the places of a position-independent module. */
export interface PlacedImports {
  readonly env: ImportedFunctions & {
    readonly __memory_base: object;
    readonly __table_base: object;
    readonly __stack_pointer: object;
    readonly __indirect_function_table: object;
  };
}

const DEFAULT_STACK_BYTES = 65536; // 64 kB
/** C's ABI for wasm keeps its stack aligned so. */
const STACK_ALIGNMENT = 16;
/** Kind of the part of `dylink.0` that gives the sizes. */
const MEMORY_INFORMATION = 1;

/** Makes what `ProcessMemory.imports` gives out. @internal */
export function importsOf(core: ProcessCore, memory: WasmMemory): WasmImports {
  const { exports } = core;
  // Handles of contexts that the other module made: nobody else may hold them.
  const held = new Map<number, MemoryContext>();
  return Object.freeze({
    env: Object.freeze({
      memory,
      palloc: exports.palloc,
      palloc0: exports.palloc0,
      palloc_in: exports.pallocIn,
      repalloc: exports.repalloc,
      pfree: exports.pfree,
      context_create: (parent: number, name: number) => {
        const above = parent === 0 ? currentOf(core) : demandContext(core, parent);
        const context = above.createChild(core.textAt(name >>> 0) ?? "");
        held.set(context.address, context);
        return context.address;
      },
      context_reset: (context: number) => demandContext(core, context).reset(),
      context_delete: (context: number) => {
        demandContext(core, context).delete();
        held.delete(context >>> 0);
      },
      context_switch: (context: number) => {
        const handle = demandContext(core, context);
        const before = exports.switchContext(handle.address) >>> 0;
        core.owner.switchTo(handle);
        return before;
      },
    }),
  });
}

/** Answers a call that wasm could not: mostly by the error that tells why. @internal */
export function answerRefused(
  core: ProcessCore,
  kind: number,
  address: number,
  bytes: number,
): number {
  const { owner } = core;
  if (kind === CALL_PALLOC) return demandContext(core, address).alloc(bytes >>> 0);
  if (kind === CALL_REPALLOC) return owner.realloc(ptr<ChunkPtr>(address), bytes >>> 0);
  owner.free(ptr<ChunkPtr>(address));
  return 0;
}

/**
 * Runs `work` with a context current for other modules, too, and restores what was; should that be
 * gone by then, none is current. What `work` awaits is not followed.
 *
 * @internal
 */
export function whileCurrent<T>(core: ProcessCore, context: MemoryContext, work: () => T): T {
  const { switchContext } = core.exports;
  const before = switchContext(context.address) >>> 0;
  try {
    return work();
  } finally {
    switchContext(contextAt(core, before) === undefined ? 0 : before);
  }
}

function currentOf(core: ProcessCore): MemoryContext {
  const { switchContext } = core.exports;
  const current = switchContext(0) >>> 0;
  switchContext(current);
  return demandContext(core, current);
}

function contextAt(core: ProcessCore, address: number): MemoryContext | undefined {
  const handle = core.handleAt(address >>> 0);
  const isThere = handle !== undefined && !handle.closed && handle.address === address >>> 0;
  return isThere ? handle : undefined;
}

function demandContext(core: ProcessCore, address: number): MemoryContext {
  const handle = contextAt(core, address);
  if (handle === undefined) throw new ClosedError("memory context");
  return handle;
}

/**
 * Gives a position-independent module room for its data and its stack: two chunks of a context.
 *
 * @throws `TypeError` for a module without a section `dylink.0`
 * @internal
 */
export function importsFor(
  { env }: WasmImports,
  module: WasmModule,
  context: MemoryContext,
  stackBytes: number = DEFAULT_STACK_BYTES,
): PlacedImports {
  const needs = needsOf(module);
  const data = context.allocAligned(needs.bytes, needs.alignment);
  context.memory.u8.fill(0, data, data + needs.bytes);
  const stack = context.allocAligned(stackBytes, STACK_ALIGNMENT);
  const top = (stack + stackBytes) & -STACK_ALIGNMENT;
  const constant = (value: number): object => new wasm.Global({ value: "i32" }, value);
  return {
    env: {
      ...env,
      __memory_base: constant(data),
      __table_base: constant(0),
      __stack_pointer: new wasm.Global({ value: "i32", mutable: true }, top),
      __indirect_function_table: new wasm.Table({ element: "anyfunc", initial: needs.functions }),
    },
  };
}

/** What a position-independent module says it needs. */
interface Needs {
  readonly bytes: number;
  readonly alignment: number;
  /** Entries of the function table. */
  readonly functions: number;
}

/** @see WebAssembly's tool conventions, DynamicLinking.md */
function needsOf(module: WasmModule): Needs {
  const [section] = wasm.Module.customSections(module, "dylink.0");
  if (section === undefined) {
    throw new TypeError("the module is not position-independent: it has no section dylink.0");
  }
  const bytes = new Uint8Array(section);
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  };
  while (at < bytes.length) {
    const kind = next();
    const end = next() + at;
    if (kind === MEMORY_INFORMATION) {
      const [size, alignment, functions] = [next(), next(), next()];
      return { bytes: size, alignment: 2 ** Math.max(alignment, 3), functions };
    }
    at = end;
  }
  return { bytes: 0, alignment: 8, functions: 0 };
}
