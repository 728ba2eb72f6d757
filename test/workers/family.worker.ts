// A thread in a tree of threads: it creates others, owns a region or attaches to one, and does what
// the test tells it. A message names the way to the thread it is for; whoever is not that passes it
// on to his worker, and the answer back.

import { parentPort, Worker } from "node:worker_threads";
import {
  Backend,
  initPage,
  type Settings,
  SharedMemory,
  type SharedMemoryHandle,
  watchWorkers,
} from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import type { FamilyAnswer, FamilyCall, FamilyCommands } from "./family.ts";

const children = new Map<string, Worker>();
const pending = new Map<number, (answer: FamilyAnswer) => void>();
let shared: SharedMemory | undefined;
let backend: Backend | undefined;

function attached(): Backend {
  if (backend === undefined) throw new Error("not attached");
  return backend;
}

function child(name: string): Worker {
  const found = children.get(name);
  if (found === undefined) throw new Error(`no child ${name}`);
  return found;
}

function exited(worker: Worker): Promise<unknown> {
  return new Promise((resolve) => worker.once("exit", resolve));
}

const commands: FamilyCommands = {
  spawn: (name) => {
    const worker = new Worker(new URL(import.meta.url));
    worker.on("message", (answer: FamilyAnswer) => pending.get(answer.id)?.(answer));
    worker.on("error", () => {});
    children.set(name, worker);
    return worker.threadId;
  },
  kill: async (name) => {
    const worker = child(name);
    const end = exited(worker);
    await worker.terminate();
    await end;
  },
  own: async (settings: Settings) => {
    shared = await SharedMemory.create({ settings, storage: memoryStorage() });
    return shared.handle;
  },
  watch: (handle: SharedMemoryHandle, names) => {
    watchWorkers(handle, names.map(child));
  },
  backendWatch: (name) => attached().watch(child(name)),
  attach: async (handle) => {
    backend = await Backend.attach(handle);
    return backend.slot;
  },
  attachSync: (handle) => {
    backend = Backend.attachSync(handle);
    return backend.slot;
  },
  detach: () => attached().detach(),
  create: (name) => {
    const { buffers } = attached();
    const relation = attached().createRelationSync(name);
    buffers.extendSync(relation, 1);
    buffers.changeSync(relation, 0, (bytes) => initPage(bytes));
  },
  lock: (name) => {
    const { buffers } = attached();
    buffers.lockExclusive(buffers.pin(attached().openRelationSync(name).id, 0));
  },
  readSync: (name) => {
    attached().buffers.readSync(attached().openRelationSync(name), 0)[Symbol.dispose]();
  },
  read: async (name) => {
    const page = await attached().buffers.read(attached().openRelationSync(name), 0);
    page[Symbol.dispose]();
  },
  clients: () => (shared?.backends() ?? []).map(({ threadId }) => threadId),
  exit: (code) => process.exit(code),
  throwUncaught: () => {
    setImmediate(() => {
      throw new Error("on purpose");
    });
  },
  /** Counts without end, and never comes to its event loop. */
  count: (words) => {
    for (;;) Atomics.add(words, 0, 1);
  },
};

parentPort?.on("message", async (call: FamilyCall) => {
  const { id, path, command, args } = call;
  const [next, ...rest] = path;
  const reply = (answer: FamilyAnswer): void => parentPort?.postMessage(answer);
  if (next !== undefined) {
    pending.set(id, (answer) => {
      pending.delete(id);
      reply(answer);
    });
    child(next).postMessage({ ...call, path: rest } satisfies FamilyCall);
    return;
  }
  try {
    const run = commands[command] as (...values: readonly unknown[]) => unknown;
    reply({ id, value: await run(...args) });
  } catch (error) {
    const { code, message, hint } = error as { code?: string; message: string; hint?: string };
    reply({ id, error: { code, message, hint } });
  }
});
