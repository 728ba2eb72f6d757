// What backends of a schedule believe to hold of heavyweight locks, and what must be true of the
// lock table after every step, read straight from memory:
//
//   L1  no two believe in holds that exclude each other        L4  every chain ends, no record
//   twice L2  what is believed in is there, for others to see        L5  no two waiters have one
//   ticket L3  no two records hold what excludes each other           L6  no newcomer passes who
//   waits
//
// L6 is seen when a record that holds something joins a chain: then nobody waits there for what it
// excludes, unless its owner had the lock before.

import {
  OWNER_MASK,
  PART_FAST_PATH,
  PART_LOCK_PARTITIONS,
  PART_LOCK_RECORDS,
  PART_LOCK_TABLE,
  PART_STRONG,
} from "../../assembly/common/constants.ts";
import {
  FAST_PATH_ENTRY_BYTES,
  LOCK_RECORD_BYTES,
  LOCK_STATE_BYTES,
  RECORD_HOLD_SHIFT,
  RECORD_MOVING,
  RECORD_TAG_OFFSET,
  RECORD_TICKET_OFFSET,
  RECORD_WAIT_MASK,
  RECORD_WAIT_SHIFT,
} from "../../assembly/common/lock-constants.ts";
import { conflict } from "../lmgr/lock-model.ts";
import type { Engine } from "./engine.ts";
import { leftOver } from "./invariants.ts";
import type { Watch } from "./setting.ts";
import { WORD_SHIFT, type World } from "./world.ts";

const RECORD_WORDS = LOCK_RECORD_BYTES / 4;
const TICKET_WORD = RECORD_TICKET_OFFSET / 4;
const ENTRY_WORDS = FAST_PATH_ENTRY_BYTES / 4;
const MODES = 0x1fe;

/** A lock by the second field of its tag: schedules have few. */
export interface Belief {
  readonly slot: number;
  readonly field2: number;
  readonly mode: number;
}

/** Beliefs in one world. */
export class LockBeliefs {
  held: Belief[] = [];
  wrong: string | undefined;
  /** Records that were in a chain at the last check; nothing before the first of a schedule. */
  linked: readonly boolean[] | undefined;

  clear(): void {
    this.held = [];
    this.wrong = undefined;
    this.linked = undefined;
  }

  hold(belief: Belief): void {
    const other = this.held.find(
      ({ slot, field2, mode }) =>
        slot !== belief.slot && field2 === belief.field2 && conflict(mode, belief.mode),
    );
    if (other !== undefined) {
      this.wrong = `slots ${other.slot} and ${belief.slot} hold modes ${other.mode}, ${belief.mode}`;
    }
    this.held.push(belief);
  }

  release({ slot, field2, mode }: Belief): void {
    const index = this.held.findIndex(
      (each) => each.slot === slot && each.field2 === field2 && each.mode === mode,
    );
    if (index < 0) this.wrong = `slot ${slot} gives back mode ${mode}, which it has not got`;
    else this.held.splice(index, 1);
  }

  gone(slot: number): void {
    this.held = this.held.filter((belief) => belief.slot !== slot);
  }
}

const all = new WeakMap<World, LockBeliefs>();

export function beliefsOf(world: World): LockBeliefs {
  const found = all.get(world) ?? new LockBeliefs();
  all.set(world, found);
  return found;
}

/** Forgets what the dead believed. */
export function lockWatch(): Watch {
  let beliefs = new LockBeliefs();
  return {
    imports: () => ({}),
    begin: (engine) => {
      beliefs = beliefsOf(engine.world);
      beliefs.clear();
    },
    atomic: () => undefined,
    bytes: () => undefined,
    died: (slot) => beliefs.gone(slot),
  };
}

/** What is wrong after a step, or undefined. */
export function brokenLock({ world }: Engine): string | undefined {
  const beliefs = beliefsOf(world);
  if (beliefs.wrong !== undefined) return beliefs.wrong;
  for (const belief of beliefs.held) {
    if (!isThere(world, belief)) return `mode ${belief.mode} of slot ${belief.slot} is gone (L2)`;
  }
  return brokenTable(world, beliefs);
}

function records(world: World): Uint32Array {
  const [start, bytes] = world.part(PART_LOCK_RECORDS);
  return world.u32.subarray(start >>> WORD_SHIFT, (start + bytes) >>> WORD_SHIFT);
}

function isThere(world: World, { slot, field2, mode }: Belief): boolean {
  const words = records(world);
  for (let at = 0; at < words.length; at += RECORD_WORDS) {
    const word = words[at] ?? 0;
    if ((word & OWNER_MASK) !== slot + 1 || (word & RECORD_MOVING) !== 0) continue;
    if (words[at + RECORD_TAG_OFFSET / 4 + 1] !== field2) continue;
    if ((word & (1 << (RECORD_HOLD_SHIFT + mode))) !== 0) return true;
  }
  const [start, bytes] = world.part(PART_FAST_PATH);
  const stride = bytes / world.slots / 4;
  const first = (start >>> WORD_SHIFT) + slot * stride + LOCK_STATE_BYTES / 4;
  for (let at = first; at < first + stride - LOCK_STATE_BYTES / 4; at += ENTRY_WORDS) {
    if (world.u32[at] === field2 && ((world.u32[at + 1] ?? 0) & (1 << mode)) !== 0) return true;
  }
  return false;
}

