// Replays a recorded history of PostgreSQL's own memory contexts and compares everything it says:
// places, spaces, counters, tree, text, and the traffic with the block provider. Contents are
// stamped, so that what a resize must keep is seen to survive.

import {
  InvalidPointerError,
  InvalidSizeError,
  OutOfMemoryError,
  PallocError,
} from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import {
  allocSet,
  bump,
  type ContextMaker,
  generation,
  slab,
} from "../../bindings/process/kinds.ts";
import { internals, type ProcessInternals, ProcessMemory } from "../../bindings/process/memory.ts";
import type { Entry, Trace } from "./trace.ts";

/** The heap is walked after so many entries, and at the end. */
const WALK_EVERY = 97;

/** An entry whose results differ. */
export class TraceFailure extends Error {
  readonly trace: string;
  /** Index in `ops`. */
  readonly entry: number;

  constructor(trace: string, entry: number, text: string) {
    super(`${trace}: entry ${entry} ${text}`);
    this.trace = trace;
    this.entry = entry;
  }
}

interface Chunk {
  at: ChunkPtr;
  size: number;
}

type Handler = (replay: Replay, inputs: readonly unknown[]) => unknown;

/** Replays a trace from nothing; throws a {@link TraceFailure} at the first difference. */
export function replay(trace: Trace, options: { checked: boolean }): ProcessMemory {
  const run = new Replay(options.checked);
  for (const [index, entry] of trace.ops.entries()) {
    const text = JSON.stringify(entry);
    try {
      const difference = run.step(entry);
      if (difference !== undefined)
        throw new TraceFailure(trace.name, index, `${text}: ${difference}`);
      if (index % WALK_EVERY === 0 || index === trace.ops.length - 1) run.walk();
    } catch (cause) {
      if (cause instanceof TraceFailure) throw cause;
      throw new TraceFailure(trace.name, index, `${text}: threw ${String(cause)}`);
    }
  }
  return run.memory;
}

/** Number of inputs of each entry; what follows are the expected results. */
const inputCounts: Readonly<Record<string, number>> = {
  c: 6,
  g: 5,
  k: 2,
  a: 3,
  z: 3,
  x: 4,
  f: 1,
  r: 2,
  e: 3,
  R: 1,
  O: 1,
  K: 1,
  D: 1,
  X: 1,
  p: 2,
  n: 2,
  m: 2,
  i: 2,
  B: 4,
  s: 1,
  t: 1,
  h: 1,
  q: 1,
  y: 0,
  S: 3,
};

function inputCountOf(entry: Entry): number {
  const [code, , , kind] = entry;
  if (code === "c" && kind === "slab") return 5;
  return inputCounts[code] ?? 0;
}

class Replay {
  readonly memory: ProcessMemory;
  readonly inside: ProcessInternals;
  readonly contexts: MemoryContext[] = [];
  readonly addresses: number[] = [];
  readonly chunks = new Map<number, Chunk>();
  /** Numbers of the callbacks that ran, in order. */
  readonly fired: number[] = [];
  /** Address of each block's header, by serial number. */
  readonly #blocks = new Map<number, number>();

  constructor(checked: boolean) {
    this.memory = ProcessMemory.createEmptySync({ maxMemory: "512MB", checked });
    this.inside = internals(this.memory);
  }

  /** Runs one entry; what differs, or undefined. */
  step(entry: Entry): string | undefined {
    const [code] = entry;
    if (code === "!") return this.#refusal(String(entry[1]), entry[2] as Entry);
    const inputs = entry.slice(1, 1 + inputCountOf(entry));
    const expected = entry.slice(1 + inputs.length);
    const handler = handlers[code];
    if (handler === undefined) return "unknown entry";
    const requests = this.memory.blockStatistics().requests;
    const actual = handler(this, inputs);
    if (code === "c") return this.#recycling(inputs[0] as number, Number(expected[0]), requests);
    if ("azxgre".includes(code)) return this.#placed(inputs[0] as number, actual, expected);
    const shown = JSON.stringify(actual ?? []);
    return shown === JSON.stringify(expected)
      ? undefined
      : `expected ${JSON.stringify(expected)}, got ${shown}`;
  }

  /** Runs `work`; the callbacks that ran, as an entry's results. */
  firedBy(work: () => void): unknown {
    this.fired.length = 0;
    work();
    return [[...this.fired]];
  }

  walk(): void {
    const code = this.inside.exports.checkHeap();
    if (code !== 0) throw new Error(`the heap walk found ${code}`);
  }

  context(number: unknown): MemoryContext {
    const context = this.contexts[number as number];
    if (context === undefined) throw new Error(`no context ${String(number)}`);
    return context;
  }

  chunk(number: unknown): Chunk {
    const chunk = this.chunks.get(number as number);
    if (chunk === undefined) throw new Error(`no chunk ${String(number)}`);
    return chunk;
  }

