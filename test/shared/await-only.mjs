// A program that does nothing but wait for a page: a worker has it locked and gives it back after a
// while. Neither the worker nor a timer keeps the process alive meanwhile.

import { Worker } from "node:worker_threads";
import { Backend, initPage, SharedMemory } from "../../dist/bindings/index.js";
import { memoryStorage } from "../../dist/bindings/storage/memory.js";

const shared = await SharedMemory.create({
  settings: { shared_buffers: 16, max_connections: 2 },
  storage: memoryStorage(),
});
const backend = Backend.attachSync(shared.handle);
const relation = backend.createRelationSync("t");
backend.buffers.extendSync(relation);
backend.buffers.changeSync(relation, 0, (bytes) => {
  initPage(bytes);
  bytes[5000] = 7;
});
const holder = new Worker(new URL("lock-holder.mjs", import.meta.url), {
  workerData: { handle: shared.handle },
});
await new Promise((resolve) => holder.once("message", resolve));
holder.unref();
const page = await backend.buffers.read(relation, 0);
console.log(`read ${page.bytes[5000]}`);
page[Symbol.dispose]();
backend.detach();
await shared.close();
