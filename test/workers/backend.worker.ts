// A worker that does what the test tells it: each message names a command; the answer is its result
// or its error. One backend, attached by command.

import { parentPort, Worker, workerData } from "node:worker_threads";
import {
  Backend,
  BLOCK_BYTES,
  type BufferId,
  type ChunkPtr,
  initPage,
  type Relation,
  type SharedMemoryHandle,
} from "../../bindings/index.ts";
import type { Answer, Call, Commands } from "./commands.ts";

const { handle } = workerData as { handle: SharedMemoryHandle };
let attached: Backend | undefined;

function backend(): Backend {
  if (attached === undefined) throw new Error("not attached");
  return attached;
}

function relation(name: string): Relation {
  return backend().openRelationSync(name);
}

/** Byte of a page that the commands read and change: behind the page header. */
const VALUE_AT = 4096;

const commands: Commands = {
  attach: (other) => {
    attached = Backend.attachSync(other ?? handle);
    return attached.slot;
  },
  detach: () => backend().detach(),
  pin: (name, block) => backend().buffers.pin(relation(name).id, block),
  unpin: (buffer) => backend().buffers.unpin(buffer as BufferId),
  lockShare: (buffer) => backend().buffers.lockShare(buffer as BufferId),
  lockExclusive: (buffer) => backend().buffers.lockExclusive(buffer as BufferId),
  unlock: (buffer) => backend().buffers.unlock(buffer as BufferId),
  beginChange: (buffer) => backend().buffers.beginChange(buffer as BufferId),
  scribble: (buffer) =>
    void backend()
      .buffers.bytes(buffer as BufferId)
      .fill(0xee),
  create: (name, blocks) => {
    const made = backend().createRelationSync(name);
    const first = backend().buffers.extendSync(made, blocks);
    for (let block = first; block < blocks; block += 1) {
      backend().buffers.changeSync(made, block, (bytes) => initPage(bytes));
    }
    return backend().checkpointSync().buffersWritten;
  },
  read: (name, block) => {
    using page = backend().buffers.readSync(relation(name), block);
    return page.bytes[VALUE_AT] ?? -1;
  },
  /**
   * Adds one to a 32-bit count on random pages, `times` times; returns nothing that is not done.
   */
  increment: (name, blocks, times, seed) => {
    const target = relation(name);
    let random = seed;
    for (let turn = 0; turn < times; turn += 1) {
      random = (Math.imul(random, 1103515245) + 12345) >>> 0;
      const block = (random >>> 8) % blocks;
      backend().buffers.changeSync(target, block, (bytes) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        view.setUint32(VALUE_AT, view.getUint32(VALUE_AT, true) + 1, true);
      });
    }
    return times;
  },
  sum: (name, blocks) => {
    const target = relation(name);
    let sum = 0;
    for (let block = 0; block < blocks; block += 1) {
      using page = backend().buffers.readSync(target, block);
      const { bytes } = page;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      sum += view.getUint32(VALUE_AT, true);
    }
    return sum;
  },
  /** Waits until `others` workers have come here, then pins a page; for misses at one moment. */
  pinTogether: (name, block, others) => {
    const target = relation(name);
    const { words } = backend().segment("barrier");
    Atomics.add(words, 0, 1);
    while (Atomics.load(words, 0) < others);
    const buffer = backend().buffers.pin(target.id, block);
    backend().buffers.unpin(buffer);
    return buffer;
  },
  checkpoint: () => backend().checkpointSync().buffersWritten,
  blocks: (name) => relation(name).blocksSync(),
  extend: (name, blocks) => backend().buffers.extendSync(relation(name), blocks),
  truncate: (name, blocks) => backend().truncateSync(relation(name), blocks),
  drop: (name) => backend().dropRelationSync(name),
  spill: (blocks) => {
    const { top } = backend().memory;
    const file = backend().createTemporaryFile();
    const block = top.alloc(BLOCK_BYTES);
    for (let written = 0; written < blocks; written += 1) file.append(block, BLOCK_BYTES);
    const temporary = backend().createRelationSync("mine", { temporary: true });
    backend().buffers.extendSync(temporary, blocks);
  },
  flush: (name) => backend().buffers.flushSync(relation(name)),
  /** Begins to read all blocks, as promises that nobody awaits. */
  startReading: (name, blocks) => {
    const target = relation(name);
    for (let block = 0; block < blocks; block += 1) {
      backend()
        .buffers.read(target, block)
        .then((page) => page[Symbol.dispose]())
        .catch(() => {});
    }
  },
  /** Neither waits nor looks. */
  compute: (milliseconds, begun) => {
    Atomics.store(begun, 0, 1);
    const until = performance.now() + milliseconds;
    while (performance.now() < until);
  },
  allocate: (bytes) => backend().memory.top.alloc(bytes),
  free: (chunk) => backend().memory.free(chunk as ChunkPtr),
  exit: (code) => process.exit(code),
  throwUncaught: () => {
    setImmediate(() => {
      throw new Error("on purpose");
    });
  },
  /** A worker of this worker, which the region's owner cannot see, tries to attach. */
  attachInChild: () => {
    const child = new Worker(new URL(import.meta.url), { workerData: { handle } });
    child.postMessage({ id: 0, command: "attach", args: [] } satisfies Call);
    return new Promise((resolve, reject) => {
      child.once("message", (answer: Answer) => {
        void child.terminate();
        if (answer.error === undefined) resolve(answer.value as number);
        else reject(Object.assign(new Error(answer.error.message), answer.error));
      });
    });
  },
};

parentPort?.on("message", async ({ id, command, args }: Call) => {
  try {
    const run = commands[command] as (...values: unknown[]) => unknown;
    const value = await run(...args);
    parentPort?.postMessage({ id, value } satisfies Answer);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    parentPort?.postMessage({ id, error: { code, message } } satisfies Answer);
  }
});
