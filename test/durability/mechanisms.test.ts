// Single ways in which a checkpoint could be lost, each made on purpose: what crashes by chance
// have found, and what they cannot meet.

import { describe, expect, test } from "vitest";
import type { BufferId, Relation } from "../../bindings/index.ts";
import { SharedMemory } from "../../bindings/index.ts";
import { journalFile, RECORD_BYTES } from "../../bindings/shared/journal-format.ts";
import type { Routine, Step } from "../../bindings/shared/routine.ts";
import { CrashDisk, crashHandle } from "../storage/crash-disk.ts";
import { Random, seed } from "../support/random.ts";
import { check } from "./crashes.ts";
import type { State } from "./model.ts";
import { stamp } from "./pages.ts";
import { Fiber, routineOf } from "./stepping.ts";
import { type Seat, settings, World, type WorldOptions } from "./world.ts";

const BLOCKS = 10;
const IMAGES = 40;

let versions = 0;

/** Changes every block of the one relation of a world, or some. */
function changeAll(
  world: World,
  blocks = [...onlyRelation(world).pages.keys()],
  backend = world.first,
): void {
  const { uid, relation, pages } = onlyRelation(world);
  for (const block of blocks) {
    versions += 1;
    const version = versions;
    backend.buffers.changeSync(relation, block, (bytes) => {
      stamp(bytes, { uid, block, version });
    });
    pages[block] = version;
  }
}

function onlyRelation(world: World) {
  const [known] = world.relations;
  if (known === undefined) throw new Error("no relation");
  return known;
}

/** A world with a relation of ten blocks, all of it in a checkpoint, and the state of that. */
async function committedWorld(
  options: WorldOptions = {},
): Promise<{ world: World; state: State; relation: Relation }> {
  const world = await World.begin(new CrashDisk(), new Map(), options);
  world.add(world.first.createRelationSync("r"));
  const { relation, pages } = onlyRelation(world);
  world.first.buffers.extendSync(relation, BLOCKS);
  pages.push(...new Array<number>(BLOCKS).fill(0));
  changeAll(world);
  world.first.checkpointSync();
  world.noteCut();
  return { world, state: world.state, relation };
}

/** Crashes now, in several images, and expects a state of each. */
async function expectAfterCrash(world: World, state: State, images = IMAGES): Promise<void> {
  for (let n = 0; n < images; n += 1) {
    const disk = world.disk.image(new Random(seed + n));
    await check({ disk, candidates: [state], n }, { seed: seed + n, again: 1 }, { images: 0 });
  }
}

function fiberOf({ backend, storage }: Seat, routine: Routine<unknown>): Fiber {
  return new Fiber("checkpoint", backend, storage, routine);
}

/** Steps until the fiber waits for something. */
function stepUntil(fiber: Fiber, isReached: (step: Step | undefined) => boolean): void {
  for (let turns = 0; !isReached(fiber.step); turns += 1) {
    if (fiber.turn() || turns > 10_000) throw new Error("it has come to its end");
  }
}

describe("a commit", () => {
  test("syncs what was written, and names only as long as its files are new", async () => {
    const { world } = await committedWorld();
    world.first.createRelationSync("another, which nobody writes");
    world.first.checkpointSync();
    const sync = world.disk.fsyncSync.bind(world.disk);
    let syncs = 0;
    world.disk.fsyncSync = (descriptor) => {
      syncs += 1;
      sync(descriptor);
    };
    const counts = Array.from({ length: 8 }, (_, turn) => {
      syncs = 0;
      changeAll(world, [turn, turn + 1]);
      world.first.checkpointSync();
      return syncs;
    });
    // Journal with images, the relation's three segments, next journal, document; and a directory
    // for a journal whose file is new.
    expect(counts).toEqual([7, 6, 6, 6, 6, 6, 6, 6]);
    syncs = 0;
    world.first.checkpointSync();
    expect(syncs).toBe(2);
    await world.end();
  });

  test("is whole or not at all, wherever a crash comes in it, its new journal included", async () => {
    const { world, state } = await committedWorld();
    const images: CrashDisk[] = [];
    const [{ storage }] = world.seats as [Seat];
    const write = storage.writeControlSync.bind(storage);
    storage.writeControlSync = (bytes) => {
      world.disk.onOperation = () => {
        for (let n = 0; n < IMAGES; n += 1) images.push(world.disk.image(new Random(seed + n)));
      };
      write(bytes);
      world.disk.onOperation = undefined;
    };
    changeAll(world, [1, 2]);
    world.first.checkpointSync();
    world.noteCut();
    expect(images.length).toBeGreaterThanOrEqual(2 * IMAGES);
    const candidates = [state, world.state];
    for (const [n, disk] of images.entries()) {
      await check({ disk, candidates, n }, { seed: seed + n, again: 0 }, { images: 0 });
    }
    await world.end();
  });
});

