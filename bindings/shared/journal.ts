/**
 * The journal of before-images, which makes a checkpoint a commit: a block that existed at the cut
 * of checkpoint c is overwritten in its file only after its image of that cut stands, synced, in
 * journal c. After a crash the images are put back, and the file reads as at c (recovery.ts).
 *
 *   0                     4096 × n
 *  ┌──────┬──────┬───────┬────────┬────────┬─ ─
 *  │ magic│length│ header│ record │ record │        header: the document of the cut (control.ts)
 *  └──────┴──────┴───────┴────────┴────────┴─ ─
 *   record   magic · journal · relation · fork · block · digest · 0 · 0     32 bytes
 *            image                                                         8,192 bytes
 *
 * Where an image comes from:
 * - from the file, just before the block is overwritten: nothing has overwritten it since the cut,
 *   or its image stands in the journal already. A block may be recorded twice; the first counts;
 * - from the shadow page, when a page that is dirty from before the cut of a running checkpoint is
 *   changed again (assembly/buffer/change.ts): that version has not reached the file, and need not.
 *
 * Records are appended under the journal lock; the number of records is advanced by one store when
 * they are written, so that what a dead backend began is overwritten. Two words of the region a
 * journal, records and synced ones, serve the journals of even and of odd checkpoints in turn; they
 * are stored under that lock, while the journal is active.
 *
 * A sync that fails is never repeated: the region ends, and the next start recovers.
 *
 * PostgreSQL: none; it writes images of pages as they are after a checkpoint into its log
 * (src/backend/access/transam/xloginsert.c, full_page_writes)
 */

