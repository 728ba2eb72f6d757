/** The loader's thread: one backend, one load, then it ends. */

import { parentPort, workerData } from "node:worker_threads";
import { Backend } from "../../bindings/index.ts";
import { ensureLoaded } from "./load.ts";
import { type LoadMessage, type LoadRequest, reportOf } from "./messages.ts";

function post(message: LoadMessage): void {
  parentPort?.postMessage(message);
}

async function run({ handle, ...request }: LoadRequest): Promise<void> {
  const backend = await Backend.attach(handle);
  try {
    const value = await ensureLoaded(backend, {
      ...request,
      onProgress: (progress) => post({ kind: "progress", progress }),
    });
    post({ kind: "done", value });
  } finally {
    backend.detach();
  }
}

run(workerData as LoadRequest).catch((error: unknown) => {
  post({ kind: "failed", error: reportOf(error) });
});
