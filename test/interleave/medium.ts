// What schedules have instead of files: the blocks of two relations as marks of their halves, their
// lengths, journals, and the two documents; each as it is now, and as much of it as is durable.
//
// A crash may lose whatever was not made durable, or some of it, or half of it. `afterCrash` tells
// every content that a page may come back with: of the images of the committed journal the first
// counts; a record that is not durable may be there or not; without a durable image the block may
// be as it is now, as it was when its file was last made durable, or torn.

import { decodeControl, encodeControl } from "../../bindings/shared/control.ts";
import {
  encodeJournalHeader,
  journalFile,
  RECORD_BYTES,
} from "../../bindings/shared/journal-format.ts";
import type { Image } from "./steps.ts";

/** Most blocks a relation of a configuration has. */
export const MAX_BLOCKS = 8;
/** Blocks of each relation at the first checkpoint. */
const FIRST_BLOCKS = 4;
/** The relations of every configuration, by number, and as the pool's file words have them. */
export const RELATIONS: readonly number[] = [16384, 16385];
const FORK_BITS = 2;
export const FILE: number = 16384 << FORK_BITS;
export const OTHER_FILE: number = 16385 << FORK_BITS;
/** Marks of a page: identity and version of its first half, then of its second. */
export const PAGE_MARKS = 4;
/** Contents of pages that have no version. */
export const ZEROES = -1;
export const TORN = -2;
/** Identity of a half that is not there. */
const GONE = 0xffffffff;

/** What an identity word must be. */
export function identityOf(file: number, block: number): number {
  return file + block + 1;
}

/** Place of a page among those of both relations. */
export function pageOf(file: number, block: number): number {
  return (file === FILE ? 0 : MAX_BLOCKS) + block;
}

/** The version that marks stand for, or ZEROES, or TORN. */
export function contentOf(marks: ArrayLike<number>, at: number, identity: number): number {
  const [first, version, second, other] = [marks[at], marks[at + 1], marks[at + 2], marks[at + 3]];
  if (first === identity && second === identity && version === other) return version ?? TORN;
  return first === 0 && second === 0 && version === 0 && other === 0 ? ZEROES : TORN;
}

/** A record of a journal; one that was written in part only does not match its digest. */
interface Entry {
  readonly page: number;
  readonly content: number;
  readonly whole: boolean;
}

interface JournalFile {
  readonly header: Uint8Array;
  readonly entries: Entry[];
  /** Entries as they were synced last; undefined before the first. */
  synced: readonly Entry[] | undefined;
}

export class Medium {
  /** Marks of every page of both relations. */
  readonly marks: Uint32Array = new Uint32Array(2 * MAX_BLOCKS * PAGE_MARKS);
  readonly lengths: number[] = [FIRST_BLOCKS, FIRST_BLOCKS];
  /** Something changed that a crash would show. */
  touched = true;
  committed = 1;
  control: Uint8Array;
  relations: Uint8Array;
  readonly #flushed: Uint32Array = new Uint32Array(this.marks.length);
  readonly #journals: Map<number, JournalFile> = new Map();
  #known: Readonly<Record<string, { number: number; blocks: number }>>;
  #kept: Uint32Array = this.marks;
  readonly #first: Uint8Array;
  readonly #firstHeader: Uint8Array;

  constructor() {
    const entries = RELATIONS.map((number) => [`r${number}`, { number, blocks: FIRST_BLOCKS }]);
    const control = {
      dataChecksums: false,
      checkpoint: 1,
      nextRelation: 16386,
      relations: Object.fromEntries(entries),
    };
    this.#known = control.relations;
    this.#first = encodeControl(control);
    this.#firstHeader = encodeJournalHeader(control);
    this.control = this.#first;
    this.relations = this.#first;
    for (const file of [FILE, OTHER_FILE]) {
      for (let block = 0; block < MAX_BLOCKS; block += 1) {
        for (let half = 0; half < 2; half += 1) {
          this.marks[pageOf(file, block) * PAGE_MARKS + 2 * half] = identityOf(file, block);
        }
      }
    }
    this.keep();
  }

  /** Remembers the blocks as they are; {@link restore} brings them back. */
  keep(): void {
    this.#kept = this.marks.slice();
    this.restore();
  }

