/**
 * The region and its owner: what the postmaster is to a server. The owner sizes and creates the
 * shared memory, confirms who attaches, and gives back what dead backends held. It touches no page.
 *
 * Life of a region: create → backends attach and detach → close. Nothing in it grows. When a thread
 * ends without detaching its slot is repaired (assembly/buffer/reap.ts), and listeners are told.
 *
 * PostgreSQL: src/backend/postmaster/postmaster.c; src/backend/storage/ipc/ipci.c
 */

import {
  BLOCK_BYTES,
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_ENDED,
  LIFE_REFUSED,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  LIFE_WATCHED,
  PARTS,
  REGION_CLOSING_OFFSET,
  REGION_JOURNAL_RECORDS_OFFSET,
  REGION_REQUESTS_OFFSET,
  ST_BUSY,
  STATUS_SHUTDOWN,
} from "../../assembly/common/constants.ts";
import { ClosedError, PallocError } from "../abi/errors.ts";
import { compile } from "../abi/load.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { StorageManager } from "../storage/manager.ts";
import { type ActivityRow, activityRows } from "./activity.ts";
import { Admission } from "./admission.ts";
import { ownedRegions } from "./attach.ts";
import { Backend } from "./backend.ts";
import { type CarvedRegion, carve, checkSegments } from "./carve.ts";
import { readControl } from "./control.ts";
import { type SharedMemoryHandle, type SharedSegment, segmentOf } from "./handle.ts";
import { type HelperError, Helpers, type ScriptAddress } from "./helper-threads.ts";
import { type BackendTarget, cancelBackend, terminateBackend } from "./interrupts.ts";
import { startIoWorkers } from "./io-workers.ts";
import { initialiseStorage, type RecoveryResult, recover, restart } from "./recovery.ts";
import { type ResolvedSettings, resolveSettings, type Settings } from "./settings.ts";
import { type ShutdownOptions, shutDown } from "./shutdown.ts";
import {
  type BackendRow,
  type BufferStatistics,
  backendRows,
  countersOf,
  type ShmemAllocationRow,
  shmemAllocations,
  sumCounters,
  type UsageCountRow,
  usageCounts,
} from "./statistics.ts";
import { removeTemporaries } from "./temp-relations.ts";
import {
  atThreadExit,
  nodeIdentity,
  type ThreadWatch,
  type WatchableWorker,
  watchThreads,
} from "./threads.ts";
import { SharedViews } from "./views.ts";
import { changed } from "./word-change.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** A reaper that met a partition lock in use tries again after this. */
const REAP_AGAIN_MS = 1;

/** Script of the writers' thread, from this folder. */
const WRITER_ENTRY = "../writer-worker.js";

