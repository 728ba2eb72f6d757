// Small pools and what is done in them at the same time: every pair of operations, single ones on
// pages that others evict, and the few in which three matter.
//
// Each pool begins with known pages in it, some of them dirty, all without a use left, so that the
// next who needs a frame finds one at once.

import {
  BACKEND_IO_WORKER,
  BUFFER_MASK,
  ST_OK,
  USAGE_MASK,
} from "../../assembly/common/constants.ts";
import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import { Engine } from "./engine.ts";
import { brokenInvariant, leftOver } from "./invariants.ts";
import { FILE, OTHER_FILE } from "./medium.ts";
import {
  type Act,
  attaching,
  changing,
  checkpointing,
  cleaning,
  clearing,
  dropping,
  evicting,
  failing,
  flushing,
  inBatches,
  inTurn,
  leaving,
  naming,
  owner,
  pinning,
  reading,
  readingTwice,
  removing,
  scanning,
  truncating,
  trying,
  undoing,
  zeroing,
} from "./operations.ts";
import { parseSchedule } from "./schedule.ts";
import type { Setting, Watch } from "./setting.ts";
import type { Script } from "./steps.ts";
import { FIELD_STATE, type Shape, simulationModule, type World } from "./world.ts";

/** A page that is in the pool when a schedule begins. */
export interface Page {
  readonly block: number;
  readonly file?: number;
  readonly dirty?: boolean;
}

export interface Configuration {
  readonly name: string;
  readonly buffers: number;
  readonly pages: readonly Page[];
  readonly backends: readonly Script[];
  /** I/O workers, which come before the backends; where there are some, reads are queued. */
  readonly workers?: readonly Script[];
  /** Whether pages are written behind their old images only. */
  readonly journalled?: boolean;
  readonly shape?: Shape;
}

export const clean = (block: number): Page => ({ block });
export const dirty = (block: number): Page => ({ block, dirty: true });
const otherDirty: Page = { block: 0, file: OTHER_FILE, dirty: true };

/** Two buffers hold blocks 0 and 1; block 2 has to be read, and evicts one of them. */
export const hit = 0;
export const miss = 2;

/** Single operations, by the names under which they are paired. */
const operations: Readonly<Record<string, Script>> = {
  hit: inTurn(reading(hit)),
  miss: inTurn(reading(miss)),
  "other miss": inTurn(reading(3)),
  twice: inTurn(readingTwice(hit)),
  change: inTurn(changing(hit)),
  "change miss": inTurn(changing(miss)),
  fail: inTurn(failing(miss)),
  use: inTurn(reading(0, OTHER_FILE)),
  drop: inTurn(dropping()),
  leave: inTurn(leaving(hit)),
  named: inTurn(naming(0)),
  reattach: inTurn(leaving(), attaching(), pinning(hit)),
};

function pagesFor(names: readonly string[]): readonly Page[] {
  if (names.includes("use")) return [{ block: 0, file: OTHER_FILE }, clean(hit)];
  return names.includes("drop") ? [otherDirty, clean(hit)] : [dirty(hit), clean(1)];
}

/** What two backends do at the same time, each one operation. */
export function pair(one: string, two: string): Configuration {
  const scripts = [one, two].map((name) => operations[name]);
  return {
    name: `${one} + ${two}`,
    buffers: 2,
    pages: pagesFor([one, two]),
    backends: scripts.filter((script) => script !== undefined),
  };
}

const names = Object.keys(operations);

/** Two drops, and two that leave for good with one slot to come back to, are nobody's programs. */
export const pairs: readonly Configuration[] = names.flatMap((one, index) =>
  names
    .slice(index)
    .filter((two) => one !== "drop" || two !== "drop")
    .map((two) => pair(one, two)),
);

