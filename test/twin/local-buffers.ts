// Local buffers in plain TypeScript: which page is in which buffer, how often it is pinned and was
// used, what is dirty. It predicts the buffer of every pin and the pages that are written or go for
// it. It is the oracle of test/differential/local-buffers.test.ts and shares no code with what it
// judges: buffers are a list of objects, and a page is found by looking at all of them.
//
// The rules whose order decides the numbers:
//
// - the hand moves before the buffer is looked at, and stays where it is when the search fails;
// - a pinned buffer costs one try, a buffer that loses a use gives all tries back;
// - a dirty victim is written before its page is forgotten, so that a failed write changes nothing
//   but the hand and the uses it has passed;
// - a miss leaves usage 1; only the first pin of a page adds a use, up to five;
// - a failed read leaves its page in its buffer, unreadable; pushing it out is no eviction.
//
// PostgreSQL: src/backend/storage/buffer/localbuf.c, LocalBufferAlloc, GetLocalVictimBuffer

import { MAX_USAGE } from "../../assembly/common/constants.ts";

/** How a page comes into its buffer. `zero` reads nothing; `fail` is a read that goes wrong. */
export type TwinFill = "read" | "zero" | "fail";

/** What one pin did. */
export interface TwinLocalPin {
  /** The buffer's number, below 0; undefined if the pin failed. */
  readonly buffer: number | undefined;
  readonly outcome: "hit" | "read" | "zeroed" | "read failed" | "write failed" | "no buffer";
  /** The page that was written for it. */
  readonly written: string | undefined;
  /** Whether a readable page lost its buffer. */
  readonly evicted: boolean;
}

/** One buffer. */
export interface TwinLocalFrame {
  page: string | undefined;
  valid: boolean;
  dirty: boolean;
  usage: number;
  pins: number;
}

const NOTHING = { buffer: undefined, written: undefined, evicted: false } as const;

/** The local buffers of one backend. A page is any text that names it. */
export class TwinLocalBuffers {
  readonly frames: readonly TwinLocalFrame[];
  #hand = 0;

  constructor(size: number) {
    this.frames = Array.from({ length: size }, () => ({
      page: undefined,
      valid: false,
      dirty: false,
      usage: 0,
      pins: 0,
    }));
  }

  /** Pins a page. @param writesFail - whether storage refuses to write */
  pin(page: string, fill: TwinFill, writesFail = false): TwinLocalPin {
    const resident = this.frames.findIndex((frame) => frame.page === page);
    if (resident >= 0) return this.#pinResident(resident, fill);
    const index = this.#sweep();
    const frame = this.frames[index];
    if (frame === undefined) return { ...NOTHING, outcome: "no buffer" };
    if (frame.dirty && writesFail) return { ...NOTHING, outcome: "write failed" };
    const written = frame.dirty ? frame.page : undefined;
    const evicted = frame.valid;
    Object.assign(frame, { page, valid: false, dirty: false, usage: 1, pins: 1 });
    return { ...this.#fill(index, fill), written, evicted };
  }

  unpin(buffer: number): void {
    this.frame(buffer).pins -= 1;
  }

  dirty(buffer: number): void {
    this.frame(buffer).dirty = true;
  }

  /** Writes the dirty pages that `of` is true for. @returns them, in the order of buffers */
  flush(of: (page: string) => boolean): string[] {
    const dirty = this.frames.filter(({ page, dirty }) => page !== undefined && dirty && of(page));
    for (const frame of dirty) frame.dirty = false;
    return dirty.map(({ page }) => page ?? "");
  }

  /** Forgets the pages that `of` is true for. @returns false, and forgets none, if one is pinned */
  drop(of: (page: string) => boolean): boolean {
    const gone = this.frames.filter(({ page }) => page !== undefined && of(page));
    if (gone.some(({ pins }) => pins > 0)) return false;
    for (const frame of gone) {
      Object.assign(frame, { page: undefined, valid: false, dirty: false, usage: 0 });
    }
    return true;
  }

  frame(buffer: number): TwinLocalFrame {
    const frame = this.frames[-1 - buffer];
    if (frame === undefined) throw new Error(`there is no buffer ${buffer}`);
    return frame;
  }

  #pinResident(index: number, fill: TwinFill): TwinLocalPin {
    const frame = this.frame(-1 - index);
    if (frame.pins === 0) frame.usage = Math.min(frame.usage + 1, MAX_USAGE);
    frame.pins += 1;
    if (frame.valid) return { ...NOTHING, buffer: -1 - index, outcome: "hit" };
    return { ...this.#fill(index, fill), written: undefined, evicted: false };
  }

  #fill(index: number, fill: TwinFill): Pick<TwinLocalPin, "buffer" | "outcome"> {
    const frame = this.frame(-1 - index);
    if (fill === "fail") {
      frame.pins -= 1;
      return { buffer: undefined, outcome: "read failed" };
    }
    frame.valid = true;
    return { buffer: -1 - index, outcome: fill === "read" ? "read" : "zeroed" };
  }

  /** Index of a buffer that is neither pinned nor used, or -1. */
  #sweep(): number {
    let tries = this.frames.length;
    while (tries > 0) {
      const index = this.#hand;
      this.#hand = (this.#hand + 1) % this.frames.length;
      const { pins, usage } = this.frame(-1 - index);
      if (pins === 0 && usage === 0) return index;
      if (pins > 0) {
        tries -= 1;
      } else {
        this.frame(-1 - index).usage -= 1;
        tries = this.frames.length;
      }
    }
    return -1;
  }
}
