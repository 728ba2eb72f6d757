// What tests of I/O workers work with: a region over storage with a gate, workers of the test's
// own, which it can end, and a look at what is left when all is over.

import { Worker } from "node:worker_threads";
import { expect, vi } from "vitest";
import { PART_IO_QUEUE } from "../../assembly/common/constants.ts";
import {
  IO_QUEUE_HEADER_BYTES,
  IO_REQUESTS,
  REQUEST_FREE,
} from "../../assembly/common/io-constants.ts";
import { Backend, type BackendDeath, initPage, SharedMemory } from "../../bindings/index.ts";
import { partOf } from "../../bindings/shared/statistics.ts";
import { IO_WORKER, type IoMethod } from "../support/io-methods.ts";
import { Remote } from "./commands.ts";
import { GatedStorage } from "./gated-storage.ts";

/** Where each page carries its own number. */
export const VALUE_AT = 4096;
/** Regions to be closed behind a test. */
export const open: SharedMemory[] = [];
/** What else is to be ended, before them. */
export const ends: (() => Promise<unknown>)[] = [];

/** Ends all that a test has made. */
export async function endScene(): Promise<void> {
  for (const end of ends.splice(0)) await end();
  for (const shared of open.splice(0)) await shared.close();
}

/** What a test works with: a region, and a relation of 40 pages that are durable. */
export interface Scene {
  readonly shared: SharedMemory;
  readonly gate: GatedStorage;
  readonly backend: Backend;
  readonly warnings: string[];
}

/** Makes the region. */
export async function scene(
  checked: boolean,
  workers = 1,
  method: IoMethod = "worker",
  connections = 3,
  buffers = 16,
): Promise<Scene> {
  const gate = new GatedStorage();
  ends.push(async () => gate.release());
  const shared = await SharedMemory.create({
    settings: { shared_buffers: buffers, max_connections: connections, io_method: method },
    storage: gate.manager,
    ioWorkers: false,
    checked,
  });
  open.push(shared);
  const warnings: string[] = [];
  const backend = Backend.attachSync(shared.handle, {
    storage: gate.open,
    onWarning: (message) => warnings.push(message),
  });
  ends.push(async () => backend.detach());
  const relation = backend.createRelationSync("t");
  backend.buffers.extendSync(relation, 40);
  for (let block = 0; block < 40; block += 1) {
    backend.buffers.changeSync(relation, block, (bytes) => {
      initPage(bytes);
      bytes[VALUE_AT] = block;
    });
  }
  backend.checkpointSync();
  backend.buffers.evictAllSync();
  for (let worker = 0; worker < workers; worker += 1) await ioWorker(shared);
  gate.ownReads = 0;
  return { shared, gate, backend, warnings };
}

/** A worker of the test's own, so that the test can end it. */
export async function ioWorker(shared: SharedMemory): Promise<Worker> {
  const palloc = { helper: "ioworker", handle: shared.handle, data: undefined };
  const worker = new Worker(IO_WORKER, { workerData: { palloc } });
  ends.push(() => worker.terminate());
  await new Promise((resolve, reject) => {
    worker.once("message", (message) => (message.palloc === "ready" ? resolve : reject)(message));
    worker.once("error", reject);
  });
  return worker;
}

/** A thread with a backend. */
export async function remote(shared: SharedMemory): Promise<Remote> {
  const made = await Remote.attached(shared.handle);
  ends.push(() => made.terminate());
  return made;
}

/** The number that a page carries. */
export async function value({ backend }: Scene, block: number): Promise<number> {
  using page = await backend.buffers.read(backend.openRelationSync("t"), block);
  return page.bytes[VALUE_AT] ?? -1;
}

/** The next death. */
export function death(shared: SharedMemory): Promise<BackendDeath> {
  return new Promise((resolve) => {
    const stop = shared.onBackendDeath((each) => {
      stop();
      resolve(each);
    });
  });
}

/** State words of requests, those that are not free. */
export function requests(shared: SharedMemory): number[] {
  const { off, size } = partOf(shared.handle.memory.buffer, PART_IO_QUEUE);
  if (shared.settings.values.io_method === "sync") {
    expect(size).toBe(0);
    return [];
  }
  const count = shared.settings.slots * IO_REQUESTS;
  const words = new Int32Array(shared.handle.memory.buffer, off + IO_QUEUE_HEADER_BYTES, count);
  return [...words].filter((word) => word !== REQUEST_FREE);
}

/**
 * A worker frees the request of a backend that is gone right after it has made the page valid, so
 * that a reader of the page may be here first.
 *
 * @param broken - frames of pages that could not be read
 * @param unread - frames of requests that no worker may have taken before they were given up
 */
export async function expectNothingLeft(
  { shared, backend }: Scene,
  broken = 0,
  unread = 0,
): Promise<void> {
  await vi.waitFor(() => expect(requests(shared)).toEqual([]), { timeout: 5000 });
  expect(shared.usageCounts().reduce((sum, { pinned }) => sum + pinned, 0)).toBe(0);
  const skipped = backend.buffers.evictAllSync().buffers_skipped;
  expect(skipped).toBeGreaterThanOrEqual(broken);
  expect(skipped).toBeLessThanOrEqual(broken + unread);
}
