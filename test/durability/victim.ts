// A process that is to be killed: two threads change pages of a relation each, round and round, and
// a third takes checkpoints and says of each what it must contain at least.
//
//   node victim.js DIRECTORY        prints "checkpoint changes0 changes1" a line
//
// Change i of a thread goes to block i % BLOCKS, so that a number says what a relation looks like.

import { writeSync } from "node:fs";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Backend, SharedMemory, type SharedMemoryHandle } from "../../bindings/index.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { stamp } from "./pages.ts";

/** More than the pool has. */
const BLOCKS = 40;
const SEGMENT_BLOCKS = 16;
const CHANGERS = 2;
/** Segment of counters: how many changes each thread has made. */
const PROGRESS = "progress";

interface Part {
  readonly handle: SharedMemoryHandle;
  /** A changer's number, or CHANGERS for the one that takes checkpoints. */
  readonly n: number;
}

if (isMainThread) await own(process.argv[2] ?? "");
else {
  const { handle, n } = workerData as Part;
  const backend = Backend.attachSync(handle);
  const { words: counters } = backend.segment(PROGRESS);
  if (n < CHANGERS) change(backend, counters, n);
  else takeCheckpoints(backend, counters);
}

async function own(directory: string): Promise<void> {
  const storage = nodeFiles(directory, { segmentBlocks: SEGMENT_BLOCKS });
  const settings = { shared_buffers: "128kB", max_connections: 4 };
  const segments = { [PROGRESS]: CHANGERS * Int32Array.BYTES_PER_ELEMENT };
  const { handle } = await SharedMemory.create({ storage, settings, segments });
  for (let n = 0; n <= CHANGERS; n += 1) {
    new Worker(new URL(import.meta.url), { workerData: { handle, n } satisfies Part });
  }
}

function change(backend: Backend, counters: Int32Array, n: number): never {
  const name = `changer ${n}`;
  if (!backend.relationNamesSync().includes(name)) {
    backend.createRelationSync(name);
  }
  const relation = backend.openRelationSync(name);
  const missing = BLOCKS - relation.blocksSync();
  if (missing > 0) backend.buffers.extendSync(relation, missing);
  let done = 0;
  for (let block = 0; block < BLOCKS; block += 1) {
    using page = backend.buffers.readSync(relation, block);
    done += new Uint32Array(page.bytes.slice().buffer)[8] ?? 0;
  }
  for (; ; done += 1) {
    Atomics.store(counters, n, done);
    const block = done % BLOCKS;
    const version = Math.floor(done / BLOCKS) + 1;
    backend.buffers.changeSync(relation, block, (bytes) =>
      stamp(bytes, { uid: n, block, version }),
    );
  }
}

function takeCheckpoints(backend: Backend, counters: Int32Array): never {
  for (;;) {
    const least = [...counters];
    const { checkpoint } = backend.checkpointSync();
    writeSync(1, `${[checkpoint, ...least].join(" ")}\n`);
  }
}
