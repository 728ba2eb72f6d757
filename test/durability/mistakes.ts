// Mistakes that an implementation of the journal could make, planted from outside: what is called
// is replaced for as long as a history runs, and the code that ships knows of none of it.

import { IMAGE_COMMITTED, IMAGE_CURRENT } from "../../assembly/common/constants.ts";
import { Journal, type PageWrite } from "../../bindings/shared/journal.ts";
import { emptyOtherJournals } from "../../bindings/shared/journal-format.ts";
import type { Routine } from "../../bindings/shared/routine.ts";
import type { FileStorage } from "../../bindings/storage/files.ts";
import { Unsynced } from "../../bindings/storage/unsynced.ts";
import type { CrashDisk } from "../storage/crash-disk.ts";
import { type Campaign, type Count, campaign, WrongState } from "./crashes.ts";
import { nothingYet } from "./history.ts";
import { partsOf } from "./stepping.ts";
import { checkpointOf, type World } from "./world.ts";

/** A mistake. */
export interface Mistake {
  readonly name: string;
  /** Plants it; returns what takes it out again. */
  plant(plan: Campaign): { readonly plan: Campaign; readonly takeOut: () => void };
}

/** Replaces methods of every journal. */
function inJournal(name: string, make: (worlds: () => World) => Partial<Journal>): Mistake {
  const plant: Mistake["plant"] = (plan) => {
    let now: World | undefined;
    const worldNow = (): World => {
      if (now === undefined) throw new Error("no world yet");
      return now;
    };
    const replaced = make(worldNow);
    const kept = Object.getOwnPropertyDescriptors(Journal.prototype);
    Object.assign(Journal.prototype, replaced);
    const prepare = (world: World): void => {
      now = world;
    };
    const takeOut = (): void => {
      for (const key of Object.keys(replaced)) {
        Object.defineProperty(Journal.prototype, key, Reflect.get(kept, key) as PropertyDescriptor);
      }
    };
    return { plan: { ...plan, prepare }, takeOut };
  };
  return { name, plant };
}

/** Changes the storage of each backend. */
function inStorage(name: string, change: (storage: FileStorage, world: World) => void): Mistake {
  const plant: Mistake["plant"] = (plan) => {
    return { plan: { ...plan, world: { plant: change } }, takeOut: () => {} };
  };
  return { name, plant };
}

/** Leaves out the syncs that a call makes. */
function withoutSyncs(disk: CrashDisk, call: () => void): void {
  disk.fsyncSync = () => {};
  try {
    call();
  } finally {
    Reflect.deleteProperty(disk, "fsyncSync");
  }
}

const { protect } = Journal.prototype;

function* writtenFirst(this: Journal, world: World, pages: readonly PageWrite[]): Routine<void> {
  for (const { buffer, relation, fork, block } of pages) {
    const frame = world.owner.frameAddress(buffer) >>> 0;
    const bytes = new Uint8Array(world.shared.handle.memory.buffer, frame, 8192).slice();
    yield { op: "write", relation, fork, block, pages: [bytes] };
  }
  yield* protect.call(this, pages);
}

function* nothing(): Routine<void> {}

/** Has each backend see other images as missing. */
function wrongInterval(world: World): void {
  for (const { backend } of world.seats) {
    const { attachment } = partsOf(backend);
    const { exports } = attachment;
    const imagesNeeded = (buffer: number): number => {
      const needed = exports.imagesNeeded(buffer);
      return world.isCut && needed === IMAGE_COMMITTED ? IMAGE_CURRENT : needed;
    };
    attachment.exports = new Proxy({} as typeof exports, {
      get: (_, key) => (key === "imagesNeeded" ? imagesNeeded : Reflect.get(exports, key)),
    });
  }
}

