// The region, the storage and the instances that schedules run over. Made once a configuration, put
// back to the same bytes before each schedule by copying the few kilobytes that can change: words
// in front of the pages, and of each page the first words of its two halves. Nothing else of a page
// is ever written, so that a copy of half a page in wasm moves what counts and nothing more.
//
//   half of a page    0 identity (block + 1, file)   4 version   …

import { readFileSync } from "node:fs";
import {
  BLOCK_BYTES,
  CACHE_LINE_BYTES,
  COLUMN_HEADER_BYTES,
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_FREE,
  NAMED_LOCKS,
  PART_CATALOG,
  PART_DEADLOCK,
  PART_FAST_PATH,
  PART_LOCK_PARTITIONS,
  PART_LOCK_RECORDS,
  PART_LOCK_TABLE,
  PART_SINVAL,
  PART_STRONG,
  SLOT_BYTES,
  STATE_TAG_VALID,
} from "../../assembly/common/constants.ts";
import {
  IO_QUEUE_HEADER_BYTES,
  IO_REQUEST_BUFFERS_OFFSET,
  IO_REQUEST_BYTES,
  IO_REQUESTS,
} from "../../assembly/common/io-constants.ts";
import type { HostFunctions } from "../../bindings/abi/load.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { type WasmMemory, type WasmModule, wasm } from "../../bindings/abi/wasm-types.ts";
import { planRegion } from "../../bindings/shared/region-plan.ts";
import { partOf } from "../../bindings/shared/statistics.ts";
import { MAX_BLOCKS, Medium, PAGE_MARKS, pageOf } from "./medium.ts";

/** What the Asyncify pass adds. */
export interface Asyncify {
  asyncify_get_state(): number;
  asyncify_start_unwind(data: number): void;
  asyncify_stop_unwind(): void;
  asyncify_start_rewind(data: number): void;
  asyncify_stop_rewind(): void;
}

export type Exports = SharedExports & Asyncify;

export const WORD_SHIFT = 2;
const WORD_BYTES = 4;

const HALVES = 2;
const HALF_BYTES = BLOCK_BYTES / HALVES;
/** Identity and version. */
const MARK_WORDS = 2;
const STACK_BYTES = 8192;
/** Of what is known of one page's images. */
const IMAGED_ENTRY_BYTES = 16;
/** What heavyweight locks are kept in; empty without a lock table. */
const LOCK_PARTS = [
  PART_LOCK_RECORDS,
  PART_LOCK_TABLE,
  PART_LOCK_PARTITIONS,
  PART_STRONG,
  PART_FAST_PATH,
  PART_DEADLOCK,
];
/** The catalog cache; empty without. */
const CATALOG_PARTS = [PART_SINVAL, PART_CATALOG];
/** In the region's header. */
const IMAGED_MASK_WORD = 32;
const QUEUE_WORD = 33;
/** Pages of a request. */
const REQUEST_COUNT_FIELD = 3;
/** Of a descriptor. */
export const DESC_BYTES = 32;
const DESC_WORDS = DESC_BYTES / WORD_BYTES;
/** Fields of a descriptor, in words. */
export const FIELD_STATE = 0;
export const FIELD_NEXT = 1;
export const FIELD_FILE = 2;
export const FIELD_BLOCK = 3;
export const FIELD_CONTENT = 4;

/** The compiled simulation build, or another one of the kind. */
export function simulationModule(name = "shared-simulation"): WasmModule {
  const file = new URL(`../../dist/wasm/${name}.wasm`, import.meta.url);
  return new wasm.Module(readFileSync(file));
}

/** Addresses of the parts of the region, from its header. */
export interface Layout {
  readonly descriptors: number;
  readonly heads: number;
  readonly headMask: number;
  readonly holds: number;
  readonly columnBytes: number;
  readonly partitions: number;
  readonly slots: number;
  readonly slotPages: number;
  readonly blocks: number;
  readonly strategy: number;
  readonly locks: number;
  readonly departed: number;
  readonly imaged: number;
  readonly imagedMask: number;
  /** Requests to I/O workers: first the word on which idle ones sleep. 0 without. */
  readonly queue: number;
  readonly lwlocks: number;
  readonly lwlockBytes: number;
  readonly conditions: number;
}

/** What a region has besides buffers and slots. */
export interface Shape {
  /** A queue for I/O workers. */
  readonly queued?: boolean;
  /** Entries of the table of what is known of pages' images; a power of two. */
  readonly imagedEntries?: number;
  /** Records of heavyweight locks a backend; 0 or nothing: no lock table. */
  readonly locks?: number;
  /** Locks and conditions of the user, so many each. */
  readonly named?: number;
  /** catalog_cache_size in kB; 0 or nothing: no catalog cache. */
  readonly catalog?: number;
}

