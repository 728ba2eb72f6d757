/**
 * Which files a fork is made of, how long it is, and how it grows and shrinks.
 *
 * A segment has 131,072 blocks, 1 GB. A fork's length is the sum over its segments while each is
 * full. What is known of it is a lower bound, until some thread cuts a fork short or removes one:
 * then every thread looks again. A file that is missing, or shorter than the segment behind it
 * implies, is an error with both lengths, never a shorter fork.
 *
 * The end of a fork may be less than a block long while another thread extends it, or after the
 * process was killed within an extension. Such a tail is all zero, counts for nothing, and the next
 * extension writes over it. A tail with anything else in it is what remains of a page: an error.
 *
 * PostgreSQL: src/backend/storage/smgr/md.c, mdnblocks
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { type DataFile, type Descriptors, type Directory, dataFile } from "./descriptors.ts";
import {
  errorCode,
  type FileCalls,
  type FileName,
  fileError,
  readFully,
  writeFully,
} from "./file-calls.ts";
import { checkFork, type Fork, forkName, StorageError, truncatePastEnd } from "./manager.ts";

const DATA_FILE = /^(0|[1-9]\d*)(?:_(?:fsm|vm|init))?(?:\.([1-9]\d*))?$/;

/** Zeroes written at once when a fork grows: 512 kB. */
const EXTEND_BLOCKS = 64;
const zeroes = new Uint8Array(EXTEND_BLOCKS * BLOCK_BYTES);

/** The files of one fork, as far as this thread knows them. */
export interface ForkFiles {
  /** `base/16384_fsm` */
  readonly name: string;
  readonly segments: DataFile[];
  /** How many segments, from the first, are known to be full. */
  full: number;
  /** {@link Descriptors.removals} when the above was last known to hold. */
  removals: number;
}

/** The forks of one data directory, for one thread. */
export class Segments {
  /** Blocks of a full segment. */
  readonly size: number;
  readonly base: Directory;
  readonly #calls: FileCalls;
  readonly #open: Descriptors;
  /** Path of the data directory. */
  readonly #root: string;
  readonly #forks = new Map<number, ForkFiles>();
  /** Last segment of each fork by name, as of the last look into the directory. */
  #listed: ReadonlyMap<string, number> | undefined;

  constructor(calls: FileCalls, open: Descriptors, root: string, size: number) {
    this.#calls = calls;
    this.#open = open;
    this.#root = root;
    this.size = size;
    this.base = { name: "base", path: `${root}/base`, words: "base" };
  }

  /** @throws RangeError unless these are the numbers of a fork */
  fork(relation: number, fork: Fork): ForkFiles {
    const key = relation * 4 + fork;
    const removals = this.#open.removals(this.base);
    const known = fork >= 0 && fork <= 3 ? this.#forks.get(key) : undefined;
    if (known !== undefined) {
      if (known.removals !== removals) this.#lookAgain(known, removals);
      return known;
    }
    checkFork(relation, fork);
    const files = { name: `base/${forkName(relation, fork)}`, segments: [], full: 0, removals };
    this.#forks.set(key, files);
    return files;
  }

