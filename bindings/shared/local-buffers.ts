/**
 * Local buffers: pages of this backend's temporary relations, in its own memory, `temp_buffers` of
 * them. Nobody else can reach them, so of the shared pool's protocol only its order remains: no
 * atomics, no content locks (a pin is enough to read and to change), no I/O in progress, no
 * journal, no part in any checkpoint. What is not written when the backend ends is not missed.
 *
 * A local buffer's number is below 0, so that one number says which pool it belongs to:
 *
 *     number    …  -3  -2  -1 │  0   1   2  …
 *               local buffers │ shared buffers
 *     index     …   2   1   0 │
 *
 * A miss takes the clock hand's next buffer that is neither pinned nor used since the last rounds.
 * A dirty one is written on the spot, before its page is forgotten: a write that fails leaves
 * everything as it was. A read that fails leaves the page in its buffer, unreadable and unpinned;
 * the next pin reads again.
 *
 * Until the first temporary page is touched there is no memory and the size may change; from then
 * on it is fixed, because frames cannot be taken away from pages that are pinned.
 *
 * Promise forms read and write these pages in the thread itself, also with io_method = worker: I/O
 * workers have no way into a backend's own memory.
 *
 * PostgreSQL: src/backend/storage/buffer/localbuf.c; aio/method_worker.c,
 * pgaio_worker_needs_synchronous_execution
 */

import {
  BLOCK_BYTES,
  FORK_BITS,
  MAX_BLOCK_NUMBER,
  ST_BAD_BUFFER,
  ST_CHANGING,
  ST_NOT_PINNED,
} from "../../assembly/common/constants.ts";
import { BufferError, ClosedError, InvalidParameterError, PallocError } from "../abi/errors.ts";
import type { BufferId, ForkId } from "../abi/pointers.ts";
import type { ProcessMemory } from "../process/memory.ts";
import type { Fork, StorageManager } from "../storage/manager.ts";
import { type BadPage, type DamageSettings, damageWarning, remedyOf } from "./damage.ts";
import { LocalFrames } from "./local-frames.ts";
import { LOCAL_DIRTY, LOCAL_MAPPED, LOCAL_VALID, LocalTable } from "./local-table.ts";
import type { PrivatePages } from "./private-pages.ts";
import { refusal } from "./statuses.ts";
import { demandOwn } from "./temp-numbers.ts";

const FORK_MASK = (1 << FORK_BITS) - 1;
/** PostgreSQL: InvalidateLocalBuffer's message is an internal error; here a user can cause it. */
const IN_USE = "55006";

/** Sees what local buffers do, as pg_stat_io counts it for temporary relations. @internal */
export interface LocalTraffic {
  /** A pin found its page. */
  hit(): void;
  /** A page was read from storage. */
  read(): void;
  /** A page was written to storage. */
  write(): void;
  /** A page lost its buffer to another. */
  evict(): void;
  /** A relation became longer. */
  extend(blocks: number): void;
  /** A clean page was changed. */
  dirty(): void;
}

/** What local buffers are made of. @internal */
export interface LocalBuffersOptions {
  readonly storage: StorageManager;
  /** Where frames come from. */
  readonly memory: ProcessMemory;
  /** temp_buffers, in pages; from 1. */
  readonly pages: number;
  /** This backend's place in the region: whose temporary relations these are. */
  readonly slot: number;
  /** Checksums, set and verified. */
  readonly checks: PrivatePages;
  readonly traffic: LocalTraffic;
  readonly damage: DamageSettings;
  /** A relation's name for error messages. */
  readonly nameOf: (relation: number) => string;
  readonly warn: (message: string) => void;
}

/** A buffer that has a page. @internal */
export interface LocalBufferRow {
  readonly buffer: BufferId;
  readonly relation: number;
  readonly fork: Fork;
  readonly block: number;
  readonly usage: number;
  readonly pins: number;
  readonly dirty: boolean;
  /** Whether its bytes are the page's; false after a read that failed. */
  readonly valid: boolean;
}

/** A page that is pinned. @internal */
export interface LocalLeak {
  readonly buffer: BufferId;
  readonly relation: string;
  readonly block: number;
  /** How many pins. */
  readonly count: number;
}

/** The page cache of one backend's temporary relations. @internal */
export class LocalBuffers {
  readonly #options: LocalBuffersOptions;
  readonly #storage: StorageManager;
  readonly #checks: PrivatePages;
  readonly #traffic: LocalTraffic;
  #pages: number;
  /** Of no buffers before the first page is touched and after detach. */
  #table = new LocalTable(0);
  #frames: LocalFrames | undefined;
  #changing = -1;
  #before: Uint8Array | undefined;
  #closed = false;

