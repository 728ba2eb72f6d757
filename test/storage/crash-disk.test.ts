// The disk that crashes, on which durability is proved: that each kind of loss occurs, that what
// was synced is never lost, and that thousands of crashes are no matter. And storage on it: the
// contract holds, and what storage calls durable is there after a crash at every operation.

import { describe, expect, test } from "vitest";
import type { FileStorage, FilesHandle } from "../../bindings/storage/files.ts";
import type { StorageHandle } from "../../bindings/storage/manager.ts";
import { Random, seed } from "../support/random.ts";
import { isSame, pageOf, readPage, type Subject, storageContract, zeroPage } from "./contract.ts";
import { wideContract } from "./contract-wide.ts";
import { Crash, CrashDisk, crashHandle, isCrash } from "./crash-disk.ts";

/** Disks by their handle's module, which names them here and survives being posted. */
const disks = new Map<string, CrashDisk>();

function onNewDisk(disk = new CrashDisk()): FileStorage {
  const module = `disk ${disks.size}`;
  disks.set(module, disk);
  return disk.open(crashHandle({ module }));
}

function diskOf(handle: StorageHandle): CrashDisk {
  const disk = disks.get(handle.module ?? "");
  if (disk === undefined) throw new TypeError("not the handle of a disk");
  return disk;
}

describe("storage on a disk that may crash keeps the contract", () => {
  const subject: Subject = {
    make: () => onNewDisk(),
    open: (handle) => diskOf(handle).open(handle as FilesHandle),
    restart: ({ handle }) => onNewDisk(diskOf(handle).image(new Random(seed))),
  };
  storageContract(subject);
  wideContract(subject);
});

/** What is left after many crashes of the same disk, as one string each, and how often. */
function outcomes(
  disk: CrashDisk,
  look: (after: CrashDisk) => string,
  crashes = 1000,
): Map<string, number> {
  const seen = new Map<string, number>();
  for (let turn = 0; turn < crashes; turn++) {
    const outcome = look(disk.image(new Random(seed + turn)));
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
  }
  return seen;
}

/** Opens a file by its path in the data directory. */
function opened(disk: CrashDisk, name: string, flags: string): number {
  return disk.openSync(`/data/${name}`, flags);
}

/** A file's bytes after a crash, or undefined if it has no name. */
function contentOf(disk: CrashDisk, name: string): Uint8Array | undefined {
  if (!disk.readdirSync("/data").includes(name)) return undefined;
  const descriptor = opened(disk, name, "r");
  const bytes = new Uint8Array(disk.fstatSync(descriptor).size);
  disk.readSync(descriptor, bytes, 0, bytes.length, 0);
  disk.closeSync(descriptor);
  return bytes;
}

/** A disk with a durable file of `sectors` sectors of ones, and a descriptor of it. */
function withFile(sectors: number): { disk: CrashDisk; file: number } {
  const disk = new CrashDisk();
  const file = opened(disk, "f", "wx+");
  disk.writeSync(file, new Uint8Array(sectors * 512).fill(1), 0, sectors * 512, 0);
  disk.fsyncSync(file);
  const directory = disk.openSync("/data", "r");
  disk.fsyncSync(directory);
  return { disk, file };
}

/** The first byte of each sector. */
function sectorsOf(disk: CrashDisk, name: string): string {
  const bytes = contentOf(disk, name);
  if (bytes === undefined) return "none";
  return Array.from({ length: bytes.length / 512 }, (_, at) => bytes[at * 512]).join("");
}

function writeSectors(disk: CrashDisk, file: number, at: number, values: number[]): void {
  const bytes = Uint8Array.from({ length: values.length * 512 }, (_, i) => values[i >> 9] ?? 0);
  disk.writeSync(file, bytes, 0, bytes.length, at * 512);
}

