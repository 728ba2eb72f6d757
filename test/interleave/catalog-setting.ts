// The catalog cache in the harness: backends that change a row and tell of it, backends that look
// with the lock and without, and what must be true. A row is two words that say the same, a version
// and its complement; it stands in a word of the region, in the place of a page. The lock is a
// named one. What bindings/shared does around the calls - receive after the lock, look at home,
// then in the shared cache, then read, publish, keep - is done here by the same calls in the same
// order, so that the row can be touched in steps.
//
//   under the lock   whoever looks finds the row as it is
//   held             an entry does not change, whatever becomes of its row
//   at the end       nobody sleeps; no lock, no hold, nothing half built, nothing announced

import {
  ENTRY_BUILDING,
  MESSAGE_HASH_OFFSET,
  MESSAGE_KEY,
  MESSAGE_KIND_OFFSET,
  ROW_DATA_OFFSET,
  ROW_INVALIDATING_OFFSET,
  ROW_MESSAGES_OFFSET,
  ROW_POSITION_OFFSET,
  SINVAL_BATCH,
  SINVAL_MESSAGE_SHIFT,
  SINVAL_MESSAGES,
  SINVAL_RESERVED_OFFSET,
  SINVAL_ROW_BYTES,
  SINVAL_ROWS_OFFSET,
  SINVAL_WRITTEN_OFFSET,
  ST_NO_ROOM,
  ST_RESET,
  ST_STALE,
} from "../../assembly/common/cache-constants.ts";
import { PART_SINVAL, ST_BUSY, ST_MISS, ST_OK, ST_WAIT } from "../../assembly/common/constants.ts";
import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import { Engine } from "./engine.ts";
import { owner } from "./operations.ts";
import type { Watch } from "./setting.ts";
import type { Actor, Operation, Script } from "./steps.ts";
import { simulationModule, WORD_SHIFT, type World } from "./world.ts";

/** One page of entries. */
const KILOBYTES = 8;
const GRANULES = 64;
const CATALOG = 1;
const KEY = 7;
const OTHER_KEY = 8;
const OTHER_VERSION = 99;
const LOCK = 0;
/** Address of a word of the region that is never written: its version. */
const NEVER_WRITTEN = 4;
const SHADOWS_OFFSET = 92;
const ROW_BYTES = 8;

/** Mistakes in what TypeScript does around the calls. */
export interface CatalogPlant {
  /** The message is sent, then the row changed. */
  readonly tellsFirst?: boolean;
  /** Messages are received, then the lock taken. */
  readonly receivesFirst?: boolean;
  /** Being too far behind is taken for having no messages. */
  readonly forgetsReset?: boolean;
  /** A change is not announced. */
  readonly silent?: boolean;
}

/** One thing a backend does. */
export type CatalogAct = (backend: CatalogBackend) => Operation<void>;

export interface CatalogConfiguration {
  readonly name: string;
  readonly backends: readonly (readonly CatalogAct[])[];
  /** Messages by which backend a is behind when a schedule begins; it knows the row already. */
  readonly behind?: number;
}

/** A backend, with what it keeps for itself. */
interface CatalogBackend extends Actor {
  readonly plant: CatalogPlant;
  readonly hash: number;
  readonly at: Places;
  /** The row as this backend knows it. */
  kept: number | undefined;
  /** The row is being read, and nothing has invalidated it so far. */
  building: boolean;
}

interface Places {
  readonly row: number;
  readonly ring: number;
}

const here = { at: NEVER_WRITTEN, writes: false };

function* patiently(call: () => number): Operation<number> {
  for (;;) {
    const status = call();
    if (status === ST_WAIT) yield { do: "sleep" };
    else if (status === ST_BUSY) yield { do: "tired" };
    else return status;
  }
}

function good(status: number): number {
  if (status < 0) throw new Error(`status ${status}`);
  return status;
}

function own(backend: CatalogBackend, offset: number): number {
  return backend.word(
    backend.at.ring + SINVAL_ROWS_OFFSET + backend.slot * SINVAL_ROW_BYTES + offset,
  );
}

