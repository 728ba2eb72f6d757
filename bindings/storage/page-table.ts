/**
 * Forks and their pages inside one SharedArrayBuffer, for any number of threads, any of which may
 * be terminated between two instructions.
 *
 *   ┌────────┬───────────────────┬──────────────────┬─────────────────┬──────────────────────┐
 *   │ header │ slots: 4 words    │ owners: a word   │ nexts: a word   │ pages: 8 kB each     │
 *   │        │ for each fork     │ for each page    │ for each page   │                      │
 *   └────────┴───────────────────┴──────────────────┴─────────────────┴──────────────────────┘
 *
 *   slot:   life, generation << 2 | FREE, CLAIMED, LIVE or JOURNAL; key; first page + 1; extent:
 *           bytes of a document or journal, or how often a fork of pages was cut
 *   owner:  slot << 16 | generation of the fork a page was claimed for; 0 for one never claimed
 *   next:   the page behind it in its fork, + 1
 *
 * Nothing is counted, and each change is real by one store:
 * - A page is taken if its owner word names the present generation of its slot. So giving up a fork
 *   is one store, to its slot's life, and frees all of its pages at once.
 * - A fork's length is that of its chain. Pages are claimed by compare-and-swap, zeroed, chained
 *   where nobody looks, and the fork is longer with one compare-and-swap of the chain's last word.
 * - A fork is shorter with one store, of the end of its chain, before its pages are given back.
 * - A document is a fork without a key; one word of the header says which. A journal is a fork of a
 *   state of its own, so that its number is no relation's key.
 *
 * What a death loses, at most: pages claimed and not yet linked, or cut off and not yet given back,
 * until their fork is given up; a slot claimed and not live, with its pages, for good: a fork being
 * made, or a document being replaced. Nothing is ever handed out twice. A generation has 16 bits: a
 * page left over from 65,535 lives ago may look taken, and is free again with the fork.
 *
 * Taking a page looks at owner words from where the last search ended: about one look a page until
 * the storage is nearly full. Finding a fork looks at the slots used so far; callers remember it.
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";

/** A fork in one of its lives: slot << 16 | generation. Never 0. */
export type Owner = number;

const MAGIC = 0x70614d73;
const HEADER_WORDS = 16;
/** Header words. */
const MAGIC_AT = 0;
const PAGES_AT = 1;
const HAND_AT = 2;
const SLOTS_USED_AT = 3;
/** Header word that names the fork of the control document. */
export const CONTROL_DOCUMENT = 4;
/** As {@link CONTROL_DOCUMENT}, of the list of relations. */
export const RELATIONS_DOCUMENT = 5;

const SLOT_WORDS = 4;
const LIFE = 0;
const KEY = 1;
const FIRST = 2;
const EXTENT = 3;

const FREE = 0;
const CLAIMED = 1;
const LIVE = 2;
const JOURNAL = 3;

/** What can be found by its key. */
export type Kind = typeof LIVE | typeof JOURNAL;
/** Pages of a relation; the key is its number and fork. */
export const RELATION_FORK: Kind = LIVE;
/** A journal; the key is its number. */
export const JOURNAL_FORK: Kind = JOURNAL;

const GENERATION_BITS = 16;
const GENERATION_MASK = 0xffff;
const MAX_SLOTS = 65536;
const MIN_SLOTS = 1024;

/** The words and pages of one memory storage. */
export class PageTable {
  readonly pages: number;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #slots: number;
  /** Word indexes of the tables, and the byte where pages start. */
  readonly #owners: number;
  readonly #nexts: number;
  readonly #start: number;

  /** @param memory - from {@link PageTable.create}, in whatever thread */
  constructor(memory: SharedArrayBuffer) {
    const header = new Int32Array(memory, 0, HEADER_WORDS);
    if (header[MAGIC_AT] !== MAGIC) throw new TypeError("this buffer holds no memory storage");
    this.pages = header[PAGES_AT] ?? 0;
    this.#slots = slotsFor(this.pages);
    this.#owners = HEADER_WORDS + this.#slots * SLOT_WORDS;
    this.#nexts = this.#owners + this.pages;
    this.#start = tableBytes(this.pages);
    this.#words = new Int32Array(memory, 0, this.#nexts + this.pages);
    this.#bytes = new Uint8Array(memory, this.#start);
  }

