// Mistakes planted in the sources, to see that the searches find them (hunt.ts): each a
// replacement in one file of assembly/. Those of the journal, of cleanup locks and of cleared
// pages, and those in TypeScript, stand in new-mutants.ts.

import { type Configuration, durable, leavingLast, narrow, pair } from "./configurations.ts";
import type { Plants } from "./parts.ts";
import type { Bounds } from "./search.ts";

/** A replacement in one file. */
export interface Patch {
  /** Below assembly/. */
  readonly file: string;
  /** Occurs once. */
  readonly find: string;
  readonly put: string;
}

/** Where a mistake is hunted: these configurations one after another, to these bounds. */
export interface Stage {
  readonly of: readonly Configuration[];
  readonly bounds: Bounds;
  /** For one configuration. */
  readonly milliseconds: number;
}

/** A planted mistake. */
export interface Mutant {
  readonly name: string;
  readonly patches: readonly Patch[];
  /** Mistakes in TypeScript, put in the place of what is right. */
  readonly plants?: Plants;
  /** Where it is hunted first, if few configurations can show it. */
  readonly hunted?: readonly Stage[];
  /** Why no schedule can tell it from the right thing; such a one must not be found. */
  readonly harmless?: string;
}

/** A mistake in one place of assembly/. */
export function mutant(
  name: string,
  file: string,
  find: string,
  put: string,
  hunted?: readonly Stage[],
): Mutant {
  return { name, patches: [{ file, find, put }], ...(hunted && { hunted }) };
}

/** A mistake in TypeScript. */
export function planted(name: string, plants: Plants): Mutant {
  return { name, patches: [], plants };
}

const MINUTE_MS = 60_000;

/** A change of the page in the only buffer, and a pin of another one, in most detail. */
const oneBuffer: readonly Stage[] = [
  { of: narrow.slice(2, 3), bounds: { preemptions: 3, deaths: 0 }, milliseconds: MINUTE_MS },
];
const readAndPin: readonly Stage[] = [
  { of: narrow.slice(1, 2), bounds: { preemptions: 2, deaths: 0 }, milliseconds: MINUTE_MS },
];
const withLeaver: readonly Stage[] = [
  { of: [leavingLast], bounds: { preemptions: 1, deaths: 1 }, milliseconds: MINUTE_MS },
];
const missAndDrop: readonly Stage[] = [
  { of: [pair("miss", "drop")], bounds: { preemptions: 2, deaths: 0 }, milliseconds: MINUTE_MS },
];
const twoCheckpoints: readonly Stage[] = [
  {
    of: [durable("checkpoint", "checkpoint")],
    bounds: { preemptions: 0, deaths: 0 },
    milliseconds: MINUTE_MS,
  },
];

