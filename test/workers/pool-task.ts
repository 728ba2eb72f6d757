// Tasks of a piscina pool that knows nothing of palloc: each attaches its thread at its first task.

import { Backend, initPage, type SharedMemoryHandle } from "../../bindings/index.ts";

/** What a task is to do. */
export interface PoolTask {
  readonly handle: SharedMemoryHandle;
  readonly kind: "fill" | "add" | "hold";
  /** Word 0 is set by a task that holds something. */
  readonly words: Int32Array;
}

export const RELATION = "t";
export const BLOCKS = 64;
export const COUNT_AT = 4096;

let backend: Backend | undefined;

/** Runs one task; the slot of its backend. */
export function runPoolTask({ handle, kind, words }: PoolTask): number {
  backend ??= Backend.attachSync(handle);
  const { buffers } = backend;
  if (kind === "fill") {
    const relation = backend.createRelationSync(RELATION);
    buffers.extendSync(relation, BLOCKS);
    for (let block = 0; block < BLOCKS; block += 1) {
      buffers.changeSync(relation, block, (bytes) => initPage(bytes));
    }
    return backend.slot;
  }
  const relation = backend.openRelationSync(RELATION);
  if (kind === "hold") {
    const buffer = buffers.pin(relation.id, 0);
    buffers.lockExclusive(buffer);
    buffers.beginChange(buffer);
    buffers.bytes(buffer).fill(0xee);
    Atomics.store(words, 0, 1);
    Atomics.wait(words, 0, 1);
  }
  for (let block = 0; block < BLOCKS; block += 1) {
    buffers.changeSync(relation, block, (bytes) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      view.setUint32(COUNT_AT, view.getUint32(COUNT_AT, true) + 1, true);
    });
  }
  return backend.slot;
}
