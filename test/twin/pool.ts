// The buffer pool in plain TypeScript, for any number of backends that take turns: which page is in
// which buffer, who holds it, how often it was used, what is dirty, where the hand stands. It
// predicts the very buffer of every pin and every page that is evicted or written for it.
//
// It is the oracle of test/differential/pool.test.ts and shares no code with what it judges. It
// knows no threads: a pin here is one step, so whatever of the protocol exists only for backends
// that run at once (claims, guards, partition locks, waiting) has no counterpart. Every other rule
// has, in the order in which the sheet gives them, because the order decides the numbers:
//
// - the hand moves before the buffer is looked at, and stays where it is when the search fails;
// - a buffer that anyone holds costs one try, a buffer that loses a use gives all tries back;
// - a dirty candidate is written and then evicted, not passed over;
// - a miss leaves usage 1; a backend's first pin of a resident page adds one, up to five, and its
//   further pins add nothing.
//
// PostgreSQL: src/backend/storage/buffer/freelist.c, StrategyGetBuffer;
// src/backend/storage/buffer/bufmgr.c, GetVictimBuffer, PinBuffer

import { MAX_USAGE } from "../../assembly/common/constants.ts";

/** One page of one fork; `fork` is the number of a relation with its fork in the low two bits. */
export interface TwinPage {
  readonly fork: number;
  readonly block: number;
}

/** What one pin did. */
export interface TwinPin {
  readonly buffer: number;
  /** Whether the page was there, so that nothing had to be read. */
  readonly hit: boolean;
  /** The page that had to go, if a readable one was in the way. */
  readonly evicted: TwinPage | undefined;
  /** The pages that were written for it, in the order of forks and blocks. */
  readonly written: readonly TwinPage[];
}

/** What a pool has done so far. */
export interface TwinCounters {
  hits: number;
  reads: number;
  writes: number;
  evictions: number;
  /** Searches for a victim, also those that found none. */
  allocations: number;
}

/** One of the rows 0 to 5 that pg_buffercache_usage_counts() shows. */
export interface TwinUsage {
  readonly usage_count: number;
  readonly buffers: number;
  readonly dirty: number;
  readonly pinned: number;
}

/** How a page comes into its buffer. `zero` reads nothing; `fail` is a read that goes wrong. */
export type TwinFill = "read" | "zero" | "fail";

/** Pages written together, at most; fewer in a small pool; and how far ahead they are looked for.
 * */
const BATCH_PAGES = 64;
const BATCH_FRACTION = 8;
const LOOK_AHEAD = 4;

/** Every buffer is held. */
export class NoUnpinnedBuffers extends Error {
  constructor() {
    super("no unpinned buffers available");
  }
}

/** A read went wrong. The page keeps its buffer, unreadable, and nobody holds it. */
export class ReadFailed extends Error {
  /** What was done before the read. */
  readonly attempt: TwinPin;

  constructor(attempt: TwinPin) {
    super("could not read");
    this.attempt = attempt;
  }
}

interface Frame {
  page: TwinPage | undefined;
  /** Whether the bytes of `page` are in the buffer; false after a failed read. */
  valid: boolean;
  dirty: boolean;
  usage: number;
  /** Pins, by backend. */
  readonly pins: number[];
}

/** A pool of `buffers` buffers with `backends` backends, numbered from 0. */
export class TwinPool {
  readonly counters: TwinCounters = { hits: 0, reads: 0, writes: 0, evictions: 0, allocations: 0 };
  readonly #frames: Frame[];
  readonly #residents = new Map<string, number>();
  #hand = 0;
  #passes = 0;

