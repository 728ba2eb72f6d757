// A raw region and several backends on one thread, one step at a time: each backend is an instance
// of shared.wasm of its own, and the test plays TypeScript's part between two calls. Reads and
// writes go to a plain object of pages. What real backends hide is a status or a flag here.

import {
  BLOCK_BYTES,
  BUFFER_MASK,
  LIFE_ACTIVE,
  LIFE_FREE,
  LIFE_STATE_BITS,
  NEED_READ,
  NEED_WRITE,
  OWNER_MASK,
  PAGE_CHECKSUM_OFFSET,
  ST_MISS,
  ST_OK,
  STATE_CLAIM,
  STATE_IO,
  STATE_TAG_VALID,
} from "../../assembly/common/constants.ts";
import { compileSync, type HostFunctions, instantiate } from "../../bindings/abi/load.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { type WasmMemory, wasm } from "../../bindings/abi/wasm-types.ts";
import { planRegion, regionPages } from "../../bindings/shared/region-plan.ts";
import { ioMethod } from "./io-methods.ts";

/** The builds every suite runs on; where it runs once more for I/O workers, one of them. */
export const builds: readonly (readonly [name: string, checked: boolean])[] = [
  ...(ioMethod === "sync" ? [["release", false] as const] : []),
  ["checked", true],
];

/** How a raw region is made. */
export interface RawRegionOptions {
  readonly checked?: boolean;
  readonly buffers?: number;
  /** Backends besides the owner in slot 0. */
  readonly backends?: number;
  readonly checksums?: boolean;
  /** Whether there is a queue for I/O workers. Default false. */
  readonly queue?: boolean;
  /** max_locks_per_transaction. Default 0: no lock table. */
  readonly locks?: number;
  /** Locks, and conditions, of the user. Default none. */
  readonly lwlocks?: number;
  readonly conditions?: number;
  /** catalog_cache_size in kB. Default 0: no catalog cache. */
  readonly catalog?: number;
  readonly host?: HostFunctions;
}

/** A region whose backends a test moves by hand. */
export class RawRegion {
  readonly memory: WasmMemory;
  readonly buffers: number;
  /** One instance a slot; 0 is the owner. */
  readonly slots: readonly SharedExports[];
  /** Storage: pages by "file/block". Pages that were never written read as zeroes. */
  readonly pages: Map<string, Uint8Array> = new Map();
  reads = 0;
  writes = 0;

  constructor(options: RawRegionOptions = {}) {
    const { checked = false, buffers = 16, backends = 3, checksums = false, host = {} } = options;
    const { locks = 0, lwlocks = 0, conditions = 0, catalog = 0, queue = false } = options;
    const module = compileSync("shared", checked);
    const slots = backends + 1;
    const plan = { buffers, slots, queued: queue, locks, lwlocks, conditions, catalog };
    const pages = regionPages(module, plan, 0, host);
    const memory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    const make = (): SharedExports => instantiate<SharedExports>(module, memory, host);
    const owner = make();
    const { byteLength } = memory.buffer;
    planRegion(owner, plan);
    owner.createRegion(byteLength, checksums ? 1 : 0);
    owner.advanceSlot(0, LIFE_FREE, LIFE_ACTIVE);
    owner.enter(0, 0);
    owner.publishRegion();
    this.memory = memory;
    this.buffers = buffers;
    this.slots = [owner, ...Array.from({ length: backends }, make)];
    for (let slot = 1; slot <= backends; slot += 1) this.attach(slot);
  }

  /** The instance of a slot. */
  backend(slot: number): SharedExports {
    const exports = this.slots[slot];
    if (exports === undefined) throw new RangeError(`no slot ${slot}`);
    return exports;
  }

  /** Makes the instance of a slot an active backend of a thread that may not sleep. */
  attach(slot: number): void {
    const exports = this.backend(slot);
    const claimed = exports.claimSlot(slot);
    if (claimed !== slot) throw new Error(`claimed slot ${claimed} instead of ${slot}`);
    const life = exports.slotLife(slot);
    exports.advanceSlot(slot, life & ((1 << LIFE_STATE_BITS) - 1), LIFE_ACTIVE);
    exports.enter(slot, 0);
  }

  frame(buffer: number): Uint8Array {
    const at = this.backend(0).frameAddress(buffer) >>> 0;
    return new Uint8Array(this.memory.buffer, at, BLOCK_BYTES);
  }

  /** Storage's part of a read. */
  fill(buffer: number): void {
    const key = this.keyOf(buffer);
    this.frame(buffer).set(this.pages.get(key) ?? new Uint8Array(BLOCK_BYTES));
    this.reads += 1;
  }

