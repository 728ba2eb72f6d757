// A region on this thread whose storage can be held up: a read in a promise waits at a gate for as
// long as a test wants. What waits is told from what is done by `settled`.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Backend,
  type BufferId,
  initPage,
  type Relation,
  SharedMemory,
} from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { withThisMethod } from "../support/io-methods.ts";

/** Byte of a page that tests change. */
export const AT = 5000;

const FRAMES = 16;
const BACKENDS = 4;

/** Holds up whoever passes while it is shut. */
export class Gate {
  #shut: Promise<void> | undefined;
  #open: () => void = () => {};
  /** How many have come to it while it was shut. */
  waiting = 0;

  shut(): void {
    this.#shut = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#open();
    this.#shut = undefined;
  }

  async pass(): Promise<void> {
    if (this.#shut === undefined) return;
    this.waiting += 1;
    await this.#shut;
  }
}

/** A region with a relation `t`, and what a test does to it. */
export class World {
  readonly shared: SharedMemory;
  readonly gate = new Gate();
  readonly #storage: StorageManager;
  readonly #clean: () => void;
  readonly #backends: Backend[] = [];

  private constructor(shared: SharedMemory, storage: StorageManager, clean: () => void) {
    this.shared = shared;
    this.#storage = storage;
    this.#clean = clean;
  }

  /** @param durable - on files, so that changes have their old images kept */
  static async open(checked: boolean, durable = false): Promise<World> {
    const directory = durable ? mkdtempSync(join(tmpdir(), "palloc-async-")) : undefined;
    const storage = directory === undefined ? memoryStorage() : nodeFiles(directory);
    const settings = { shared_buffers: FRAMES, max_connections: BACKENDS };
    const shared = await SharedMemory.create(withThisMethod({ settings, storage, checked }));
    return new World(shared, storage, () => {
      if (directory !== undefined) rmSync(directory, { recursive: true });
    });
  }

  /** A backend on this thread, whose reads in promises pass the gate. */
  attach(): Backend {
    const backend = Backend.attachSync(this.shared.handle, { storage: () => this.#gated() });
    this.#backends.push(backend);
    return backend;
  }

  /** Pages with their block number in them, all in storage and none in the pool. */
  fill(backend: Backend, blocks: number): Relation {
    const relation = backend.createRelationSync("t");
    backend.buffers.extendSync(relation, blocks);
    for (let block = 0; block < blocks; block += 1) {
      backend.buffers.changeSync(relation, block, (bytes) => {
        initPage(bytes);
        bytes[AT] = block;
      });
    }
    backend.checkpointSync();
    backend.buffers.evictAllSync();
    return relation;
  }

  /** How many buffers somebody has pinned. */
  pinned(): number {
    return this.shared.views.pgBuffercacheSummary().buffers_pinned;
  }

  async close(): Promise<void> {
    this.gate.open();
    for (const backend of this.#backends) backend.detach();
    await this.shared.close();
    this.#clean();
  }

  #gated(): StorageManager {
    const storage = this.#storage;
    const own: Partial<StorageManager> = {
      closeSync: () => {},
      readv: async (relation, fork, block, into) => {
        await this.gate.pass();
        storage.readvSync(relation, fork, block, into);
      },
    };
    return new Proxy(Object.create(storage) as StorageManager, {
      get: (_target, key) => {
        const mine: unknown = Reflect.get(own, key);
        if (mine !== undefined) return mine;
        const value: unknown = Reflect.get(storage, key);
        return typeof value === "function" ? value.bind(storage) : value;
      },
    });
  }
}

/** Lets promises and timers of this thread go on for a while. */
export async function aWhile(milliseconds = 30): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Whether a promise has come to an end after a while. */
export async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  const note = (): void => {
    done = true;
  };
  promise.then(note, note);
  await aWhile();
  return done;
}

/** A page that this backend has pinned and locked by number. */
export function lockedPage(backend: Backend, relation: Relation, block: number): BufferId {
  const buffer = backend.buffers.pin(relation.id, block);
  backend.buffers.lockExclusive(buffer);
  return buffer;
}

/** Gives back what {@link lockedPage} took. */
export function release(backend: Backend, buffer: BufferId): void {
  backend.buffers.unlock(buffer);
  backend.buffers.unpin(buffer);
}