  constructor(buffers: number, backends: number) {
    this.#frames = Array.from({ length: buffers }, () => ({
      page: undefined,
      valid: false,
      dirty: false,
      usage: 0,
      pins: Array.from({ length: backends }, () => 0),
    }));
  }

  /** The buffer that the next tick of the hand returns. */
  get hand(): number {
    return this.#hand;
  }

  /** How often the hand has gone all the way round. */
  get passes(): number {
    return this.#passes;
  }

  /**
   * Pins a page for a backend, reading it if it is not there.
   *
   * @throws NoUnpinnedBuffers if a buffer is needed and everyone is held
   * @throws ReadFailed if the page had to be read and `fill` is "fail"
   */
  pin(backend: number, page: TwinPage, fill: TwinFill = "read"): TwinPin {
    const resident = this.#residents.get(keyOf(page));
    if (resident !== undefined) return this.#pinResident(backend, resident, fill);
    const victim = this.#victim();
    const frame = this.#frame(victim.buffer);
    frame.page = page;
    frame.usage = 1;
    frame.pins[backend] = 1;
    this.#residents.set(keyOf(page), victim.buffer);
    return this.#fill(backend, { ...victim, hit: false }, fill);
  }

  /** Gives back one pin of a backend. */
  unpin(backend: number, buffer: number): void {
    const pins = this.pinsOf(backend, buffer);
    if (pins === 0) throw new Error(`backend ${backend} does not hold buffer ${buffer}`);
    this.#frame(buffer).pins[backend] = pins - 1;
  }

  /** How often a backend holds a buffer. */
  pinsOf(backend: number, buffer: number): number {
    return this.#frame(buffer).pins[backend] ?? 0;
  }

  /** The bytes of a buffer have changed. */
  markDirty(buffer: number): void {
    this.#frame(buffer).dirty = true;
  }

  /** Writes every dirty page, as a checkpoint does, in the order of forks and blocks. */
  writeAll(): TwinPage[] {
    const dirty = this.#frames.filter((frame) => frame.dirty);
    for (const frame of dirty) this.#write(frame);
    return pagesOf(dirty);
  }

  /** The buffer that holds a page, readable or not. */
  bufferOf(page: TwinPage): number | undefined {
    return this.#residents.get(keyOf(page));
  }

  /** The six rows of pg_buffercache_usage_counts(). */
  usageCounts(): TwinUsage[] {
    return Array.from({ length: MAX_USAGE + 1 }, (_, usage) => {
      const frames = this.#frames.filter((frame) => frame.usage === usage);
      return {
        usage_count: usage,
        buffers: frames.length,
        dirty: frames.filter((frame) => frame.dirty).length,
        pinned: frames.filter(isPinned).length,
      };
    });
  }

  #pinResident(backend: number, buffer: number, fill: TwinFill): TwinPin {
    const frame = this.#frame(buffer);
    const own = frame.pins[backend] ?? 0;
    frame.pins[backend] = own + 1;
    if (own === 0 && frame.usage < MAX_USAGE) frame.usage += 1;
    const pin: TwinPin = { buffer, hit: frame.valid, evicted: undefined, written: [] };
    if (!pin.hit) return this.#fill(backend, pin, fill);
    this.counters.hits += 1;
    return pin;
  }

  #fill(backend: number, pin: TwinPin, fill: TwinFill): TwinPin {
    if (fill === "fail") {
      this.unpin(backend, pin.buffer);
      throw new ReadFailed(pin);
    }
    if (fill === "read") this.counters.reads += 1;
    this.#frame(pin.buffer).valid = true;
    return pin;
  }

  /** Finds a buffer, empties it, and says which page was in it and which was written. */
  #victim(): Omit<TwinPin, "hit"> {
    this.counters.allocations += 1;
    const buffer = this.#sweep();
    const frame = this.#frame(buffer);
    const { page, valid } = frame;
    const batch = frame.dirty ? [frame, ...this.#companions(buffer)] : [];
    const written = pagesOf(batch);
    for (const each of batch) this.#write(each);
    if (page !== undefined) this.#residents.delete(keyOf(page));
    if (valid) this.counters.evictions += 1;
    frame.page = undefined;
    frame.valid = false;
    return { buffer, evicted: valid ? page : undefined, written };
  }

  /** Dirty buffers ahead of the victim that nobody holds and that have no use left. */
  #companions(victim: number): Frame[] {
    const buffers = this.#frames.length;
    const batch = Math.max(1, Math.min(BATCH_PAGES, Math.floor(buffers / BATCH_FRACTION)));
    const found: Frame[] = [];
    for (let step = 1; step < buffers && step <= batch * LOOK_AHEAD; step += 1) {
      if (found.length + 1 >= batch) break;
      const frame = this.#frame((victim + step) % buffers);
      if (frame.dirty && frame.usage === 0 && !isPinned(frame)) found.push(frame);
    }
    return found;
  }

  #sweep(): number {
    let tries = this.#frames.length;
    while (true) {
      const buffer = this.#tick();
      const frame = this.#frame(buffer);
      if (isPinned(frame)) {
        tries -= 1;
        if (tries === 0) throw new NoUnpinnedBuffers();
      } else if (frame.usage > 0) {
        frame.usage -= 1;
        tries = this.#frames.length;
      } else {
        return buffer;
      }
    }
  }

  #tick(): number {
    const buffer = this.#hand;
    this.#hand += 1;
    if (this.#hand === this.#frames.length) {
      this.#hand = 0;
      this.#passes += 1;
    }
    return buffer;
  }

  #write(frame: Frame): void {
    frame.dirty = false;
    this.counters.writes += 1;
  }

  #frame(buffer: number): Frame {
    const frame = this.#frames[buffer];
    if (frame === undefined) throw new Error(`there is no buffer ${buffer}`);
    return frame;
  }
}

function pagesOf(frames: readonly Frame[]): TwinPage[] {
  const pages = frames.flatMap(({ page }) => (page === undefined ? [] : [page]));
  return pages.sort((a, b) => a.fork - b.fork || a.block - b.block);
}

function isPinned(frame: Frame): boolean {
  return frame.pins.some((pins) => pins > 0);
}

function keyOf(page: TwinPage): string {
  return `${page.fork}/${page.block}`;
}
