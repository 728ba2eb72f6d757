// Storage in memory that notes each block read and written, in one order for all threads: the notes
// stand in shared memory, and an I/O worker opens this file's built form from the handle.

import type { StorageHandle, StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage, openStorage as openMemory } from "../../bindings/storage/memory.ts";

/** Notes that a storage has room for. */
const NOTES = 65536;
/** A note is twice the block, and one more for a write. */
const WRITE = 1;

interface NotedHandle extends StorageHandle {
  readonly inner: StorageHandle;
  readonly notes: SharedArrayBuffer;
}

/** New storage, and what has been noted since it was last asked. */
export function notedStorage(): { storage: StorageManager; take: () => string[] } {
  const notes = new SharedArrayBuffer((1 + NOTES) * Int32Array.BYTES_PER_ELEMENT);
  const words = new Int32Array(notes);
  const inner = memoryStorage();
  const module = new URL("../../dist/test/support/noted-storage.js", import.meta.url).href;
  const handle: NotedHandle = { kind: "noted", module, inner: inner.handle, notes };
  let taken = 0;
  const take = (): string[] => {
    const from = taken;
    taken = Atomics.load(words, 0);
    if (taken > NOTES) throw new RangeError(`${taken} notes, and room for ${NOTES}`);
    return Array.from(words.subarray(1 + from, 1 + taken), (note) => {
      return `${(note & WRITE) === 0 ? "read" : "write"} ${note >> 1}`;
    });
  };
  return { storage: noting(inner, handle), take };
}

/** Opens it in a thread, or once more in the same. */
export function openStorage(handle: StorageHandle): StorageManager {
  return noting(openMemory((handle as NotedHandle).inner), handle as NotedHandle);
}

function noting(inner: StorageManager, handle: NotedHandle): StorageManager {
  const words = new Int32Array(handle.notes);
  const note = (block: number, what: number): void => {
    words[1 + Atomics.add(words, 0, 1)] = block * 2 + what;
  };
  return new Proxy(inner, {
    get(target, name) {
      if (name === "handle") return handle;
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      return (...values: unknown[]): unknown => {
        const result: unknown = member.apply(target, values);
        const [, , block, pages] = values as [number, number, number, unknown[]];
        const what = String(name).startsWith("write") ? WRITE : 0;
        if (name === "readSync" || name === "writeSync") note(block, what);
        if (name === "readvSync" || name === "writevSync") {
          for (let index = 0; index < pages.length; index += 1) note(block + index, what);
        }
        return result;
      };
    },
  });
}
