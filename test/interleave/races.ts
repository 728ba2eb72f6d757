// Finds plain words that two backends touch with nothing that orders them.
//
// The race build reports every load and store of wasm by Binaryen's instrument-memory pass; atomic
// ones are known by the step announced just before. Each backend has a vector clock. An atomic load
// takes over the clock that the last atomic store to the word left there, an atomic change both
// takes over and leaves one; whether a compare-and-swap succeeded is not asked, so that a race that
// only a failed one would leave open is not seen. Two accesses to one word, one of them plain, one
// of them a write, with neither ordered before the other, are a race, even in a schedule in which
// nothing went wrong. The proof that a thread has ended orders what it did before its repair.
//
// Words that are racy on purpose stand in RACY, with the reason; nothing else is excused.

import {
  CATALOG_GRANULE_SHIFT,
  ENTRY_HEADER_BYTES,
  SINVAL_CATALOG_OFFSET,
} from "../../assembly/common/cache-constants.ts";
import {
  BACKEND_KINDS,
  BLOCK_BYTES,
  COLUMN_HEADER_BYTES,
  COUNTER_READ_TIME,
  COUNTERS_BYTES,
  IO_ROW_BYTES,
  PART_CATALOG,
  PART_DEADLOCK,
  PART_FAST_PATH,
  PART_LOCK_PARTITIONS,
  PART_LOCK_RECORDS,
  PART_LOCK_TABLE,
  PART_SINVAL,
  PART_STRONG,
} from "../../assembly/common/constants.ts";
import { LOCK_RECORD_BYTES } from "../../assembly/common/lock-constants.ts";
import type { HostFunctions } from "../../bindings/abi/load.ts";
import {
  type Engine,
  STEP_CHANGE,
  STEP_COPY,
  STEP_COPY_FROM,
  STEP_LOAD,
  STEP_STORE,
} from "./engine.ts";
import type { Watch } from "./setting.ts";
import { DESC_BYTES, FIELD_BLOCK, FIELD_FILE, WORD_SHIFT, type World } from "./world.ts";

/** Of the catalog's header: where its entries begin. */
const CATALOG_FIRST_OFFSET = 28;
const WORD_BYTES = 1 << WORD_SHIFT;

/** Words that are touched without order on purpose. */
interface Racy {
  readonly name: string;
  readonly why: string;
  readonly covers: (world: World, address: number) => boolean;
}

export const RACY: readonly Racy[] = [
  {
    name: "tags of descriptors",
    why: "read plainly as a hint (desc.ts, looksLike); what is believed is read again atomically",
    covers: (world, address) => {
      const offset = address - world.at.descriptors;
      const field = (offset & (DESC_BYTES - 1)) >>> WORD_SHIFT;
      const inside = offset >= 0 && offset < world.buffers * DESC_BYTES;
      return inside && (field === FIELD_FILE || field === FIELD_BLOCK);
    },
  },
  {
    name: "hold words",
    why: "one pin more or less is a plain store (hold.ts); others only ask whether the word is 0",
    covers: (world, address) => {
      const offset = address - world.at.holds;
      const inside = offset >= 0 && offset < world.slots * world.at.columnBytes;
      return inside && offset % world.at.columnBytes >= COLUMN_HEADER_BYTES;
    },
  },
  {
    name: "chains of lock records",
    why: "walked without a lock as a hint (lock-table.ts); what is believed is one's own record",
    covers: (world, address) => {
      const [heads, headBytes] = world.part(PART_LOCK_TABLE);
      const [records, recordBytes] = world.part(PART_LOCK_RECORDS);
      if (address >= heads && address < heads + headBytes) return true;
      const offset = address - records;
      const field = (offset & (LOCK_RECORD_BYTES - 1)) >>> WORD_SHIFT;
      return offset >= 0 && offset < recordBytes && field === RECORD_NEXT;
    },
  },
  {
    name: "entries of the catalog cache",
    why: "a walk compares header and keys plainly, then holds, then looks at the state and compares",
    covers: (world, address) => {
      const header = world.u32[(world.part(PART_SINVAL)[0] + SINVAL_CATALOG_OFFSET) >>> WORD_SHIFT];
      const first = world.u32[((header ?? 0) + CATALOG_FIRST_OFFSET) >>> WORD_SHIFT] ?? 0;
      const [start, bytes] = world.part(PART_CATALOG);
      const inside = bytes > 0 && address >= first && address < start + bytes;
      // Schedules have keys of one word.
      const keyEnd = ENTRY_HEADER_BYTES + WORD_BYTES;
      return inside && (address - first) % (1 << CATALOG_GRANULE_SHIFT) < keyEnd;
    },
  },
  {
    name: "times of the departed",
    why: "Binaryen reads such a word a second time, plainly, as f64; the exchange notices a change",
    covers: (world, address) => {
      const offset = address - world.at.departed;
      const inside = offset >= 0 && offset < BACKEND_KINDS * COUNTERS_BYTES;
      return inside && offset % IO_ROW_BYTES >= COUNTER_READ_TIME;
    },
  },
];

