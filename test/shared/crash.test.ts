// A call into shared memory that an exception leaves ends its backend, on the main thread as well:
// its calls are refused, what it held is given back, and the others go on. Where that cannot be
// done the region ends, and begins anew.

import { afterEach, describe, expect, it } from "vitest";
import { LIFE_CRASHED, SLOT_BYTES, SLOT_CHANGING_OFFSET } from "../../assembly/common/constants.ts";
import {
  Backend,
  type BackendDeath,
  type RegionRestart,
  type Relation,
  SharedMemory,
} from "../../bindings/index.ts";
import { type CrashSite, guardExports } from "../../bindings/shared/crash.ts";
import { type CallGuard, hotCalls } from "../../bindings/shared/hot-calls.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builds } from "../support/region.ts";

/** Dives to the end of the stack before one is given up that tears no call. */
const TURNS = 200;
/** Number of a buffer that would lie behind the end of memory. */
const NOWHERE = 0x10000 + 0x1000000;
const open: SharedMemory[] = [];

afterEach(async () => {
  for (const shared of open.splice(0)) await shared.close();
});

async function region(checked: boolean): Promise<SharedMemory> {
  const shared = await SharedMemory.create({
    settings: { shared_buffers: "128kB", max_connections: 4 },
    storage: memoryStorage(),
    locks: { plain: {} },
    checked,
  });
  open.push(shared);
  return shared;
}

function filled(backend: Backend, blocks: number): Relation {
  const relation = backend.createRelationSync("t");
  backend.buffers.extendSync(relation, blocks);
  return relation;
}

function death(shared: SharedMemory): Promise<BackendDeath> {
  return new Promise((resolve) => {
    shared.onBackendDeath(resolve);
  });
}

/** Makes a call at every depth from the end of the stack upwards, until one does not fail. */
function atTheEndOfTheStack(call: () => void): void {
  let done = false;
  const down = (): void => {
    try {
      down();
    } catch {
      if (done) return;
      try {
        call();
        done = true;
      } catch {
        // One frame more next time.
      }
    }
  };
  down();
}

/** Does something some small frames further down, so that others end at other places. */
function shifted(frames: number, work: () => void): void {
  if (frames === 0) work();
  else shifted(frames - 1, work);
}

/** Makes a call that traps: every chain of the buffer table leads out of the memory. */
function tear(shared: SharedMemory, call: () => void): void {
  const words = new Uint32Array(shared.handle.memory.buffer);
  const heads = header(words, 68) / 4;
  const kept = words.slice(heads, heads + header(words, 72) + 1);
  words.fill(NOWHERE, heads, heads + kept.length);
  try {
    expect(call).toThrow();
  } finally {
    words.set(kept, heads);
  }
}

/** Whether a backend refuses its calls. */
function isRefused(backend: Backend): boolean {
  try {
    backend.buffers.pinnedBuffers();
    return false;
  } catch (error) {
    return (error as Error).message.startsWith("this backend has crashed");
  }
}

/** Address of part of the header's. */
function header(words: Uint32Array, offset: number): number {
  return words[offset / 4] ?? 0;
}

