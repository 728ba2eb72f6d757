/**
 * Pages in files, laid out as PostgreSQL lays them out:
 *
 *   directory/palloc.control          the control document
 *   directory/base/16384              main fork, first segment
 *   directory/base/16384.1            its second segment, there once the first is full
 *   directory/base/16384_fsm          another fork
 *
 * A segment has 131,072 blocks, 1 GB. A fork's length is the sum over its segments while each is
 * full; segments never shrink, so what is known of a length stays a lower bound. A file that is
 * missing, or shorter than the segment behind it implies, is an error with both lengths, never a
 * shorter fork.
 *
 * The end of a fork may be less than a block long while another thread extends it, or after the
 * process was killed within an extension. Such a tail is all zero, counts for nothing, and the next
 * extension writes over it. A tail with anything else in it is what remains of a page: an error.
 *
 * Threads: each has its own {@link FileStorage} over the same directory. `flushSync` syncs all
 * segments of a fork, since other threads may have written them; syncing a clean file is cheap.
 * How errors of a sync find their way is told in descriptors.ts. A thread that is terminated loses
 * its descriptors unsynced; Linux reports an error that nobody has seen to a later descriptor, as
 * long as some descriptor kept the file in memory, so whoever flushes for others should have asked
 * for the fork's length before they write.
 *
 * PostgreSQL: src/backend/storage/smgr/md.c
 */

import { BLOCK_BYTES, MAX_RELATION_NUMBER } from "../../assembly/common/constants.ts";
import { ClosedError } from "../abi/errors.ts";
import { type DataFile, Descriptors, dataFile } from "./descriptors.ts";
import {
  errorCode,
  type FileCalls,
  type FileName,
  fileError,
  readFully,
  writeFully,
} from "./file-calls.ts";
import {
  checkBlock,
  checkFork,
  checkLength,
  type Fork,
  forkName,
  readPastEnd,
  type StorageCapabilities,
  StorageError,
  type StorageHandle,
  type StorageManager,
  writePastEnd,
} from "./manager.ts";

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
  /** Words shared by all threads: descriptors.ts. */
  readonly state: SharedArrayBuffer;
}

/** Blocks of a full segment: 1 GB. */
export const SEGMENT_BLOCKS = 131072;

/** Zeroes written at once when a fork grows: 512 kB. */
const EXTEND_BLOCKS = 64;
const zeroes = new Uint8Array(EXTEND_BLOCKS * BLOCK_BYTES);

const DATA_FILE = /^(0|[1-9]\d*)(?:_(?:fsm|vm|init))?(?:\.([1-9]\d*))?$/;

interface ForkFiles {
  /** `base/16384_fsm` */
  readonly name: string;
  readonly segments: DataFile[];
  /** How many segments, from the first, are known to be full. */
  full: number;
  /** {@link Descriptors.removals} when the above was last known to hold. */
  removals: number;
}

/** {@link StorageManager} over files, for one thread. */
export class FileStorage implements StorageManager {
  readonly handle: FilesHandle;
  readonly capabilities: StorageCapabilities = { durable: true, shared: true };
  readonly #calls: FileCalls;
  readonly #open: Descriptors;
  readonly #segmentBlocks: number;
  readonly #directory: FileName;
  readonly #base: FileName;
  readonly #control: FileName;
  readonly #forks = new Map<number, ForkFiles>();
  /** Last segment of each fork by name, as of the last look into the directory. */
  #listed: ReadonlyMap<string, number> | undefined;
  #closed = false;

  /** @param syncDirectories - whether the system can sync a directory; Windows cannot */
  constructor(handle: FilesHandle, calls: FileCalls, syncDirectories: boolean) {
    const { directory } = handle;
    this.handle = handle;
    this.#calls = calls;
    this.#segmentBlocks = handle.segmentBlocks;
    this.#directory = { name: directory, path: directory };
    this.#base = { name: "base", path: `${directory}/base` };
    this.#control = { name: "palloc.control", path: `${directory}/palloc.control` };
    this.#open = new Descriptors(calls, handle.maxOpenFiles, handle.state, syncDirectories);
  }

  createSync(relation: number, fork: Fork): void {
    const files = this.#fork(relation, fork);
    const first = this.#segment(files, 0);
    if (this.#open.find(first) >= 0) {
      const cause = Object.assign(new Error("EEXIST"), { code: "EEXIST" });
      throw fileError(`could not create file "${first.name}"`, first.path, cause);
    }
    this.#open.create(first);
  }

