// What the backends of a schedule count on, and what storage and pages must therefore contain: pins
// and locks as their holders believe in them, changes begun and completed, reads and writes under
// way. Kept outside the region, so that nothing that is tested has a part in it.
//
// A version may be anything from the number of completed changes up to that number and those that
// have begun: a death leaves open whether the last one stands.

import {
  OWNER_MASK,
  STATE_IO,
  STATE_VALID,
  STATE_WRITING,
} from "../../assembly/common/constants.ts";
import { Cuts, changingAddress } from "./cuts.ts";
import type { Fiber } from "./fiber.ts";
import {
  contentOf,
  FILE,
  identityOf,
  MAX_BLOCKS,
  OTHER_FILE,
  PAGE_MARKS,
  pageOf,
} from "./medium.ts";
import type { Note, Request } from "./steps.ts";
import { WORD_SHIFT, type World } from "./world.ts";

type Bytes = Extract<Request, { buffer: number }>;
type Moved = Extract<Request, { do: "fetch" | "journal" }>;

/** A page that a backend has pinned. */
export interface Pin {
  readonly buffer: number;
  readonly file: number;
  readonly block: number;
  /** Steps of the schedule when it was noted. */
  readonly since?: number;
}

const NOBODY = -1;
/** Answers of a fetch: versions of both halves, and which of them are zeroes. */
const VERSION_BITS = 12;

export class Ledger {
  /** By fiber. */
  readonly pins: Pin[][];
  /** Changes of a page that are known to stand, and such as were begun besides. */
  readonly completed: Uint32Array = new Uint32Array(2 * MAX_BLOCKS);
  readonly begun: Uint32Array = new Uint32Array(2 * MAX_BLOCKS);
  readonly cuts: Cuts;
  readonly #world: World;
  /** Fibers that read or write a page at this moment, as masks. */
  readonly #reading: Uint8Array = new Uint8Array(2 * MAX_BLOCKS);
  readonly #writing: Uint8Array = new Uint8Array(2 * MAX_BLOCKS);
  /** Masks of fibers that hold a buffer's content lock, and who holds it alone. */
  readonly #shared: Uint8Array;
  readonly #exclusive: Int8Array;
  readonly #named: Map<number, number> = new Map();
  /** The last cut before a fiber's checkpoint. */
  readonly #floors: number[] = [];
  /** Version seen in the first half, by fiber. */
  readonly #seen: Uint32Array;
  /** Marks of the copy that is written, or of the block that is fetched, by fiber. */
  readonly #copies: Uint32Array;
  /** Pages that may be zeroes. */
  readonly #cleared: Uint8Array = new Uint8Array(2 * MAX_BLOCKS);
  #dropped = 0;
  #gone = 0;
  #reread = false;

  constructor(world: World, fibers: number) {
    this.#world = world;
    this.pins = Array.from({ length: fibers }, () => []);
    this.#shared = new Uint8Array(world.buffers);
    this.#exclusive = new Int8Array(world.buffers);
    this.#seen = new Uint32Array(fibers);
    this.#copies = new Uint32Array(PAGE_MARKS * fibers);
    this.cuts = new Cuts(world.medium);
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
    this.#cleared.fill(0);
    this.cuts.reset(this.#stored(), this.#world.baseline);
    this.#dropped = 0;
    this.#gone = 0;
    this.#reread = false;
  }

  #stored(): number[] {
    const { marks } = this.#world.medium;
    return Array.from({ length: 2 * MAX_BLOCKS }, (_, page) => {
      const at = page * PAGE_MARKS;
      return contentOf(marks, at, marks[at] ?? 0);
    });
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
  died({ index: fiber, slot }: Fiber): void {
    const others = ~(1 << fiber);
    const changing = this.#world.u32[changingAddress(this.#world.at.slots, slot) >>> WORD_SHIFT];
    this.cuts.died(fiber, changing ?? 0, (page) => this.#isZero(page));
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
        this.#pin(fiber, note);
        return;
      case "unpinned":
        this.#unpin(fiber.index, note.buffer);
        return;
      case "shared":
      case "exclusive":
      case "unlocked":
        this.#lock(fiber, note);
        return;
      case "alone":
        this.#alone(fiber, note.buffer);
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
        this.cuts.ended(fiber.index);
        return;
      case "undone":
        this.begun[pageOf(note.file, note.block)] =
          (this.begun[pageOf(note.file, note.block)] ?? 0) - 1;
        this.cuts.undone(fiber.index);
        return;
      case "zeroing":
        this.#cleared[pageOf(note.file, note.block)] = 1;
        this.cuts.zeroing(fiber.index, pageOf(note.file, note.block));
        return;
      case "zeroed":
        this.cuts.zeroed(fiber.index);
        return;
      case "checkpoint begins":
        this.#floors[fiber.index] = this.cuts.last;
        return;
      case "checkpoint ends":
        this.#checkFloor(this.#floors[fiber.index] ?? 0);
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

  #pin({ index, driver }: Fiber, { buffer, file, block }: Pin): void {
    const pins = this.pins[index] as Pin[];
    pins.push({ buffer, file, block, since: driver.steps });
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

  /** Pins from before the fiber's last look may not be there; later ones may. */
  #alone(fiber: Fiber, buffer: number): void {
    this.pins.forEach((pins, other) => {
      const { since = fiber.settling } = pins.find((pin) => pin.buffer === buffer) ?? {};
      if (other === fiber.index || since >= fiber.settling) return;
      throw new Error(`a cleanup lock on buffer ${buffer}, which another has pinned`);
    });
  }

  #change(page: number): void {
    this.completed[page] = (this.completed[page] ?? 0) + 1;
    this.begun[page] = (this.begun[page] ?? 0) - 1;
  }

  #checkFloor(before: number): void {
    if (this.#world.medium.committed > before) return;
    throw new Error("a checkpoint has ended, and none that was cut after its beginning stands");
  }

  /** Whether a page is zeroes in the pool. */
  #isZero(page: number): boolean {
    const file = page < MAX_BLOCKS ? FILE : OTHER_FILE;
    for (let buffer = 0; buffer < this.#world.buffers; buffer += 1) {
      const valid = (this.#world.state(buffer) & STATE_VALID) !== 0;
      const mine = this.#world.tagOf(buffer);
      if (!valid || mine.file !== file || mine.block !== page % MAX_BLOCKS) continue;
      return this.#world.u32[this.#world.frame(buffer, 0)] === 0;
    }
    return false;
  }

  /** Whether a page may be zeroes. */
  mayBeZero(file: number, block: number): boolean {
    return this.#cleared[pageOf(file, block)] !== 0;
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
    const at = PAGE_MARKS * fiber.index + 2 * half;
    const [identity = 0, version = 0] = this.#copies.subarray(at, at + 2);
    this.#world.medium.write(file, block, half, identity, version);
    return undefined;
  }

  #copy(fiber: Fiber, { buffer, file, block }: Bytes, half: number): string | undefined {
    const at = this.#world.frame(buffer, half);
    const [identity = 0, version = 0] = this.#world.u32.subarray(at, at + 2);
    if (!this.#fits(identity, file, block)) return `not block ${block} is written`;
    const state = this.#world.state(buffer);
    if ((state & OWNER_MASK) !== fiber.slot + 1 || (state & STATE_WRITING) === 0) {
      return `block ${block} is written from a frame of somebody else`;
    }
    const copy = PAGE_MARKS * fiber.index;
    this.#copies[copy + 2 * half] = identity;
    this.#copies[copy + 2 * half + 1] = version;
    if (half === 0) return identity === 0 ? undefined : this.wrongVersion(file, block, version);
    const whole = this.#copies[copy] === identity && this.#copies[copy + 1] === version;
    return whole ? undefined : `block ${block} is copied torn`;
  }

  #fits(identity: number, file: number, block: number): boolean {
    return identity === identityOf(file, block) || (identity === 0 && this.mayBeZero(file, block));
  }

