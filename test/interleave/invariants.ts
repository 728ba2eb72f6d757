// What must be true after every step, read straight from memory: the invariants of the protocol.
//
//   I1  a pinned page's frame keeps its page           I5  IO: mapped and linked; a write is shared
//   I2  mapped ⇔ linked in its own chain, once         I6  not dirty: the same bytes in storage
//   I3  claimed for good: holds nothing                I7  every chain ends
//   I4  a claim on a mapped frame takes nothing away: I2, I5 and I6 hold as before it
//
// Besides: a valid frame holds the page of its tag, whole unless somebody has it exclusively; an
// owner is there exactly when a claim or an I/O is, one of both; a lock's owner holds the buffer;
// the frames of a request to an I/O worker are whose its phase says (requests.ts).

import {
  BUFFER_PARTITIONS,
  CACHE_LINE_BYTES,
  HOLD_COUNT_MASK,
  HOLD_SHARE,
  LIFE_ACTIVE,
  LIFE_FREE,
  LIFE_STATE_MASK,
  NAMED_LOCKS,
  OWNER_MASK,
  REGION_JOURNALLED_OFFSET,
  SLOT_BYTES,
  SLOT_CHANGING_OFFSET,
  SLOT_SLEEPING_ON_OFFSET,
  STATE_CLAIM,
  STATE_DIRTY,
  STATE_IO,
  STATE_IO_WAITERS,
  STATE_JUST_DIRTIED,
  STATE_TAG_VALID,
  STATE_VALID,
  STATE_WRITING,
} from "../../assembly/common/constants.ts";
import type { Engine } from "./engine.ts";
import { FILE, identityOf, OTHER_FILE } from "./medium.ts";
import { brokenRequest, requestLeft } from "./requests.ts";
import {
  FIELD_BLOCK,
  FIELD_CONTENT,
  FIELD_FILE,
  FIELD_NEXT,
  WORD_SHIFT,
  type World,
} from "./world.ts";