  existsSync(relation: number, fork: Fork): boolean {
    return this.#open.find(this.#segment(this.#fork(relation, fork), 0)) >= 0;
  }

  /** Removes the last segment first, so that a crash leaves a shorter fork and never a gap. */
  unlinkSync(relation: number, fork: Fork): void {
    const files = this.#fork(relation, fork);
    let last = Math.max(files.segments.length - 1, this.#lastListed(files));
    while (this.#open.find(this.#segment(files, last + 1)) >= 0) last++;
    for (let n = last; n >= 0; n--) this.#remove(this.#segment(files, n));
    this.#open.nameRemoved();
  }

  blocksSync(relation: number, fork: Fork): number {
    return this.#length(this.#fork(relation, fork));
  }

  extendSync(relation: number, fork: Fork, blocks: number): void {
    checkLength(blocks);
    const files = this.#fork(relation, fork);
    const size = this.#segmentBlocks;
    let length = this.#length(files);
    while (length < blocks) {
      const n = Math.floor(length / size);
      const end = Math.min(blocks, (n + 1) * size);
      this.#extendSegment(this.#segment(files, n), length - n * size, end - n * size);
      length = end;
    }
  }

  readSync(relation: number, fork: Fork, block: number, into: Uint8Array): void {
    checkBlock(block, into);
    const files = this.#fork(relation, fork);
    const n = Math.floor(block / this.#segmentBlocks);
    const file = this.#segment(files, n);
    const descriptor = this.#open.find(file);
    let got = 0;
    if (descriptor >= 0) {
      const position = (block - n * this.#segmentBlocks) * BLOCK_BYTES;
      try {
        got = readFully(this.#calls, descriptor, into, position);
      } catch (cause) {
        throw this.#blockError("read", file, block, cause);
      }
    }
    if (got < BLOCK_BYTES) this.#shortRead(files, file, block, got);
  }

  writeSync(relation: number, fork: Fork, block: number, from: Uint8Array): void {
    checkBlock(block, from);
    const files = this.#fork(relation, fork);
    const n = Math.floor(block / this.#segmentBlocks);
    const file = this.#segment(files, n);
    const inSegment = block - n * this.#segmentBlocks;
    if (inSegment >= file.blocks) this.#requireBlock(files, file, block);
    const descriptor = this.#open.get(file);
    file.written = true;
    try {
      writeFully(this.#calls, descriptor, from, BLOCK_BYTES, inSegment * BLOCK_BYTES);
    } catch (cause) {
      throw this.#blockError("write", file, block, cause);
    }
  }

  flushSync(relation: number, fork: Fork): void {
    const files = this.#fork(relation, fork);
    this.#open.requireSynced(this.#segment(files, 0));
    const last = Math.floor(this.#length(files) / this.#segmentBlocks);
    for (let n = 0; n <= last; n++) {
      const file = this.#segment(files, n);
      if (this.#open.find(file) >= 0) this.#open.sync(file);
    }
    this.#open.syncNames(this.#base);
  }

  relationsSync(): number[] {
    const relations = new Set<number>();
    for (const name of this.#list()) {
      const relation = Number(name);
      if (Number.isInteger(relation) && relation <= MAX_RELATION_NUMBER) relations.add(relation);
    }
    return [...relations].sort((a, b) => a - b);
  }

  readControlSync(): Uint8Array | undefined {
    this.#requireOpen();
    const { name, path } = this.#control;
    let descriptor: number;
    try {
      descriptor = this.#calls.openSync(path, "r");
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") return undefined;
      throw fileError(`could not open file "${name}"`, path, cause);
    }
    try {
      const bytes = new Uint8Array(this.#calls.fstatSync(descriptor).size);
      const got = readFully(this.#calls, descriptor, bytes, 0);
      if (got === bytes.length) return bytes;
      const message = `could not read file "${name}": read ${got} of ${bytes.length}`;
      throw new StorageError("XX001", message, path);
    } catch (cause) {
      if (cause instanceof StorageError) throw cause;
      throw fileError(`could not read file "${name}"`, path, cause);
    } finally {
      this.#calls.closeSync(descriptor);
    }
  }

  /** Written under another name, synced, renamed, and the name synced: the rename is the commit. */
  writeControlSync(bytes: Uint8Array): void {
    this.#requireOpen();
    const { name, path } = this.#control;
    const draft: FileName = { name: `${name}.tmp`, path: `${path}.tmp` };
    this.#open.requireSynced(this.#control);
    this.#writeDraft(draft, bytes);
    try {
      this.#calls.renameSync(draft.path, path);
    } catch (cause) {
      throw fileError(`could not rename file "${draft.name}" to "${name}"`, path, cause);
    }
    this.#open.syncDirectory(this.#directory);
  }

  /** Closes this thread's files; those it wrote are synced, so that no error is lost with them. */
  closeSync(): void {
    this.#closed = true;
    this.#forks.clear();
    this.#open.closeAll();
  }

  // ── Forks and segments ─────────────────────────────────────────────────────────────────────────

  #requireOpen(): void {
    if (this.#closed) throw new ClosedError("the storage");
  }

  #fork(relation: number, fork: Fork): ForkFiles {
    const key = relation * 4 + fork;
    const { removals } = this.#open;
    const known = fork >= 0 && fork <= 3 ? this.#forks.get(key) : undefined;
    if (known !== undefined) {
      if (known.removals !== removals) this.#lookAgain(known, removals);
      return known;
    }
    this.#requireOpen();
    checkFork(relation, fork);
    const files = { name: `base/${forkName(relation, fork)}`, segments: [], full: 0, removals };
    this.#forks.set(key, files);
    return files;
  }

  /** Something was removed since this fork was last used; it may be this fork. */
  #lookAgain(files: ForkFiles, removals: number): void {
    for (const file of files.segments) if (file !== undefined) this.#open.forgetRemoved(file);
    files.full = 0;
    files.removals = removals;
  }

  #segment(files: ForkFiles, n: number): DataFile {
    let file = files.segments[n];
    if (file === undefined) {
      const name = n === 0 ? files.name : `${files.name}.${n}`;
      file = dataFile(name, `${this.#directory.path}/${name}`);
      files.segments[n] = file;
    }
    return file;
  }

  /** Bytes of a segment, or undefined if there is no such file. */
  #size(file: DataFile): number | undefined {
    return this.#open.find(file) < 0 ? undefined : this.#open.stat(file).size;
  }

  /** Whole blocks of a segment, 0 if there is no such file. @throws if it is no file of pages */
  #segmentLength(file: DataFile): number {
    const size = this.#size(file) ?? 0;
    const blocks = Math.floor(size / BLOCK_BYTES);
    if (blocks > this.#segmentBlocks) {
      const detail = `It should have at most ${this.#segmentBlocks} blocks.`;
      throw damaged(file, `has ${blocks} blocks`, detail);
    }
    const tail = size - blocks * BLOCK_BYTES;
    if (tail > 0 && !this.#isZero(file, blocks * BLOCK_BYTES, tail)) {
      // Another thread may have finished the block, and filled it, since its size was asked for.
      if (this.#size(file) !== size) return this.#segmentLength(file);
      const detail = `These are ${blocks} blocks and ${tail} bytes; it should have a multiple of ${BLOCK_BYTES} bytes.`;
      throw damaged(file, `is truncated: it has ${size} bytes`, detail);
    }
    file.blocks = blocks;
    return blocks;
  }

  #isZero(file: DataFile, position: number, length: number): boolean {
    const bytes = new Uint8Array(length);
    try {
      readFully(this.#calls, this.#open.get(file), bytes, position);
    } catch (cause) {
      throw fileError(`could not read file "${file.name}"`, file.path, cause);
    }
    return bytes.every((byte) => byte === 0);
  }

  #length(files: ForkFiles): number {
    const size = this.#segmentBlocks;
    const first = this.#segment(files, 0);
    for (;;) {
      let blocks = this.#segmentLength(this.#segment(files, files.full));
      while (blocks === size) {
        files.full++;
        blocks = this.#segmentLength(this.#segment(files, files.full));
      }
      const end = files.full;
      const later = this.#laterSegment(files, end);
      if (later === undefined) {
        if (end === 0) this.#open.get(first);
        return end * size + blocks;
      }
      // Another thread may have filled this segment and gone on since it was looked at.
      if (this.#segmentLength(this.#segment(files, end)) < size) {
        throw this.#gap(this.#segment(files, end), blocks, later);
      }
    }
  }

  /** The next segment behind segment `n` that has blocks, by a fresh look if there may be one. */
  #laterSegment(files: ForkFiles, n: number): DataFile | undefined {
    if (this.#lastListed(files) <= n) return undefined;
    this.#listed = undefined;
    const last = this.#lastListed(files);
    for (let later = n + 1; later <= last; later++) {
      const file = this.#segment(files, later);
      if (this.#segmentLength(file) > 0) return file;
    }
    return undefined;
  }

  #gap(file: DataFile, blocks: number, later: DataFile): StorageError {
    const missing = this.#open.find(file) < 0;
    const what = missing ? "is missing" : `is truncated: it has ${blocks} blocks`;
    const detail = `It should have ${this.#segmentBlocks} blocks, because "${later.name}" follows it.`;
    return damaged(file, what, detail);
  }

  // ── Names ──────────────────────────────────────────────────────────────────────────────────────

  #list(): string[] {
    this.#requireOpen();
    try {
      return this.#calls.readdirSync(this.#base.path).filter((name) => DATA_FILE.test(name));
    } catch (cause) {
      throw fileError(`could not read directory "${this.#base.name}"`, this.#base.path, cause);
    }
  }

  #lastListed(files: ForkFiles): number {
    if (this.#listed === undefined) {
      const last = new Map<string, number>();
      for (const file of this.#list()) {
        const [name = "", segment = "0"] = file.split(".");
        const key = `base/${name}`;
        last.set(key, Math.max(last.get(key) ?? 0, Number(segment)));
      }
      this.#listed = last;
    }
    return this.#listed.get(files.name) ?? -1;
  }

  /** Truncated before it is removed: others may have it open, and its space is wanted back now. */
  #remove(file: DataFile): void {
    try {
      if (this.#open.find(file) >= 0) this.#calls.ftruncateSync(file.descriptor, 0);
      this.#open.abandon(file);
      this.#calls.unlinkSync(file.path);
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") return;
      if (cause instanceof StorageError) throw cause;
      throw fileError(`could not remove file "${file.name}"`, file.path, cause);
    }
  }

  // ── Growing ────────────────────────────────────────────────────────────────────────────────────

  #extendSegment(file: DataFile, from: number, to: number): void {
    if (this.#open.find(file) < 0) this.#open.create(file);
    else if (from === 0) this.#open.nameMade();
    const descriptor = this.#open.get(file);
    file.written = true;
    try {
      for (let at = from; at < to; at += EXTEND_BLOCKS) {
        const bytes = Math.min(EXTEND_BLOCKS, to - at) * BLOCK_BYTES;
        writeFully(this.#calls, descriptor, zeroes, bytes, at * BLOCK_BYTES);
      }
    } catch (cause) {
      this.#cutBack(descriptor, from);
      throw fileError(`could not extend file "${file.name}"`, file.path, cause);
    }
    file.blocks = to;
  }

  /** Best effort: what cannot be cut off is zero, and the next extension writes over it. */
  #cutBack(descriptor: number, blocks: number): void {
    try {
      this.#calls.ftruncateSync(descriptor, blocks * BLOCK_BYTES);
    } catch {
      // The error that made the extension fail is the one to report.
    }
  }

  // ── Errors and the control document ────────────────────────────────────────────────────────────

  #blockError(what: string, file: DataFile, block: number, cause: unknown): StorageError {
    const message = `could not ${what} blocks ${block}..${block} in file "${file.name}"`;
    return fileError(message, file.path, cause);
  }

  /** Says why a read was short: a fork that is not there, one that is damaged, or its end. */
  #shortRead(files: ForkFiles, file: DataFile, block: number, got: number): never {
    this.#listed = undefined;
    this.#length(files);
    throw readPastEnd(file.name, file.path, block, got);
  }

  #requireBlock(files: ForkFiles, file: DataFile, block: number): void {
    const length = this.#length(files);
    if (block >= length) throw writePastEnd(file.name, file.path, block, length);
    const start = Math.floor(block / this.#segmentBlocks) * this.#segmentBlocks;
    file.blocks = Math.min(this.#segmentBlocks, length - start);
  }

  #writeDraft(draft: FileName, bytes: Uint8Array): void {
    let descriptor: number;
    try {
      descriptor = this.#calls.openSync(draft.path, "w");
    } catch (cause) {
      throw fileError(`could not create file "${draft.name}"`, draft.path, cause);
    }
    try {
      writeFully(this.#calls, descriptor, bytes, bytes.length, 0);
      this.#open.syncDescriptor(descriptor, draft);
    } catch (cause) {
      if (cause instanceof StorageError) throw cause;
      throw fileError(`could not write file "${draft.name}"`, draft.path, cause);
    } finally {
      this.#calls.closeSync(descriptor);
    }
  }
}

function damaged(file: FileName, what: string, detail: string): StorageError {
  return new StorageError("XX001", `file "${file.name}" ${what}`, file.path, {
    detail,
    hint: "Restore the file from a copy of the directory.",
  });
}