  // ── Private memory and journals ────────────────────────────────────────────────────────────────

  /** One half of a fetch, or of writing records: torn, then whole. */
  moved(fiber: Fiber, request: Moved, half: number): void {
    const { medium } = this.#world;
    if (request.do === "journal") {
      medium.append(request.journal, request.first, request.images, half === 1);
      return;
    }
    const from = this.#world.stored(request.file, request.block, half);
    const marks = medium.marks.subarray(from, from + 2);
    this.#copies.set(marks, PAGE_MARKS * fiber.index + 2 * half);
  }

  /** What was fetched, in one number; {@link marksOf} reads it. */
  fetched(fiber: Fiber): number {
    const at = PAGE_MARKS * fiber.index;
    const [first, version = 0, second, other = 0] = this.#copies.subarray(at, at + PAGE_MARKS);
    const zeroes = (first === 0 ? 1 : 0) + (second === 0 ? 2 : 0);
    return (((zeroes << VERSION_BITS) | other) << VERSION_BITS) | version;
  }

  #touch(fiber: Fiber, request: Bytes & { buffer: number }, half: number): string | undefined {
    const { buffer, file, block } = request;
    const { u32 } = this.#world;
    const at = this.#world.frame(buffer, half);
    const identity = u32[at] ?? 0;
    // Zeroes are followed by the next version there is.
    const version = identity === 0 ? this.#versionOf(file, block) : (u32[at + 1] ?? 0);
    if (!this.#fits(identity, file, block)) return `buffer ${buffer} does not hold block ${block}`;
    if (half === 0) {
      const wrong = this.wrongVersion(file, block, version);
      if (wrong !== undefined) return wrong;
      this.#seen[fiber.index] = version;
    } else if (version !== this.#seen[fiber.index]) {
      return `block ${block} is torn: version ${this.#seen[fiber.index]}, then ${version}`;
    }
    if (request.do === "look") return undefined;
    const page = pageOf(file, block);
    if (half === 0) {
      this.begun[page] = (this.begun[page] ?? 0) + 1;
      this.cuts.begun(fiber.index, page, version + 1);
    }
    u32[at] = identityOf(file, block);
    u32[at + 1] = version + 1;
    return undefined;
  }

  #versionOf(file: number, block: number): number {
    return this.completed[pageOf(file, block)] ?? 0;
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

/** The marks that the answer of a fetch stands for. */
export function marksOf(answer: number, file: number, block: number): number[] {
  const mask = (1 << VERSION_BITS) - 1;
  const zeroes = answer >>> (2 * VERSION_BITS);
  const identity = identityOf(file, block);
  const [first, second] = [(zeroes & 1) === 0, (zeroes & 2) === 0];
  const [version, other] = [answer & mask, (answer >>> VERSION_BITS) & mask];
  return [first ? identity : 0, version, second ? identity : 0, other];
}