describe("a crash comes back to the last checkpoint", () => {
  test("whatever stands behind the header of its journal from the file's earlier life", async () => {
    const { world } = await committedWorld();
    const storage = world.disk.open();
    const before = world.committed;
    const file = journalFile(before);
    changeAll(world);
    world.first.buffers.flushSync();
    const earlier = new Uint8Array(storage.journalBytesSync(file) - 4096);
    expect(storage.readJournalSync(file, 4096, earlier)).toBe(BLOCKS * RECORD_BYTES);
    while (world.committed < before + 4) {
      changeAll(world);
      world.first.checkpointSync();
      world.noteCut();
    }
    expect(journalFile(world.committed)).toBe(file);
    const { state } = world;
    expect(storage.journalBytesSync(file)).toBeGreaterThan(4096);
    storage.writeJournalSync(file, 4096, [earlier]);
    storage.syncJournalSync(file);
    await expectAfterCrash(world, state);
    // What is new goes over it, as far as it reaches.
    changeAll(world, [2, 3]);
    world.first.buffers.flushSync();
    await expectAfterCrash(world, state);
    await world.end();
  });

  test("whose journal has the file and the number of one that a crash ended before", async () => {
    const { world, state } = await committedWorld();
    const [one, two] = world.seats as [Seat, Seat];
    const fiber = fiberOf(one, checkpointOf(one));
    stepUntil(fiber, (step) => world.isCut && step?.op === "syncJournal");
    const number = world.interval;
    changeAll(world, undefined, two.backend);
    two.backend.buffers.flushSync();
    const file = journalFile(number);
    expect(world.disk.open().journalBytesSync(file)).toBeGreaterThan(BLOCKS * RECORD_BYTES);
    const disk = world.disk.image(new Random(seed));
    const second = await World.begin(disk, state);
    changeAll(second);
    second.first.checkpointSync();
    second.noteCut();
    expect(second.committed).toBe(number);
    const { state: last } = second;
    changeAll(second, [0]);
    second.first.buffers.flushSync();
    await expectAfterCrash(second, last);
    for (const each of [second, world]) await each.end();
  });

  test("of a relation cut short and made longer again, whatever its end looks like", async () => {
    const { world, state, relation } = await committedWorld();
    world.first.truncateSync(relation, 3);
    world.first.buffers.extendSync(relation, 9);
    const { pages } = onlyRelation(world);
    pages.push(0, 0);
    changeAll(world);
    world.first.buffers.flushSync();
    let disordered = 0;
    for (let n = 0; n < IMAGES; n += 1) {
      const storage = world.disk.image(new Random(seed + n)).open();
      try {
        if (storage.blocksSync(relation.number, 0) < BLOCKS) disordered += 1;
      } catch {
        disordered += 1;
      }
    }
    expect(disordered).toBeGreaterThan(3);
    await expectAfterCrash(world, state);
    await world.end();
  });

  test("that was given up just behind its commit, whoever comes next", async () => {
    for (const next of ["truncate", "drop", "checkpoint"]) {
      const { world, relation } = await committedWorld();
      const [one, two] = world.seats as [Seat, Seat];
      changeAll(world, [1, 2, 3]);
      const before = world.committed;
      const fiber = fiberOf(
        one,
        routineOf(() => one.backend.checkpointSync()),
      );
      stepUntil(fiber, () => world.committed > before);
      const { state } = world;
      expect(() => fiber.fail(new Error("given up"))).toThrow("given up");
      if (next === "truncate") two.backend.truncateSync(relation, 0);
      else if (next === "drop") two.backend.dropRelationSync("r");
      else {
        changeAll(world);
        const again = fiberOf(
          two,
          routineOf(() => two.backend.checkpointSync()),
        );
        const { interval } = world;
        stepUntil(again, () => world.interval > interval);
      }
      await expectAfterCrash(world, state, 10);
      await world.end();
    }
  });

  test("of a page changed again before it was written, with its checksum", async () => {
    const { world } = await committedWorld();
    const [one] = world.seats as [Seat];
    changeAll(world);
    const { state } = world;
    const fiber = fiberOf(world.seats[1] as Seat, checkpointOf(world.seats[1] as Seat));
    stepUntil(fiber, (step) => step?.op === "write" && world.isCut);
    changeAll(world, [BLOCKS - 1]);
    while (!fiber.turn());
    one.backend.buffers.flushSync();
    await expectAfterCrash(world, state);
    await world.end();
  });

  test("of a page that was cleared, not read, and changed after a change was undone", async () => {
    const { world, state, relation } = await committedWorld();
    const { buffers } = world.first;
    buffers.evictAllSync();
    const buffer: BufferId = buffers.pinZeroed(relation.id, 4);
    buffers.beginChange(buffer);
    buffers.undoChange(buffer);
    buffers.beginChange(buffer);
    stamp(buffers.bytes(buffer), { uid: 1, block: 4, version: 1 });
    buffers.endChange(buffer);
    buffers.unlock(buffer);
    buffers.unpin(buffer);
    buffers.flushSync();
    await expectAfterCrash(world, state, 10);
    await world.end();
  });
});