/** Memory, storage and one instance a slot. */
export class World {
  readonly memory: WasmMemory;
  readonly u32: Uint32Array;
  readonly u16: Uint16Array;
  readonly at: Layout;
  readonly buffers: number;
  /** Slots, the owner's 0 included. */
  readonly slots: number;
  /** Locks and conditions of the user, so many each. */
  readonly named: number;
  readonly exports: readonly Exports[];
  readonly medium: Medium = new Medium();
  /** Changes of each page before a schedule begins. */
  readonly baseline: Uint32Array = new Uint32Array(2 * MAX_BLOCKS);
  #ranges: readonly (readonly [start: number, words: Uint32Array])[] = [];

  constructor(
    module: WasmModule,
    buffers: number,
    slots: number,
    host: (slot: number) => HostFunctions,
    env: (slot: number) => HostFunctions = () => ({}),
    { queued = false, imagedEntries, locks = 0, named = 0, catalog = 0 }: Shape = {},
  ) {
    this.buffers = buffers;
    this.slots = slots;
    this.named = named;
    const probe = new wasm.Memory({ initial: 1, maximum: 1, shared: true });
    const stacks = slots * STACK_BYTES;
    const sizing = makeInstance(module, probe, host(0), env(0));
    const plan = { buffers, slots, queued, locks, lwlocks: named, conditions: named, catalog };
    planRegion(sizing, plan);
    const pages = sizing.regionPages(stacks);
    this.memory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    this.u32 = new Uint32Array(this.memory.buffer);
    this.u16 = new Uint16Array(this.memory.buffer);
    this.exports = Array.from({ length: slots }, (_, slot) =>
      makeInstance(module, this.memory, host(slot), env(slot)),
    );
    const owner = this.instance(0);
    const bytes = this.memory.buffer.byteLength - stacks;
    planRegion(owner, plan);
    owner.createRegion(bytes, 0);
    if (imagedEntries !== undefined) this.u32[IMAGED_MASK_WORD] = imagedEntries - 1;
    owner.advanceSlot(0, LIFE_FREE, LIFE_ACTIVE);
    owner.enter(0, 0);
    owner.publishRegion();
    this.at = this.#layout();
  }

  instance(slot: number): Exports {
    const found = this.exports[slot];
    if (found === undefined) throw new RangeError(`no slot ${slot}`);
    return found;
  }

  /** Makes a slot an active backend. */
  attach(slot: number): void {
    const exports = this.instance(slot);
    if (exports.claimSlot(slot) !== slot) throw new Error(`slot ${slot} was not to be had`);
    exports.advanceSlot(slot, LIFE_CLAIMED, LIFE_ACTIVE);
    exports.enter(slot, 1);
  }

  /** Word index of a field of a descriptor. */
  descriptor(buffer: number, field: number): number {
    return (this.at.descriptors >>> WORD_SHIFT) + buffer * DESC_WORDS + field;
  }

  state(buffer: number): number {
    return this.u32[this.descriptor(buffer, FIELD_STATE)] ?? 0;
  }

  /** The page that a frame is tagged with. */
  tagOf(buffer: number): { readonly file: number; readonly block: number } {
    const at = this.descriptor(buffer, FIELD_FILE);
    return { file: this.u32[at] ?? 0, block: this.u32[at + 1] ?? 0 };
  }

  /** The frame of a mapped page. */
  bufferOf(file: number, block: number): number {
    for (let buffer = 0; buffer < this.buffers; buffer += 1) {
      const { file: found, block: at } = this.tagOf(buffer);
      if (found !== file || at !== block) continue;
      if ((this.state(buffer) & STATE_TAG_VALID) !== 0) return buffer;
    }
    throw new Error(`block ${block} is written, and is in no frame`);
  }

  /** A hold word. */
  hold(slot: number, buffer: number): number {
    const column = this.at.holds + slot * this.at.columnBytes + COLUMN_HEADER_BYTES;
    return this.u16[column / 2 + buffer] ?? 0;
  }

  /** Word index of the state of a slot's request. */
  requestWord(slot: number, request: number): number {
    const states = this.at.queue + IO_QUEUE_HEADER_BYTES;
    return (states >>> WORD_SHIFT) + slot * IO_REQUESTS + request;
  }

  /** The frames that a slot's request names. */
  requestFrames(slot: number, request: number): Uint32Array {
    const requests = this.requestWord(this.slots, 0) << WORD_SHIFT;
    const at = requests + (slot * IO_REQUESTS + request) * IO_REQUEST_BYTES;
    const count = this.u32[(at >>> WORD_SHIFT) + REQUEST_COUNT_FIELD] ?? 0;
    const first = (at + IO_REQUEST_BUFFERS_OFFSET) >>> WORD_SHIFT;
    return this.u32.subarray(first, first + count);
  }

  /** Where Asyncify keeps the stack of a slot's calls. */
  stack(slot: number): number {
    return this.memory.buffer.byteLength - (slot + 1) * STACK_BYTES;
  }

