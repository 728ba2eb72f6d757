// A worker that takes locks, waits for conditions and dies as the test tells it.

import { parentPort, workerData } from "node:worker_threads";
import { Backend, initPage, type SharedMemoryHandle } from "../../bindings/index.ts";
import type { StorageHandle, StorageManager } from "../../bindings/storage/manager.ts";
import { openStorage as openMemory } from "../../bindings/storage/memory.ts";
import { openStorage as openFiles } from "../../bindings/storage/node-fs.ts";
import type { LockAnswer, LockCall, LockCommands } from "./lock-commands.ts";

const { handle } = workerData as { handle: SharedMemoryHandle };
let current = handle;
let attached: Backend | undefined;
/** Called in the middle of each write to storage. */
let inWrite = (): void => {};

function backend(): Backend {
  if (attached === undefined) throw new Error("not attached");
  return attached;
}

function words(): Int32Array {
  return backend().segment("words").words;
}

/** Storage whose writes of pages can be held up in the middle. */
function slowStorage(to: StorageHandle): StorageManager {
  const storage = to.kind === "memory" ? openMemory(to) : openFiles(to);
  const writev = storage.writevSync.bind(storage);
  const write = storage.writeSync.bind(storage);
  storage.writevSync = (...args) => {
    inWrite();
    writev(...args);
  };
  storage.writeSync = (...args) => {
    inWrite();
    write(...args);
  };
  return storage;
}

const VALUE_AT = 4096;

function put(relation: string, value: number): void {
  const target = backend().openRelationSync(relation);
  backend().buffers.changeSync(target, 0, (bytes) => {
    initPage(bytes);
    new DataView(bytes.buffer, bytes.byteOffset).setInt32(VALUE_AT, value, true);
  });
}

const commands: LockCommands = {
  attach: (other) => {
    attached?.detach();
    current = other ?? current;
    attached = Backend.attachSync(current, { storage: slowStorage });
    return attached.slot;
  },
  detach: () => backend().detach(),
  acquire: (lock, mode) => void backend().lwlock(lock).acquireSync(mode),
  tryAcquire: (lock, mode) => backend().lwlock(lock).tryAcquire(mode) !== undefined,
  acquireOrWait: (lock) => backend().lwlock(lock).acquireOrWaitSync() !== undefined,
  release: (lock) => backend().lwlock(lock).release(),
  count: (name, times) => {
    const lock = backend().lwlock(name);
    const shared = words();
    for (let turn = 0; turn < times; turn += 1) {
      const held = lock.acquireSync();
      const value = shared[0] ?? 0;
      shared[1] = value + 1;
      shared[0] = value + 1;
      held[Symbol.dispose]();
    }
  },
  compare: (name, times) => {
    const lock = backend().lwlock(name);
    const shared = words();
    let different = 0;
    for (let turn = 0; turn < times; turn += 1) {
      const held = lock.acquireSync("shared");
      if (shared[0] !== shared[1]) different += 1;
      held[Symbol.dispose]();
    }
    return different;
  },
  consume: (name, lockName, items) => {
    const [condition, lock, shared] = [
      backend().conditionVariable(name),
      backend().lwlock(lockName),
      words(),
    ];
    const take = (): boolean => {
      const held = lock.acquireSync();
      const left = shared[0] ?? 0;
      if (left > 0) shared[0] = left - 1;
      held[Symbol.dispose]();
      return left > 0;
    };
    let turns = 0;
    for (let item = 0; item < items; item += 1) {
      condition.waitUntilSync(() => {
        turns += 1;
        return take();
      });
    }
    return turns;
  },
  produce: (name, lockName, items, all) => {
    const [condition, lock] = [backend().conditionVariable(name), backend().lwlock(lockName)];
    const shared = words();
    for (let item = 0; item < items; item += 1) {
      const held = lock.acquireSync();
      shared[0] = (shared[0] ?? 0) + 1;
      held[Symbol.dispose]();
      if (all) condition.broadcast();
      else condition.signal();
    }
  },
  create: (relation, value) => {
    backend().buffers.extendSync(backend().createRelationSync(relation), 1);
    put(relation, value);
    backend().checkpointSync();
  },
  change: put,
  read: (relation) => {
    using page = backend().buffers.readSync(backend().openRelationSync(relation), 0);
    return new DataView(page.bytes.buffer, page.bytes.byteOffset).getInt32(VALUE_AT, true);
  },
  checkpoint: () => void backend().checkpointSync(),
  waitLatch: () => backend().latch.waitSync({ timeout: 20_000 }),
  setLatch: (slot) => backend().latch.set(slot),
  slowWrite: (relation) => {
    const shared = words();
    put(relation, 777);
    inWrite = () => {
      Atomics.store(shared, 2, 1);
      Atomics.notify(shared, 2);
      Atomics.wait(shared, 3, 0);
    };
    try {
      backend().buffers.flushSync(backend().openRelationSync(relation));
      return "written";
    } finally {
      inWrite = () => {};
    }
  },
};

parentPort?.on("message", ({ id, command, args }: LockCall) => {
  const answer = (rest: Omit<LockAnswer, "id">): void => parentPort?.postMessage({ id, ...rest });
  try {
    const work = commands[command] as (...values: readonly unknown[]) => unknown;
    answer({ value: work(...args) });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    answer({ error: { code, message } });
  }
});
