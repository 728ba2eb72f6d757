/**
 * A backend: one thread's place in a region. It owns a slot of the shared memory and a process
 * memory of its own, and it gives back whatever it holds when it detaches or its thread ends.
 *
 * Attaching is a small dialogue: the thread claims a slot with its number in it, the owner of the
 * region confirms that the end of that thread will be noticed, and only then is the slot active. A
 * thread that nobody watches could leave pins and locks behind for ever, so it is refused.
 *
 * PostgreSQL: src/backend/storage/lmgr/proc.c, InitProcess; src/backend/utils/init/postinit.c
 */

import type { CancelSignal } from "../abi/cancel-signal.ts";
import { ClosedError, PallocError } from "../abi/errors.ts";
import type { MemoryContext } from "../process/context.ts";
import { ProcessMemory } from "../process/memory.ts";
import type { StorageManager } from "../storage/manager.ts";
import { Activity, type ActivityRow, type ActivityState, activityRows } from "./activity.ts";
import { abandoned, admit, admitSync, type ClaimOptions, claimOrClose, leave } from "./attach.ts";
import type { Attachment } from "./attachment.ts";
import type { BackendOptions, CreateOptions } from "./backend-options.ts";
import { BackendParts } from "./backend-parts.ts";
import { type BufferPool, leakWarning } from "./buffers.ts";
import type { CatalogCache } from "./catalog.ts";
import type { CheckpointOptions, CheckpointResult } from "./checkpoint.ts";
import type { ConditionVariable, Latch } from "./condition-variable.ts";
import { watchWorkers } from "./forwarding.ts";
import { GuardedStorage } from "./guarded-storage.ts";
import { checkHandle, type SharedMemoryHandle, type SharedSegment, segmentOf } from "./handle.ts";
import { type BackendTarget, cancelBackend, terminateBackend } from "./interrupts.ts";
import { serveReads } from "./io-workers.ts";
import type { LightweightLock } from "./lightweight-lock.ts";
import type { LockManager } from "./lock-manager.ts";
import { NamedWaits } from "./named-waits.ts";
import type { ParameterName } from "./parameters.ts";
import type { PrewarmOptions } from "./prewarm.ts";
import type { Relation } from "./relation.ts";
import { type ResolvedSettings, resolveSettings } from "./settings.ts";
import { openStorage, openStorageSync } from "./storage-opener.ts";
import { TemporaryFile } from "./temporary-file.ts";
import {
  atThreadExit,
  browserIdentity,
  nodeIdentity,
  type ThreadIdentity,
  type WatchableWorker,
  warnOnNode,
} from "./threads.ts";
import { SharedViews } from "./views.ts";
import { BackgroundWriter, Checkpointer } from "./writers.ts";

/** One thread's place in a region. */
export class Backend {
  /** This backend's private memory. Closed when the backend detaches. */
  readonly memory: ProcessMemory;
  readonly settings: ResolvedSettings;
  /** The shared page cache. */
  readonly buffers: BufferPool;
  /** Heavyweight locks, and advisory ones. */
  readonly locks: LockManager;
  /** Rows that describe things, found by their keys. */
  readonly catalog: CatalogCache;
  /** Buffers, I/O, checkpoints of the whole region as the rows of PostgreSQL's views. */
  readonly views: SharedViews;
  /** Place in the region, 1 to max_connections; above that for helper threads. */
  readonly slot: number;
  readonly #attachment: Attachment;
  readonly #handle: SharedMemoryHandle;
  readonly #storage: StorageManager;
  readonly #parts: BackendParts;
  readonly #waits: NamedWaits;
  readonly #identity: ThreadIdentity;
  readonly #warn: (message: string) => void;
  readonly #forgetExit: () => void;
  readonly #activity: Activity;
  #detached = false;
  #leaving = false;
  #beforeDetach: () => void = () => {};

