/**
 * The thread of an I/O worker. Started by a region whose io_method is worker, this module reads for
 * its backends until the region ends. Imported elsewhere, a browser's worker above all, it offers
 * the same as a function.
 *
 * PostgreSQL: src/backend/storage/aio/method_worker.c, IoWorkerMain
 */

import { RegionGoneError } from "./abi/errors.ts";
import { Backend } from "./shared/backend.ts";
import { helperSide } from "./shared/helper-threads.ts";
import { IO_WORKER } from "./shared/io-workers.ts";

/**
 * Makes the calling thread an I/O worker: it reads for other backends, and does nothing else, until
 * the region ends; then the backend is detached. The thread must be one that may sleep, and its
 * backend one that holds nothing.
 *
 * @param backend - attached with `helper: true`, so that it takes none of max_connections
 * @param ready - called when requests begin to reach this worker
 * @throws {@link RegionGoneError} 57P02 if the region did not end in order
 * @example
 * import { Backend } from "palloc";
 * import { runIoWorkerSync } from "palloc/io-worker";
 *
 * onmessage = async ({ data }) => {
 *   runIoWorkerSync(await Backend.attach(data, { helper: true }));
 * };
 */
export function runIoWorkerSync(backend: Backend, ready: () => void = () => {}): void {
  try {
    backend.serveReadsSync(ready);
  } catch (error) {
    if (!(error instanceof RegionGoneError) || error.code !== SHUT_DOWN) throw error;
  } finally {
    backend.detach();
  }
}

/** SQLSTATE of a region that was closed. */
const SHUT_DOWN = "57P01";

const side = helperSide(IO_WORKER);
if (side !== undefined) {
  try {
    const memory = { maxMemory: "64kB" };
    runIoWorkerSync(Backend.attachSync(side.handle, { helper: true, memory }), side.ready);
  } catch (error) {
    side.failed(error);
  }
}
