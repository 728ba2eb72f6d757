/**
 * The program whose memory memory.bench.ts measures: starts workers, has each read every page, and
 * prints how many bytes the system holds for it then.
 *
 *   node dist/bench/memory-child.js pool|lru-cache WORKERS DIRECTORY FILE
 */

import { Worker } from "node:worker_threads";
import { SharedMemory, type SharedMemoryHandle } from "../bindings/index.ts";
import { nodeFiles } from "../bindings/storage/node-fs.ts";
import { MEMORY_PAGES } from "./memory.bench.ts";

/** What bench/memory.worker.ts is started with. */
export interface MemoryWorkerData {
  /** The pool; undefined is a private cache over `file`. */
  readonly handle: SharedMemoryHandle | undefined;
  readonly file: string;
}

const [kind, count, directory = "", file = ""] = process.argv.slice(2);

/** Resolves when the worker has read every page, and keeps them. */
function reading(handle: SharedMemoryHandle | undefined): Promise<Worker> {
  const workerData: MemoryWorkerData = { handle, file };
  const worker = new Worker(new URL("./memory.worker.js", import.meta.url), { workerData });
  return new Promise((resolve, reject) => {
    worker.once("message", () => resolve(worker));
    worker.once("error", reject);
  });
}

const shared =
  kind === "pool"
    ? await SharedMemory.create({
        settings: { shared_buffers: MEMORY_PAGES },
        storage: nodeFiles(directory),
      })
    : undefined;
const workers = await Promise.all(
  Array.from({ length: Number(count) }, () => reading(shared?.handle)),
);
process.stdout.write(String(process.memoryUsage.rss()));
for (const worker of workers) worker.postMessage("end");
await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve))));
await shared?.close();
