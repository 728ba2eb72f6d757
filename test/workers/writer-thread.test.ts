// The thread of the writers: it writes what others have made dirty, its death is repaired and told
// and it is started again, an error in it is told, and it is gone before the region has closed. The
// thread runs the built package; this file waits for events and states, never for a time.

import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Backend,
  type BackendDeath,
  type HelperError,
  initPage,
  type Settings,
  SharedMemory,
} from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builtModule } from "../storage/threads.ts";
import { builds } from "../support/region.ts";
import { Remote } from "./commands.ts";

const entry = new URL("../../dist/bindings/writer-worker.js", import.meta.url);
const WAIT = { timeout: 10_000, interval: 20 };

type NodeFs = typeof import("../../bindings/storage/node-fs.ts");

const open: SharedMemory[] = [];
const backends: Backend[] = [];
const remotes: Remote[] = [];
const directories: string[] = [];
/** Every worker that this thread has made. */
const workers: Worker[] = [];
const noteWorker = (worker: Worker): unknown => workers.push(worker);

beforeEach(() => {
  process.on("worker", noteWorker);
});

afterEach(async () => {
  process.off("worker", noteWorker);
  workers.length = 0;
  for (const remote of remotes.splice(0)) await remote.terminate();
  for (const backend of backends.splice(0)) backend.detach();
  for (const shared of open.splice(0)) await shared.close();
  for (const directory of directories.splice(0)) {
    rmSync(directory, { recursive: true, force: true });
  }
});

async function files(): Promise<StorageManager> {
  const directory = await mkdtemp(join(tmpdir(), "palloc-writer-thread-"));
  directories.push(directory);
  const { nodeFiles } = await builtModule<NodeFs>("node-fs");
  return nodeFiles(directory);
}

const storages: readonly (readonly [string, () => Promise<StorageManager>])[] = [
  ["memory", async () => memoryStorage()],
  ["files", files],
];

async function region(
  checked: boolean,
  storage: StorageManager,
  more: Settings = {},
): Promise<SharedMemory> {
  const settings = { shared_buffers: "1MB", max_connections: 4, bgwriter_delay: 10, ...more };
  const shared = await SharedMemory.create({ settings, storage, checked });
  open.push(shared);
  return shared;
}

async function attached(shared: SharedMemory): Promise<Backend> {
  const backend = await Backend.attach(shared.handle);
  backends.push(backend);
  return backend;
}

/** Makes and changes more pages than the pool has. */
async function load(backend: Backend, blocks = 300): Promise<void> {
  const relation = await backend.createRelation("t");
  await backend.buffers.extend(relation, blocks);
  for (let block = 0; block < blocks; block += 1) {
    const page = await backend.buffers.read(relation, block);
    page[Symbol.dispose]();
    backend.buffers.changeSync(relation, block, (bytes) => initPage(bytes));
  }
}

describe.each(builds)("%s build", (_, checked) => {
  it.each(storages)("pages are written that others have made dirty, on %s", async (_name, make) => {
    const shared = await region(checked, await make());
    await shared.startWriter({ entry });
    expect(shared.backends()).toHaveLength(2);
    const remote = await Remote.attached(shared.handle);
    remotes.push(remote);
    await remote.call("create", "t", 300);
    const clean = (): number => shared.views.pgStatBgwriter().buffers_clean;
    for (let turn = 0; turn < 50 && clean() === 0; turn += 1) {
      await remote.call("increment", "t", 300, 300, turn);
    }
    expect(clean()).toBeGreaterThan(0);
    const before = await remote.call("sum", "t", 300);
    await remote.call("checkpoint");
    expect(await remote.call("sum", "t", 300)).toBe(before);
    await remote.call("detach");
    const writer = workers.find((worker) => worker !== remote.worker);
    await shared.close();
    // Its end comes before the storage is closed.
    expect(writer?.threadId).toBe(-1);
  });

  it("there is one, and closing the region ends it while it sleeps for long", async () => {
    const shared = await region(checked, memoryStorage(), { bgwriter_delay: 10_000 });
    await shared.startWriter({ entry });
    await expect(shared.startWriter({ entry })).rejects.toMatchObject({ code: "55000" });
    const began = performance.now();
    await shared.close();
    expect(performance.now() - began).toBeLessThan(8000);
    expect(workers.map((worker) => worker.threadId)).toEqual([-1]);
  });

  it("it takes no place of a client, and has one when the clients have all", async () => {
    const shared = await region(checked, memoryStorage(), { max_connections: 1 });
    await attached(shared);
    await shared.startWriter({ entry });
    expect(shared.backends()).toHaveLength(3);
    await expect(attached(shared)).rejects.toMatchObject({ code: "53300" });
  });

  it("one that does not get ready is an error of the start, and can be tried again", async () => {
    const shared = await region(checked, memoryStorage());
    const errors: HelperError[] = [];
    shared.onHelperError((error) => errors.push(error));
    const nowhere = new URL("./no-such-file.js", entry);
    await expect(shared.startWriter({ entry: nowhere })).rejects.toMatchObject({
      code: expect.stringMatching(/NOT_FOUND/),
    });
    expect(errors).toEqual([]);
    expect(shared.backends()).toEqual([]);
    await shared.startWriter({ entry });
    expect(shared.backends()).toHaveLength(2);
  });

  it("one that dies is repaired, told of and started again", async () => {
    const shared = await region(checked, memoryStorage());
    const deaths: BackendDeath[] = [];
    const errors: HelperError[] = [];
    shared.onBackendDeath((death) => deaths.push(death));
    shared.onHelperError((error) => errors.push(error));
    await shared.startWriter({ entry });
    await workers[0]?.terminate();
    await vi.waitFor(() => expect(deaths).toHaveLength(2), WAIT);
    expect(errors).toMatchObject([{ helper: "writer", ended: true, error: { code: "57P02" } }]);
    await vi.waitFor(() => expect(shared.backends()).toHaveLength(2), WAIT);
    expect(workers).toHaveLength(2);
    const backend = await attached(shared);
    await load(backend);
    await backend.checkpoint();
  });

  it("an error in it is told, and it goes on", async () => {
    const storage = await files();
    const shared = await region(checked, storage);
    const errors: HelperError[] = [];
    shared.onHelperError((error) => errors.push(error));
    await shared.startWriter({ entry });
    const backend = await attached(shared);
    const relation = await backend.createRelation("t");
    await backend.buffers.extend(relation, 300);
    await backend.checkpoint();
    // This thread has the relation's file open and can go on; the writer finds none to open. The
    // journals stay: a sync that failed would end the region.
    rmSync(join(directories[0] as string, "base"), { recursive: true });
    const demand = async (turn: number): Promise<void> => {
      const page = await backend.buffers.read(relation, turn % 300);
      page[Symbol.dispose]();
      backend.buffers.changeSync(relation, turn % 300, (bytes) => initPage(bytes));
    };
    const end = performance.now() + WAIT.timeout;
    for (let turn = 0; errors.length === 0 && performance.now() < end; turn += 1) {
      await demand(turn).catch(() => {});
      if (turn % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(errors[0]).toMatchObject({ helper: "writer", ended: false });
    expect(shared.backends().length).toBeGreaterThanOrEqual(2);
  });
});
