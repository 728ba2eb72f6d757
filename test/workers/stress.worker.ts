// A thread of a stress test: attaches, works until it is told to stop, detaches, and says how it
// ended. It never returns to its event loop in between.

import { parentPort, workerData } from "node:worker_threads";
import { Backend, type SharedMemoryHandle } from "../../bindings/index.ts";
import { openStorage } from "../../bindings/storage/node-fs.ts";
import { Load } from "./stress-load.ts";
import { Board, SEGMENT } from "./stress-words.ts";

/** What the thread is started with. */
export interface StressWorkerData {
  readonly handle: SharedMemoryHandle;
  readonly party: number;
  readonly seed: number;
  readonly onFiles: boolean;
}

const { handle, party, seed, onFiles } = workerData as StressWorkerData;
try {
  const backend = Backend.attachSync(handle, onFiles ? { storage: openStorage } : {});
  const board = new Board(backend.segment(SEGMENT).words);
  new Load({ backend, board, party, seed, checkpoints: party === 1 }).run();
  if (backend.buffers.pinnedBuffers() !== 0) throw new Error("a pin was not given back");
  backend.detach();
  parentPort?.postMessage("done");
} catch (error) {
  parentPort?.postMessage(`party ${party}, seed ${seed}: ${(error as Error).stack}`);
}