/** The pairs in which frames change hands. */
export const importantPairs: readonly Configuration[] = [
  pair("hit", "miss"),
  pair("miss", "miss"),
  pair("miss", "other miss"),
  pair("change", "miss"),
  pair("change", "change"),
  pair("hit", "change"),
  pair("miss", "drop"),
  pair("use", "drop"),
  pair("miss", "fail"),
];

/** One buffer, fought over: short enough for three preemptions. */
export const narrow: readonly Configuration[] = [
  narrowPair("pin + pin", pinning(hit), pinning(miss)),
  narrowPair("read + pin", reading(hit), pinning(miss)),
  narrowPair("change + pin", changing(hit), pinning(miss)),
  narrowPair("read + read", reading(miss), reading(miss)),
];

function narrowPair(name: string, ...acts: readonly Act[]): Configuration {
  const backends = acts.map((act) => inTurn(act));
  return { name: `one buffer: ${name}`, buffers: 1, pages: [clean(hit)], backends };
}

/** Two operations each, and three backends. */
export const larger: readonly Configuration[] = [
  {
    name: "change, read + read, read",
    buffers: 2,
    pages: [dirty(hit), clean(1)],
    backends: [inTurn(changing(hit), reading(miss)), inTurn(reading(miss), reading(hit))],
  },
  {
    name: "change, change + change, read",
    buffers: 2,
    pages: [dirty(hit), clean(1)],
    backends: [inTurn(changing(hit), changing(miss)), inTurn(changing(miss), reading(3))],
  },
  {
    name: "miss + change + other miss",
    buffers: 3,
    pages: [dirty(hit), clean(1)],
    backends: [inTurn(reading(miss)), inTurn(changing(hit)), inTurn(reading(3))],
  },
  {
    name: "miss + leave + miss",
    buffers: 3,
    pages: [dirty(hit), clean(1)],
    backends: [inTurn(reading(miss)), inTurn(leaving()), inTurn(reading(miss))],
  },
  {
    name: "fail + miss + other miss",
    buffers: 3,
    pages: [clean(hit)],
    backends: [inTurn(failing(miss)), inTurn(reading(miss)), inTurn(reading(3))],
  },
];

/** Two want a page in few buffers while a third leaves. */
export const leavingLast: Configuration = {
  name: "two buffers: miss + miss + leave",
  buffers: 2,
  pages: [clean(1)],
  backends: [inTurn(reading(miss)), inTurn(reading(miss)), inTurn(leaving())],
};

// ── Behind journals ──────────────────────────────────────────────────────────────────────────────

/** What may be done while pages are written behind their old images. */
const durableOperations: Readonly<Record<string, Script>> = {
  checkpoint: inTurn(checkpointing()),
  change: inTurn(changing(hit)),
  "change twice": inTurn(changing(hit), changing(hit)),
  "two changes": inTurn(changing(hit), changing(1)),
  "change miss": inTurn(changing(miss)),
  miss: inTurn(reading(miss)),
  misses: inTurn(reading(miss), reading(3)),
  undo: inTurn(undoing(hit)),
  zero: inTurn(zeroing(miss)),
  flush: inTurn(flushing()),
  evict: inTurn(evicting(0)),
  cleanup: inTurn(cleaning(hit)),
  truncate: inTurn(truncating()),
  remove: inTurn(removing()),
};

/** What several backends do at the same time behind a journal, each one operation. */
export function durable(...names: readonly string[]): Configuration {
  const scripts = names.map((name) => durableOperations[name]);
  const other = names.some((name) => name === "truncate" || name === "remove");
  return {
    name: `journal: ${names.join(" + ")}`,
    buffers: 2,
    pages: other ? [otherDirty, dirty(hit)] : [dirty(hit), dirty(1)],
    backends: scripts.filter((script) => script !== undefined),
    journalled: true,
  };
}

