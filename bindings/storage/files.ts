/**
 * Pages in files, laid out as PostgreSQL lays them out:
 *
 *   directory/palloc.control.0        the control document, as it is or was before: two-places.ts
 *   directory/palloc.control.1
 *   directory/palloc.relations        the list of relations
 *   directory/palloc.journal.3        a journal
 *   directory/base/16384              main fork, first segment
 *   directory/base/16384.1            its second segment, there once the first is full
 *   directory/base/16384_fsm          another fork
 *
 * What belongs to a fork, and how long it is: segments.ts. Blocks that lie together in one segment
 * are read and written by one call.
 *
 * A truncated fork keeps its later segments, empty, as in PostgreSQL: other threads may have them
 * open, and the next extension fills them. Truncation and removal go from the last segment to the
 * first, and each cut is synced before the next: a crash leaves a shorter fork and never a gap.
 *
 * Threads: each has its own {@link FileStorage} over the same directory. `flushSync` syncs all
 * segments of a fork, since other threads may have written them, unless none has: unsynced.ts.
 * How errors of a sync find their way is told in descriptors.ts. A thread that is terminated loses
 * its descriptors unsynced; Linux reports an error that nobody has seen to a later descriptor, as
 * long as some descriptor kept the file in memory, so whoever flushes for others should have asked
 * for the fork's length before they write.
 *
 * PostgreSQL: src/backend/storage/smgr/md.c
 */

import { BLOCK_BYTES, MAX_RELATION_NUMBER } from "../../assembly/common/constants.ts";
import { ClosedError } from "../abi/errors.ts";
import { type DataFile, Descriptors, type Directory, unsyncedWords } from "./descriptors.ts";
import { Document } from "./documents.ts";
import {
  type FileCalls,
  fileError,
  readFully,
  readPages,
  readPagesLater,
  writeFully,
  writeParts,
} from "./file-calls.ts";
import { Journals } from "./journals.ts";
import {
  type BlockRange,
  checkBlock,
  checkBlocks,
  checkLength,
  checkPages,
  type Fork,
  rangeMessage,
  readPastEnd,
  type StorageCapabilities,
  type StorageError,
  type StorageHandle,
  type StorageManager,
  writePastEnd,
} from "./manager.ts";
import { type ForkFiles, Segments } from "./segments.ts";
import { TwoPlaces } from "./two-places.ts";
import { Unsynced } from "./unsynced.ts";

/** What a thread needs to open a data directory. */
export interface FilesHandle extends StorageHandle {
  readonly kind: "node-fs";
  readonly module: string;
  /** Absolute path of the data directory. */
  readonly directory: string;
  /** Blocks of a full segment. */
  readonly segmentBlocks: number;
  /** Open files a thread, at most. */
  readonly maxOpenFiles: number;
  /** Words shared by all threads: descriptors.ts, unsynced.ts. */
  readonly state: SharedArrayBuffer;
}

const CONTROL_NAME = "palloc.control";
/** Blocks of a full segment: 1 GB. */
export const SEGMENT_BLOCKS = 131072;

/** What is read ahead goes here, all of it to the same place: nobody looks at it. */
const scratch = new Uint8Array(BLOCK_BYTES);
/** Blocks of one read ahead, 128 kB, and how many such reads a thread has going, at most. */
const PREFETCH_BLOCKS = 16;
const MAX_PREFETCHES = 8;

/** A part of a vector of pages that lies in one segment. */
interface Piece {
  readonly range: BlockRange;
  readonly file: DataFile;
  readonly pages: readonly Uint8Array[];
  /** Byte of the segment where it begins. */
  readonly position: number;
}

/** {@link StorageManager} over files, for one thread. */
export class FileStorage implements StorageManager {
  readonly handle: FilesHandle;
  readonly capabilities: StorageCapabilities = { durable: true, shared: true };
  readonly claim?: () => Promise<() => void>;
  readonly #calls: FileCalls;
  readonly #open: Descriptors;
  readonly #segments: Segments;
  readonly #journals: Journals;
  readonly #unsynced: Unsynced;
  readonly #control: TwoPlaces;
  /** The control document as formats before 4 had it: to be refused by its version. */
  readonly #formerControl: Document;
  readonly #relations: Document;
  #prefetches = 0;
  #closed = false;

