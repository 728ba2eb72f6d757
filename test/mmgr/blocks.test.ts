// Proves that the block provider reuses, merges and gives back: whatever the history, everything
// freed leaves one area at the old base, the same work does not creep, and growth stays in bounds.
// Blocks are asked for through general contexts: a dedicated chunk is a block of its own.

import { describe, expect, it } from "vitest";
import { AREA_HEADER_BYTES, PROCESS_HEADER_BYTES } from "../../assembly/common/constants.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openEmptyMemory } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";

/** Sizes whose context is given back when it is deleted, instead of being kept. */
const notKept = { minContextSize: 1024, initBlockSize: 1024, maxBlockSize: 8192 };
/** Headers of a block and of its only chunk. */
const DEDICATED_OVERHEAD = 32;
const FIRST_BLOCK = PROCESS_HEADER_BYTES + AREA_HEADER_BYTES;

/** Resizes, frees and allocates dedicated chunks at random; what is left is returned. */
function churn(context: MemoryContext, random: Random, steps: number): ChunkPtr[] {
  const { memory } = context;
  const held: ChunkPtr[] = [];
  for (let step = 0; step < steps; step += 1) {
    const bytes = random.between(2_000, 60_000);
    const index = random.below(held.length + 1);
    const chunk = held[index];
    if (chunk === undefined || held.length < 10) held.push(context.alloc(bytes));
    else if (random.below(3) === 0) held[index] = memory.realloc(chunk, bytes);
    else {
      memory.free(chunk);
      held.splice(index, 1);
    }
  }
  return held;
}

