// Histories by chance: several backends change, extend, make, rename, drop, truncate, flush, evict
// and take checkpoints, a step of one and then a step of another, in an order that a seed decides.
// Some checkpoints are given up half way, some backends die.

import type { BufferId, Relation } from "../../bindings/index.ts";
import type { Routine } from "../../bindings/shared/routine.ts";
import type { Random } from "../support/random.ts";
import { stamp } from "./pages.ts";
import { Fiber, partsOf, routineOf } from "./stepping.ts";
import type { Known, Seat, World } from "./world.ts";

const MAX_RELATIONS = 4;
const MAX_BLOCKS = 28;
/** Changes meet on these. */
const HOT_BLOCKS = 4;

/** Thrown where an abort would be, and by changes that are to be undone. */
class GivenUp extends Error {}

/** What an operation does to the model once it is through, given the routine's result. */
type Effect = (result: never) => void;

interface Operation {
  readonly kind: string;
  readonly routine: Routine<unknown>;
  readonly uses?: Known;
  readonly alone?: boolean;
  readonly effect?: Effect;
}

interface Running extends Operation {
  readonly fiber: Fiber;
}

/** How often what a test is after has occurred. */
export interface Occurred {
  cuts: number;
  /** Cuts after a checkpoint that was given up. */
  cutsAnew: number;
  checkpoints: number;
  /** Changes of a page whose version of the cut had not been written: their shadow was kept. */
  shadows: number;
  /** Pages written, during a checkpoint, by others than the checkpointer. */
  writtenByOthers: number;
  /** Images that went into the journal of a checkpoint not committed yet. */
  imagesAhead: number;
  deaths: number;
  givenUp: number;
  operations: number;
}

/** Nothing yet. */
export function nothingYet(): Occurred {
  return {
    ...{ cuts: 0, cutsAnew: 0, checkpoints: 0, shadows: 0, writtenByOthers: 0 },
    ...{ imagesAhead: 0, deaths: 0, givenUp: 0, operations: 0 },
  };
}

/** What else may happen, in turns out of ten thousand. */
export interface Accidents {
  readonly deaths: number;
  readonly giveUps: number;
}

/** One history over one life. */
export class History {
  readonly #world: World;
  readonly #random: Random;
  readonly #occurred: Occurred;
  readonly #accidents: Accidents;
  readonly #running = new Map<Seat, Running>();
  static #versions = 0;

  constructor(
    world: World,
    random: Random,
    occurred: Occurred,
    accidents: Accidents = { deaths: 8, giveUps: 30 },
  ) {
    this.#world = world;
    this.#random = random;
    this.#occurred = occurred;
    this.#accidents = accidents;
  }

  /** One step of one backend. Errors that nobody ordered come out. */
  turn(): void {
    const { seats } = this.#world;
    const seat = this.#random.pick(seats);
    if (this.#random.below(10_000) < this.#accidents.deaths) this.#die(seat);
    else if (!this.#running.has(seat)) this.#begin(seat);
    else if (this.#random.below(10_000) < this.#accidents.giveUps) this.#giveUp(seat);
    else this.#step(seat, (fiber) => fiber.turn());
  }

  /** Lets what has begun come to its end, and begins nothing. */
  settle(): void {
    for (let turns = 0; this.#running.size > 0; turns++) {
      if (turns > 100_000) throw new Error("operations wait for each other");
      this.#step(this.#random.pick([...this.#running.keys()]), (fiber) => fiber.turn());
    }
  }

  /** Starts a checkpoint on a backend that has nothing to do, or false. */
  beginCheckpoint(): boolean {
    const seat = this.#world.seats.find((each) => !this.#running.has(each));
    if (seat === undefined) return false;
    this.#start(seat, this.#checkpoint(seat));
    return true;
  }

  // ── Steps ──────────────────────────────────────────────────────────────────────────────────────

  #begin(seat: Seat): void {
    const operation = this.#draw(seat);
    if (operation !== undefined) this.#start(seat, operation);
  }

  #start(seat: Seat, operation: Operation): void {
    const { kind, routine, uses, alone } = operation;
    const fiber = new Fiber(kind, seat.backend, seat.storage, routine);
    if (uses !== undefined) uses.users = alone === true ? -1 : uses.users + 1;
    this.#running.set(seat, { ...operation, fiber });
    this.#step(seat, () => fiber.turn());
  }

  #step(seat: Seat, act: (fiber: Fiber) => boolean): void {
    const running = this.#running.get(seat);
    if (running === undefined) return;
    const { fiber, effect } = running;
    this.#count(fiber);
    const anew = this.#world.interval;
    const wasCut = this.#world.isCut;
    try {
      if (act(fiber)) {
        this.#finish(seat, running);
        effect?.(fiber.result as never);
        this.#occurred.operations += 1;
        if (fiber.kind === "checkpoint") this.#occurred.checkpoints += 1;
      }
    } catch (error) {
      this.#finish(seat, running);
      if (!(error instanceof GivenUp)) throw error;
    }
    if (this.#world.noteCut()) {
      this.#occurred.cuts += 1;
      if (wasCut && this.#world.interval !== anew) this.#occurred.cutsAnew += 1;
    }
  }

  #finish(seat: Seat, { uses, alone }: Running): void {
    this.#running.delete(seat);
    if (uses !== undefined) uses.users = alone === true ? 0 : uses.users - 1;
  }