/** Word of a lock record that links it to the next. */
const RECORD_NEXT = 1;

const UNIT_SHIFT = 1;
const UNIT_BYTES = 2;
/** What is looked at of a half page: identity and version. */
const MARK_BYTES = 8;
const HALF_BYTES = BLOCK_BYTES / 2;

/** Kinds of access, each with its own record. */
const PLAIN_READ = 0;
const PLAIN_WRITE = 1;
const ATOMIC_READ = 2;
const ATOMIC_WRITE = 3;
const KINDS = 4;
const KIND_NAMES = ["plain load", "plain store", "atomic load", "atomic store"] as const;
type Access = readonly [fiber: number, kind: number];
/** Kinds that an access must be ordered after. */
const CONFLICTS: readonly (readonly number[])[] = [
  [PLAIN_WRITE, ATOMIC_WRITE],
  [PLAIN_READ, PLAIN_WRITE, ATOMIC_READ, ATOMIC_WRITE],
  [PLAIN_WRITE],
  [PLAIN_READ, PLAIN_WRITE],
];

export class RaceCheck implements Watch {
  /** Names of RACY that have excused something. */
  readonly used: Set<string> = new Set();
  /** Plain accesses looked at. */
  accesses = 0;
  #engine: Engine | undefined;
  #fibers = 0;
  /** Clock of fiber f: from f × fibers. */
  #clocks = new Uint32Array(0);
  /** Clock that the last atomic store left in a word. */
  #left = new Uint32Array(0);
  /** When a fiber last touched a unit, by kind. */
  #last = new Uint32Array(0);
  readonly #touchedUnits: number[] = [];
  readonly #touchedWords: number[] = [];
  /** Address of the atomic access that a fiber is about to make, and what it is. */
  readonly #announced: number[] = [];
  /** What an atomic store of a fiber has overwritten in #left: from f × fibers. */
  #overwritten = new Uint32Array(0);

