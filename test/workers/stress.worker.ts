// A thread of a stress test: attaches to each region it is told of, works until it is told to stop
// or the region ends, and says which. It does not return to its event loop in between.

import { parentPort, workerData } from "node:worker_threads";
import { Backend, type SharedMemoryHandle } from "../../bindings/index.ts";
import { openStorage } from "../../bindings/storage/node-fs.ts";
import { Load } from "./stress-load.ts";
import { Board, type Life } from "./stress-words.ts";

/** What the thread is started with. */
export interface StressWorkerData extends Life {
  readonly words: Int32Array;
  readonly seed: number;
  readonly onFiles: boolean;
  readonly checkpoints: boolean;
}

/** What it says: the region has ended; all is done; or the error that it met. */
export type StressWord = "gone" | "done" | string;

const { words, party, life, seed, onFiles, checkpoints } = workerData as StressWorkerData;
const board = new Board(words);

function work(handle: SharedMemoryHandle): StressWord {
  let backend: Backend | undefined;
  try {
    backend = Backend.attachSync(handle, onFiles ? { storage: openStorage } : {});
    new Load({ backend, board, party, life, seed, checkpoints }).run();
    if (backend.buffers.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
    return "done";
  } catch (error) {
    if ((error as { code?: string }).code === "57P02") return "gone";
    return `party ${party}, life ${life}, seed ${seed}: ${(error as Error).stack}`;
  } finally {
    backend?.detach();
  }
}

parentPort?.on("message", (handle: SharedMemoryHandle) => parentPort?.postMessage(work(handle)));
