// Crashes: images of the disk at operations of a history, each started and compared with what the
// last checkpoint had, then crashed again while it recovers.

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { instantiate } from "../../bindings/abi/load.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { SharedMemory } from "../../bindings/index.ts";
import type { FileStorage } from "../../bindings/storage/files.ts";
import { type CrashDisk, crashHandle } from "../storage/crash-disk.ts";
import { Random } from "../support/random.ts";
import { type Accidents, History, type Occurred } from "./history.ts";
import { difference, type SealOf, type State } from "./model.ts";
import { settings, World, type WorldOptions } from "./world.ts";

/** What a crash left, and the states it may be found at. */
export interface CrashImage {
  readonly disk: CrashDisk;
  readonly candidates: readonly State[];
  /** The operation of the disk. */
  readonly n: number;
}

/** How images are looked at. */
export interface CheckOptions {
  /** Seeds the crashes within recovery. */
  readonly seed: number;
  /** Crashes within each recovery, at most, and one after it. Default 2. */
  readonly again?: number;
  /** Changes the storage that recovery uses: a planted mistake. */
  readonly plant?: (storage: FileStorage) => void;
}

/** How many images were started, those of crashes within recovery included. */
export interface Count {
  images: number;
}

/** A crash after which the wrong state is found. */
export class WrongState extends Error {
  constructor(what: string, n: number, disk: CrashDisk) {
    super(`crash in operation ${n}: ${what}\nlost: ${disk.lost.join("; ") || "nothing"}`);
    this.name = "WrongState";
  }
}

/**
 * Starts on an image; then on what crashes during that start and after it leave.
 *
 * @returns the state that was found
 * @throws {@link WrongState} if none of its candidates is found
 */
export async function check(image: CrashImage, options: CheckOptions, count: Count): Promise<State> {
  const random = new Random(options.seed);
  const { disk, n } = image;
  const later: CrashDisk[] = [];
  const most = options.again ?? 2;
  disk.onOperation = () => {
    if (random.below(8) !== 0) return;
    if (later.length < most) later.push(disk.image(random));
    else if (random.below(4) === 0) later[random.below(most)] = disk.image(random);
  };
  const state = await started(image, options, most > 0 ? () => later.push(disk.image(random)) : undefined);
  count.images += 1;
  for (const again of later) {
    const nested = { disk: again, candidates: [state], n };
    await started(nested, options).catch((error: unknown) => {
      if (!(error instanceof Error)) throw error;
      throw new WrongState(`after a crash within recovery, ${error.message}`, n, disk);
    });
    count.images += 1;
  }
  return state;
}

async function started(
  { disk, candidates, n }: CrashImage,
  { plant }: CheckOptions,
  afterwards?: () => void,
): Promise<State> {
  const storage = disk.open(crashHandle());
  plant?.(storage);
  let shared: SharedMemory;
  try {
    shared = await SharedMemory.create({ storage, settings });
  } catch (error) {
    throw new WrongState(`no start: ${(error as Error).message}`, n, disk);
  }
  try {
    const sealOf = sealIn(shared);
    const differences: string[] = [];
    for (const state of candidates) {
      const found = difference(storage, state, sealOf);
      if (found === undefined) {
        afterwards?.();
        return state;
      }
      differences.push(found);
    }
    throw new WrongState(differences.join(" | "), n, disk);
  } finally {
    disk.onOperation = undefined;
    await shared.close();
  }
}

/** Checksums as the pool of a region makes them. */
function sealIn({ handle }: SharedMemory): SealOf {
  const exports = instantiate<SharedExports>(handle.module, handle.memory);
  exports.enter(0, 0);
  const address = exports.scratchAddress() >>> 0;
  const scratch = new Uint8Array(handle.memory.buffer, address, BLOCK_BYTES);
  return (page, block) => {
    scratch.set(page);
    return exports.pageSeal(address, block);
  };
}

/** A run of lives, each on what a crash of the one before has left. */
export interface Campaign {
  readonly seed: number;
  readonly turns: number;
  readonly lives?: number;
  /** Of a hundred operations of the disk, how many are crashed in. */
  readonly often: number;
  /** Images of each crash. Default 1. */
  readonly images?: number;
  readonly accidents?: Accidents;
  readonly world?: WorldOptions;
  readonly check?: Partial<CheckOptions>;
  /** Gets the world at the start of each life: how mistakes are planted that need it. */
  readonly prepare?: (world: World) => void;
}

/**
 * Runs histories and crashes.
 *
 * @throws {@link WrongState} at the first wrong one, with what is needed to have it again
 */
export async function campaign(plan: Campaign, occurred: Occurred, count: Count): Promise<void> {
  const random = new Random(plan.seed);
  const { CrashDisk } = await import("../storage/crash-disk.ts");
  let disk = new CrashDisk();
  let state: State = new Map();
  const worlds: World[] = [];
  try {
    for (let life = 0; life < (plan.lives ?? 1); life++) {
      const world = await World.begin(disk, state, plan.world);
      worlds.push(world);
      plan.prepare?.(world);
      const last = await live(world, random, plan, { occurred, count });
      [disk, state] = [last.disk, last.state];
    }
  } catch (error) {
    if (error instanceof Error) error.message = `seed ${plan.seed}: ${error.message}`;
    throw error;
  } finally {
    for (const world of worlds) await world.end();
  }
}

interface Tally {
  readonly occurred: Occurred;
  readonly count: Count;
}

/** One life; what the next one begins with. */
async function live(
  world: World,
  random: Random,
  plan: Campaign,
  { occurred, count }: Tally,
): Promise<{ disk: CrashDisk; state: State }> {
  const history = new History(world, random, occurred, plan.accidents);
  const images: CrashImage[] = [];
  const crashes = new Random(random.next());
  const { disk } = world;
  disk.onOperation = () => {
    if (crashes.below(100) >= plan.often) return;
    for (let n = 0; n < (plan.images ?? 1); n++) {
      images.push({
        disk: disk.image(crashes),
        candidates: world.candidates,
        n: disk.operations,
      });
    }
  };
  const look = async (): Promise<void> => {
    for (const image of images.splice(0)) {
      await check(image, { seed: crashes.next(), ...plan.check }, count);
    }
  };
  for (let turn = 0; turn < plan.turns; turn++) {
    history.turn();
    await look();
  }
  disk.onOperation = undefined;
  const killed = crashes.below(3) === 0;
  const last = killed ? disk : disk.image(crashes);
  const image = { disk: last, candidates: world.candidates, n: disk.operations };
  if (killed) return { disk, state: image.candidates[0] ?? new Map() };
  const copy = last.image(new Random(0));
  return { disk: last, state: await check({ ...image, disk: copy }, { seed: crashes.next() }, count) };
}
