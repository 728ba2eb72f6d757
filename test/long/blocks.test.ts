// Proves that the block provider does not creep: the same 10,000 random requests a thousand times
// over use the same bytes at the same places each time, and leave the memory whole.
//
// A general context with blocks of 1 kB asks the provider for every chunk above 128 bytes by
// itself, so that the chunks stand for blocks.

import { describe, expect, it } from "vitest";
import { AREA_HEADER_BYTES, PROCESS_HEADER_BYTES } from "../../assembly/common/constants.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { openEmptyMemory } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";
import { Progress } from "./progress.ts";

const REQUESTS = 10_000;
const ROUNDS = 1_000;
const MEMORY_BYTES = 67_108_864; // 64 MB
/** Chunks alive at the same time. */
const HELD = 400;
const sizes = { minContextSize: 1024, initBlockSize: 1024, maxBlockSize: 1024 };
const FIRST_BLOCK = PROCESS_HEADER_BYTES + AREA_HEADER_BYTES;

/** The requests of a round: each also frees or resizes one of those before it. */
function round(context: MemoryContext): number {
  const { memory } = context;
  const random = new Random(seed);
  const held: ChunkPtr[] = [];
  let places = 0;
  for (let request = 0; request < REQUESTS; request += 1) {
    const bytes = random.between(129, random.pick([300, 3_000, 30_000, 100_000]));
    const chunk = context.alloc(bytes);
    places = (Math.imul(places, 31) + chunk) | 0;
    held.push(chunk);
    const index = random.below(held.length);
    const other = held[index] as ChunkPtr;
    if (random.below(4) === 0) held[index] = memory.realloc(other, random.between(129, 50_000));
    if (held.length > HELD) memory.free(held.splice(index, 1)[0] as ChunkPtr);
  }
  // Half is given back one by one, in no order; the rest goes with the context.
  for (let left = HELD / 2; left > 0; left -= 1) {
    memory.free(held.splice(random.below(held.length), 1)[0] as ChunkPtr);
  }
  return places;
}

describe("the block provider", () => {
  it("serves the same 10,000 requests a thousand times over from the same bytes", () => {
    const { memory, inside } = openEmptyMemory(false, { maxMemory: MEMORY_BYTES });
    const progress = new Progress("block provider", ROUNDS);
    const seen = new Set<string>();
    for (let count = 1; count <= ROUNDS; count += 1) {
      const context = inside.createRoot("round", sizes);
      const places = round(context);
      const { footprintBytes, peakFootprintBytes } = memory.blockStatistics();
      seen.add([places, footprintBytes, peakFootprintBytes].join());
      context.delete();
      expect(memory.blockStatistics()).toMatchObject({ liveBytes: 0, footprintBytes: 0 });
      progress.show(count);
    }
    expect(seen.size).toBe(1);
    expect(inside.exports.checkHeap()).toBe(0);
    const whole = MEMORY_BYTES - FIRST_BLOCK - AREA_HEADER_BYTES;
    const all = inside.createRoot("all", { minContextSize: whole, maxBlockSize: whole });
    expect(all.address).toBe(FIRST_BLOCK);
  });
});