// ── What bindings do ─────────────────────────────────────────────────────────────────────────────

/** CatalogRing.receive. */
function receive(backend: CatalogBackend): void {
  for (;;) {
    const count = backend.x.catalogReceive();
    if (count === 0) return;
    if (count === ST_RESET) {
      if (backend.plant.forgetsReset !== true) forget(backend);
      continue;
    }
    for (let index = 0; index < good(count); index += 1) {
      const at = ROW_MESSAGES_OFFSET + (index << SINVAL_MESSAGE_SHIFT) + MESSAGE_HASH_OFFSET;
      if (own(backend, at) >>> 0 === backend.hash) forget(backend);
    }
    if (count < SINVAL_BATCH) return;
  }
}

function forget(backend: CatalogBackend): void {
  backend.kept = undefined;
  backend.building = false;
}

/** Catalog.findSync: the version of the row. */
function* find(backend: CatalogBackend): Operation<number> {
  if (backend.kept !== undefined) return backend.kept;
  const entry = backend.x.catalogFindWords(CATALOG, 1, KEY, 0, 0, 0);
  if (entry !== ST_MISS) {
    const version = yield* heldRow(backend, good(entry));
    good(backend.x.catalogRelease(entry));
    backend.kept = version;
    return version;
  }
  for (;;) {
    const since = backend.x.catalogBegin();
    backend.building = true;
    const version = readRow(backend);
    if (!backend.building) continue;
    if (yield* publish(backend, version, since)) {
      backend.kept = version;
      return version;
    }
  }
}

/** The row of an entry that is held: it says one thing, however long one looks. */
function* heldRow(backend: CatalogBackend, entry: number): Operation<number> {
  const at = own(backend, ROW_DATA_OFFSET) >>> 0;
  const read = (address: number): number =>
    backend.once({
      at: address,
      writes: false,
      act: ({ u32 }) => u32[address >>> WORD_SHIFT] ?? 0,
    });
  const version = read(at);
  yield { do: "tired" };
  const complement = read(at + 4);
  if ((version ^ complement) >>> 0 !== 0xffffffff) {
    throw new Error(`entry ${entry} changed while it was held`);
  }
  return version;
}

/** What the user's function reads from a page. */
function readRow({ once, at: { row } }: CatalogBackend): number {
  return once({ at: row, writes: false, act: ({ u32 }) => u32[row >>> WORD_SHIFT] ?? 0 });
}

/** CatalogRing.publish. */
function* publish(backend: CatalogBackend, version: number, since: number): Operation<boolean> {
  const { x, once } = backend;
  const entry = yield* patiently(() => x.catalogReserve(CATALOG, ROW_BYTES / 2, ROW_BYTES));
  if (entry === ST_NO_ROOM) return true;
  const at = own(backend, ROW_DATA_OFFSET) >>> 0;
  const words = [version, ~version >>> 0];
  for (const [index, word] of words.entries()) {
    const address = at + index * 4;
    const act = ({ u32 }: World): void => {
      u32[address >>> WORD_SHIFT] = word;
    };
    once({ at: address, writes: true, act });
  }
  const status = yield* patiently(() => x.catalogPublish(good(entry), since));
  return status !== ST_STALE;
}

// ── Operations ───────────────────────────────────────────────────────────────────────────────────

/** Changes the row under the lock, and tells of it before the lock goes. */
export const changing: CatalogAct = function* change(backend) {
  const { x, once, plant, at, hash } = backend;
  good(yield* patiently(() => x.lockNamed(LOCK)));
  const tell = function* telling(): Operation<void> {
    good(yield* patiently(() => x.catalogInvalidate(CATALOG, hash)));
  };
  if (plant.silent !== true) x.catalogAnnounce(1);
  if (plant.tellsFirst === true) yield* tell();
  const next = readRow(backend) + 1;
  const act = ({ u32 }: World): void => {
    u32[at.row >>> WORD_SHIFT] = next;
  };
  once({ at: at.row, writes: true, act });
  forget(backend);
  if (plant.tellsFirst !== true) yield* tell();
  if (plant.silent !== true) x.catalogAnnounce(0);
  good(x.unlockNamed(LOCK));
};

