/**
 * Storage in memory, for tests, for browsers without OPFS, and for data that may go with the page.
 * All threads that have the handle share the same pages; nothing is durable.
 *
 * Room is reserved at once and in full, `maxBytes` and 24 bytes a page for tables, since a
 * buffer that grows is not seen alike everywhere. On Linux and macOS what was not touched costs
 * nothing; Windows counts it. A page that was given back is used again, but its memory is not
 * returned to the system before the last thread drops the storage.
 *
 * There is no `claim`: nobody reaches the storage but who holds its handle, and a word in the
 * shared buffer would not be given back when its owner ends. Nor is there `readv` or `prefetch`:
 * nothing waits here.
 *
 * How threads share it, and what is lost when one is terminated: page-table.ts.
 *
 * Stands for PostgreSQL's src/backend/storage/smgr/md.c; PostgreSQL has no such storage.
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { ClosedError, OutOfMemoryError, PallocError } from "../abi/errors.ts";
import {
  type BlockRange,
  bytesOf,
  checkBlock,
  checkFork,
  checkJournal,
  checkLength,
  checkPages,
  checkPosition,
  type Fork,
  forkName,
  readPastEnd,
  type StorageCapabilities,
  StorageError,
  type StorageHandle,
  type StorageManager,
  truncatePastEnd,
  writePastEnd,
} from "./manager.ts";
import {
  CONTROL_DOCUMENT,
  JOURNAL_FORK,
  type Kind,
  type Owner,
  PageTable,
  RELATION_FORK,
  RELATIONS_DOCUMENT,
} from "./page-table.ts";

/** How much memory storage may hold. */
export interface MemoryStorageOptions {
  /**
   * Bytes of pages, journals and documents included; rounded down to whole pages, at least one.
   * Default 256 MB. Engines end somewhere between 2 and 8 GB.
   */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 268435456; // 256 MB
const MAX_PAGES = 0x7ffffffe;

interface MemoryHandle extends StorageHandle {
  readonly kind: "memory";
  readonly module: string;
  readonly memory: SharedArrayBuffer;
}

/**
 * Makes new, empty storage in memory. Posting its `handle` shares it with other threads.
 *
 * @throws RangeError if `maxBytes` is less than one page
 * @throws {@link OutOfMemoryError} if the engine cannot reserve `maxBytes`
 * @throws {@link PallocError} 0A000 in a page that is not cross-origin isolated
 */
export function memoryStorage(options: MemoryStorageOptions = {}): StorageManager {
  const { maxBytes = DEFAULT_MAX_BYTES } = options;
  const pages = Math.floor(maxBytes / BLOCK_BYTES);
  if (!(pages >= 1 && pages <= MAX_PAGES)) {
    throw new RangeError(`maxBytes is at least ${BLOCK_BYTES}, one page, not ${maxBytes}`);
  }
  const memory = reserve(pages, maxBytes);
  return new MemoryStorage({ kind: "memory", module: import.meta.url, memory });
}

/** Opens, in another thread, the storage that {@link memoryStorage} made. */
export function openStorage(handle: StorageHandle): StorageManager {
  if (handle.kind !== "memory") {
    throw new TypeError(`not a handle of memoryStorage(): its kind is "${handle.kind}"`);
  }
  return new MemoryStorage(handle as MemoryHandle);
}

function reserve(pages: number, maxBytes: number): SharedArrayBuffer {
  if (typeof SharedArrayBuffer === "undefined") {
    throw new PallocError("0A000", "memory storage needs SharedArrayBuffer", {
      hint: "Serve the page with Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy.",
    });
  }
  try {
    return PageTable.create(pages);
  } catch (cause) {
    throw new OutOfMemoryError(maxBytes, "memoryStorage", {
      detail: `The engine could not reserve ${maxBytes} bytes.`,
      hint: "Set a smaller maxBytes.",
      cause,
    });
  }
}

/** What this thread knows of a fork. Pages only join, so it stays true until the fork is cut. */
interface KnownFork {
  readonly owner: Owner;
  readonly pages: number[];
  /** {@link PageTable.cuts} when the pages were learnt; of a journal, which is never cut, -1. */
  cuts: number;
}

/** A journal's length is one word. */
const MAX_JOURNAL_BYTES = 0xffffffff;

class MemoryStorage implements StorageManager {
  readonly handle: MemoryHandle;
  readonly capabilities: StorageCapabilities = { durable: false, shared: true };
  readonly #table: PageTable;
  readonly #forks = new Map<number, KnownFork>();
  readonly #journals = new Map<number, KnownFork>();
  #closed = false;

