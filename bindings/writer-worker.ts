/**
 * `palloc/writer-worker`: the script of the thread that `SharedMemory.startWriter` starts. On Node
 * nobody imports it; in a browser, where the user makes the worker, it may be that worker's script:
 * it waits for one message, the region's handle.
 */

import type { SharedMemoryHandle } from "./shared/handle.ts";
import { helperSide } from "./shared/helpers.ts";
import { runWriters } from "./shared/writer-thread.ts";

interface WorkerScope {
  addEventListener?(
    type: "message",
    listener: (event: { readonly data: SharedMemoryHandle }) => void,
    options: { readonly once: boolean },
  ): void;
  reportError?(error: unknown): void;
}

const side = helperSide("writer");
if (side !== undefined) {
  const { handle, ready, failed } = side;
  runWriters(handle, { onReady: ready, onError: failed }).catch(failed);
} else {
  const scope = globalThis as unknown as WorkerScope;
  const onError = (error: unknown): void => scope.reportError?.(error);
  const run = ({ data }: { readonly data: SharedMemoryHandle }): void => {
    runWriters(data, { onError }).catch(onError);
  };
  scope.addEventListener?.("message", run, { once: true });
}