function checkpointOf({ backend }: Seat): Routine<unknown> {
  return routineOf(() => backend.checkpointSync());
}

describe("a checkpoint that is aborted", () => {
  test("while its journal is about to be synced leaves the region running", async () => {
    const controller = new AbortController();
    let armed = false;
    const { world } = await committedWorld({
      plant: (storage) => {
        const write = storage.writeJournalSync.bind(storage);
        storage.writeJournalSync = (n, position, parts) => {
          write(n, position, parts);
          if (armed && parts.length > 1) controller.abort();
        };
      },
    });
    changeAll(world);
    armed = true;
    const aborted = world.first.checkpoint({}, controller.signal);
    await expect(aborted).rejects.toMatchObject({ code: "57014" });
    armed = false;
    expect(world.first.checkpointSync().checkpoint).toBeGreaterThan(2);
    world.noteCut();
    await expectAfterCrash(world, world.state, 5);
    await world.end();
  });
});

describe("with full_page_writes off", () => {
  test("no image is kept, and a start with it on again puts none back", async () => {
    const { world, state } = await committedWorld();
    changeAll(world);
    world.first.buffers.flushSync();
    const off = { settings: { full_page_writes: "off" } };
    const second = await World.begin(world.disk, state, off);
    changeAll(second);
    second.first.buffers.flushSync();
    second.first.checkpointSync();
    changeAll(second);
    second.first.buffers.flushSync();
    const storage = world.disk.open();
    const bytes = storage.journalsSync().map((file) => storage.journalBytesSync(file));
    expect(Math.max(...bytes)).toBe(4096);
    const third = await World.begin(world.disk, second.state);
    expect(third.shared.recovery.blocksRestored).toBe(0);
    const copy = world.disk.image(new Random(seed));
    expect(copy.operations).toBe(0);
    changeAll(third);
    third.first.buffers.flushSync();
    third.first.checkpointSync();
    third.noteCut();
    const { state: last } = third;
    changeAll(third);
    third.first.buffers.flushSync();
    await expectAfterCrash(third, last);
    for (const each of [third, second, world]) await each.end();
  });

  test("a start that finds images puts them back once, and never again", async () => {
    const { world, state } = await committedWorld();
    changeAll(world);
    world.first.buffers.flushSync();
    const disk = world.disk.image(new Random(seed));
    const off = { settings: { full_page_writes: "off" } };
    const second = await World.begin(disk, state, off);
    expect(second.shared.recovery.blocksRestored).toBeGreaterThan(0);
    changeAll(second);
    second.first.buffers.flushSync();
    const found = { disk, candidates: [second.state], n: 0 };
    await check(found, { seed, again: 0 }, { images: 0 });
    for (const each of [second, world]) await each.end();
  });
});

describe("a process killed before the control document was durable", () => {
  test("is followed by a start that makes it so before it changes anything", async () => {
    const { world } = await committedWorld({
      plant: (storage, { disk }) => {
        const write = storage.writeControlSync.bind(storage);
        storage.writeControlSync = (bytes) => {
          if (isSecond) disk.fsyncSync = () => {};
          write(bytes);
          Reflect.deleteProperty(disk, "fsyncSync");
        };
      },
    });
    isSecond = true;
    changeAll(world);
    const [one] = world.seats as [Seat];
    const fiber = fiberOf(one, checkpointOf(one));
    const before = world.committed;
    stepUntil(fiber, () => world.committed > before);
    isSecond = false;
    const { disk, state } = world;
    await check({ disk, candidates: [state], n: 0 }, { seed, again: 40 }, { images: 0 });
    await world.end();
  });
});

/** Whether the document's sync is left out, as if the process ended before it. */
let isSecond = false;

describe("a directory whose control document is gone", () => {
  test("is refused, and nothing in it is touched", async () => {
    const { world } = await committedWorld();
    await world.end();
    const { disk } = world;
    for (const n of [0, 1]) disk.unlinkSync(`/data/palloc.control.${n}`);
    const before = disk.operations;
    const start = SharedMemory.create({ storage: disk.open(crashHandle()), settings });
    await expect(start).rejects.toMatchObject({
      code: "XX001",
      message: "control document is missing",
    });
    expect(disk.operations).toBe(before);
  });

  test("is begun anew where a crash came within its making", async () => {
    for (let n = 1; n < 20; n += 1) {
      const disk = new CrashDisk();
      disk.crashAt(n);
      const made = SharedMemory.create({ storage: disk.open(crashHandle()), settings });
      const isMade = await made.then(
        (shared) => shared.close().catch(() => {}),
        () => false,
      );
      for (let turn = 0; turn < 10; turn += 1) {
        const image = disk.image(new Random(seed + turn));
        const found = { disk: image, candidates: [new Map()], n };
        await check(found, { seed: turn }, { images: 0 });
      }
      if (isMade !== false) return;
    }
    throw new Error("it is never made");
  });
});
