// A raw region with a lock table, seen through its memory: what each record and each entry of a
// fast path says, and what must be there when nobody holds anything.

import {
  CACHE_LINE_BYTES,
  OWNER_MASK,
  PART_FAST_PATH,
  PART_LOCK_PARTITIONS,
  PART_LOCK_RECORDS,
  PART_LOCK_TABLE,
  PART_STRONG,
} from "../../assembly/common/constants.ts";
import {
  FAST_PATH_ENTRY_BYTES,
  FAST_PATH_MODES,
  FAST_PATH_MOVED,
  LOCK_PARTITIONS,
  LOCK_RECORD_BYTES,
  LOCK_STATE_BYTES,
  RECORD_HOLD_SHIFT,
  RECORD_MOVING,
  RECORD_STRONG,
  RECORD_TAG_OFFSET,
  RECORD_TICKET_OFFSET,
  RECORD_WAIT_MASK,
  RECORD_WAIT_SHIFT,
} from "../../assembly/common/lock-constants.ts";
import { partOf } from "../../bindings/shared/statistics.ts";
import { RawRegion, type RawRegionOptions } from "../support/region.ts";

const MODES = 0x1fe;

/** A record that is somebody's. */
export interface SeenRecord {
  readonly slot: number;
  /** Held modes, ascending. */
  readonly held: readonly number[];
  readonly awaited: number;
  readonly ticket: bigint;
  readonly strong: boolean;
  readonly moving: boolean;
  /** Second field of the tag. */
  readonly field2: number;
}

/** A region with a lock table. */
export class LockRegion extends RawRegion {
  constructor(options: RawRegionOptions = {}) {
    super({ buffers: 4, locks: 10, ...options });
  }

  #words(part: number): Uint32Array {
    const { off, size } = partOf(this.memory.buffer as SharedArrayBuffer, part);
    return new Uint32Array(this.memory.buffer, off, size / 4);
  }

  /** All records in use. */
  records(): SeenRecord[] {
    const words = this.#words(PART_LOCK_RECORDS);
    const found: SeenRecord[] = [];
    for (let at = 0; at < words.length; at += LOCK_RECORD_BYTES / 4) {
      const word = words[at] ?? 0;
      if (word === 0) continue;
      const ticket = at + RECORD_TICKET_OFFSET / 4;
      found.push({
        slot: (word & OWNER_MASK) - 1,
        held: modesIn((word >>> RECORD_HOLD_SHIFT) & MODES),
        awaited: (word & RECORD_WAIT_MASK) >>> RECORD_WAIT_SHIFT,
        ticket: BigInt(words[ticket] ?? 0) | (BigInt(words[ticket + 1] ?? 0) << 32n),
        strong: (word & RECORD_STRONG) !== 0,
        moving: (word & RECORD_MOVING) !== 0,
        field2: words[at + RECORD_TAG_OFFSET / 4 + 1] ?? 0,
      });
    }
    return found;
  }

  /** Who waits on a tag with this second field, in order. */
  queue(field2: number): { slot: number; mode: number }[] {
    return this.records()
      .filter((record) => record.awaited !== 0 && record.field2 === field2)
      .sort((one, two) => Number(one.ticket - two.ticket))
      .map(({ slot, awaited }) => ({ slot, mode: awaited }));
  }

  /** Modes that a slot holds on a tag with this second field, in the table. */
  held(slot: number, field2: number): readonly number[] {
    return this.records()
      .filter((record) => record.slot === slot && record.field2 === field2)
      .flatMap(({ held }) => held);
  }

  /** Entries of a slot's fast path: relation, modes, whether moved. */
  entries(slot: number): { relation: number; modes: readonly number[]; moved: boolean }[] {
    const words = this.#words(PART_FAST_PATH);
    const stride = words.length / this.slots.length;
    const found = [];
    for (
      let at = slot * stride + LOCK_STATE_BYTES / 4;
      at < (slot + 1) * stride;
      at += FAST_PATH_ENTRY_BYTES / 4
    ) {
      const [relation = 0, high = 0] = words.subarray(at, at + 2);
      const moved = (high & FAST_PATH_MOVED) !== 0;
      if (high !== 0) found.push({ relation, modes: modesIn(high & FAST_PATH_MODES), moved });
    }
    return found;
  }

  /** Number of strong flags that are set. */
  strongFlags(): number {
    return this.#words(PART_STRONG).filter((flag) => flag !== 0).length;
  }

  /** A word of the lock of a partition. */
  partition(index: number): number {
    return this.#words(PART_LOCK_PARTITIONS)[(index * CACHE_LINE_BYTES) / 4] ?? 0;
  }

  /** What is left although nobody holds anything. */
  leftovers(): string[] {
    const found: string[] = [];
    if (this.records().length > 0) found.push(`${this.records().length} records`);
    if (this.strongFlags() > 0) found.push(`${this.strongFlags()} strong flags`);
    if (this.#words(PART_LOCK_TABLE).some((head) => head !== 0)) found.push("a chain");
    for (let index = 0; index < LOCK_PARTITIONS; index += 1) {
      if (this.partition(index) !== 0) found.push(`partition ${index}`);
    }
    for (const slot of this.slots.keys()) {
      if (this.entries(slot).length > 0) found.push(`entries of slot ${slot}`);
    }
    return found;
  }
}

/** The numbers of the bits of a mask. */
function modesIn(mask: number): number[] {
  return Array.from({ length: 9 }, (_, mode) => mode).filter((mode) => (mask & (1 << mode)) !== 0);
}