  #count({ kind, step }: Fiber): void {
    if (!this.#world.isCut || step === undefined) return;
    if (step.op === "write" && kind !== "checkpoint") {
      this.#occurred.writtenByOthers += step.pages.length;
    }
    if (step.op === "journal" && step.journal === this.#world.interval) {
      this.#occurred.imagesAhead += step.parts.length / 2;
      if (kind === "change" && step.parts.length === 2) this.#occurred.shadows += 1;
    }
  }

  #die(seat: Seat): void {
    const running = this.#running.get(seat);
    // Of what it had all to itself, half may be done: no model says what is there then.
    if (running?.alone === true) return;
    if (running !== undefined) this.#finish(seat, running);
    this.#world.replace(seat);
    this.#occurred.deaths += 1;
  }

  #giveUp(seat: Seat): void {
    const running = this.#running.get(seat);
    if (running === undefined || running.alone === true) return;
    if (running.fiber.step?.op === "syncJournal") return;
    this.#occurred.givenUp += 1;
    this.#step(seat, (fiber) => fiber.fail(new GivenUp()));
  }

  // ── Operations ─────────────────────────────────────────────────────────────────────────────────

  #draw(seat: Seat): Operation | undefined {
    const roll = this.#random.below(100);
    if (this.#world.relations.length === 0 || roll < 3) return this.#create(seat);
    if (roll < 8) return this.#checkpoint(seat);
    if (roll < 12) return this.#flush(seat);
    if (roll < 15) return this.#evict(seat);
    if (roll < 17) return this.#rename(seat);
    if (roll < 18) return this.#drop(seat);
    if (roll < 21) return this.#truncate(seat);
    if (roll < 32) return this.#extend(seat);
    if (roll < 36) return this.#changeZeroed(seat);
    return this.#change(seat);
  }

  #checkpoint({ backend }: Seat): Operation {
    return { kind: "checkpoint", routine: routineOf(() => backend.checkpointSync()) };
  }

  #create({ backend }: Seat): Operation | undefined {
    const { relations } = this.#world;
    if (relations.length >= MAX_RELATIONS) return undefined;
    const name = `r${++History.#versions}`;
    const routine = routineOf(() => backend.createRelationSync(name));
    return { kind: "create", routine, effect: (made: Relation) => this.#world.add(made) };
  }

  /** A relation that is free for one more user, or for one that wants it alone. */
  #relation(alone = false): Known | undefined {
    const free = this.#world.relations.filter(({ users }) => (alone ? users === 0 : users >= 0));
    return free.length === 0 ? undefined : this.#random.pick(free);
  }

  #rename({ backend }: Seat): Operation | undefined {
    const known = this.#relation(true);
    if (known === undefined) return undefined;
    const to = `r${++History.#versions}`;
    const routine = routineOf(() => backend.renameRelationSync(known.name, to));
    const effect = (): void => {
      known.name = to;
    };
    return { kind: "rename", routine, uses: known, alone: true, effect };
  }

  #drop({ backend }: Seat): Operation | undefined {
    const known = this.#relation(true);
    if (known === undefined) return undefined;
    const routine = routineOf(() => backend.dropRelationSync(known.name));
    const { relations } = this.#world;
    const effect = (): void => {
      relations.splice(relations.indexOf(known), 1);
    };
    return { kind: "drop", routine, uses: known, alone: true, effect };
  }

  #truncate({ backend }: Seat): Operation | undefined {
    const known = this.#relation(true);
    if (known === undefined) return undefined;
    const blocks = this.#random.below(known.pages.length + 1);
    const routine = routineOf(() => backend.truncateSync(known.relation, blocks));
    const effect = (): void => {
      known.pages.length = blocks;
    };
    return { kind: "truncate", routine, uses: known, alone: true, effect };
  }

  #extend({ backend }: Seat): Operation | undefined {
    const known = this.#relation();
    if (known === undefined || known.pages.length > MAX_BLOCKS) return undefined;
    const blocks = this.#random.between(1, 6);
    const routine = routineOf(() => backend.buffers.extendSync(known.relation, blocks));
    const effect = (first: number): void => {
      if (first !== known.pages.length) throw new Error(`extended at ${first}`);
      for (let n = 0; n < blocks; n++) known.pages.push(0);
    };
    return { kind: "extend", routine, uses: known, effect };
  }

  #flush({ backend }: Seat): Operation | undefined {
    const known = this.#random.below(2) === 0 ? undefined : this.#relation();
    const routine = routineOf(() => backend.buffers.flushSync(known?.relation));
    return { kind: "flush", routine, ...(known === undefined ? {} : { uses: known }) };
  }

  #evict({ backend }: Seat): Operation | undefined {
    const known = this.#relation();
    if (known === undefined) return undefined;
    const routine = routineOf(() => backend.buffers.evictAllSync(known.relation));
    return { kind: "evict", routine, uses: known };
  }

  #block({ pages }: Known): number {
    const hot = this.#random.below(2) === 0 ? HOT_BLOCKS : pages.length;
    return this.#random.below(Math.min(hot, pages.length));
  }

  #change({ backend }: Seat): Operation | undefined {
    const known = this.#relation();
    if (known === undefined || known.pages.length === 0) return undefined;
    const block = this.#block(known);
    const version = ++History.#versions;
    const undone = this.#random.below(20) === 0;
    const change = (bytes: Uint8Array): void => {
      stamp(bytes, { uid: known.uid, block, version });
      if (undone) throw new GivenUp();
    };
    const routine = routineOf(() => backend.buffers.changeSync(known.relation, block, change));
    const effect = (): void => {
      known.pages[block] = version;
    };
    return { kind: "change", routine, uses: known, effect };
  }

  /** A change of a page whose old content nobody reads; sometimes after one that was undone. */
  #changeZeroed(seat: Seat): Operation | undefined {
    const known = this.#relation();
    if (known === undefined || known.pages.length === 0) return undefined;
    const block = this.#block(known);
    const version = ++History.#versions;
    const undone = this.#random.below(3) === 0;
    const routine = zeroed(seat, { known, block, version, undone });
    const effect = (): void => {
      known.pages[block] = version;
    };
    return { kind: "change", routine, uses: known, effect };
  }
}

interface Zeroed {
  readonly known: Known;
  readonly block: number;
  readonly version: number;
  readonly undone: boolean;
}

function* zeroed({ backend }: Seat, { known, block, version, undone }: Zeroed): Routine<void> {
  const { buffers } = backend;
  const { id } = known.relation;
  const buffer: BufferId = yield* routineOf(() => buffers.pinZeroed(id, block));
  try {
    if (undone) {
      buffers.beginChange(buffer);
      buffers.undoChange(buffer);
    }
    buffers.beginChange(buffer);
    try {
      stamp(buffers.bytes(buffer), { uid: known.uid, block, version });
      yield* routineOf(() => buffers.endChange(buffer));
    } catch (error) {
      buffers.undoChange(buffer);
      throw error;
    }
  } finally {
    const { exports } = partsOf(backend).attachment;
    exports.unlock(buffer);
    exports.unpin(buffer);
  }
}