  /** Storage's part of a write: takes a sealed copy of the frame. */
  save(exports: SharedExports, buffer: number): void {
    const copy = this.frame(buffer).slice();
    const at = exports.frameAddress(buffer) >>> 0;
    const seal = exports.pageSeal(at, exports.blockOf(buffer) >>> 0);
    copy.set([seal & 0xff, seal >>> 8], PAGE_CHECKSUM_OFFSET);
    this.pages.set(this.keyOf(buffer), copy);
    this.writes += 1;
  }

  /** Pins as BufferPool does: all steps, with storage's part. Throws a status as a number. */
  pin(slot: number, file: number, block: number): number {
    const exports = this.backend(slot);
    const hit = exports.pin(file, block);
    if (hit >= 0) return hit;
    let result = exports.pinMapped(file, block, 0);
    if (result === ST_MISS) result = exports.install(this.victim(slot), file, block, 0);
    if (result < 0) throw result;
    const buffer = result & BUFFER_MASK;
    if ((result & NEED_READ) !== 0) {
      this.fill(buffer);
      exports.finishRead(buffer, 1);
    }
    return buffer;
  }

  /** A victim, dirty candidates written back on the way. */
  victim(slot: number): number {
    const exports = this.backend(slot);
    for (;;) {
      const candidate = exports.victim(0);
      if (candidate < 0) throw candidate;
      if ((candidate & NEED_WRITE) === 0) return candidate;
      const buffer = candidate & BUFFER_MASK;
      this.save(exports, buffer);
      exports.finishWrite(buffer, 1);
      const claimed = exports.claim(buffer, 0);
      if (claimed >= 0) return claimed;
    }
  }

  /** Changes one byte of a pinned page under its exclusive lock. */
  change(slot: number, buffer: number, at: number, value: number): void {
    const exports = this.backend(slot);
    for (const step of [
      () => exports.lockExclusive(buffer),
      () => exports.beginChange(buffer),
      () => {
        this.frame(buffer)[at] = value;
        return ST_OK;
      },
      () => exports.endChange(buffer),
      () => exports.unlock(buffer),
    ]) {
      const status = step();
      if (status !== ST_OK) throw status;
    }
  }

  /** Declares a slot's thread ended and gives back what it held. */
  kill(slot: number): void {
    const owner = this.backend(0);
    if (owner.markDead(slot) === 0) throw new Error(`slot ${slot} is free`);
    const status = owner.reap(slot);
    if (status !== ST_OK) throw status;
  }

  /**
   * What must hold when nobody is in the middle of anything: no owner, no hold word, no lock, and
   * every mapped page in exactly one chain. Returns what does not.
   */
  residue(): string[] {
    const owner = this.backend(0);
    const found: string[] = [];
    for (let buffer = 0; buffer < this.buffers; buffer += 1) {
      const state = owner.stateOf(buffer);
      if ((state & (OWNER_MASK | STATE_CLAIM | STATE_IO)) !== 0) {
        found.push(`buffer ${buffer} is in somebody's work: ${state.toString(16)}`);
      }
      if (owner.holders(buffer) !== 0) found.push(`buffer ${buffer} is held`);
      const mapped = (state & STATE_TAG_VALID) !== 0;
      const inChains = this.#timesLinked(buffer);
      if (inChains !== (mapped ? 1 : 0)) found.push(`buffer ${buffer} is in ${inChains} chains`);
    }
    for (const slot of this.slots) {
      if (slot.pinnedBuffers() !== 0) found.push("a backend counts pins");
    }
    return found;
  }

  keyOf(buffer: number): string {
    const owner = this.backend(0);
    return `${owner.fileOf(buffer)}/${owner.blockOf(buffer) >>> 0}`;
  }

  /** In how many chains of the buffer table a buffer is found. */
  #timesLinked(wanted: number): number {
    const words = new Uint32Array(this.memory.buffer);
    const at = (offset: number): number => words[offset / 4] ?? 0;
    const [descriptors, heads, mask] = [at(64), at(68), at(72)];
    let times = 0;
    for (let head = 0; head <= mask; head += 1) {
      let reference = at(heads + head * 4);
      for (let steps = 0; reference !== 0; steps += 1) {
        if (steps > this.buffers) throw new Error(`chain ${head} does not end`);
        if (reference - 1 === wanted) times += 1;
        reference = at(descriptors + (reference - 1) * 32 + 4);
      }
    }
    return times;
  }
}
