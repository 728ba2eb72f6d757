// A raw region with a catalog cache, and what TypeScript does around its calls: keys are written
// into the own row of the ring, rows into the entry that was reserved.

import {
  MESSAGE_CATALOG_OFFSET,
  MESSAGE_HASH_OFFSET,
  MESSAGE_KIND_OFFSET,
  ROW_DATA_BYTES_OFFSET,
  ROW_DATA_OFFSET,
  ROW_KEYS_OFFSET,
  ROW_MESSAGES_OFFSET,
  ROW_POSITION_OFFSET,
  ST_NO_ROW,
} from "../../assembly/common/cache-constants.ts";
import { SLOT_INTERRUPTS_OFFSET, ST_MISS } from "../../assembly/common/constants.ts";
import { RawRegion, type RawRegionOptions } from "../support/region.ts";

const MESSAGE_WORDS = 4;

/** A message as it was received. */
export interface Message {
  readonly catalog: number;
  readonly hash: number;
  readonly kind: number;
}

export class CatalogRegion extends RawRegion {
  readonly words: Int32Array;

  constructor(options: RawRegionOptions = {}) {
    super({ buffers: 4, catalog: 64, ...options });
    this.words = new Int32Array(this.memory.buffer);
    for (const exports of this.slots) exports.catalogJoin();
  }

  row(slot: number): number {
    return this.backend(slot).catalogRow() >>> 0;
  }

  word(slot: number, offset: number): number {
    return this.words[(this.row(slot) + offset) / 4] ?? 0;
  }

  /** Where a slot stands in the ring. */
  position(slot: number): number {
    return this.word(slot, ROW_POSITION_OFFSET) >>> 0;
  }

  setKeys(slot: number, keys: readonly number[]): number {
    this.words.set(keys, (this.row(slot) + ROW_KEYS_OFFSET) / 4);
    return keys.length * 4;
  }

  hash(slot: number, catalog: number, keys: readonly number[]): number {
    return this.backend(slot).catalogHash(catalog, this.setKeys(slot, keys)) >>> 0;
  }

  /** Entry number, ST_NO_ROW or ST_MISS. */
  find(slot: number, catalog: number, keys: readonly number[]): number {
    const [one = 0, two = 0, three = 0, four = 0] = keys;
    return this.backend(slot).catalogFindWords(catalog, keys.length, one, two, three, four);
  }

  /** The row of an entry that was just found. */
  found(slot: number): number[] {
    const at = this.word(slot, ROW_DATA_OFFSET) >>> 0;
    const bytes = this.word(slot, ROW_DATA_BYTES_OFFSET);
    return [...this.words.subarray(at / 4, (at + bytes) / 4)];
  }

  /** Finds and copies a row, and lets go: undefined for a miss, null where there is none. */
  look(slot: number, catalog: number, keys: readonly number[]): number[] | null | undefined {
    const entry = this.find(slot, catalog, keys);
    if (entry === ST_MISS) return undefined;
    if (entry === ST_NO_ROW) return null;
    const row = this.found(slot);
    this.backend(slot).catalogRelease(entry);
    return row;
  }

  /** Reserves an entry and fills it: its number, or a status. */
  reserve(slot: number, catalog: number, keys: readonly number[], row: readonly number[] | null) {
    const exports = this.backend(slot);
    const bytes = row === null ? -1 : row.length * 4;
    const entry = exports.catalogReserve(catalog, this.setKeys(slot, keys), bytes);
    if (entry >= 0 && row !== null)
      this.words.set(row, (this.word(slot, ROW_DATA_OFFSET) >>> 0) / 4);
    return entry;
  }

  /** Reads, reserves and publishes at one go; the status. */
  add(slot: number, catalog: number, keys: readonly number[], row: readonly number[] | null) {
    const exports = this.backend(slot);
    const since = exports.catalogBegin();
    const entry = this.reserve(slot, catalog, keys, row);
    return entry < 0 ? entry : exports.catalogPublish(entry, since);
  }

  /** All messages that are there, or what a receive said otherwise. */
  receive(slot: number): Message[] | number {
    const messages: Message[] = [];
    for (;;) {
      const count = this.backend(slot).catalogReceive();
      if (count < 0) return count;
      if (count === 0) return messages;
      for (let index = 0; index < count; index += 1) {
        const at = ROW_MESSAGES_OFFSET + index * MESSAGE_WORDS * 4;
        messages.push({
          catalog: this.word(slot, at + MESSAGE_CATALOG_OFFSET),
          hash: this.word(slot, at + MESSAGE_HASH_OFFSET) >>> 0,
          kind: this.word(slot, at + MESSAGE_KIND_OFFSET),
        });
      }
    }
  }

  /** What is asked of a slot. */
  interrupts(slot: number): number {
    const at = this.backend(slot).slotAddress(slot) + SLOT_INTERRUPTS_OFFSET;
    return this.words[at / 4] ?? 0;
  }

  /** The number of a catalog's name. */
  number(slot: number, name: string): number {
    const bytes = new Uint8Array(this.memory.buffer, this.row(slot) + ROW_MESSAGES_OFFSET, 64);
    bytes.fill(0);
    bytes.set([name.length, ...new TextEncoder().encode(name)]);
    return this.backend(slot).catalogNumber();
  }
}
