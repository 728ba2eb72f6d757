// The user's locks, conditions and latches with real worker threads: nothing is counted wrong under
// a lock, nobody sleeps over a signal, and a worker that is ended holding a lock gives it back as
// the lock says.

import { afterEach, describe, expect, it } from "vitest";
import { Backend, SharedMemory, type SharedMemoryOptions } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builds } from "../support/region.ts";
import { LockWorker } from "./lock-commands.ts";

const open: SharedMemory[] = [];
const workers: LockWorker[] = [];

afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.terminate();
  for (const shared of open.splice(0)) await shared.close();
});

async function region(checked: boolean): Promise<SharedMemory> {
  const options: SharedMemoryOptions = {
    settings: { shared_buffers: "128kB", max_connections: 5 },
    storage: memoryStorage(),
    segments: { words: 64 },
    locks: { plain: {}, called: { onOwnerDeath: "call" } },
    conditions: ["filled"],
    checked,
  };
  const shared = await SharedMemory.create(options);
  open.push(shared);
  return shared;
}

async function attached(shared: SharedMemory): Promise<LockWorker> {
  const worker = await LockWorker.attached(shared.handle);
  workers.push(worker);
  return worker;
}

function several(shared: SharedMemory, count: number): Promise<LockWorker[]> {
  return Promise.all(Array.from({ length: count }, () => attached(shared)));
}

