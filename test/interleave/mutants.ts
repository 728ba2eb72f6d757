// Mistakes planted in the sources, to see that the searches find them: each a replacement in one
// file of assembly/, compiled in this process into a simulation build of its own.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { ST_MISS } from "../../assembly/common/constants.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { type WasmModule, wasm } from "../../bindings/abi/wasm-types.ts";
import { Journal, type PageWrite } from "../../bindings/shared/journal.ts";
import { PageIo, type PageIoParts } from "../../bindings/shared/page-io.ts";
import type { Routine } from "../../bindings/shared/routine.ts";
import {
  type Configuration,
  durablePairs,
  durableTrios,
  engineFor,
  importantPairs,
  larger,
  locking,
  narrow,
  pair,
  pairs,
} from "./configurations.ts";
import { type Plants, plant } from "./parts.ts";
import { ScheduleError } from "./schedule.ts";
import { type Bounds, OutOfTime, searchAll, searchByChance } from "./search.ts";
import { simulationModule } from "./world.ts";

interface Patch {
  /** Below assembly/. */
  readonly file: string;
  /** Occurs once. */
  readonly find: string;
  readonly put: string;
}

/** A planted mistake. */
export interface Mutant {
  readonly name: string;
  readonly patches: readonly Patch[];
  /** Mistakes in TypeScript, put in the place of what is right. */
  readonly plants?: Plants;
  /** Why no schedule can tell it from the right thing; such a one must not be found. */
  readonly harmless?: string;
}