  addContext(number: number, context: MemoryContext): void {
    this.contexts[number] = context;
    this.addresses[number] = context.address;
  }

  /** Notes a chunk and fills it with bytes that tell it from others. */
  addChunk(number: number, at: ChunkPtr, size: number): void {
    this.chunks.set(number, { at, size });
    this.memory.u8.fill(stampOf(number), at, at + size);
  }

  /** Whether the first `size` bytes are still those of addChunk. */
  demandStamp(number: number, at: number, size: number): void {
    const stamp = stampOf(number);
    if (!this.memory.u8.subarray(at, at + size).every((byte) => byte === stamp)) {
      throw new Error("the contents of the chunk did not survive");
    }
  }

  #recycling(number: number, recycled: number, requests: number): string | undefined {
    const address = this.addresses[number];
    const fresh = this.memory.blockStatistics().requests - requests;
    if (recycled < 0) return fresh === 1 ? undefined : "expected a new block, none was requested";
    if (fresh !== 0) return `expected the memory of context ${recycled}, a block was requested`;
    if (this.addresses[recycled] === address) return undefined;
    return `expected the memory of context ${recycled}, got other memory`;
  }

  /** Compares the place of a chunk with what is expected of it. */
  #placed(number: number, at: unknown, expected: readonly unknown[]): string | undefined {
    const [space, block = null, offset] = expected;
    if (expected[0] === "null") return at === 0 ? undefined : "expected null, got a chunk";
    if (at === 0) return "expected a chunk, got null";
    const chunk = this.chunk(number);
    if (chunk.at % 8 !== 0) return `address ${chunk.at} is no multiple of 8`;
    if (space !== null) {
      const actualSpace = this.memory.chunkSpace(chunk.at);
      if (actualSpace !== space) return `expected space ${String(space)}, got ${actualSpace}`;
    }
    if (block === null) return undefined;
    const base = this.#blocks.get(block as number) ?? chunk.at - Number(offset);
    this.#blocks.set(block as number, base);
    if (chunk.at - base === offset) return undefined;
    return `expected offset ${String(offset)} in block ${String(block)}, got ${chunk.at - base}`;
  }

  #refusal(kind: string, entry: Entry): string | undefined {
    const handler = handlers[entry[0]];
    if (handler === undefined) return "unknown entry";
    try {
      handler(this, entry.slice(1));
    } catch (error) {
      const expected = errorKinds[kind];
      if (expected !== undefined && error instanceof expected) return undefined;
      return `expected an error of kind ${kind}, got ${String(error)}`;
    }
    return `expected an error of kind ${kind}, got none`;
  }
}

const errorKinds: Readonly<Record<string, new (...parts: never[]) => Error>> = {
  size: InvalidSizeError,
  oom: OutOfMemoryError,
  "slab-size": InvalidSizeError,
  "slab-realloc": PallocError,
  "slab-block": PallocError,
  bogus: InvalidPointerError,
};

function stampOf(number: number): number {
  return (number * 37 + 11) & 0xff;
}

function allocated(run: Replay, number: unknown, at: ChunkPtr | 0, size: unknown): unknown {
  if (at === 0) return 0;
  run.addChunk(number as number, at, size as number);
  return at;
}

function demandZero(run: Replay, at: number, size: number): void {
  if (run.memory.u8.subarray(at, at + size).some((byte) => byte !== 0)) {
    throw new Error("the chunk is not zero");
  }
}

function resized(run: Replay, number: number, size: number, at: ChunkPtr | 0): unknown {
  const old = run.chunk(number);
  run.demandStamp(number, at === 0 ? old.at : at, at === 0 ? old.size : Math.min(old.size, size));
  return allocated(run, number, at, size);
}

function statistics(context: MemoryContext, recurse: boolean): number[] {
  const { blocks, totalBytes, freeBytes, freeChunks, usedBytes } = context.stats(recurse);
  return [blocks, totalBytes, freeBytes, freeChunks, usedBytes, context.memAllocated(recurse)];
}

/** Writes a bogus header word before `chunk + gap` and treats that place as a chunk. */
const treatAsChunk: Handler = (run, [what, number, gap, word]) => {
  const at = (run.chunk(number).at + (gap as number)) as ChunkPtr;
  run.memory.u32[(at - 8) >>> 2] = word as number;
  run.memory.u32[(at - 4) >>> 2] = 0;
  if (what === "f") return run.memory.free(at);
  if (what === "r") return run.memory.realloc(at, 64);
  if (what === "c") return run.memory.chunkContext(at);
  return run.memory.chunkSpace(at);
};

/** An operation that clears contexts; no callback runs. */
function clearing(clear: (context: MemoryContext) => void): Handler {
  return (run, [context]) => run.firedBy(() => clear(run.context(context)));
}

