/**
 * How a region is created, and what its owner is told of.
 */

import type { StorageManager } from "../storage/manager.ts";
import type { ScriptAddress } from "./helper-threads.ts";
import type { LightweightLockOptions } from "./lightweight-lock.ts";
import type { Settings } from "./settings.ts";

/** How a region is created. */
export interface SharedMemoryOptions {
  /** PostgreSQL's parameters by their names. */
  readonly settings?: Settings;
  /** Where pages come from and go to. The region closes it. */
  readonly storage: StorageManager;
  /** Structures of the user's own: name, up to 48 bytes, to length in bytes. At most 64. */
  readonly segments?: Readonly<Record<string, number>>;
  /** Locks of the user's own, by name; see `backend.lwlock`. At most 4,096. */
  readonly locks?: Readonly<Record<string, LightweightLockOptions>>;
  /** Names of condition variables of the user's own; see `backend.conditionVariable`. */
  readonly conditions?: readonly string[];
  /**
   * Where the script of I/O workers lies, with io_method worker; `false` starts none: then the user
   * does, with `runIoWorkerSync`. Default: the package's own on Node, none in a browser.
   */
  readonly ioWorkers?: ScriptAddress | false;
  /** Take the checked build: invariants are tested at a cost. Default false. */
  readonly checked?: boolean;
}

/** How the thread of the writers is started. */
export interface WriterThreadOptions {
  /** Where `palloc/writer-worker` lies, if a bundler has moved it. Default: beside this module. */
  readonly entry?: ScriptAddress;
}

/** A backend that ended without detaching. What it held has been given back. */
export interface BackendDeath {
  readonly slot: number;
  readonly threadId: number;
}
