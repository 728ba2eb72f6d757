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
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_CRASHED,
  LIFE_ENDED,
  LIFE_REFUSED,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  LIFE_WATCHED,
  PARTS,
  REGION_CLOSING_OFFSET,
  REGION_REQUESTS_OFFSET,
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
import { checkSegments } from "./carve.ts";
import { tellSuccessor } from "./forwarding.ts";
import { type SharedMemoryHandle, type SharedSegment, segmentOf } from "./handle.ts";
import { type HelperError, Helpers, type ScriptAddress } from "./helper-threads.ts";
import { type BackendTarget, cancelBackend, terminateBackend } from "./interrupts.ts";
import { startIoWorkers } from "./io-workers.ts";
import { type LockDeathListener, LockDeaths } from "./lock-deaths.ts";
import { type MadeRegion, makeRegion, type RegionPlan, unclosable } from "./make-region.ts";
import type { BackendDeath, SharedMemoryOptions, WriterThreadOptions } from "./memory-options.ts";
import { checkWaits } from "./named-waits.ts";
import { Reaper } from "./reaper.ts";
import type { RecoveryResult } from "./recovery.ts";
import { type LiveRegion, type RegionDown, type RegionRestart, Restarts } from "./restart.ts";
import { type ResolvedSettings, resolveSettings } from "./settings.ts";
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
/** Who could not wake the owner, for want of stack, is found after this at the latest. */
const LOOK_AGAIN_MS = 1000;

/** Script of the writers' thread, from this folder. */
const WRITER_ENTRY = "../writer-worker.js";