  restore(): void {
    this.marks.set(this.#kept);
    this.#flushed.set(this.#kept);
    this.lengths.fill(FIRST_BLOCKS);
    this.#journals.clear();
    this.#journals.set(journalFile(1), { header: this.#firstHeader, entries: [], synced: [] });
    this.committed = 1;
    this.#known = decodedRelations(this.#first);
    this.control = this.#first;
    this.relations = this.#first;
    this.touched = true;
  }

  // ── Blocks ─────────────────────────────────────────────────────────────────────────────────────

  /** Writes half a block. */
  write(file: number, block: number, half: number, identity: number, version: number): void {
    const at = pageOf(file, block) * PAGE_MARKS + 2 * half;
    this.marks[at] = identity;
    this.marks[at + 1] = version;
    this.touched = true;
  }

  flush(relation: number): void {
    const [from, to] = extent(relation);
    this.#flushed.set(this.marks.subarray(from, to), from);
    this.touched = true;
  }

  resize(relation: number, blocks: number): void {
    const index = RELATIONS.indexOf(relation);
    const length = this.lengths[index] ?? 0;
    const [start] = extent(relation);
    const [from, to] = [Math.min(length, blocks), Math.max(length, blocks)];
    const [first, end] = [start + from * PAGE_MARKS, start + to * PAGE_MARKS];
    this.marks.fill(blocks < length ? GONE : 0, first, end);
    this.lengths[index] = blocks;
    this.touched = true;
  }

  // ── Journals and documents ─────────────────────────────────────────────────────────────────────

  get journals(): number[] {
    return [...this.#journals.keys()].sort((a, b) => a - b);
  }

  header(journal: number): Uint8Array {
    return this.#file(journal).header;
  }

  /** Bytes: what the header says, and the records behind it; -1 if there is no such file. */
  journalBytes(journal: number): number {
    const found = this.#journals.get(journal);
    return found === undefined ? -1 : found.header.length + found.entries.length * RECORD_BYTES;
  }

  create(journal: number, header: Uint8Array = new Uint8Array()): void {
    this.#journals.set(journal, { header, entries: [], synced: undefined });
    this.touched = true;
  }

  remove(journal: number): void {
    this.#journals.delete(journal);
    this.touched = true;
  }

  /** Writes records from place `first` on; not `whole` is half way. */
  append(journal: number, first: number, images: readonly Image[], whole: boolean): void {
    const { entries } = this.#file(journal);
    images.forEach(({ file, block, marks }, index) => {
      const content = contentOf(marks, 0, identityOf(file, block));
      entries[first + index] = { page: pageOf(file, block), content, whole };
    });
    this.touched = true;
  }

  sync(journal: number): void {
    const found = this.#file(journal);
    found.synced = found.entries.slice();
    this.touched = true;
  }

  /** Replaces the control document: the commit of a checkpoint. */
  commit(control: Uint8Array): void {
    const { checkpoint, relations } = decodeControl(control, "control");
    this.control = control;
    this.committed = checkpoint;
    this.#known = relations;
    this.touched = true;
  }

  #file(journal: number): JournalFile {
    const found = this.#journals.get(journal);
    if (found === undefined) throw new Error(`journal ${journal} is gone`);
    return found;
  }

  // ── After a crash ──────────────────────────────────────────────────────────────────────────────

  /** Every content that each page of the last checkpoint may have after a crash now. */
  *afterCrash(): Generator<readonly [page: number, contents: readonly number[]], void> {
    const journal = this.#journals.get(journalFile(this.committed));
    if (journal?.synced === undefined || ownerOf(journal) !== this.committed) {
      throw new Error(`checkpoint ${this.committed} is committed without its journal`);
    }
    for (const { number, blocks } of Object.values(this.#known)) {
      for (let block = 0; block < blocks; block += 1) {
        const page = RELATIONS.indexOf(number) * MAX_BLOCKS + block;
        yield [page, this.#contentsOf(page, identityOf(number << FORK_BITS, block), journal)];
      }
    }
  }

  #contentsOf(page: number, identity: number, journal: JournalFile): number[] {
    const { entries, synced = [] } = journal;
    const contents: number[] = [];
    for (let index = 0; index < Math.max(entries.length, synced.length); index += 1) {
      const [now, durable] = [entries[index], synced[index]];
      for (const entry of new Set([now, durable])) {
        if (entry?.page === page && entry.whole) contents.push(entry.content);
      }
      if (now === durable && now?.page === page && now.whole) return contents;
    }
    const at = page * PAGE_MARKS;
    contents.push(contentOf(this.marks, at, identity));
    for (let word = at; word < at + PAGE_MARKS; word += 1) {
      if (this.marks[word] !== this.#flushed[word]) contents.push(TORN);
    }
    return contents;
  }
}

/** Number of the checkpoint that a journal says it is of. */
function ownerOf({ header }: JournalFile): number {
  const length = new DataView(header.buffer, header.byteOffset).getUint32(4, true);
  return decodeControl(header.subarray(8, 8 + length), "journal").checkpoint;
}

function decodedRelations(
  control: Uint8Array,
): Readonly<Record<string, { number: number; blocks: number }>> {
  return decodeControl(control, "control").relations;
}

function extent(relation: number): readonly [from: number, to: number] {
  const from = RELATIONS.indexOf(relation) * MAX_BLOCKS * PAGE_MARKS;
  return [from, from + MAX_BLOCKS * PAGE_MARKS];
}
