// A raw region with a lock table, whose backends a test moves by hand, and what its records say.
// Objects are tags of type object: all modes, no fast path.

import {
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_FREE,
  OWNER_MASK,
  ST_ALREADY_HELD,
  ST_DEADLOCK,
  ST_NOT_AVAILABLE,
  ST_OK,
  ST_REARRANGED,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import {
  DEADLOCK_EDGE_BYTES,
  DEFAULT_LOCK_METHOD,
  LEVEL_SESSION,
  LOCK_MODES,
  LOCK_RECORD_BYTES,
  LOCKTAG_OBJECT,
  RECORD_COUNTS_OFFSET,
  RECORD_HOLD_SHIFT,
  RECORD_TAG_OFFSET,
  RECORD_TICKET_OFFSET,
  RECORD_WAIT_MASK,
  RECORD_WAIT_SHIFT,
  REGION_DATABASE,
  TAG_METHOD_SHIFT,
  TAG_TYPE_SHIFT,
} from "../../assembly/common/lock-constants.ts";
import { compileSync, instantiate } from "../../bindings/abi/load.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { type WasmMemory, wasm } from "../../bindings/abi/wasm-types.ts";
import { planRegion, regionPages } from "../../bindings/shared/region-plan.ts";
import type { TwinVerdict } from "../twin/deadlock.ts";
import type { TwinOutcome, TwinStep } from "../twin/lock-manager.ts";

const OBJECT_REST = (DEFAULT_LOCK_METHOD << TAG_METHOD_SHIFT) | (LOCKTAG_OBJECT << TAG_TYPE_SHIFT);
const BUFFERS = 16;
const LOCKS = 16;
const BOTH_LEVELS = 3;
/** In the flags of lockAcquire. */
const NO_WAIT = 2;
/** Where the header of the region has the address of the records. */
const RECORDS_OFFSET = 144;
const FIELD3 = 8;

const outcomes: ReadonlyMap<number, TwinOutcome> = new Map([
  [ST_OK, "granted"],
  [ST_ALREADY_HELD, "held"],
  [ST_WAIT, "waiting"],
  [ST_NOT_AVAILABLE, "not available"],
  [ST_DEADLOCK, "deadlock"],
]);
const verdicts: ReadonlyMap<number, TwinVerdict> = new Map([
  [ST_OK, "none"],
  [ST_REARRANGED, "rearranged"],
  [ST_DEADLOCK, "deadlock"],
]);

/** What one backend has to do with one object. */
export interface RecordRow {
  readonly backend: number;
  readonly object: string;
  /** `mode×times`, ascending. */
  readonly held: string;
  /** Mode waited for, or 0. */
  readonly awaited: number;
  readonly ticket: bigint;
}

/** Backends 0 to n - 1, which are slots 1 to n. */
export class ObjectLocks {
  readonly #slots: readonly SharedExports[];
  readonly #view: DataView;
  readonly backends: number;

  constructor(checked: boolean, backends: number) {
    this.backends = backends;
    const slots = backends + 1;
    const module = compileSync("shared", checked);
    const plan = { buffers: BUFFERS, slots, locks: LOCKS };
    const pages = regionPages(module, plan);
    const memory: WasmMemory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    const { byteLength } = memory.buffer;
    this.#view = new DataView(memory.buffer);
    this.#slots = Array.from({ length: slots }, () => instantiate<SharedExports>(module, memory));
    const owner = this.at(-1);
    planRegion(owner, plan);
    owner.createRegion(byteLength, 0);
    owner.advanceSlot(0, LIFE_FREE, LIFE_ACTIVE);
    owner.enter(0, 0);
    owner.publishRegion();
    for (let slot = 1; slot < slots; slot += 1) {
      const exports = this.at(slot - 1);
      exports.claimSlot(slot);
      exports.advanceSlot(slot, LIFE_CLAIMED, LIFE_ACTIVE);
      exports.enter(slot, 0);
    }
  }

  /** The instance of a backend; -1 is the owner's. */
  at(backend: number): SharedExports {
    const exports = this.#slots[backend + 1];
    if (exports === undefined) throw new RangeError(`no backend ${backend}`);
    return exports;
  }

  acquire(backend: number, object: string, mode: number, noWait = false): TwinOutcome {
    const flags = noWait ? NO_WAIT : LEVEL_SESSION;
    return named(outcomes, this.at(backend).lockAcquire(...tagOf(object), mode, flags));
  }

  release(backend: number, object: string, mode: number): boolean {
    return this.at(backend).lockRelease(...tagOf(object), mode, LEVEL_SESSION) === ST_OK;
  }

  giveUp(backend: number): void {
    this.at(backend).lockGiveUp();
  }

  /** Gives everything of a backend back. */
  end(backend: number): void {
    this.giveUp(backend);
    this.at(backend).lockReleaseAll(BOTH_LEVELS, 0);
  }

  /** What a waiter that wakes finds: whether it has the lock. */
  settles(backend: number): boolean {
    return this.at(backend).lockCheck() === ST_OK;
  }

  check(backend: number): TwinVerdict {
    return named(verdicts, this.at(backend).lockCheckDeadlock());
  }

  /** The edges that a deadlock left with the backend that found it. */
  details(backend: number): TwinStep[] {
    const page = this.at(backend).scratchAddress() >>> 0;
    const steps: TwinStep[] = [];
    for (let at = page; steps.length <= this.backends; at += DEADLOCK_EDGE_BYTES) {
      const [waiter = 0, mode = 0, blocker = 0] = [0, 4, 8].map((offset) =>
        this.#word(at + offset),
      );
      steps.push({ backend: waiter - 1, tag: `${this.#word(at + 16 + FIELD3)}`, mode });
      if (blocker - 1 === steps[0]?.backend) return steps;
    }
    throw new Error("the edges are no cycle");
  }

  /** All records, by backend and object. */
  rows(): RecordRow[] {
    const first = this.#word(RECORDS_OFFSET);
    const rows: RecordRow[] = [];
    for (let index = 0; index < (this.backends + 1) * LOCKS; index += 1) {
      const at = first + index * LOCK_RECORD_BYTES;
      if (this.#word(at) !== 0) rows.push(this.#row(at));
    }
    return rows.sort(
      (one, other) => one.backend - other.backend || (one.object < other.object ? -1 : 1),
    );
  }

  #row(at: number): RecordRow {
    const word = this.#word(at);
    const modes = Array.from({ length: LOCK_MODES }, (_, index) => index + 1);
    const held = modes.filter((mode) => ((word >>> (RECORD_HOLD_SHIFT + mode)) & 1) !== 0);
    const times = (mode: number): number =>
      this.#view.getUint16(at + RECORD_COUNTS_OFFSET + 2 * (mode - 1), true);
    return {
      backend: (word & OWNER_MASK) - 2,
      object: `${this.#word(at + RECORD_TAG_OFFSET + FIELD3)}`,
      held: held.map((mode) => `${mode}×${times(mode)}`).join(" "),
      awaited: (word & RECORD_WAIT_MASK) >>> RECORD_WAIT_SHIFT,
      ticket: this.#view.getBigUint64(at + RECORD_TICKET_OFFSET, true),
    };
  }

  #word(address: number): number {
    return this.#view.getUint32(address, true);
  }
}

/** The tag of an object, as lockAcquire takes it. */
export function tagOf(object: string): [number, number, number, number] {
  return [REGION_DATABASE, 0, Number(object), OBJECT_REST];
}

function named<Name>(names: ReadonlyMap<number, Name>, status: number): Name {
  const name = names.get(status);
  if (name === undefined) throw new Error(`status ${status}`);
  return name;
}
