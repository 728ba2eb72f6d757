// Proves that a memory goes when it ends: its callbacks run at an orderly end, and neither disposed
// memories nor threads that ended leave resident memory behind.
//
// The bound: 32 MB over 1,000 ends. A memory of 64 MB of which a megabyte was touched that stayed
// would cost 1 GB over as many; 32 MB is a thirtieth of that, and what the engine's own heaps are
// seen to breathe by.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { ClosedError } from "../../bindings/abi/errors.ts";
import { ProcessMemory } from "../../bindings/process/memory.ts";
import { Backend } from "../../bindings/shared/backend.ts";
import { SharedMemory } from "../../bindings/shared/memory.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builds, openEmptyMemory, openMemory } from "../support/process.ts";

const MEGABYTE = 2 ** 20;
const BOUND_BYTES = 32 * MEGABYTE;
const CYCLES = 1000;
const { PALLOC_LONG } = process.env;
/** Threads that end: 1,000 take a minute, so `npm test` has fewer; PALLOC_LONG asks for all. */
const EXITS = PALLOC_LONG === undefined ? 120 : 1000;
const AT_ONCE = 2;
const LOOKS = 10;
const LOOK_MS = 20;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/**
 * What stays resident: the engine gives collected memories back in a thread of its own, which comes
 * late when others need the processor. So it is the least of several looks, before as after.
 */
async function residentBytes(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let look = 0; look < LOOKS; look += 1) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    least = Math.min(least, process.memoryUsage().rss);
  }
  return least;
}

/** Touches a megabyte of a memory. */
function live(memory: ProcessMemory): void {
  const context = memory.top.createChild("life");
  for (let round = 0; round < 100; round += 1) {
    const chunk = context.alloc(10_000);
    memory.u8.fill(round, chunk, chunk + 10_000);
  }
}

describe("resident memory", () => {
  it.each(builds)(
    "stays in bounds over 1,000 memories made and disposed of (%s)",
    async (_, checked) => {
      const cycle = (): void => {
        const memory = ProcessMemory.createSync({ checked });
        live(memory);
        memory.dispose();
      };
      for (let warmUp = 0; warmUp < 50; warmUp += 1) cycle();
      const before = await residentBytes();
      for (let round = 0; round < CYCLES; round += 1) cycle();
      expect((await residentBytes()) - before).toBeLessThan(BOUND_BYTES);
    },
  );

  it(`stays in bounds over ${EXITS} threads that end with a memory`, async () => {
    const url = new URL("worker.mjs", import.meta.url);
    const lives = async (): Promise<void> => {
      const worker = new Worker(url, { workerData: { live: true, checked: false } });
      const code = await new Promise((resolve, reject) => {
        worker.once("exit", resolve);
        worker.once("error", reject);
      });
      expect(code).toBe(0);
    };
    const together = (): Promise<unknown> => Promise.all(Array.from({ length: AT_ONCE }, lives));
    for (let warmUp = 0; warmUp < 10; warmUp += 1) await together();
    const before = await residentBytes();
    for (let round = 0; round < EXITS; round += AT_ONCE) await together();
    expect((await residentBytes()) - before).toBeLessThan(BOUND_BYTES);
  }, 300_000);
});

describe.each(builds)("disposal (%s)", (_, checked) => {
  it("runs the callbacks in the order of deletion: below first, newest first, top last", () => {
    const { memory } = openMemory(checked);
    const ran: string[] = [];
    const first = memory.top.createChild("first");
    const second = memory.top.createChild("second");
    const below = first.createChild("below");
    for (const context of [memory.top, first, second, below, memory.errorContext]) {
      for (const turn of [1, 2]) context.onReset(() => ran.push(`${context.name} ${turn}`));
    }
    memory.dispose();
    expect(ran).toEqual([
      ...["second 2", "second 1", "below 2", "below 1", "first 2", "first 1"],
      ...["ErrorContext 2", "ErrorContext 1", "TopMemoryContext 2", "TopMemoryContext 1"],
    ]);
    memory.dispose();
    expect(ran).toHaveLength(10);
  });

  it("lets callbacks use the memory and the contexts that are still there", () => {
    const { memory } = openMemory(checked);
    const child = memory.top.createChild("child");
    const chunk = child.alloc(100);
    const seen: unknown[] = [];
    memory.top.onReset(() => {
      seen.push(child.closed, memory.top.closed, memory.top.alloc(8) > 0);
      memory.dispose();
    });
    child.onReset(() => {
      seen.push(child.closed);
      memory.free(chunk);
      child.createChild("late").onReset(() => seen.push("late"));
    });
    memory.dispose();
    expect(seen).toEqual([false, "late", true, false, true]);
    expect(() => memory.top).toThrow(ClosedError);
  });

  it("runs all callbacks though one throws, closes the memory, and then throws", () => {
    const { memory } = openMemory(checked);
    const ran: string[] = [];
    const child = memory.top.createChild("child");
    memory.top.onReset(() => ran.push("top"));
    child.onReset(() => ran.push("child"));
    const failure = new Error("callback");
    child.onReset(() => {
      throw failure;
    });
    expect(() => memory.dispose()).toThrow(failure);
    expect(ran).toEqual(["child", "top"]);
    expect(child.closed).toBe(true);
    expect(() => child.alloc(8)).toThrow(ClosedError);
    memory.dispose();
  });

  it("throws what several callbacks threw as one AggregateError", () => {
    const { memory } = openMemory(checked);
    for (const text of ["a", "b"]) {
      memory.top.createChild(text).onReset(() => {
        throw new Error(text);
      });
    }
    let thrown: unknown;
    try {
      memory.dispose();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(AggregateError);
    expect((thrown as AggregateError).errors.map(String)).toEqual(["Error: b", "Error: a"]);
    expect(() => memory.blockStatistics()).toThrow(ClosedError);
  });

  it("reaches contexts without a parent, and trees as deep as memory allows", () => {
    const { memory, inside } = openEmptyMemory(checked);
    let ran = 0;
    for (const root of [inside.createRoot("one"), inside.createRoot("two")]) {
      let context = root;
      for (let depth = 0; depth < 1000; depth += 1) {
        context = context.createChild("deep", { initBlockSize: 1024, maxBlockSize: 1024 });
      }
      context.onReset(() => {
        ran += 1;
      });
    }
    memory.dispose();
    expect(ran).toBe(2);
  });

  it("happens when a backend detaches, before it leaves the region", async () => {
    const settings = { shared_buffers: "128kB", max_connections: 2 };
    const shared = await SharedMemory.create({ settings, storage: memoryStorage() });
    const backend = Backend.attachSync(shared.handle, { memory: { checked } });
    const states: unknown[] = [];
    backend.memory.top.createChild("session").onReset(() => {
      states.push(shared.backends().map(({ state }) => state));
      throw new Error("callback");
    });
    expect(() => backend.detach()).toThrow("callback");
    expect(states).toEqual([["active"]]);
    expect(shared.backends()).toEqual([]);
    backend.detach();
    await shared.close();
  });
});
