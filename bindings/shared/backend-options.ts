/**
 * How a backend attaches, and how it makes relations.
 */

import type { ProcessMemoryOptions } from "../process/memory.ts";
import type { StorageOpener } from "../storage/manager.ts";

/** How a backend attaches. */
export interface BackendOptions {
  /** Of the backend's own {@link ProcessMemory}. Default: 64 MB, release build. */
  readonly memory?: ProcessMemoryOptions;
  /** Opens the storage where a thread cannot load the module that the handle names. */
  readonly storage?: StorageOpener;
  /** Who this is, for the rows of activity: `usename`. Up to 63 bytes. Default none. */
  readonly role?: string;
  /** What this is, likewise: `application_name`. Up to 63 bytes. Default none. */
  readonly applicationName?: string;
  /**
   * Takes one of the slots that are kept for helper threads, not one of max_connections. For a
   * thread that calls `runIoWorkerSync`. Default false.
   */
  readonly helper?: boolean;
  /**
   * Gets warnings: pins that were leaked, pages that were zeroed. Default: Node's
   * `process.emitWarning`.
   */
  readonly onWarning?: (message: string) => void;
  /** Attaches although the region is shutting down. @internal */
  readonly last?: boolean;
}

/** How a relation is made. */
export interface CreateOptions {
  /**
   * Seen by this backend alone, kept in its local buffers, gone when it detaches; no checkpoint
   * knows of it. Its name hides a relation of the same name that all see. Default false.
   */
  readonly temporary?: boolean;
}
