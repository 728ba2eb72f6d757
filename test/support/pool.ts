// A region over memory or files, several backends of it in one thread, and what they warn of. All
// of it goes after each test. Backends of one thread share its storage manager, and wait for each
// other in promises only.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import {
  Backend,
  type BackendOptions,
  type IoRow,
  initPage,
  type Relation,
  type Settings,
  SharedMemory,
} from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { ioMethod, withThisMethod } from "./io-methods.ts";
import { builds } from "./region.ts";

/** Where {@link stamp} writes: behind the page header. */
const STAMP_AT = 4096;

/** Both builds over both storages, or what there is time for: name, checked, files. */
export const everywhere: readonly (readonly [name: string, checked: boolean, files: boolean])[] =
  builds.flatMap(([name, checked]) =>
    (ioMethod === "sync" ? [false, true] : [true]).map((files) => [
      `${name} build, ${files ? "files" : "memory"}`,
      checked,
      files,
    ]),
  ) as never;

/** How a {@link Pool} is opened. */
export interface PoolOptions {
  readonly checked: boolean;
  readonly files: boolean;
  readonly settings?: Settings;
}

const open: Pool[] = [];
afterEach(async () => {
  for (const pool of open.splice(0).reverse()) await pool.close();
});

/** A region with what a test needs around it. */
export class Pool {
  readonly shared: SharedMemory;
  readonly storage: StorageManager;
  /** The data directory; "" in memory. */
  readonly directory: string;
  /** What backends warned of, in order. */
  readonly warnings: string[] = [];
  readonly #backends: Backend[] = [];

  constructor(shared: SharedMemory, storage: StorageManager, directory: string) {
    this.shared = shared;
    this.storage = storage;
    this.directory = directory;
  }

  /** A backend of this thread. */
  attach(options: BackendOptions = {}): Backend {
    const backend = Backend.attachSync(this.shared.handle, {
      storage: () => nonClosing(this.storage),
      onWarning: (message) => this.warnings.push(message),
      memory: { maxMemory: "8MB" },
      ...options,
    });
    this.#backends.push(backend);
    return backend;
  }

  /** The path of a relation's file. */
  file(relation: Relation): string {
    return join(this.directory, "base", String(relation.number));
  }

  /** Changes bytes of a page in storage, behind the pool's back. */
  damage(relation: Relation, block: number, change: (page: Uint8Array) => void): void {
    const page = new Uint8Array(8192);
    this.storage.readSync(relation.number, 0, block, page);
    change(page);
    this.storage.writeSync(relation.number, 0, block, page);
  }

  /** One row of pg_stat_io of the client backends. */
  io(object: IoRow["object"] = "relation", context: IoRow["context"] = "normal"): IoRow {
    const row = this.shared.views
      .pgStatIo()
      .find(
        (each) =>
          each.backend_type === "client backend" &&
          each.object === object &&
          each.context === context,
      );
    if (row === undefined) throw new Error(`no row ${object} ${context}`);
    return row;
  }

  async close(): Promise<void> {
    for (const backend of this.#backends.splice(0)) backend.detach();
    await this.shared.close();
    if (this.directory !== "") rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Opens a region that ends with the test. */
export async function openPool({ checked, files, settings = {} }: PoolOptions): Promise<Pool> {
  const directory = files ? mkdtempSync(join(tmpdir(), "palloc-pool-")) : "";
  const storage = files ? nodeFiles(directory) : memoryStorage({ maxBytes: 8 << 20 });
  const all = { shared_buffers: 64, max_connections: 3, ...settings };
  const shared = await SharedMemory.create(withThisMethod({ settings: all, storage, checked }));
  const pool = new Pool(shared, storage, directory);
  open.push(pool);
  return pool;
}

/** A relation whose pages know which block they are. */
export function stamped(
  backend: Backend,
  name: string,
  blocks: number,
  temporary = false,
): Relation {
  const relation = backend.createRelationSync(name, { temporary });
  if (blocks > 0) backend.buffers.extendSync(relation, blocks);
  for (let block = 0; block < blocks; block += 1) stamp(backend, relation, block, block + 1);
  return relation;
}

/** Makes a page one with a number in it. */
export function stamp(backend: Backend, relation: Relation, block: number, value: number): void {
  backend.buffers.changeSync(relation, block, (bytes) => {
    initPage(bytes);
    bytes[STAMP_AT] = value;
  });
}

/** The number in a page: 0 in one that was never stamped. */
export function stampOf(backend: Backend, relation: Relation, block: number): number {
  using page = backend.buffers.readSync(relation, block);
  return page.bytes[STAMP_AT] ?? -1;
}

/** What an error says, or "nothing" if there is none. */
export function codeOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).name;
  }
  return "nothing";
}

/** The owner's own manager serves: a .ts file cannot be loaded by its URL on Node 20. */
function nonClosing(storage: StorageManager): StorageManager {
  return new Proxy(Object.create(storage) as StorageManager, {
    get: (_target, key) => {
      if (key === "closeSync") return () => {};
      const value: unknown = Reflect.get(storage, key);
      return typeof value === "function" ? value.bind(storage) : value;
    },
  });
}
