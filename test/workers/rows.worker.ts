// A thread with a memory whose rows are served: computes without returning to its event loop, with
// or without safe points, or waits in it.

import { type MessagePort, workerData } from "node:worker_threads";
import { ProcessMemory, serveRows } from "../../bindings/index.ts";

/** What the thread is started with. */
export interface RowsWorkerData {
  readonly port: MessagePort;
  readonly checked: boolean;
  readonly mode: "computes" | "is deaf" | "waits";
  /** The thread ends its computation when this word is set. */
  readonly stop: Int32Array<SharedArrayBuffer>;
}

const { port, checked, mode, stop } = workerData as RowsWorkerData;
const memory = ProcessMemory.createSync({ checked });
memory.top.createChild("request").alloc(1000);
const server = serveRows(memory, port);
while (mode !== "waits" && Atomics.load(stop, 0) === 0) {
  if (mode === "computes") server.safePoint();
}