/** How a region is created. */
export interface SharedMemoryOptions {
  /** PostgreSQL's parameters by their names. */
  readonly settings?: Settings;
  /** Where pages come from and go to. The region closes it. */
  readonly storage: StorageManager;
  /** Structures of the user's own: name, up to 48 bytes, to length in bytes. At most 64. */
  readonly segments?: Readonly<Record<string, number>>;
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

/** A region of shared memory, seen by the thread that created it. */
export class SharedMemory {
  readonly settings: ResolvedSettings;
  /** Post this to the threads that shall attach. */
  readonly handle: SharedMemoryHandle;
  /** What had to be put back when the region was created. */
  readonly recovery: RecoveryResult;
  /** Buffers, I/O, checkpoints as the rows of PostgreSQL's views. */
  readonly views: SharedViews;
  readonly #exports: SharedExports;
  readonly #buffer: SharedArrayBuffer;
  readonly #storage: StorageManager;
  readonly #release: (() => void) | undefined;
  readonly #watch: ThreadWatch;
  readonly #helpers: Helpers;
  readonly #listeners = new Set<(death: BackendDeath) => void>();
  readonly #admission: Admission;
  readonly #forgetExit: () => void;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(parts: RegionParts) {
    this.settings = parts.settings;
    this.handle = parts.handle;
    this.#exports = parts.exports;
    this.#buffer = parts.handle.memory.buffer;
    this.#storage = parts.storage;
    this.#release = parts.release;
    this.recovery = parts.recovery;
    const { handle, exports } = parts;
    this.views = new SharedViews({ handle, exports, mustBeOpen: () => this.#mustBeOpen() });
    this.#watch = watchThreads(this.handle.region, (token) => this.#threadEnded(token));
    this.#admission = new Admission(exports, this.#buffer, this.#watch);
    this.#forgetExit = atThreadExit(() => this.#end());
    this.#helpers = new Helpers(handle, (worker) => this.#watch.watch(worker));
    ownedRegions.set(this.handle.region, { admitSync: (slot) => this.#admit(slot, true) });
    void this.#listen();
  }

  /**
   * Creates a region, sized by `shared_buffers` and `max_connections`, over a storage. Storage that
   * is new is initialised; storage that is damaged, or of another format, is refused.
   *
   * @throws {@link InvalidParameterError} 22023 for a setting out of range
   * @throws {@link OutOfMemoryError} 53200 if the region does not fit a WebAssembly memory
   * @throws {@link PallocError} 55000 for storage of another format, XX001 for damage
   * @see PostgreSQL: src/backend/storage/ipc/ipci.c, CreateSharedMemoryAndSemaphores
   */
  static async create(options: SharedMemoryOptions): Promise<SharedMemory> {
    const settings = resolveSettings(options.settings);
    const segments = checkSegments(options.segments ?? {});
    const module = await compile("shared", options.checked ?? false);
    const { storage } = options;
    const release = await storage.claim?.();
    try {
      const region = carve(module, settings, segments);
      const recovery = prepareStorage(storage, settings, region);
      const handle: SharedMemoryHandle = {
        kind: "palloc.SharedMemory",
        region: crypto.randomUUID(),
        owner: nodeIdentity()?.token ?? 0,
        memory: region.memory,
        module,
        settings: settings.values,
        storage: storage.handle,
        segments: region.places,
      };
      const { exports } = region;
      const shared = new SharedMemory({ settings, handle, exports, storage, recovery, release });
      await shared.#startIoWorkers(options.ioWorkers);
      return shared;
    } catch (error) {
      release?.();
      throw error;
    }
  }

  async #startIoWorkers(entry: ScriptAddress | false | undefined): Promise<void> {
    try {
      await startIoWorkers(this.#helpers, this.settings, entry);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Size of the whole region in bytes. */
  get regionBytes(): number {
    return this.#buffer.byteLength;
  }

  /**
   * Has the end of a worker noticed that was created before the region. Later ones are seen by
   * themselves, if this thread creates them. Node only.
   */
  watch(worker: WatchableWorker): void {
    this.#mustBeOpen();
    this.#watch.watch(worker);
  }

  /** Calls `listener` after each backend that ended without detaching. @returns takes that back */
  onBackendDeath(listener: (death: BackendDeath) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Starts a thread that writes behind all others: the background writer, and the checkpointer that
   * takes a checkpoint every `checkpoint_timeout`. They are backends of their own, in slots beside
   * max_connections. The thread ends when the region closes, does not keep the process alive, and
   * is started again if it dies. Resolves when both are attached. Node only; in a browser's worker
   * call {@link runWriters}.
   *
   * @throws {@link PallocError} 55000 if there is one already, or why the thread could not start
   */
  async startWriter(options: WriterThreadOptions = {}): Promise<void> {
    this.#mustBeOpen();
    await this.#helpers.startOnce({ helper: "writer", entry: options.entry ?? WRITER_ENTRY });
  }

  /**
   * Calls `listener` with each error that a helper thread meets, and with its unexpected end.
   * Without a listener it is a warning of the process. @returns takes that back
   */
  onHelperError(listener: (error: HelperError) => void): () => void {
    return this.#helpers.onError(listener);
  }

  /**
   * A structure of the user's own in shared memory, as every backend sees it.
   *
   * @throws {@link PallocError} 42704 if the region was created without it
   */
  segment(name: string): SharedSegment {
    this.#mustBeOpen();
    return segmentOf(this.handle, name);
  }

  /** What all backends have done with the pool so far. */
  statistics(): BufferStatistics {
    this.#mustBeOpen();
    const { departed, columns } = countersOf(this.handle);
    return sumCounters(this.#buffer, [...departed, ...columns]);
  }

  /** Rows of `pg_buffercache_usage_counts()`. Cost grows with the number of buffers. */
  usageCounts(): UsageCountRow[] {
    this.#mustBeOpen();
    return usageCounts(this.#exports, this.settings.sharedBuffers);
  }

  /** Rows of `pg_shmem_allocations`; their `allocated_size` sums to {@link regionBytes}. */
  allocations(): ShmemAllocationRow[] {
    const entries = PARTS + Object.keys(this.handle.segments).length;
    return shmemAllocations(this.#buffer, entries);
  }

  /** The slots in use. */
  backends(): BackendRow[] {
    this.#mustBeOpen();
    return backendRows(this.#exports, this.#slots());
  }

  /** Rows of `pg_stat_activity`: every backend that is attached, helpers included. */
  activity(): ActivityRow[] {
    this.#mustBeOpen();
    return activityRows(this.#buffer);
  }

  /**
   * Asks backends to cancel what they do: it fails with 57014. @returns false if there is none
   */
  cancelBackend(target: BackendTarget): boolean {
    this.#mustBeOpen();
    return cancelBackend(this.#exports, this.#slots(), target);
  }

  /**
   * Asks backends to end: what they do fails with 57P01, and they detach; a thread that computes
   * and never waits does not notice. @returns false if there is none
   */
  terminateBackend(target: BackendTarget): boolean {
    this.#mustBeOpen();
    return terminateBackend(this.#exports, this.#slots(), target);
  }

  /**
   * Ends the region in one of PostgreSQL's three modes. Smart waits until all clients are gone;
   * fast has them end, 57P01; both then take a checkpoint. Immediate is {@link close}. From the
   * beginning on an attach fails with 57P03. Backends of this very thread count as well.
   *
   * @throws {@link PallocError} 57014 if clients are still there when the time is up; the region
   *   runs on, closed to newcomers, and may be shut down again
   */
  shutdown(options: ShutdownOptions = {}): Promise<void> {
    this.#mustBeOpen();
    const lastClient = this.settings.maxConnections;
    return shutDown(
      {
        forbidAttaching: () => this.#setClosing(1),
        clients: () => this.backends().filter(({ slot }) => slot <= lastClient),
        terminate: (slot) => void this.terminateBackend({ slot }),
        checkpoint: () => this.#lastCheckpoint(),
        close: () => this.close(),
      },
      options,
    );
  }

  #setClosing(closing: number): void {
    Atomics.store(new Int32Array(this.#buffer), REGION_CLOSING_OFFSET / WORD_BYTES, closing);
  }

  async #lastCheckpoint(): Promise<void> {
    const storage = unclosable(this.#storage);
    const lastBackend = await Backend.attach(this.handle, { storage: () => storage, last: true });
    try {
      await lastBackend.checkpoint();
    } finally {
      lastBackend.detach();
    }
  }

  /**
   * Shuts the region down: every further call of a backend fails with 57P01, sleepers wake to that,
   * helper threads end, and the storage is closed. Dirty pages are not written: the next start
   * finds the last checkpoint; {@link shutdown} takes one. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  /** Every call fails from now on. Also where this thread ends in an orderly way. */
  #end(): void {
    this.#closed = true;
    ownedRegions.delete(this.handle.region);
    this.#watch.close();
    this.#forgetExit();
    this.#exports.setStatus(STATUS_SHUTDOWN);
    this.#exports.wakeEverybody();
    this.#exports.requestAttach();
  }

  async #shutDown(): Promise<void> {
    this.#end();
    try {
      if (this.#helpers.count > 0) await this.#helpers.close();
    } finally {
      this.#closeStorage();
    }
  }

  #closeStorage(): void {
    try {
      this.#storage.closeSync();
    } finally {
      this.#release?.();
    }
  }

  /** {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // ── Attaching ──────────────────────────────────────────────────────────────────────────────────

  /** Answers attach requests until the region closes. Does not keep the process alive. */
  async #listen(): Promise<void> {
    const words = new Int32Array(this.#buffer);
    const index = REGION_REQUESTS_OFFSET / WORD_BYTES;
    while (!this.#closed) {
      const seen = Atomics.load(words, index);
      for (let slot = 1; slot < this.#slots(); slot += 1) await this.#answer(slot);
      if (!this.#closed) await changed(words, index, seen);
    }
  }

  async #answer(slot: number): Promise<void> {
    const life = this.#exports.slotLife(slot) >>> 0;
    if ((life & LIFE_STATE_MASK) === LIFE_ENDED) this.#threadEnded(life >>> LIFE_STATE_BITS);
    const verdict = await this.#admission.judge(slot);
    if (!this.#closed && verdict !== undefined) this.#admit(slot, verdict === "admit");
  }

  #admit(slot: number, admitted: boolean): void {
    for (const state of [LIFE_CLAIMED, LIFE_WATCHED]) {
      this.#exports.advanceSlot(slot, state, admitted ? LIFE_ACTIVE : LIFE_REFUSED);
    }
    const word = (this.#exports.slotAddress(slot) >>> 0) / WORD_BYTES;
    Atomics.notify(new Int32Array(this.#buffer), word);
  }

  // ── Death ──────────────────────────────────────────────────────────────────────────────────────

  /** A thread has ended, and with it its workers: whatever slots they had are given back. */
  #threadEnded(token: number): void {
    if (this.#closed) return;
    for (const { slot, threadId } of backendRows(this.#exports, this.#slots())) {
      if (threadId !== token && this.#admission.watcherOf(slot) !== token) continue;
      if (this.#exports.markDead(slot) !== 0) this.#reap(slot, threadId);
    }
  }

  #reap(slot: number, threadId: number): void {
    if (this.#closed) return;
    this.#removeTemporaries(slot);
    if (this.#exports.reap(slot) === ST_BUSY) {
      setTimeout(() => this.#reap(slot, threadId), REAP_AGAIN_MS);
      return;
    }
    for (const listener of this.#listeners) listener({ slot, threadId });
  }

  /** Before the slot is free. What fails here is left to the next backend in it. */
  #removeTemporaries(slot: number): void {
    try {
      removeTemporaries(this.#storage, slot);
    } catch {}
  }

  // ── Layout ─────────────────────────────────────────────────────────────────────────────────────

  /** Backend slots, the owner's included. */
  #slots(): number {
    return this.settings.slots;
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new ClosedError("the shared memory");
  }
}

/** The owner's storage for a backend of his thread, which must not close it. */
function unclosable(storage: StorageManager): StorageManager {
  return new Proxy(storage, {
    get: (target, name) => {
      if (name === "closeSync") return () => {};
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

interface RegionParts {
  readonly settings: ResolvedSettings;
  readonly handle: SharedMemoryHandle;
  readonly exports: SharedExports;
  readonly storage: StorageManager;
  readonly recovery: RecoveryResult;
  readonly release: (() => void) | undefined;
}

// ── Creating ─────────────────────────────────────────────────────────────────────────────────────

/**
 * Initialises new storage, refuses storage that does not fit this region, and brings what is there
 * to its last checkpoint; then tells the region where it stands.
 */
function prepareStorage(
  storage: StorageManager,
  settings: ResolvedSettings,
  region: CarvedRegion,
): RecoveryResult {
  const found = readControl(storage) ?? initialiseStorage(storage, settings.dataChecksums);
  if (found.dataChecksums !== settings.dataChecksums) {
    const now = found.dataChecksums ? "on" : "off";
    throw new PallocError("55000", `the data directory was made with data_checksums ${now}`, {
      hint: `Set data_checksums to ${now}.`,
    });
  }
  const journalled = settings.values.full_page_writes && storage.capabilities.durable;
  const recovered = recover(storage, found, digestIn(region));
  // Without a journal pages are overwritten as they come: no old image may be put back any more.
  const result = journalled ? recovered : restart(storage, found, recovered);
  region.exports.startAt(result.checkpoint, journalled ? 1 : 0);
  const records =
    (REGION_JOURNAL_RECORDS_OFFSET + (result.checkpoint & 1) * WORD_BYTES) / WORD_BYTES;
  new Int32Array(region.memory.buffer)[records] = result.records;
  return result;
}

/** Sums pages on the owner's scratch page. */
function digestIn({ exports, memory }: CarvedRegion): (image: Uint8Array) => number {
  const address = exports.scratchAddress() >>> 0;
  const scratch = new Uint8Array(memory.buffer, address, BLOCK_BYTES);
  return (image) => {
    scratch.set(image);
    return exports.pageDigest(address) >>> 0;
  };
}
