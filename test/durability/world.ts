// A region over a disk that may crash, with several real backends on this one thread and the model
// of what they have done. A run of it is one life of the data directory: it begins with whatever
// disk it is given, and what it should find there.

import {
  REGION_COMMITTED_OFFSET,
  REGION_INTERVAL_OFFSET,
} from "../../assembly/common/constants.ts";
import { instantiate } from "../../bindings/abi/load.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { Backend, type Relation, SharedMemory } from "../../bindings/index.ts";
import { readRelations } from "../../bindings/shared/control.ts";
import type { Settings } from "../../bindings/shared/settings.ts";
import type { FileStorage } from "../../bindings/storage/files.ts";
import { type CrashDisk, crashHandle } from "../storage/crash-disk.ts";
import { copyOf, type ModelRelation, type State } from "./model.ts";

/** A pool of 16 buffers. */
export const settings: Settings = { shared_buffers: "128kB", max_connections: 4 };
const BACKENDS = 3;
// Each backend listens for the thread's end, and many histories run in this one.
process.setMaxListeners(0);

/** A backend, and its own storage. */
export interface Seat {
  backend: Backend;
  storage: FileStorage;
  readonly slot: number;
}

/** A relation that is there now. */
export interface Known extends ModelRelation {
  readonly relation: Relation;
  name: string;
  /** How many operations use it; -1 while one has it to itself. */
  users: number;
}

/** How a life is begun. */
export interface WorldOptions {
  readonly settings?: Settings;
  /** Changes the storage of each backend: how mistakes are planted. */
  readonly plant?: (storage: FileStorage) => void;
}

/** One life of a data directory. */
export class World {
  readonly disk: CrashDisk;
  readonly shared: SharedMemory;
  readonly seats: Seat[] = [];
  readonly relations: Known[] = [];
  /** The state at each cut so far, and the one that the last commit is known to be. */
  readonly cuts: Map<number, State> = new Map();
  /** Checkpoint in the control document, and the one that is about to replace it. */
  committed: number;
  committing: number | undefined;
  /** Acts for the owner, who gives back what dead backends held. */
  readonly owner: SharedExports;
  readonly #plant: ((storage: FileStorage) => void) | undefined;
  readonly #words: Int32Array;
  readonly #backends: Backend[] = [];
  static #uids = 0;

  private constructor(disk: CrashDisk, shared: SharedMemory, options: WorldOptions) {
    this.disk = disk;
    this.shared = shared;
    this.#plant = options.plant;
    this.#words = new Int32Array(shared.handle.memory.buffer);
    this.committed = this.interval;
    this.owner = instantiate<SharedExports>(shared.handle.module, shared.handle.memory);
    this.owner.enter(0, 0);
    while (this.seats.length < BACKENDS) this.seats.push(this.#seat());
  }

  /** @param state - what the disk is to be found at */
  static async begin(
    disk: CrashDisk,
    state: State = new Map(),
    options: WorldOptions = {},
  ): Promise<World> {
    const storage = disk.open(crashHandle());
    const shared = await SharedMemory.create({ storage, settings: { ...settings, ...options.settings } });
    const world = new World(disk, shared, options);
    world.cuts.set(world.committed, copyOf(state));
    const numbers = readRelations(storage)?.relations ?? {};
    for (const [name, { uid, pages }] of copyOf(state)) {
      if (numbers[name] === undefined) throw new Error(`no relation "${name}"`);
      const relation = world.first.openRelationSync(name);
      world.relations.push({ uid, pages, relation, name, users: 0 });
    }
    return world;
  }

  get first(): Backend {
    return (this.seats[0] as Seat).backend;
  }

  get interval(): number {
    return this.#words[REGION_INTERVAL_OFFSET / 4] ?? 0;
  }

  /** Whether a cut has been made that is not committed. */
  get isCut(): boolean {
    return this.interval !== this.#words[REGION_COMMITTED_OFFSET / 4];
  }

  /** What is there now, as the model has it. */
  get state(): Map<string, ModelRelation> {
    return copyOf(new Map(this.relations.map((each) => [each.name, each])));
  }

  /** The states that a crash now may come back to. */
  get candidates(): State[] {
    const numbers = [this.committed, this.committing];
    return numbers.flatMap((n) => (n === undefined ? [] : (this.cuts.get(n) ?? [])));
  }

  /** To be called after each step: keeps the state of a cut that was made in it. */
  noteCut(): boolean {
    const { interval } = this;
    if (this.cuts.has(interval)) return false;
    this.cuts.set(interval, this.state);
    return true;
  }

  /** A relation that was made just now. */
  add(relation: Relation): void {
    World.#uids++;
    const { name } = relation;
    this.relations.push({ uid: World.#uids, pages: [], relation, name, users: 0 });
  }

  /** Its thread ends with all it holds; another one takes its place. */
  replace(seat: Seat): void {
    if (this.owner.markDead(seat.slot) === 0) throw new Error(`slot ${seat.slot} is free`);
    const status = this.owner.reap(seat.slot);
    if (status !== 0) throw new Error(`reaping gave ${status}`);
    const next = this.#seat();
    if (next.slot !== seat.slot) throw new Error("another slot");
    Object.assign(seat, next);
  }

  /** Gives everything back. The disk is of no use any more afterwards. */
  async end(): Promise<void> {
    this.disk.onOperation = undefined;
    await quietly(() => this.shared.close());
    for (const backend of this.#backends) await quietly(() => backend.detach());
  }

  #seat(): Seat {
    const opened: FileStorage[] = [];
    const backend = Backend.attachSync(this.shared.handle, {
      storage: (handle) => {
        const storage = this.disk.open(handle as FileStorage["handle"]);
        this.#follow(storage);
        this.#plant?.(storage);
        opened.push(storage);
        return storage;
      },
      memory: { maxMemory: "1MB" },
      onWarning: () => {},
    });
    this.#backends.push(backend);
    return { backend, storage: opened[0] as FileStorage, slot: backend.slot };
  }

  /** Knows between which two operations of the disk a checkpoint is committed. */
  #follow(storage: FileStorage): void {
    const write = storage.writeControlSync.bind(storage);
    storage.writeControlSync = (bytes) => {
      this.committing = checkpointOf(bytes);
      write(bytes);
      this.committed = this.committing;
      this.committing = undefined;
    };
  }
}

/** The number of the checkpoint in a control document. */
export function checkpointOf(bytes: Uint8Array): number {
  const { checkpoint } = JSON.parse(new TextDecoder().decode(bytes)) as { checkpoint: number };
  return checkpoint;
}

/** A disk that has crashed refuses to be closed. */
async function quietly(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch {
    // What was lost with the disk is what the test has looked at already.
  }
}
