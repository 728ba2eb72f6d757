// What each checkpoint must bring back: the contents of all pages at its cut. A change counts as of
// its load of the interval's number in Change.end, if it stands in the end; so a cut may have to be
// corrected when a backend dies between that load and the store that makes its change stand.
//
// A page that is cleared instead of read (`finishZeroed`) becomes zeroes at some step of that call:
// a cut in the middle may have it as either.

import {
  REGION_INTERVAL_OFFSET,
  SLOT_BYTES,
  SLOT_CHANGING_OFFSET,
  ST_JOURNAL,
} from "../../assembly/common/constants.ts";
import { MAX_BLOCKS, type Medium, ZEROES } from "./medium.ts";

/** A change that a backend is in. */
interface Change {
  readonly page: number;
  readonly content: number;
  /** It has loaded the interval. */
  counts: boolean;
  /** Cuts that count on it. */
  readonly cuts: number[];
}

const PAGES = 2 * MAX_BLOCKS;

export class Cuts {
  readonly #medium: Medium;
  /** Contents that stand. */
  readonly #contents: number[];
  readonly #changes: (Change | undefined)[] = [];
  /** By fiber: the page that it clears. */
  readonly #zeroing: (number | undefined)[] = [];
  readonly #cuts: Map<number, number[][]> = new Map();
  #checked = 0;

  constructor(medium: Medium) {
    this.#medium = medium;
    this.#contents = new Array(PAGES).fill(0);
  }

  /** @param stored - contents of storage, which are those of checkpoint 1 */
  reset(stored: readonly number[], now: ArrayLike<number>): void {
    this.#changes.length = 0;
    this.#zeroing.length = 0;
    this.#cuts.clear();
    this.#cuts.set(
      1,
      stored.map((content) => [content]),
    );
    for (let page = 0; page < PAGES; page += 1) this.#contents[page] = now[page] ?? 0;
  }

  /** A page's bytes are being changed. */
  begun(fiber: number, page: number, content: number): void {
    this.#changes[fiber] = { page, content, counts: false, cuts: [] };
  }

  /** The change stands. */
  ended(fiber: number): void {
    const change = this.#changes[fiber];
    if (change !== undefined) this.#contents[change.page] = change.content;
    this.#changes[fiber] = undefined;
  }

  undone(fiber: number): void {
    const change = this.#changes[fiber];
    for (const cut of change?.cuts ?? []) {
      const page = change?.page ?? 0;
      const contents = this.#cuts.get(cut);
      if (contents !== undefined) contents[page] = [this.#contents[page] ?? 0];
    }
    this.#changes[fiber] = undefined;
    this.#medium.touched = true;
  }

  zeroing(fiber: number, page: number): void {
    this.#zeroing[fiber] = page;
  }

  zeroed(fiber: number): void {
    const page = this.#zeroing[fiber];
    if (page !== undefined) this.#contents[page] = ZEROES;
    this.#zeroing[fiber] = undefined;
  }

  /** A page has come into being. */
  extended(page: number): void {
    this.#contents[page] = ZEROES;
  }

  /**
   * A backend is dead. Its change stands if `changing` was stored as 0.
   *
   * @param isZero - whether a page is zeroes in the pool
   */
  died(fiber: number, changing: number, isZero: (page: number) => boolean): void {
    if (changing === 0) this.ended(fiber);
    else this.undone(fiber);
    const page = this.#zeroing[fiber];
    if (page !== undefined && isZero(page)) this.zeroed(fiber);
    this.#zeroing[fiber] = undefined;
  }

  /** The number of the interval is loaded by Change.end. */
  loaded(fiber: number): void {
    const change = this.#changes[fiber];
    if (change !== undefined) change.counts = true;
  }

  endReturned(fiber: number, status: number): void {
    const change = this.#changes[fiber];
    if (change !== undefined && status === ST_JOURNAL) change.counts = false;
  }

  /** The number of the interval is about to become `cut`. */
  cut(cut: number): void {
    const contents = this.#contents.map((content) => [content]);
    for (const change of this.#changes) {
      if (change?.counts !== true) continue;
      contents[change.page] = [change.content];
      change.cuts.push(cut);
    }
    for (const page of this.#zeroing) if (page !== undefined) contents[page]?.push(ZEROES);
    this.#cuts.set(cut, contents);
  }

  /** The number of the last cut of all. */
  get last(): number {
    return Math.max(...this.#cuts.keys());
  }

  /** The versions that a checkpoint has of its pages. */
  contentsAt(cut: number): readonly (readonly number[])[] {
    return this.#cuts.get(cut) ?? [];
  }

  /** What would be wrong after a crash now, or undefined. */
  wrongAfterCrash(): string | undefined {
    this.#checked += 1;
    const { committed } = this.#medium;
    const cut = this.#cuts.get(committed);
    if (cut === undefined) return `checkpoint ${committed} is committed and was never cut`;
    for (const [page, contents] of this.#medium.afterCrash()) {
      const wanted = cut[page] ?? [];
      for (const content of contents) {
        if (wanted.includes(content)) continue;
        const [file, block] = [Math.floor(page / MAX_BLOCKS), page % MAX_BLOCKS];
        const where = `block ${block} of file ${file}`;
        return `after a crash ${where} has ${content}, and had ${wanted} at checkpoint ${committed}`;
      }
    }
    return undefined;
  }

  /** How often a crash was looked at. */
  get checked(): number {
    return this.#checked;
  }
}

/** Address of the word that says what a slot changes. */
export function changingAddress(slots: number, slot: number): number {
  return slots + slot * SLOT_BYTES + SLOT_CHANGING_OFFSET;
}

/** Whether an address is that of the number of the interval. */
export function isInterval(address: number): boolean {
  return address === REGION_INTERVAL_OFFSET;
}
