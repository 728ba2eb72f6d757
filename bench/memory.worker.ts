/** A worker that reads every page and keeps it: through the pool, or in a cache of its own. */

import { closeSync, openSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { LRUCache } from "lru-cache";
import { BLOCK_BYTES } from "../assembly/common/constants.ts";
import { Backend, type SharedMemoryHandle } from "../bindings/index.ts";
import { MEMORY_PAGES } from "./memory.bench.ts";
import type { MemoryWorkerData } from "./memory-child.ts";
import { checkPage, RELATION } from "./pages.ts";

const { handle, file } = workerData as MemoryWorkerData;

function readThroughPool(pool: SharedMemoryHandle): () => void {
  const backend = Backend.attachSync(pool);
  const { id } = backend.openRelationSync(RELATION);
  for (let block = 0; block < MEMORY_PAGES; block += 1) {
    const buffer = backend.buffers.pin(id, block);
    checkPage(backend.buffers.bytes(buffer), block);
    backend.buffers.unpin(buffer);
  }
  return () => backend.detach();
}

function readIntoCache(): () => void {
  const descriptor = openSync(file, "r");
  const pages = new LRUCache<number, Uint8Array>({ max: MEMORY_PAGES });
  for (let block = 0; block < MEMORY_PAGES; block += 1) {
    const page = new Uint8Array(BLOCK_BYTES);
    readSync(descriptor, page, 0, BLOCK_BYTES, block * BLOCK_BYTES);
    checkPage(page, block);
    pages.set(block, page);
  }
  closeSync(descriptor);
  return () => pages.clear();
}

const leave = handle === undefined ? readIntoCache() : readThroughPool(handle);
parentPort?.postMessage("read");
parentPort?.once("message", leave);
