// Backends in real worker threads: they share pages, take turns at locks, and however one ends, the
// others go on. Workers run the built package; this file waits for events, never for a time.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Backend, type BackendDeath, type BackendRow, SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { type IoMethod, ioMethods, withIoMethod } from "../support/io-methods.ts";
import { builds } from "../support/region.ts";
import { Remote } from "./commands.ts";

const CONNECTIONS = 3;
const open: SharedMemory[] = [];
const remotes: Remote[] = [];

afterEach(async () => {
  for (const remote of remotes.splice(0)) await remote.terminate();
  for (const shared of open.splice(0)) await shared.close();
});

let method: IoMethod = "sync";

async function region(
  checked: boolean,
  buffers = "128kB",
  storage = memoryStorage(),
): Promise<SharedMemory> {
  const shared = await SharedMemory.create(
    withIoMethod(method, {
      settings: { shared_buffers: buffers, max_connections: CONNECTIONS },
      storage,
      segments: { barrier: 64 },
      checked,
    }),
  );
  open.push(shared);
  return shared;
}

async function attached(shared: SharedMemory): Promise<Remote> {
  const remote = await Remote.attached(shared.handle);
  remotes.push(remote);
  return remote;
}

/** The next death that the region's owner reports. */
function death(shared: SharedMemory): Promise<BackendDeath> {
  return new Promise((resolve) => {
    shared.onBackendDeath(resolve);
  });
}

/** The slots in use, those of I/O workers left out. */
function clients(shared: SharedMemory): BackendRow[] {
  return shared.backends().filter(({ slot }) => slot <= CONNECTIONS);
}

const variants = ioMethods.flatMap((each) =>
  builds.map(([build, checked]) => [build, each, checked] as const),
);

describe.each(variants)("%s build, io_method %s", (_, current, checked) => {
  beforeEach(() => {
    method = current;
  });

  it("what one worker wrote another reads from the same frame", async () => {
    const shared = await region(checked);
    const [a, b] = [await attached(shared), await attached(shared)];
    await a.call("create", "t", 4);
    await a.call("increment", "t", 1, 5, 1);
    const reads = shared.statistics().reads;
    expect(await b.call("read", "t", 0)).toBe(5);
    expect(shared.statistics().reads).toBe(reads);
  });

  it("workers that miss one page at one moment read it once", async () => {
    const shared = await region(checked, "1MB");
    const workers = [await attached(shared), await attached(shared), await attached(shared)];
    await workers[0]?.call("create", "t", 300);
    const before = shared.statistics().reads;
    const buffers = await Promise.all(workers.map((each) => each.call("pinTogether", "t", 0, 3)));
    expect(new Set(buffers).size).toBe(1);
    expect(shared.statistics().reads - before).toBe(1);
  });

  it("increments by three workers on a pool a fraction of the data's size all arrive", async () => {
    const shared = await region(checked);
    const workers = [await attached(shared), await attached(shared), await attached(shared)];
    await workers[0]?.call("create", "t", 100);
    const times = 3000;
    await Promise.all(
      workers.map((each, index) => each.call("increment", "t", 100, times, index + 1)),
    );
    expect(await workers[1]?.call("sum", "t", 100)).toBe(3 * times);
    expect(shared.statistics().evictions).toBeGreaterThan(times);
  });

  it("a worker terminated in a page change leaves the page as it was, and no pin", async () => {
    const shared = await region(checked);
    const [a, b] = [await attached(shared), await attached(shared)];
    await a.call("create", "t", 2);
    await a.call("increment", "t", 1, 9, 1);
    const buffer = await a.call("pin", "t", 0);
    await a.call("lockExclusive", buffer);
    await a.call("beginChange", buffer);
    await a.call("scribble", buffer);
    const waiting = b.call("read", "t", 0);
    const died = death(shared);
    await a.terminate();
    expect(await waiting).toBe(9);
    expect(await died).toMatchObject({ slot: 1 });
    expect(shared.usageCounts().reduce((sum, { pinned }) => sum + pinned, 0)).toBe(0);
    expect(clients(shared).map(({ slot }) => slot)).toEqual([2]);
  });

  it("an uncaught error ends a backend like any other end", async () => {
    const shared = await region(checked);
    const a = await attached(shared);
    await a.call("create", "t", 1);
    await a.call("lockExclusive", await a.call("pin", "t", 0));
    await a.call("throwUncaught");
    await a.exited;
    expect(clients(shared)).toEqual([]);
    const b = await attached(shared);
    expect(await b.call("read", "t", 0)).toBe(0);
  });

  it("temporary files of a terminated worker are gone before its slot is used again", async () => {
    const storage = memoryStorage();
    const shared = await region(checked, "128kB", storage);
    const [a, b] = [await attached(shared), await attached(shared)];
    for (const each of [a, b]) await each.call("spill", 40);
    expect(storage.relationsSync()).toHaveLength(4);
    const died = death(shared);
    await a.terminate();
    await died;
    expect(storage.relationsSync()).toHaveLength(2);
    await b.call("detach");
    expect(storage.relationsSync()).toEqual([]);
  });

  it("process.exit() in a worker detaches it: nothing is left, and no death is reported", async () => {
    const shared = await region(checked);
    const deaths: BackendDeath[] = [];
    shared.onBackendDeath((each) => deaths.push(each));
    const a = await attached(shared);
    await a.call("create", "t", 1);
    await a.call("lockExclusive", await a.call("pin", "t", 0));
    void a.call("exit", 0);
    await a.exited;
    expect(clients(shared)).toEqual([]);
    expect(deaths).toEqual([]);
  });

  it("a slot is used again after its backend has ended", async () => {
    const shared = await region(checked);
    for (let turn = 0; turn < 5; turn += 1) {
      const remote = await attached(shared);
      await remote.call("allocate", 100);
      expect(clients(shared).map(({ slot }) => slot)).toEqual([1]);
      if (turn % 2 === 0) await remote.call("detach");
      await remote.terminate();
    }
    expect(clients(shared)).toEqual([]);
  });
});

