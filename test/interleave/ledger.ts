// What the backends of a schedule count on, and what storage and pages must therefore contain: pins
// and locks as their holders believe in them, changes begun and completed, reads and writes under
// way. Kept outside the region, so that nothing that is tested has a part in it.
//
// A version may be anything from the number of completed changes up to that number and those that
// have begun: a death leaves open whether the last one stands.

import { OWNER_MASK, STATE_IO, STATE_WRITING } from "../../assembly/common/constants.ts";
import type { Fiber } from "./fiber.ts";
import type { Note, Request } from "./steps.ts";
import { FILE, identityOf, type World } from "./world.ts";

type Bytes = Extract<Request, { block: number }>;

/** A page that a backend has pinned. */
export interface Pin {
  readonly buffer: number;
  readonly file: number;
  readonly block: number;
}

const MAX_BLOCKS = 8;
const NOBODY = -1;

function pageOf(file: number, block: number): number {
  return (file === FILE ? 0 : MAX_BLOCKS) + block;
}

export class Ledger {
  /** By fiber. */
  readonly pins: Pin[][];
  /** Changes of a page that are known to stand, and such as were begun besides. */
  readonly completed: Uint32Array = new Uint32Array(2 * MAX_BLOCKS);
  readonly begun: Uint32Array = new Uint32Array(2 * MAX_BLOCKS);
  readonly #world: World;
  /** Fibers that read or write a page at this moment, as masks. */
  readonly #reading: Uint8Array = new Uint8Array(2 * MAX_BLOCKS);
  readonly #writing: Uint8Array = new Uint8Array(2 * MAX_BLOCKS);
  /** Masks of fibers that hold a buffer's content lock, and who holds it alone. */
  readonly #shared: Uint8Array;
  readonly #exclusive: Int8Array;
  readonly #named: Map<number, number> = new Map();
  readonly #floors: (Uint32Array | undefined)[] = [];
  /** Version seen in the first half, by fiber. */
  readonly #seen: Uint32Array;
  /** Versions of both halves of the copy that is written, by fiber. */
  readonly #copies: Uint32Array;
  #dropped = 0;
  #gone = 0;
  #reread = false;

  constructor(world: World, fibers: number) {
    this.#world = world;
    this.pins = Array.from({ length: fibers }, () => []);
    this.#shared = new Uint8Array(world.buffers);
    this.#exclusive = new Int8Array(world.buffers);
    this.#seen = new Uint32Array(fibers);
    this.#copies = new Uint32Array(2 * fibers);
    this.reset();
  }

  reset(): void {
    for (const pins of this.pins) pins.length = 0;
    this.completed.set(this.#world.baseline);
    this.begun.fill(0);
    this.#reading.fill(0);
    this.#writing.fill(0);
    this.#shared.fill(0);
    this.#exclusive.fill(NOBODY);
    this.#named.clear();
    this.#floors.length = 0;
    this.#dropped = 0;
    this.#gone = 0;
    this.#reread = false;
  }

  /** Whether the pages of a file are being dropped, or were. */
  isDropped(file: number): boolean {
    return this.#dropped === file;
  }

  /** Whether no page of a file may be in the pool any more. */
  isGone(file: number): boolean {
    return this.#gone === file && !this.#reread;
  }

  /** Whether some fiber reads this page from storage now. */
  isRead(file: number, block: number): boolean {
    return this.#reading[pageOf(file, block)] !== 0;
  }

  /** The dead count on nothing. */
  died(fiber: number): void {
    const others = ~(1 << fiber);
    (this.pins[fiber] as Pin[]).length = 0;
    for (const masks of [this.#reading, this.#writing, this.#shared]) {
      for (let index = 0; index < masks.length; index += 1) {
        masks[index] = (masks[index] ?? 0) & others;
      }
    }
    this.#exclusive.forEach((holder, buffer) => {
      if (holder === fiber) this.#exclusive[buffer] = NOBODY;
    });
    for (const [lock, holder] of this.#named) if (holder === fiber) this.#named.delete(lock);
  }

  // ── Notes ──────────────────────────────────────────────────────────────────────────────────────

  note(fiber: Fiber, note: Note): void {
    switch (note.kind) {
      case "pinned":
        this.#pin(fiber.index, note);
        return;
      case "unpinned":
        this.#unpin(fiber.index, note.buffer);
        return;
      case "shared":
      case "exclusive":
      case "unlocked":
        this.#lock(fiber, note);
        return;
      case "named":
        if (this.#named.has(note.lock)) throw new Error(`two hold named lock ${note.lock}`);
        this.#named.set(note.lock, fiber.index);
        return;
      case "unnamed":
        this.#named.delete(note.lock);
        return;
      case "changed":
        this.#change(pageOf(note.file, note.block));
        return;
      case "checkpoint begins":
        this.#floors[fiber.index] = this.completed.slice();
        return;
      case "checkpoint ends":
        this.#checkFloor(this.#floors[fiber.index]);
        return;
      case "uses":
        // Who uses a relation that is dropped may read it again: its pages need not be gone.
        this.#reread = true;
        return;
      case "drop begins":
        this.#dropped = note.file;
        return;
      case "drop ends":
        this.#gone = note.file;
        return;
      case "left":
        (this.pins[fiber.index] as Pin[]).length = 0;
        return;
      case "attached":
        fiber.slot = note.slot;
    }
  }

  #pin(fiber: number, { buffer, file, block }: Pin): void {
    const pins = this.pins[fiber] as Pin[];
    pins.push({ buffer, file, block });
  }

  #unpin(fiber: number, buffer: number): void {
    const pins = this.pins[fiber] as Pin[];
    const index = pins.findIndex((pin) => pin.buffer === buffer);
    if (index >= 0) pins.splice(index, 1);
  }

