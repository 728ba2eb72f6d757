/**
 * Looks at a data directory that nobody has open, page by page, and says what is damaged. Nothing
 * is written. What is judged is what the next start would find: recovery cuts relations back to
 * their length at the last checkpoint and puts old images back from its journal, so a block that
 * has an image is judged by the image, and one behind the length not at all.
 *
 *   control document → names, lengths, which journal
 *   journal          → header · each record that matches its digest is an image of a block
 *   relations        → length · each block that has no image: header and checksum
 *
 * What cannot be seen: a page that was exchanged for an older one with a good checksum, and a
 * record that matches no more, which looks as one that was never synced. Without data checksums any
 * bytes are a page. The list of relations between checkpoints is not looked at: each start makes it
 * anew.
 *
 * Pages are read, neighbours together, into the frames of a small region that nobody else has,
 * because checksums are computed there.
 *
 * PostgreSQL: src/bin/pg_checksums/pg_checksums.c
 */

import { BLOCK_BYTES, PAGE_CHECKSUM_OFFSET, PAGE_GOOD } from "../../assembly/common/constants.ts";
import { DataCorruptedError, type PallocError } from "../abi/errors.ts";
import { compile, instantiate } from "../abi/load.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { type WasmModule, wasm } from "../abi/wasm-types.ts";
import { StorageError, type StorageManager } from "../storage/manager.ts";
import { type Control, type RelationEntry, readControl } from "./control.ts";
import { damageText } from "./damage.ts";
import {
  type JournalHeader,
  journalFile,
  matchRecord,
  RECORD_BYTES,
  RECORD_HEADER_BYTES,
  readJournalHeader,
} from "./journal-format.ts";
import { planRegion, regionPages } from "./region-plan.ts";

/** Pages read at once: 512 kB. */
const PAGES_AT_ONCE = 64;
/** What a medium that does not hold what it should answers with; else the look itself failed. */
const DAMAGE_CODES = ["XX001", "58030", "58P01"];

/** Something that is not as it should be. */
export interface StorageProblem {
  /** Name of the relation, or of another file: `palloc.control`, `palloc.journal.3`. */
  readonly relation: string;
  /** `null` for what is no matter of one block. */
  readonly block: number | null;
  /** What is wrong, in words. */
  readonly problem: string;
}

/** How far {@link verifyStorage} has come. */
export interface VerifyProgress {
  readonly relation: string;
  readonly pages: number;
  readonly pagesTotal: number;
}

/** What {@link verifyStorage} found. */
export interface VerifyResult {
  /** The last committed checkpoint; 0 if there is none: new storage, or no control document. */
  readonly checkpoint: number;
  /** Whether pages carry checksums. Without, only lengths and documents are judged. */
  readonly dataChecksums: boolean;
  readonly relations: number;
  /** Pages that were judged. */
  readonly pages: number;
  /** How many of them by an image that recovery would put back. */
  readonly pagesFromJournal: number;
  /** Records of the journal that match no digest, and that recovery would pass over. */
  readonly recordsPassedOver: number;
  /** Blocks behind the lengths of the last checkpoint, which recovery would cut off. */
  readonly blocksCutOff: number;
  /** Relations that the last checkpoint does not know, and that recovery would remove. */
  readonly relationsRemoved: number;
  /** Empty if all is well. */
  readonly problems: readonly StorageProblem[];
}

/**
 * Verifies storage that nobody has open: the control document, the journal of the last checkpoint,
 * and length, header and checksum of every page of every relation, as recovery would leave them.
 * Writes nothing. Reads everything once; between two reads the thread is free.
 *
 * @param onProgress - called after each read of up to 64 pages
 * @throws {@link PallocError} 55000 for a data directory of another format
 * @throws {@link StorageError} if the storage may not be read at all
 * @see PostgreSQL: src/bin/pg_checksums/pg_checksums.c
 */
export async function verifyStorage(
  storage: StorageManager,
  onProgress: (progress: VerifyProgress) => void = () => {},
): Promise<VerifyResult> {
  const module = await compile("shared", false);
  return new Verification(storage, onProgress).run(module);
}

/** Images by relation and block: what is wrong with each, or undefined. */
type Images = ReadonlyMap<number, ReadonlyMap<number, string | undefined>>;

type Counts = { -readonly [Key in keyof VerifyResult]: VerifyResult[Key] };

