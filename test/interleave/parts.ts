// The classes of bindings/shared as the operations of a schedule use them: the very routines, over
// exports that can be stopped, storage that is a model, and words that are touched in steps.
//
// An operation whose call was stopped is made anew and given the same answers. So these classes
// must depend on nothing but that: each run of an operation has instances of its own, and whatever
// they ask of storage or of the region's words is asked once (`Actor.once`).

import {
  BLOCK_BYTES,
  SLOT_SLEEP_VALUE_OFFSET,
  SLOT_SLEEPING_ON_OFFSET,
} from "../../assembly/common/constants.ts";
import type { ForkId } from "../../bindings/abi/pointers.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { Attachment } from "../../bindings/shared/attachment.ts";
import { BatchWriter } from "../../bindings/shared/batch-writer.ts";
import type { BufferPool } from "../../bindings/shared/buffers.ts";
import { Checkpoints } from "../../bindings/shared/checkpoint.ts";
import { IoCounts } from "../../bindings/shared/io-counts.ts";
import { IoQueue } from "../../bindings/shared/io-queue.ts";
import { Journal } from "../../bindings/shared/journal.ts";
import {
  journalFile,
  RECORD_BYTES,
  RECORD_HEADER_BYTES,
} from "../../bindings/shared/journal-format.ts";
import type { LocalBuffers } from "../../bindings/shared/local-buffers.ts";
import { NumberPool, type ReadOptions } from "../../bindings/shared/number-pool.ts";
import { PageIo, type PageIoParts } from "../../bindings/shared/page-io.ts";
import { PageLocks } from "../../bindings/shared/page-locks.ts";
import { Prewarm } from "../../bindings/shared/prewarm.ts";
import {
  type BlockRange,
  ReadStream,
  type ReadStreamOptions,
} from "../../bindings/shared/read-stream.ts";
import { RelationMap } from "../../bindings/shared/relation.ts";
import { RelationPages } from "../../bindings/shared/relation-pages.ts";
import type { Routine, Step } from "../../bindings/shared/routine.ts";
import { resolveSettings } from "../../bindings/shared/settings.ts";
import { type Fork, StorageError, type StorageManager } from "../../bindings/storage/manager.ts";
import { marksOf } from "./ledger.ts";
import { type Medium, PAGE_MARKS, RELATIONS } from "./medium.ts";
import type { Actor, Image, Operation } from "./steps.ts";

const FORK_BITS = 2;
const HALF_WORDS = BLOCK_BYTES / 8;
/** Address of a word of the region that is never written: its version. */
const NEVER_WRITTEN = 4;

/** A medium's error. */
export const MEDIUM_ERROR: StorageError = new StorageError("58030", "the medium failed", "model");
/** What a routine hears that is given up. */
export const GIVEN_UP: Error = new Error("given up");

// ── Storage ──────────────────────────────────────────────────────────────────────────────────────

/** The calls that routines make of storage themselves; all else they yield. */
class ModelStorage implements StorageManager {
  readonly handle = { kind: "model" };
  readonly capabilities = { durable: true, shared: true };
  readonly #once: Actor["once"];

  constructor({ once }: Actor) {
    this.#once = once;
  }

