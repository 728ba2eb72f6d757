/**
 * Storage in memory, for tests, for browsers without OPFS, and for data that may go with the page.
 * All threads that have the handle share the same pages; nothing is durable.
 *
 * Room is reserved at once and in full, `maxBytes` and 24 bytes a page for tables, since a
 * buffer that grows is not seen alike everywhere. On Linux and macOS what was not touched costs
 * nothing; Windows counts it. A page that was given back is used again, but its memory is not
 * returned to the system before the last thread drops the storage.
 *
 * How threads share it, and what is lost when one is terminated: page-table.ts.
 *
 * Stands for PostgreSQL's src/backend/storage/smgr/md.c; PostgreSQL has no such storage.
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { ClosedError, OutOfMemoryError, PallocError } from "../abi/errors.ts";
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
import { type Owner, PageTable } from "./page-table.ts";

/** How much memory storage may hold. */
export interface MemoryStorageOptions {
  /**
   * Bytes of pages, control document included; rounded down to whole pages, at least one. Default
   * 256 MB. Engines end somewhere between 2 and 8 GB.
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

/** What this thread knows of a fork. Pages only join, so what is known stays true. */
interface KnownFork {
  readonly owner: Owner;
  readonly pages: number[];
}

class MemoryStorage implements StorageManager {
  readonly handle: MemoryHandle;
  readonly capabilities: StorageCapabilities = { durable: false, shared: true };
  readonly #table: PageTable;
  readonly #forks = new Map<number, KnownFork>();
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
    const name = fileName(relation, fork);
    while (this.#follow(known).pages.length < blocks) {
      const chain = this.#claimPages(
        known.owner,
        blocks - known.pages.length,
        `extend file "${name}"`,
      );
      if (this.#table.append(known.owner, known.pages.at(-1) ?? -1, chain)) {
        for (const page of chain) known.pages.push(page);
      } else {
        this.#table.unclaim(chain);
      }
    }
  }

  readSync(relation: number, fork: Fork, block: number, into: Uint8Array): void {
    checkBlock(block, into);
    const page = this.#page(relation, fork, block);
    if (page === undefined) {
      const name = fileName(relation, fork);
      throw readPastEnd(name, name, block, 0);
    }
    into.set(this.#table.page(page));
  }

  writeSync(relation: number, fork: Fork, block: number, from: Uint8Array): void {
    checkBlock(block, from);
    const page = this.#page(relation, fork, block);
    if (page === undefined) {
      const name = fileName(relation, fork);
      throw writePastEnd(name, name, block, this.blocksSync(relation, fork));
    }
    this.#table.page(page).set(from);
  }

  /** Nothing to do: a write is where every thread sees it, and nothing outlives the process. */
  flushSync(relation: number, fork: Fork): void {
    this.#fork(relation, fork);
  }

  relationsSync(): number[] {
    this.#requireOpen();
    const main = this.#table.keys().filter((key) => (key & 3) === 0);
    return main.map((key) => key >>> 2).sort((a, b) => a - b);
  }

  readControlSync(): Uint8Array | undefined {
    this.#requireOpen();
    for (;;) {
      const owner = this.#table.control;
      if (owner === 0) return undefined;
      const bytes = this.#readDocument(owner);
      // Replaced while it was read: its pages may hold something else by now.
      if (this.#table.control === owner) return bytes;
    }
  }

  /** Written where nobody looks; one exchange of the word that names it is the commit. */
  writeControlSync(bytes: Uint8Array): void {
    this.#requireOpen();
    const what = 'write file "memory/control"';
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
    this.#table.setLength(owner, bytes.length);
    const before = this.#table.replaceControl(owner);
    if (before !== 0) this.#table.giveUp(before);
  }

  closeSync(): void {
    this.#closed = true;
    this.#forks.clear();
  }

  #requireOpen(): void {
    if (this.#closed) throw new ClosedError("the storage");
  }

  #find(relation: number, fork: Fork): KnownFork | undefined {
    const key = keyOf(relation, fork);
    const known = fork >= 0 && fork <= 3 ? this.#forks.get(key) : undefined;
    if (known !== undefined && this.#table.isLive(known.owner)) return known;
    this.#requireOpen();
    checkFork(relation, fork);
    const owner = this.#table.find(key);
    if (owner === 0) return undefined;
    const found = { owner, pages: [] };
    this.#forks.set(key, found);
    return found;
  }

  #fork(relation: number, fork: Fork): KnownFork {
    const known = this.#find(relation, fork);
    if (known !== undefined) return known;
    const name = fileName(relation, fork);
    throw new StorageError(
      "58P01",
      `could not open file "${name}": No such file or directory`,
      name,
    );
  }

  #page(relation: number, fork: Fork, block: number): number | undefined {
    const known = this.#fork(relation, fork);
    return known.pages[block] ?? this.#follow(known).pages[block];
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

  #readDocument(owner: Owner): Uint8Array {
    const bytes = new Uint8Array(this.#table.length(owner));
    let page = -1;
    for (let start = 0; start < bytes.length; start += BLOCK_BYTES) {
      page = this.#table.after(owner, page);
      if (page < 0) break;
      bytes.set(this.#table.page(page).subarray(0, bytes.length - start), start);
    }
    return bytes;
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

function keyOf(relation: number, fork: Fork): number {
  return relation * 4 + fork;
}

function fileName(relation: number, fork: Fork): string {
  return `memory/${forkName(relation, fork)}`;
}
