// The pool and its twin run the same random histories: several backends take turns on one small
// pool, and after every step both must agree on the buffer that was chosen, on hit or miss, on the
// pages read and written, on the counters, and on usage counts, dirty and pinned buffers.
//
// A history is a line of words, a letter for the backend and what it does:
//
//   A17   pins block 17; beyond the end of the relation the read fails
//   A-    gives back the oldest pin it holds        A~   gives back the newest
//   A!    changes the page it pinned last           A#   checkpoint
//   A>    extends the relation by one page and changes it
//
// A failing history is printed shrunk, with its seed; pasted into `replays` it is run as a test.
// Every page carries the number of its last change, so that a page that was lost, mixed up or
// written too early shows as well.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  Backend,
  BufferError,
  type BufferId,
  type BufferPool,
  initPage,
  type Relation,
  SharedMemory,
  StorageError,
} from "../../bindings/index.ts";
import { type IoMethod, ioMethods, withIoMethod } from "../support/io-methods.ts";
import { notedStorage, openStorage } from "../support/noted-storage.ts";
import {
  NoUnpinnedBuffers,
  ReadFailed,
  type TwinFill,
  type TwinPin,
  TwinPool,
} from "../twin/pool.ts";

const BUFFERS = 16;
const LETTERS = ["A", "B", "C"] as const;
const FIRST_BLOCKS = 32;
const STAMP_OFFSET = 24;
/** A region with I/O workers starts threads, so there are fewer of them. */
const RUNS = { sync: 150, worker: 10 } as const;
/** Ends the shrinking of a failure, so that it is printed before the test's time is over. */
const LIMIT_MS = 40_000;
const LONGEST = 150;

/** Histories that once failed, or that reach a corner by design; each runs on every build. */
const replays: readonly string[] = [
  // Sixteen pages held: the seventeenth finds nothing, and finds a buffer when one is given back.
  "A0 A1 A2 A3 A4 A5 A6 A7 B8 B9 B10 B11 C12 C13 C14 C15 A16 C0 C16 B- A16",
  // A page changed, given back and pushed out by sixteen others is written once and read back.
  "A3 A! A- A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16 A17 A18 A19 A- B20 B3",
  // A failed read leaves its page in a buffer; extending the relation then makes it readable.
  "A32 B32 A> B32 C32",
  // The page beyond the end that failed is pushed out without having been readable.
  "A33 A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 B- A15 A16 A17",
];

/** What can be asked of both the pool and its twin; `buffer` is what a pin gave. */
interface Side {
  /** The buffer, and the number of the last change of the page in it. */
  pin(backend: number, block: number): Pinned;
  unpin(backend: number, buffer: number): void;
  change(backend: number, buffer: number, stamp: number): void;
  /** One more page, changed at once and given back. */
  extend(backend: number, stamp: number): Pinned;
  checkpoint(backend: number): number;
  observe(): Observed;
}

interface Pinned {
  readonly buffer: number;
  readonly stamp: number;
}

/** What is compared after every step, beside the step's own outcome. */
interface Observed {
  /** Blocks read and written since the last look, in order. */
  readonly io: readonly string[];
  readonly hits: number;
  readonly reads: number;
  readonly writes: number;
  readonly evictions: number;
  readonly extends: number;
  readonly usage: readonly unknown[];
  readonly pinned: readonly number[];
}

class TwinSide implements Side {
  readonly #pool = new TwinPool(BUFFERS, LETTERS.length);
  readonly #stamps = new Map<number, number>();
  readonly #blockOf = new Map<number, number>();
  readonly #io: string[] = [];
  readonly #fork: number;
  #blocks = FIRST_BLOCKS;

  constructor(fork: number) {
    this.#fork = fork;
  }

