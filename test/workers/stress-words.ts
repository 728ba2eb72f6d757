// The words that workers of a stress test and its driver share. Not in the region: they outlive it
// when it begins anew.
//
//   0 stop · 1 no checkpoints · progress of each worker · whether it is in a checkpoint
//   of each block: changes begun, changes completed, changes that a checkpoint has for certain
//   marks: of each lock and party, which modes it believes to hold · lives that have ended
//
// A mark names the life that made it: a number that no other thread ever has. So what a terminated
// thread left marked is known to be of the dead, and who holds what excludes the living is a fault.

import { conflict } from "../twin/lock-manager.ts";

/** Blocks that a relation may grow to. */
export const CAPACITY = 768;
/** Workers, and the driver, that may take part at one time. */
export const PARTIES = 16;
/** Locks that are marked. */
export const KEYS = 24;
const LIVES = 16_384;

const NO_CHECKPOINTS_AT = 1;
const PROGRESS_AT = 16;
const CHECKPOINT_AT = PROGRESS_AT + PARTIES;
const STARTED_AT = CHECKPOINT_AT + PARTIES;
const COMPLETED_AT = STARTED_AT + CAPACITY;
const KEPT_AT = COMPLETED_AT + CAPACITY;
const MARKS_AT = KEPT_AT + CAPACITY;
const DEAD_AT = MARKS_AT + KEYS * PARTIES;
const WORDS = DEAD_AT + LIVES;

/** Bits of a mark for modes; bit `1 << mode`. The life stands above. */
const MODE_BITS = 9;
const MODES = [1, 2, 3, 4, 5, 6, 7, 8] as const;

/** One life of a party: a thread, from its start to its end. */
export interface Life {
  readonly party: number;
  readonly life: number;
}

/** What every party knows of the others. */
export class Board {
  readonly words: Int32Array;

  constructor(words: Int32Array = new Int32Array(new SharedArrayBuffer(WORDS * 4))) {
    this.words = words;
  }

  get stopped(): boolean {
    return Atomics.load(this.words, 0) !== 0;
  }

  stop(): void {
    Atomics.store(this.words, 0, 1);
  }

  get checkpointsAllowed(): boolean {
    return Atomics.load(this.words, NO_CHECKPOINTS_AT) === 0;
  }

  forbidCheckpoints(): void {
    Atomics.store(this.words, NO_CHECKPOINTS_AT, 1);
  }

  /** Says that a party has done something more. */
  progress(party: number): void {
    Atomics.add(this.words, PROGRESS_AT + party, 1);
  }

  progressOf(party: number): number {
    return Atomics.load(this.words, PROGRESS_AT + party);
  }

  setCheckpointing(party: number, is: boolean): void {
    Atomics.store(this.words, CHECKPOINT_AT + party, is ? 1 : 0);
  }

  get checkpointing(): boolean {
    return this.words.subarray(CHECKPOINT_AT, STARTED_AT).some((word) => word !== 0);
  }

  // ── Changes of blocks ──────────────────────────────────────────────────────────────────────────

  /** A change of a block is about to be made; called under the page's exclusive lock, or before. */
  begin(block: number): void {
    Atomics.add(this.words, STARTED_AT + block, 1);
  }

  complete(block: number): void {
    Atomics.add(this.words, COMPLETED_AT + block, 1);
  }

  started(block: number): number {
    return Atomics.load(this.words, STARTED_AT + block);
  }

  completed(block: number): number {
    return Atomics.load(this.words, COMPLETED_AT + block);
  }

  /** Changes that the last checkpoint has, whatever happens. */
  kept(block: number): number {
    return Atomics.load(this.words, KEPT_AT + block);
  }

  /** Takes a checkpoint; what was completed before it is kept from its end on. */
  checkpointed(take: () => void): void {
    const before = this.words.slice(COMPLETED_AT, KEPT_AT);
    take();
    this.keep(before);
  }

  completedNow(): Int32Array {
    return this.words.slice(COMPLETED_AT, KEPT_AT);
  }

  /** A checkpoint that began after these changes has been taken. Others may have taken a later. */
  keep(completed: Int32Array): void {
    for (const [block, count] of completed.entries()) {
      for (let seen = this.kept(block); seen < count; ) {
        const found = Atomics.compareExchange(this.words, KEPT_AT + block, seen, count);
        if (found === seen) break;
        seen = found;
      }
    }
  }

  /** The region has begun anew, with these versions; nobody works. */
  beginAnew(versions: readonly number[]): void {
    for (const [block, version] of versions.entries()) {
      for (const at of [STARTED_AT, COMPLETED_AT, KEPT_AT]) {
        Atomics.store(this.words, at + block, version);
      }
    }
    this.words.fill(0, MARKS_AT, DEAD_AT);
    this.words.fill(0, CHECKPOINT_AT, STARTED_AT);
  }

  // ── Locks ──────────────────────────────────────────────────────────────────────────────────────

  /** A thread has ended for certain, and what it held is about to be given back. */
  died(life: number): void {
    Atomics.store(this.words, DEAD_AT + life, 1);
  }

  isDead(life: number): boolean {
    return Atomics.load(this.words, DEAD_AT + life) !== 0;
  }

  /**
   * Marks a lock as held in one more mode, after it was taken.
   *
   * @throws if somebody who lives has marked what excludes it
   */
  enter({ party, life }: Life, key: number, mode: number): void {
    const mine = MARKS_AT + key * PARTIES + party;
    const word = Atomics.load(this.words, mine);
    const held = word >>> MODE_BITS === life ? word : life << MODE_BITS;
    Atomics.store(this.words, mine, held | (1 << mode));
    for (let other = 0; other < PARTIES; other += 1) {
      if (other !== party) this.#mustAgree(key, mode, other);
    }
  }

  #mustAgree(key: number, mode: number, other: number): void {
    const word = Atomics.load(this.words, MARKS_AT + key * PARTIES + other);
    const against = MODES.find((held) => (word & (1 << held)) !== 0 && conflict(held, mode));
    if (against === undefined || this.isDead(word >>> MODE_BITS)) return;
    throw new Error(`lock ${key} is held in mode ${mode} while party ${other} has ${against}`);
  }

  /** Takes a mark back, before the lock is given back. */
  leave({ party }: Life, key: number, mode: number): void {
    const mine = MARKS_AT + key * PARTIES + party;
    const word = Atomics.load(this.words, mine) & ~(1 << mode);
    Atomics.store(this.words, mine, (word & ((1 << MODE_BITS) - 1)) === 0 ? 0 : word);
  }
}
