// A program that does nothing but wait for a lock: a worker has it and gives it back after a while.
// Neither the worker nor a timer keeps the process alive meanwhile.

import { Worker } from "node:worker_threads";
import { Backend, SharedMemory } from "../../dist/bindings/index.js";
import { memoryStorage } from "../../dist/bindings/storage/memory.js";

const shared = await SharedMemory.create({
  settings: { shared_buffers: 16, max_connections: 2 },
  storage: memoryStorage(),
});
const backend = Backend.attachSync(shared.handle);
const holder = new Worker(new URL("advisory-holder.mjs", import.meta.url), {
  workerData: { handle: shared.handle },
});
await new Promise((resolve) => holder.once("message", resolve));
holder.unref();
await backend.locks.advisoryLock(7);
console.log("locked");
backend.detach();
await shared.close();