  /** Something was cut short or removed since this fork was last used; it may be this fork. */
  #lookAgain(files: ForkFiles, removals: number): void {
    for (const file of files.segments) if (file !== undefined) this.#open.forgetRemoved(file);
    files.full = 0;
    files.removals = removals;
  }

  /** The file of segment `n`, whether it is there or not. */
  segment(files: ForkFiles, n: number): DataFile {
    let file = files.segments[n];
    if (file === undefined) {
      const name = n === 0 ? files.name : `${files.name}.${n}`;
      file = dataFile(this.base, name, `${this.#root}/${name}`);
      files.segments[n] = file;
    }
    return file;
  }

  /** Bytes of a segment, or undefined if there is no such file. */
  bytes(file: DataFile): number | undefined {
    return this.#open.find(file) < 0 ? undefined : this.#open.stat(file).size;
  }

  /** Whole blocks of a segment, 0 if there is no such file. @throws if it is no file of pages */
  segmentLength(file: DataFile): number {
    const size = this.bytes(file) ?? 0;
    const blocks = Math.floor(size / BLOCK_BYTES);
    if (blocks > this.size) {
      const detail = `It should have at most ${this.size} blocks.`;
      throw damaged(file, `has ${blocks} blocks`, detail);
    }
    const tail = size - blocks * BLOCK_BYTES;
    if (tail > 0 && !this.#isZero(file, blocks * BLOCK_BYTES, tail)) {
      // Another thread may have finished the block, and filled it, since its size was asked for.
      if (this.bytes(file) !== size) return this.segmentLength(file);
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

  /** Blocks of the fork. @throws {@link StorageError} 58P01 if there is none, XX001 if damaged */
  length(files: ForkFiles): number {
    const { size } = this;
    const first = this.segment(files, 0);
    for (;;) {
      let blocks = this.segmentLength(this.segment(files, files.full));
      while (blocks === size) {
        files.full++;
        blocks = this.segmentLength(this.segment(files, files.full));
      }
      const end = files.full;
      const later = this.#laterSegment(files, end);
      if (later === undefined) {
        if (end === 0) this.#open.get(first);
        return end * size + blocks;
      }
      // Another thread may have filled this segment and gone on since it was looked at.
      if (this.segmentLength(this.segment(files, end)) < size) {
        throw this.#gap(this.segment(files, end), blocks, later);
      }
    }
  }

  /** The next segment behind segment `n` that has blocks, by a fresh look if there may be one. */
  #laterSegment(files: ForkFiles, n: number): DataFile | undefined {
    if (this.lastListed(files) <= n) return undefined;
    const last = this.lastListed(files, true);
    for (let later = n + 1; later <= last; later++) {
      const file = this.segment(files, later);
      if (this.segmentLength(file) > 0) return file;
    }
    return undefined;
  }

  #gap(file: DataFile, blocks: number, later: DataFile): StorageError {
    const missing = this.#open.find(file) < 0;
    const what = missing ? "is missing" : `is truncated: it has ${blocks} blocks`;
    const detail = `It should have ${this.size} blocks, because "${later.name}" follows it.`;
    return damaged(file, what, detail);
  }

  // ── Names ──────────────────────────────────────────────────────────────────────────────────────

  /** Names of the files in `base` that are ours. */
  names(): string[] {
    try {
      return this.#calls.readdirSync(this.base.path).filter((name) => DATA_FILE.test(name));
    } catch (cause) {
      throw fileError(`could not read directory "${this.base.name}"`, this.base.path, cause);
    }
  }

  /** Number of the fork's last segment by a look into the directory, fresh if asked; -1: none. */
  lastListed(files: ForkFiles, fresh = false): number {
    if (this.#listed === undefined || fresh) {
      const last = new Map<string, number>();
      for (const file of this.names()) {
        const [name = "", segment = "0"] = file.split(".");
        const key = `base/${name}`;
        last.set(key, Math.max(last.get(key) ?? 0, Number(segment)));
      }
      this.#listed = last;
    }
    return this.#listed.get(files.name) ?? -1;
  }

  /** The last segment there is a file of, behind a gap too; -1 if there is none. */
  lastSegment(files: ForkFiles): number {
    let last = this.lastListed(files, true);
    while (this.#open.find(this.segment(files, last + 1)) >= 0) last++;
    return last;
  }

  // ── Growing and shrinking ──────────────────────────────────────────────────────────────────────

  /**
   * Sees that the fork has its first `blocks` blocks, whatever is behind them.
   *
   * @returns the segment in which they end
   */
  #requireLength(files: ForkFiles, blocks: number): number {
    const { size } = this;
    const first = this.segment(files, 0);
    this.#open.get(first);
    const end = Math.floor(blocks / size);
    for (let n = 0; n <= end; n++) {
      const needed = Math.min(size, blocks - n * size);
      const bytes = this.bytes(this.segment(files, n)) ?? 0;
      const has = Math.floor(bytes / BLOCK_BYTES);
      if (has < needed) throw truncatePastEnd(first.name, first.path, blocks, n * size + has);
    }
    return end;
  }

  /** Cuts a segment to `bytes`, unless it is as short or not there. */
  cut(file: DataFile, bytes: number, sync: boolean): void {
    if ((this.bytes(file) ?? 0) <= bytes) return;
    const descriptor = this.#open.writable(file);
    file.written = true;
    try {
      this.#calls.ftruncateSync(descriptor, bytes);
    } catch (cause) {
      throw fileError(`could not truncate file "${file.name}"`, file.path, cause);
    }
    if (sync) this.#open.sync(file);
  }

  /** Truncated before it is removed: others may have it open, and its space is wanted back now. */
  remove(file: DataFile): void {
    try {
      if (this.#open.find(file) >= 0) this.#calls.ftruncateSync(this.#open.writable(file), 0);
      this.#open.abandon(file);
      this.#calls.unlinkSync(file.path);
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") return;
      if (cause instanceof StorageError) throw cause;
      throw fileError(`could not remove file "${file.name}"`, file.path, cause);
    }
  }

  /** Makes the fork `blocks` long, unless it is longer. */
  extend(files: ForkFiles, blocks: number): void {
    const { size } = this;
    for (let length = this.length(files); length < blocks; ) {
      const n = Math.floor(length / size);
      const end = Math.min(blocks, (n + 1) * size);
      this.#extendSegment(this.segment(files, n), length - n * size, end - n * size);
      length = end;
    }
  }

  /** Makes the fork `blocks` long, from the last segment to the first; never longer. */
  truncate(files: ForkFiles, blocks: number): void {
    const end = this.#requireLength(files, blocks);
    for (let n = this.lastSegment(files); n >= end; n--) {
      const kept = n === end ? blocks - end * this.size : 0;
      this.cut(this.segment(files, n), kept * BLOCK_BYTES, n > end);
    }
  }

  /** Removes the fork's files, from the last to the first. */
  unlink(files: ForkFiles): void {
    const last = this.lastSegment(files);
    for (let n = last; n > 0; n--) this.cut(this.segment(files, n), 0, true);
    for (let n = last; n >= 0; n--) this.remove(this.segment(files, n));
  }

  /** Makes the fork durable: bytes, lengths and names. */
  sync(files: ForkFiles): void {
    const last = Math.floor(this.length(files) / this.size);
    for (let n = 0; n <= last; n++) {
      const file = this.segment(files, n);
      if (this.#open.find(file) < 0) continue;
      this.#open.sync(file);
      this.#open.requireName(file);
    }
    this.#open.syncNames(this.base);
  }

  /** Makes a segment's blocks from `from` to before `to`, zero. A full medium shows here. */
  #extendSegment(file: DataFile, from: number, to: number): void {
    if (this.#open.find(file) < 0) this.#open.create(file);
    else if (from === 0) this.#open.nameMade(this.base);
    const descriptor = this.#open.writable(file);
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

  /** Forgets every fork. */
  clear(): void {
    this.#forks.clear();
  }
}

function damaged(file: FileName, what: string, detail: string): StorageError {
  return new StorageError("XX001", `file "${file.name}" ${what}`, file.path, {
    detail,
    hint: "Restore the file from a copy of the directory.",
  });
}
