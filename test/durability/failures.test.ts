// What a disk that fails, and does not crash, may do to a checkpoint: nothing that is not told. A
// full disk refuses, loses nothing, and a later checkpoint works. A read or a write that failed is
// told to who asked. A sync that failed ends the region, and the next start finds what was
// committed.

import { describe, expect, test } from "vitest";
import { CrashDisk } from "../storage/crash-disk.ts";
import { Random, seed } from "../support/random.ts";
import { type Count, check } from "./crashes.ts";
import { History, nothingYet } from "./history.ts";
import { World } from "./world.ts";

const TURNS = 260;
const QUIET = { deaths: 0, giveUps: 0 };

function codeOf(error: unknown): unknown {
  return error instanceof Error ? Reflect.get(error, "code") : undefined;
}

/** Which call of the disk fails, how, and how many after it do too. */
interface Fault {
  readonly call: "writevSync" | "readSync";
  readonly code: "ENOSPC" | "EIO";
  readonly nth: number;
  readonly times: number;
}

/** Makes calls of a disk fail. @returns how many calls there were so far */
function plantFault(disk: CrashDisk, { call, code, nth, times }: Fault): () => number {
  let calls = 0;
  const real = disk[call].bind(disk) as (...given: unknown[]) => number;
  Object.defineProperty(disk, call, {
    configurable: true,
    value: (...given: unknown[]): number => {
      calls += 1;
      if (calls >= nth && calls < nth + times) throw Object.assign(new Error(code), { code });
      return real(...given);
    },
  });
  return () => calls;
}

/** What became of a history with a fault. */
interface Outcome {
  readonly calls: number;
  readonly codes: ReadonlySet<unknown>;
  readonly ended: boolean;
}

/** Runs a history with a fault; then a checkpoint must work, or the region must have ended. */
async function withFault(fault: Fault, count: Count): Promise<Outcome> {
  const world = await World.begin(new CrashDisk());
  const { disk } = world;
  const history = new History(world, new Random(seed), nothingYet(), QUIET);
  const codes = new Set<unknown>();
  history.isTolerated = (error) => {
    codes.add(codeOf(error));
    return true;
  };
  const calls = plantFault(disk, fault);
  for (let turn = 0; turn < TURNS; turn++) history.turn();
  history.settle();
  Reflect.deleteProperty(disk, fault.call);
  const ended = codes.has("57P02");
  if (!ended) {
    world.first.checkpointSync();
    world.noteCut();
    expect(world.candidates).toEqual([world.state]);
  }
  const image = disk.image(new Random(fault.nth));
  await check({ disk: image, candidates: world.candidates, n: disk.operations }, { seed }, count);
  await world.end();
  return { calls: calls(), codes, ended };
}

describe("a fault", () => {
  test("of a full disk, at every write, is told as 53100, and the next checkpoint has it all", async () => {
    const count = { images: 0 };
    let faults = 0;
    for (let nth = 1; ; nth += 1) {
      const fault = { call: "writevSync", code: "ENOSPC", nth, times: 1 + (nth % 7) } as const;
      const { calls, codes, ended } = await withFault(fault, count);
      if (calls < nth) break;
      faults += 1;
      expect([...codes], `write ${nth}`).toEqual(["53100"]);
      expect(ended).toBe(false);
    }
    expect(faults).toBeGreaterThan(50);
  }, 120_000);

  test.each(["writevSync", "readSync"] as const)(
    "of the medium, at every %s, is told as 58030, and no checkpoint is lost",
    async (call) => {
      const count = { images: 0 };
      let faults = 0;
      for (let nth = 1; ; nth += 1) {
        const fault = { call, code: "EIO", nth, times: 1 } as const;
        const { calls, codes } = await withFault(fault, count);
        if (calls < nth) break;
        faults += 1;
        expect([...codes][0], `${call} ${nth}`).toBe("58030");
      }
      expect(faults).toBeGreaterThan(20);
    },
    120_000,
  );

  test("of a sync, at every sync, ends the region, and the next start finds the last commit", async () => {
    let faults = 0;
    for (let n = 8; ; n += 1) {
      const world = await World.begin(new CrashDisk());
      const { disk } = world;
      const history = new History(world, new Random(seed), nothingYet(), QUIET);
      const codes: unknown[] = [];
      history.isTolerated = (error) => codes.push(codeOf(error)) > 0;
      disk.failSyncAt(n);
      for (let turn = 0; turn < TURNS && codes.length === 0; turn++) history.turn();
      const { committed } = world;
      if (codes.length === 0) {
        await world.end();
        break;
      }
      expect(codes[0]).toBe("58030");
      faults += 1;
      n = disk.operations;
      for (let turn = 0; turn < 4 * TURNS && codes.at(-1) !== "57P02"; turn++) history.turn();
      expect(codes.at(-1), `sync at ${n}`).toBe("57P02");
      for (const { backend } of world.seats) {
        expect(() => backend.createRelationSync("late")).toThrow(
          expect.objectContaining({ code: "57P02" }),
        );
      }
      expect(world.committed).toBe(committed);
      // What the system still shows, and has not written, must not be taken for durable.
      const { candidates } = world;
      const state = await check({ disk, candidates, n }, { seed, again: 0 }, { images: 0 });
      const image = disk.image(new Random(n));
      await check({ disk: image, candidates: [state], n }, { seed }, { images: 0 });
      await world.end();
    }
    expect(faults).toBeGreaterThan(5);
  }, 120_000);
});