class Verification {
  readonly #storage: StorageManager;
  readonly #onProgress: (progress: VerifyProgress) => void;
  readonly #problems: StorageProblem[] = [];
  readonly #counts: Counts = {
    checkpoint: 0,
    dataChecksums: false,
    relations: 0,
    pages: 0,
    pagesFromJournal: 0,
    recordsPassedOver: 0,
    blocksCutOff: 0,
    relationsRemoved: 0,
    problems: this.#problems,
  };
  #pagesTotal = 0;

  constructor(storage: StorageManager, onProgress: (progress: VerifyProgress) => void) {
    this.#storage = storage;
    this.#onProgress = onProgress;
  }

  async run(module: WasmModule): Promise<VerifyResult> {
    const control = this.#attempt("palloc.control", () => this.#control());
    if (control === undefined) return this.#counts;
    const judge = new Judge(module, control.dataChecksums);
    const { checkpoint, dataChecksums, relations } = control;
    const entries = Object.entries(relations);
    Object.assign(this.#counts, { checkpoint, dataChecksums, relations: entries.length });
    for (const [, { blocks }] of entries) this.#pagesTotal += blocks;
    this.#attempt("base", () => this.#countUnknown(control));
    const journal = `palloc.journal.${journalFile(checkpoint)}`;
    const images = this.#attempt(journal, () => this.#images(checkpoint, judge)) ?? new Map();
    for (const [name, entry] of entries) {
      const open = (): RelationReader => new RelationReader(this.#storage, entry, judge);
      const reader = this.#attempt(name, open);
      if (reader !== undefined) await this.#relation(name, entry, reader, images);
    }
    return this.#counts;
  }

  // ── Documents and journal ──────────────────────────────────────────────────────────────────────

  #control(): Control | undefined {
    const control = readControl(this.#storage);
    const isNew = (): boolean =>
      this.#storage.relationsSync().length === 0 && this.#storage.journalsSync().length === 0;
    if (control === undefined && !isNew()) this.#note("palloc.control", null, "it is missing");
    return control;
  }

  #countUnknown(control: Control): void {
    const known = new Set(Object.values(control.relations).map(({ number }) => number));
    const unknown = this.#storage.relationsSync().filter((number) => !known.has(number));
    this.#counts.relationsRemoved = unknown.length;
  }

  /** The first image of each block, as recovery takes them. */
  #images(checkpoint: number, judge: Judge): Images {
    const header = readJournalHeader(this.#storage, checkpoint);
    const images = new Map<number, Map<number, string | undefined>>();
    const bytes = new Uint8Array(RECORD_BYTES);
    const file = journalFile(checkpoint);
    const end = this.#storage.journalBytesSync(file);
    for (let at = header.recordsAt; at + RECORD_BYTES <= end; at += RECORD_BYTES) {
      this.#storage.readJournalSync(file, at, bytes);
      this.#take(bytes, header, judge, images);
    }
    return images;
  }

  #take(
    bytes: Uint8Array,
    header: JournalHeader,
    judge: Judge,
    images: Map<number, Map<number, string | undefined>>,
  ): void {
    judge.page(0).set(bytes.subarray(RECORD_HEADER_BYTES));
    const record = matchRecord(bytes, judge.digest(0));
    if (record === undefined || record.journal !== header.control.checkpoint) {
      this.#counts.recordsPassedOver += 1;
      return;
    }
    const { relation, fork, block } = record;
    if (fork !== 0 || block >= header.lengthOf(relation)) return;
    const blocks = images.get(relation) ?? new Map<number, string | undefined>();
    images.set(relation, blocks);
    if (!blocks.has(block)) blocks.set(block, judge.problem(0, block));
  }

  // ── Relations ──────────────────────────────────────────────────────────────────────────────────

  async #relation(
    name: string,
    { number, blocks }: RelationEntry,
    reader: RelationReader,
    allImages: Images,
  ): Promise<void> {
    const images = allImages.get(number) ?? new Map<number, string | undefined>();
    for await (const [block, problem] of reader.pages()) {
      this.#judged(name, block, images.has(block) ? images.get(block) : problem, images);
      const { pages } = this.#counts;
      const isLast = (block + 1) % PAGES_AT_ONCE === 0 || block + 1 === blocks;
      if (isLast) this.#onProgress({ relation: name, pages, pagesTotal: this.#pagesTotal });
    }
    this.#counts.blocksCutOff += reader.cutOff;
    const missing: number[] = [];
    for (let block = reader.end; block < blocks; block += 1) {
      if (images.has(block) && reader.exists) {
        this.#judged(name, block, images.get(block), images);
      } else missing.push(block);
    }
    const [first] = missing;
    if (first === undefined) {
      if (!reader.exists) this.#note(name, null, reader.complaint);
    } else {
      const where = reader.exists ? first : null;
      const count = missing.length === 1 ? "1 block is" : `${missing.length} blocks are`;
      this.#note(name, where, `${reader.complaint}; ${count} missing`);
    }
  }

  #judged(
    name: string,
    block: number,
    problem: string | undefined,
    images: ReadonlyMap<number, unknown>,
  ): void {
    this.#counts.pages += 1;
    if (images.has(block)) this.#counts.pagesFromJournal += 1;
    if (problem === undefined) return;
    const which = images.has(block) ? " (its image in the journal, which recovery puts back)" : "";
    this.#note(name, block, `${problem}${which}`);
  }

  #note(relation: string, block: number | null, problem: string): void {
    this.#problems.push({ relation, block, problem });
  }

  /** Runs a look; damage is noted, and other failures are passed on. */
  #attempt<Result>(relation: string, look: () => Result): Result | undefined {
    try {
      return look();
    } catch (error) {
      this.#note(relation, null, damageOf(error).message);
      return undefined;
    }
  }
}