describe.each(builds)("%s build", (_, checked) => {
  it("calls at the end of the stack, and one that is torn, leave nothing behind", async () => {
    const shared = await region(checked);
    const victim = Backend.attachSync(shared.handle);
    const relation = filled(victim, 40);
    const { buffers } = victim;
    const pinned = buffers.pin(relation.id, 7);
    buffers.lockExclusive(pinned);
    victim.lwlock("plain").acquireSync();
    const died = death(shared);
    // Each is a miss, whose calls go deep. Where a call is torn, if any is, the engine says.
    for (let turn = 0; turn < TURNS && !isRefused(victim); turn += 1) {
      const call = (): void => buffers.unpin(buffers.pin(relation.id, turn % 40));
      shifted(turn, () => atTheEndOfTheStack(call));
    }
    if (!isRefused(victim)) tear(shared, () => buffers.pin(relation.id, 1));
    expect(() => buffers.pin(relation.id, 1)).toThrow(/this backend has crashed/);
    expect(() => victim.lwlock("plain").tryAcquire()).toThrow(/this backend has crashed/);
    await expect(victim.checkpoint()).rejects.toMatchObject({ code: "57P02" });
    expect(await died).toMatchObject({ slot: victim.slot });
    using other = Backend.attachSync(shared.handle);
    expect(other.slot).toBe(victim.slot);
    using held = other.lwlock("plain").acquireSync();
    expect(held.isHeld).toBe(true);
    for (let block = 0; block < 40; block += 1) {
      other.buffers.changeSync(relation, block, (bytes) => {
        bytes[5000] = block;
      });
    }
    expect(other.buffers.pinnedBuffers()).toBe(0);
    victim.detach();
    // What the dead one does late does not touch who has its slot now.
    expect(() => buffers.pin(relation.id, 1)).toThrow(/closed|crashed/);
    expect(shared.backends().map(({ slot, state }) => [slot, state])).toEqual([
      [other.slot, "active"],
    ]);
  });

  it("a trap, or a broken invariant of the checked build, does the same", async () => {
    const shared = await region(checked);
    const victim = Backend.attachSync(shared.handle);
    using other = Backend.attachSync(shared.handle);
    const relation = filled(victim, 4);
    const died = death(shared);
    tear(shared, () => victim.buffers.pin(relation.id, 1));
    expect(() => victim.buffers.pin(relation.id, 1)).toThrow(/this backend has crashed/);
    expect(await died).toMatchObject({ slot: victim.slot });
    other.buffers.unpin(other.buffers.pin(relation.id, 1));
    victim.detach();
  });

  it("a slot that cannot be repaired ends the region, and a new one begins", async () => {
    const shared = await region(checked);
    const victim = Backend.attachSync(shared.handle);
    const other = Backend.attachSync(shared.handle);
    const relation = filled(victim, 4);
    victim.checkpointSync();
    const words = new Uint32Array(shared.handle.memory.buffer);
    const heads = header(words, 68) / 4;
    const again = new Promise<RegionRestart>((resolve) => shared.onRestart(resolve));
    const slot = header(words, 88) + victim.slot * SLOT_BYTES;
    words[(slot + SLOT_CHANGING_OFFSET) / 4] = NOWHERE;
    words.fill(NOWHERE, heads, heads + header(words, 72) + 1);
    expect(() => victim.buffers.pin(relation.id, 1)).toThrow();
    const { reason, handle } = await again;
    expect(reason).toContain(`slot ${victim.slot}`);
    expect(() => other.buffers.pin(relation.id, 1)).toThrow(/crash of another server process/);
    victim.detach();
    other.detach();
    using late = Backend.attachSync(handle);
    expect(late.relationNamesSync()).toEqual(["t"]);
    late.buffers.unpin(late.buffers.pin(relation.id, 1));
  });
});

describe("a guard before calls that are made often", () => {
  const names = Object.keys(hotCalls({} as CallGuard));

  it.each(names)("passes everything on, and refuses after a torn one: %s", (name) => {
    const given: number[][] = [];
    let torn: Error | undefined;
    const call = (...values: number[]): number => {
      if (torn !== undefined) throw torn;
      return given.push(values);
    };
    const i32 = new Int32Array(64);
    const crashes: unknown[] = [];
    const site = { i32, slotAddress: 128, crashed: (cause: unknown) => crashes.push(cause) };
    const { exports } = guardExports({ [name]: call } as never, site as unknown as CrashSite);
    const guarded = (exports as unknown as Record<string, typeof call>)[name];
    const values = [11, 12, 13, 14, 15, 16].slice(0, guarded?.length);
    expect(guarded?.(...values)).toBe(1);
    expect(given).toEqual([values]);
    expect(i32[32]).toBe(0);
    torn = new RangeError("the end of the stack");
    expect(() => guarded?.(...values)).toThrow(torn);
    expect([i32[32], crashes]).toEqual([LIFE_CRASHED, [torn]]);
    torn = undefined;
    expect(() => guarded?.(...values)).toThrow(/this backend has crashed/);
    expect(given).toHaveLength(1);
  });
});

describe("a guard before exports", () => {
  it("passes on every parameter a call has, and its result", () => {
    const given: number[][] = [];
    const call = (length: number): unknown =>
      Object.defineProperty((...values: number[]) => given.push(values), "length", {
        value: length,
      });
    const lengths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    const raw = Object.fromEntries(lengths.map((length) => [`of${length}`, call(length)]));
    const site = { i32: new Int32Array(8), slotAddress: 0 } as unknown as CrashSite;
    const { exports } = guardExports(raw as never, site);
    const guarded = exports as unknown as Record<string, (...values: number[]) => number>;
    for (const length of lengths) {
      const values = [11, 12, 13, 14, 15, 16, 17, 18, 19].slice(0, length);
      expect(guarded[`of${length}`]?.(...values)).toBe(given.length);
      expect(given.at(-1)?.slice(0, length)).toEqual(values);
    }
  });
});
