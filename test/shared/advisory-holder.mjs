// Holds an advisory lock for a while, without an event loop, and leaves without unlocking it.

import { parentPort, workerData } from "node:worker_threads";
import { Backend } from "../../dist/bindings/index.js";

const HOLD_MS = 400;

const backend = Backend.attachSync(workerData.handle);
backend.locks.advisoryLockSync(7);
parentPort.postMessage("locked");
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, HOLD_MS);
backend.detach();