  #ask<Result>(act: (medium: Medium) => Result): Result {
    return this.#once({ at: 0, writes: false, act: ({ medium }) => act(medium) });
  }

  /** As ask, of what never changes: no place to stop at. */
  #know<Result>(act: (medium: Medium) => Result): Result {
    return this.#once({ at: NEVER_WRITTEN, writes: false, act: ({ medium }) => act(medium) });
  }

  #do(act: (medium: Medium) => void): void {
    this.#once({ at: 0, writes: true, act: ({ medium }) => act(medium) });
  }

  existsSync(): boolean {
    return true;
  }

  unlinkSync(relation: number, fork: Fork): void {
    if (fork === 0) this.#do((medium) => medium.resize(relation, 0));
  }

  blocksSync(relation: number): number {
    return this.#ask(({ lengths }) => lengths[RELATIONS.indexOf(relation)] ?? 0);
  }

  extendSync(relation: number, _fork: Fork, blocks: number): void {
    this.#do((medium) => medium.resize(relation, blocks));
  }

  truncateSync(relation: number, _fork: Fork, blocks: number): void {
    this.#do((medium) => medium.resize(relation, blocks));
  }

  flushSync(relation: number): void {
    this.#do((medium) => medium.flush(relation));
  }

  relationsSync(): number[] {
    return this.#ask(() => [...RELATIONS]);
  }

  createJournalSync(n: number): void {
    this.#do((medium) => medium.create(n));
  }

  /** Routines write nothing but headers themselves. */
  writeJournalSync(n: number, _position: number, parts: readonly Uint8Array[]): void {
    this.#do((medium) => medium.create(n, parts[0]));
  }

  readJournalSync(n: number, position: number, into: Uint8Array): number {
    const header = this.#know((medium) => medium.header(n));
    into.set(header.subarray(position, position + into.length));
    return Math.max(0, Math.min(into.length, header.length - position));
  }

  journalBytesSync(n: number): number {
    const bytes = this.#know((medium) => medium.journalBytes(n));
    if (bytes < 0) throw new StorageError("58P01", "there is no such journal", String(n));
    return bytes;
  }

  removeJournalSync(n: number): void {
    this.#do((medium) => medium.remove(n));
  }

  journalsSync(): number[] {
    return this.#ask(({ journals }) => journals);
  }

  readControlSync(): Uint8Array {
    return this.#ask(({ control }) => control);
  }

  writeControlSync(bytes: Uint8Array): void {
    this.#do((medium) => medium.commit(bytes));
  }

  readRelationsSync(): Uint8Array {
    return this.#ask(({ relations }) => relations);
  }

  writeRelationsSync(bytes: Uint8Array): void {
    this.#do((medium) => {
      medium.relations = bytes;
    });
  }

  /** Has no effect that anybody could see; that hints are taken makes streams look further. */
  prefetch(): void {}

  closeSync(): void {}
  createSync = unexpected;
  readSync = unexpected;
  writeSync = unexpected;
  readvSync = unexpected;
  writevSync = unexpected;
  syncJournalSync = unexpected;
}

function unexpected(): never {
  throw new Error("a routine is to yield this");
}

// ── The region ───────────────────────────────────────────────────────────────────────────────────

/** An attachment whose words are touched in steps. */
class SteppedAttachment extends Attachment {
  readonly #once: Actor["once"];

  constructor({ x, memory, slot, once }: Actor) {
    super(x, memory, slot, true);
    this.#once = once;
  }

  override word(offset: number): number {
    const act = (): number => super.word(offset);
    return this.#once({ at: offset, writes: false, act });
  }

  override setWord(offset: number, value: number): void {
    const act = (): void => super.setWord(offset, value);
    this.#once({ at: offset, writes: true, act });
  }
}

/** A pool whose routines can be had. */
class OpenPool extends NumberPool {
  pinned(id: number, block: number, options: ReadOptions): Routine<number> {
    return this.pinRoutine(id as ForkId, block, options);
  }

  ended(buffer: number): Routine<number> {
    return this.endRoutine(buffer as Parameters<NumberPool["unpin"]>[0]);
  }
}

/** What a backend is made of. */
export interface Parts {
  readonly attachment: Attachment;
  readonly pool: OpenPool;
  readonly io: PageIo;
  readonly locks: PageLocks;
  readonly pages: RelationPages;
  readonly checkpoints: Checkpoints;
  /** A read stream over blocks of a file. */
  stream(file: number, blocks: BlockRange, options: ReadStreamOptions): ReadStream;
  readonly prewarm: Prewarm;
}

function rightJournal(...parts: ConstructorParameters<typeof Journal>): Journal {
  return new Journal(...parts);
}

function rightPageIo(parts: PageIoParts): PageIo {
  return new PageIo(parts);
}

const temporary = { checkPinned: unexpected, pin: unexpected } as unknown as LocalBuffers;

