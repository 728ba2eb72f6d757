// What backends do and wait for, as rows; cancelling what one does, ending it, time limits. Real
// threads, and this one; the owner's thread looks at rows until they say what it waits for.

import { afterEach, describe, expect, it } from "vitest";
import { type ActivityRow, Backend, type Settings, SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { withIoMethod } from "../support/io-methods.ts";
import { builds } from "../support/region.ts";
import { Remote } from "./commands.ts";

const open: SharedMemory[] = [];
const remotes: Remote[] = [];

afterEach(async () => {
  for (const remote of remotes.splice(0)) await remote.terminate();
  for (const shared of open.splice(0)) await shared.close();
});

async function region(checked: boolean, more: Settings = {}): Promise<SharedMemory> {
  const settings = { shared_buffers: "128kB", max_connections: 4, ...more };
  const shared = await SharedMemory.create({ settings, storage: memoryStorage(), checked });
  open.push(shared);
  return shared;
}

async function attached(shared: SharedMemory): Promise<Remote> {
  const remote = await Remote.attached(shared.handle);
  remotes.push(remote);
  return remote;
}

/** The row of a slot, once it waits for something. */
async function waitingRow(shared: SharedMemory, slot: number): Promise<ActivityRow> {
  for (;;) {
    const row = shared.activity().find((each) => each.slot === slot);
    if (row !== undefined && row.wait_event !== null) return row;
    await new Promise(setImmediate);
  }
}

/** Two workers: the first holds the page's lock, the second waits for it. */
async function holderAndWaiter(shared: SharedMemory): Promise<readonly [Remote, Remote]> {
  const [holder, waiter] = [await attached(shared), await attached(shared)];
  await holder.call("create", "t", 1);
  await holder.call("lockExclusive", await holder.call("pin", "t", 0));
  return [holder, waiter];
}

describe.each(builds)("%s build", (_, checked) => {
  it("a backend's row says who it is, what it does, and since when", async () => {
    const shared = await region(checked);
    const before = Date.now();
    using backend = Backend.attachSync(shared.handle, {
      role: "alice",
      applicationName: "report ".repeat(20),
    });
    expect(shared.activity()).toMatchObject([
      { pid: 0, slot: 1, usename: "alice", state: "idle", query: "", query_start: null },
    ]);
    backend.reportActivity("active", "select 'é' ".repeat(200));
    const [row] = backend.activity();
    expect(row?.state).toBe("active");
    expect(row?.application_name).toBe("report ".repeat(9));
    expect(row?.query).toBe("select 'é' ".repeat(200).slice(0, row?.query.length));
    expect(new TextEncoder().encode(row?.query).length).toBeGreaterThan(829);
    for (const time of [row?.backend_start, row?.query_start, row?.state_change]) {
      expect(time?.getTime()).toBeGreaterThanOrEqual(before);
    }
    backend.reportActivity("idle in transaction");
    expect(shared.activity()).toMatchObject([{ state: "idle in transaction", query: row?.query }]);
  });

  it("a worker that waits for a page lock is seen to, and cancelled fails with 57014", async () => {
    const shared = await region(checked);
    const [holder, waiter] = await holderAndWaiter(shared);
    const failed = expect(waiter.call("read", "t", 0)).rejects.toMatchObject({
      code: "57014",
      message: "canceling statement due to user request",
    });
    expect(await waitingRow(shared, 2)).toMatchObject({
      pid: waiter.worker.threadId,
      wait_event_type: "LWLock",
      wait_event: "BufferContent",
      state: "active",
      backend_type: "client backend",
    });
    expect(shared.cancelBackend({ slot: 2 })).toBe(true);
    await failed;
    expect(shared.activity()[1]).toMatchObject({ wait_event: null, state: "idle" });
    await holder.terminate();
    expect(await waiter.call("read", "t", 0)).toBe(0);
  });

  it("a worker that waits and is terminated fails with 57P01, and detaches", async () => {
    const shared = await region(checked);
    const [holder, waiter] = await holderAndWaiter(shared);
    const failed = expect(waiter.call("read", "t", 0)).rejects.toMatchObject({
      code: "57P01",
      message: "terminating connection due to administrator command",
    });
    await waitingRow(shared, 2);
    expect(shared.terminateBackend({ pid: waiter.worker.threadId })).toBe(true);
    await failed;
    expect(shared.backends().map(({ slot }) => slot)).toEqual([1]);
    await expect(waiter.call("read", "t", 0)).rejects.toMatchObject({ code: "57P01" });
    expect(await waiter.call("attach")).toBe(2);
    await holder.terminate();
    expect(await waiter.call("read", "t", 0)).toBe(0);
  });

  it("a worker that is idle detaches in its event loop when it is terminated", async () => {
    const shared = await region(checked);
    const idle = await attached(shared);
    expect(shared.terminateBackend({ slot: 1 })).toBe(true);
    while (shared.backends().length > 0) await new Promise(setImmediate);
    await expect(idle.call("read", "t", 0)).rejects.toMatchObject({ code: "57P01" });
    expect(shared.terminateBackend({ slot: 1 })).toBe(false);
  });

  it("a cancellation that finds nothing under way is forgotten", async () => {
    const shared = await region(checked);
    const [holder, waiter] = await holderAndWaiter(shared);
    expect(shared.cancelBackend({ slot: 2 })).toBe(true);
    await waiter.call("free", await waiter.call("allocate", 8));
    const waiting = waiter.call("read", "t", 0);
    await waitingRow(shared, 2);
    await holder.terminate();
    expect(await waiting).toBe(0);
  });

  it("every promise of a backend that waits is cancelled, and only those", async () => {
    const shared = await region(checked);
    const holder = await attached(shared);
    await holder.call("create", "t", 2);
    for (const block of [0, 1]) {
      await holder.call("lockExclusive", await holder.call("pin", "t", block));
    }
    using backend = Backend.attachSync(shared.handle);
    const relation = backend.openRelationSync("t");
    const reads = [0, 1].map((block) =>
      expect(backend.buffers.read(relation, block)).rejects.toMatchObject({ code: "57014" }),
    );
    await waitingRow(shared, 2);
    expect(backend.cancelBackend({ slot: 2 })).toBe(true);
    await Promise.all(reads);
    expect(backend.buffers.pinnedBuffers()).toBe(0);
    const waiting = backend.buffers.read(relation, 0);
    await holder.terminate();
    (await waiting)[Symbol.dispose]();
  });

  it("promises of a backend that is terminated fail, and it has detached", async () => {
    const shared = await region(checked);
    const holder = await attached(shared);
    await holder.call("create", "t", 1);
    await holder.call("lockExclusive", await holder.call("pin", "t", 0));
    using backend = Backend.attachSync(shared.handle);
    const reading = backend.buffers.read(backend.openRelationSync("t"), 0);
    const failed = expect(reading).rejects.toMatchObject({ code: "57P01" });
    await waitingRow(shared, 2);
    shared.terminateBackend({ slot: 2 });
    await failed;
    expect(() => backend.openRelationSync("t")).toThrow("terminating connection");
    expect(shared.backends().map(({ slot }) => slot)).toEqual([1]);
  });

  it("work that never waits notices by checkInterrupts()", async () => {
    const shared = await region(checked);
    using backend = Backend.attachSync(shared.handle);
    backend.checkInterrupts();
    backend.reportActivity("active", "a long one");
    backend.cancelBackend({ slot: 1 });
    expect(() => backend.checkInterrupts()).toThrow("canceling statement due to user request");
    backend.reportActivity("active", "another");
    backend.checkInterrupts();
    backend.terminateBackend({ slot: 1 });
    expect(() => backend.checkInterrupts()).toThrow("terminating connection");
    expect(shared.backends()).toEqual([]);
  });

  it("a call that waits for longer than statement_timeout fails with 57014", async () => {
    const shared = await region(checked, { statement_timeout: "50ms" });
    const [holder, waiter] = await holderAndWaiter(shared);
    const message = "canceling statement due to statement timeout";
    await expect(waiter.call("read", "t", 0)).rejects.toMatchObject({ code: "57014", message });
    using backend = Backend.attachSync(shared.handle);
    const relation = backend.openRelationSync("t");
    await expect(backend.buffers.read(relation, 0)).rejects.toThrow(message);
    backend.reportActivity("active", "of several calls");
    const until = performance.now() + 60;
    while (performance.now() < until);
    expect(() => backend.checkInterrupts()).toThrow(message);
    backend.reportActivity("idle");
    backend.checkInterrupts();
    await holder.terminate();
    expect(await waiter.call("read", "t", 0)).toBe(0);
  });
});

describe("helpers", () => {
  it("have rows of their own, without a state", async () => {
    const shared = await SharedMemory.create(
      withIoMethod("worker", {
        settings: { shared_buffers: "128kB" },
        storage: memoryStorage(),
      }),
    );
    open.push(shared);
    const entry = new URL("../../dist/bindings/writer-worker.js", import.meta.url);
    await shared.startWriter({ entry });
    const types = (): string[] => shared.activity().map(({ backend_type }) => backend_type);
    while (types().includes("client backend")) await new Promise(setImmediate);
    const two = ["io worker", "io worker"];
    expect(types().sort()).toEqual(["background writer", "checkpointer", ...two]);
    const worker = shared.activity().find(({ backend_type }) => backend_type === "io worker");
    expect(worker).toMatchObject({ state: null });
    expect(await waitingRow(shared, worker?.slot ?? 0)).toMatchObject({
      wait_event_type: "Activity",
      wait_event: "IoWorkerMain",
    });
  });
});