function brokenTable(world: World, beliefs: LockBeliefs): string | undefined {
  const words = records(world);
  const count = words.length / RECORD_WORDS;
  const linked = new Array<boolean>(count).fill(false);
  const [start, bytes] = world.part(PART_LOCK_TABLE);
  const last = (start + bytes) >>> WORD_SHIFT;
  for (let head = start >>> WORD_SHIFT; head < last; head += 1) {
    let reference = world.u32[head] ?? 0;
    while (reference !== 0) {
      if (linked[reference - 1] === true) return "a record is linked twice (L4)";
      linked[reference - 1] = true;
      if (words[(reference - 1) * RECORD_WORDS] === 0) return "a free record is linked";
      reference = words[(reference - 1) * RECORD_WORDS + 1] ?? 0;
    }
  }
  const present = [...linked.keys()].filter((index) => linked[index] === true);
  const wrong =
    brokenPairs(words, present) ??
    present
      .filter((index) => beliefs.linked?.[index] === false)
      .map((index) => overtaken(words, present, index))
      .find((each) => each !== undefined);
  beliefs.linked = linked;
  return wrong;
}

interface Seen {
  readonly owner: number;
  readonly field2: number;
  readonly held: number;
  readonly awaited: number;
}

function seen(words: Uint32Array, index: number): Seen {
  const at = index * RECORD_WORDS;
  const word = words[at] ?? 0;
  const moving = (word & RECORD_MOVING) !== 0;
  return {
    owner: word & OWNER_MASK,
    field2: words[at + RECORD_TAG_OFFSET / 4 + 1] ?? 0,
    held: moving ? 0 : (word >>> RECORD_HOLD_SHIFT) & MODES,
    awaited: (word & RECORD_WAIT_MASK) >>> RECORD_WAIT_SHIFT,
  };
}

function modesOf(mask: number): number[] {
  return [1, 2, 3, 4, 5, 6, 7, 8].filter((mode) => (mask & (1 << mode)) !== 0);
}

function brokenPairs(words: Uint32Array, present: readonly number[]): string | undefined {
  for (const [place, one] of present.entries()) {
    const first = seen(words, one);
    for (const two of present.slice(place + 1)) {
      const second = seen(words, two);
      if (first.field2 !== second.field2 || first.owner === second.owner) continue;
      const excluded = modesOf(first.held).some((mode) =>
        modesOf(second.held).some((other) => conflict(mode, other)),
      );
      if (excluded) return `records ${one} and ${two} exclude each other (L3)`;
      if (first.awaited === 0 || second.awaited === 0) continue;
      const low = (index: number): number => words[index * RECORD_WORDS + TICKET_WORD] ?? 0;
      const high = (index: number): number => words[index * RECORD_WORDS + TICKET_WORD + 1] ?? 0;
      if (low(one) === low(two) && high(one) === high(two)) return "two have one ticket (L5)";
    }
  }
  return undefined;
}

function overtaken(
  words: Uint32Array,
  present: readonly number[],
  index: number,
): string | undefined {
  const mine = seen(words, index);
  const passed = present
    .map((other) => seen(words, other))
    .find(
      ({ owner, field2, awaited }) =>
        owner !== mine.owner &&
        field2 === mine.field2 &&
        modesOf(mine.held).some((mode) => awaited !== 0 && conflict(mode, awaited)),
    );
  return passed === undefined ? undefined : `slot ${passed.owner - 1} was passed by (L6)`;
}

/** What is left over when a schedule has ended, or undefined. */
export function leftOfLocks(engine: Engine): string | undefined {
  const { world } = engine;
  const some = (part: number): boolean => {
    const [start, bytes] = world.part(part);
    return world.u32.subarray(start >>> WORD_SHIFT, (start + bytes) >>> WORD_SHIFT).some(Boolean);
  };
  const words = records(world);
  for (let at = 0; at < words.length; at += RECORD_WORDS) {
    if (words[at] !== 0) return `record ${at / RECORD_WORDS} is left: ${words[at]?.toString(16)}`;
  }
  if (some(PART_LOCK_TABLE)) return "a chain is left";
  if (some(PART_STRONG)) return "a strong flag is left";
  if (some(PART_LOCK_PARTITIONS)) return "a lock partition is locked";
  return entryLeft(world) ?? leftOver(engine);
}

function entryLeft(world: World): string | undefined {
  const [start, bytes] = world.part(PART_FAST_PATH);
  const stride = bytes / world.slots / 4;
  for (let slot = 0; slot < world.slots; slot += 1) {
    const first = (start >>> WORD_SHIFT) + slot * stride + LOCK_STATE_BYTES / 4;
    for (let at = first; at < first + stride - LOCK_STATE_BYTES / 4; at += 1) {
      if (world.u32[at] !== 0) return `an entry of the fast path of slot ${slot} is left`;
    }
  }
  return undefined;
}
