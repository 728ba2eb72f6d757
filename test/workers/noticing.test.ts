// Who notices whose end. Workers of workers, workers made too early, an owner that is a worker
// itself: either both ends would be noticed, or the attach is refused. Real threads; this file
// waits for events, never for a time.

import { afterEach, describe, expect, it } from "vitest";
import {
  Backend,
  type BackendDeath,
  type Settings,
  SharedMemory,
  type SharedMemoryHandle,
  watchWorkers,
} from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { Family } from "./family.ts";

const settings: Settings = { shared_buffers: "128kB", max_connections: 4 };
const open: SharedMemory[] = [];
const families: Family[] = [];

afterEach(async () => {
  for (const family of families.splice(0)) await family.terminate();
  for (const shared of open.splice(0)) await shared.close();
});

async function region(): Promise<SharedMemory> {
  const shared = await SharedMemory.create({ settings, storage: memoryStorage() });
  open.push(shared);
  return shared;
}

function family(): Family {
  const made = new Family();
  families.push(made);
  return made;
}

/** The next so many deaths that the owner reports. */
function deaths(shared: SharedMemory, count: number): Promise<BackendDeath[]> {
  const seen: BackendDeath[] = [];
  return new Promise((resolve) => {
    shared.onBackendDeath((death) => {
      seen.push(death);
      if (seen.length === count) resolve(seen);
    });
  });
}

function slots(shared: SharedMemory): number[] {
  return shared.backends().map(({ slot }) => slot);
}