  /**
   * @param syncDirectories - whether the system can sync a directory; Windows cannot
   * @param claim - {@link StorageManager.claim} of this directory, if the system has it
   */
  constructor(
    handle: FilesHandle,
    calls: FileCalls,
    syncDirectories: boolean,
    claim?: () => Promise<() => void>,
  ) {
    const { directory: path, maxOpenFiles, state, segmentBlocks } = handle;
    const directory: Directory = { name: path, path, words: "data" };
    this.handle = handle;
    if (claim !== undefined) this.claim = claim;
    this.#calls = calls;
    this.#open = new Descriptors(calls, maxOpenFiles, state, syncDirectories);
    this.#segments = new Segments(calls, this.#open, path, segmentBlocks);
    this.#journals = new Journals(calls, this.#open, directory);
    this.#unsynced = new Unsynced(unsyncedWords(state));
    this.#control = new TwoPlaces(calls, this.#open, directory, CONTROL_NAME);
    this.#formerControl = new Document(calls, directory, CONTROL_NAME);
    this.#relations = new Document(calls, directory, "palloc.relations");
  }

  // ── Forks ──────────────────────────────────────────────────────────────────────────────────────

  createSync(relation: number, fork: Fork): void {
    const first = this.#segments.segment(this.#fork(relation, fork), 0);
    if (this.#open.find(first) >= 0) {
      const cause = Object.assign(new Error("EEXIST"), { code: "EEXIST" });
      throw fileError(`could not create file "${first.name}"`, first.path, cause);
    }
    this.#changing(relation, fork, () => this.#open.create(first));
  }

  existsSync(relation: number, fork: Fork): boolean {
    return this.#open.find(this.#segments.segment(this.#fork(relation, fork), 0)) >= 0;
  }

  unlinkSync(relation: number, fork: Fork): void {
    const files = this.#fork(relation, fork);
    this.#changing(relation, fork, () => this.#segments.unlink(files));
    this.#open.nameRemoved(this.#segments.base);
  }

  blocksSync(relation: number, fork: Fork): number {
    return this.#segments.length(this.#fork(relation, fork));
  }

  extendSync(relation: number, fork: Fork, blocks: number): void {
    checkLength(blocks);
    const files = this.#fork(relation, fork);
    this.#changing(relation, fork, () => this.#segments.extend(files, blocks));
  }

  truncateSync(relation: number, fork: Fork, blocks: number): void {
    checkLength(blocks);
    const files = this.#fork(relation, fork);
    this.#changing(relation, fork, () => this.#segments.truncate(files, blocks));
    this.#open.cutShort(this.#segments.base);
  }

  flushSync(relation: number, fork: Fork): void {
    const files = this.#fork(relation, fork);
    this.#open.requireSynced(this.#segments.segment(files, 0));
    const sync = (): void => this.#segments.sync(files);
    if (fork === 0) this.#unsynced.sync(relation, sync);
    else sync();
  }

  relationsSync(): number[] {
    this.#requireOpen();
    const relations = new Set<number>();
    for (const name of this.#segments.names()) {
      const relation = Number.parseInt(name, 10);
      if (relation <= MAX_RELATION_NUMBER) relations.add(relation);
    }
    return [...relations].sort((a, b) => a - b);
  }

  // ── Blocks ─────────────────────────────────────────────────────────────────────────────────────