/** Looks without the lock, as old as that may be; what it finds it keeps. */
export const glancing: CatalogAct = function* glance(backend) {
  receive(backend);
  yield* find(backend);
};

/** Takes the lock, receives, looks: that must be the row as it is. */
export const looking: CatalogAct = function* look(backend) {
  const { x, once, plant, at } = backend;
  if (plant.receivesFirst === true) receive(backend);
  good(yield* patiently(() => x.lockNamed(LOCK)));
  if (plant.receivesFirst !== true) receive(backend);
  const version = yield* find(backend);
  const act = ({ u32 }: World): number => u32[at.row >>> WORD_SHIFT] ?? 0;
  const truth = once({ ...here, act });
  if (version !== truth) throw new Error(`a stale entry: ${version} instead of ${truth}`);
  good(x.unlockNamed(LOCK));
};

/** Fills the room of entries that were freed. */
export const filling: CatalogAct = function* fill(backend) {
  const { x } = backend;
  // Leaves the key where publishing finds it.
  const entry = x.catalogFindWords(CATALOG, 1, KEY, 0, 0, 0);
  if (entry !== ST_MISS) x.catalogRelease(good(entry));
  const since = x.catalogBegin();
  yield* publish(backend, readRow(backend), since);
};

/** Kills the row's entry without need, and puts one of another row in its place. */
export const replacing: CatalogAct = function* replace(backend) {
  const { x, hash } = backend;
  good(yield* patiently(() => x.catalogInvalidate(CATALOG, hash)));
  x.catalogFindWords(CATALOG, 1, OTHER_KEY, 0, 0, 0);
  yield* publish(backend, OTHER_VERSION, x.catalogBegin());
};

/** Tells of a row that nobody here is after. */
export const telling: CatalogAct = function* tell({ x, hash }) {
  good(yield* patiently(() => x.catalogInvalidate(CATALOG, hash ^ 1)));
};

export const catalogConfigurations: readonly CatalogConfiguration[] = [
  { name: "change + glance, look", backends: [[changing], [glancing, looking]] },
  { name: "change + look", backends: [[changing], [looking]] },
  {
    name: "glance, change + glance, look",
    backends: [
      [glancing, changing],
      [glancing, looking],
    ],
  },
  { name: "fill, change, fill + glance", backends: [[filling, changing, filling], [glancing]] },
  {
    name: "change + change",
    backends: [
      [changing, looking],
      [glancing, changing],
    ],
  },
];

/** Two backends, for mistakes that need more than is tried every time. */
export const catalogDetails: readonly CatalogConfiguration[] = [
  { name: "fill, look + replace", backends: [[filling, looking], [replacing]] },
  { name: "glance, glance, look + change", backends: [[glancing, glancing, looking], [changing]] },
];

export const catalogTrios: readonly CatalogConfiguration[] = [
  {
    name: "change + glance + glance, look",
    backends: [[changing], [glancing], [glancing, looking]],
  },
  {
    name: "change, look + glance, look + glance, change",
    backends: [
      [changing, looking],
      [glancing, looking],
      [glancing, changing],
    ],
  },
];

/** Who is nearly, or quite, a ring behind. */
export const laggards: readonly CatalogConfiguration[] = [
  { name: "a ring behind", behind: SINVAL_MESSAGES, backends: [[looking], [changing]] },
  { name: "overtaken", behind: SINVAL_MESSAGES, backends: [[looking], [telling]] },
  {
    name: "more than a ring behind",
    behind: SINVAL_MESSAGES + 9,
    backends: [[looking], [changing]],
  },
];

// ── The engine ───────────────────────────────────────────────────────────────────────────────────

const simulation: WasmModule = simulationModule();

