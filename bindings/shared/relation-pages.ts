/**
 * Work on all pages of a relation, or on one buffer whatever it holds: longer, shorter, gone,
 * written, evicted.
 *
 * Locks: checkpoint → control → extension → journal. Dropping and truncating wait for a checkpoint
 * to end, since it must write pages that they forget. The caller holds no content lock meanwhile.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, ExtendBufferedRelBy, DropRelationBuffers,
 * FlushRelationBuffers, EvictRelUnpinnedBuffers; catalog/storage.c, RelationTruncate
 */

import {
  BLOCK_BYTES,
  BUFFER_MASK,
  EXTENSION_LOCKS,
  IO_CONTEXT_NORMAL,
  LOCK_EXTENSION,
  MAX_BLOCK_NUMBER,
  NEED_WRITE,
  ST_BAD_BUFFER,
  ST_BUSY,
  ST_MISS,
  ST_OK,
  STATE_TAG_VALID,
} from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import type { BatchWriter } from "./batch-writer.ts";
import { readControl } from "./control.ts";
import type { IoCounts } from "./io-counts.ts";
import type { Journal } from "./journal.ts";
import type { PageIo } from "./page-io.ts";
import { removeFiles } from "./recovery.ts";
import type { Relation, RelationMap } from "./relation.ts";
import { PAUSE, type Routine } from "./routine.ts";

/** How long pages of a relation that goes away may be in somebody's use. */
const IN_USE_TIMEOUT_MS = 10_000;

/** What {@link Backend.evictSync} did with a buffer. */
export interface EvictResult {
  readonly buffer_evicted: boolean;
  readonly buffer_flushed: boolean;
}

/** What evicting many buffers did. */
export interface EvictManyResult {
  readonly buffers_evicted: number;
  readonly buffers_flushed: number;
  readonly buffers_skipped: number;
}

/** What a {@link RelationPages} needs. */
export interface RelationPagesParts {
  readonly attachment: Attachment;
  readonly storage: StorageManager;
  readonly journal: Journal;
  readonly io: PageIo;
  readonly counts: IoCounts;
  readonly writer: BatchWriter;
  readonly relations: RelationMap;
  readonly buffers: number;
}

/** Work on whole relations for one backend. @internal */
export class RelationPages {
  readonly #parts: RelationPagesParts;

  constructor(parts: RelationPagesParts) {
    this.#parts = parts;
  }

  // ── Length ─────────────────────────────────────────────────────────────────────────────────────

  /** Makes a relation longer; returns the first new block. */
  *extend(relation: Relation, blocks: number, context: number): Routine<number> {
    const { attachment, storage, counts } = this.#parts;
    const lock = extensionLock(relation.number);
    yield* attachment.lockNamed(lock);
    try {
      const first = storage.blocksSync(relation.number, 0);
      if (first + blocks > MAX_BLOCK_NUMBER) throw tooLong(relation.name);
      const began = counts.begin();
      storage.extendSync(relation.number, 0, first + blocks);
      counts.extend(context, blocks * BLOCK_BYTES, began);
      return first;
    } finally {
      attachment.exports.unlockNamed(lock);
    }
  }

  /** Makes a relation shorter: pages behind its new end are forgotten, changed or not. */
  *truncate(relation: Relation, blocks: number): Routine<void> {
    const { attachment } = this.#parts;
    const cut = function* (this: RelationPages): Routine<void> {
      const lock = extensionLock(relation.number);
      yield* attachment.withNamedLock(lock, () => this.#truncateLocked(relation, blocks));
    };
    yield* this.#parts.journal.withCheckpointLock(cut.bind(this));
  }

  *#truncateLocked({ id, name, number }: Relation, blocks: number): Routine<void> {
    const { storage, journal } = this.#parts;
    const length = storage.blocksSync(number, 0);
    checkShorter(name, length, blocks);
    yield* this.#untilUnused(name, () => this.#exports.pagesInUse(id, blocks));
    yield* journal.keepBlocks(number, blocks, length);
    yield* this.#untilUnused(name, () => this.#exports.dropPages(id, blocks, length - blocks));
    storage.truncateSync(number, 0, blocks);
  }

  /** Removes a relation; its files go once no checkpoint knows it. */
  *drop(name: string): Routine<void> {
    const { journal, relations } = this.#parts;
    const remove = function* (this: RelationPages): Routine<void> {
      const { id } = relations.open(name);
      yield* this.#untilUnused(name, () => this.#exports.pagesInUse(id, 0));
      const relation = yield* relations.forget(name);
      const blocks = relation.blocksSync();
      yield* this.#untilUnused(name, () => this.#exports.dropPages(id, 0, blocks));
      if (!this.#isCommitted(relation.number)) removeFiles(this.#parts.storage, relation.number);
    };
    yield* journal.withCheckpointLock(remove.bind(this));
  }

  /** Whether the last checkpoint, which a crash comes back to, knows a relation. */
  #isCommitted(number: number): boolean {
    const committed = readControl(this.#parts.storage);
    return Object.values(committed?.relations ?? {}).some((entry) => entry.number === number);
  }

  *#untilUnused(name: string, call: () => number): Routine<void> {
    const deadline = performance.now() + IN_USE_TIMEOUT_MS;
    for (;;) {
      const status = call();
      if (status === ST_OK) return;
      if (status !== ST_BUSY || performance.now() > deadline) throw beingUsed(name);
      yield PAUSE;
    }
  }