describe("a crash", () => {
  test("loses of unsynced writes any subset, in any order, each torn at sectors or not", () => {
    const { disk, file } = withFile(4);
    writeSectors(disk, file, 0, [2, 2]);
    writeSectors(disk, file, 1, [3, 3]);
    writeSectors(disk, file, 3, [4]);
    const seen = outcomes(disk, (after) => sectorsOf(after, "f"), 5000);
    // Every combination of old and new of each sector, the second one with either new content.
    const all = ["1", "2"].flatMap((a) =>
      ["1", "2", "3"].flatMap((b) =>
        ["1", "3"].flatMap((c) => ["1", "4"].map((d) => a + b + c + d)),
      ),
    );
    expect([...seen.keys()].sort()).toEqual(all.sort());
  });

  test("applies an unsynced extension, a part of it, or none; lost writes in it read as zeroes", () => {
    const { disk, file } = withFile(1);
    writeSectors(disk, file, 1, [2, 2]);
    const seen = outcomes(disk, (after) => sectorsOf(after, "f"));
    expect([...seen.keys()].sort()).toEqual(["1", "10", "100", "102", "12", "120", "122"].sort());
  });

  test("applies an unsynced truncation or not, and what it cut off does not come back", () => {
    const { disk, file } = withFile(2);
    disk.ftruncateSync(file, 512);
    expect([...outcomes(disk, (after) => sectorsOf(after, "f")).keys()].sort()).toEqual([
      "1",
      "11",
    ]);
    writeSectors(disk, file, 3, [4]);
    disk.fsyncSync(file);
    expect([...outcomes(disk, (after) => sectorsOf(after, "f")).keys()]).toEqual(["1004"]);
  });

  test("loses names that were made, renamed or removed since their directory was synced, or not", () => {
    const { disk } = withFile(1);
    opened(disk, "g", "wx+");
    const made = outcomes(disk, (after) => after.readdirSync("/data").sort().join());
    expect([...made.keys()].sort()).toEqual(["f", "f,g"]);
    disk.fsyncSync(disk.openSync("/data", "r"));
    disk.unlinkSync("/data/g");
    const removed = outcomes(disk, (after) => after.readdirSync("/data").sort().join());
    expect([...removed.keys()].sort()).toEqual(["f", "f,g"]);
    disk.fsyncSync(disk.openSync("/data", "r"));
    disk.renameSync("/data/f", "/data/h");
    const renamed = outcomes(disk, (after) => after.readdirSync("/data").join());
    expect([...renamed.keys()].sort()).toEqual(["f", "h"]);
    disk.fsyncSync(disk.openSync("/data", "r"));
    expect([...outcomes(disk, (after) => sectorsOf(after, "h")).keys()]).toEqual(["1"]);
  });

  test("leaves a file that was renamed and not synced empty, whole, in part, or under no name", () => {
    const { disk } = withFile(1);
    const draft = opened(disk, "draft", "w");
    writeSectors(disk, draft, 0, [5, 5]);
    disk.renameSync("/data/draft", "/data/f");
    const seen = outcomes(disk, (after) => sectorsOf(after, "f"));
    for (const outcome of ["", "1", "5", "55", "50", "05", "00"]) {
      expect(seen.get(outcome) ?? 0, outcome).toBeGreaterThan(0);
    }
    disk.fsyncSync(draft);
    const synced = outcomes(disk, (after) => sectorsOf(after, "f"));
    expect([...synced.keys()].sort()).toEqual(["1", "55"]);
    disk.fsyncSync(disk.openSync("/data", "r"));
    expect([...outcomes(disk, (after) => sectorsOf(after, "f")).keys()]).toEqual(["55"]);
  });

  test("loses nothing of what a sync returned for, over random histories with a model", () => {
    for (let turn = 0; turn < 100; turn++) syncedSurvives(new Random(seed + turn));
  });

  test("tells what it lost, the same for the same seed, and nothing if nothing was", () => {
    const { disk, file } = withFile(2);
    expect(disk.image(new Random(1)).lost).toEqual([]);
    writeSectors(disk, file, 0, [2, 2]);
    opened(disk, "g", "wx+");
    let told = 0;
    for (let turn = 0; turn < 200; turn++) {
      const after = disk.image(new Random(turn));
      expect(disk.image(new Random(turn)).lost).toEqual(after.lost);
      const whole = sectorsOf(after, "f") === "22" && after.readdirSync("/data").includes("g");
      expect(after.lost.length === 0).toBe(whole);
      for (const line of after.lost) expect(line).toMatch(/^(f: write of 1024 at 0|g: create)/);
      told += after.lost.length;
    }
    expect(told).toBeGreaterThan(100);
  });

  test("comes within the operation asked for: it is not durable, and every later call throws", () => {
    const { disk, file } = withFile(1);
    const before = disk.operations;
    disk.crashAt(before + 2);
    writeSectors(disk, file, 0, [2]);
    expect(() => disk.fsyncSync(file)).toThrow(Crash);
    expect([disk.crashed, disk.operations]).toEqual([true, before + 2]);
    for (const call of [
      () => disk.openSync("/data/f", "r"),
      () => disk.readdirSync("/data"),
      () => disk.fsyncSync(file),
      () => disk.closeSync(file),
    ]) {
      expect(call).toThrow(Crash);
    }
    const seen = outcomes(disk, (after) => sectorsOf(after, "f"));
    expect([...seen.keys()].sort()).toEqual(["1", "2"]);
  });

  test("after a sync that failed has what came before it in no later sync", () => {
    const { disk, file } = withFile(2);
    writeSectors(disk, file, 0, [2]);
    disk.failSyncAt(disk.operations + 1);
    expect(() => disk.fsyncSync(file)).toThrow(expect.objectContaining({ code: "EIO" }));
    writeSectors(disk, file, 1, [3]);
    disk.fsyncSync(file);
    expect(contentOf(disk, "f")?.[0]).toBe(2);
    expect([...outcomes(disk, (after) => sectorsOf(after, "f")).keys()]).toEqual(["13"]);
  });
});