const makers: Readonly<Record<string, (numbers: readonly number[]) => ContextMaker>> = {
  aset: (numbers) => allocSet(sizesOf(numbers)),
  gen: (numbers) => generation(sizesOf(numbers)),
  bump: (numbers) => bump(sizesOf(numbers)),
  slab: ([blockSize = 0, chunkSize = 0]) => slab({ blockSize, chunkSize }),
};

function sizesOf([minContextSize = 0, initBlockSize = 0, maxBlockSize = 0]: readonly number[]): {
  minContextSize: number;
  initBlockSize: number;
  maxBlockSize: number;
} {
  return { minContextSize, initBlockSize, maxBlockSize };
}

const create: Handler = (run, [number, parent, kind, ...numbers]) => {
  const maker = makers[kind as string];
  if (maker === undefined) throw new Error(`unknown kind ${String(kind)}`);
  const above = parent === -1 ? null : run.context(parent);
  const context = run.inside.create(above, `c${String(number)}`, maker(numbers as number[]));
  run.addContext(number as number, context);
};

const start: Handler = (run, [top, error]) => {
  const context = run.inside.createRoot("TopMemoryContext");
  run.addContext(top as number, context);
  const sizes = { minContextSize: 8192, initBlockSize: 8192, maxBlockSize: 8192 };
  run.addContext(error as number, context.createChild("ErrorContext", sizes));
};

const handlers: Readonly<Record<string, Handler>> = {
  c: create,
  i: start,
  B: treatAsChunk,
  a: (run, [number, context, size]) =>
    allocated(run, number, run.context(context).alloc(size as number), size),
  z: (run, [number, context, size]) => {
    const at = run.context(context).allocZero(size as number);
    demandZero(run, at, size as number);
    return allocated(run, number, at, size);
  },
  x: (run, [number, context, size, flags]) => {
    const at = run.context(context).allocExtended(size as number, flags as number);
    if (at !== 0 && ((flags as number) & 4) !== 0) demandZero(run, at, size as number);
    return allocated(run, number, at, size);
  },
  f: (run, [number]) => {
    const { at, size } = run.chunk(number);
    run.demandStamp(number as number, at, size);
    run.memory.free(at);
    run.chunks.delete(number as number);
  },
  r: (run, [number, size]) => {
    const at = run.memory.realloc(run.chunk(number).at, size as number);
    return resized(run, number as number, size as number, at);
  },
  e: (run, [number, size, flags]) => {
    const at = run.memory.reallocExtended(run.chunk(number).at, size as number, flags as number);
    return resized(run, number as number, size as number, at);
  },
  g: (run, [number, context, size, alignment, flags]) => {
    const at = run
      .context(context)
      .allocAligned(size as number, alignment as number, flags as number);
    if (at % (alignment as number) !== 0) throw new Error(`${at} is no multiple of ${alignment}`);
    if (at !== 0 && ((flags as number) & 4) !== 0) demandZero(run, at, size as number);
    return allocated(run, number, at, size);
  },
  k: (run, [context, number]) => {
    run.context(context).onReset(() => run.fired.push(number as number));
  },
  R: clearing((context) => context.reset()),
  O: clearing((context) => context.resetOnly()),
  K: clearing((context) => context.resetChildren()),
  D: clearing((context) => context.delete()),
  X: clearing((context) => context.deleteChildren()),
  p: (run, [context, parent]) => {
    if (parent === -1) run.inside.makeRoot(run.context(context));
    else run.context(context).setParent(run.context(parent));
  },
  n: (run, [context, text]) => {
    run.context(context).ident = text as string | null;
  },
  m: (run, [skip, count]) => run.inside.exports.injectFaults(skip as number, count as number),
  s: (run, [context]) => {
    const at = run.context(context);
    return [...statistics(at, false), at.isEmpty() ? 1 : 0];
  },
  t: (run, [context]) => statistics(run.context(context), true),
  h: (run, [context]) => {
    const { parent } = run.context(context);
    const numberOf = (of: MemoryContext): number => run.contexts.lastIndexOf(of);
    const children = run.context(context).children().map(numberOf);
    return [parent === null ? -1 : numberOf(parent), children];
  },
  q: (run, [number]) => {
    const { at } = run.chunk(number);
    return [run.contexts.lastIndexOf(run.memory.chunkContext(at)), run.memory.chunkSpace(at)];
  },
  y: (run) => {
    const { requests, returns, resizes, liveBytes, liveBlocks } = run.memory.blockStatistics();
    return [requests, returns, resizes, liveBytes, liveBlocks];
  },
  S: (run, [context, maxLevel, maxChildren]) => {
    const limits = { maxLevel, maxChildren } as Record<string, number>;
    return [run.memory.statsText(run.context(context), limits).trimEnd().split("\n")];
  },
};