describe.each(builds)("%s build", (_, checked) => {
  it("counting under a lock by three workers misses nothing, and readers see no half step", async () => {
    const shared = await region(checked);
    const [a, b, c] = await several(shared, 3);
    const times = 20_000;
    const [, , different] = await Promise.all([
      a?.call("count", "plain", times),
      b?.call("count", "plain", times),
      c?.call("compare", "plain", times),
    ]);
    expect(different).toBe(0);
    expect(shared.segment("words").words[0]).toBe(2 * times);
  });

  it("each of many signals wakes one who waits, and no item is left over", async () => {
    const shared = await region(checked);
    const [a, b, c] = await several(shared, 3);
    const items = 2000;
    for (const all of [false, true]) {
      await Promise.all([
        a?.call("consume", "filled", "plain", items / 2),
        b?.call("consume", "filled", "plain", items / 2),
        c?.call("produce", "filled", "plain", items, all),
      ]);
      expect(shared.segment("words").words[0]).toBe(0);
    }
  });

  it("a worker ended while it holds a lock gives it back to who waits", async () => {
    const shared = await region(checked);
    const [a, b, c] = await several(shared, 3);
    await a?.call("acquire", "plain");
    const [waits, looks] = [b?.call("acquire", "plain"), c?.call("acquireOrWait", "plain")];
    expect(await Promise.race([waits, looks, later("still held")])).toBe("still held");
    await a?.terminate();
    await waits;
    await b?.call("release", "plain");
    expect(await looks).toBe(false);
    expect(await c?.call("acquireOrWait", "plain")).toBe(true);
  });

  it("who waits is seen to: by the lock's name, by the condition's, or at its latch", async () => {
    const shared = await region(checked);
    const [holder, alone, sharing, look, sleeper] = await several(shared, 5);
    if (holder === undefined) return;
    await holder.call("acquire", "called");
    const waits = [
      alone?.call("acquire", "called"),
      sharing?.call("acquire", "called", "shared"),
      look?.call("acquireOrWait", "called"),
      sleeper?.call("consume", "filled", "plain", 1),
    ];
    const events = (): string[] => {
      const rows = shared.activity().filter(({ wait_event }) => wait_event !== null);
      return rows.map((row) => `${row.wait_event_type} ${row.wait_event}`).sort();
    };
    const expected = ["Extension filled", "LWLock called", "LWLock called", "LWLock called"];
    await untilTrue(() => events().join() === expected.join());
    await holder.call("produce", "filled", "plain", 1, true);
    await holder.call("release", "called");
    const wakes = holder.call("waitLatch");
    await untilTrue(() => events().includes("Extension Extension"));
    await sleeper?.call("setLatch", await slotOf(shared, holder));
    expect(await wakes).toBe(true);
    const ends = [alone, sharing, look, sleeper].map(async (worker, index) => {
      await waits[index];
      if (index < 2) await worker?.call("release", "called");
    });
    await Promise.all(ends);
    expect(events()).toEqual([]);
  });

  it("a share holder that is ended is waited for no longer", async () => {
    const shared = await region(checked);
    const [a, b] = await several(shared, 2);
    await a?.call("acquire", "plain", "shared");
    const waits = b?.call("acquire", "plain");
    expect(await Promise.race([waits, later("still shared")])).toBe("still shared");
    await a?.terminate();
    await waits;
  });

  it("a listener puts right what a lock guards before the next may have it", async () => {
    const shared = await region(checked);
    const [a, b, c] = await several(shared, 3);
    const { words } = shared.segment("words");
    const seen: string[] = [];
    shared.onLockOwnerDeath(async ({ lock }) => {
      seen.push(lock);
      await later("");
      seen.push(`${await c?.call("tryAcquire", "called")}`);
      words[0] = 0;
    });
    await a?.call("acquire", "called");
    words[0] = 13;
    await a?.terminate();
    await untilTrue(() => seen.length > 0);
    await b?.call("acquire", "called");
    expect([words[0], ...seen]).toEqual([0, "called", "false"]);
  });

  it("a backend that detaches holding such a lock has not finished either", async () => {
    const shared = await region(checked);
    const [a, b] = await several(shared, 2);
    const died = new Promise((resolve) => shared.onLockOwnerDeath(resolve));
    await a?.call("acquire", "called");
    await a?.call("detach");
    expect(await died).toEqual({ lock: "called" });
    await b?.call("acquire", "called");
  });

  it("a latch wakes its backend, whichever way it waits", async () => {
    const shared = await region(checked);
    const a = await attached(shared);
    using mine = Backend.attachSync(shared.handle);
    const asleep = a.call("waitLatch");
    mine.latch.set(await slotOf(shared, a));
    expect(await asleep).toBe(true);
    mine.latch.reset();
    const waits = mine.latch.wait({ timeout: 20_000 });
    await a.call("setLatch", mine.slot);
    expect([await waits, mine.latch.isSet]).toEqual([true, true]);
    mine.latch.reset();
    expect(await mine.latch.wait({ timeout: 5 })).toBe(false);
  });

  it("a scope gives back what it took, and not what was taken since", async () => {
    const shared = await region(checked);
    using mine = Backend.attachSync(shared.handle);
    const lock = mine.lwlock("plain");
    const first = lock.acquireSync();
    lock.release();
    const second = lock.acquireSync("shared");
    first[Symbol.dispose]();
    expect([first.isHeld, second.isHeld, lock.heldAs]).toEqual([false, true, "shared"]);
    for (const mode of ["shared", "exclusive"] as const) {
      expect(() => lock.acquireSync(mode)).toThrow(/held by this backend already/);
      expect(() => lock.tryAcquire(mode)).toThrow(/held by this backend already/);
    }
    second[Symbol.dispose]();
    second[Symbol.dispose]();
    expect([second.isHeld, lock.heldAs]).toEqual([false, undefined]);
    const last = lock.acquireSync();
    expect(() => lock.acquireSync("shared")).toThrow(/held by this backend already/);
    mine.detach();
    last[Symbol.dispose]();
    expect(() => lock.acquireSync()).toThrow(/closed/);
  });

  it("a promise waits for the lock without blocking, and an abort leaves nothing behind", async () => {
    const shared = await region(checked);
    const a = await attached(shared);
    using mine = Backend.attachSync(shared.handle);
    const lock = mine.lwlock("plain");
    await a.call("acquire", "plain", "shared");
    const abort = new AbortController();
    const given = lock.acquire("exclusive", { signal: abort.signal });
    await later("");
    expect(await a.call("tryAcquire", "called")).toBe(true);
    abort.abort();
    await expect(given).rejects.toMatchObject({ code: "57014" });
    expect(lock.heldAs).toBeUndefined();
    {
      using held = await lock.acquire("shared");
      expect([held.mode, held.isHeld, lock.heldAs]).toEqual(["shared", true, "shared"]);
      await a.call("release", "plain");
      expect(() => lock.acquireSync()).toThrow(/held by this backend already/);
    }
    expect(() => lock.release()).toThrow(/"plain" is not held/);
    using all = lock.tryAcquire() ?? null;
    expect(all?.mode).toBe("exclusive");
    const other = lock.acquire();
    lock.release();
    (await other)[Symbol.dispose]();
    await expect(a.call("acquire", "none")).rejects.toMatchObject({ code: "42704" });
  });

  it("an aborted wait for a condition passes its wake-up on", async () => {
    const shared = await region(checked);
    const a = await attached(shared);
    using mine = Backend.attachSync(shared.handle);
    const condition = mine.conditionVariable("filled");
    const abort = new AbortController();
    const given = condition.prepare().sleep({ signal: abort.signal });
    const consumed = a.call("consume", "filled", "plain", 1);
    await later("");
    abort.abort();
    await expect(given).rejects.toMatchObject({ code: "57014" });
    shared.segment("words").words[0] = 1;
    condition.signal();
    await consumed;
    const wait = condition.prepare();
    expect(await wait.sleep({ timeout: 5 })).toBe(false);
    condition.broadcast();
    expect(wait.cancel()).toBe(true);
  });
});

/** Long enough for a worker to be asleep; nothing is decided by it. */
function later<Value>(value: Value): Promise<Value> {
  return new Promise((resolve) => setTimeout(() => resolve(value), 30));
}

async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await later("");
}

async function slotOf(shared: SharedMemory, worker: LockWorker): Promise<number> {
  const row = shared.backends().find(({ threadId }) => threadId === worker.worker.threadId);
  if (row === undefined) throw new Error("the worker is not attached");
  return row.slot;
}