/** As assembly/common/hash.ts; repeated, so that a mistake there is not copied here. */
function hashOf(file: number, block: number): number {
  let hash = Math.imul(file, 0x85ebca6b) ^ Math.imul(block, 0x9e3779b1);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** Chains in which each buffer was found, and the last of them; reused by every check. */
const times = new Uint8Array(16);
const chain = new Int32Array(16);

/** What is wrong after a step, or undefined. */
export function brokenInvariant(engine: Engine): string | undefined {
  const { world } = engine;
  const ends = walkChains(world);
  if (ends !== undefined) return ends;
  for (let buffer = 0; buffer < world.buffers; buffer += 1) {
    const state = world.state(buffer);
    const wrong = brokenState(world, buffer, state) ?? brokenPage(engine, buffer, state);
    if (wrong !== undefined) return `buffer ${buffer}, state ${state.toString(16)}: ${wrong}`;
  }
  return brokenPin(engine) ?? brokenChange(world) ?? brokenRequest(engine) ?? brokenJournal(engine);
}

/** What a crash now would bring back wrong: the state of the last checkpoint, all pages of it. */
function brokenJournal({ world, ledger }: Engine): string | undefined {
  if (!world.medium.touched || world.u32[REGION_JOURNALLED_OFFSET >>> WORD_SHIFT] === 0) return;
  world.medium.touched = false;
  return ledger.cuts.wrongAfterCrash();
}

function walkChains(world: World): string | undefined {
  const { u32, buffers } = world;
  const heads = world.at.heads >>> WORD_SHIFT;
  times.fill(0);
  for (let head = 0; head <= world.at.headMask; head += 1) {
    let reference = u32[heads + head] ?? 0;
    for (let steps = 0; reference !== 0; steps += 1) {
      if (steps === buffers || reference > buffers) return `chain ${head} does not end`;
      times[reference - 1] = (times[reference - 1] ?? 0) + 1;
      chain[reference - 1] = head;
      reference = u32[world.descriptor(reference - 1, FIELD_NEXT)] ?? 0;
    }
  }
  return undefined;
}

function brokenState(world: World, buffer: number, state: number): string | undefined {
  const has = (bits: number): boolean => (state & bits) !== 0;
  const owner = state & OWNER_MASK;
  const mapped = has(STATE_TAG_VALID);
  if ((owner !== 0) !== has(STATE_CLAIM | STATE_IO)) return "owner without claim or I/O";
  if (has(STATE_CLAIM) && has(STATE_IO)) return "claim and I/O at once";
  if ((times[buffer] ?? 0) > 1) return "linked twice (I2)";
  if (mapped && times[buffer] === 0) return "mapped and not linked (I2)";
  if (!mapped && times[buffer] !== 0 && !has(STATE_CLAIM)) return "linked and not mapped (I2)";
  if (!mapped && has(STATE_VALID | STATE_DIRTY)) return "holds something unmapped (I3)";
  if (has(STATE_IO) && !mapped) return "I/O on a frame without a page (I5)";
  // A page that is cleared instead of read is dirty before it is valid, while it is in I/O.
  const held = has(STATE_VALID | STATE_IO);
  if (has(STATE_DIRTY) && !held) return "dirty and not valid (I6)";
  if (has(STATE_JUST_DIRTIED) && !held) return "just dirtied and not valid (I6)";
  if (!has(STATE_WRITING)) return undefined;
  if (!has(STATE_IO) || !has(STATE_VALID)) return "written without I/O or content (I5)";
  return (world.hold(owner - 1, buffer) & HOLD_SHARE) === 0 ? "written unlocked (I5)" : undefined;
}

/** What is wrong with the page that a mapped frame holds. */
function brokenPage(engine: Engine, buffer: number, state: number): string | undefined {
  const { world } = engine;
  const { u32 } = world;
  const { marks: storage } = world.medium;
  const content = (u32[world.descriptor(buffer, FIELD_CONTENT)] ?? 0) & OWNER_MASK;
  if (content !== 0 && (world.hold(content - 1, buffer) & HOLD_COUNT_MASK) === 0) {
    return "locked by somebody who does not hold it";
  }
  if ((state & STATE_TAG_VALID) === 0) return undefined;
  const file = u32[world.descriptor(buffer, FIELD_FILE)] ?? 0;
  const block = u32[world.descriptor(buffer, FIELD_BLOCK)] ?? 0;
  if ((hashOf(file, block) & world.at.headMask) !== chain[buffer]) return "in a wrong chain (I2)";
  for (let other = 0; other < buffer; other += 1) {
    if ((world.state(other) & STATE_TAG_VALID) === 0) continue;
    const same =
      u32[world.descriptor(other, FIELD_FILE)] === file &&
      u32[world.descriptor(other, FIELD_BLOCK)] === block;
    if (same) return `block ${block} is in buffer ${other} as well (I2)`;
  }
  if ((state & STATE_VALID) === 0) return undefined;
  const first = world.frame(buffer, 0);
  const second = world.frame(buffer, 1);
  const identity = identityOf(file, block);
  const zeroes = engine.ledger.mayBeZero(file, block);
  for (const half of [first, second]) {
    const found = u32[half];
    if (found !== identity && !(zeroes && found === 0)) return `holds no block ${block} (I1)`;
  }
  const version = u32[first + 1];
  if (version !== u32[second + 1] && content === 0) return `block ${block} is torn`;
  // What is left of a relation without a name is nobody's: it is never read again.
  if ((state & STATE_DIRTY) !== 0 || engine.ledger.isDropped(file)) return undefined;
  const stored = world.stored(file, block, 0);
  const clean =
    u32[first] === storage[stored] &&
    version === storage[stored + 1] &&
    u32[second + 1] === storage[stored + 3];
  return clean ? undefined : `block ${block} is clean and not what storage has (I6)`;
}

function brokenPin({ world, ledger, fibers }: Engine): string | undefined {
  for (let fiber = 1; fiber < fibers.length; fiber += 1) {
    const pins = ledger.pins[fiber] ?? [];
    const slot = fibers[fiber]?.slot ?? 0;
    for (let index = 0; index < pins.length; index += 1) {
      const { buffer = 0, file, block } = pins[index] ?? {};
      const stays =
        (world.state(buffer) & (STATE_TAG_VALID | STATE_VALID)) ===
          (STATE_TAG_VALID | STATE_VALID) &&
        world.u32[world.descriptor(buffer, FIELD_FILE)] === file &&
        world.u32[world.descriptor(buffer, FIELD_BLOCK)] === block;
      if (!stays) return `pinned buffer ${buffer} no longer has block ${block} (I1)`;
      if (world.hold(slot, buffer) === 0) return `a pin on buffer ${buffer} is gone`;
    }
  }
  return undefined;
}

/** A page that is being changed is locked by who changes it. */
function brokenChange(world: World): string | undefined {
  for (let slot = 0; slot < world.slots; slot += 1) {
    const at = world.at.slots + slot * SLOT_BYTES + SLOT_CHANGING_OFFSET;
    const changing = world.u32[at >>> WORD_SHIFT] ?? 0;
    if (changing === 0) continue;
    const content = world.u32[world.descriptor(changing - 1, FIELD_CONTENT)] ?? 0;
    if ((content & OWNER_MASK) !== slot + 1) return `buffer ${changing - 1} is changed unlocked`;
  }
  return undefined;
}

/** What is left over when a schedule has ended, or undefined: the closing conditions. */
export function leftOver(engine: Engine): string | undefined {
  const { world } = engine;
  const word = (address: number): number => world.u32[address >>> WORD_SHIFT] ?? 0;
  for (let buffer = 0; buffer < world.buffers; buffer += 1) {
    const state = world.state(buffer);
    if ((state & (OWNER_MASK | STATE_IO_WAITERS)) !== 0) return `buffer ${buffer} is at work`;
    if ((word(world.descriptor(buffer, FIELD_CONTENT) << WORD_SHIFT) & OWNER_MASK) !== 0) {
      return `buffer ${buffer} is locked`;
    }
    for (let slot = 0; slot < world.slots; slot += 1) {
      if (world.hold(slot, buffer) !== 0) return `buffer ${buffer} is held by slot ${slot}`;
    }
  }
  for (let index = 0; index < BUFFER_PARTITIONS; index += 1) {
    const partition = word(world.at.partitions + index * CACHE_LINE_BYTES);
    if (partition !== 0) return `partition ${index} is locked: ${partition.toString(16)}`;
  }
  for (let index = 0; index < NAMED_LOCKS; index += 1) {
    if (word(world.at.locks + index * CACHE_LINE_BYTES) !== 0) return `lock ${index} is held`;
  }
  return requestLeft(world) ?? leftInSlots(world) ?? unreadable(engine);
}

function leftInSlots(world: World): string | undefined {
  for (let slot = 0; slot < world.slots; slot += 1) {
    const at = world.at.slots + slot * SLOT_BYTES;
    const life = (world.u32[at >>> WORD_SHIFT] ?? 0) & LIFE_STATE_MASK;
    if (life !== LIFE_FREE && life !== LIFE_ACTIVE) return `slot ${slot} is in state ${life}`;
    const word = (offset: number): number => world.u32[(at + offset) >>> WORD_SHIFT] ?? 0;
    const sleepingOn = word(SLOT_SLEEPING_ON_OFFSET);
    // An I/O worker may sleep.
    const rests = sleepingOn === 0 || sleepingOn === world.at.queue;
    if (word(SLOT_CHANGING_OFFSET) !== 0 || !rests) return `slot ${slot} is not at rest`;
  }
  return undefined;
}

/** Whether some page is not what its changes made it, in the pool or else in storage. */
function unreadable({ world, ledger }: Engine): string | undefined {
  const { lengths } = world.medium;
  for (const file of [FILE, OTHER_FILE]) {
    if (ledger.isGone(file) && isMapped(world, file)) return "a page of a dropped relation is left";
    if (ledger.isDropped(file)) continue;
    for (let block = 0; block < world.baseline.length / 2; block += 1) {
      const versions = [0, 1].map((half) => versionOf(world, file, block, half));
      if (ledger.mayBeZero(file, block) || block >= (lengths[file === FILE ? 0 : 1] ?? 0)) continue;
      if (versions[0] !== versions[1]) return `block ${block} is torn: ${versions.join(" and ")}`;
      const wrong = ledger.wrongVersion(file, block, versions[0] ?? 0);
      if (wrong !== undefined) return wrong;
    }
  }
  return undefined;
}

function isMapped(world: World, file: number): boolean {
  for (let buffer = 0; buffer < world.buffers; buffer += 1) {
    if ((world.state(buffer) & STATE_TAG_VALID) === 0) continue;
    if (world.u32[world.descriptor(buffer, FIELD_FILE)] === file) return true;
  }
  return false;
}

function versionOf(world: World, file: number, block: number, half: number): number {
  for (let buffer = 0; buffer < world.buffers; buffer += 1) {
    const found =
      (world.state(buffer) & STATE_VALID) !== 0 &&
      world.u32[world.descriptor(buffer, FIELD_FILE)] === file &&
      world.u32[world.descriptor(buffer, FIELD_BLOCK)] === block;
    if (found) return world.u32[world.frame(buffer, half) + 1] ?? 0;
  }
  return world.medium.marks[world.stored(file, block, half) + 1] ?? 0;
}
