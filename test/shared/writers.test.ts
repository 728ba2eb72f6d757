// Writing behind. A round of the background writer does, over random histories, what the model in
// test/twin does that was written from the sheet; it sleeps for long when nothing is asked for and
// is woken by the next allocation. Checkpoints come by time and are spread over it. Time is virtual
// where a routine waits in this thread: a delay step is what moves the clock.

import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { PART_STRATEGY, STATE_DIRTY } from "../../assembly/common/constants.ts";
import { instantiate } from "../../bindings/abi/load.ts";
import type { BufferId } from "../../bindings/abi/pointers.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import {
  Backend,
  initPage,
  PAGE_UPPER_OFFSET,
  PallocError,
  type Relation,
  type Settings,
  SharedMemory,
} from "../../bindings/index.ts";
import { partOf } from "../../bindings/shared/statistics.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { withThisMethod } from "../support/io-methods.ts";
import { Random, seed } from "../support/random.ts";
import { builds } from "../support/region.ts";
import { type TwinBuffer, TwinWriter } from "../twin/bgwriter.ts";

/** Word of the strategy part that names the backend to be woken. */
const WAKE_OFFSET = 16;
const SECOND = 1000;

const open: SharedMemory[] = [];
const attached: Backend[] = [];
const directories: string[] = [];