describe("a worker of a worker", () => {
  it("ends before the 'exit' of the one that created it, however it runs", async () => {
    const words = new Int32Array(new SharedArrayBuffer(4));
    const top = family();
    await top.call("", "spawn", "child");
    top.tell("child", "count", words);
    while (Atomics.load(words, 0) === 0) await new Promise(setImmediate);
    await top.terminate();
    const then = Atomics.load(words, 0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(Atomics.load(words, 0)).toBe(then);
  });

  it("attaches when its creator has a backend, and gives everything back when it ends", async () => {
    const shared = await region();
    const top = family();
    await top.call("", "attach", shared.handle);
    await top.call("", "create", "t");
    const threadId = await top.call("", "spawn", "child");
    expect(await top.call("child", "attachSync", shared.handle)).toBe(2);
    await top.call("child", "lock", "t");
    const died = deaths(shared, 1);
    await top.call("", "kill", "child");
    expect(await died).toEqual([{ slot: 2, threadId }]);
    await top.call("", "read", "t");
    expect(slots(shared)).toEqual([1]);
  });

  it("gives everything back when its creator is terminated and it ends with it", async () => {
    const shared = await region();
    const [top, other] = [family(), family()];
    await top.call("", "attach", shared.handle);
    await top.call("", "create", "t");
    await top.call("", "spawn", "child");
    await top.call("child", "attach", shared.handle);
    await top.call("child", "lock", "t");
    await other.call("", "attach", shared.handle);
    const waiting = other.call("", "readSync", "t");
    const died = deaths(shared, 2);
    await top.terminate();
    expect((await died).map(({ slot }) => slot).sort()).toEqual([1, 2]);
    await waiting;
    expect(slots(shared)).toEqual([3]);
  });

  it("attaches when its creator only watches, and created it before", async () => {
    const shared = await region();
    const top = family();
    await top.call("", "spawn", "child");
    await top.call("", "watch", shared.handle, ["child"]);
    expect(await top.call("child", "attach", shared.handle)).toBe(1);
    const died = deaths(shared, 1);
    await top.call("", "kill", "child");
    expect(await died).toMatchObject([{ slot: 1 }]);
    expect(slots(shared)).toEqual([]);
  });

  it("made before its creator's backend attaches once that watches it", async () => {
    const shared = await region();
    const top = family();
    await top.call("", "spawn", "child");
    await top.call("", "attach", shared.handle);
    await expect(top.call("child", "attach", shared.handle)).rejects.toMatchObject({
      code: "57P03",
    });
    await top.call("", "backendWatch", "child");
    expect(await top.call("child", "attach", shared.handle)).toBe(2);
  });

  it("of a worker that nobody told of the region is refused, with advice", async () => {
    const shared = await region();
    const top = family();
    await top.call("", "spawn", "child");
    await expect(top.call("child", "attach", shared.handle)).rejects.toMatchObject({
      code: "57P03",
      hint: expect.stringContaining("watchWorkers(handle)"),
    });
    expect(slots(shared)).toEqual([]);
  });

  it("of a region that began anew attaches to it, when its creator has or only watched", async () => {
    for (const attaches of [true, false]) {
      const shared = await region();
      const top = family();
      await top.call("", "spawn", "child");
      await top.call("", "watch", shared.handle, ["child"]);
      if (attaches) await top.call("", "attach", shared.handle);
      await top.call("child", "attach", shared.handle);
      for (let round = 0; round < 3; round += 1) {
        const again = new Promise((resolve) => shared.onRestart(resolve));
        shared.poison("to begin anew");
        await again;
        await top.call("", "spawn", `late ${round}`);
        for (const name of ["child", `late ${round}`]) {
          expect(await top.call(name, "attach", shared.handle)).toBeGreaterThan(0);
        }
        const died = deaths(shared, 1);
        await top.call("", "kill", `late ${round}`);
        await died;
        expect(slots(shared)).toEqual([1]);
      }
    }
  });
});

describe("workers further down", () => {
  /** A worker, its child, that one's, and so on, each attached to the region; slots 1, 2, … */
  async function dynasty(shared: SharedMemory, levels: number): Promise<Family> {
    const top = family();
    await top.call("", "attach", shared.handle);
    await top.call("", "create", "t");
    for (let level = 1, path = ""; level < levels; level += 1) {
      await top.call(path, "spawn", "child");
      path = path === "" ? "child" : `${path}/child`;
      expect(await top.call(path, "attach", shared.handle)).toBe(level + 1);
    }
    return top;
  }

  it.each([
    { name: "the lowest", killer: "child/child", gone: [4] },
    { name: "one in the middle", killer: "child", gone: [3, 4] },
    { name: "the first but one", killer: "", gone: [2, 3, 4] },
  ])("attach, and all that end with $name are repaired", async ({ killer, gone }) => {
    const shared = await region();
    const top = await dynasty(shared, 4);
    await top.call("child/child/child", "lock", "t");
    const died = deaths(shared, gone.length);
    await top.call(killer, "kill", "child");
    expect((await died).map(({ slot }) => slot).sort()).toEqual(gone);
    await top.call("", "read", "t");
  });

  it("end with the first, and are repaired with it", async () => {
    const shared = await region();
    const top = await dynasty(shared, 4);
    const died = deaths(shared, 4);
    await top.terminate();
    expect((await died).map(({ slot }) => slot).sort()).toEqual([1, 2, 3, 4]);
    expect(slots(shared)).toEqual([]);
  });

  it("attach to a region that began anew", async () => {
    const shared = await region();
    const top = await dynasty(shared, 3);
    const again = new Promise((resolve) => shared.onRestart(resolve));
    shared.poison("to begin anew");
    await again;
    expect(await top.call("child/child", "attach", shared.handle)).toBe(1);
    const died = deaths(shared, 1);
    await top.call("", "kill", "child");
    expect(await died).toMatchObject([{ slot: 1 }]);
  });

  it("whom one in between does not watch are refused", async () => {
    const shared = await region();
    const top = family();
    await top.call("", "attach", shared.handle);
    await top.call("", "spawn", "child");
    await top.call("child", "spawn", "child");
    await expect(top.call("child/child", "attach", shared.handle)).rejects.toMatchObject({
      code: "57P03",
    });
  });

  it("of the owner's creator attach when that watches the owner", async () => {
    const owner = family();
    const handle = await owner.call("", "own", settings);
    watchWorkers(handle, [owner.worker]);
    const sibling = family();
    await sibling.call("", "attach", handle);
    await sibling.call("", "spawn", "child");
    await sibling.call("child", "attach", handle);
    await sibling.call("child", "spawn", "child");
    expect(await sibling.call("child/child", "attach", handle)).toBe(3);
    await sibling.call("", "kill", "child");
    while ((await owner.call("", "clients")).length > 1) await new Promise(setImmediate);
  });
});

describe("an owner that is a worker", () => {
  interface Owned {
    readonly owner: Family;
    readonly handle: SharedMemoryHandle;
    readonly backend: Backend;
  }

  /** A region of a worker's, with a backend of this thread. */
  async function owned(): Promise<Owned> {
    const owner = family();
    const handle = await owner.call("", "own", settings);
    watchWorkers(handle, [owner.worker]);
    return { owner, handle, backend: await Backend.attach(handle) };
  }

  it("refuses its creator, who would not notice its end, until that watches it", async () => {
    const creator = family();
    await creator.call("", "spawn", "owner");
    const handle = await creator.call("owner", "own", settings);
    await expect(creator.call("", "attach", handle)).rejects.toMatchObject({
      code: "57P03",
      hint: expect.stringContaining("watchWorkers(handle, [worker])"),
    });
    await creator.call("", "watch", handle, ["owner"]);
    expect(await creator.call("", "attach", handle)).toBe(1);
  });

  it.each(["exit", "throwUncaught"] as const)(
    "ends by %s: calls of every backend fail with 57P01, sleepers' too",
    async (how) => {
      const { owner, handle, backend } = await owned();
      const sibling = family();
      await sibling.call("", "attach", handle);
      await sibling.call("", "create", "t");
      await sibling.call("", "lock", "t");
      const waiting = backend.buffers.read(backend.openRelationSync("t"), 0);
      const failed = expect(waiting).rejects.toMatchObject({ code: "57P01" });
      if (how === "exit") owner.tell("", "exit", 0);
      else owner.tell("", "throwUncaught");
      await owner.exited;
      await failed;
      await expect(sibling.call("", "create", "u")).rejects.toMatchObject({ code: "57P01" });
      backend.detach();
    },
  );

  it("is terminated: calls of every backend fail with 57P02, sleepers' too", async () => {
    const { owner, handle, backend } = await owned();
    const [holder, sleeper] = [family(), family()];
    for (const each of [holder, sleeper]) await each.call("", "attach", handle);
    await holder.call("", "create", "t");
    await holder.call("", "lock", "t");
    const asleep = sleeper.call("", "readSync", "t");
    const waiting = backend.buffers.read(backend.openRelationSync("t"), 0);
    const failures = [
      expect(waiting).rejects.toMatchObject({ code: "57P02" }),
      expect(asleep).rejects.toMatchObject({ code: "57P02" }),
    ];
    while (backend.activity().filter(({ wait_event }) => wait_event !== null).length < 2) {
      await new Promise(setImmediate);
    }
    await owner.terminate();
    await Promise.all(failures);
    await expect(holder.call("", "create", "u")).rejects.toMatchObject({ code: "57P02" });
    backend.detach();
    const late = family();
    await expect(late.call("", "attach", handle)).rejects.toMatchObject({
      code: "57P02",
    });
  });

  it("gives back what a worker of its creator held", async () => {
    const { owner, handle, backend } = await owned();
    const sibling = family();
    await sibling.call("", "attach", handle);
    await sibling.call("", "create", "t");
    await sibling.call("", "lock", "t");
    const waiting = backend.buffers.read(backend.openRelationSync("t"), 0);
    await sibling.terminate();
    (await waiting)[Symbol.dispose]();
    expect(await owner.call("", "clients")).toEqual([0]);
    backend.detach();
  });
});
