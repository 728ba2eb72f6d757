// Ends a real worker at a numbered point. The points build calls an import before every atomic step
// and each half of a page's copy; the worker's import counts, and at the given number says so, then
// sleeps until its thread is terminated. Every window of every operation is met once, by a thread
// that really ends there, and not only those that an engine happens to stop at.
//
// Or the import ends the stack there: a RangeError leaves the call into wasm in its midst, on a
// worker that lives on or on this very thread, and the backend counts as dead all the same.
//
// After each death the owner repairs, and then nothing may be left: no slot, pin, lock; every page
// whole and of a version that was begun; every frame to be had again.

import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { type WasmModule, wasm } from "../../bindings/abi/wasm-types.ts";
import { Backend, type BufferId, type Relation, SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { type Fate, type OperationName, type PointsData, runOperation } from "./points.worker.ts";
import { checkedVersion, stampPage } from "./stress-page.ts";

/** The smallest pool there is. */
const FRAMES = 16;
const BLOCKS = 24;
const RELATION = "points";
/** Words of the worker and the test: its state, points passed. */
const STATE = 0;
const PASSED = 1;
/** The worker has come to its point; above that it is done. */
const AT_POINT = 2;
const OVERFLOWED = 4;
/** A worker that neither comes to its point nor to its end is stuck. */
const STUCK_MS = 30_000;

const module: WasmModule = new wasm.Module(
  readFileSync(new URL("../../dist/wasm/shared-points.wasm", import.meta.url)),
);

/** What came of a point. */
export interface PointEnd {
  /** Whether the worker came to it. */
  readonly ended: boolean;
  /** What is wrong afterwards. */
  readonly residue: string[];
}

/** One region, in which workers end at points of one operation. */
export class Points {
  readonly #operation: OperationName;
  readonly #shared: SharedMemory;
  readonly #backend: Backend;
  readonly #versions: number[] = [];
  /** Since the last that was waited for. */
  #deaths = 0;
  #relation: Relation;

  private constructor(operation: OperationName, shared: SharedMemory) {
    this.#operation = operation;
    this.#shared = shared;
    this.#backend = Backend.attachSync(shared.handle);
    this.#relation = this.#backend.createRelationSync(RELATION);
    shared.onBackendDeath(() => {
      this.#deaths += 1;
    });
  }

  static async open(operation: OperationName): Promise<Points> {
    const shared = await SharedMemory.create({
      settings: { shared_buffers: FRAMES, max_connections: 3 },
      storage: memoryStorage(),
      checked: true,
    });
    return new Points(operation, shared);
  }

  async close(): Promise<void> {
    this.#backend.detach();
    await this.#shared.close();
  }

  /** How many points the operation has, here and now. */
  async count(): Promise<number> {
    const words = await this.#run(0, "sleeps");
    return Atomics.load(words, PASSED);
  }

  /** Ends a worker at a point, if it comes to so many. */
  async endAt(point: number): Promise<PointEnd> {
    const words = await this.#run(point, "sleeps");
    return { ended: Atomics.load(words, STATE) === AT_POINT, residue: this.#residue() };
  }

  /** Ends a worker's stack at a point, and looks before the worker has ended. */
  async overflowAt(point: number): Promise<PointEnd> {
    const words = await this.#run(point, "overflows");
    return { ended: Atomics.load(words, STATE) === OVERFLOWED, residue: this.#residue() };
  }

  /** Ends this thread's stack at a point of an operation of a second backend of its own. */
  async overflowHereAt(point: number): Promise<PointEnd> {
    this.#prepare();
    const data = this.#data(point, "overflows");
    const torn = runOperation(data);
    await this.#allReaped(data.words);
    torn.detach();
    return { ended: Atomics.load(data.words, STATE) === OVERFLOWED, residue: this.#residue() };
  }

  #data(point: number, fate: Fate): PointsData {
    const words = new Int32Array(new SharedArrayBuffer(4 * Int32Array.BYTES_PER_ELEMENT));
    const handle = { ...this.#shared.handle, module };
    return { handle, operation: this.#operation, point, fate, words };
  }

  /** One that has crashed is no backend any more, and is repaired when the owner comes to it. */
  async #allReaped(words: Int32Array): Promise<void> {
    const begin = performance.now();
    const isTorn = Atomics.load(words, STATE) === OVERFLOWED;
    while ((isTorn && this.#deaths === 0) || this.#shared.backends().length > 1) {
      if (performance.now() - begin > STUCK_MS) throw new Error("a dead backend is not repaired");
      await new Promise(setImmediate);
    }
    this.#deaths = 0;
  }

  async #run(point: number, fate: Fate): Promise<Int32Array> {
    this.#prepare();
    const data = this.#data(point, fate);
    const { words } = data;
    const url = new URL("../../dist/test/workers/points.worker.js", import.meta.url);
    const worker = new Worker(url, { workerData: data });
    let failure: Error | undefined;
    worker.on("error", (error) => {
      failure = error as Error;
    });
    const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
    await Promise.race([this.#arrival(words), exited]);
    if (Atomics.load(words, STATE) === OVERFLOWED) await this.#allReaped(words);
    else this.#deaths = 0;
    await worker.terminate();
    await exited;
    if (failure !== undefined) throw failure;
    if (Atomics.load(words, STATE) !== OVERFLOWED) await this.#allReaped(words);
    return words;
  }

  async #arrival(words: Int32Array): Promise<void> {
    const deadline = performance.now() + STUCK_MS;
    while (Atomics.load(words, STATE) < AT_POINT) {
      if (performance.now() > deadline) throw new Error("the worker is stuck");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** The relation whole again, blocks 0 to 15 in the pool, the odd ones dirty. */
  #prepare(): void {
    const { buffers } = this.#backend;
    if (!this.#backend.relationNamesSync().includes(RELATION)) {
      this.#relation = this.#backend.createRelationSync(RELATION);
    }
    const missing = BLOCKS - this.#relation.blocksSync();
    if (missing > 0) buffers.extendSync(this.#relation, missing);
    this.#backend.checkpointSync();
    for (let block = BLOCKS - 1; block >= 0; block -= 1) {
      if (block % 2 === 1 && block < FRAMES) this.#change(block);
      else buffers.readSync(this.#relation, block)[Symbol.dispose]();
      this.#versions[block] = this.#version(block);
    }
  }

  #change(block: number): void {
    this.#backend.buffers.changeSync(this.#relation, block, (bytes) => {
      stampPage(bytes, block, checkedVersion(bytes, block, true) + 1);
    });
  }

  #version(block: number): number {
    using page = this.#backend.buffers.readSync(this.#relation, block);
    return checkedVersion(page.bytes, block, true);
  }

  #residue(): string[] {
    const { buffers } = this.#backend;
    const found: string[] = [];
    const pinned = this.#shared.usageCounts().reduce((sum, row) => sum + row.pinned, 0);
    if (pinned > 0) found.push(`${pinned} buffers are pinned`);
    const locks = this.#backend.locks.rows().length;
    if (locks > 0) found.push(`${locks} heavyweight locks are held`);
    const exists = this.#backend.relationNamesSync().includes(RELATION);
    const blocks = exists ? this.#relation.blocksSync() : 0;
    for (let block = 0; block < blocks; block += 1) found.push(...this.#pageResidue(block));
    if (buffers.evictAllSync().buffers_skipped > 0) found.push("a buffer cannot be evicted");
    this.#backend.checkpointSync();
    return found;
  }

  #pageResidue(block: number): string[] {
    const { buffers } = this.#backend;
    const version = this.#version(block);
    const before = this.#versions[block] ?? 0;
    const found: string[] = [];
    if (version !== before && version !== before + 1) {
      found.push(`block ${block} has version ${version}, and had ${before}`);
    }
    const buffer: BufferId = buffers.pin(this.#relation.id, block);
    if (buffers.tryLockForCleanup(buffer)) buffers.unlock(buffer);
    else found.push(`block ${block} is locked`);
    buffers.unpin(buffer);
    return found;
  }
}
