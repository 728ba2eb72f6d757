// A region with one relation of stamped pages in storage, a pool that holds none of them, and
// storage whose calls a test sees and can make fail.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Backend,
  type BufferId,
  type IoRow,
  initPage,
  type Relation,
  type Settings,
  SharedMemory,
  StorageError,
} from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage, openStorage as openMemory } from "../../bindings/storage/memory.ts";
import { nodeFiles, openStorage as openFiles } from "../../bindings/storage/node-fs.ts";
import { withThisMethod } from "./io-methods.ts";

/** Where each page carries its own number: behind the page header. */
export const STAMP_WORD = 6;

type Hint = Parameters<NonNullable<StorageManager["prefetch"]>>;

/** Calls of a storage manager that take the place of its own. */
export type StorageHooks = Partial<StorageManager>;

/** One relation of stamped pages, and a backend. */
export interface StampedRegion {
  readonly shared: SharedMemory;
  readonly backend: Backend;
  readonly relation: Relation;
  /** Calls that take the place of those of the backend's storage. */
  readonly hooks: StorageHooks;
  /** Storage without hooks. */
  readonly storage: StorageManager;
  readonly warnings: string[];
  /** Another backend of this thread, on storage with hooks of its own. */
  another(hooks: StorageHooks): Promise<Backend>;
}

/** How a region is made. */
export interface StampedOptions {
  readonly checked: boolean;
  readonly storage?: "memory" | "files";
  /** Blocks of the relation. Default 64. */
  readonly blocks?: number;
  readonly settings?: Settings;
  /** Whether the backend's storage takes hints. Default: as the storage does. */
  readonly hints?: boolean;
}

/** Makes the region, runs `work`, and takes everything down. */
export async function withStamped(
  options: StampedOptions,
  work: (region: StampedRegion) => Promise<void> | void,
): Promise<void> {
  const { checked, storage: kind = "memory", blocks = 64, settings = {} } = options;
  const directory = kind === "files" ? mkdtempSync(join(tmpdir(), "palloc-stream-")) : undefined;
  const storage = directory === undefined ? memoryStorage() : nodeFiles(directory);
  const all = { shared_buffers: 32, max_connections: 3, ...settings };
  const shared = await SharedMemory.create(withThisMethod({ settings: all, storage, checked }));
  const backends: Backend[] = [];
  const warnings: string[] = [];
  const attach = async (hooks: StorageHooks): Promise<Backend> => {
    const open = directory === undefined ? openMemory : openFiles;
    const backend = await Backend.attach(shared.handle, {
      storage: (handle) => hooked(open(handle), hooks),
      onWarning: (message) => void warnings.push(message),
    });
    backends.push(backend);
    return backend;
  };
  try {
    const hooks: StorageHooks = options.hints === true ? { prefetch: () => {} } : {};
    const backend = await attach(hooks);
    const relation = makeStamped(backend, blocks);
    await work({ shared, backend, relation, hooks, storage, warnings, another: attach });
  } finally {
    for (const backend of backends) backend.detach();
    await shared.close();
    if (directory !== undefined) rmSync(directory, { recursive: true });
  }
}

function makeStamped(backend: Backend, blocks: number): Relation {
  const relation = backend.createRelationSync("stamped");
  backend.buffers.extendSync(relation, blocks);
  for (let block = 0; block < blocks; block += 1) {
    backend.buffers.changeSync(relation, block, (bytes) => {
      initPage(bytes);
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(STAMP_WORD * 4, block, true);
    });
  }
  backend.checkpointSync();
  backend.buffers.evictAllSync();
  return relation;
}

/**
 * A manager whose hooks, looked up at each call, come before its own calls. Only whether it takes
 * hints a backend asks when it attaches.
 */
function hooked(inner: StorageManager, hooks: StorageHooks): StorageManager {
  return new Proxy(inner, {
    get(target, key) {
      if (key === "prefetch" && hooks.prefetch !== undefined) {
        return (...hint: Hint) => hooks.prefetch?.(...hint);
      }
      const hook = Reflect.get(hooks, key) as unknown;
      if (hook !== undefined) return hook;
      const own = Reflect.get(target, key, target) as unknown;
      return typeof own === "function" ? own.bind(target) : own;
    },
  });
}

/** The number that a pinned page carries. */
export function stampOf(backend: Backend, buffer: BufferId): number {
  return backend.buffers.u32[(backend.buffers.offset(buffer) >>> 2) + STAMP_WORD] ?? -1;
}

/** What client backends have done in a context. */
export function ioRow(backend: Backend, context: IoRow["context"]): IoRow {
  const row = backend.views
    .pgStatIo()
    .find(
      (each) =>
        each.backend_type === "client backend" &&
        each.object === "relation" &&
        each.context === context,
    );
  if (row === undefined) throw new Error(`no row for ${context}`);
  return row;
}

/** Reads as the backend's storage is asked for them: block and count. */
export function recordReads({ hooks, storage }: StampedRegion): [number, number][] {
  const reads: [number, number][] = [];
  hooks.readSync = (relation, fork, block, into) => {
    reads.push([block, 1]);
    storage.readSync(relation, fork, block, into);
  };
  hooks.readvSync = (relation, fork, block, into) => {
    reads.push([block, into.length]);
    storage.readvSync(relation, fork, block, into);
  };
  return reads;
}

/** Storage refuses to read a block, alone or with others. */
export function refuse({ hooks, storage }: StampedRegion, bad: number): void {
  const check = (block: number, count: number): void => {
    if (bad >= block && bad < block + count) throw new StorageError("58030", `EIO ${bad}`, "test");
  };
  hooks.readSync = (relation, fork, block, into) => {
    check(block, 1);
    storage.readSync(relation, fork, block, into);
  };
  hooks.readvSync = (relation, fork, block, into) => {
    check(block, into.length);
    storage.readvSync(relation, fork, block, into);
  };
}

/** Changes a page behind everybody's back. */
export function damage({ storage, relation }: StampedRegion, block: number): void {
  const page = new Uint8Array(8192);
  storage.readSync(relation.number, 0, block, page);
  page[4000] = 1;
  storage.writeSync(relation.number, 0, block, page);
}