/** Reads the blocks of one relation that the last checkpoint knows, as far as they can be read. */
class RelationReader {
  readonly exists: boolean;
  /** Blocks behind the length at the last checkpoint. */
  readonly cutOff: number;
  /** Block before which everything that can be read has been. */
  end = 0;
  /** Why it ends there. */
  complaint: string;
  readonly #storage: StorageManager;
  readonly #number: number;
  readonly #judge: Judge;
  /** Blocks to read; where the file is in disorder only reading tells how many there are. */
  readonly #count: number;

  constructor(storage: StorageManager, { number, blocks }: RelationEntry, judge: Judge) {
    this.#storage = storage;
    this.#number = number;
    this.#judge = judge;
    let found = 0;
    this.complaint = "its file is missing";
    this.exists = storage.existsSync(number, 0);
    if (this.exists) {
      try {
        found = storage.blocksSync(number, 0);
        this.complaint = `the file has ${found} blocks and had ${blocks} at the last checkpoint`;
      } catch (error) {
        // What is in disorder may lie behind the blocks that count.
        this.complaint = damageOf(error).message;
        found = blocks;
      }
    }
    this.cutOff = Math.max(0, found - blocks);
    this.#count = Math.min(found, blocks);
  }

  /** Each block with what is wrong with it. */
  async *pages(): AsyncGenerator<readonly [block: number, problem: string | undefined]> {
    while (this.end < this.#count) {
      const count = Math.min(PAGES_AT_ONCE, this.#count - this.end);
      const failure = await this.#read(this.end, count);
      if (failure === undefined) {
        for (let page = 0; page < count; page += 1) {
          yield [this.end, this.#judge.problem(page, this.end)];
          this.end += 1;
        }
      } else if (!(yield* this.#oneByOne(count))) return;
    }
  }

  /** False if there are no more blocks. */
  async *#oneByOne(
    count: number,
  ): AsyncGenerator<readonly [block: number, problem: string | undefined], boolean> {
    for (const last = this.end + count; this.end < last; this.end += 1) {
      const failure = await this.#read(this.end, 1);
      if (failure?.code === "XX001") return false;
      yield [this.end, failure?.message ?? this.#judge.problem(0, this.end)];
    }
    return true;
  }

  async #read(block: number, count: number): Promise<PallocError | undefined> {
    const pages = Array.from({ length: count }, (_page, index) => this.#judge.page(index));
    try {
      if (this.#storage.readv !== undefined) {
        await this.#storage.readv(this.#number, 0, block, pages);
      } else this.#storage.readvSync(this.#number, 0, block, pages);
      return undefined;
    } catch (error) {
      return damageOf(error);
    }
  }
}

/** A few pages of shared memory, where they are judged. */
class Judge {
  readonly #exports: SharedExports;
  readonly #buffer: ArrayBufferLike;
  readonly #pages: readonly Uint8Array[];

  constructor(module: WasmModule, checksums: boolean) {
    const plan = { buffers: PAGES_AT_ONCE, slots: 1 };
    const wasmPages = regionPages(module, plan);
    const memory = new wasm.Memory({ initial: wasmPages, maximum: wasmPages, shared: true });
    this.#buffer = memory.buffer;
    this.#exports = instantiate<SharedExports>(module, memory);
    planRegion(this.#exports, plan);
    this.#exports.createRegion(memory.buffer.byteLength, checksums ? 1 : 0);
    this.#pages = Array.from(
      { length: PAGES_AT_ONCE },
      (_page, index) => new Uint8Array(this.#buffer, this.#address(index), BLOCK_BYTES),
    );
  }

  page(index: number): Uint8Array {
    const page = this.#pages[index];
    if (page === undefined) throw new RangeError(`no page ${index}`);
    return page;
  }

  digest(index: number): number {
    return this.#exports.pageDigest(this.#address(index)) >>> 0;
  }

  /** What is wrong with a page, or undefined. */
  problem(index: number, block: number): string | undefined {
    const address = this.#address(index);
    const verdict = this.#exports.pageVerdict(address, block);
    if (verdict === PAGE_GOOD) return undefined;
    const view = new DataView(this.#buffer, address, BLOCK_BYTES);
    const expected = view.getUint16(PAGE_CHECKSUM_OFFSET, true);
    return damageText(verdict, this.#exports.pageChecksum(address, block), expected);
  }

  #address(index: number): number {
    return this.#exports.frameAddress(index) >>> 0;
  }
}

/** The error, if it tells of damage. @throws any other */
function damageOf(error: unknown): PallocError {
  if (error instanceof DataCorruptedError) return error;
  if (error instanceof StorageError && DAMAGE_CODES.includes(error.code)) return error;
  throw error;
}