/** Random writes and syncs of a file; the model has what was in each sector since its last sync. */
function syncedSurvives(random: Random): void {
  const { disk, file } = withFile(8);
  let possible = Array.from({ length: 8 }, () => new Set([1]));
  let latest = Array.from({ length: 8 }, () => 1);
  for (let step = 0; step < 20; step++) {
    const at = random.below(8);
    const values = Array.from({ length: 1 + random.below(8 - at) }, () => random.below(10));
    writeSectors(disk, file, at, values);
    for (const [index, value] of values.entries()) {
      possible[at + index]?.add(value);
      latest[at + index] = value;
    }
    if (random.below(4) === 0) {
      disk.fsyncSync(file);
      possible = latest.map((value) => new Set([value]));
      latest = [...latest];
    }
    const after = sectorsOf(disk.image(random), "f");
    expect(after).toHaveLength(8);
    for (const [index, sector] of [...after].entries()) {
      expect(possible[index]?.has(Number(sector)), `sector ${index}: ${after}`).toBe(true);
    }
  }
}

/** What the history below got done before the crash. */
interface Done {
  flushed: boolean;
  journal: boolean;
  removing: boolean;
  control: number;
}

function nothingDone(): Done {
  return { flushed: false, journal: false, removing: false, control: 0 };
}

/** Two threads that share a handle; each mark is set once the call that promises it returned. */
function history(disk: CrashDisk, done: Done): void {
  const one = disk.open();
  const two = disk.open(one.handle);
  one.createSync(5, 0);
  one.extendSync(5, 0, 9);
  two.writevSync(5, 0, 1, [pageOf(1), pageOf(2), pageOf(3), pageOf(4)]);
  one.writeSync(5, 0, 8, pageOf(8));
  two.flushSync(5, 0);
  done.flushed = true;
  one.createJournalSync(7);
  two.writeJournalSync(7, 8192, [pageOf(7)]);
  one.writeJournalSync(7, 0, [pageOf(6)]);
  two.syncJournalSync(7);
  done.journal = true;
  one.writeControlSync(pageOf(10));
  done.control = 10;
  two.writeRelationsSync(pageOf(12));
  one.writeControlSync(pageOf(11));
  done.control = 11;
  one.truncateSync(5, 0, 2);
  one.createSync(6, 0);
  two.extendSync(6, 0, 6);
  one.unlinkSync(6, 0);
  done.removing = true;
  one.removeJournalSync(7);
}

