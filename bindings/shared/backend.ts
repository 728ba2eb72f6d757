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

import {
  BUFFER_MASK,
  LIFE_CLAIMED,
  LIFE_EXITING,
  LIFE_REFUSED,
  LIFE_STATE_MASK,
  LOCK_CHECKPOINT,
  REGION_STATUS_OFFSET,
  ST_BUSY,
  ST_OK,
  STATUS_RUNNING,
} from "../../assembly/common/constants.ts";
import { ClosedError, PallocError, TooManyConnectionsError } from "../abi/errors.ts";
import { instantiate } from "../abi/load.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { ProcessMemory, type ProcessMemoryOptions } from "../process/memory.ts";
import type { StorageManager, StorageOpener } from "../storage/manager.ts";
import { Attachment } from "./attachment.ts";
import { BufferPool } from "./buffers.ts";
import { checkHandle, type SharedMemoryHandle, type SharedSegment, segmentOf } from "./handle.ts";
import { type Relation, RelationMap } from "./relation.ts";
import { type ResolvedSettings, resolveSettings } from "./settings.ts";
import { regionGone } from "./statuses.ts";
import { openStorage, openStorageSync } from "./storage-opener.ts";
import {
  atThreadExit,
  browserIdentity,
  canSleep,
  nodeIdentity,
  type ThreadIdentity,
} from "./threads.ts";
import { SharedViews } from "./views.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** How long the owner of the region may take to confirm an attach. */
const ATTACH_TIMEOUT_MS = 10_000;
const ATTACH_LOOK_MS = 100;
/** How long pages of a dropped relation may be in somebody's use. */
const DROP_TIMEOUT_MS = 10_000;

/** How a backend attaches. */
export interface BackendOptions {
  /** Of the backend's own {@link ProcessMemory}. Default: 64 MB, release build. */
  readonly memory?: ProcessMemoryOptions;
  /** Opens the storage where a thread cannot load the module that the handle names. */
  readonly storage?: StorageOpener;
}

/** What a checkpoint did. */
export interface CheckpointResult {
  readonly buffersWritten: number;
}

/** How a checkpoint reports. */
export interface CheckpointOptions {
  /** Called after each buffer. @param done - buffers dealt with so far */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Regions that this very thread owns: an attach to one of them needs no dialogue. @internal */
export const ownedRegions: Map<string, RegionOwner> = new Map();

/** The owner of a region, for backends of its own thread. @internal */
export interface RegionOwner {
  admitSync(slot: number): void;
}

/** One thread's place in a region. */
export class Backend {
  /** This backend's private memory. Closed when the backend detaches. */
  readonly memory: ProcessMemory;
  readonly settings: ResolvedSettings;
  /** The shared page cache. */
  readonly buffers: BufferPool;
  /** Buffers, I/O, checkpoints of the whole region as the rows of PostgreSQL's views. */
  readonly views: SharedViews;
  /** Place in the region, 1 to max_connections. */
  readonly slot: number;
  readonly #attachment: Attachment;
  readonly #handle: SharedMemoryHandle;
  readonly #storage: StorageManager;
  readonly #relations: RelationMap;
  readonly #identity: ThreadIdentity;
  readonly #forgetExit: () => void;
  #detached = false;

