/**
 * Which page is in which local buffer, and what is known of each: the descriptors of local buffers,
 * the table that finds them and the hand that chooses a victim, in plain arrays of the engine's.
 *
 * Here and not in assembly/, because a hit on a temporary page then costs no crossing, and because
 * nothing of it is touched by a second thread: no state word, no lock, no atomics. 18 bytes a
 * buffer, and 4 to 8 for chain heads. PostgreSQL too keeps these outside its memory contexts
 * (calloc).
 *
 * A page's number takes more bits than a JavaScript integer has, hence chains instead of a Map.
 * Links hold the buffer's index + 1; 0 ends a chain.
 *
 * PostgreSQL: src/backend/storage/buffer/localbuf.c, InitLocalBuffers, PinLocalBuffer,
 * GetLocalVictimBuffer
 */

import { HOLD_COUNT_MASK, MAX_USAGE, ST_TOO_MANY_PINS } from "../../assembly/common/constants.ts";
import { OutOfMemoryError } from "../abi/errors.ts";
import { refusal } from "./statuses.ts";

/** Bits of {@link LocalTable.flags}: the page's bytes are there; they differ from storage's. */
export const LOCAL_VALID = 1;
/** See {@link LOCAL_VALID}. */
export const LOCAL_DIRTY = 2;
/** The buffer has a page, readable or not, and is in its chain. */
export const LOCAL_MAPPED = 4;

/** Heads included, at most. */
const BYTES_PER_BUFFER = 26;
const WORD_BITS = 32;
/** 2^32 / golden ratio, and another odd number without pattern. */
const MIX_FILE = 0x9e3779b1;
const MIX_BLOCK = 0x85ebca6b;

/** Descriptors by index, 0 to `size - 1`. @internal */
export class LocalTable {
  readonly size: number;
  /** Numbers of forks as signed words, which the engine compares as integers. */
  readonly files: Int32Array;
  readonly blocks: Uint32Array;
  readonly pins: Int32Array;
  readonly usage: Uint8Array;
  readonly flags: Uint8Array;
  readonly #links: Int32Array;
  readonly #heads: Int32Array;
  readonly #shift: number;
  /** Buffers with a pin. */
  pinned = 0;
  #hand = 0;

  /** @throws {@link OutOfMemoryError} if the engine has no room for that many */
  constructor(size: number) {
    const bits = Math.max(1, WORD_BITS - Math.clz32(Math.max(size, 1) - 1));
    this.size = size;
    this.#shift = WORD_BITS - bits;
    try {
      this.files = new Int32Array(size);
      this.blocks = new Uint32Array(size);
      this.pins = new Int32Array(size);
      this.usage = new Uint8Array(size);
      this.flags = new Uint8Array(size);
      this.#links = new Int32Array(size);
      this.#heads = new Int32Array(2 ** bits);
    } catch (cause) {
      throw new OutOfMemoryError(size * BYTES_PER_BUFFER, undefined, {
        detail: `The engine has no room for the descriptors of ${size} local buffers.`,
        hint: "Set a smaller temp_buffers.",
        cause,
      });
    }
  }

  /** The index of the buffer that has a page, or -1. */
  find(file: number, block: number): number {
    const signed = file | 0;
    let index = (this.#heads[this.#chain(signed, block)] ?? 0) - 1;
    while (index >= 0 && (this.blocks[index] !== block || this.files[index] !== signed)) {
      index = (this.#links[index] ?? 0) - 1;
    }
    return index;
  }

  /** Gives a page to a buffer that has none: mapped, not yet readable, used once, pinned once. */
  insert(index: number, file: number, block: number): void {
    const chain = this.#chain(file, block);
    this.files[index] = file;
    this.blocks[index] = block;
    this.flags[index] = LOCAL_MAPPED;
    this.usage[index] = 1;
    this.pins[index] = 1;
    this.pinned += 1;
    this.#links[index] = this.#heads[chain] ?? 0;
    this.#heads[chain] = index + 1;
  }

  /** Takes its page away from a mapped buffer, dirty or not. */
  remove(index: number): void {
    const chain = this.#chain(this.files[index] ?? 0, this.blocks[index] ?? 0);
    const after = this.#links[index] ?? 0;
    let before = (this.#heads[chain] ?? 0) - 1;
    // Ends: a mapped buffer is in its chain.
    if (before === index) {
      this.#heads[chain] = after;
    } else {
      while (this.#links[before] !== index + 1) before = (this.#links[before] ?? 0) - 1;
      this.#links[before] = after;
    }
    this.flags[index] = 0;
    this.usage[index] = 0;
  }

  /** One more pin. Only a first one counts as use. @throws {@link BufferError} 54000 */
  pin(index: number): void {
    const held = this.pins[index] ?? 0;
    if (held === 0) {
      const used = this.usage[index] ?? 0;
      if (used < MAX_USAGE) this.usage[index] = used + 1;
      this.pinned += 1;
    } else if (held === HOLD_COUNT_MASK) {
      throw refusal(ST_TOO_MANY_PINS);
    }
    this.pins[index] = held + 1;
  }

  /** One pin less of a buffer that has one. */
  unpin(index: number): void {
    const left = (this.pins[index] ?? 0) - 1;
    this.pins[index] = left;
    if (left === 0) this.pinned -= 1;
  }

  /**
   * The next buffer nobody pins and no round has spared, or -1 if all are pinned. Ends: a buffer
   * spares five rounds at most, and a round of pinned ones alone is the last.
   */
  sweep(): number {
    const { size, pins, usage } = this;
    for (let tries = size; tries > 0; ) {
      const index = this.#hand;
      this.#hand = index + 1 < size ? index + 1 : 0;
      if (pins[index] !== 0) {
        tries -= 1;
      } else if (usage[index] !== 0) {
        usage[index] = (usage[index] ?? 0) - 1;
        tries = size;
      } else {
        return index;
      }
    }
    return -1;
  }

  has(index: number, flag: number): boolean {
    return ((this.flags[index] ?? 0) & flag) !== 0;
  }

  set(index: number, flag: number): void {
    this.flags[index] = (this.flags[index] ?? 0) | flag;
  }

  clear(index: number, flag: number): void {
    this.flags[index] = (this.flags[index] ?? 0) & ~flag;
  }

  /** Whether a buffer has a page of a fork, at `firstBlock` or behind it. */
  holds(index: number, file: number, firstBlock: number): boolean {
    return (
      this.has(index, LOCAL_MAPPED) &&
      this.files[index] === (file | 0) &&
      (this.blocks[index] ?? 0) >= firstBlock
    );
  }

  #chain(file: number, block: number): number {
    return Math.imul(Math.imul(file, MIX_FILE) ^ block, MIX_BLOCK) >>> this.#shift;
  }
}