  imports(slot: number): HostFunctions {
    const same = (_id = 0, value = 0): number => value;
    const told =
      (kind: number) =>
      (_id = 0, bytes = 0, offset = 0, pointer = 0): number => {
        if (this.#engine?.isLive === true) this.#told(slot, kind, pointer + offset, bytes);
        return pointer;
      };
    const values = ["i32", "i64", "f32", "f64"].flatMap((type) => [
      [`load_val_${type}`, same],
      [`store_val_${type}`, same],
    ]);
    return {
      ...Object.fromEntries(values),
      memory_grow_pre: same,
      memory_grow_post: same,
      load_ptr: told(PLAIN_READ),
      store_ptr: told(PLAIN_WRITE),
    };
  }

  begin(engine: Engine): void {
    if (this.#engine !== engine) this.#size(engine);
    const stride = this.#fibers * KINDS;
    for (const unit of this.#touchedUnits) this.#last.fill(0, unit * stride, (unit + 1) * stride);
    for (const word of this.#touchedWords) {
      this.#left.fill(0, word * this.#fibers, (word + 1) * this.#fibers);
    }
    this.#touchedUnits.length = 0;
    this.#touchedWords.length = 0;
    this.#announced.length = 0;
    this.#clocks.fill(0);
    for (let fiber = 0; fiber < this.#fibers; fiber += 1) this.#tick(fiber);
  }

  atomic(fiber: number, kind: number, at: number): void {
    if (kind === STEP_COPY) this.#access(fiber, PLAIN_WRITE, at, MARK_BYTES);
    else if (kind === STEP_COPY_FROM) this.#access(fiber, PLAIN_READ, at, MARK_BYTES);
    if (kind !== STEP_LOAD && kind !== STEP_STORE && kind !== STEP_CHANGE) return;
    if (kind !== STEP_CHANGE) this.#announced[fiber] = at;
    const word = at >>> WORD_SHIFT;
    if (kind !== STEP_STORE) this.#join(this.#clocks, fiber, this.#left, word);
    this.#access(fiber, kind === STEP_LOAD ? ATOMIC_READ : ATOMIC_WRITE, at, UNIT_BYTES);
    if (kind === STEP_LOAD) return;
    if (kind === STEP_STORE) {
      this.#overwritten.fill(0, fiber * this.#fibers, (fiber + 1) * this.#fibers);
      this.#join(this.#overwritten, fiber, this.#left, word);
    }
    this.#leave(fiber, word, kind === STEP_STORE);
    this.#tick(fiber);
  }

  /** Leaves a fiber's clock in a word, instead of others' or beside them. */
  #leave(fiber: number, word: number, overwrites: boolean): void {
    this.#touchedWords.push(word);
    if (overwrites) this.#left.fill(0, word * this.#fibers, (word + 1) * this.#fibers);
    this.#join(this.#left, word, this.#clocks, fiber);
  }

  /** An atomic access was announced by its address alone, as if of a word: here is its width. */
  #widened(fiber: number, kind: number, at: number, bytes: number): void {
    const word = at >>> WORD_SHIFT;
    // Other bytes of the word are others' words.
    if (bytes < WORD_BYTES && kind === PLAIN_WRITE) {
      this.#join(this.#left, word, this.#overwritten, fiber);
    }
    if (bytes <= WORD_BYTES) return;
    if (kind === PLAIN_READ) this.#join(this.#clocks, fiber, this.#left, word + 1);
    else this.#leave(fiber, word + 1, true);
  }

  bytes(fiber: number, at: number, write: boolean): void {
    this.#access(fiber, write ? PLAIN_WRITE : PLAIN_READ, at, MARK_BYTES);
  }

  died(fiber: number): void {
    this.#join(this.#clocks, 0, this.#clocks, fiber);
  }

  /** A load or store of wasm; the one that was announced is atomic and known already. */
  #told(fiber: number, kind: number, at: number, bytes: number): void {
    if (this.#announced[fiber] === at) {
      this.#announced[fiber] = -1;
      this.#widened(fiber, kind, at, bytes);
      const atomic = kind === PLAIN_READ ? ATOMIC_READ : ATOMIC_WRITE;
      this.#access(fiber, atomic, at + UNIT_BYTES, bytes - UNIT_BYTES);
      return;
    }
    this.#access(fiber, kind, at, bytes);
  }

  #access(fiber: number, kind: number, at: number, bytes: number): void {
    this.accesses += 1;
    for (let address = at; address < at + bytes; address += UNIT_BYTES) {
      const base = (address >>> UNIT_SHIFT) * this.#fibers * KINDS;
      for (let other = 0; other < this.#fibers; other += 1) {
        if (other === fiber) continue;
        const known = this.#clocks[fiber * this.#fibers + other] ?? 0;
        for (const against of CONFLICTS[kind] ?? []) {
          if ((this.#last[base + other * KINDS + against] ?? 0) > known) {
            this.#excuse(address, [fiber, kind], [other, against]);
          }
        }
      }
      this.#last[base + fiber * KINDS + kind] = this.#clocks[fiber * this.#fibers + fiber] ?? 0;
      this.#touchedUnits.push(address >>> UNIT_SHIFT);
    }
  }

  #excuse(address: number, one: Access, other: Access): void {
    const world = (this.#engine as Engine).world;
    const racy = RACY.find(({ covers }) => covers(world, address));
    if (racy === undefined) {
      const words = [one, other].map(([fiber, kind]) => `${KIND_NAMES[kind]} of backend ${fiber}`);
      throw new Error(`${words.join(" and ")} race for ${placeOf(world, address)}`);
    }
    this.used.add(racy.name);
  }

  #join(into: Uint32Array, to: number, from: Uint32Array, of: number): void {
    for (let index = 0; index < this.#fibers; index += 1) {
      const time = from[of * this.#fibers + index] ?? 0;
      const at = to * this.#fibers + index;
      if ((into[at] ?? 0) < time) into[at] = time;
    }
  }

  #tick(fiber: number): void {
    const at = fiber * this.#fibers + fiber;
    this.#clocks[at] = (this.#clocks[at] ?? 0) + 1;
  }

  #size(engine: Engine): void {
    const words = engine.world.u32.length;
    this.#engine = engine;
    this.#fibers = engine.world.slots;
    this.#touchedUnits.length = 0;
    this.#touchedWords.length = 0;
    this.#clocks = new Uint32Array(this.#fibers * this.#fibers);
    this.#left = new Uint32Array(words * this.#fibers);
    this.#overwritten = new Uint32Array(this.#fibers * this.#fibers);
    this.#last = new Uint32Array(words * 2 * this.#fibers * KINDS);
  }
}

/** An address in words. */
export function placeOf(world: World, address: number): string {
  const parts = [...Object.entries(world.at), ...partsOfLocks(world)]
    .filter(([name, start]) => !/Mask|columnBytes/.test(name) && start <= address)
    .sort(([, a], [, b]) => b - a);
  const [name = "the header", start = 0] = parts[0] ?? [];
  const offset = address - start;
  const half = name === "blocks" ? `, half ${Math.floor(offset / HALF_BYTES)}` : "";
  return `${name} + ${offset}${half}`;
}

function partsOfLocks(world: World): [name: string, start: number][] {
  const of = (part: number): number => world.part(part)[0];
  return [
    ["lock records", of(PART_LOCK_RECORDS)],
    ["chains of locks", of(PART_LOCK_TABLE)],
    ["lock partitions", of(PART_LOCK_PARTITIONS)],
    ["strong flags", of(PART_STRONG)],
    ["fast paths", of(PART_FAST_PATH)],
    ["deadlocks", of(PART_DEADLOCK)],
    ["invalidations", of(PART_SINVAL)],
    ["catalog entries", of(PART_CATALOG)],
  ];
}