describe.each(builds)("the block provider (%s)", (_, checked) => {
  it("is whole again after everything was freed: a request for all of it succeeds at the base", () => {
    const { memory, inside } = openEmptyMemory(checked, { maxMemory: "8MB" });
    const context = inside.createRoot("all", notKept);
    expect(context.address).toBe(FIRST_BLOCK);
    churn(context, new Random(seed), 5_000);
    context.delete();
    expect(inside.exports.checkHeap()).toBe(0);
    expect(memory.blockStatistics()).toMatchObject({
      liveBytes: 0,
      liveBlocks: 0,
      footprintBytes: 0,
    });
    const room = memory.u8.length - (checked ? memory.u8.length / 3 : 0) - FIRST_BLOCK;
    const largest = room - AREA_HEADER_BYTES;
    const whole = { minContextSize: largest, maxBlockSize: largest };
    expect(inside.createRoot("whole", whole).address).toBe(FIRST_BLOCK);
  });

  it("does not creep when the same 2,000 requests come again and again", () => {
    const { memory, inside } = openEmptyMemory(checked);
    const context = inside.createRoot("again", notKept);
    const footprints = Array.from({ length: checked ? 10 : 50 }, () => {
      const places = churn(context, new Random(seed), 2_000).join();
      context.reset();
      return `${memory.blockStatistics().peakFootprintBytes} ${places}`;
    });
    expect(new Set(footprints).size).toBe(1);
  });

  it("merges what is freed with both neighbours", () => {
    const { memory, inside } = openEmptyMemory(checked);
    const context = inside.createRoot("neighbours", notKept);
    const [low, middle, high] = [20_000, 20_000, 20_000].map((bytes) => context.alloc(bytes));
    context.alloc(20_000);
    for (const chunk of [low, high, middle]) memory.free(chunk as ChunkPtr);
    expect(context.alloc(60_000)).toBe(low);
  });

  it("takes the smallest area that fits, the lowest of equals", () => {
    const { memory, inside } = openEmptyMemory(checked);
    const context = inside.createRoot("fit", notKept);
    const sizes = [50_000, 3_000, 20_000, 3_000, 20_000, 3_000, 30_000, 3_000];
    const chunks = sizes.map((bytes) => context.alloc(bytes));
    for (const index of [0, 6, 4, 2]) memory.free(chunks[index] as ChunkPtr);
    expect(context.alloc(19_000)).toBe(chunks[2]);
    expect(context.alloc(19_000)).toBe(chunks[4]);
    expect(context.alloc(19_000)).toBe(chunks[6]);
    expect(context.alloc(19_000)).toBe(chunks[0]);
  });

  it("resizes in place where the area above is free, and shrinks in place", () => {
    const { memory, inside } = openEmptyMemory(checked);
    const context = inside.createRoot("resize", notKept);
    const first = context.alloc(20_000);
    const second = context.alloc(20_000);
    context.alloc(20_000);
    memory.free(second);
    expect(memory.realloc(first, 35_000)).toBe(first);
    expect(memory.realloc(first, 2_000)).toBe(first);
    expect(context.alloc(30_000)).toBeLessThan(first + 10_000);
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it("keeps contents when it moves a block down or away", () => {
    const { memory, inside } = openEmptyMemory(checked);
    const context = inside.createRoot("move", notKept);
    const first = context.alloc(20_000);
    const second = context.alloc(30_000);
    const contents = Uint8Array.from({ length: 30_000 }, (_byte, index) => index % 251);
    memory.u8.set(contents, second);
    memory.free(first);
    const down = memory.realloc(second, 40_000);
    expect(down).toBe(first);
    expect(memory.u8.slice(down, down + 30_000)).toEqual(contents);
    context.alloc(2_000);
    const away = memory.realloc(down, 80_000);
    expect(away).toBeGreaterThan(down);
    expect(memory.u8.slice(away, away + 30_000)).toEqual(contents);
  });

  it("counts requests, returns, resizes, and bytes as they were asked for", () => {
    const { memory, inside } = openEmptyMemory(checked);
    const context = inside.createRoot("count", notKept);
    const chunk = memory.realloc(context.alloc(9_001), 9_002);
    expect(memory.blockStatistics()).toMatchObject({ requests: 2, returns: 0, resizes: 1 });
    expect(memory.blockStatistics().liveBytes).toBe(1_024 + 9_008 + DEDICATED_OVERHEAD);
    memory.free(chunk);
    context.delete();
    expect(memory.blockStatistics()).toMatchObject({ returns: 2, liveBytes: 0, liveBlocks: 0 });
  });

  it("lets the requests fail that it is told to", () => {
    const { inside } = openEmptyMemory(checked);
    const context = inside.createRoot("fault", notKept);
    inside.exports.injectFaults(1, 2);
    expect(context.allocExtended(9_000, 2)).not.toBe(0);
    expect(context.allocExtended(9_000, 2)).toBe(0);
    expect(context.allocExtended(9_000, 2)).toBe(0);
    expect(context.allocExtended(9_000, 2)).not.toBe(0);
  });

  it("serves areas that are multiples of 8 whatever the sizes", () => {
    const { inside } = openEmptyMemory(checked);
    const context = inside.createRoot("aligned", notKept);
    for (let bytes = 2_000; bytes < 2_050; bytes += 1) expect(context.alloc(bytes) % 8).toBe(0);
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it("grows up to its maximum when it begins smaller, and not beyond", () => {
    const { memory, inside } = openEmptyMemory(checked, {
      initialMemory: "64kB",
      maxMemory: "1MB",
    });
    const context = inside.createRoot("growing", notKept);
    const before = memory.u8;
    const chunk = context.alloc(200_000);
    memory.u8.fill(7, chunk, chunk + 200_000);
    if (!checked) expect(before.length).toBe(0);
    const second = context.alloc(500_000);
    expect(memory.u8[chunk + 199_999]).toBe(7);
    expect(context.allocExtended(500_000, 2)).toBe(0);
    memory.free(chunk);
    memory.free(second);
    expect(context.alloc(1_000_000)).toBeGreaterThan(0);
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it("stays logarithmic with many free areas", () => {
    const { memory, inside } = openEmptyMemory(checked, { maxMemory: "64MB" });
    const context = inside.createRoot("many", notKept);
    const chunks = Array.from({ length: 20_000 }, () => context.alloc(2_049));
    for (let index = 0; index < chunks.length; index += 2) memory.free(chunks[index] as ChunkPtr);
    const started = performance.now();
    for (let round = 0; round < 20_000; round += 1) memory.free(context.alloc(2_049));
    // A scan of 10,000 free areas for each of 20,000 requests would take many seconds.
    expect(performance.now() - started).toBeLessThan(checked ? 3_000 : 500);
    expect(inside.exports.checkHeap()).toBe(0);
  });
});
