// Proves the numbers and habits of generation contexts: PostgreSQL's worked examples in their
// 32-bit column, the traps of the sheet that concern them, and what is refused.

import { describe, expect, it } from "vitest";
import { ALLOC_HUGE } from "../../assembly/common/constants.ts";
import { InvalidPointerError, InvalidSizeError } from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openMemory } from "../support/process.ts";

const FRESH = "8192/1/0/8080/0/112/8112";

function times(count: number, context: MemoryContext, bytes: number): ChunkPtr[] {
  return Array.from({ length: count }, () => context.alloc(bytes));
}

describe.each(builds)("a generation context (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);
  const fresh = (): MemoryContext => memory.top.createGeneration("worked");
  const sound = (): void => expect(inside.exports.checkHeap()).toBe(0);

  /** As the examples write it: total / blocks / chunks / free / free chunks / used / held. */
  function numbers(context: MemoryContext): string {
    const { totalBytes, blocks, freeBytes, freeChunks, usedBytes } = context.stats();
    const chunks = /blocks \((\d+) chunks\)/.exec(memory.statsText(context))?.[1];
    const held = context.memAllocated();
    return [totalBytes, blocks, chunks, freeBytes, freeChunks, usedBytes, held].join("/");
  }

  it("rows 28 and 29: created, a request of 100", () => {
    const context = fresh();
    expect(numbers(context)).toBe(FRESH);
    const chunk = context.alloc(100);
    expect(numbers(context)).toBe("8192/1/1/7968/0/224/8112");
    expect(chunk).toBe(context.address + 120);
    expect([memory.u32[(chunk - 8) >>> 2], memory.u32[(chunk - 4) >>> 2]]).toEqual([0xd04, 0x80]);
    expect(memory.chunkSpace(chunk)).toBe(112);
    expect(context.type).toBe("Generation");
  });

  it("rows 30 to 32: a hundred of 100, half freed, all freed", () => {
    const context = fresh();
    const chunks = times(100, context, 100);
    expect(numbers(context)).toBe("16384/2/100/5040/0/11344/16304");
    for (const chunk of chunks.slice(0, 50)) memory.free(chunk);
    expect(numbers(context)).toBe("16384/2/100/5040/50/11344/16304");
    for (const chunk of chunks.slice(50)) memory.free(chunk);
    expect(numbers(context)).toBe("16384/2/0/16240/0/144/16304");
    expect(context.isEmpty()).toBe(true);
    sound();
  });

  it("rows 33 and 34: three hundred of 100; freed in order, one block is kept, one goes back", () => {
    const context = fresh();
    const chunks = times(300, context, 100);
    expect(numbers(context)).toBe("65536/4/300/31728/0/33808/65456");
    for (const chunk of chunks) memory.free(chunk);
    expect(numbers(context)).toBe("49152/3/0/48976/0/176/49072");
    sound();
  });

  it("rows 35 to 37: 9,000 shares a block, 600,000 has one of its own, which becomes the spare", () => {
    const context = fresh();
    context.alloc(9_000);
    expect(numbers(context)).toBe("24576/2/1/15424/0/9152/24496");
    const large = fresh();
    const chunk = large.alloc(600_000);
    expect(numbers(large)).toBe("608232/2/1/8080/0/600152/608152");
    memory.free(chunk);
    expect(numbers(large)).toBe("608232/2/0/608088/0/144/608152");
    sound();
  });

  it("row 38: with blocks of 8 kB a request of 1,000 has a block of its own", () => {
    const sizes = { initBlockSize: 8192, minContextSize: 8192, maxBlockSize: 8192 };
    const context = memory.top.createGeneration("small", sizes);
    context.alloc(1_000);
    expect(numbers(context)).toBe("9232/2/1/8080/0/1152/9152");
  });

  it("a size within 7 of the largest number is refused, not rounded to nothing", () => {
    const context = fresh();
    for (const bytes of [0xffffffff, 0xfffffff9]) {
      expect(() => context.alloc(bytes)).toThrow(InvalidSizeError);
      expect(() => context.allocExtended(bytes, ALLOC_HUGE)).toThrow(InvalidSizeError);
      expect(inside.exports.alloc(context.address, bytes)).toBe(0);
    }
    expect(numbers(context)).toBe(FRESH);
  });

  it("the spare block, even one that was dedicated, serves the next request that fits it", () => {
    const context = fresh();
    const large = context.alloc(600_000);
    memory.free(large);
    times(72, context, 104);
    expect(context.alloc(104)).toBe(large);
    expect(context.stats().blocks).toBe(2);
    sound();
  });

  it("a freed chunk counts among the free ones, its bytes do not until the block empties", () => {
    const context = fresh();
    const [first] = times(2, context, 100) as [ChunkPtr, ChunkPtr];
    const before = context.stats();
    memory.free(first);
    expect(context.stats()).toEqual({ ...before, freeChunks: 1 });
  });

  it("the keeper, once left, is not used again before a reset, even if it is empty", () => {
    const context = fresh();
    const chunks = times(72, context, 104);
    const next = context.alloc(104);
    for (const chunk of chunks) memory.free(chunk);
    expect(context.alloc(104)).toBe(next + 112);
    context.reset();
    expect(context.alloc(104)).toBe(chunks[0]);
  });

  it("a chunk never shrinks and moves only to grow, keeping its contents", () => {
    const context = fresh();
    const chunk = context.alloc(100);
    memory.u8.fill(7, chunk, chunk + 100);
    expect(memory.realloc(chunk, 10)).toBe(chunk);
    expect(memory.realloc(chunk, 104)).toBe(chunk);
    memory.u8.fill(7, chunk, chunk + 104);
    const moved = memory.realloc(chunk, 105);
    expect(moved).not.toBe(chunk);
    expect(memory.u8.subarray(moved, moved + 104).every((byte) => byte === 7)).toBe(true);
    expect(memory.chunkContext(moved)).toBe(context);
    sound();
  });

  it("an overwritten header is refused and nothing is damaged", () => {
    const context = fresh();
    const [chunk, other] = times(2, context, 100) as [ChunkPtr, ChunkPtr];
    const at = (chunk - 8) >>> 2;
    const header = memory.u32.slice(at, at + 2);
    const before = numbers(context);
    for (const low of [0, 1, 15, 0xd03, 0xd05, 0xd07, 0xd14, 0xffffffff]) {
      memory.u32[at] = low;
      expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
      expect(() => memory.realloc(chunk, 500)).toThrow(InvalidPointerError);
      expect(() => memory.chunkContext(chunk)).toThrow(InvalidPointerError);
    }
    memory.u32[at] = 0xd04;
    for (const high of [0, 4, 0x88, 0xfffffff8]) {
      memory.u32[at + 1] = high;
      expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
    }
    memory.u32.set(header, at);
    expect(numbers(context)).toBe(before);
    memory.free(chunk);
    memory.free(other);
    expect(context.isEmpty()).toBe(true);
    sound();
  });

  it("a second free of the last chunk of a block is refused", () => {
    const context = fresh();
    const chunk = context.alloc(100);
    memory.free(chunk);
    expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
    sound();
  });
});

describe("a generation context (checked)", () => {
  it("refuses a second free although other chunks of the block live", () => {
    const { memory, inside } = openMemory(true);
    const context = memory.top.createGeneration("twice");
    const [chunk] = times(3, context, 100) as [ChunkPtr];
    memory.free(chunk);
    expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
    expect(() => memory.realloc(chunk, 200)).toThrow(InvalidPointerError);
    expect(context.stats().freeChunks).toBe(1);
    expect(inside.exports.checkHeap()).toBe(0);
  });
});