describe.each(ioMethods)("attaching, io_method %s", (current) => {
  beforeEach(() => {
    method = current;
  });

  it("one backend more than max_connections is refused", async () => {
    const shared = await region(false);
    for (let count = 0; count < 3; count += 1) await attached(shared);
    const fourth = new Remote(shared.handle);
    remotes.push(fourth);
    await expect(fourth.call("attach")).rejects.toMatchObject({
      code: "53300",
      message: "sorry, too many clients already",
    });
  });

  it("a thread whose end nobody would notice is refused, with advice", async () => {
    const shared = await region(false);
    const a = new Remote(shared.handle);
    remotes.push(a);
    await expect(a.call("attachInChild")).rejects.toMatchObject({ code: "57P03" });
    expect(clients(shared)).toEqual([]);
  });

  it("a worker made before the region is refused, and attaches once it is watched", async () => {
    const early = new Remote((await region(false)).handle);
    remotes.push(early);
    await early.call("attach");
    const shared = await region(false);
    await expect(early.call("attach", shared.handle)).rejects.toMatchObject({ code: "57P03" });
    shared.watch(early.worker);
    expect(await early.call("attach", shared.handle)).toBe(1);
    const died = death(shared);
    await early.terminate();
    expect(await died).toMatchObject({ slot: 1 });
  });

  it("a backend on the owner's own thread attaches without a dialogue", async () => {
    const shared = await region(false);
    using backend = Backend.attachSync(shared.handle);
    const relation = backend.createRelationSync("t");
    expect(backend.buffers.extendSync(relation, 3)).toBe(0);
    expect(relation.blocksSync()).toBe(3);
    expect(clients(shared)).toEqual([{ slot: 1, threadId: 0, state: "active" }]);
  });

  it("closing the region fails every backend with 57P01, sleepers included", async () => {
    const shared = await region(false);
    const [a, b] = [await attached(shared), await attached(shared)];
    await a.call("create", "t", 1);
    await a.call("lockExclusive", await a.call("pin", "t", 0));
    const waiting = b.call("read", "t", 0);
    const failed = expect(waiting).rejects.toMatchObject({ code: "57P01" });
    // b is asleep, or about to be; either way it must not sleep on.
    while (shared.statistics().waits === 0) await new Promise(setImmediate);
    await shared.close();
    await failed;
    const late = new Remote(shared.handle);
    remotes.push(late);
    await expect(late.call("attach")).rejects.toMatchObject({ code: "57P01" });
  });
});