  readSync(relation: number, fork: Fork, block: number, into: Uint8Array): void {
    checkBlock(block, into);
    const files = this.#fork(relation, fork);
    const { size } = this.#segments;
    const n = Math.floor(block / size);
    const file = this.#segments.segment(files, n);
    const descriptor = this.#open.find(file);
    let got = 0;
    if (descriptor >= 0) {
      try {
        got = readFully(this.#calls, descriptor, into, (block - n * size) * BLOCK_BYTES);
      } catch (cause) {
        throw blockError("read", rangeOf(file, block, 1), cause);
      }
    }
    if (got < BLOCK_BYTES) this.#shortRead(files, rangeOf(file, block, 1), got);
  }

  writeSync(relation: number, fork: Fork, block: number, from: Uint8Array): void {
    checkBlock(block, from);
    const files = this.#fork(relation, fork);
    const { size } = this.#segments;
    const n = Math.floor(block / size);
    const file = this.#segments.segment(files, n);
    const inSegment = block - n * size;
    if (inSegment >= file.blocks) {
      this.#requireBlocks(files, file, inSegment + 1, rangeOf(file, block, 1));
    }
    const descriptor = this.#open.writable(file);
    file.written = true;
    try {
      this.#changing(relation, fork, () => {
        writeFully(this.#calls, descriptor, from, BLOCK_BYTES, inSegment * BLOCK_BYTES);
      });
    } catch (cause) {
      throw blockError("write", rangeOf(file, block, 1), cause);
    }
  }

  readvSync(relation: number, fork: Fork, block: number, into: readonly Uint8Array[]): void {
    checkPages(block, into);
    const files = this.#fork(relation, fork);
    for (const { file, range, pages, position } of this.#pieces(files, block, into)) {
      const descriptor = this.#open.find(file);
      let got = 0;
      try {
        if (descriptor >= 0) got = readPages(this.#calls, descriptor, pages, position);
      } catch (cause) {
        throw blockError("read", range, cause);
      }
      if (got < pages.length * BLOCK_BYTES) this.#shortRead(files, range, got);
    }
  }

  writevSync(relation: number, fork: Fork, block: number, from: readonly Uint8Array[]): void {
    checkPages(block, from);
    const files = this.#fork(relation, fork);
    const pieces = this.#pieces(files, block, from);
    for (const { file, range, pages, position } of pieces) {
      const end = position / BLOCK_BYTES + pages.length;
      if (end > file.blocks) this.#requireBlocks(files, file, end, range);
    }
    for (const { file, range, pages, position } of pieces) {
      const descriptor = this.#open.writable(file);
      file.written = true;
      try {
        this.#changing(relation, fork, () => {
          writeParts(this.#calls, descriptor, pages, position);
        });
      } catch (cause) {
        throw blockError("write", range, cause);
      }
    }
  }

  async readv(
    relation: number,
    fork: Fork,
    block: number,
    into: readonly Uint8Array[],
  ): Promise<void> {
    checkPages(block, into);
    const files = this.#fork(relation, fork);
    // One after another: when this rejects, nothing may still be on its way into a page.
    for (const piece of this.#pieces(files, block, into)) {
      const got = await this.#readLater(piece);
      if (got < piece.pages.length * BLOCK_BYTES) this.#shortRead(files, piece.range, got);
    }
  }

