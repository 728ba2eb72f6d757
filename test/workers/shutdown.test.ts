// Ending a region in PostgreSQL's three ways, with workers attached that are idle, wait, or work;
// and what the next start finds.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Backend, initPage, type Settings, SharedMemory } from "../../bindings/index.ts";
import { nodeFiles, openStorage } from "../../bindings/storage/node-fs.ts";
import { built } from "../support/io-methods.ts";
import { Remote } from "./commands.ts";

const settings: Settings = { shared_buffers: "128kB", max_connections: 4 };
const VALUE_AT = 4096;
const open: SharedMemory[] = [];
const remotes: Remote[] = [];
let directory = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "palloc-shutdown-"));
});

afterEach(async () => {
  for (const remote of remotes.splice(0)) await remote.terminate();
  for (const shared of open.splice(0)) await shared.close();
  rmSync(directory, { recursive: true, force: true });
});

async function start(): Promise<SharedMemory> {
  const shared = await SharedMemory.create({ settings, storage: built(nodeFiles(directory)) });
  open.push(shared);
  return shared;
}

async function attached(shared: SharedMemory): Promise<Remote> {
  const remote = await Remote.attached(shared.handle);
  remotes.push(remote);
  return remote;
}

/** A page changed `times` times since it was made and a checkpoint taken. */
async function changed(remote: Remote, times: number): Promise<void> {
  await remote.call("create", "t", 1);
  await remote.call("increment", "t", 1, times, 1);
}

/** What the next start finds in that page. */
async function foundLater(): Promise<number> {
  const shared = await start();
  using backend = Backend.attachSync(shared.handle, { storage: openStorage });
  using page = backend.buffers.readSync(backend.openRelationSync("t"), 0);
  return page.bytes[VALUE_AT] ?? -1;
}

describe("shutdown", () => {
  it("smart lets backends finish, refuses new ones, and takes a checkpoint", async () => {
    const shared = await start();
    const worker = await attached(shared);
    await changed(worker, 3);
    let ended = false;
    const over = shared.shutdown({ mode: "smart" }).then(() => {
      ended = true;
    });
    const late = new Remote(shared.handle);
    remotes.push(late);
    await expect(late.call("attach")).rejects.toMatchObject({
      code: "57P03",
      message: "the database system is shutting down",
    });
    await worker.call("increment", "t", 1, 4, 1);
    expect(ended).toBe(false);
    await worker.call("detach");
    await over;
    expect(await foundLater()).toBe(7);
  });

  it("fast ends backends, idle or asleep, with 57P01, and takes a checkpoint", async () => {
    const shared = await start();
    // The waiter is told first: else it could get the lock that the holder's end gives back.
    const [waiter, holder, idle] = [
      await attached(shared),
      await attached(shared),
      await attached(shared),
    ];
    await changed(holder, 5);
    await holder.call("lockExclusive", await holder.call("pin", "t", 0));
    const failed = expect(waiter.call("read", "t", 0)).rejects.toMatchObject({ code: "57P01" });
    while (shared.activity().every(({ wait_event }) => wait_event === null)) {
      await new Promise(setImmediate);
    }
    await shared.shutdown();
    await failed;
    await expect(idle.call("read", "t", 0)).rejects.toMatchObject({ code: "57P01" });
    expect(await foundLater()).toBe(5);
  });

  it("immediate and close() write nothing: the next start finds the last checkpoint", async () => {
    const shared = await start();
    const worker = await attached(shared);
    await changed(worker, 6);
    await worker.call("flush", "t");
    await shared.shutdown({ mode: "immediate" });
    await expect(worker.call("create", "u", 1)).rejects.toMatchObject({ code: "57P01" });
    expect(await foundLater()).toBe(0);
  });

  it("that backends do not let end in time fails, and can be made a faster one", async () => {
    const shared = await start();
    const worker = await attached(shared);
    await changed(worker, 2);
    await expect(shared.shutdown({ mode: "smart", timeout: 20 })).rejects.toMatchObject({
      code: "57014",
      message: "server does not shut down",
    });
    expect(await worker.call("read", "t", 0)).toBe(2);
    await shared.shutdown({ mode: "fast" });
    expect(await foundLater()).toBe(2);
  });

  it("fast waits in vain for a worker that computes and never looks", async () => {
    const shared = await start();
    const worker = await attached(shared);
    await changed(worker, 1);
    const begun = new Int32Array(new SharedArrayBuffer(4));
    void worker.call("compute", 60_000, begun);
    while (Atomics.load(begun, 0) === 0) await new Promise(setImmediate);
    await expect(shared.shutdown({ timeout: 300 })).rejects.toMatchObject({ code: "57014" });
    await worker.terminate();
    await shared.shutdown();
    expect(await foundLater()).toBe(1);
  });

  it("refuses a mode that is none", async () => {
    const shared = await start();
    const mode = "slow" as "smart";
    await expect(shared.shutdown({ mode })).rejects.toThrow(TypeError);
    using backend = Backend.attachSync(shared.handle, { storage: openStorage });
    backend.createRelationSync("t");
    backend.buffers.extendSync(backend.openRelationSync("t"), 1);
    backend.buffers.changeSync(backend.openRelationSync("t"), 0, (bytes) => initPage(bytes));
  });
});