import {
  BLOCK_BYTES,
  FORK_BITS,
  IMAGE_COMMITTED,
  IMAGE_CURRENT,
  LOCK_CHECKPOINT,
  LOCK_JOURNAL,
  PAGE_CHECKSUM_OFFSET,
  POISON_SYNC,
  REGION_COMMITTED_OFFSET,
  REGION_INTERVAL_OFFSET,
  REGION_JOURNAL_RECORDS_OFFSET,
  REGION_JOURNAL_SYNCED_OFFSET,
  REGION_JOURNALLED_OFFSET,
} from "../../assembly/common/constants.ts";
import { hasCode } from "../abi/errors.ts";
import type { Fork, StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import { readControl, writeControl } from "./control.ts";
import {
  type JournalHeader,
  RECORD_BYTES,
  readJournalHeader,
  recordHeader,
  retireJournal,
} from "./journal-format.ts";
import type { Routine } from "./routine.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** Images of blocks that are cut off, read and written at once. */
const IMAGES_AT_ONCE = 64;
const DISK_FULL = "53100";

/** A page that its backend is about to write in place. */
export interface PageWrite {
  readonly buffer: number;
  readonly relation: number;
  readonly fork: Fork;
  readonly block: number;
}

interface Image extends PageWrite {
  /** IMAGE_ flags: the journals it does not stand in yet. */
  readonly missing: number;
  readonly bytes: Uint8Array;
}

/** The journals of one region, as one backend writes them. @internal */
export class Journal {
  readonly #attachment: Attachment;
  readonly #storage: StorageManager;
  /** Headers of the journals met last, by number. */
  readonly #headers = new Map<number, JournalHeader>();
  readonly #u8: Uint8Array;
  readonly #scratch: number;

  constructor(attachment: Attachment, storage: StorageManager) {
    this.#attachment = attachment;
    this.#storage = storage;
    this.#u8 = new Uint8Array(attachment.buffer);
    this.#scratch = attachment.exports.scratchAddress() >>> 0;
  }

  /** Whether pages may be written only behind their images. */
  get isOn(): boolean {
    return this.#word(REGION_JOURNALLED_OFFSET) !== 0;
  }

  /** Number of the last committed checkpoint. */
  get committed(): number {
    return this.#word(REGION_COMMITTED_OFFSET);
  }

  /** Number of the interval that changes belong to now; above {@link committed} in a checkpoint. */
  get interval(): number {
    return this.#word(REGION_INTERVAL_OFFSET);
  }

  /**
   * Sees that these pages, all in this backend's write, may be written in place: their old images
   * stand in the journals that need them, synced.
   */
  *protect(pages: readonly PageWrite[]): Routine<void> {
    if (!this.isOn) return;
    const append = (): Routine<Set<number>> => this.#append(pages);
    const journals = yield* this.#attachment.withNamedLock(LOCK_JOURNAL, append);
    for (const journal of journals) yield* this.sync(journal);
  }

  /** Puts the shadow page of a change into the current journal, so that the change may stand. */
  *keepShadow(page: PageWrite): Routine<void> {
    const { exports } = this.#attachment;
    const keep = function* (this: Journal): Routine<void> {
      const { interval } = this;
      if (page.block < this.#header(interval).lengthOf(page.relation)) {
        const shadow = exports.shadowAddress() >>> 0;
        const bytes = this.#u8.slice(shadow, shadow + BLOCK_BYTES);
        // It never was in a file, so nobody has put its checksum into it.
        const seal = exports.pageSeal(shadow, page.block);
        bytes[PAGE_CHECKSUM_OFFSET] = seal & 0xff;
        bytes[PAGE_CHECKSUM_OFFSET + 1] = seal >>> 8;
        yield* this.#write(interval, [{ ...page, missing: IMAGE_CURRENT, bytes }]);
      }
      exports.changeKept(page.buffer, interval);
    };
    yield* this.#attachment.withNamedLock(LOCK_JOURNAL, keep.bind(this));
  }

  /** Puts blocks that are about to be cut off into the last committed journal, synced. */
  *keepBlocks(relation: number, first: number, end: number): Routine<void> {
    if (!this.isOn) return;
    const keep = function* (this: Journal): Routine<number> {
      const { committed } = this;
      const last = Math.min(end, this.#header(committed).lengthOf(relation));
      for (let block = first; block < last; block += IMAGES_AT_ONCE) {
        const count = Math.min(IMAGES_AT_ONCE, last - block);
        const images = Array.from({ length: count }, (_, n): Image => {
          const bytes = new Uint8Array(BLOCK_BYTES);
          return { buffer: -1, relation, fork: 0, block: block + n, missing: 0, bytes };
        });
        yield* this.#readOld(images);
        yield* this.#write(committed, images);
      }
      return committed;
    };
    yield* this.sync(yield* this.#attachment.withNamedLock(LOCK_JOURNAL, keep.bind(this)));
  }

  /** Makes what was appended to an active journal so far durable; does nothing if it is. */
  *sync(journal: number): Routine<void> {
    const records = this.#word(recordsAt(journal));
    if (this.#word(syncedAt(journal)) >= records) return;
    yield* this.#sync(journal, records);
  }

  /** Makes a journal durable, its header included, before its checkpoint is committed. */
  *syncWhole(journal: number): Routine<void> {
    yield* this.#sync(journal, this.#word(recordsAt(journal)));
  }

  *#sync(journal: number, records: number): Routine<void> {
    try {
      yield { op: "syncJournal", journal };
    } catch (error) {
      // It was followed by another one meanwhile: nothing depends on it any more.
      if (!this.#isActive(journal)) return;
      this.poison();
      throw error;
    }
    yield* this.#attachment.withNamedLock(LOCK_JOURNAL, () => this.#noteSynced(journal, records));
  }

  /** Begins to count for the next checkpoint's journal: the words of its parity are free now. */
  begin(journal: number): void {
    this.#store(recordsAt(journal), 0);
    this.#store(syncedAt(journal), 0);
  }

  /**
   * Runs a routine under the checkpoint lock. A checkpoint that was given up, or whose backend
   * died, behind its commit is completed first: the region did not learn of it.
   */
  *withCheckpointLock<Result>(work: () => Routine<Result>): Routine<Result> {
    const complete = function* (this: Journal): Routine<Result> {
      yield* this.#settle();
      return yield* work();
    };
    return yield* this.#attachment.withNamedLock(LOCK_CHECKPOINT, complete.bind(this));
  }

  /** A checkpoint's control document is durable: turns to its journal, and ends the one before. */
  *turnTo(checkpoint: number): Routine<void> {
    yield* this.#attachment.withNamedLock(LOCK_JOURNAL, () => this.#turn(checkpoint));
  }

  // biome-ignore lint/correctness/useYield: run as a routine under a lock, it waits for nothing
  *#turn(checkpoint: number): Routine<void> {
    const { committed } = this;
    this.#attachment.exports.commitCheckpoint(checkpoint);
    retireJournal(this.#storage, committed);
  }

  *#settle(): Routine<void> {
    const { interval, committed } = this;
    if (interval === committed) return;
    const control = readControl(this.#storage);
    if (control?.checkpoint !== interval) return;
    try {
      // Its backend may have ended before the document was durable.
      writeControl(this.#storage, control);
    } catch (error) {
      if (!isDiskFull(error)) this.poison();
      throw error;
    }
    yield* this.turnTo(interval);
  }

  /** Ends the region: what was written since the last checkpoint cannot be relied upon. */
  poison(): void {
    this.#attachment.exports.poison(POISON_SYNC);
  }

  // biome-ignore lint/correctness/useYield: it is run as a routine, and has nothing to wait for
  *#noteSynced(journal: number, records: number): Routine<void> {
    if (!this.#isActive(journal)) return;
    const at = syncedAt(journal);
    if (this.#word(at) < records) this.#store(at, records);
  }

  /**
   * Under the lock, so that no journal comes or goes meanwhile. Returns the journals in which these
   * pages have images, old or new.
   */
  *#append(pages: readonly PageWrite[]): Routine<Set<number>> {
    const active = this.#active();
    const images: Image[] = [];
    const journals = new Set<number>();
    for (const page of pages) {
      const needed = this.#attachment.exports.imagesNeeded(page.buffer);
      let missing = 0;
      for (const [flag, journal] of active) {
        if (page.block >= this.#header(journal).lengthOf(page.relation)) continue;
        journals.add(journal);
        missing |= needed & flag;
      }
      if (missing !== 0) images.push({ ...page, missing, bytes: new Uint8Array(BLOCK_BYTES) });
    }
    yield* this.#readOld(images);
    for (const [flag, journal] of active) {
      const due = images.filter(({ missing }) => (missing & flag) !== 0);
      if (due.length === 0) continue;
      yield* this.#write(journal, due);
    }
    return journals;
  }

  #isActive(journal: number): boolean {
    return journal === this.committed || journal === this.interval;
  }

  /** The journals that images may be missing in. */
  #active(): (readonly [flag: number, journal: number])[] {
    const { committed, interval } = this;
    const last = [IMAGE_COMMITTED, committed] as const;
    return interval > committed ? [last, [IMAGE_CURRENT, interval]] : [last];
  }

  *#readOld(images: readonly Image[]): Routine<void> {
    for (const run of runsOf(images)) {
      const [first] = run;
      if (first === undefined) continue;
      const { relation, fork, block } = first;
      yield { op: "read", relation, fork, block, pages: run.map(({ bytes }) => bytes) };
    }
  }

  *#write(journal: number, images: readonly Image[]): Routine<void> {
    const records = this.#word(recordsAt(journal));
    const position = this.#header(journal).recordsAt + records * RECORD_BYTES;
    const parts = images.flatMap((image) => [this.#recordHeader(journal, image), image.bytes]);
    yield { op: "journal", journal, position, parts };
    this.#store(recordsAt(journal), records + images.length);
    for (const { relation, fork, block } of images) {
      this.#attachment.exports.setImaged((relation << FORK_BITS) | fork, block, journal);
    }
  }

  #recordHeader(journal: number, image: Image): Uint8Array {
    this.#u8.set(image.bytes, this.#scratch);
    const digest = this.#attachment.exports.pageDigest(this.#scratch) >>> 0;
    return recordHeader({ journal, ...image, digest });
  }

  #header(journal: number): JournalHeader {
    const known = this.#headers.get(journal);
    if (known !== undefined) return known;
    const header = readJournalHeader(this.#storage, journal);
    for (const old of this.#headers.keys()) if (old < this.committed) this.#headers.delete(old);
    this.#headers.set(journal, header);
    return header;
  }

  #word(offset: number): number {
    return this.#attachment.word(offset);
  }

  #store(offset: number, value: number): void {
    this.#attachment.setWord(offset, value);
  }
}

function recordsAt(journal: number): number {
  return REGION_JOURNAL_RECORDS_OFFSET + (journal & 1) * WORD_BYTES;
}

function syncedAt(journal: number): number {
  return REGION_JOURNAL_SYNCED_OFFSET + (journal & 1) * WORD_BYTES;
}

/** Whether there was no room for a write, which has changed nothing then. @internal */
export function isDiskFull(error: unknown): boolean {
  return hasCode(error, DISK_FULL);
}

/** Cuts pages, sorted by relation, fork and block, into runs of neighbours. @internal */
export function runsOf<Page extends PageWrite>(pages: readonly Page[]): Page[][] {
  const runs: Page[][] = [];
  for (const page of pages) {
    const run = runs.at(-1);
    const last = run?.at(-1);
    const follows =
      last !== undefined &&
      last.relation === page.relation &&
      last.fork === page.fork &&
      last.block + 1 === page.block;
    if (follows) run?.push(page);
    else runs.push([page]);
  }
  return runs;
}