  /** Node has no call for it: the blocks are read, in another thread, to where nobody looks. */
  prefetch(relation: number, fork: Fork, block: number, count: number): void {
    checkBlocks(block, count);
    const files = this.#fork(relation, fork);
    const end = block + count;
    for (let at = block; at < end && this.#prefetches < MAX_PREFETCHES; at += PREFETCH_BLOCKS) {
      const pages = new Array<Uint8Array>(Math.min(PREFETCH_BLOCKS, end - at)).fill(scratch);
      for (const piece of this.#pieces(files, at, pages)) this.#readAhead(piece);
    }
  }

  // ── Journals and documents ─────────────────────────────────────────────────────────────────────

  createJournalSync(n: number): void {
    this.#requireOpen();
    this.#journals.create(n);
  }

  writeJournalSync(n: number, position: number, parts: readonly Uint8Array[]): void {
    this.#requireOpen();
    this.#journals.write(n, position, parts);
  }

  readJournalSync(n: number, position: number, into: Uint8Array): number {
    this.#requireOpen();
    return this.#journals.read(n, position, into);
  }

  journalBytesSync(n: number): number {
    this.#requireOpen();
    return this.#journals.bytes(n);
  }

  syncJournalSync(n: number): void {
    this.#requireOpen();
    this.#journals.sync(n);
  }

  removeJournalSync(n: number): void {
    this.#requireOpen();
    this.#journals.remove(n);
  }

  journalsSync(): number[] {
    this.#requireOpen();
    return this.#journals.numbers();
  }

  readControlSync(): Uint8Array | undefined {
    this.#requireOpen();
    return this.#control.read() ?? this.#formerControl.read();
  }

  writeControlSync(bytes: Uint8Array): void {
    this.#requireOpen();
    this.#control.write(bytes);
  }

  readRelationsSync(): Uint8Array | undefined {
    this.#requireOpen();
    return this.#relations.read();
  }

  writeRelationsSync(bytes: Uint8Array): void {
    this.#requireOpen();
    this.#relations.write(bytes);
  }

  /** Closes this thread's files; those it wrote are synced, so that no error is lost with them. */
  closeSync(): void {
    this.#closed = true;
    this.#segments.clear();
    this.#open.closeAll();
  }

  // ── How it is done ─────────────────────────────────────────────────────────────────────────────

  #requireOpen(): void {
    if (this.#closed) throw new ClosedError("the storage");
  }

  #fork(relation: number, fork: Fork): ForkFiles {
    this.#requireOpen();
    return this.#segments.fork(relation, fork);
  }

  /** Does something to a fork's files, noted as what the next flush is to make durable. */
  #changing<Result>(relation: number, fork: Fork, work: () => Result): Result {
    return fork === 0 ? this.#unsynced.change(relation, work) : work();
  }

  /** The pages by segment, in order. */
  #pieces(files: ForkFiles, block: number, pages: readonly Uint8Array[]): Piece[] {
    const { size } = this.#segments;
    const pieces: Piece[] = [];
    for (let done = 0; done < pages.length; ) {
      const first = block + done;
      const n = Math.floor(first / size);
      const count = Math.min(pages.length - done, (n + 1) * size - first);
      const file = this.#segments.segment(files, n);
      pieces.push({
        range: rangeOf(file, first, count),
        file,
        pages: count === pages.length ? pages : pages.slice(done, done + count),
        position: (first - n * size) * BLOCK_BYTES,
      });
      done += count;
    }
    return pieces;
  }

  async #readLater({ file, range, pages, position }: Piece): Promise<number> {
    const descriptor = this.#open.find(file);
    if (descriptor < 0) return 0;
    try {
      return await this.#open.whileReading(descriptor, () =>
        readPagesLater(this.#calls, descriptor, pages, position),
      );
    } catch (cause) {
      throw blockError("read", range, cause);
    }
  }

  /** A failure is left to whoever reads the blocks; one of a sync is remembered. */
  #readAhead(piece: Piece): void {
    this.#prefetches++;
    const ended = (): void => {
      this.#prefetches--;
    };
    this.#readLater(piece).then(ended, ended);
  }

  /** Says why a read was short: a fork that is not there, one that is damaged, or its end. */
  #shortRead(files: ForkFiles, range: BlockRange, got: number): never {
    this.#requireOpen();
    // What is known may be what something else has cut: everything is looked at again.
    files.full = 0;
    this.#segments.lastListed(files, true);
    this.#segments.length(files);
    throw readPastEnd(range, got);
  }

  /** Sees that a segment has its first `end` blocks. */
  #requireBlocks(files: ForkFiles, file: DataFile, end: number, range: BlockRange): void {
    if (this.#segments.segmentLength(file) >= end) return;
    const length = this.#segments.length(files);
    if (range.block + range.count > length) throw writePastEnd(range, length);
  }
}

function rangeOf(file: DataFile, block: number, count: number): BlockRange {
  return { file: file.name, target: file.path, block, count };
}

function blockError(what: "read" | "write", range: BlockRange, cause: unknown): StorageError {
  return fileError(rangeMessage(what, range), range.target, cause);
}
