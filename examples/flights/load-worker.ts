/** The loader's thread: it connects, loads one table, disconnects. */

import { parentPort, workerData } from "node:worker_threads";
import { Session } from "../../bindings/index.ts";
import { ensureCsvLoaded } from "./csv/load.ts";
import { loadFlights } from "./flight-load.ts";
import type { TableLoad } from "./load.ts";
import { type LoadMessage, type LoadRequest, reportOf } from "./messages.ts";
import { SessionLog } from "./sight.ts";
import { TableCatalog } from "./table-catalog.ts";

function post(message: LoadMessage): void {
  parentPort?.postMessage(message);
}

async function run({ handle, source }: LoadRequest): Promise<void> {
  const session = await Session.connect(handle, { applicationName: "the loader" });
  try {
    const tables = new TableCatalog(session.backend);
    const log = new SessionLog(session, tables);
    const load: TableLoad = {
      ...{ session, tables },
      onProgress: (progress) => post({ kind: "progress", progress }),
    };
    const value =
      source.kind === "flights"
        ? await loadFlights(load, source)
        : await ensureCsvLoaded(load, source);
    post({ kind: "done", value, use: log.use });
  } finally {
    session.close();
  }
}

run(workerData as LoadRequest).catch((error: unknown) => {
  post({ kind: "failed", error: reportOf(error) });
});