/** A checkpoint with everything else, and what writes with what changes. */
export const durablePairs: readonly Configuration[] = [
  ...Object.keys(durableOperations).map((name) => durable("checkpoint", name)),
  durable("miss", "change"),
  durable("change miss", "misses"),
  durable("miss", "miss"),
  durable("miss", "flush"),
  durable("flush", "change"),
  durable("flush", "flush"),
  durable("zero", "miss"),
  durable("zero", "zero"),
  durable("undo", "miss"),
  durable("evict", "change"),
  durable("evict", "flush"),
  durable("miss", "truncate"),
  durable("miss", "remove"),
];

/** One buffer, a clean page: short enough for a death besides a preemption. */
export const narrowJournals: readonly Configuration[] = [
  narrowJournal("checkpoint + change, flush", [checkpointing()], [changing(hit), flushing()]),
  narrowJournal("checkpoint + change, miss", [checkpointing()], [changing(hit), reading(miss)]),
  narrowJournal("checkpoint + change", [checkpointing()], [changing(hit)]),
  narrowJournal("checkpoint + zero", [checkpointing()], [zeroing(miss)]),
  narrowJournal("flush + zero", [flushing()], [zeroing(miss)]),
];

function narrowJournal(name: string, ...acts: readonly (readonly Act[])[]): Configuration {
  const backends = acts.map((each) => inTurn(...each));
  const pages = [clean(hit)];
  return { name: `one buffer, journal: ${name}`, buffers: 1, pages, backends, journalled: true };
}

/**
 * A page is cleared on both sides of a cut, and written while the checkpoint is at work. Two stops
 * are needed to tell on which side it counts, hence so few pages.
 */
export const cleared: Configuration = narrowJournal(
  "checkpoint + clear, flush",
  [checkpointing()],
  [clearing(miss), flushing()],
);

/** Two pages meet in the only place for what is known of images. */
export const collisions: readonly Configuration[] = [
  ["checkpoint + change, flush", [checkpointing()], [changing(1), flushing()]] as const,
  [
    "checkpoint + flush, change, flush",
    [checkpointing()],
    [flushing(), changing(1), flushing()],
  ] as const,
  ["checkpoint + misses", [checkpointing()], [reading(miss), reading(3)]] as const,
].map(([name, ...acts]) => ({
  name: `one place for images: ${name}`,
  buffers: 2,
  pages: [dirty(hit), dirty(1)],
  backends: acts.map((each) => inTurn(...each)),
  journalled: true,
  shape: { imagedEntries: 1 },
}));

/** Three backends, one of which makes a checkpoint. */
export const durableTrios: readonly Configuration[] = [
  durable("checkpoint", "change twice", "miss"),
  durable("checkpoint", "two changes", "misses"),
  durable("checkpoint", "change", "checkpoint"),
  durable("checkpoint", "zero", "miss"),
  durable("checkpoint", "cleanup", "flush"),
];

/** Writes of two pages behind one sync. */
export const batches: readonly Configuration[] = [
  batchPair("checkpoint + change", checkpointing(), changing(hit)),
  batchPair("checkpoint + miss", checkpointing(), reading(miss)),
  batchPair("flush + change", flushing(), changing(1)),
  batchPair("miss + change", reading(miss), changing(1)),
  batchPair("miss + miss", reading(miss), reading(3)),
];

function batchPair(name: string, ...acts: readonly Act[]): Configuration {
  const backends = acts.map((act) => inBatches(act));
  const pages = [dirty(hit), dirty(1)];
  return { name: `batches: ${name}`, buffers: 3, pages, backends, journalled: true };
}