/** The mistakes that every harness of this protocol has to find. */
export const mutants: readonly Mutant[] = [
  mutant(
    "a pin is not checked after it was stored",
    "buffer/pool.ts",
    "if ((seen & (STATE_CLAIM | STATE_VALID)) == STATE_VALID && desc.isTagged(tag)) {",
    "if ((seen & (STATE_CLAIM | STATE_VALID)) != 0x7fffffff) {",
  ),
  mutant(
    "a claim does not look at hold words",
    "buffer/evict.ts",
    "if (!Hold.byOthers(buffer) && desc.swapState(marked, Evict.claimed())) return true;",
    "if (desc.swapState(marked, Evict.claimed())) return true;",
    readAndPin,
  ),
  mutant(
    "an eviction commits by a plain store",
    "buffer/evict.ts",
    "if (!Hold.byOthers(buffer) && desc.swapState(marked, Evict.claimed())) return true;",
    "if (!Hold.byOthers(buffer)) {\n      desc.setState(Evict.claimed());\n      return true;\n    }",
    oneBuffer,
  ),
  {
    name: "the tag is written after the frame was published",
    patches: [
      {
        file: "buffer/pool.ts",
        find: "    BufferDesc.at(victim).setTag(file, block);\n    if (!partition.acquire()) {",
        put: "    if (!partition.acquire()) {",
      },
      {
        file: "buffer/pool.ts",
        find: "USAGE_ONE | Self.owner());\n    partition.release();",
        put: "USAGE_ONE | Self.owner());\n    BufferDesc.at(victim).setTag(file, block);\n    partition.release();",
      },
    ],
  },
  mutant(
    "no second search before a frame is linked",
    "buffer/pool.ts",
    "const found = BufferTable.find(hash, file, block);",
    "const found = NO_BUFFER;",
  ),
  {
    name: "dirty pages are evicted without being written",
    patches: [
      {
        file: "buffer/evict.ts",
        find: "if ((BufferDesc.at(buffer).getState() & STATE_DIRTY) == 0) return",
        put: "if (buffer != 0x7fffffff) return",
      },
      {
        file: "buffer/evict.ts",
        find: "if (free && (seen & (OWNER_MASK | USAGE_MASK | STATE_DIRTY)) == 0) {",
        put: "if (free && (seen & (OWNER_MASK | USAGE_MASK)) == 0) {",
      },
    ],
  },
  mutant(
    "who waits for a read is not woken",
    "buffer/io.ts",
    "if ((seen & STATE_IO_WAITERS) != 0) Atomic.notifyAll(desc.stateAddress());",
    "if (seen == 1) Atomic.notifyAll(desc.stateAddress());",
  ),
  mutant(
    "a sleeper does not say that it sleeps",
    "buffer/pool.ts",
    "} else if (desc.swapState(seen, seen | STATE_IO_WAITERS)) {\n        Sleep.prepare(desc.stateAddress(), seen | STATE_IO_WAITERS, ST_WAIT, WAIT_BUFFER_IO);",
    "} else {\n        Sleep.prepare(desc.stateAddress(), seen);",
  ),
  {
    name: "a frame is published before it is linked",
    patches: [
      { file: "buffer/pool.ts", find: "    BufferTable.link(hash, victim);\n", put: "" },
      {
        file: "buffer/pool.ts",
        find: "USAGE_ONE | Self.owner());\n    partition.release();",
        put: "USAGE_ONE | Self.owner());\n    BufferTable.link(hash, victim);\n    partition.release();",
      },
    ],
  },
  mutant(
    "a frame is unlinked before its eviction commits",
    "buffer/evict.ts",
    "if (!Hold.byOthers(buffer) && desc.swapState(marked, Evict.claimed())) return true;",
    `if (!Hold.byOthers(buffer)) {
      const hash = Hash.tag(desc.file, desc.block);
      BufferTable.unlink(hash, buffer);
      if (desc.swapState(marked, Evict.claimed())) return true;
      BufferTable.link(hash, buffer);
    }`,
  ),
];