/** Mistakes to be found: classes and calls to be used instead of the right ones. */
export interface Plants {
  readonly exports?: (x: SharedExports) => SharedExports;
  readonly journal?: (...parts: ConstructorParameters<typeof Journal>) => Journal;
  readonly pageIo?: (parts: PageIoParts) => PageIo;
}

let plants: Plants = {};

/** From now on every backend has these mistakes; none, if nothing is given. */
export function plant(mistakes: Plants = {}): void {
  plants = mistakes;
}

/** Fresh instances for one run of an operation. @param batchPages - pages written with one sync */
export function partsOf(whole: Actor, batchPages = 1): Parts {
  const actor = plants.exports === undefined ? whole : { ...whole, x: plants.exports(whole.x) };
  const storage = new ModelStorage(actor) as StorageManager;
  const attachment = new SteppedAttachment(actor);
  const { buffers } = actor;
  const journal = (plants.journal ?? rightJournal)(attachment, storage);
  const counts = new IoCounts(actor.x, { track_io_timing: false });
  const words = { nameOf: String, warn: unexpected };
  const settings = resolveSettings();
  const queue = new IoQueue(attachment, actor.queued);
  const own = { queue, damage: settings.values, batchPages };
  const ground = { attachment, storage, journal, buffers, counts, ...own, ...words };
  const io = (plants.pageIo ?? rightPageIo)(ground);
  const writer = new BatchWriter(attachment, io);
  const relations = new RelationMap(attachment, storage);
  const common = { attachment, storage, journal, io, counts, writer };
  const pages = new RelationPages({ ...common, relations, buffers });
  const running = { runSync: unexpected, run: unexpected, settings };
  const poolParts = { attachment, journal, io, pages, local: temporary, ...running };
  const pool = new OpenPool(poolParts);
  const locks = new PageLocks(attachment);
  const checkpoints = new Checkpoints(common);
  const stream: Parts["stream"] = (file, blocks, options) =>
    new ReadStream(poolParts, file as ForkId, blocks, options);
  const prewarm = new Prewarm(streamsOf(actor, stream), io, settings);
  return { attachment, pool, io, locks, pages, checkpoints, stream, prewarm };
}

/** As much of a pool as prewarming uses. */
function streamsOf({ x }: Actor, stream: Parts["stream"]): BufferPool {
  const pool: Pick<BufferPool, "readStream" | "unpin"> = {
    readStream: ({ id }, blocks, options = {}) => stream(id, blocks as BlockRange, options),
    unpin: (buffer) => void x.unpin(buffer),
  };
  return pool as BufferPool;
}

// ── Routines as operations ───────────────────────────────────────────────────────────────────────

/** What befalls a routine. */
export interface Fate {
  /** Reads into frames fail, as a medium's error would. */
  readonly fails?: boolean;
  /** It is given up where it would sleep, once others have gone on. */
  readonly givesUp?: boolean;
  /** It waits for what its own backend has under way, as promise forms do. */
  readonly patient?: boolean;
}

/** Runs a routine of bindings: each step becomes a request, or several. */
export function* drive<Result>(
  actor: Actor,
  routine: Routine<Result>,
  { fails = false, givesUp = false, patient = false }: Fate = {},
): Operation<Result> {
  let next = routine.next();
  while (next.done !== true) {
    const step = next.value;
    if (step.op === "sleep" && givesUp) {
      yield { do: "tired" };
      // As `run` does when its signal has come.
      actor.x.sleep(0);
      next = routine.throw(GIVEN_UP);
      continue;
    }
    if (step.op === "sleep") yield* sleep(actor);
    else if (step.op === "self" && !step.held && patient) yield { do: "tired" };
    else if (fails && step.op === "read" && isShared(actor, step.pages[0])) {
      next = routine.throw(MEDIUM_ERROR);
      continue;
    } else yield* perform(actor, step);
    next = routine.next();
  }
  return next.value;
}