afterEach(async () => {
  vi.restoreAllMocks();
  for (const backend of attached.splice(0)) backend.detach();
  for (const shared of open.splice(0)) await shared.close();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

const storages: readonly (readonly [string, () => Promise<StorageManager>])[] = [
  ["memory", async () => memoryStorage()],
  [
    "files",
    async () => {
      const directory = await mkdtemp(join(tmpdir(), "palloc-writers-"));
      directories.push(directory);
      return nodeFiles(directory);
    },
  ],
];

interface Scene {
  readonly shared: SharedMemory;
  readonly client: Backend;
  readonly other: Backend;
  readonly relation: Relation;
  /** Looks into the region. */
  readonly raw: SharedExports;
}

interface SceneOptions {
  readonly checked: boolean;
  readonly storage?: StorageManager;
  readonly settings?: Settings;
  readonly blocks?: number;
}

async function scene(options: SceneOptions): Promise<Scene> {
  const { checked, storage = memoryStorage(), blocks = 200 } = options;
  const settings = { shared_buffers: 64, max_connections: 4, ...options.settings };
  const shared = await SharedMemory.create(withThisMethod({ settings, storage, checked }));
  open.push(shared);
  // The owner's own manager serves: a .ts file cannot be loaded by its URL.
  const opener = (): StorageManager => nonClosing(storage);
  const client = Backend.attachSync(shared.handle, { storage: opener });
  const other = Backend.attachSync(shared.handle, { storage: opener });
  attached.push(client, other);
  const relation = client.createRelationSync("t");
  client.buffers.extendSync(relation, blocks);
  client.checkpointSync();
  const raw = instantiate<SharedExports>(shared.handle.module, shared.handle.memory);
  return { shared, client, other, relation, raw };
}

function nonClosing(storage: StorageManager): StorageManager {
  return new Proxy(storage, {
    get: (target, key) => {
      if (key === "closeSync") return () => {};
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function change({ client, relation }: Scene, block: number): void {
  client.buffers.changeSync(relation, block, (bytes) => {
    if (bytes[PAGE_UPPER_OFFSET + 1] === 0) initPage(bytes);
    bytes[5000] = ((bytes[5000] ?? 0) + 1) & 0xff;
  });
}

function dirtyBuffers({ raw, shared }: Scene): number[] {
  const all = Array.from({ length: shared.settings.sharedBuffers }, (_, buffer) => buffer);
  return all.filter((buffer) => (raw.stateOf(buffer) & STATE_DIRTY) !== 0);
}

/** The pool as the model wants it. */
function poolOf({ shared }: Scene): TwinBuffer[] {
  return shared.views.pgBuffercache().map((row) => ({
    held: (row.pinning_backends ?? 0) > 0,
    usage: row.usagecount ?? 0,
    valid: row.relblocknumber !== null,
    dirty: row.isdirty === true,
  }));
}

/** Something that other backends do between two rounds. */
function happens(random: Random, made: Scene, pins: BufferId[]): void {
  const { client, relation } = made;
  for (let turns = random.below(random.pick([3, 30, 90])); turns > 0; turns -= 1) {
    const block = random.below(random.pick([20, 200]));
    const what = random.below(10);
    if (what < 5) client.buffers.unpin(client.buffers.pin(relation.id, block));
    else if (what < 9) change(made, block);
    else if (pins.length > 20) client.buffers.unpin(pins.pop() as BufferId);
    else pins.push(client.buffers.pin(relation.id, block));
  }
}

/** A clock that stands until somebody lets time pass in this thread. */
class VirtualClock {
  now = 1_000_000;
  readonly rests: number[] = [];
  readonly #plans: { readonly at: number; readonly work: () => void }[] = [];

  constructor() {
    vi.spyOn(performance, "now").mockImplementation(() => this.now);
    vi.spyOn(Atomics, "wait").mockImplementation((_words, _index, _value, milliseconds) => {
      this.now += milliseconds ?? 0;
      this.rests.push(milliseconds ?? 0);
      for (const plan of this.#plans.splice(0)) {
        if (plan.at <= this.now) plan.work();
        else this.#plans.push(plan);
      }
      return "timed-out";
    });
  }

  /** Has something happen in the first rest that ends `milliseconds` from now or later. */
  after(milliseconds: number, work: () => void): void {
    this.#plans.push({ at: this.now + milliseconds, work });
  }
}

describe.each(builds)("the background writer, %s build", (_, checked) => {
  it.each([
    ["the default", {}],
    ["a low limit", { bgwriter_lru_maxpages: 5 }],
    ["no foresight", { bgwriter_lru_multiplier: 0, bgwriter_delay: 10_000 }],
    ["much foresight", { bgwriter_lru_multiplier: 8.5, bgwriter_delay: 7000 }],
  ])("does what the model does, round by round, with %s settings", async (_name, settings) => {
    for (let history = 0; history < 6; history += 1) {
      const random = new Random(seed + history);
      const made = await scene({ checked, settings });
      const writer = made.other.backgroundWriter();
      const twin = new TwinWriter(made.shared.settings.values);
      const pins: BufferId[] = [];
      let taken = 0;
      for (let round = 0; round < 40; round += 1) {
        happens(random, made, pins);
        const pool = poolOf(made);
        const before = dirtyBuffers(made);
        const at = { hand: made.raw.clockHand(), passes: made.raw.clockPasses() };
        const allocations = made.raw.allocations() - taken;
        taken += allocations;
        const expected = twin.round(pool, { ...at, allocations });
        const done = writer.roundSync();
        const still = new Set(dirtyBuffers(made));
        const label = `seed ${seed}, history ${history}, round ${round}`;
        expect(
          before.filter((buffer) => !still.has(buffer)),
          label,
        ).toEqual([...expected.written].sort((a, b) => a - b));
        expect(done, label).toEqual({
          allocations,
          scanned: expected.scanned,
          written: expected.written.length,
          atLimit: expected.atLimit,
          nextToClean: twin.nextToClean,
          nextPass: twin.nextPasses,
          smoothedAllocations: twin.smoothedAlloc,
          smoothedDensity: twin.smoothedDensity,
          mayHibernate: expected.mayHibernate,
        });
      }
      for (const buffer of pins) made.client.buffers.unpin(buffer);
      made.client.detach();
      made.other.detach();
      await made.shared.close();
    }
  });

  it("is off with bgwriter_lru_maxpages 0", async () => {
    const made = await scene({ checked, settings: { bgwriter_lru_maxpages: 0 } });
    for (let block = 0; block < 30; block += 1) change(made, block);
    const dirty = dirtyBuffers(made);
    const round = made.other.backgroundWriter().roundSync();
    expect(round).toMatchObject({ scanned: 0, written: 0, mayHibernate: true });
    expect(round.allocations).toBeGreaterThan(0);
    expect(dirtyBuffers(made)).toEqual(dirty);
  });

  it("a successor begins with the allocations that nobody has taken account of", async () => {
    const made = await scene({ checked });
    made.other.backgroundWriter().roundSync();
    for (let block = 0; block < 100; block += 1) {
      made.client.buffers.unpin(made.client.buffers.pin(made.relation.id, block));
    }
    const before = made.raw.allocations();
    const round = made.client.backgroundWriter().roundSync();
    expect(round.allocations).toBeGreaterThan(0);
    expect(made.client.backgroundWriter().roundSync().allocations).toBe(0);
    // The view goes on counting.
    expect(made.shared.views.pgStatBgwriter().buffers_alloc).toBe(before);
  });

  it("an allocation wakes the writer from its long sleep", async () => {
    const made = await scene({ checked, settings: { bgwriter_delay: 50 } });
    const word = (partOf(made.shared.handle.memory.buffer, PART_STRATEGY).off + WAKE_OFFSET) / 4;
    const words = new Int32Array(made.shared.handle.memory.buffer);
    // As many allocations as make the first round look at the whole pool.
    for (let block = 0; block < 100; block += 1) {
      made.client.buffers.unpin(made.client.buffers.pin(made.relation.id, block));
    }
    const stop = new AbortController();
    const running = made.other.backgroundWriter().run({ signal: stop.signal });
    await vi.waitFor(() => expect(words[word]).not.toBe(0), { timeout: 5000 });
    const { waitAsync } = Atomics as unknown as {
      waitAsync(
        words: Int32Array,
        at: number,
        value: number,
        ms: number,
      ): { value: Promise<string> };
    };
    const woken = waitAsync(words, word, words[word] ?? 0, 5000).value;
    const before = made.raw.allocations();
    for (let block = 0; made.raw.allocations() === before; block += 1) {
      made.client.buffers.unpin(made.client.buffers.pin(made.relation.id, block));
    }
    expect(words[word]).toBe(0);
    expect(await woken).toBe("ok");
    // And it takes account of it in a round, long before fifty delays have passed.
    await vi.waitFor(() => expect(words[word - 1]).toBe(made.raw.allocations()), { timeout: 1500 });
    stop.abort();
    await running;
  });
});

describe.each(builds)("on %s build", (_, checked) => {
  describe.each(storages)("and %s", (_name, storageOf) => {
    it("what it has written is found in storage, and counted as its own", async () => {
      const settings = { bgwriter_lru_maxpages: 12 };
      const made = await scene({ checked, storage: await storageOf(), settings });
      for (let block = 0; block < 40; block += 1) change(made, block);
      const writer = made.other.backgroundWriter();
      let limits = 0;
      let written = 0;
      for (let round = 0; round < 30; round += 1) {
        // Demand, and a hand that takes uses away.
        for (let block = 100; block < 110; block += 1) {
          const page = 100 + ((round * 10 + block) % 100);
          made.client.buffers.unpin(made.client.buffers.pin(made.relation.id, page));
        }
        change(made, round);
        const done = writer.roundSync();
        written += done.written;
        limits += done.atLimit ? 1 : 0;
      }
      expect(written).toBeGreaterThan(0);
      expect(made.shared.views.pgStatBgwriter()).toMatchObject({
        buffers_clean: written,
        maxwritten_clean: limits,
        buffers_alloc: made.raw.allocations(),
      });
      const row = made.shared.views
        .pgStatIo()
        .find((each) => each.backend_type === "background writer" && each.context === "normal");
      expect(row?.write_bytes).toBe(written * 8192);
      made.client.checkpointSync();
      made.client.buffers.evictAllSync();
      using page = made.client.buffers.readSync(made.relation, 3);
      expect(page.bytes[5000]).toBe(2);
    });

    it("a timed checkpoint is spread over its part of the time between two", async () => {
      const settings = { checkpoint_timeout: 100, checkpoint_completion_target: 0.5 };
      const made = await scene({ checked, storage: await storageOf(), settings });
      for (let block = 0; block < 56; block += 1) change(made, block);
      const dirty = dirtyBuffers(made).length;
      const clock = new VirtualClock();
      const began = clock.now;
      const steps: [done: number, at: number][] = [];
      const onProgress = (done: number): unknown => steps.push([done, clock.now - began]);
      const result = made.other.checkpointer().timedSync({ onProgress });
      expect(result.buffersWritten).toBe(dirty);
      expect(steps.length).toBeGreaterThan(4);
      // A batch is written when the one before has had its share of fifty seconds, and not before.
      for (const [index, [, at]] of steps.entries()) {
        const share = ((steps[index - 1]?.[0] ?? 0) / dirty) * 50 * SECOND;
        expect(at).toBeGreaterThanOrEqual(share - 1);
        expect(at).toBeLessThan(share + 101);
      }
      expect(clock.now - began).toBeGreaterThanOrEqual(50 * SECOND - 1);
      const longest = Math.max(...clock.rests);
      expect(longest).toBeLessThanOrEqual(100);
      expect(made.shared.views.pgStatCheckpointer()).toMatchObject({
        num_timed: 1,
        num_requested: 1,
        num_done: 2,
      });
    });

    it("who waits for a spread checkpoint makes it hurry", async () => {
      const made = await scene({ checked, storage: await storageOf() });
      for (let block = 0; block < 56; block += 1) change(made, block);
      const checkpointer = made.other.checkpointer();
      let begun = (): void => {};
      const first = new Promise<void>((resolve) => {
        begun = resolve;
      });
      const timed = checkpointer.timed({ onProgress: begun });
      await first;
      // Spread it would take 270 seconds.
      const wanted = await made.client.checkpoint();
      const spread = await timed;
      expect(wanted.checkpoint).toBe(spread.checkpoint + 1);
    });

    it("the next checkpoint is due a timeout after the last, whoever took that", async () => {
      const settings = { checkpoint_timeout: 60, checkpoint_completion_target: 0 };
      const made = await scene({ checked, storage: await storageOf(), settings });
      const clock = new VirtualClock();
      const began = clock.now;
      const seen: number[] = [];
      let known = made.shared.views.pgStatCheckpointer().num_timed;
      const watch = (): void => {
        const now = made.shared.views.pgStatCheckpointer().num_timed;
        if (now > known) seen.push(Math.round((clock.now - began) / SECOND));
        known = now;
      };
      const stop = new AbortController();
      const checkpointer = made.other.checkpointer();
      for (let second = 1; second <= 300; second += 1) clock.after(second * SECOND, watch);
      clock.after(150.5 * SECOND, () => void made.client.checkpointSync());
      clock.after(300 * SECOND, () => stop.abort());
      checkpointer.runSync({ signal: stop.signal });
      // Noticed in the rest after the one in which it was done: at 61, 121; then 151 + 60.
      expect(seen).toEqual([61, 121, 212, 272]);
    });
  });

  it("an error does not end the loop, and is told", async () => {
    const storage = memoryStorage();
    const made = await scene({ checked, storage, settings: { checkpoint_completion_target: 0 } });
    const clock = new VirtualClock();
    const stop = new AbortController();
    const errors: unknown[] = [];
    const full = new PallocError("53100", "could not write the control document");
    const failing = vi.spyOn(storage, "writeControlSync").mockImplementation(() => {
      throw full;
    });
    clock.after(300 * SECOND + 500, () => failing.mockRestore());
    clock.after(320 * SECOND, () => stop.abort());
    const before = made.shared.views.pgStatCheckpointer().num_done;
    made.other
      .checkpointer()
      .runSync({ signal: stop.signal, onError: (error) => errors.push(error) });
    expect(errors).toContain(full);
    expect(made.shared.views.pgStatCheckpointer().num_done).toBe(before + 1);
  });
});