  private constructor(parts: BackendParts) {
    this.#handle = parts.handle;
    this.#identity = parts.identity;
    this.#attachment = parts.attachment;
    this.#storage = parts.storage;
    this.slot = parts.attachment.slot;
    this.settings = resolveSettings(parts.handle.settings);
    this.memory = parts.memory;
    this.#relations = new RelationMap(this.#attachment, this.#storage);
    this.buffers = new BufferPool(this.#attachment, this.#storage, this.#relations);
    const { exports } = parts.attachment;
    const mustBeOpen = (): void => {
      if (this.#detached) throw new ClosedError("the backend");
    };
    this.views = new SharedViews({ handle: parts.handle, exports, mustBeOpen });
    this.#forgetExit = atThreadExit(() => this.detach());
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
    const storage = openStorageSync(handle.storage, options.storage);
    const attachment = claimOrClose(handle, identity, storage);
    try {
      admitSync(handle, attachment);
      const memory = ProcessMemory.createSync(options.memory);
      return new Backend({ handle, identity, storage, attachment, memory });
    } catch (error) {
      throw abandoned(error, attachment, storage, identity);
    }
  }

  /** As {@link attachSync}, without blocking the thread; the form for browsers. */
  static async attach(handle: SharedMemoryHandle, options: BackendOptions = {}): Promise<Backend> {
    checkHandle(handle);
    const identity = nodeIdentity() ?? (await browserIdentity(handle.region));
    const storage = await openStorage(handle.storage, options.storage);
    const attachment = claimOrClose(handle, identity, storage);
    try {
      await admit(handle, attachment);
      const memory = await ProcessMemory.create(options.memory);
      return new Backend({ handle, identity, storage, attachment, memory });
    } catch (error) {
      throw abandoned(error, attachment, storage, identity);
    }
  }

  // ── Relations ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Makes an empty relation. It is there after a crash, with as many blocks as the last checkpoint
   * found. May wait for storage.
   *
   * @param name - 1 to 63 bytes of UTF-8, any characters: names never become paths
   * @throws {@link RelationError} 42P07 if it exists
   */
  createRelationSync(name: string): Relation {
    return this.#relations.create(name);
  }

  /**
   * Opens a relation. May wait for storage. @throws {@link RelationError} 42P01 if there is none
   */
  openRelationSync(name: string): Relation {
    return this.#relations.open(name);
  }

  /** Names of all relations. May wait for storage. */
  relationNamesSync(): string[] {
    return this.#relations.names();
  }

  /**
   * Gives a relation another name, durably and at one moment: a program that fills a relation under
   * a working name, checkpoints and renames it, never leaves a half-filled one behind.
   */
  renameRelationSync(from: string, to: string): void {
    this.#relations.rename(from, to);
  }

  /**
   * Removes a relation with its pages and files. The caller sees to it that nobody uses it.
   *
   * @throws {@link PallocError} 55006 if pages of it are pinned; then nothing has changed
   */
  dropRelationSync(name: string): void {
    const { exports } = this.#attachment;
    const { id } = this.openRelationSync(name);
    const deadline = performance.now() + DROP_TIMEOUT_MS;
    const busy = (call: () => number): boolean => {
      const status = call();
      if (status === ST_OK) return false;
      if (status !== ST_BUSY || performance.now() > deadline) throw beingUsed(name);
      return true;
    };
    while (busy(() => exports.pagesInUse(id)));
    const { number } = this.#relations.forget(name);
    while (busy(() => exports.dropPages(id, 0)));
    this.#storage.unlinkSync(number, 0);
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
   * Writes every page that is dirty now, in file order, makes the files durable, and notes the
   * length of each relation. Others go on meanwhile; one checkpoint runs at a time. This backend
   * must hold no content lock. May wait for storage, long.
   *
   * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, BufferSync; xlog.c, CreateCheckPoint
   */
  checkpointSync(options: CheckpointOptions = {}): CheckpointResult {
    return this.#attachment.withNamedLock(LOCK_CHECKPOINT, () => {
      const { exports } = this.#attachment;
      const total = exports.checkpointCollect();
      let buffersWritten = 0;
      for (let index = 0; index < total; index += 1) {
        if (this.#writeForCheckpoint(exports.checkpointBuffer(index))) buffersWritten += 1;
        options.onProgress?.(index + 1, total);
      }
      for (const { number } of Object.values(this.#relations.read().relations)) {
        this.#storage.flushSync(number, 0);
      }
      this.#relations.noteCheckpoint();
      return { buffersWritten };
    });
  }

  #writeForCheckpoint(buffer: number): boolean {
    const { exports } = this.#attachment;
    const status = this.#attachment.untilDone(() => exports.checkpointBegin(buffer));
    if (this.#attachment.check(status) === ST_OK) return false;
    try {
      this.buffers.writeOut(status & BUFFER_MASK);
    } finally {
      exports.unpin(buffer);
    }
    return true;
  }

  /**
   * Leaves the region: closes the process memory, gives back pins, locks and an unfinished page
   * change, and closes the storage. The callbacks of the contexts run first, while pages can still
   * be reached; what one throws is thrown at the end. Idempotent; called by itself when a Node
   * thread ends in an orderly way.
   */
  detach(): void {
    if (this.#detached) return;
    this.#detached = true;
    this.#forgetExit();
    try {
      this.memory.dispose();
    } finally {
      this.buffers.close();
      leave(this.#attachment);
      this.#storage.closeSync();
      this.#identity.release();
    }
  }

  /** {@link detach}. */
  [Symbol.dispose](): void {
    this.detach();
  }
}

interface BackendParts {
  readonly handle: SharedMemoryHandle;
  readonly identity: ThreadIdentity;
  readonly storage: StorageManager;
  readonly attachment: Attachment;
  readonly memory: ProcessMemory;
}

function beingUsed(name: string): PallocError {
  return new PallocError("55006", `relation "${name}" is being used`, {
    detail: "Pages of it are pinned.",
    hint: "Release every pin on a relation before dropping it.",
  });
}

// ── Attaching ────────────────────────────────────────────────────────────────────────────────────

function claimOrClose(
  handle: SharedMemoryHandle,
  identity: ThreadIdentity,
  storage: StorageManager,
): Attachment {
  try {
    return claimSlot(handle, identity.token);
  } catch (error) {
    storage.closeSync();
    identity.release();
    throw error;
  }
}

function claimSlot(handle: SharedMemoryHandle, token: number): Attachment {
  const exports = instantiate<SharedExports>(handle.module, handle.memory);
  const { buffer } = handle.memory;
  const region = new Int32Array(buffer);
  if (Atomics.load(region, REGION_STATUS_OFFSET / WORD_BYTES) !== STATUS_RUNNING) {
    throw regionGone(region);
  }
  const slot = exports.claimSlot(token);
  if (slot < 0) throw new TooManyConnectionsError(handle.settings.max_connections);
  const mayBlock = canSleep() && !ownedRegions.has(handle.region);
  return new Attachment(exports, buffer, slot, mayBlock);
}

function admitSync(handle: SharedMemoryHandle, attachment: Attachment): void {
  const own = ownedRegions.get(handle.region);
  if (own === undefined) attachment.exports.requestAttach();
  else own.admitSync(attachment.slot);
  const deadline = performance.now() + ATTACH_TIMEOUT_MS;
  const word = (attachment.exports.slotAddress(attachment.slot) >>> 0) / WORD_BYTES;
  for (let life = pendingLife(attachment, deadline); life !== undefined; ) {
    Atomics.wait(attachment.i32, word, life, ATTACH_LOOK_MS);
    life = pendingLife(attachment, deadline);
  }
}

async function admit(handle: SharedMemoryHandle, attachment: Attachment): Promise<void> {
  const own = ownedRegions.get(handle.region);
  if (own === undefined) attachment.exports.requestAttach();
  else own.admitSync(attachment.slot);
  const deadline = performance.now() + ATTACH_TIMEOUT_MS;
  while (pendingLife(attachment, deadline) !== undefined) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** The life word while the owner has not answered; undefined when the slot is active. */
function pendingLife({ exports, slot, i32 }: Attachment, deadline: number): number | undefined {
  const life = exports.slotLife(slot);
  const state = life & LIFE_STATE_MASK;
  if (Atomics.load(i32, REGION_STATUS_OFFSET / WORD_BYTES) !== STATUS_RUNNING) {
    throw regionGone(i32);
  }
  if (state === LIFE_REFUSED) throw notWatched();
  if (state !== LIFE_CLAIMED) return undefined;
  if (performance.now() > deadline) throw noAnswer();
  return life;
}

function notWatched(): PallocError {
  return new PallocError("57P03", "attach refused: nobody would notice the end of this thread", {
    hint:
      "The thread that owns the region must have created this worker after the region, " +
      "or call shared.watch(worker).",
  });
}

function noAnswer(): PallocError {
  return new PallocError("08006", `the owner did not answer within ${ATTACH_TIMEOUT_MS} ms`, {
    hint: "The thread that created the region confirms each attach; keep its event loop running.",
  });
}

/** Gives a slot back that was claimed in vain; returns the error to throw. */
function abandoned(
  error: unknown,
  attachment: Attachment,
  storage: StorageManager,
  identity: ThreadIdentity,
): unknown {
  const { exports, slot } = attachment;
  for (const state of [LIFE_CLAIMED, LIFE_REFUSED]) exports.advanceSlot(slot, state, LIFE_EXITING);
  leave(attachment);
  storage.closeSync();
  identity.release();
  return error;
}

/** Gives back the slot, unless the region is gone and everything with it. */
function leave({ exports, i32 }: Attachment): void {
  const status = REGION_STATUS_OFFSET / WORD_BYTES;
  while (Atomics.load(i32, status) === STATUS_RUNNING && exports.leave() === ST_BUSY);
}
