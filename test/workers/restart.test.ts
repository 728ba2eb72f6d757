// A region that has to end as after a crash: everybody meets 57P02, and a new one begins at exactly
// the last checkpoint, under the same object; workers attach again with its handle.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  Backend,
  type RegionDown,
  type RegionRestart,
  type Settings,
  SharedMemory,
} from "../../bindings/index.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { built, IO_WORKER } from "../support/io-methods.ts";
import { builds } from "../support/region.ts";
import { LockWorker } from "./lock-commands.ts";

const WRITER = new URL("../../dist/bindings/writer-worker.js", import.meta.url);
const MESSAGE = "terminating connection because of crash of another server process";
const open: SharedMemory[] = [];
const workers: LockWorker[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.terminate();
  for (const shared of open.splice(0)) await shared.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

async function region(checked: boolean, settings: Settings = {}): Promise<SharedMemory> {
  const folder = mkdtempSync(join(tmpdir(), "palloc-restart-"));
  folders.push(folder);
  const shared = await SharedMemory.create({
    settings: { shared_buffers: "128kB", max_connections: 4, ...settings },
    storage: built(nodeFiles(join(folder, "data"))),
    ioWorkers: IO_WORKER,
    segments: { words: 64 },
    locks: { precious: { onOwnerDeath: "poison" }, called: { onOwnerDeath: "call" } },
    conditions: ["never"],
    checked,
  });
  open.push(shared);
  return shared;
}

async function attached(shared: SharedMemory): Promise<LockWorker> {
  const worker = await LockWorker.attached(shared.handle);
  workers.push(worker);
  return worker;
}

function restarted(shared: SharedMemory): Promise<RegionRestart> {
  return new Promise((resolve) => {
    shared.onRestart(resolve);
  });
}

const gone = { code: "57P02", message: MESSAGE };

describe.each(builds)("%s build", (_, checked) => {
  it("a death in the middle of changes under a poison lock brings back the last checkpoint", async () => {
    const shared = await region(checked);
    const [a, b, c] = [await attached(shared), await attached(shared), await attached(shared)];
    await a.call("create", "one", 1);
    await a.call("create", "two", 1);
    const again = restarted(shared);
    await a.call("acquire", "precious");
    await a.call("change", "one", 2);
    const waits = [b.call("acquire", "precious"), c.call("consume", "never", "called", 1)];
    const ends = waits.map((wait) => expect(wait).rejects.toMatchObject(gone));
    await a.terminate();
    const { reason, handle, recovery } = await again;
    await Promise.all(ends);
    await expect(b.call("read", "two")).rejects.toMatchObject(gone);
    await expect(c.call("acquire", "called")).rejects.toMatchObject(gone);
    expect(reason).toContain('"precious"');
    expect([shared.handle, shared.recovery]).toEqual([handle, recovery]);
    for (const worker of [b, c]) await worker.call("attach", handle);
    expect([await b.call("read", "one"), await c.call("read", "two")]).toEqual([1, 1]);
    await b.call("acquire", "precious");
    await b.call("change", "two", 3);
    await b.call("checkpoint");
    await b.call("release", "precious");
    expect(await c.call("read", "two")).toBe(3);
  });

  it("pages written back since the checkpoint are put back, relations made since are gone", async () => {
    const shared = await region(checked);
    const a = await attached(shared);
    await a.call("create", "kept", 1);
    for (let index = 0; index < 40; index += 1) await a.call("create", `r${index}`, index);
    await a.call("change", "kept", 2);
    // A pool of sixteen buffers: reading all the others writes the changed page back.
    for (let index = 0; index < 40; index += 1) await a.call("read", `r${index}`);
    using mine = Backend.attachSync(shared.handle);
    const young = mine.createRelationSync("young");
    mine.buffers.extendSync(young, 3);
    const again = restarted(shared);
    shared.poison("a test says so");
    const { handle, reason, recovery } = await again;
    expect(reason).toBe("a test says so");
    expect(recovery).toMatchObject({ blocksRestored: 1, relationsRemoved: 1 });
    expect(() => mine.createRelationSync("late")).toThrow(MESSAGE);
    expect(() => mine.lwlock("called").acquireSync()).toThrow(MESSAGE);
    expect(() => mine.buffers.readSync(young, 0)).toThrow(MESSAGE);
    mine.detach();
    await a.call("attach", handle);
    expect(await a.call("read", "kept")).toBe(1);
    await expect(a.call("read", "young")).rejects.toMatchObject({ code: "42P01" });
  });

  it("recovery waits for a worker in the middle of a write", async () => {
    const shared = await region(checked);
    const a = await attached(shared);
    await a.call("create", "one", 1);
    const { words } = shared.segment("words");
    const written = a.call("slowWrite", "one").catch((error: unknown) => error);
    while (Atomics.load(words, 2) === 0) await later();
    const again = restarted(shared);
    shared.poison("while it writes");
    const first = await Promise.race([again.then(() => "restarted"), later(200)]);
    expect(first).toBeUndefined();
    Atomics.store(words, 3, 1);
    Atomics.notify(words, 3);
    await again;
    await written;
    await a.call("attach", shared.handle);
    expect(await a.call("read", "one")).toBe(1);
  });

  it("a worker that is ended in the middle of a write is waited for no longer", async () => {
    const shared = await region(checked);
    const a = await attached(shared);
    await a.call("create", "one", 1);
    const { words } = shared.segment("words");
    void a.call("slowWrite", "one").catch(() => undefined);
    while (Atomics.load(words, 2) === 0) await later();
    const again = restarted(shared);
    shared.poison("while it writes");
    await a.terminate();
    await again;
    const b = await attached(shared);
    expect(await b.call("read", "one")).toBe(1);
  });

  it("helper threads are started again", async () => {
    const shared = await region(checked, { io_method: "worker", io_workers: 2 });
    await shared.startWriter({ entry: WRITER });
    const helpers = (): number => shared.backends().filter(({ slot }) => slot > 4).length;
    expect(helpers()).toBe(4);
    const again = restarted(shared);
    shared.poison("helpers too");
    await again;
    expect(helpers()).toBe(4);
    const a = await attached(shared);
    await a.call("create", "one", 1);
    expect(await a.call("read", "one")).toBe(1);
  });

  it("without restart_after_crash the region stays down, and says so", async () => {
    const shared = await region(checked, { restart_after_crash: false });
    const a = await attached(shared);
    const down = new Promise<RegionDown>((resolve) => shared.onDown(resolve));
    shared.poison("for good");
    expect(await down).toEqual({ reason: "for good", error: undefined });
    await expect(a.call("acquire", "called")).rejects.toMatchObject(gone);
    await expect(a.call("attach", shared.handle)).rejects.toMatchObject(gone);
  });

  it("a call lock that nobody listens for, or whose listener throws, poisons", async () => {
    for (const listens of [false, true]) {
      const shared = await region(checked);
      const a = await attached(shared);
      if (listens) {
        shared.onLockOwnerDeath(() => {
          throw new Error("beyond repair");
        });
      }
      const again = restarted(shared);
      await a.call("acquire", "called");
      await a.terminate();
      expect((await again).reason).toContain(listens ? "beyond repair" : "nobody listens");
      const b = await attached(shared);
      expect(await b.call("tryAcquire", "called")).toBe(true);
    }
  });

  it("it can crash again and again", async () => {
    const shared = await region(checked);
    for (let round = 1; round <= 5; round += 1) {
      const a = await attached(shared);
      const again = restarted(shared);
      await a.call("create", `r${round}`, round);
      await a.call("acquire", "precious");
      await a.call("change", `r${round}`, 99);
      await a.terminate();
      await again;
    }
    const b = await attached(shared);
    for (let round = 1; round <= 5; round += 1)
      expect(await b.call("read", `r${round}`)).toBe(round);
  });
});

function later(milliseconds = 5): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), milliseconds));
}