  private constructor(parts: BackendOrigin) {
    const { attachment, storage } = parts;
    this.#handle = parts.handle;
    this.#identity = parts.identity;
    this.#attachment = attachment;
    this.#storage = storage;
    this.#warn = parts.warn;
    this.slot = attachment.slot;
    this.settings = resolveSettings(parts.handle.settings);
    this.memory = parts.memory;
    const { settings, memory } = this;
    const mustBeAttached = (): void => this.#mustBeAttached();
    this.#parts = new BackendParts({
      attachment,
      storage,
      settings,
      memory,
      warn: parts.warn,
      mustBeAttached,
      end: () => this.detach(),
    });
    this.buffers = this.#parts.buffers;
    this.locks = this.#parts.locks;
    this.#waits = new NamedWaits({ attachment, ...this.#parts.drivers }, parts.handle.waits);
    this.catalog = this.#parts.catalog;
    const { exports } = attachment;
    this.views = new SharedViews({ handle: parts.handle, exports, mustBeOpen: mustBeAttached });
    this.#forgetExit = atThreadExit(() => this.detach());
    this.#activity = new Activity(attachment.buffer, attachment.slot);
    void attachment.interrupts.listen(() => this.#parts.endIfAsked());
  }

  /**
   * Attaches the calling thread to a region. On Node; in browsers use {@link attach}. Waits until
   * the owner of the region has confirmed that it will notice this thread's end.
   *
   * @param handle - `shared.handle`, from `workerData` or a message
   * @throws {@link TooManyConnectionsError} 53300 if max_connections backends are attached
   * @throws {@link PallocError} 08006 if the owner does not answer, 57P03 if nobody
   *   would notice the end of this thread
   * @throws {@link RegionGoneError} 57P01 or 57P02 if the region has ended
   * @see PostgreSQL: src/backend/storage/lmgr/proc.c, InitProcess
   */
  static attachSync(handle: SharedMemoryHandle, options: BackendOptions = {}): Backend {
    checkHandle(handle);
    const identity = nodeIdentity();
    if (identity === undefined) {
      throw new PallocError("0A000", "attachSync() is for Node", {
        hint: "In a browser use: await Backend.attach(handle).",
      });
    }
    const opened = openStorageSync(handle.storage, options.storage);
    const claim = { handle, identity, storage: opened, ...claimOptions(options) };
    const attachment = claimOrClose(claim);
    const storage = new GuardedStorage(opened, attachment);
    try {
      admitSync(handle, attachment);
      const memory = ProcessMemory.createSync(options.memory);
      const warn = options.onWarning ?? warnOnNode;
      return new Backend({ handle, identity, storage, attachment, memory, warn });
    } catch (error) {
      throw abandoned(error, { handle, identity, storage, attachment });
    }
  }

  /** As {@link attachSync}, without blocking the thread; the form for browsers. */
  static async attach(handle: SharedMemoryHandle, options: BackendOptions = {}): Promise<Backend> {
    checkHandle(handle);
    const identity = nodeIdentity() ?? (await browserIdentity(handle.region));
    const opened = await openStorage(handle.storage, options.storage);
    const claim = { handle, identity, storage: opened, ...claimOptions(options) };
    const attachment = claimOrClose(claim);
    const storage = new GuardedStorage(opened, attachment);
    try {
      await admit(handle, attachment);
      const memory = await ProcessMemory.create(options.memory);
      const warn = options.onWarning ?? warnOnNode;
      return new Backend({ handle, identity, storage, attachment, memory, warn });
    } catch (error) {
      throw abandoned(error, { handle, identity, storage, attachment });
    }
  }

  // ── Relations ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Makes an empty relation. Seen by all backends at once, durable with the next checkpoint. May
   * wait for storage.
   *
   * @param name - 1 to 63 bytes of UTF-8, any characters: names never become paths
   * @throws {@link RelationError} 42P07 if it exists
   */
  createRelationSync(name: string, options: CreateOptions = {}): Relation {
    return this.#parts.runSync(this.#parts.named.create(name, options));
  }

  /** As {@link createRelationSync}, without blocking the thread in a wait. */
  createRelation(name: string, options: CreateOptions = {}): Promise<Relation> {
    return this.#parts.run(this.#parts.named.create(name, options));
  }

  /**
   * Opens a relation. May wait for storage. @throws {@link RelationError} 42P01 if there is none
   */
  openRelationSync(name: string): Relation {
    this.#mustBeAttached();
    return this.#parts.named.open(name);
  }

  /** Names of all relations. May wait for storage. */
  relationNamesSync(): string[] {
    this.#mustBeAttached();
    return this.#parts.named.names();
  }

  /**
   * Gives a relation another name, at one moment; durable with the next checkpoint, together with
   * its pages: a program that fills a relation under a working name, renames it and then takes a
   * checkpoint never leaves a half-filled one behind.
   */
  renameRelationSync(from: string, to: string): void {
    this.#parts.runSync(this.#parts.named.rename(from, to));
  }

  /** As {@link renameRelationSync}, without blocking the thread in a wait. */
  renameRelation(from: string, to: string): Promise<void> {
    return this.#parts.run(this.#parts.named.rename(from, to));
  }

  /**
   * Removes a relation with its pages; durable with the next checkpoint, which removes its files.
   * Waits for a checkpoint that is under way. The caller sees to it that nobody uses the relation,
   * and holds no content lock.
   *
   * @throws {@link PallocError} 55006 if pages of it are pinned; then nothing has changed
   */
  dropRelationSync(name: string): void {
    this.#parts.runSync(this.#parts.named.drop(name));
  }

  /** As {@link dropRelationSync}, without blocking the thread in a wait. */
  dropRelation(name: string): Promise<void> {
    return this.#parts.run(this.#parts.named.drop(name));
  }

  /**
   * Makes a relation shorter. What was in the blocks cut off is gone, but for the last checkpoint,
   * which a crash still comes back to. Waits for a checkpoint that is under way; the caller sees to
   * it that nobody uses those blocks, and holds no content lock.
   *
   * @param blocks - new length, 0 to the present one
   * @throws RangeError for any other number
   * @throws {@link PallocError} 55006 if pages to be cut off are pinned; then nothing has changed
   * @see PostgreSQL: src/backend/catalog/storage.c, RelationTruncate
   */
  truncateSync(relation: Relation, blocks: number): void {
    this.#parts.runSync(this.#parts.named.truncate(relation, blocks));
  }

  /** As {@link truncateSync}, without blocking the thread in a wait. */
  truncate(relation: Relation, blocks: number): Promise<void> {
    return this.#parts.run(this.#parts.named.truncate(relation, blocks));
  }

  /** Brings pages near, by default into the pool; returns how many. May wait for storage. */
  prewarmSync(relation: Relation, options: PrewarmOptions = {}): number {
    return this.#parts.runSync(this.#parts.prewarm.run(relation, options));
  }

  /** As {@link prewarmSync}, without blocking the thread. */
  prewarm(relation: Relation, options: PrewarmOptions = {}): Promise<number> {
    return this.#parts.run(this.#parts.prewarm.run(relation, options), options.signal);
  }

  /**
   * Makes a temporary file of this backend, for work that does not fit into memory. It is gone when
   * it is closed, and when the backend ends in whatever way. May wait for storage.
   *
   * @param context - where its one block of 8 kB is allocated; close the file before this context
   *   is reset or deleted. Default: TopMemoryContext
   * @param onClose - called when it is closed
   * @see PostgreSQL: src/backend/storage/file/buffile.c, BufFileCreateTemp
   */
  createTemporaryFile(
    context: MemoryContext = this.memory.top,
    onClose?: () => void,
  ): TemporaryFile {
    this.#mustBeAttached();
    const { temporary } = this.#parts;
    const number = temporary.createFile();
    const remove = (): void => {
      onClose?.();
      temporary.removeFile(number);
    };
    return new TemporaryFile({ storage: this.#storage, number, context, remove });
  }

  // ── Locks of the user's own ────────────────────────────────────────────────────────────────────

  /**
   * A lock that was asked for when the region was created.
   *
   * @throws {@link PallocError} 42704 if the region has none of that name
   */
  lwlock(name: string): LightweightLock {
    return this.#waits.lwlock(name);
  }

  /** A condition variable that was asked for. @throws {@link PallocError} 42704 if it was not */
  conditionVariable(name: string): ConditionVariable {
    return this.#waits.conditionVariable(name);
  }

  /** What others wake this backend by; see {@link Latch.set}. */
  get latch(): Latch {
    return this.#waits.latch;
  }

  // ── Whole region ───────────────────────────────────────────────────────────────────────────────

  /**
   * A structure of the user's own in shared memory, asked for when the region was created.
   *
   * @throws {@link PallocError} 42704 if the region has none of that name
   */
  segment(name: string): SharedSegment {
    return segmentOf(this.#handle, name);
  }

  /**
   * Makes what is committed now durable, all pages and relations together: after a crash of any
   * kind the next start finds exactly this, or a later checkpoint. Others go on meanwhile, and what
   * they change is not part of it; one checkpoint runs at a time. This backend must hold no content
   * lock. May wait for storage, long.
   *
   * @throws {@link StorageError} 53100 if the disk is full: nothing is lost, and the next
   * checkpoint
   *   goes on from here. 58030 if a sync failed: the region ends with 57P02, and the next start
   *   finds the last checkpoint before
   * @see PostgreSQL: src/backend/access/transam/xlog.c, CreateCheckPoint
   */
  checkpointSync(options: CheckpointOptions = {}): CheckpointResult {
    return this.#parts.runSync(this.#parts.checkpoints.run(options));
  }

  /** As {@link checkpointSync}; between two batches of pages the thread is free for other work. */
  checkpoint(options: CheckpointOptions = {}, signal?: CancelSignal): Promise<CheckpointResult> {
    return this.#parts.run(this.#parts.checkpoints.run(options), signal);
  }

  /**
   * Makes this backend the background writer of its region; see {@link runWriters} for both in a
   * thread of their own.
   */
  backgroundWriter(): BackgroundWriter {
    this.#mustBeAttached();
    return new BackgroundWriter(this.#parts.writers);
  }

  /** Makes this backend the checkpointer of its region. */
  checkpointer(): Checkpointer {
    this.#mustBeAttached();
    return new Checkpointer(this.#parts.writers);
  }

  /** Reads for other backends until the region ends; then it throws. @internal */
  serveReadsSync(ready: () => void): never {
    this.#mustBeAttached();
    return serveReads({ attachment: this.#attachment, storage: this.#storage, ready });
  }

  #mustBeAttached(): void {
    if (this.#detached) throw this.#attachment.interrupts.reason ?? new ClosedError("the backend");
  }

  // ── Being one of many ──────────────────────────────────────────────────────────────────────────

  /** Rows of `pg_stat_activity`: every backend that is attached, helpers included. */
  activity(): ActivityRow[] {
    this.#mustBeAttached();
    return activityRows(this.#handle);
  }

  /**
   * Says in this backend's row what it does. From `"active"` to the next call it is one statement:
   * statement_timeout counts from here, and a cancellation from before does not concern it. A call
   * outside of that is a statement of its own.
   *
   * @param query - shown in the row; up to 831 bytes, longer ones are cut
   * @see PostgreSQL: src/backend/utils/activity/backend_status.c, pgstat_report_activity
   */
  reportActivity(state: ActivityState, query?: string): void {
    this.#mustBeAttached();
    this.#activity.report(state, query);
    if (state === "active") this.#attachment.interrupts.begin();
    else this.#attachment.interrupts.end();
  }

  /**
   * Asks backends to cancel what they do: it fails with 57014. One that waits notices at once, one
   * that works at its next wait or read.
   *
   * @returns false if there is no such backend
   * @see PostgreSQL: src/backend/storage/ipc/signalfuncs.c, pg_cancel_backend
   */
  cancelBackend(target: BackendTarget): boolean {
    this.#mustBeAttached();
    return cancelBackend(this.#attachment.exports, this.settings.slots, target);
  }

  /**
   * Asks backends to end: what they do fails with 57P01, and they detach. The thread goes on.
   *
   * @returns false if there is no such backend
   * @see PostgreSQL: src/backend/storage/ipc/signalfuncs.c, pg_terminate_backend
   */
  terminateBackend(target: BackendTarget): boolean {
    this.#mustBeAttached();
    return terminateBackend(this.#attachment.exports, this.settings.slots, target);
  }

  /**
   * Looks whether somebody has asked this backend to cancel or to end; for long work that neither
   * waits nor reads. A few nanoseconds.
   *
   * @throws {@link PallocError} 57014, {@link BackendTerminatedError} 57P01: then it has detached
   * @see PostgreSQL: src/include/miscadmin.h, CHECK_FOR_INTERRUPTS
   */
  checkInterrupts(): void {
    this.#mustBeAttached();
    try {
      this.#attachment.interrupts.checkNow();
    } finally {
      this.#parts.endIfAsked();
    }
  }

  /** Has `work` done before anything is given back: a session rolls back then. @internal */
  beforeDetach(work: () => void): void {
    this.#beforeDetach = work;
  }

  /** A session has set a parameter that others look at. @internal */
  settingChanged(name: ParameterName): void {
    const { application_name, statement_timeout } = this.settings.values;
    if (name === "application_name") this.#activity.rename(application_name);
    else if (name === "statement_timeout") this.#attachment.interrupts.limit(statement_timeout);
  }

  /** Why the backend is to end, if somebody has asked for it. @internal */
  get endReason(): PallocError | undefined {
    return this.#attachment.interrupts.reason;
  }

  /**
   * Has the region's owner told of the end of a worker that this thread created before it attached.
   * Later ones are seen by themselves. Node only.
   */
  watch(worker: WatchableWorker): void {
    this.#mustBeAttached();
    watchWorkers(this.#handle, [worker]);
  }

  /**
   * Leaves the region: closes the process memory, gives back pins, locks and an unfinished page
   * change, and closes the storage. The callbacks of the contexts run first, while pages can still
   * be reached; what one throws is thrown at the end. Idempotent; called by itself when a Node
   * thread ends in an orderly way.
   */
  detach(): void {
    if (this.#leaving) return;
    this.#leaving = true;
    try {
      this.#beforeDetach();
    } finally {
      this.#leave();
    }
  }

  #leave(): void {
    this.#detached = true;
    this.#forgetExit();
    const { hasCrashed, isRegionLost } = this.#attachment;
    if (!hasCrashed) this.#warnOfLeaks();
    try {
      // Recovery removes the files; what a crashed backend did is the owner's to give back.
      if (!hasCrashed && !isRegionLost) this.#parts.temporary.detach();
      this.memory.dispose();
    } finally {
      leave(this.#handle, this.#attachment);
      this.buffers.close();
      this.#storage.closeSync();
      this.#identity.release();
    }
  }

  #warnOfLeaks(): void {
    for (const leak of this.buffers.leakedPins()) this.#warn(leakWarning(leak));
  }

  /** {@link detach}. */
  [Symbol.dispose](): void {
    this.detach();
  }
}

function claimOptions(options: BackendOptions): ClaimOptions {
  const { helper = false, role, applicationName = "", last = false } = options;
  return { helper, role, applicationName, last };
}

interface BackendOrigin {
  readonly handle: SharedMemoryHandle;
  readonly identity: ThreadIdentity;
  readonly storage: StorageManager;
  readonly attachment: Attachment;
  readonly memory: ProcessMemory;
  readonly warn: (message: string) => void;
}