  #lock(fiber: Fiber, note: Note & { buffer: number }): void {
    const { buffer } = note;
    const shared = (this.#shared[buffer] ?? 0) & ~fiber.bit;
    const holder = this.#exclusive[buffer] ?? NOBODY;
    const alone = holder === fiber.index ? NOBODY : holder;
    this.#shared[buffer] = shared | (note.kind === "shared" ? fiber.bit : 0);
    this.#exclusive[buffer] = note.kind === "exclusive" ? fiber.index : alone;
    if (note.kind === "unlocked") return;
    if (alone !== NOBODY || (note.kind === "exclusive" && shared !== 0)) {
      throw new Error(`the content lock of buffer ${buffer} is held ${note.kind} and by another`);
    }
  }

  #change(page: number): void {
    this.completed[page] = (this.completed[page] ?? 0) + 1;
    this.begun[page] = (this.begun[page] ?? 0) - 1;
  }

  #checkFloor(floor: Uint32Array | undefined): void {
    for (let block = 0; block < MAX_BLOCKS; block += 1) {
      const least = floor?.[pageOf(FILE, block)] ?? 0;
      for (let half = 0; half < 2; half += 1) {
        const at = this.#world.stored(FILE, block, half);
        if ((this.#world.storage[at + 1] ?? 0) >= least) continue;
        throw new Error(`a checkpoint left out a change of block ${block}`);
      }
    }
  }

  // ── Bytes ──────────────────────────────────────────────────────────────────────────────────────

  /** Word index of the half page that a stage of a request touches; storage has no word. */
  placeOf({ buffer }: Bytes, stage: number): number {
    return stage < 2 ? this.#world.frame(buffer, stage) : 0;
  }

  /** Carries out one half of a request; what is wrong, if anything. */
  half(fiber: Fiber, request: Bytes, half: number): string | undefined {
    switch (request.do) {
      case "read":
        return this.#read(fiber, request, half);
      case "write":
        return this.#write(fiber, request, half);
      default:
        return this.#touch(fiber, request, half);
    }
  }

  answer(fiber: Fiber): number {
    return this.#seen[fiber.index] ?? 0;
  }

  #read(fiber: Fiber, request: Bytes & { buffer: number }, half: number): string | undefined {
    const { buffer, file, block } = request;
    const page = pageOf(file, block);
    const state = this.#world.state(buffer);
    if ((state & OWNER_MASK) !== fiber.slot + 1 || (state & STATE_IO) === 0) {
      return `block ${block} is read into a frame of somebody else`;
    }
    if ((state & STATE_WRITING) !== 0) return `block ${block} is read and written at once`;
    if (((this.#reading[page] ?? 0) & ~fiber.bit) !== 0) return `block ${block} is read by two`;
    if (this.#writing[page] !== 0) return `block ${block} is read while it is written`;
    this.#reading[page] = half === 0 ? fiber.bit : 0;
    this.#world.readHalf(buffer, file, block, half);
    return undefined;
  }

  /** Two stages copy the frame, two more write the copy. */
  #write(fiber: Fiber, request: Bytes, stage: number): string | undefined {
    if (stage < 2) return this.#copy(fiber, request, stage);
    const { file, block } = request;
    const page = pageOf(file, block);
    const half = stage - 2;
    if (((this.#writing[page] ?? 0) & ~fiber.bit) !== 0) return `block ${block} is written by two`;
    if (this.#reading[page] !== 0) return `block ${block} is written while it is read`;
    this.#writing[page] = half === 0 ? fiber.bit : 0;
    this.#world.writeHalf(this.#copies[2 * fiber.index + half] ?? 0, file, block, half);
    return undefined;
  }

  #copy(fiber: Fiber, { buffer, file, block }: Bytes, half: number): string | undefined {
    const at = this.#world.frame(buffer, half);
    const version = this.#world.u32[at + 1] ?? 0;
    if (this.#world.u32[at] !== identityOf(file, block)) return `not block ${block} is written`;
    const state = this.#world.state(buffer);
    if ((state & OWNER_MASK) !== fiber.slot + 1 || (state & STATE_WRITING) === 0) {
      return `block ${block} is written from a frame of somebody else`;
    }
    this.#copies[2 * fiber.index + half] = version;
    if (half === 0) return this.wrongVersion(file, block, version);
    return this.#copies[2 * fiber.index] === version ? undefined : `block ${block} is copied torn`;
  }

  #touch(fiber: Fiber, request: Bytes & { buffer: number }, half: number): string | undefined {
    const { buffer, file, block } = request;
    const { u32 } = this.#world;
    const at = this.#world.frame(buffer, half);
    const version = u32[at + 1] ?? 0;
    if (u32[at] !== identityOf(file, block)) return `buffer ${buffer} does not hold block ${block}`;
    if (half === 0) {
      const wrong = this.wrongVersion(file, block, version);
      if (wrong !== undefined) return wrong;
      this.#seen[fiber.index] = version;
    } else if (version !== this.#seen[fiber.index]) {
      return `block ${block} is torn: version ${this.#seen[fiber.index]}, then ${version}`;
    }
    if (request.do === "look") return undefined;
    const page = pageOf(file, block);
    if (half === 0) this.begun[page] = (this.begun[page] ?? 0) + 1;
    u32[at + 1] = version + 1;
    return undefined;
  }

  /** What is wrong with a version, if anything. */
  wrongVersion(file: number, block: number, version: number): string | undefined {
    const page = pageOf(file, block);
    const least = this.completed[page] ?? 0;
    const most = least + (this.begun[page] ?? 0);
    if (version >= least && version <= most) return undefined;
    return `block ${block} has version ${version} after ${least} to ${most} changes`;
  }
}