/** Other mistakes, as somebody might make them. */
export const otherMutants: readonly Mutant[] = [
  mutant(
    "an evicted frame stays linked",
    "buffer/evict.ts",
    "if (taken) BufferTable.unlink(hash, buffer);",
    "",
  ),
  mutant(
    "a claim that is taken back puts back the state as it was seen",
    "buffer/evict.ts",
    "desc.changeState(Evict.claimed(), 0);\n    return false;",
    "desc.setState(seen);\n    return false;",
    oneBuffer,
  ),
  mutant(
    "a share taker who backs off does not look for a drain",
    "buffer/content.ts",
    "if ((Atomic.load(word) & OWNER_MASK) == 0) return true;\n    ContentLock.dropShare(buffer);",
    "if ((Atomic.load(word) & OWNER_MASK) == 0) return true;\n    Hold.set(buffer, Hold.get(buffer) & ~HOLD_SHARE);",
  ),
  mutant(
    "who drains does not look again before it sleeps",
    "buffer/content.ts",
    "if ((Atomic.load16(hold) & HOLD_SHARE) != 0) return ContentLock.wait(word, seen, ST_DRAIN);",
    "return ContentLock.wait(word, seen, ST_DRAIN);",
  ),
  mutant(
    "an exclusive lock does not wait for those who share",
    "buffer/content.ts",
    "return ContentLock.drain(buffer);",
    "return ST_OK;",
  ),
  mutant(
    "a change is announced before the page is kept",
    "buffer/change.ts",
    "    Atomic.copyPage(BufferIo.shadowPage(me), BufferDesc.frame(buffer), BLOCK_BYTES);\n    slot.setChanging(buffer + 1);",
    "    slot.setChanging(buffer + 1);\n    Atomic.copyPage(BufferIo.shadowPage(me), BufferDesc.frame(buffer), BLOCK_BYTES);",
  ),
  mutant(
    "the reaper does not undo the change of the dead",
    "buffer/reap.ts",
    "    Change.restore(dead);\n",
    "    Slot.at(dead).setChanging(0);\n",
  ),
  mutant(
    "the reaper frees a claimed frame that is still mapped",
    "buffer/reap.ts",
    "else if ((state & STATE_TAG_VALID) != 0) desc.changeState(STATE_CLAIM | OWNER_MASK, 0);",
    "",
  ),
  mutant(
    "the reaper does not unlink a frame that was half linked",
    "buffer/reap.ts",
    "    BufferTable.unlink(hash, buffer);\n",
    "",
  ),
  mutant(
    "who leaves takes over the partition locks of the dead",
    "buffer/reap.ts",
    "      Reap.partition(index).handOver(dead + 1, Self.owner());",
    "      const held = Reap.partition(index).getOwner();\n      if (held != 0 && (Slot.at(held - 1).getLife() & 7) == 4) Reap.partition(index).handOver(held, Self.owner());",
    withLeaver,
  ),
  mutant(
    "who gives back a lock wakes nobody",
    "lmgr/owner.ts",
    "if ((Atomic.exchange(this.address(), 0) & LOCK_WAITERS) != 0) Atomic.notifyAll(this.address());",
    "Atomic.exchange(this.address(), 0);",
  ),
  mutant(
    "a dropped page is not asked whether somebody holds it",
    "buffer/drop.ts",
    "    if (Hold.byOthers(buffer)) {",
    "    if (buffer == 0x7fffffff) {",
  ),
  mutant(
    "a page is dropped by the look of its tag",
    "buffer/drop.ts",
    "if (BufferTable.find(hash, file, block) == <i32>buffer) {",
    "if (desc.isTagged(BufferDesc.tagOf(file, block)) && (desc.getState() & STATE_TAG_VALID) != 0) {",
    missAndDrop,
  ),
  mutant(
    "a checkpoint writes a page that it does not hold",
    "buffer/checkpoint.ts",
    "    Hold.raise(buffer);\n    let result = Checkpoint.beginHeld(desc, buffer, wanted, mayWait != 0);",
    "    Hold.raise(buffer);\n    Pin.lower(buffer);\n    let result = Checkpoint.beginHeld(desc, buffer, wanted, mayWait != 0);\n    Hold.raise(buffer);",
    twoCheckpoints,
  ),
  mutant(
    "a write's end unlocks before it says that it is done",
    "buffer/io.ts",
    "static finishWrite(buffer: u32, good: bool): void {\n",
    "static finishWrite(buffer: u32, good: bool): void {\n    ContentLock.dropShare(buffer);\n",
  ),
  {
    ...mutant(
      "a page that was dirtied during its write is clean after it",
      "buffer/io.ts",
      "else if ((seen & STATE_JUST_DIRTIED) == 0) next = BufferIo.cleaned(next);",
      "else next = BufferIo.cleaned(next);",
    ),
    harmless:
      "the share lock is held from the copy to the end: nobody can dirty the page meanwhile",
  },
  {
    ...mutant(
      "a candidate is not looked at again after it was guarded",
      "buffer/clocksweep.ts",
      "if (State.owner(seen) == 0 && (seen & USAGE_MASK) == 0) return true;",
      "return true;",
    ),
    harmless: "the claim looks at owner and usage by a compare-and-swap of the whole word",
  },
];