/** Cleanup locks, locks that are only tried, rings. */
export const locking: readonly Configuration[] = [
  lockGroup("cleanup + pin", cleaning(hit), pinning(hit)),
  lockGroup("cleanup + read", cleaning(hit), reading(hit)),
  lockGroup("cleanup + twice", cleaning(hit), readingTwice(hit)),
  lockGroup("cleanup + cleanup", cleaning(hit), cleaning(hit)),
  lockGroup("cleanup + miss", cleaning(hit), reading(miss)),
  lockGroup("cleanup + change", cleaning(hit), changing(hit)),
  lockGroup("cleanup + evict", cleaning(hit), evicting(0)),
  lockGroup("try + read", trying(hit), reading(hit)),
  lockGroup("try + change", trying(hit), changing(hit)),
  lockGroup("try + cleanup", trying(hit), cleaning(hit)),
  lockGroup("ring + hit", scanning(miss, 3), reading(hit)),
  lockGroup("ring + ring", scanning(miss, 3), scanning(3, miss)),
  lockGroup("ring + miss", scanning(miss, 3), reading(miss)),
  lockGroup("undo + read", undoing(hit), reading(hit)),
  lockGroup("zero + read", zeroing(miss), reading(miss)),
  lockGroup("cleanup + cleanup + read", cleaning(hit), cleaning(hit), reading(hit)),
];

function lockGroup(name: string, ...acts: readonly Act[]): Configuration {
  const backends = acts.map((act) => inTurn(act));
  return { name: `locks: ${name}`, buffers: 2, pages: [dirty(hit), clean(1)], backends };
}

// ── Engines ──────────────────────────────────────────────────────────────────────────────────────

const simulation: WasmModule = simulationModule();

/** An engine for a configuration, over the simulation build or another of the kind. */
export function engineFor(
  configuration: Configuration,
  module: WasmModule = simulation,
  watch?: Watch,
): Engine {
  const { buffers, backends, workers = [], shape } = configuration;
  const setting: Setting = {
    module,
    buffers,
    shape: { queued: workers.length > 0, ...shape },
    scripts: [owner, ...workers, ...backends],
    prepare: (world) => prepare(world, configuration),
    check: brokenInvariant,
    close: leftOver,
    ...(watch === undefined ? {} : { watch }),
  };
  return new Engine(setting);
}

/** Runs a schedule of a configuration from its text; for a failure that somebody looks into. */
export function replay(configuration: Configuration, text: string, tell = false): void {
  const engine = engineFor(configuration);
  if (tell) {
    engine.trace = (fiber, kind, at) =>
      process.stdout.write(`${"oabcd"[fiber]} ${kind} ${at.toString(16)}\n`);
  }
  engine.run(parseSchedule(text));
}

function prepare(world: World, configuration: Configuration): void {
  const { pages, workers = [], journalled = false } = configuration;
  for (let slot = 1; slot <= workers.length; slot += 1) {
    world.instance(slot).setKind(BACKEND_IO_WORKER);
  }
  const x = world.instance(1);
  world.instance(0).startAt(1, journalled ? 1 : 0);
  for (const { block, file = FILE, dirty: isDirty = false } of pages) {
    const buffer = x.install(x.victim(0), file, block, 0) & BUFFER_MASK;
    for (let half = 0; half < 2; half += 1) world.readHalf(buffer, file, block, half);
    x.finishRead(buffer, 1);
    if (isDirty) change(world, buffer, file, block);
    if (x.unpin(buffer) !== ST_OK) throw new Error("a page could not be prepared");
    const word = world.descriptor(buffer, FIELD_STATE);
    world.u32[word] = (world.u32[word] ?? 0) & ~USAGE_MASK;
  }
}

/** One change that storage does not have. */
function change(world: World, buffer: number, file: number, block: number): void {
  const x = world.instance(1);
  const statuses = [x.lockExclusive(buffer), x.beginChange(buffer)];
  for (let half = 0; half < 2; half += 1) {
    const at = world.frame(buffer, half) + 1;
    world.u32[at] = (world.u32[at] ?? 0) + 1;
  }
  statuses.push(x.endChange(buffer), x.unlock(buffer));
  if (statuses.some((status) => status !== ST_OK)) throw new Error("a page could not be changed");
  const page = (file === FILE ? 0 : world.baseline.length / 2) + block;
  world.baseline[page] = (world.baseline[page] ?? 0) + 1;
}