/** Runs a routine until it sleeps, and leaves it there; its result if it has come to one. */
export function* driveUntilAsleep<Result>(
  actor: Actor,
  routine: Routine<Result>,
): Operation<Result | undefined> {
  for (;;) {
    const { done, value } = routine.next();
    if (done === true) return value;
    if (value.op === "sleep") break;
    yield* perform(actor, value);
  }
  // Others go on meanwhile.
  yield { do: "tired" };
  return undefined;
}

/**
 * Attachment.sleep, by the call that sleeps in wasm; in every second slot by a wait of TypeScript's
 * on the word that the slot names, as a thread waits that must not block.
 */
export function* sleep({ x, word, slot }: Actor): Operation<void> {
  if (slot % 2 !== 0) {
    yield { do: "sleep" };
    return;
  }
  const mine = x.slotAddress(slot) >>> 0;
  const at = word(mine + SLOT_SLEEPING_ON_OFFSET);
  if (at !== 0) yield { do: "await", at, value: word(mine + SLOT_SLEEP_VALUE_OFFSET) };
  x.sleep(0);
}

function* perform(actor: Actor, step: Step): Operation<void> {
  switch (step.op) {
    case "read":
      for (const [index, page] of step.pages.entries()) {
        yield* read(actor, fileOf(step), step.block + index, page);
      }
      return;
    case "write":
      for (let index = 0; index < step.pages.length; index += 1) {
        const [file, block] = [fileOf(step), step.block + index];
        yield { do: "write", buffer: yield { do: "find", file, block }, file, block };
      }
      return;
    case "journal":
      yield* append(actor, step);
      return;
    case "syncJournal":
      yield { do: "syncJournal", journal: journalFile(step.journal) };
      return;
    case "pause":
    case "turn":
    case "delay":
      yield { do: "tired" };
      return;
    default:
      throw new Error(`a routine would wait for itself: ${step.op}`);
  }
}

function fileOf({ relation, fork }: { relation: number; fork: Fork }): number {
  return ((relation << FORK_BITS) | fork) >>> 0;
}

function isShared({ memory }: Actor, page: Uint8Array | undefined): boolean {
  return page?.buffer === memory;
}

function* read(actor: Actor, file: number, block: number, page: Uint8Array): Operation<void> {
  if (isShared(actor, page)) {
    const buffer = (page.byteOffset - (actor.x.frameAddress(0) >>> 0)) / BLOCK_BYTES;
    yield { do: "read", buffer, file, block };
    return;
  }
  const marks = marksOf(yield { do: "fetch", file, block }, file, block);
  const words = new Uint32Array(page.buffer, page.byteOffset, BLOCK_BYTES / 4);
  for (const [index, mark] of marks.entries()) words[placeOf(index)] = mark;
}

function* append(
  actor: Actor,
  { journal: checkpoint, position, parts }: Extract<Step, { op: "journal" }>,
): Operation<void> {
  const journal = journalFile(checkpoint);
  const deed = { at: NEVER_WRITTEN, writes: false };
  const { length } = actor.once({ ...deed, act: ({ medium }) => medium.header(journal) });
  const images: Image[] = [];
  for (let index = 0; index < parts.length; index += 2) {
    images.push(imageOf(parts[index] as Uint8Array, parts[index + 1] as Uint8Array));
  }
  yield { do: "journal", journal, first: (position - length) / RECORD_BYTES, images };
}

function imageOf(header: Uint8Array, image: Uint8Array): Image {
  if (header.length !== RECORD_HEADER_BYTES) throw new Error("a record has another header");
  const [, , relation = 0, fork = 0, block = 0] = new Uint32Array(header.buffer, header.byteOffset);
  const words = new Uint32Array(image.buffer, image.byteOffset, BLOCK_BYTES / 4);
  const marks = Array.from({ length: PAGE_MARKS }, (_, index) => words[placeOf(index)] ?? 0);
  return { file: fileOf({ relation, fork: fork as Fork }), block, marks };
}

/** Word of a page that a mark stands in. */
function placeOf(mark: number): number {
  return (mark < 2 ? 0 : HALF_WORDS) + (mark & 1);
}