  constructor(options: LocalBuffersOptions) {
    this.#options = options;
    this.#storage = options.storage;
    this.#checks = options.checks;
    this.#traffic = options.traffic;
    this.#pages = options.pages;
  }

  // ── Pins ───────────────────────────────────────────────────────────────────────────────────────

  /**
   * Pins a page, reading it if it is in no buffer. May wait for storage.
   *
   * @param bad - what to do with a page that storage has, but that is none
   * @returns the buffer, below 0
   * @throws {@link BufferError} 53000 if every local buffer is pinned
   * @throws {@link PallocError} 0A000 for a temporary relation of another backend
   * @see PostgreSQL: src/backend/storage/buffer/localbuf.c, LocalBufferAlloc
   */
  pin(id: ForkId, block: number, bad: BadPage = "error"): BufferId {
    const table = this.#table;
    const index = table.find(id, block);
    if (index < 0 || !table.has(index, LOCAL_VALID)) return this.#pinByReading(id, block, bad);
    table.pin(index);
    this.#traffic.hit();
    return numberOf(index);
  }

  /** As {@link pin}; a page that is in no buffer is cleared instead of read. */
  pinZeroed(id: ForkId, block: number): BufferId {
    const table = this.#table;
    const index = table.find(id, block);
    if (index >= 0 && table.has(index, LOCAL_VALID)) return this.pin(id, block);
    const taken = this.#take(index, id, block);
    this.#viewOf(taken).fill(0);
    this.#table.set(taken, LOCAL_VALID);
    return numberOf(taken);
  }

