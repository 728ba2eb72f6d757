/** The loader's thread: one backend, one load, then it ends. */

import { parentPort, workerData } from "node:worker_threads";
import { Backend } from "../../bindings/index.ts";
import { ensureCsvLoaded } from "./csv/load.ts";
import { ensureFlightsLoaded } from "./flight-load.ts";
import { type LoadMessage, type LoadProgress, type LoadRequest, reportOf } from "./messages.ts";
import { TableCatalog } from "./table-catalog.ts";

function post(message: LoadMessage): void {
  parentPort?.postMessage(message);
}

async function run({ handle, source }: LoadRequest): Promise<void> {
  const backend = await Backend.attach(handle);
  const tables = new TableCatalog(backend);
  const onProgress = (progress: LoadProgress): void => post({ kind: "progress", progress });
  try {
    if (source.kind === "flights") {
      const value = await ensureFlightsLoaded(backend, tables, source, onProgress);
      post({ kind: "done", value, table: { relation: source.relation } });
    } else {
      const { outcome, table } = await ensureCsvLoaded(backend, tables, source, onProgress);
      post({ kind: "done", value: outcome, table });
    }
  } finally {
    backend.detach();
  }
}

run(workerData as LoadRequest).catch((error: unknown) => {
  post({ kind: "failed", error: reportOf(error) });
});
