// A thread with a process memory of its own. Plain JavaScript, since threads run no TypeScript.
//
//   { inhabit: half }   makes 200 chunks low (0) or high (1) in the memory, and plain bytes where
//                       the other half has its chunks; answers where the chunks are
//   { offer: chunks }   offers each to every operation; answers how many calls were refused, and
//                       whether the memory is byte for byte what it was
//
// Started with { live: true } it works in its memory for a moment and ends.

import { parentPort, workerData } from "node:worker_threads";
import { internals, ProcessMemory } from "../../dist/bindings/process/memory.js";

const MEGABYTE = 2 ** 20;
const CHUNKS = 200;

const memory = ProcessMemory.createSync({ maxMemory: "8MB", checked: workerData.checked });

/** A chunk of many plain bytes that look like no header. */
function plain(bytes) {
  const at = memory.top.alloc(bytes);
  memory.u8.fill(0xff, at, at + bytes);
}

function inhabit(half) {
  if (half === 1) plain(2 * MEGABYTE);
  const contexts = [memory.top.createChild("general"), memory.top.createGeneration("generation")];
  const chunks = [];
  // Few bytes: large blocks would lie at the high end of the memory in both.
  for (let index = 0; index < CHUNKS; index += 1) {
    chunks.push(contexts[index % 2].alloc((index % 20) * 8));
  }
  if (half === 0) plain(3 * MEGABYTE);
  return chunks;
}

function offer(chunks) {
  const before = memory.u8.slice();
  let refused = 0;
  for (const chunk of chunks) {
    for (const operation of [
      () => memory.free(chunk),
      () => memory.realloc(chunk, 8),
      () => memory.realloc(chunk, 100_000),
      () => memory.reallocExtended(chunk, 200, 2),
      () => memory.chunkContext(chunk),
      () => memory.chunkSpace(chunk),
    ]) {
      try {
        operation();
      } catch (error) {
        if (error.name === "InvalidPointerError") refused += 1;
      }
    }
  }
  const unchanged = Buffer.compare(memory.u8, before) === 0;
  return { refused, unchanged, heap: internals(memory).exports.checkHeap() };
}

if (workerData.live) {
  const context = memory.top.createChild("life");
  for (let index = 0; index < 1000; index += 1) memory.u8[context.alloc(1000)] = index;
} else {
  parentPort.on("message", (request) => {
    parentPort.postMessage("offer" in request ? offer(request.offer) : inhabit(request.inhabit));
  });
}