  /** Gives back one pin. @throws {@link BufferError} 55000 if there is none */
  unpin(buffer: BufferId): void {
    const index = this.#demandPinned(buffer);
    const isLast = this.#table.pins[index] === 1;
    if (isLast && this.#changing === index) throw refusal(ST_CHANGING);
    this.#table.unpin(index);
  }

  /**
   * The 8,192 bytes of a buffer; its page's while it is pinned. The same object each time, unless
   * the process memory has grown, which empties the one before.
   */
  bytes(buffer: BufferId): Uint8Array {
    return this.#viewOf(this.#demandIndex(buffer));
  }

  /** Where a buffer lies in the process memory, a multiple of 4,096. */
  address(buffer: BufferId): number {
    const index = this.#demandIndex(buffer);
    return this.#frames?.address(index) ?? 0;
  }

  /** What stands for taking a content lock: nothing, but that the buffer must be pinned. */
  checkPinned(buffer: BufferId): void {
    this.#demandPinned(buffer);
  }

  // ── Changes ────────────────────────────────────────────────────────────────────────────────────

  /** The page differs from storage's. @throws {@link BufferError} 55000 if it is not pinned */
  markDirty(buffer: BufferId): void {
    const index = this.#demandPinned(buffer);
    if (this.#table.has(index, LOCAL_DIRTY)) return;
    this.#table.set(index, LOCAL_DIRTY);
    this.#traffic.dirty();
  }

  /** Marks a page dirty and keeps a copy of it, one page at a time, for {@link undoChange}. */
  beginChange(buffer: BufferId): void {
    const index = this.#demandPinned(buffer);
    if (this.#changing >= 0) throw refusal(ST_CHANGING);
    this.#before ??= new Uint8Array(BLOCK_BYTES);
    this.#before.set(this.#viewOf(index));
    this.markDirty(buffer);
    this.#changing = index;
  }

  /** Makes the change stand. @throws {@link BufferError} 55000 if none was begun here */
  endChange(buffer: BufferId): void {
    this.#demandChanging(buffer);
    this.#changing = -1;
  }

  /** Puts the page back as it was at {@link beginChange}. */
  undoChange(buffer: BufferId): void {
    const index = this.#demandChanging(buffer);
    if (this.#before !== undefined) this.#viewOf(index).set(this.#before);
    this.#changing = -1;
  }

  /** Undoes a change of a page that nobody will end. */
  abandonChange(buffer: BufferId): void {
    if (this.#changing === this.#demandPinned(buffer)) this.undoChange(buffer);
  }

  // ── Relations ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Makes a fork longer by blocks of zeroes. @returns the first new one
   *
   * @see PostgreSQL: src/backend/storage/buffer/localbuf.c, ExtendBufferedRelLocal
   */
  extend(id: ForkId, blocks: number): number {
    const { relation, fork } = this.#own(id);
    if (!Number.isInteger(blocks) || blocks < 1) {
      throw new RangeError(`a relation is extended by 1 block or more, not ${blocks}`);
    }
    const first = this.#storage.blocksSync(relation, fork);
    if (first + blocks > MAX_BLOCK_NUMBER) {
      const name = this.#options.nameOf(relation);
      throw new RangeError(`cannot extend relation ${name} beyond ${MAX_BLOCK_NUMBER} blocks`);
    }
    this.#storage.extendSync(relation, fork, first + blocks);
    this.#traffic.extend(blocks);
    return first;
  }

  /**
   * Writes every dirty page of a fork; returns how many. The first failure ends it; the page stays
   * dirty.
   */
  flushRelation(id: ForkId): number {
    this.#own(id);
    const table = this.#table;
    const isDirty = (index: number): boolean => table.has(index, LOCAL_DIRTY);
    const dirty = this.#indexes((index) => table.holds(index, id, 0) && isDirty(index));
    for (const index of dirty) this.#write(index);
    return dirty.length;
  }

  /** Writes one buffer if it is dirty. @returns whether it was */
  flush(buffer: BufferId): boolean {
    const index = this.#demandIndex(buffer);
    if (!this.#table.has(index, LOCAL_DIRTY)) return false;
    this.#write(index);
    return true;
  }

  /**
   * Forgets the pages of a fork from a block on, without writing them.
   *
   * @throws {@link PallocError} 55006 if one of them is pinned; then nothing has changed
   * @see PostgreSQL: src/backend/storage/buffer/localbuf.c, DropRelationLocalBuffers
   */
  dropRelation(id: ForkId, firstBlock = 0): void {
    const { relation } = this.#own(id);
    const table = this.#table;
    this.#forget(relation, (index) => table.holds(index, id, firstBlock));
  }

  /** As {@link dropRelation}, of all forks and blocks. @param relation - its number */
  dropForks(relation: number): void {
    this.#own(((relation << FORK_BITS) >>> 0) as ForkId);
    const table = this.#table;
    const isOf = (index: number): boolean => (table.files[index] ?? 0) >>> FORK_BITS === relation;
    this.#forget(relation, (index) => table.has(index, LOCAL_MAPPED) && isOf(index));
  }

  // ── All ────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Sets temp_buffers.
   *
   * @throws {@link InvalidParameterError} 22023 for another size once a page has been touched
   * @see PostgreSQL: src/backend/utils/misc/guc_tables.c, check_temp_buffers
   */
  resize(pages: number): void {
    if (this.#frames !== undefined && pages !== this.#pages) {
      const message = `invalid value for parameter "temp_buffers": ${pages}`;
      throw new InvalidParameterError("temp_buffers", message, {
        detail:
          '"temp_buffers" cannot be changed after any temporary tables have been accessed in the session.',
      });
    }
    this.#pages = pages;
  }

  /** Local buffers there are, or will be once a page is touched. */
  get size(): number {
    return this.#pages;
  }

  /** Buffers that are pinned; 0 when nothing is leaked. */
  get pinnedBuffers(): number {
    return this.#table.pinned;
  }

  /** Every pinned page, in the order of buffers. PostgreSQL: CheckForLocalBufferLeaks */
  leaks(): LocalLeak[] {
    return this.rows()
      .filter(({ pins }) => pins > 0)
      .map(({ buffer, relation, block, pins }) => {
        return { buffer, relation: this.#options.nameOf(relation), block, count: pins };
      });
  }

  /** Every buffer that has a page, in order. */
  rows(): LocalBufferRow[] {
    const { files, blocks, usage, pins } = this.#table;
    return this.#indexes((index) => this.#table.has(index, LOCAL_MAPPED)).map((index) => ({
      buffer: numberOf(index),
      ...partsOf(files[index] ?? 0),
      block: blocks[index] ?? 0,
      usage: usage[index] ?? 0,
      pins: pins[index] ?? 0,
      dirty: this.#table.has(index, LOCAL_DIRTY),
      valid: this.#table.has(index, LOCAL_VALID),
    }));
  }

  /** Forgets every page and gives the memory back; pins do not hinder it. Idempotent. */
  detach(): void {
    const frames = this.#frames;
    this.#close();
    frames?.delete();
  }

  // ── The long way ───────────────────────────────────────────────────────────────────────────────

  #pinByReading(id: ForkId, block: number, bad: BadPage): BufferId {
    const index = this.#take(this.#table.find(id, block), id, block);
    const { relation, fork } = partsOf(id);
    const page = this.#viewOf(index);
    try {
      this.#storage.readSync(relation, fork, block, page);
      this.#verify(page, relation, block, bad);
    } catch (error) {
      this.unpin(numberOf(index));
      throw error;
    }
    this.#table.set(index, LOCAL_VALID);
    this.#traffic.read();
    return numberOf(index);
  }

  #verify(page: Uint8Array, relation: number, block: number, bad: BadPage): void {
    const found = this.#checks.damage(page, this.#options.nameOf(relation), block);
    if (found === undefined) return;
    const remedy = remedyOf(found.verdict, bad, this.#options.damage);
    if (remedy === "error") throw found.error;
    if (remedy === "zero") page.fill(0);
    this.#options.warn(damageWarning(found.error, remedy));
  }

  /** The page's buffer, pinned, not yet readable: the one it has already, or a victim. */
  #take(found: number, id: ForkId, block: number): number {
    this.#own(id);
    if (found >= 0) {
      this.#table.pin(found);
      return found;
    }
    const frames = this.#open();
    const table = this.#table;
    const index = table.sweep();
    if (index < 0) throw noBuffer();
    frames.provide(index);
    if (table.has(index, LOCAL_DIRTY)) this.#write(index);
    if (table.has(index, LOCAL_MAPPED)) {
      if (table.has(index, LOCAL_VALID)) this.#traffic.evict();
      table.remove(index);
    }
    table.insert(index, id, block);
    return index;
  }

  #write(index: number): void {
    const { files, blocks } = this.#table;
    const { relation, fork } = partsOf(files[index] ?? 0);
    const block = blocks[index] ?? 0;
    const page = this.#viewOf(index);
    this.#checks.seal(page, block);
    this.#storage.writeSync(relation, fork, block, page);
    this.#table.clear(index, LOCAL_DIRTY);
    this.#traffic.write();
  }

  /** Memory for descriptors and frames, made when the first page is touched. */
  #open(): LocalFrames {
    if (this.#frames !== undefined) return this.#frames;
    const table = new LocalTable(this.#pages);
    const frames = new LocalFrames(this.#options.memory, this.#pages, () => this.#close());
    this.#table = table;
    this.#frames = frames;
    return frames;
  }

  #close(): void {
    this.#closed = true;
    this.#table = new LocalTable(0);
    this.#frames = undefined;
    this.#changing = -1;
  }

  #indexes(wanted: (index: number) => boolean): number[] {
    const found: number[] = [];
    for (let index = 0; index < this.#table.size; index += 1) {
      if (wanted(index)) found.push(index);
    }
    return found;
  }

  /** Takes the pages of some buffers away, if none of them is pinned. */
  #forget(relation: number, chosen: (index: number) => boolean): void {
    const { blocks, pins } = this.#table;
    const indexes = this.#indexes(chosen);
    for (const index of indexes) {
      if (pins[index] === 0) continue;
      const name = this.#options.nameOf(relation);
      const what = `block ${blocks[index]} of relation "${name}" is still referenced`;
      throw new PallocError(IN_USE, `${what} (local ${pins[index]})`, {
        hint: "Release every pin on a relation before dropping it.",
      });
    }
    for (const index of indexes) this.#table.remove(index);
  }