/** An engine over the simulation build or another of the kind. */
export function catalogEngine(
  { backends, behind = 0 }: CatalogConfiguration,
  plant: CatalogPlant = {},
  module: WasmModule = simulation,
  watch?: Watch,
): Engine {
  return new Engine({
    module,
    buffers: 1,
    shape: { catalog: KILOBYTES },
    scripts: [
      owner,
      ...backends.map((acts, index) => living(acts, plant, index === 0 && behind > 0)),
    ],
    prepare: (world) => prepare(world, behind),
    check: () => undefined,
    close: ({ world }) => leftOfCatalog(world),
    ...(watch === undefined ? {} : { watch }),
  });
}

function living(acts: readonly CatalogAct[], plant: CatalogPlant, knows: boolean): Script {
  return function* live(actor) {
    const at = actor.once({ ...here, act: placesOf });
    const hash = actor.once({ ...here, act: hashOf });
    const state = { kept: knows ? 0 : undefined, building: false };
    const backend: CatalogBackend = { ...actor, plant, hash, at, ...state };
    for (const act of acts) yield* act(backend);
  };
}

function placesOf(world: World): Places {
  // The owner has no page of its own to change: the row stands where its shadow would.
  const row = world.u32[SHADOWS_OFFSET >>> WORD_SHIFT] ?? 0;
  return { row, ring: world.part(PART_SINVAL)[0] };
}

function hashOf(world: World): number {
  const { ring } = placesOf(world);
  return world.u32[(ring + SINVAL_ROWS_OFFSET + HASH_WORD) >>> WORD_SHIFT] ?? 0;
}

/** In the owner's row, where prepare leaves it. */
const HASH_WORD = 64;

/** Everybody receives; the owner's row of the ring keeps the hash. */
function prepare(world: World, behind: number): void {
  world.instance(0).startAt(1, 0);
  for (const exports of world.exports) exports.catalogJoin();
  world.instance(0).catalogFindWords(CATALOG, 1, KEY, 0, 0, 0);
  const { ring } = placesOf(world);
  const set = (address: number, value: number): void => {
    world.u32[address >>> WORD_SHIFT] = value;
  };
  if (behind > 0) firstMessage(world, set);
  set(ring + SINVAL_RESERVED_OFFSET, behind);
  set(ring + SINVAL_WRITTEN_OFFSET, behind);
  for (let slot = 0; slot < world.slots; slot += 1) {
    const position = slot === 1 ? 0 : behind;
    set(ring + SINVAL_ROWS_OFFSET + slot * SINVAL_ROW_BYTES + ROW_POSITION_OFFSET, position);
  }
}

/** What the backend that is behind has still to hear, first: the row is not what it knows. */
function firstMessage(world: World, set: (address: number, value: number) => void): void {
  const { ring, row } = placesOf(world);
  const at = ring + SINVAL_ROWS_OFFSET + world.slots * SINVAL_ROW_BYTES;
  set(row, 1);
  set(at, CATALOG);
  set(at + MESSAGE_HASH_OFFSET, hashOf(world));
  set(at + MESSAGE_KIND_OFFSET, MESSAGE_KEY);
}

function leftOfCatalog(world: World): string | undefined {
  const { ring } = placesOf(world);
  const word = (address: number): number => world.u32[address >>> WORD_SHIFT] ?? 0;
  if (word(ring) !== 0) return "the lock of the ring is left";
  for (let slot = 0; slot < world.slots; slot += 1) {
    const row = ring + SINVAL_ROWS_OFFSET + slot * SINVAL_ROW_BYTES;
    if (word(row + ROW_INVALIDATING_OFFSET) !== 0) return `slot ${slot} has announced a change`;
  }
  const exports = world.instance(0);
  for (let granule = 0; granule < GRANULES; granule += 1) {
    if (exports.catalogHolders(granule) !== 0) return `entry ${granule} is held`;
    const state = exports.catalogState(granule);
    if (state >= ST_OK && (state & ENTRY_BUILDING) !== 0) return `entry ${granule} is half built`;
  }
  return undefined;
}
