/**
 * Who may attach: the owner's answer to a slot that was claimed. A thread is admitted when its end
 * would be noticed, by the owner himself or by a thread that watches for him (forwarding.ts), and
 * when it would notice the owner's.
 *
 * | thread | its end is noticed | it notices the owner's |
 * |---|---|---|
 * | a worker of the owner's | by his 'exit' event | it ends with him |
 * | a worker of such a worker, B | by B's, told in the slot; or with B | it ends with B |
 * | one further down, below B | the same, or told by who is in between | it ends with B |
 * | the owner's creator P, if it watches him | he ends with it | by P's 'exit' event |
 * | another worker of P | by P's event, told in the slot | P sets the region's status |
 *
 * A browser's thread holds a Web Lock, and waits for the owner's.
 */

import {
  LIFE_CLAIMED,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  LIFE_WATCHED,
  REGION_CLOSING_OFFSET,
  SLOT_WATCHER_OFFSET,
  WATCHER_SEES_OWNER,
} from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { nodeIdentity, type ThreadWatch } from "./threads.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** How long a thread that watches for the owner may take to say so. */
const FORWARD_MS = 1000;

/** What to do with a slot. `undefined`: look again when something has changed. */
export type Verdict = "admit" | "refuse" | undefined;

/** The owner's judgement over slots. @internal */
export class Admission {
  readonly #exports: SharedExports;
  readonly #words: Int32Array;
  readonly #watch: ThreadWatch;
  /** When a claim that nobody vouches for was seen first, by slot and life. */
  readonly #since = new Map<string, number>();

  constructor(exports: SharedExports, buffer: SharedArrayBuffer, watch: ThreadWatch) {
    this.#exports = exports;
    this.#words = new Int32Array(buffer);
    this.#watch = watch;
  }

  /** Whether the slot's backend may become active, now. */
  async judge(slot: number): Promise<Verdict> {
    const life = this.#exports.slotLife(slot) >>> 0;
    const state = life & LIFE_STATE_MASK;
    if (state !== LIFE_CLAIMED && state !== LIFE_WATCHED) return undefined;
    if (Atomics.load(this.#words, REGION_CLOSING_OFFSET / WORD_BYTES) !== 0) return "refuse";
    if (state === LIFE_WATCHED && (await this.#isVouchedFor(slot))) return "admit";
    if (await this.#watch.confirms(life >>> LIFE_STATE_BITS)) return "admit";
    return nodeIdentity() === undefined ? "refuse" : this.#patience(slot, life);
  }

  /** The token of the thread that watches the one of this slot for the owner, if any. */
  watcherOf(slot: number): number | undefined {
    const word = this.#watcher(slot) & ~WATCHER_SEES_OWNER;
    return word === 0 ? undefined : word - 1;
  }

  async #isVouchedFor(slot: number): Promise<boolean> {
    const watcher = this.watcherOf(slot);
    if (watcher === undefined) return false;
    return (this.#watcher(slot) & WATCHER_SEES_OWNER) !== 0 || this.#watch.confirms(watcher);
  }

  #watcher(slot: number): number {
    const at = this.#exports.slotAddress(slot) >>> 0;
    return Atomics.load(this.#words, (at + SLOT_WATCHER_OFFSET) / WORD_BYTES);
  }

  /** Somebody may vouch for it in a moment. */
  #patience(slot: number, life: number): Verdict {
    const key = `${slot} ${life}`;
    const now = performance.now();
    const since = this.#since.get(key);
    if (since !== undefined && now - since >= FORWARD_MS) {
      this.#since.delete(key);
      return "refuse";
    }
    if (since === undefined) {
      this.#since.set(key, now);
      const timer: unknown = setTimeout(() => this.#exports.requestAttach(), FORWARD_MS + 1);
      (timer as { unref?(): void }).unref?.();
    }
    return undefined;
  }
}