  #viewOf(index: number): Uint8Array {
    if (this.#frames === undefined) throw new ClosedError("the pool of local buffers");
    return this.#frames.bytes(index);
  }

  #own(id: ForkId): { relation: number; fork: Fork } {
    if (this.#closed) throw new ClosedError("the pool of local buffers");
    const parts = partsOf(id);
    demandOwn(parts.relation, this.#options.slot);
    return parts;
  }

  /** The index of a buffer that has a frame. */
  #demandIndex(buffer: BufferId): number {
    const index = -1 - buffer;
    if (this.#table.has(index, LOCAL_MAPPED)) return index;
    throw this.#closed ? new ClosedError("the pool of local buffers") : refusal(ST_BAD_BUFFER);
  }

  #demandPinned(buffer: BufferId): number {
    const index = -1 - buffer;
    if ((this.#table.pins[index] ?? 0) > 0) return index;
    this.#demandIndex(buffer);
    throw refusal(ST_NOT_PINNED);
  }

  #demandChanging(buffer: BufferId): number {
    const index = this.#demandPinned(buffer);
    if (this.#changing === index) return index;
    throw new PallocError("55000", "this backend is not changing the page", {
      hint: "Call beginChange() first.",
    });
  }
}

function noBuffer(): BufferError {
  return new BufferError("53000", "no empty local buffer available", {
    hint: "Every local buffer is pinned: release pins sooner, or set a higher temp_buffers.",
  });
}

function numberOf(index: number): BufferId {
  return (-1 - index) as BufferId;
}

function partsOf(file: number): { relation: number; fork: Fork } {
  return { relation: file >>> FORK_BITS, fork: (file & FORK_MASK) as Fork };
}