function mutant(name: string, file: string, find: string, put: string): Mutant {
  return { name, patches: [{ file, find, put }] };
}

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
  ),
  mutant(
    "an eviction commits by a plain store",
    "buffer/evict.ts",
    "if (!Hold.byOthers(buffer) && desc.swapState(marked, Evict.claimed())) return true;",
    "if (!Hold.byOthers(buffer)) {\n      desc.setState(Evict.claimed());\n      return true;\n    }",
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
    "} else if (desc.swapState(seen, seen | STATE_IO_WAITERS)) {\n        Sleep.prepare(desc.stateAddress(), seen | STATE_IO_WAITERS);",
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
    "if ((Atomic.load16(hold) & HOLD_SHARE) != 0) return Sleep.prepare(word, seen, ST_DRAIN);",
    "return Sleep.prepare(word, seen, ST_DRAIN);",
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
    "a checkpoint writes a page that it does not hold",
    "buffer/checkpoint.ts",
    "    Hold.raise(buffer);\n    let result = Checkpoint.beginHeld(desc, buffer, wanted, mayWait != 0);",
    "    Hold.raise(buffer);\n    Pin.lower(buffer);\n    let result = Checkpoint.beginHeld(desc, buffer, wanted, mayWait != 0);\n    Hold.raise(buffer);",
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

/** Mistakes in what the deepened protocol added. */
export const newMutants: readonly Mutant[] = [
  mutant(
    "whoever gives back a pin does not wake who waits for a cleanup lock",
    "buffer/pin.ts",
    "    if ((BufferDesc.at(buffer).getState() & STATE_PIN_WAITER) != 0) Cleanup.wake(buffer);",
    "    if (buffer == 0x7fffffff) Cleanup.wake(buffer);",
  ),
  mutant(
    "who waits for a cleanup lock says so after its last look",
    "buffer/cleanup.ts",
    "    if (!Hold.byOthers(buffer)) return Cleanup.settled(buffer);\n    ContentLock.dropExclusive(buffer);\n    return Sleep",
    "    ContentLock.dropExclusive(buffer);\n    return Sleep",
  ),
  mutant(
    "a cleanup lock does not look at the pins of others",
    "buffer/cleanup.ts",
    "    if (!Hold.byOthers(buffer)) return Cleanup.settled(buffer);\n    const slot",
    "    if (buffer != 0x7fffffff) return Cleanup.settled(buffer);\n    const slot",
  ),
  mutant(
    "a change says in which interval it is after it stands",
    "buffer/change.ts",
    "      desc.changed = interval;\n    }\n    slot.setChanging(0);",
    "    }\n    slot.setChanging(0);\n    Region.get().getInterval();\n    desc.changed = interval;",
  ),
  mutant(
    "a change looks at the interval after it stands",
    "buffer/change.ts",
    "    const interval = Region.get().getInterval();\n    if (desc.changed != interval) {\n      if (slot.dirtyBefore != 0 && Region.get().journalled != 0) return ST_JOURNAL;\n      desc.changed = interval;\n    }\n    slot.setChanging(0);",
    "    const before = Region.get().getInterval();\n    if (desc.changed != before && slot.dirtyBefore != 0 && Region.get().journalled != 0) return ST_JOURNAL;\n    slot.setChanging(0);\n    desc.changed = Region.get().getInterval();",
  ),
  mutant(
    "a page that a checkpoint must keep is changed without asking for the journal",
    "buffer/change.ts",
    "      if (slot.dirtyBefore != 0 && Region.get().journalled != 0) return ST_JOURNAL;\n",
    "",
  ),
  mutant(
    "no image goes into the journal of a running checkpoint",
    "buffer/io.ts",
    "      needed |= IMAGE_CURRENT;",
    "      needed |= 0;",
  ),
  mutant(
    "no image goes into the journal of the last checkpoint",
    "buffer/io.ts",
    "let needed: u32 = desc.isImaged(committed) ? 0 : IMAGE_COMMITTED;",
    "let needed: u32 = 0;",
  ),
  mutant(
    "a checkpoint passes every page by",
    "buffer/checkpoint.ts",
    "    return desc.changed == region.getInterval();",
    "    return true;",
  ),
  {
    ...mutant(
      "a checkpoint passes no page by",
      "buffer/checkpoint.ts",
      "    return desc.changed == region.getInterval();",
      "    return false;",
    ),
    harmless:
      "a page changed after the cut is written behind its image in the new journal, as ever",
  },
  {
    ...mutant(
      "a checkpoint collects pages whatever interval they are of",
      "buffer/checkpoint.ts",
      "      if ((seen & STATE_DIRTY) == 0 || Checkpoint.isPassed(desc, STATE_CHECKPOINT_NEEDED)) {",
      "      if ((seen & STATE_DIRTY) == 0) {",
    ),
    harmless: "it is passed by when its turn comes",
  },
  mutant(
    "what is known of a page's images outlives its frame",
    "buffer/desc.ts",
    "    this.imagedEven = 0;\n    this.imagedOdd = 0;",
    "",
  ),
  mutant(
    "a page that is cleared is clean",
    "buffer/io.ts",
    "    desc.changeState(0, STATE_DIRTY | STATE_JUST_DIRTIED);\n    desc.changed",
    "    desc.changed",
  ),
  mutant(
    "a page that is cleared looks at the interval before it is dirty",
    "buffer/io.ts",
    "    desc.changeState(0, STATE_DIRTY | STATE_JUST_DIRTIED);\n    desc.changed = Region.get().getInterval();",
    "    desc.changed = Region.get().getInterval();\n    desc.changeState(0, STATE_DIRTY | STATE_JUST_DIRTIED);",
  ),
  mutant(
    "a frame that the dead was clearing stays dirty",
    "buffer/io.ts",
    "desc.changeState(END_OF_IO | DIRTY_BITS, STATE_IO_ERROR)",
    "desc.changeState(END_OF_IO, STATE_IO_ERROR)",
  ),
  planted("a page is written before its image is appended", {
    pageIo: (parts) => new LateIo(parts),
    journal: (...parts) => new LateJournal(...parts),
  }),
  planted("images are not made durable before their pages are written", {
    journal: (...parts) => new UnsyncedJournal(...parts),
  }),
  planted("an image is noted before it is appended", {
    exports: (x) => ({ ...x, imagesNeeded: (buffer) => notedTooEarly(x, buffer) }),
  }),
  planted("nobody asks whether a checkpoint whose backend died is committed", {
    journal: (...parts) => new UnsettledJournal(...parts),
  }),
  planted("truncating forgets pages that are not in the file", {
    exports: (x) => ({ ...x, nextDirty: () => ST_MISS }),
  }),
];

function planted(name: string, plants: Plants): Mutant {
  return { name, patches: [], plants };
}

class LateJournal extends Journal {
  override *protect(): Routine<void> {}

  *late(pages: readonly PageWrite[]): Routine<void> {
    yield* super.protect(pages);
  }
}

class LateIo extends PageIo {
  readonly #journal: LateJournal;

  constructor(parts: PageIoParts) {
    super(parts);
    this.#journal = parts.journal as LateJournal;
  }

  override *write(buffers: readonly number[], context: number): Routine<void> {
    const pages = buffers.map((buffer) => this.pageOf(buffer));
    yield* super.write(buffers, context);
    yield* this.#journal.late(pages);
  }
}

class UnsyncedJournal extends Journal {
  override *sync(): Routine<void> {}
}

class UnsettledJournal extends Journal {
  override *settle(): Routine<void> {}
}

function notedTooEarly(x: SharedExports, buffer: number): number {
  const needed = x.imagesNeeded(buffer);
  x.setImaged(buffer, 1);
  return needed;
}

// ── Compiling ────────────────────────────────────────────────────────────────────────────────────

const root = fileURLToPath(new URL("../../", import.meta.url));
const SOURCE = /^(?:\.\/)?assembly\/(.*)$/;

/** The simulation build with a mistake in it. @throws if a patch does not match exactly once */
export async function compileMutant({ name, patches }: Mutant): Promise<WasmModule> {
  if (patches.length === 0) return simulationModule();
  const applied = new Set<Patch>();
  let bytes: Uint8Array | undefined;
  const arguments_ = ["assembly/shared.ts", "--target", "shared-simulation", "--baseDir", root];
  const { error, stderr } = await asc.main(arguments_, {
    readFile: (file: string) => readPatched(file, patches, applied),
    writeFile: (file: string, contents: string | Uint8Array) => {
      if (file.endsWith(".wasm") && typeof contents !== "string") bytes = contents;
    },
    listFiles: () => [],
  });
  if (error !== null) throw new Error(`${name}: ${error.message}${stderr.toString()}`);
  if (applied.size !== patches.length || bytes === undefined) throw new Error(`${name}: unapplied`);
  return new wasm.Module(bytes);
}

function readPatched(file: string, patches: readonly Patch[], applied: Set<Patch>): string | null {
  let text: string;
  try {
    text = readFileSync(`${root}${file}`, "utf8");
  } catch {
    return null;
  }
  const [, source] = SOURCE.exec(file) ?? [];
  for (const patch of patches.filter((each) => each.file === source)) {
    const [before, after, ...more] = text.split(patch.find);
    if (after === undefined || more.length > 0) {
      throw new Error(`${patch.file} does not have exactly once: ${patch.find}`);
    }
    text = `${before}${patch.put}${after}`;
    applied.add(patch);
  }
  return text;
}

// ── Hunting ──────────────────────────────────────────────────────────────────────────────────────

/** Where a mistake was found. */
export interface Find {
  readonly configuration: string;
  readonly bounds: string;
  readonly error: ScheduleError;
  readonly schedules: number;
  readonly milliseconds: number;
}

interface Stage {
  readonly of: readonly Configuration[];
  readonly bounds: Bounds;
  /** For one configuration. */
  readonly milliseconds: number;
}

const trios = larger.filter(({ backends }) => backends.length > 2);
const leavers = trios.filter(({ name }) => name.includes("leave"));
const brief = [pair("hit", "change"), pair("change", "change")];
const stages: readonly Stage[] = [
  { of: importantPairs, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 2_000 },
  { of: importantPairs, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 2_000 },
  { of: narrow, bounds: { preemptions: 2, deaths: 0 }, milliseconds: 5_000 },
  { of: brief, bounds: { preemptions: 2, deaths: 0 }, milliseconds: 5_000 },
  { of: leavers, bounds: { preemptions: 1, deaths: 1 }, milliseconds: 10_000 },
  { of: narrow.slice(2, 3), bounds: { preemptions: 3, deaths: 0 }, milliseconds: 30_000 },
  { of: pairs, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 2_000 },
  { of: trios, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 5_000 },
  { of: pairs, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 2_000 },
  { of: trios, bounds: { preemptions: 1, deaths: 1 }, milliseconds: 10_000 },
  { of: importantPairs, bounds: { preemptions: 2, deaths: 0 }, milliseconds: 8_000 },
];

const CHANCE_STEPS = 300_000;

const newStages: readonly Stage[] = [
  { of: locking, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 1_000 },
  { of: locking.slice(0, 1), bounds: { preemptions: 2, deaths: 0 }, milliseconds: 5_000 },
  { of: durablePairs, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 500 },
  { of: durablePairs, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 700 },
  { of: locking, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 500 },
  { of: durablePairs, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 5_000 },
  { of: durableTrios, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 5_000 },
];

/**
 * Searches with growing bounds, then by chance; undefined when time is up and nothing found.
 *
 * @param module - compiled from the mutant
 */
export function hunt(
  mutant: Mutant,
  module: WasmModule,
  milliseconds: number,
  seed: number,
): Find | undefined {
  plant(mutant.plants);
  try {
    return newMutants.includes(mutant)
      ? huntIn(newStages, [...durableTrios, ...durablePairs], module, milliseconds, seed)
      : huntIn(stages, [...larger, ...importantPairs], module, milliseconds, seed);
  } finally {
    plant();
  }
}

function huntIn(
  order: readonly Stage[],
  byChance: readonly Configuration[],
  module: WasmModule,
  milliseconds: number,
  seed: number,
): Find | undefined {
  const begin = performance.now();
  let schedules = 0;
  const spent = (): number => performance.now() - begin;
  for (const { of, bounds, milliseconds: each } of order) {
    for (const configuration of of) {
      if (spent() > milliseconds) return undefined;
      const engine = engineFor(configuration, module);
      const limit = { milliseconds: Math.min(each, milliseconds - spent()) };
      const error = failureOf(() => searchAll(engine, bounds, limit));
      schedules += engine.schedules;
      const where = `${bounds.preemptions} preemptions, ${bounds.deaths} deaths`;
      if (error !== undefined) {
        return found(configuration, where, error, schedules, spent());
      }
    }
  }
  for (let round = 0; spent() < milliseconds; round += 1) {
    for (const configuration of byChance) {
      const engine = engineFor(configuration, module);
      const chances = { seed: seed + round, steps: CHANCE_STEPS, deaths: 1 };
      const error = failureOf(() => searchByChance(engine, chances));
      schedules += engine.schedules;
      if (error !== undefined) return found(configuration, "chance", error, schedules, spent());
    }
  }
  return undefined;
}

function found(
  { name }: Configuration,
  bounds: string,
  error: ScheduleError,
  schedules: number,
  milliseconds: number,
): Find {
  return { configuration: name, bounds, error, schedules, milliseconds };
}

function failureOf(search: () => unknown): ScheduleError | undefined {
  try {
    search();
  } catch (error) {
    if (error instanceof ScheduleError) return error;
    if (!(error instanceof OutOfTime)) throw error;
  }
  return undefined;
}