/** A region of shared memory, seen by the thread that created it. */
export class SharedMemory {
  readonly settings: ResolvedSettings;
  readonly #plan: RegionPlan;
  #handle: SharedMemoryHandle;
  #recovery: RecoveryResult;
  #views: SharedViews;
  #exports: SharedExports;
  readonly #storage: StorageManager;
  readonly #release: (() => void) | undefined;
  #watch: ThreadWatch;
  readonly #helpers: Helpers;
  readonly #restarts: Restarts;
  readonly #lockDeaths: LockDeaths;
  readonly #reaper: Reaper;
  #admission: Admission;
  readonly #forgetExit: () => void;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(parts: RegionParts) {
    this.#plan = parts.plan;
    this.settings = parts.plan.settings;
    this.#storage = parts.plan.storage;
    this.#release = parts.release;
    const { handle, exports, recovery } = parts.made;
    this.#handle = handle;
    this.#exports = exports;
    this.#recovery = recovery;
    this.#views = this.#newViews();
    this.#watch = watchThreads(handle.region, (token) => this.#threadEnded(token));
    this.#admission = new Admission(exports, this.#buffer, this.#watch);
    this.#forgetExit = atThreadExit(() => this.#end());
    this.#helpers = new Helpers(handle, (worker) => this.#watch.watch(worker));
    const region = (): LiveRegion => ({ exports: this.#exports, handle: this.#handle });
    this.#restarts = new Restarts({
      region,
      slots: this.settings.slots,
      comesBack: this.settings.values.restart_after_crash,
      isClosed: () => this.#closed,
      stopHelpers: () => this.#helpers.close(),
      recreate: () => this.#recreate(),
      startHelpers: () => this.#helpers.startAgain(this.#handle),
    });
    this.#lockDeaths = new LockDeaths(region, (reason, code) =>
      this.#restarts.poison(reason, code),
    );
    this.#reaper = new Reaper({
      region,
      slots: this.settings.slots,
      storage: this.#storage,
      isClosed: () => this.#closed,
      watcherOf: (slot) => this.#admission.watcherOf(slot),
      poison: (reason, code) => this.#restarts.poison(reason, code),
    });
    ownedRegions.set(handle.region, { admitSync: (slot) => this.#admit(slot, true) });
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
    const waits = checkWaits(options.locks ?? {}, options.conditions ?? []);
    const module = await compile("shared", options.checked ?? false);
    const { storage } = options;
    const release = await storage.claim?.();
    try {
      const plan: RegionPlan = { module, settings, segments, waits, storage };
      const shared = new SharedMemory({ plan, made: makeRegion(plan), release });
      await shared.#startIoWorkers(options.ioWorkers);
      return shared;
    } catch (error) {
      release?.();
      throw error;
    }
  }

  /** Post this to the threads that shall attach. Another one after a restart. */
  get handle(): SharedMemoryHandle {
    return this.#handle;
  }

  /** What had to be put back when the region was created, or began anew. */
  get recovery(): RecoveryResult {
    return this.#recovery;
  }

  /** Buffers, I/O, checkpoints as the rows of PostgreSQL's views. Others after a restart. */
  get views(): SharedViews {
    return this.#views;
  }

  get #buffer(): SharedArrayBuffer {
    return this.#handle.memory.buffer;
  }

  #newViews(): SharedViews {
    const [handle, exports] = [this.#handle, this.#exports];
    return new SharedViews({ handle, exports, mustBeOpen: () => this.#mustBeOpen() });
  }

  #recreate(): RecoveryResult {
    const before = this.#handle.region;
    const { handle, exports, recovery } = makeRegion(this.#plan);
    this.#handle = handle;
    this.#exports = exports;
    this.#recovery = recovery;
    this.#views = this.#newViews();
    if (nodeIdentity() === undefined) {
      // The names of a browser's locks contain that of the region.
      this.#watch.close();
      this.#watch = watchThreads(handle.region, (token) => this.#threadEnded(token));
    }
    this.#admission = new Admission(exports, this.#buffer, this.#watch);
    ownedRegions.delete(before);
    ownedRegions.set(handle.region, { admitSync: (slot) => this.#admit(slot, true) });
    tellSuccessor(before, handle);
    return recovery;
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
    return this.#reaper.onDeath(listener);
  }

  /**
   * Calls `listener` when a backend ended, or detached, holding a lock whose `onOwnerDeath` is
   * `call`. It puts right what the lock guards; the lock stays taken until it returns, or until its
   * promise settles. One that throws ends the region, as `poison` would; so does a death that
   * nobody listens to. @returns takes that back
   */
  onLockOwnerDeath(listener: LockDeathListener): () => void {
    return this.#lockDeaths.onDeath(listener);
  }

  /**
   * Calls `listener` when the region has ended as after a crash and has begun anew, at its last
   * checkpoint: with the handle for those who shall attach again. All others have had 57P02.
   * @returns takes that back
   * @see PostgreSQL: src/backend/postmaster/postmaster.c, HandleFatalError
   */
  onRestart(listener: (restart: RegionRestart) => void): () => void {
    return this.#restarts.onRestart(listener);
  }

  /**
   * Calls `listener` when the region has ended as after a crash and stays down: because
   * restart_after_crash is off, or because recovery failed. {@link close} it then. Without a
   * listener it is a warning of the process. @returns takes that back
   */
  onDown(listener: (down: RegionDown) => void): () => void {
    return this.#restarts.onDown(listener);
  }

  /**
   * Ends the region as after a crash: every call of every backend fails with 57P02, nothing that
   * the last checkpoint does not have survives, and a new region begins; see {@link onRestart}. For
   * a program that has found its shared data in disorder.
   *
   * @param reason - reaches the listeners
   */
  poison(reason: string): void {
    this.#mustBeOpen();
    this.#restarts.poison(reason);
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
    return activityRows(this.#handle);
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
      await this.#restarts.settled();
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
    const index = REGION_REQUESTS_OFFSET / WORD_BYTES;
    while (!this.#closed) {
      const words = new Int32Array(this.#buffer);
      const seen = Atomics.load(words, index);
      for (let slot = 1; slot < this.#slots(); slot += 1) await this.#answer(slot);
      if (this.#closed) return;
      this.#lockDeaths.look();
      this.#restarts.look();
      await changed(words, index, seen, LOOK_AGAIN_MS);
    }
  }

  async #answer(slot: number): Promise<void> {
    const exports = this.#exports;
    const life = exports.slotLife(slot) >>> 0;
    if ((life & LIFE_STATE_MASK) === LIFE_ENDED) this.#threadEnded(life >>> LIFE_STATE_BITS);
    if ((life & LIFE_STATE_MASK) === LIFE_CRASHED)
      this.#reaper.dead(slot, life >>> LIFE_STATE_BITS);
    const verdict = await this.#admission.judge(slot);
    // Meanwhile the region may have begun anew, with others in its slots.
    if (this.#closed || verdict === undefined || exports !== this.#exports) return;
    this.#admit(slot, verdict === "admit");
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
    if (!this.#closed) this.#reaper.threadEnded(token);
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

interface RegionParts {
  readonly plan: RegionPlan;
  readonly made: MadeRegion;
  readonly release: (() => void) | undefined;
}