  pin(backend: number, block: number): Pinned {
    const fill = block < this.#blocks ? "read" : "fail";
    const { buffer } = this.#pin(backend, block, fill);
    return { buffer, stamp: this.#stamps.get(block) ?? 0 };
  }

  unpin(backend: number, buffer: number): void {
    this.#pool.unpin(backend, buffer);
  }

  change(_backend: number, buffer: number, stamp: number): void {
    this.#pool.markDirty(buffer);
    this.#stamps.set(this.#blockOf.get(buffer) ?? -1, stamp);
  }

  extend(backend: number, stamp: number): Pinned {
    const block = this.#blocks;
    this.#blocks += 1;
    const { buffer } = this.#pin(backend, block, "zero");
    this.change(backend, buffer, stamp);
    this.#pool.unpin(backend, buffer);
    return { buffer, stamp };
  }

  checkpoint(): number {
    const written = this.#pool.writeAll();
    this.#io.push(...written.map(({ block }) => `write ${block}`));
    return written.length;
  }

  observe(): Observed {
    const { hits, reads, writes, evictions } = this.#pool.counters;
    const pinned = LETTERS.map((_, backend) => {
      const buffers = Array.from({ length: BUFFERS }, (_, buffer) => buffer);
      return buffers.filter((buffer) => this.#pool.pinsOf(backend, buffer) > 0).length;
    });
    const usage = this.#pool.usageCounts();
    return {
      ...{ io: this.#io.splice(0), hits, reads, writes, evictions },
      ...{ extends: this.#blocks - FIRST_BLOCKS, usage, pinned },
    };
  }

  #pin(backend: number, block: number, fill: TwinFill): TwinPin {
    try {
      return this.#noted(this.#pool.pin(backend, { fork: this.#fork, block }, fill), block, fill);
    } catch (error) {
      if (error instanceof ReadFailed) this.#noted(error.attempt, block, fill);
      throw error;
    }
  }

  #noted(pin: TwinPin, block: number, fill: TwinFill): TwinPin {
    this.#io.push(...pin.written.map((page) => `write ${page.block}`));
    if (!pin.hit && fill === "read") this.#io.push(`read ${block}`);
    this.#blockOf.set(pin.buffer, block);
    return pin;
  }
}

/** The pool as built, through its public calls. */
class PoolSide implements Side {
  readonly #shared: SharedMemory;
  readonly #backends: readonly Backend[];
  readonly #relations: readonly Relation[];
  readonly #takeNotes: () => string[];
  readonly #extendsBefore: number;

  private constructor(shared: SharedMemory, backends: readonly Backend[], notes: () => string[]) {
    this.#shared = shared;
    this.#backends = backends;
    this.#takeNotes = notes;
    this.#relations = backends.map((backend, index) =>
      index === 0 ? backend.createRelationSync("pages") : backend.openRelationSync("pages"),
    );
    this.#pool(0).extendSync(this.#relation(0), FIRST_BLOCKS);
    this.#extendsBefore = shared.statistics().extends;
  }

  static async open(checked: boolean, method: IoMethod): Promise<PoolSide> {
    const { storage, take } = notedStorage();
    const settings = { shared_buffers: "128kB", max_connections: LETTERS.length };
    const options = withIoMethod(method, { settings, storage, checked });
    const shared = await SharedMemory.create(options);
    const backends: Backend[] = [];
    for (const _ of LETTERS) {
      const memory = { maxMemory: "1MB" };
      backends.push(await Backend.attach(shared.handle, { storage: openStorage, memory }));
    }
    return new PoolSide(shared, backends, take);
  }

  /** Number of the main fork of the relation. */
  get fork(): number {
    return this.#relation(0).id;
  }

  pin(backend: number, block: number): Pinned {
    const buffer = this.#pool(backend).pin(this.#relation(backend).id, block);
    return { buffer, stamp: stampOf(this.#pool(backend).bytes(buffer)) };
  }

  unpin(backend: number, buffer: number): void {
    this.#pool(backend).unpin(buffer as BufferId);
  }

  change(backend: number, buffer: number, stamp: number): void {
    const pool = this.#pool(backend);
    const id = buffer as BufferId;
    pool.lockExclusive(id);
    this.#changeLocked(pool, id, stamp);
    pool.unlock(id);
  }

  extend(backend: number, stamp: number): Pinned {
    const pool = this.#pool(backend);
    const relation = this.#relation(backend);
    const buffer = pool.pinZeroed(relation.id, pool.extendSync(relation));
    expect(pool.bytes(buffer).every((byte) => byte === 0)).toBe(true);
    this.#changeLocked(pool, buffer, stamp);
    pool.unlock(buffer);
    pool.unpin(buffer);
    return { buffer, stamp };
  }

  checkpoint(backend: number): number {
    return this.#backend(backend).checkpointSync().buffersWritten;
  }

  observe(): Observed {
    const { hits, reads, writes, evictions, extends: grown } = this.#shared.statistics();
    return {
      ...{ io: this.#takeNotes(), hits, reads, writes, evictions },
      extends: grown - this.#extendsBefore,
      usage: this.#shared.usageCounts(),
      pinned: this.#backends.map(({ buffers }) => buffers.pinnedBuffers()),
    };
  }

  /** Detaches the backends and closes the region. */
  async close(): Promise<void> {
    for (const backend of this.#backends) backend.detach();
    await this.#shared.close();
  }

  #changeLocked(pool: BufferPool, buffer: BufferId, stamp: number): void {
    pool.beginChange(buffer);
    const bytes = pool.bytes(buffer);
    if (stampOf(bytes) === 0) initPage(bytes);
    viewOf(bytes).setUint32(STAMP_OFFSET, stamp, true);
    pool.endChange(buffer);
  }

  #backend(index: number): Backend {
    return present(this.#backends[index]);
  }

  #pool(index: number): BufferPool {
    return this.#backend(index).buffers;
  }

  #relation(index: number): Relation {
    return present(this.#relations[index]);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function stampOf(bytes: Uint8Array): number {
  return viewOf(bytes).getUint32(STAMP_OFFSET, true);
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("there is no such backend");
  return value;
}

/** Runs one history on both sides, comparing after each step. */
class Match {
  readonly #pool: PoolSide;
  readonly #twin: TwinSide;
  /** Pins each backend holds, oldest first. */
  readonly #held: number[][] = LETTERS.map(() => []);
  #stamp = 0;

  constructor(pool: PoolSide) {
    this.#pool = pool;
    this.#twin = new TwinSide(pool.fork);
  }

  step(word: string): void {
    const backend = LETTERS.findIndex((letter) => word.startsWith(letter));
    const held = present(this.#held[backend]);
    const what = word.slice(1);
    if (what === "-" || what === "~") {
      const buffer = what === "-" ? held.shift() : held.pop();
      if (buffer !== undefined) this.#both(word, (side) => side.unpin(backend, buffer));
    } else if (what === "!") {
      const buffer = held.at(-1);
      this.#stamp += 1;
      const stamp = this.#stamp;
      if (buffer !== undefined) this.#both(word, (side) => side.change(backend, buffer, stamp));
    } else if (what === ">") {
      this.#stamp += 1;
      const stamp = this.#stamp;
      this.#both(word, (side) => side.extend(backend, stamp));
    } else if (what === "#") {
      this.#both(word, (side) => side.checkpoint(backend));
    } else {
      const pinned = this.#both(word, (side) => side.pin(backend, Number(what)));
      if (pinned !== undefined) held.push(pinned.buffer);
    }
  }

  /** After everything is given back, nobody holds anything. */
  end(): void {
    for (const [backend, held] of this.#held.entries()) {
      for (const buffer of held.splice(0)) {
        this.#both("end", (side) => side.unpin(backend, buffer));
      }
    }
    expect(this.#pool.observe().pinned).toEqual(LETTERS.map(() => 0));
  }

  #both<T>(word: string, act: (side: Side) => T): T | undefined {
    const twin = outcomeOf(() => act(this.#twin));
    const pool = outcomeOf(() => act(this.#pool));
    const expected = { word, ...twin, ...this.#twin.observe() };
    const found = { word, ...pool, ...this.#pool.observe() };
    // A deep comparison costs more than the step; it is made only to print a difference.
    if (JSON.stringify(found) !== JSON.stringify(expected)) expect(found).toEqual(expected);
    seen.add(twin.error ?? "done");
    return twin.value;
  }
}

/** Every kind of outcome that the histories of this file reached. */
const seen = new Set<string>();

function outcomeOf<T>(act: () => T): { value?: T; error?: string } {
  try {
    return { value: act() };
  } catch (error) {
    if (error instanceof NoUnpinnedBuffers || error instanceof BufferError) {
      return { error: error.message };
    }
    if (error instanceof ReadFailed || error instanceof StorageError) return { error: "not read" };
    throw error;
  }
}

async function play(history: string, checked: boolean, method: IoMethod): Promise<void> {
  const pool = await PoolSide.open(checked, method);
  try {
    const match = new Match(pool);
    for (const word of history.split(" ").filter((one) => one !== "")) match.step(word);
    match.end();
  } finally {
    await pool.close();
  }
}

/** Mostly pins and their return; a few blocks are asked for more often than the others. */
const words = fc
  .tuple(
    fc.constantFrom(...LETTERS),
    fc.oneof(
      { weight: 6, arbitrary: fc.nat(FIRST_BLOCKS + 3).map(String) },
      { weight: 4, arbitrary: fc.nat(7).map(String) },
      { weight: 8, arbitrary: fc.constantFrom("-", "~") },
      { weight: 3, arbitrary: fc.constant("!") },
      { weight: 1, arbitrary: fc.constantFrom(">", "#") },
    ),
  )
  .map(([letter, what]) => letter + what);

const histories = fc
  .array(words, { maxLength: LONGEST, size: "max" })
  .map((history) => history.join(" "));

describe("the twin by itself", () => {
  test("it finds the victim of the sheet's example", () => {
    const twin = new TwinPool(4, 1);
    const pin = (block: number): number => twin.pin(0, { fork: 4, block }).buffer;
    const use = (block: number): void => twin.unpin(0, pin(block));
    // Usage 2 1 1 3, the second buffer held, the hand on the first.
    use(0);
    pin(1);
    for (const block of [2, 3, 0, 3, 3]) use(block);
    expect(twin.usageCounts().map(({ buffers }) => buffers)).toEqual([0, 2, 1, 1, 0, 0]);
    expect(pin(9)).toBe(2);
    expect([twin.hand, twin.passes]).toEqual([3, 2]);
  });
});

const variants = ioMethods.flatMap((method) => [
  { build: "release", checked: false, method },
  { build: "checked", checked: true, method },
]);

describe.each(variants)("the $build build, io_method $method", ({ checked, method }) => {
  test.each(replays)("follows the twin through: %s", (history) => play(history, checked, method));

  test("follows the twin through random histories", { timeout: 2 * LIMIT_MS }, async () => {
    const property = fc.asyncProperty(histories, (history) => play(history, checked, method));
    await fc.assert(property, { numRuns: RUNS[method], interruptAfterTimeLimit: LIMIT_MS });
    expect(seen).toContain("no unpinned buffers available");
    expect(seen).toContain("not read");
  });
});
