// Proves the numbers and habits of slab contexts: PostgreSQL's worked examples in their 32-bit
// column, which block is filled next, which are kept, and what is refused.

import { describe, expect, it } from "vitest";
import { SLAB_MAX_EMPTY_BLOCKS } from "../../assembly/common/constants.ts";
import { InvalidPointerError, InvalidSizeError, PallocError } from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openMemory } from "../support/process.ts";

const FRESH = "104/0/0/0/0/104, 0";

function times(count: number, context: MemoryContext, bytes = 100): ChunkPtr[] {
  return Array.from({ length: count }, () => context.alloc(bytes));
}

describe.each(builds)("a slab context (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);
  const fresh = (chunkSize = 100, blockSize = 8192): MemoryContext =>
    memory.top.createSlab("worked", { chunkSize, blockSize });
  const sound = (): void => expect(inside.exports.checkHeap()).toBe(0);

  /** As the examples write it: total / blocks / empty / free / chunks / used, held. */
  function numbers(context: MemoryContext): string {
    const { totalBytes, blocks, freeBytes, freeChunks, usedBytes } = context.stats();
    const empty = /(\d+) empty blocks/.exec(memory.statsText(context))?.[1];
    const counters = [totalBytes, blocks, empty, freeBytes, freeChunks, usedBytes].join("/");
    return `${counters}, ${context.memAllocated()}`;
  }

  it("rows 44 to 47: created, 1 chunk, a block full, one more", () => {
    const context = fresh();
    expect(numbers(context)).toBe(FRESH);
    expect(context.isEmpty()).toBe(true);
    const [chunk] = times(1, context) as [ChunkPtr];
    expect(numbers(context)).toBe("8296/1/0/7952/71/344, 8192");
    expect([memory.u32[(chunk - 8) >>> 2], memory.u32[(chunk - 4) >>> 2]]).toEqual([0xd05, 0x80]);
    times(71, context);
    expect(numbers(context)).toBe("8296/1/0/0/0/8296, 8192");
    times(1, context);
    expect(numbers(context)).toBe("16488/2/0/7952/71/8536, 16384");
    expect(context.type).toBe("Slab");
    sound();
  });

  it("rows 48 and 49: an empty block is kept and counts as used; reset gives it back", () => {
    const context = fresh();
    memory.free(context.alloc(100));
    expect(numbers(context)).toBe("8296/0/1/0/0/8296, 8192");
    expect(context.isEmpty()).toBe(false);
    context.reset();
    expect(numbers(context)).toBe(FRESH);
    sound();
  });

  it("chunks of 64 take 72: 113 to a block of 8 kB, 116,508 to one of 8 MB", () => {
    expect(inside.exports.slabChunksPerBlock(8_192, 64)).toBe(113);
    expect(inside.exports.slabChunksPerBlock(8_388_608, 64)).toBe(116_508);
    expect(memory.chunkSpace(fresh(64).alloc(64))).toBe(72);
  });

  it("serves its own size alone, raised to 4 if it is smaller", () => {
    const context = fresh();
    for (const bytes of [0, 99, 101, 104]) {
      expect(() => context.alloc(bytes)).toThrow(
        `unexpected alloc chunk size ${bytes} (expected 100)`,
      );
    }
    expect(() => context.alloc(99)).toThrow(InvalidSizeError);
    const tiny = fresh(1);
    expect(() => tiny.alloc(1)).toThrow("unexpected alloc chunk size 1 (expected 4)");
    expect(memory.chunkSpace(tiny.alloc(4))).toBe(16);
  });

  it("resizes to the same size alone, and then nothing happens", () => {
    const context = fresh();
    const chunk = context.alloc(100);
    expect(memory.realloc(chunk, 100)).toBe(chunk);
    for (const bytes of [0, 99, 101]) {
      expect(() => memory.realloc(chunk, bytes)).toThrow("slab allocator does not support realloc");
    }
    expect(memory.chunkContext(chunk)).toBe(context);
    sound();
  });

  it("a block too small for one chunk is refused, one that holds just one serves", () => {
    expect(() => fresh(1_000, 1_024)).toThrow(PallocError);
    expect(() => fresh(1_000, 1_024)).toThrow(
      "block size 1024 for slab is too small for 1000-byte chunks",
    );
    expect(() => fresh(8, 16)).toThrow(PallocError);
    const single = fresh(900, 1_024);
    const chunks = times(3, single, 900);
    expect(single.stats()).toMatchObject({ blocks: 3, freeChunks: 0 });
    for (const chunk of chunks) memory.free(chunk);
    sound();
  });

  it("keeps ten empty blocks and gives the eleventh back", () => {
    const context = fresh(100, 1_024);
    const chunks = times(8 * (SLAB_MAX_EMPTY_BLOCKS + 2), context);
    for (const chunk of chunks) memory.free(chunk);
    expect(numbers(context)).toBe("10344/0/10/0/0/10344, 10240");
    sound();
  });

  it("fills the fullest block first, and in it the chunk freed last", () => {
    const context = fresh();
    const chunks = times(144, context);
    const [sparse, full] = [chunks.slice(0, 72), chunks.slice(72)];
    for (const chunk of sparse.slice(0, 70)) memory.free(chunk);
    memory.free(full[5] as ChunkPtr);
    memory.free(full[9] as ChunkPtr);
    expect(times(2, context)).toEqual([full[9], full[5]]);
    expect(context.alloc(100)).toBe(sparse[69]);
    sound();
  });

  it("an overwritten header is refused and nothing is damaged", () => {
    const context = fresh();
    const chunk = times(2, context)[0] as ChunkPtr;
    const at = (chunk - 8) >>> 2;
    const header = memory.u32.slice(at, at + 2);
    const before = numbers(context);
    for (const low of [0, 2, 15, 0xd03, 0xd04, 0xd06, 0xd15, 0xffffffff]) {
      memory.u32[at] = low;
      expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
      expect(() => memory.realloc(chunk, 100)).toThrow(InvalidPointerError);
    }
    memory.u32[at] = 0xd05;
    for (const high of [0, 4, 0x88, 0xfffffff8]) {
      memory.u32[at + 1] = high;
      expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
    }
    memory.u32.set(header, at);
    expect(numbers(context)).toBe(before);
    memory.free(chunk);
    sound();
  });
});

describe("a slab context (checked)", () => {
  it("refuses a second free", () => {
    const { memory, inside } = openMemory(true);
    const context = memory.top.createSlab("twice", { chunkSize: 100 });
    const chunk = times(3, context)[0] as ChunkPtr;
    memory.free(chunk);
    expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
    expect(context.stats().freeChunks).toBe(70);
    expect(inside.exports.checkHeap()).toBe(0);
  });
});
