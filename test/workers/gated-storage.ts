// Storage in memory whose reads a test can hold up: in threads that open it from its handle a read
// waits at a gate, or fails, as the test says. The test's own thread passes, and counts.

import { PallocError } from "../../bindings/abi/errors.ts";
import {
  StorageError,
  type StorageHandle,
  type StorageManager,
} from "../../bindings/storage/manager.ts";
import { memoryStorage, openStorage as openMemory } from "../../bindings/storage/memory.ts";

const GATE = 0;
const ENTERED = 1;
const FAILING = 2;
const PERMITS = 3;
const WORDS = 4;
/** Before a thread at the gate looks again, which may have missed that it was let through. */
const LOOK_AGAIN_MS = 20;

interface GatedHandle extends StorageHandle {
  readonly inner: StorageHandle;
  readonly words: SharedArrayBuffer;
}

/** The test's side of a gated storage. */
export class GatedStorage {
  readonly manager: StorageManager;
  /** Reads that the test's own thread has made. */
  ownReads = 0;
  readonly #words: Int32Array;
  readonly #inner: StorageManager;

  constructor() {
    const words = new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT);
    this.#words = new Int32Array(words);
    this.#inner = memoryStorage({ maxBytes: 1 << 24 });
    const module = new URL("../../dist/test/workers/gated-storage.js", import.meta.url).href;
    const handle: GatedHandle = { kind: "gated", module, inner: this.#inner.handle, words };
    const count = (): void => {
      this.ownReads += 1;
    };
    this.manager = beforeReads(this.#inner, handle, count);
  }

  /** The storage for a backend in the test's thread; what it closes stays open for others. */
  readonly open = (): StorageManager => {
    return new Proxy(this.manager, {
      get: (target, key) => (key === "closeSync" ? () => {} : Reflect.get(target, key)),
    });
  };

  /** Reads that have come to the gate so far. */
  get entered(): number {
    return Atomics.load(this.#words, ENTERED);
  }

  /** From now on reads in other threads wait. */
  close(): void {
    Atomics.store(this.#words, GATE, 1);
  }

  /** Lets them go on. */
  release(): void {
    Atomics.store(this.#words, GATE, 0);
    Atomics.notify(this.#words, GATE);
  }

  /** Lets one of them go on, and leaves the gate closed. */
  pass(): void {
    Atomics.add(this.#words, PERMITS, 1);
    Atomics.notify(this.#words, GATE);
  }

  /** From now on reads in other threads fail. */
  fail(): void {
    Atomics.store(this.#words, FAILING, 1);
  }

  /** Resolves when so many reads have come to the gate; the event loop goes round meanwhile. */
  async untilEntered(count: number): Promise<void> {
    while (this.entered < count) await new Promise(setImmediate);
  }
}

/** Opens the storage in another thread. */
export function openStorage(handle: StorageHandle): StorageManager {
  const { inner, words } = handle as GatedHandle;
  const state = new Int32Array(words);
  return beforeReads(openMemory(inner), handle, () => {
    Atomics.add(state, ENTERED, 1);
    while (Atomics.load(state, GATE) === 1 && !takesPermit(state)) {
      Atomics.wait(state, GATE, 1, LOOK_AGAIN_MS);
    }
    if (Atomics.load(state, FAILING) === 1) throw new StorageError("58030", "held back", "gate");
  });
}

function takesPermit(state: Int32Array): boolean {
  const seen = Atomics.load(state, PERMITS);
  return seen > 0 && Atomics.compareExchange(state, PERMITS, seen, seen - 1) === seen;
}

function beforeReads(
  inner: StorageManager,
  handle: StorageHandle,
  before: () => void,
): StorageManager {
  return new Proxy(inner, {
    get: (target, key) => {
      if (key === "handle") return handle;
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        if (key === "readSync" || key === "readvSync") before();
        return value.apply(target, args);
      };
    },
  });
}

/** SQLSTATE and text of what a call throws. */
export async function errorOf(work: () => unknown): Promise<Record<string, unknown>> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof PallocError)) throw error;
    return { name: error.name, code: error.code, message: error.message, detail: error.detail };
  }
  throw new Error("nothing was thrown");
}