/** How many operations the history has without a crash. */
function operationsOf(run: (disk: CrashDisk) => void): number {
  const disk = new CrashDisk();
  run(disk);
  return disk.operations;
}

describe("storage over a crash at every operation", () => {
  const total = operationsOf((disk) => history(disk, nothingDone()));

  /** Crashes at each operation, some images of each. */
  function everyCrash(check: (after: CrashDisk, done: Done, n: number) => void): void {
    for (let n = 1; n <= total; n++) {
      const disk = new CrashDisk();
      const done = nothingDone();
      disk.crashAt(n);
      expect(() => history(disk, done)).toThrow(expect.toSatisfy(isCrash));
      for (let turn = 0; turn < 25; turn++) check(disk.image(new Random(seed + turn)), done, n);
    }
  }

  test("has what was flushed, journalled and committed before", () => {
    expect(total).toBeGreaterThan(30);
    everyCrash((after, done, n) => {
      const where = `operation ${n}, lost ${after.lost.join("; ")}`;
      const storage = after.open();
      if (done.flushed) {
        // Later it is cut to 2 blocks; that may have happened or not, and never leaves a gap.
        expect([2, 4, 8, 9], where).toContain(storage.blocksSync(5, 0));
        expect(isSame(readPage(storage, 5, 0, 1), pageOf(1)), where).toBe(true);
      }
      if (done.journal && !done.removing) expect(storage.journalsSync(), where).toEqual([7]);
      if (done.journal && storage.journalsSync().includes(7)) {
        const bytes = new Uint8Array(16384);
        expect(storage.readJournalSync(7, 0, bytes), where).toBe(16384);
        expect(isSame(bytes, Buffer.concat([pageOf(6), pageOf(7)])), where).toBe(true);
      }
      const control = storage.readControlSync();
      const allowed = [done.control, done.control === 0 ? 10 : 11].map((each) =>
        each === 0 ? undefined : pageOf(each),
      );
      expect(
        allowed.some((each) => (each === undefined ? control === each : same(control, each))),
        where,
      ).toBe(true);
    });
  });

  test("can be cut back to what was flushed, whatever the end of the fork looks like", () => {
    everyCrash((after, done, n) => {
      if (!done.flushed) return;
      const where = `operation ${n}, lost ${after.lost.join("; ")}`;
      const storage = after.open();
      storage.truncateSync(5, 0, 2);
      expect(storage.blocksSync(5, 0), where).toBe(2);
      for (const relation of storage.relationsSync()) {
        if (relation !== 5) storage.unlinkSync(relation, 0);
      }
      storage.extendSync(5, 0, 9);
      expect(isSame(readPage(storage, 5, 0, 8), zeroPage), where).toBe(true);
      storage.createSync(6, 0);
      expect(storage.blocksSync(6, 0), where).toBe(0);
      storage.flushSync(5, 0);
      expect(after.image(new Random(n)).readdirSync("/data/base").sort()[0], where).toBe("5");
    });
  });

  test("goes on for a thousand crashes, with images and restarts, within a test", () => {
    let crashes = 0;
    for (let turn = 0; turn < 1000; turn++) {
      const random = new Random(turn);
      const disk = new CrashDisk();
      disk.crashAt(random.between(1, total));
      try {
        history(disk, nothingDone());
      } catch (error) {
        if (!isCrash(error)) throw error;
        crashes++;
      }
      disk.image(random).open().relationsSync();
    }
    expect(crashes).toBe(1000);
  });
});

function same(bytes: Uint8Array | undefined, other: Uint8Array): boolean {
  return bytes !== undefined && isSame(bytes, other);
}