  // ── Writing ────────────────────────────────────────────────────────────────────────────────────

  /** Writes the dirty pages of a relation, or (0) all; returns how many. They are not synced. */
  *flush(id: number): Routine<number> {
    const dirty: number[] = [];
    for (let at = this.#exports.nextDirty(id, 0); at !== ST_MISS; ) {
      dirty.push(at);
      at = this.#exports.nextDirty(id, at + 1);
    }
    const { io } = this.#parts;
    const place = (buffer: number): number[] => {
      const { relation, fork, block } = io.pageOf(buffer);
      return [relation, fork, block];
    };
    const places = new Map(dirty.map((buffer) => [buffer, place(buffer)]));
    dirty.sort((a, b) => byPlace(places.get(a), places.get(b)));
    return yield* this.#write(dirty);
  }

  /** Writes a buffer if it is dirty. */
  *flushBuffer(buffer: number): Routine<boolean> {
    const exists = Number.isInteger(buffer) && buffer >= 0 && buffer < this.#parts.buffers;
    if (!exists) this.#parts.attachment.check(ST_BAD_BUFFER);
    return (yield* this.#write([buffer])) > 0;
  }

  *#write(buffers: readonly number[]): Routine<number> {
    return yield* this.#parts.writer.write({
      total: buffers.length,
      bufferAt: (place) => buffers[place] ?? 0,
      begin: (buffer, mayWait) => this.#exports.flushBegin(buffer, mayWait),
      context: IO_CONTEXT_NORMAL,
    });
  }

  // ── Evicting ───────────────────────────────────────────────────────────────────────────────────

  /** Takes a page out of the pool unless somebody has it pinned; writes it first if it is dirty. */
  *evict(buffer: number): Routine<EvictResult> {
    const exports = this.#exports;
    const taken = exports.evict(buffer);
    if (taken < 0) {
      if (taken !== ST_MISS && taken !== ST_BUSY) this.#parts.attachment.check(taken);
      return { buffer_evicted: false, buffer_flushed: false };
    }
    const flushed = (taken & NEED_WRITE) !== 0;
    const victim = flushed ? yield* this.#cleaned(taken & BUFFER_MASK) : taken;
    if (victim >= 0) exports.abandonVictim(victim);
    return { buffer_evicted: victim >= 0, buffer_flushed: flushed };
  }

  *#cleaned(buffer: number): Routine<number> {
    try {
      yield* this.#parts.io.write([buffer], IO_CONTEXT_NORMAL);
    } catch (error) {
      this.#exports.dropGuard(buffer);
      throw error;
    }
    return this.#exports.claim(buffer, IO_CONTEXT_NORMAL);
  }

  /** Evicts every page of a relation, or (0) all; what is dirty is written in batches before. */
  *evictAll(id: number): Routine<EvictManyResult> {
    let flushed = yield* this.flush(id);
    let [evicted, skipped] = [0, 0];
    for (let buffer = 0; buffer < this.#parts.buffers; buffer += 1) {
      if (!this.#isMapped(buffer, id)) continue;
      const result = yield* this.evict(buffer);
      if (result.buffer_flushed) flushed += 1;
      if (result.buffer_evicted) evicted += 1;
      else skipped += 1;
    }
    return { buffers_evicted: evicted, buffers_flushed: flushed, buffers_skipped: skipped };
  }

  #isMapped(buffer: number, id: number): boolean {
    if ((this.#exports.stateOf(buffer) & STATE_TAG_VALID) === 0) return false;
    return id === 0 || this.#exports.fileOf(buffer) >>> 0 === id;
  }

  get #exports(): Attachment["exports"] {
    return this.#parts.attachment.exports;
  }
}

/** @throws RangeError unless a relation can be cut to `blocks` blocks @internal */
export function checkShorter(name: string, length: number, blocks: number): void {
  if (Number.isInteger(blocks) && blocks >= 0 && blocks <= length) return;
  throw new RangeError(`cannot truncate relation "${name}" of ${length} blocks to ${blocks}`);
}

function extensionLock(relation: number): number {
  return LOCK_EXTENSION + (relation % EXTENSION_LOCKS);
}

function byPlace(a: readonly number[] = [], b: readonly number[] = []): number {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}

function tooLong(name: string): RangeError {
  return new RangeError(`cannot extend relation ${name} beyond ${MAX_BLOCK_NUMBER} blocks`);
}

function beingUsed(name: string): PallocError {
  return new PallocError("55006", `relation "${name}" is being used`, {
    detail: "Pages of it are pinned.",
    hint: "Release every pin on a relation before dropping or truncating it.",
  });
}
