// Holds a page's lock for a while, without an event loop, and leaves.

import { parentPort, workerData } from "node:worker_threads";
import { Backend } from "../../dist/bindings/index.js";

const HOLD_MS = 400;

const backend = Backend.attachSync(workerData.handle);
const buffer = backend.buffers.pin(backend.openRelationSync("t").id, 0);
backend.buffers.lockExclusive(buffer);
parentPort.postMessage("locked");
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, HOLD_MS);
backend.buffers.unlock(buffer);
backend.buffers.unpin(buffer);
backend.detach();