  constructor(handle: MemoryHandle) {
    this.handle = handle;
    this.#table = new PageTable(handle.memory);
  }

  createSync(relation: number, fork: Fork): void {
    if (this.existsSync(relation, fork)) {
      const name = fileName(relation, fork);
      throw new StorageError("58P02", `could not create file "${name}": File exists`, name);
    }
    this.#table.publish(
      this.#claimFork(`create file "${fileName(relation, fork)}"`),
      keyOf(relation, fork),
    );
  }

  existsSync(relation: number, fork: Fork): boolean {
    return this.#find(relation, fork) !== undefined;
  }

  unlinkSync(relation: number, fork: Fork): void {
    const known = this.#find(relation, fork);
    if (known !== undefined) this.#table.giveUp(known.owner);
    this.#forks.delete(keyOf(relation, fork));
  }

  blocksSync(relation: number, fork: Fork): number {
    return this.#follow(this.#fork(relation, fork)).pages.length;
  }

  extendSync(relation: number, fork: Fork, blocks: number): void {
    checkLength(blocks);
    const known = this.#fork(relation, fork);
    this.#extend(known, blocks, `extend file "${fileName(relation, fork)}"`);
  }

  truncateSync(relation: number, fork: Fork, blocks: number): void {
    checkLength(blocks);
    const known = this.#fork(relation, fork);
    const { length } = this.#follow(known).pages;
    const name = fileName(relation, fork);
    if (length < blocks) throw truncatePastEnd(name, name, blocks, length);
    const behind = known.pages.splice(blocks);
    if (behind.length === 0) return;
    this.#table.cut(known.owner, known.pages.at(-1) ?? -1, behind);
    known.cuts = this.#table.cuts(known.owner);
  }

