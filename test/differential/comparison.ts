// One history on wasm and on the twin, step by step. Any difference throws and names itself.

import { STATISTICS_ADDRESS } from "../../assembly/common/constants.ts";
import type { ProcessExports } from "../../bindings/abi/process-exports.ts";
import type { ProcessMemory } from "../../bindings/process/memory.ts";
import { TwinMemory } from "../../test/twin/aset.ts";
import { type Step, sizesOfContexts } from "../support/history.ts";
import { openEmptyMemory } from "../support/process.ts";

const MEMORY_BYTES = 1_048_576; // 1 MB

interface Chunk {
  readonly context: number;
  readonly at: number;
}

/** Both memories, and what is alive in them. */
export class Comparison {
  readonly #memory: ProcessMemory;
  readonly #wasm: ProcessExports;
  readonly #twin = new TwinMemory(MEMORY_BYTES);
  #contexts: number[] = [];
  #chunks: Chunk[] = [];

  constructor(checked: boolean) {
    const { memory, inside } = openEmptyMemory(checked, { maxMemory: MEMORY_BYTES });
    this.#memory = memory;
    this.#wasm = inside.exports;
    this.#create(0, 0);
  }

  /** Runs one step on both. */
  step({ op, numbers: [first = 0, second = 0] }: Step): void {
    if (op === "c") this.#create(this.#context(first), second);
    else if (op === "a") this.#alloc(this.#context(first), second);
    else if (op === "f") this.#free(first);
    else if (op === "r") this.#realloc(first, second);
    else if (op === "p") this.#move(this.#context(first), this.#context(second));
    else if (op === "m") {
      this.#wasm.injectFaults(first, second);
      this.#twin.blocks.injectFaults(first, second);
    } else this.#clear(op, this.#context(first));
    this.#compareAll();
  }

  /** Gives everything back on both: one free area must remain, apart from kept contexts. */
  finish(): void {
    const root = this.#contexts[0] as number;
    this.#wasm.deleteContext(root);
    this.#twin.deleteContext(root);
    this.#contexts = [];
    this.#chunks = [];
    this.#compareAll();
    this.#memory.dispose();
  }

  #context(number: number): number {
    return this.#contexts[number % this.#contexts.length] as number;
  }

  #create(parent: number, sizes: number): void {
    const [min, init, max] = sizesOfContexts[sizes % sizesOfContexts.length] as [
      number,
      number,
      number,
    ];
    const actual = this.#wasm.createContext(parent, min, init, max, 0) >>> 0;
    same("address of the context", actual, this.#twin.createContext(parent, min, init, max));
    if (actual !== 0) this.#contexts.push(actual);
  }

  #alloc(context: number, bytes: number): void {
    const at = this.#wasm.alloc(context, bytes) >>> 0;
    same("address of the chunk", at, this.#twin.alloc(context, bytes));
    if (at === 0) return;
    same("space of the chunk", this.#wasm.chunkSpace(at), this.#twin.chunkSpace(at));
    same("owner of the chunk", this.#wasm.chunkContext(at), context);
    this.#chunks.push({ context, at });
  }

  #free(number: number): void {
    if (this.#chunks.length === 0) return;
    const [chunk] = this.#chunks.splice(number % this.#chunks.length, 1);
    if (chunk === undefined) return;
    same("answer of free", this.#wasm.free(chunk.at), this.#twin.free(chunk.at));
  }

  #realloc(number: number, bytes: number): void {
    if (this.#chunks.length === 0) return;
    const index = number % this.#chunks.length;
    const { context, at } = this.#chunks[index] as Chunk;
    const moved = this.#wasm.realloc(at, bytes, 0) >>> 0;
    same("address of the resized chunk", moved, this.#twin.realloc(at, bytes));
    if (moved !== 0) this.#chunks[index] = { context, at: moved };
  }

  #move(context: number, parent: number): void {
    if (context === this.#contexts[0] || this.#below(context).has(parent)) return;
    this.#wasm.setParent(context, parent);
    this.#twin.setParent(context, parent);
  }

  #clear(op: string, context: number): void {
    const below = this.#below(context);
    const only = new Set([context]);
    const others = new Set([...below].filter((address) => address !== context));
    if (op === "D" && context !== this.#contexts[0]) {
      this.#wasm.deleteContext(context);
      this.#twin.deleteContext(context);
      this.#forget(below, below);
    } else if (op === "R" || op === "D") {
      this.#wasm.reset(context);
      this.#twin.reset(context);
      this.#forget(below, others);
    } else if (op === "X") {
      this.#wasm.deleteChildren(context);
      this.#twin.deleteChildren(context);
      this.#forget(others, others);
    } else if (op === "O") {
      this.#wasm.resetOnly(context);
      this.#twin.resetOnly(context);
      this.#forget(only, new Set());
    } else {
      this.#wasm.resetChildren(context);
      this.#twin.resetChildren(context);
      this.#forget(others, new Set());
    }
  }

  /** A context and everything below it. */
  #below(context: number): Set<number> {
    const found = new Set([context]);
    for (const address of found) for (const child of this.#twin.children(address)) found.add(child);
    return found;
  }

  #forget(emptied: ReadonlySet<number>, deleted: ReadonlySet<number>): void {
    this.#chunks = this.#chunks.filter(({ context }) => !emptied.has(context));
    this.#contexts = this.#contexts.filter((context) => !deleted.has(context));
  }

  #compareAll(): void {
    for (const context of this.#contexts) {
      this.#wasm.statistics(context, 0);
      const first = STATISTICS_ADDRESS >>> 2;
      const [blocks = 0, total = 0, free = 0, chunks = 0] = this.#memory.u32.subarray(first);
      const actual = [blocks, total, free, chunks, total - free];
      same(`counters of ${context}`, actual.join(), this.#twin.statistics(context).join());
      same(
        `bytes of ${context}`,
        this.#wasm.memAllocated(context, 0),
        this.#twin.memAllocated(context),
      );
      same(
        `emptiness of ${context}`,
        this.#wasm.isEmpty(context) !== 0,
        this.#twin.isEmpty(context),
      );
    }
    for (const [name, value] of Object.entries(this.#memory.blockStatistics())) {
      same(name, value, this.#twin.blocks[name as "requests"]);
    }
    same("result of the heap walk", this.#wasm.checkHeap(), 0);
  }
}

function same(what: string, actual: unknown, predicted: unknown): void {
  if (actual !== predicted) {
    throw new Error(`${what}: wasm ${String(actual)}, twin ${String(predicted)}`);
  }
}