  /** Readies a slot's stack for one suspension. */
  readyStack(slot: number): number {
    const at = this.stack(slot);
    this.u32[at >>> WORD_SHIFT] = at + 2 * WORD_BYTES;
    this.u32[(at >>> WORD_SHIFT) + 1] = at + STACK_BYTES;
    return at;
  }

  /** Word index of one half of a frame. */
  frame(buffer: number, half: number): number {
    return (this.at.blocks + buffer * BLOCK_BYTES + half * HALF_BYTES) >>> WORD_SHIFT;
  }

  /** Index in the medium's marks of one half of a block. */
  stored(file: number, block: number, half: number): number {
    return pageOf(file, block) * PAGE_MARKS + half * MARK_WORDS;
  }

  /** Copies the marks of one half page from storage into a frame. */
  readHalf(buffer: number, file: number, block: number, half: number): void {
    const to = this.frame(buffer, half);
    const from = this.stored(file, block, half);
    this.u32[to] = this.medium.marks[from] ?? 0;
    this.u32[to + 1] = this.medium.marks[from + 1] ?? 0;
  }

  /** Offset and size of a part. */
  part(index: number): [start: number, bytes: number] {
    const { off, size } = partOf(this.memory.buffer as SharedArrayBuffer, index);
    return [off, size];
  }

  /** Remembers the region as it is; {@link restore} brings it back. */
  keep(): void {
    const ranges: [start: number, words: number][] = [
      [24, 40], // status, requests, intervals and journals
      [this.at.slots, this.slots * SLOT_BYTES],
      [this.at.locks, NAMED_LOCKS * CACHE_LINE_BYTES],
      [this.at.lwlocks, this.named * this.at.lwlockBytes],
      [this.at.conditions, this.named * CACHE_LINE_BYTES],
      [this.at.partitions, (this.at.headMask + 1) * CACHE_LINE_BYTES],
      [this.at.strategy, CACHE_LINE_BYTES],
      [this.at.departed, CACHE_LINE_BYTES],
      [this.at.descriptors, this.buffers * DESC_WORDS * WORD_BYTES],
      [this.at.heads, (this.at.headMask + 1) * WORD_BYTES],
      [this.at.holds, this.slots * this.at.columnBytes],
      [this.at.imaged, (this.at.imagedMask + 1) * IMAGED_ENTRY_BYTES],
      ...[...LOCK_PARTS, ...CATALOG_PARTS].map((part) => this.part(part)),
    ];
    if (this.at.queue !== 0) {
      const requests = this.slots * (CACHE_LINE_BYTES + IO_REQUESTS * IO_REQUEST_BYTES);
      ranges.push([this.at.queue, IO_QUEUE_HEADER_BYTES + requests]);
    }
    const pages = [this.at.blocks, this.at.slotPages];
    const counts = [this.buffers, 2 * this.slots];
    pages.forEach((start, index) => {
      for (let half = 0; half < HALVES * (counts[index] ?? 0); half += 1) {
        ranges.push([start + half * HALF_BYTES, MARK_WORDS * WORD_BYTES]);
      }
    });
    this.#ranges = ranges.map(([start, bytes]) => {
      const first = start >>> WORD_SHIFT;
      return [first, this.u32.slice(first, first + (bytes >>> WORD_SHIFT))];
    });
    this.medium.keep();
  }

  restore(): void {
    for (const [start, words] of this.#ranges) {
      if (words.length > MARK_WORDS) {
        this.u32.set(words, start);
      } else {
        this.u32[start] = words[0] ?? 0;
        this.u32[start + 1] = words[1] ?? 0;
      }
    }
    this.medium.restore();
  }

  #layout(): Layout {
    const word = (offset: number): number => this.u32[offset >>> WORD_SHIFT] ?? 0;
    return {
      descriptors: word(64),
      heads: word(68),
      headMask: word(72),
      holds: word(76),
      columnBytes: word(80),
      partitions: word(84),
      slots: word(88),
      slotPages: word(92),
      blocks: word(96),
      strategy: word(100),
      locks: word(104),
      departed: word(108),
      imaged: word(124),
      imagedMask: word(IMAGED_MASK_WORD << WORD_SHIFT),
      queue: word(QUEUE_WORD << WORD_SHIFT),
      lwlocks: word(188),
      lwlockBytes: word(196),
      conditions: word(200),
    };
  }
}

function makeInstance(
  module: WasmModule,
  memory: WasmMemory,
  host: HostFunctions,
  env: HostFunctions,
): Exports {
  const imports = { env: { memory, ...env }, host: { panic, ...host } };
  const instance = new WebAssembly.Instance(module as WebAssembly.Module, imports as never);
  return instance.exports as unknown as Exports;
}

function panic(code: number): never {
  throw new Error(`broken invariant ${code} in wasm`);
}