  readSync(relation: number, fork: Fork, block: number, into: Uint8Array): void {
    checkBlock(block, into);
    const page = this.#fork(relation, fork, block + 1).pages[block];
    if (page === undefined) throw readPastEnd(rangeOf(relation, fork, block, 1), 0);
    into.set(this.#table.page(page));
  }

  writeSync(relation: number, fork: Fork, block: number, from: Uint8Array): void {
    checkBlock(block, from);
    const { pages } = this.#fork(relation, fork, block + 1);
    const page = pages[block];
    if (page === undefined) {
      throw writePastEnd(rangeOf(relation, fork, block, 1), pages.length);
    }
    this.#table.page(page).set(from);
  }

  readvSync(relation: number, fork: Fork, block: number, into: readonly Uint8Array[]): void {
    checkPages(block, into);
    const count = into.length;
    const { pages } = this.#fork(relation, fork, block + count);
    if (pages.length < block + count && count > 0) {
      const got = Math.max(0, pages.length - block) * BLOCK_BYTES;
      throw readPastEnd(rangeOf(relation, fork, block, count), got);
    }
    for (const [index, page] of pages.slice(block, block + count).entries()) {
      into[index]?.set(this.#table.page(page));
    }
  }

  writevSync(relation: number, fork: Fork, block: number, from: readonly Uint8Array[]): void {
    checkPages(block, from);
    const count = from.length;
    const { pages } = this.#fork(relation, fork, block + count);
    if (pages.length < block + count && count > 0) {
      throw writePastEnd(rangeOf(relation, fork, block, count), pages.length);
    }
    for (const [index, bytes] of from.entries()) {
      const page = pages[block + index];
      if (page !== undefined) this.#table.page(page).set(bytes);
    }
  }

  /** Nothing to do: a write is where every thread sees it, and nothing outlives the process. */
  flushSync(relation: number, fork: Fork): void {
    this.#fork(relation, fork);
  }

  relationsSync(): number[] {
    this.#requireOpen();
    const relations = new Set(this.#table.keys().map((key) => key >>> 2));
    return [...relations].sort((a, b) => a - b);
  }

  // ── Journals ───────────────────────────────────────────────────────────────────────────────────

  createJournalSync(n: number): void {
    this.removeJournalSync(n);
    const owner = this.#claimFork(`create file "${journalName(n)}"`);
    this.#table.publish(owner, n, JOURNAL_FORK);
  }

  writeJournalSync(n: number, position: number, parts: readonly Uint8Array[]): void {
    checkPosition(position);
    const known = this.#journal(n);
    const what = `write to file "${journalName(n)}"`;
    const end = position + bytesOf(parts);
    if (end > MAX_JOURNAL_BYTES) {
      throw full(what, `A journal in memory has at most ${MAX_JOURNAL_BYTES} bytes.`);
    }
    this.#extend(known, Math.ceil(end / BLOCK_BYTES), what);
    let at = position;
    for (const part of parts) {
      for (const [bytes, start] of this.#stretches(known, at, part.length)) {
        bytes.set(part.subarray(start, start + bytes.length));
      }
      at += part.length;
    }
    if (end > position) this.#table.growLength(known.owner, end);
  }

  readJournalSync(n: number, position: number, into: Uint8Array): number {
    checkPosition(position);
    const known = this.#follow(this.#journal(n));
    const got = Math.min(into.length, Math.max(0, this.#table.length(known.owner) - position));
    for (const [bytes, start] of this.#stretches(known, position, got)) into.set(bytes, start);
    return got;
  }

  journalBytesSync(n: number): number {
    return this.#table.length(this.#journal(n).owner);
  }

  /** Nothing to do, as in {@link flushSync}. */
  syncJournalSync(n: number): void {
    this.#journal(n);
  }

  removeJournalSync(n: number): void {
    this.#requireOpen();
    checkJournal(n);
    const owner = this.#table.find(n, JOURNAL_FORK);
    if (owner !== 0) this.#table.giveUp(owner);
    this.#journals.delete(n);
  }

  journalsSync(): number[] {
    this.#requireOpen();
    return this.#table.keys(JOURNAL_FORK).sort((a, b) => a - b);
  }

  // ── Documents ──────────────────────────────────────────────────────────────────────────────────

  readControlSync(): Uint8Array | undefined {
    return this.#readDocument(CONTROL_DOCUMENT);
  }

  writeControlSync(bytes: Uint8Array): void {
    this.#writeDocument(CONTROL_DOCUMENT, bytes, "control");
  }

  readRelationsSync(): Uint8Array | undefined {
    return this.#readDocument(RELATIONS_DOCUMENT);
  }

  writeRelationsSync(bytes: Uint8Array): void {
    this.#writeDocument(RELATIONS_DOCUMENT, bytes, "relations");
  }

  closeSync(): void {
    this.#closed = true;
    this.#forks.clear();
    this.#journals.clear();
  }

  #readDocument(at: number): Uint8Array | undefined {
    this.#requireOpen();
    for (;;) {
      const owner = this.#table.document(at);
      if (owner === 0) return undefined;
      const bytes = new Uint8Array(this.#table.length(owner));
      const known = this.#follow({ owner, pages: [], cuts: -1 });
      for (const [stretch, start] of this.#stretches(known, 0, bytes.length)) {
        bytes.set(stretch, start);
      }
      // Replaced while it was read: its pages may hold something else by now.
      if (this.#table.document(at) === owner) return bytes;
    }
  }

  /** Written where nobody looks; one exchange of the word that names it is the commit. */
  #writeDocument(at: number, bytes: Uint8Array, name: string): void {
    this.#requireOpen();
    const what = `write file "memory/${name}"`;
    const owner = this.#claimFork(what);
    try {
      const chain = this.#claimPages(owner, Math.ceil(bytes.length / BLOCK_BYTES), what);
      for (const [index, page] of chain.entries()) {
        const start = index * BLOCK_BYTES;
        this.#table.page(page).set(bytes.subarray(start, start + BLOCK_BYTES));
      }
      this.#table.append(owner, -1, chain);
    } catch (failure) {
      this.#table.giveUp(owner);
      throw failure;
    }
    this.#table.growLength(owner, bytes.length);
    const before = this.#table.replaceDocument(at, owner);
    if (before !== 0) this.#table.giveUp(before);
  }

  // ── How it is done ─────────────────────────────────────────────────────────────────────────────

  #requireOpen(): void {
    if (this.#closed) throw new ClosedError("the storage");
  }

  #find(relation: number, fork: Fork): KnownFork | undefined {
    const key = keyOf(relation, fork);
    const known = fork >= 0 && fork <= 3 ? this.#forks.get(key) : undefined;
    if (known !== undefined && this.#table.isLive(known.owner)) return known;
    this.#requireOpen();
    checkFork(relation, fork);
    return this.#learn(this.#forks, key, RELATION_FORK);
  }

  #journal(n: number): KnownFork {
    const known = this.#journals.get(n);
    if (known !== undefined && this.#table.isLive(known.owner, JOURNAL_FORK)) return known;
    this.#requireOpen();
    checkJournal(n);
    const found = this.#learn(this.#journals, n, JOURNAL_FORK);
    if (found !== undefined) return found;
    throw missing(journalName(n));
  }

  /** Finds what others made; what was known of a former life is forgotten. */
  #learn(forks: Map<number, KnownFork>, key: number, kind: Kind): KnownFork | undefined {
    forks.delete(key);
    const owner = this.#table.find(key, kind);
    if (owner === 0) return undefined;
    const cuts = kind === JOURNAL_FORK ? -1 : this.#table.cuts(owner);
    const found = { owner, pages: [], cuts };
    forks.set(key, found);
    return found;
  }

  /** The fork as far as it is known, at least so far that its first `blocks` blocks are. */
  #fork(relation: number, fork: Fork, blocks = 0): KnownFork {
    const known = this.#find(relation, fork);
    if (known === undefined) throw missing(fileName(relation, fork));
    const cuts = this.#table.cuts(known.owner);
    if (cuts !== known.cuts) {
      known.pages.length = 0;
      known.cuts = cuts;
    }
    return known.pages.length < blocks ? this.#follow(known) : known;
  }

  /** Learns of the pages that have joined since. */
  #follow(known: KnownFork): KnownFork {
    let page = known.pages.at(-1) ?? -1;
    for (;;) {
      page = this.#table.after(known.owner, page);
      if (page < 0) return known;
      known.pages.push(page);
    }
  }

  #extend(known: KnownFork, blocks: number, what: string): void {
    while (this.#follow(known).pages.length < blocks) {
      const chain = this.#claimPages(known.owner, blocks - known.pages.length, what);
      if (this.#table.append(known.owner, known.pages.at(-1) ?? -1, chain)) {
        for (const page of chain) known.pages.push(page);
      } else {
        this.#table.unclaim(chain);
      }
    }
  }

  /** Bytes from `position` on as views of their pages, each with where it begins among `length`. */
  *#stretches(
    known: KnownFork,
    position: number,
    length: number,
  ): Generator<readonly [Uint8Array, number]> {
    for (let done = 0; done < length; ) {
      const at = position + done;
      const page = known.pages[Math.floor(at / BLOCK_BYTES)];
      if (page === undefined) return;
      const start = at % BLOCK_BYTES;
      const bytes = this.#table.page(page).subarray(start, start + length - done);
      yield [bytes, done];
      done += bytes.length;
    }
  }

  #claimFork(what: string): Owner {
    const owner = this.#table.claimFork();
    if (owner === 0) throw full(what, "Every slot for a fork is in use.");
    return owner;
  }

  #claimPages(owner: Owner, count: number, what: string): number[] {
    const chain = this.#table.claimPages(owner, count);
    if (chain !== undefined) return chain;
    const { pages } = this.#table;
    throw full(what, `Fewer than ${count} of its ${pages} pages (maxBytes) are free.`);
  }
}

function full(what: string, detail: string): StorageError {
  return new StorageError("53100", `could not ${what}: No space left on device`, "memory", {
    detail,
    hint: "Create the memory storage with a larger maxBytes.",
  });
}

function missing(name: string): StorageError {
  return new StorageError(
    "58P01",
    `could not open file "${name}": No such file or directory`,
    name,
  );
}

function rangeOf(relation: number, fork: Fork, block: number, count: number): BlockRange {
  const name = fileName(relation, fork);
  return { file: name, target: name, block, count };
}

function journalName(n: number): string {
  return `memory/journal.${n}`;
}

function keyOf(relation: number, fork: Fork): number {
  return relation * 4 + fork;
}

function fileName(relation: number, fork: Fork): string {
  return `memory/${forkName(relation, fork)}`;
}