  /** Reserves room for `pages` pages. @throws RangeError if the engine has not that much */
  static create(pages: number): SharedArrayBuffer {
    const memory = new SharedArrayBuffer(tableBytes(pages) + pages * BLOCK_BYTES);
    const header = new Int32Array(memory, 0, HEADER_WORDS);
    header[PAGES_AT] = pages;
    header[MAGIC_AT] = MAGIC;
    return memory;
  }

  /** The bytes of one page; a new view. */
  page(page: number): Uint8Array {
    return this.#bytes.subarray(page * BLOCK_BYTES, (page + 1) * BLOCK_BYTES);
  }

  // ── Forks ──────────────────────────────────────────────────────────────────────────────────────

  /** @returns the live fork of this kind with this key, or 0 */
  find(key: number, kind: Kind = LIVE): Owner {
    const used = Atomics.load(this.#words, SLOTS_USED_AT);
    for (let slot = 0; slot < used; slot++) {
      const at = slotAt(slot);
      const life = Atomics.load(this.#words, at + LIFE);
      if ((life & 3) !== kind || Atomics.load(this.#words, at + KEY) !== (key | 0)) continue;
      // The key belongs to this life only if the slot was not given up between the two loads.
      if (Atomics.load(this.#words, at + LIFE) === life) return ownerOf(slot, life >>> 2);
    }
    return 0;
  }

  /** Keys of all live forks of a kind, in no order. */
  keys(kind: Kind = LIVE): number[] {
    const keys: number[] = [];
    const used = Atomics.load(this.#words, SLOTS_USED_AT);
    for (let slot = 0; slot < used; slot++) {
      const at = slotAt(slot);
      const life = Atomics.load(this.#words, at + LIFE);
      const key = Atomics.load(this.#words, at + KEY) >>> 0;
      if ((life & 3) === kind && Atomics.load(this.#words, at + LIFE) === life) keys.push(key);
    }
    return keys;
  }

  /** Whether the fork can be found, in the life this owner names. */
  isLive(owner: Owner, kind: Kind = LIVE): boolean {
    return this.#life(owner) === lifeOf(owner, kind);
  }

  /** Takes a slot for a fork that nobody can find yet. @returns 0 if every slot is taken */
  claimFork(): Owner {
    for (;;) {
      const used = Atomics.load(this.#words, SLOTS_USED_AT);
      for (let slot = 0; slot < used; slot++) {
        const at = slotAt(slot);
        const life = Atomics.load(this.#words, at + LIFE);
        if ((life & 3) !== FREE) continue;
        const owner = ownerOf(slot, ((life >>> 2) % GENERATION_MASK) + 1);
        const claimed = lifeOf(owner, CLAIMED);
        if (Atomics.compareExchange(this.#words, at + LIFE, life, claimed) !== life) continue;
        Atomics.store(this.#words, at + FIRST, 0);
        Atomics.store(this.#words, at + EXTENT, 0);
        return owner;
      }
      if (used === this.#slots) return 0;
      Atomics.compareExchange(this.#words, SLOTS_USED_AT, used, used + 1);
    }
  }

  /** Lets a claimed fork be found. */
  publish(owner: Owner, key: number, kind: Kind = LIVE): void {
    Atomics.store(this.#words, wordAt(owner, KEY), key);
    Atomics.store(this.#words, wordAt(owner, LIFE), lifeOf(owner, kind));
  }

  /** Gives up a fork and all of its pages, in whatever state it is; twice is once. */
  giveUp(owner: Owner): void {
    const free = lifeOf(owner, FREE);
    for (const state of [LIVE, JOURNAL, CLAIMED]) {
      Atomics.compareExchange(this.#words, wordAt(owner, LIFE), lifeOf(owner, state), free);
    }
  }

  // ── Pages ──────────────────────────────────────────────────────────────────────────────────────

  /** @returns the page behind `page` in its fork, or the fork's first one for -1; -1 at the end */
  after(owner: Owner, page: number): number {
    return Atomics.load(this.#words, this.#link(owner, page)) - 1;
  }

  /**
   * Takes `count` pages for the fork, zeroed and chained to each other, and not yet part of it.
   *
   * @returns their numbers, or undefined if there are not so many
   */
  claimPages(owner: Owner, count: number): number[] | undefined {
    const chain: number[] = [];
    while (chain.length < count) {
      const page = this.#claimPage(owner);
      if (page < 0) {
        this.unclaim(chain);
        return undefined;
      }
      const last = chain.at(-1);
      if (last !== undefined) Atomics.store(this.#words, this.#nexts + last, page + 1);
      chain.push(page);
    }
    return chain;
  }

  /** Gives back claimed pages that were not appended; they are zero still. */
  unclaim(chain: readonly number[]): void {
    for (const page of chain) Atomics.store(this.#words, this.#owners + page, 0);
  }

  /** Puts claimed pages behind `last` (-1: the fork is empty). @returns false if it was not last */
  append(owner: Owner, last: number, chain: readonly number[]): boolean {
    const first = chain[0];
    if (first === undefined) return true;
    return Atomics.compareExchange(this.#words, this.#link(owner, last), 0, first + 1) === 0;
  }

  /** How often the fork was cut; what is known of its pages holds while this stays the same. */
  cuts(owner: Owner): number {
    return Atomics.load(this.#words, wordAt(owner, EXTENT));
  }

  /** Ends the fork's chain at `last` (-1: it becomes empty) and gives back the pages behind it. */
  cut(owner: Owner, last: number, behind: readonly number[]): void {
    // Counted first: whoever ends here leaves others to look again at what did not change.
    Atomics.add(this.#words, wordAt(owner, EXTENT), 1);
    Atomics.store(this.#words, this.#link(owner, last), 0);
    for (const page of behind) {
      this.page(page).fill(0);
      Atomics.store(this.#words, this.#owners + page, 0);
    }
  }

  #claimPage(owner: Owner): number {
    const hand = Atomics.load(this.#words, HAND_AT);
    for (let looked = 0; looked < this.pages; looked++) {
      const page = (hand + looked) % this.pages;
      const at = this.#owners + page;
      const before = Atomics.load(this.#words, at) >>> 0;
      if (this.#isTaken(before)) continue;
      // An owner word that is out of date stays so: generations only advance.
      if (Atomics.compareExchange(this.#words, at, before | 0, owner | 0) >>> 0 !== before)
        continue;
      Atomics.store(this.#words, HAND_AT, (page + 1) % this.pages);
      if (before !== 0) this.page(page).fill(0);
      Atomics.store(this.#words, this.#nexts + page, 0);
      return page;
    }
    return -1;
  }

  #isTaken(owner: Owner): boolean {
    if (owner === 0) return false;
    const life = this.#life(owner);
    return (life & 3) !== FREE && life >>> 2 === (owner & GENERATION_MASK);
  }

  #life(owner: Owner): number {
    return Atomics.load(this.#words, wordAt(owner, LIFE));
  }

  #link(owner: Owner, page: number): number {
    return page < 0 ? wordAt(owner, FIRST) : this.#nexts + page;
  }

  // ── Documents and journals ─────────────────────────────────────────────────────────────────────

  /** The fork that holds a document, or 0; it is another one for each version. */
  document(at: number): Owner {
    return Atomics.load(this.#words, at) >>> 0;
  }

  /** Makes a fork the document. @returns the one before, or 0 */
  replaceDocument(at: number, owner: Owner): Owner {
    return Atomics.exchange(this.#words, at, owner | 0) >>> 0;
  }

  /** Bytes of a document or journal, kept with its fork. */
  length(owner: Owner): number {
    return Atomics.load(this.#words, wordAt(owner, EXTENT)) >>> 0;
  }

  /** Makes a document or journal at least `bytes` long. */
  growLength(owner: Owner, bytes: number): void {
    const at = wordAt(owner, EXTENT);
    for (;;) {
      const before = Atomics.load(this.#words, at);
      if (before >>> 0 >= bytes) return;
      if (Atomics.compareExchange(this.#words, at, before, bytes | 0) === before) return;
    }
  }
}

function slotsFor(pages: number): number {
  return Math.min(MAX_SLOTS, Math.max(MIN_SLOTS, pages));
}

function tableBytes(pages: number): number {
  const words = HEADER_WORDS + slotsFor(pages) * SLOT_WORDS + 2 * pages;
  return Math.ceil((words * 4) / BLOCK_BYTES) * BLOCK_BYTES;
}

function slotAt(slot: number): number {
  return HEADER_WORDS + slot * SLOT_WORDS;
}

function wordAt(owner: Owner, word: number): number {
  return slotAt(owner >>> GENERATION_BITS) + word;
}

function ownerOf(slot: number, generation: number): Owner {
  return ((slot << GENERATION_BITS) | generation) >>> 0;
}

function lifeOf(owner: Owner, state: number): number {
  return ((owner & GENERATION_MASK) << 2) | state;
}