/** Goes on after a sync that failed, as if it had not. */
function ignoreErrors(storage: FileStorage): void {
  const ignoring = <Arguments extends unknown[]>(call: (...given: Arguments) => void) => {
    return (...given: Arguments): void => {
      try {
        call(...given);
      } catch {
        new Int32Array(storage.handle.state)[0] = 0;
      }
    };
  };
  storage.flushSync = ignoring(storage.flushSync.bind(storage));
  storage.syncJournalSync = ignoring(storage.syncJournalSync.bind(storage));
}

/** No mistake at all: what must not be found. */
export const noMistake: Mistake = inStorage("nothing", () => {});

/** All of them. */
export const mistakes: readonly Mistake[] = [
  inJournal("the journal is not synced before the page is written", () => ({ sync: nothing })),
  inJournal("the image is taken after the change", (world) => ({
    *protect(this: Journal, pages: readonly PageWrite[]) {
      yield* writtenFirst.call(this, world(), pages);
    },
  })),
  {
    name: "the image goes into the journal of the wrong interval",
    plant: (plan) => ({ plan: { ...plan, prepare: wrongInterval }, takeOut: () => {} }),
  },
  inJournal("the version of the cut is overwritten before it was written", (world) => ({
    // biome-ignore lint/correctness/useYield: it should write, and does not
    *keepShadow({ buffer }: PageWrite) {
      world().owner.changeKept(buffer, world().interval);
    },
  })),
  inStorage("files are not synced before the control document is replaced", (storage) => {
    storage.flushSync = () => {};
  }),
  inStorage("the control document is not synced", (storage, { disk }) => {
    const write = storage.writeControlSync.bind(storage);
    storage.writeControlSync = (bytes) => withoutSyncs(disk, () => write(bytes));
  }),
  {
    name: "a write is not noted as something to be synced",
    plant: (plan) => {
      const { change } = Unsynced.prototype;
      Unsynced.prototype.change = (_relation, work) => work();
      const takeOut = (): void => {
        Unsynced.prototype.change = change;
      };
      return { plan, takeOut };
    },
  },
  inStorage("the old journal is emptied before the commit", (storage) => {
    const write = storage.writeControlSync.bind(storage);
    storage.writeControlSync = (bytes) => {
      emptyOtherJournals(storage, checkpointOf(bytes));
      write(bytes);
    };
  }),
  {
    name: "recovery does not cut relations back",
    plant: (plan) => {
      const plant = (storage: FileStorage): void => {
        storage.truncateSync = () => {};
      };
      return { plan: { ...plan, check: { ...plan.check, plant } }, takeOut: () => {} };
    },
  },
  {
    name: "the error of a sync is ignored",
    plant: (plan) => {
      const prepare = ({ disk }: World): void => disk.failSyncAt(disk.operations + 40);
      return { plan: { ...plan, prepare, world: { plant: ignoreErrors } }, takeOut: () => {} };
    },
  },
];

/** Where a mistake showed. */
export interface Find {
  readonly images: number;
  readonly how: string;
}

/**
 * Looks for a crash after which the mistake shows.
 *
 * @param most - images to start, at most
 * @returns after how many it did, or undefined
 */
export async function hunt(
  mistake: Mistake,
  seed: number,
  most: number,
): Promise<Find | undefined> {
  const count: Count = { images: 0 };
  const accidents = { deaths: 0, giveUps: 0 };
  for (let turn = 0; count.images < most; turn++) {
    const plan = { seed: seed + turn, turns: 600, often: 8, accidents, check: { again: 0 } };
    const { plan: planted, takeOut } = mistake.plant(plan);
    try {
      await campaign(planted, nothingYet(), count);
    } catch (error) {
      if (error instanceof WrongState) return { images: count.images, how: error.message };
      // A history may meet its mistake by itself, or what failed may be what nobody ignores.
      if (!isExpected(error)) throw error;
    } finally {
      takeOut();
    }
  }
  return undefined;
}

function isExpected(error: unknown): boolean {
  const code = error instanceof Error ? Reflect.get(error, "code") : undefined;
  return code === "57P02" || code === "58030" || code === "XX001";
}
