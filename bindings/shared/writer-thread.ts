/**
 * Background writer and checkpointer together, side by side in one thread, as two backends. What
 * `startWriter` runs in a worker of its own; in a browser the user's worker calls it.
 *
 * PostgreSQL: two processes, postmaster/bgwriter.c and postmaster/checkpointer.c. They share a
 * thread here because each spends its time waiting; a sync of the checkpointer holds up the other.
 */

import type { StorageOpener } from "../storage/manager.ts";
import { Backend } from "./backend.ts";
import type { BackendOptions } from "./backend-options.ts";
import type { SharedMemoryHandle } from "./handle.ts";
import type { WriterOptions } from "./writers.ts";

/** How {@link runWriters} runs. */
export interface RunWritersOptions extends WriterOptions {
  /** Opens the storage where a thread cannot load the module that the handle names. */
  readonly storage?: StorageOpener;
  /** Called when both are attached. */
  readonly onReady?: () => void;
}

/** They allocate nothing. */
const PRIVATE_MEMORY = "1MB";

/**
 * Attaches a background writer and a checkpointer to a region, in slots beside max_connections,
 * and runs them until the region ends or the signal says so; then detaches them. For a worker that
 * has nothing else to do: while pages are written or synced, the thread does nothing else.
 *
 * @throws what {@link Backend.attach} throws, and the first error if there is no `onError`
 */
export async function runWriters(
  handle: SharedMemoryHandle,
  { storage, onReady, ...loop }: RunWritersOptions = {},
): Promise<void> {
  const options: BackendOptions = {
    memory: { maxMemory: PRIVATE_MEMORY },
    helper: true,
    ...(storage === undefined ? {} : { storage }),
  };
  const writer = await Backend.attach(handle, options);
  try {
    const checkpointer = await Backend.attach(handle, options);
    try {
      const loops = [writer.backgroundWriter().run(loop), checkpointer.checkpointer().run(loop)];
      onReady?.();
      await Promise.all(loops);
    } finally {
      checkpointer.detach();
    }
  } finally {
    writer.detach();
  }
}
