// Proves the numbers and habits of general contexts: PostgreSQL's worked examples in their 32-bit
// column, size classes, dedicated blocks, recycling, and what holds when memory runs out.

import { describe, expect, it } from "vitest";
import { ASET_MAX_FREE_CONTEXTS } from "../../assembly/common/constants.ts";
import { OutOfMemoryError } from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import {
  ALLOCSET_SMALL_SIZES,
  ALLOCSET_START_SMALL_SIZES,
  type ContextSizes,
} from "../../bindings/process/sizes.ts";
import { builds, openMemory } from "../support/process.ts";

/** Counters as the worked examples write them: total / blocks / free / free chunks / used. */
function numbers(context: MemoryContext): string {
  const { totalBytes, blocks, freeBytes, freeChunks, usedBytes } = context.stats();
  expect(context.memAllocated()).toBe(totalBytes);
  return [totalBytes, blocks, freeBytes, freeChunks, usedBytes].join("/");
}

function times(count: number, context: MemoryContext, bytes: number): ChunkPtr[] {
  return Array.from({ length: count }, () => context.alloc(bytes));
}

const FRESH = "8192/1/8056/0/136";

describe.each(builds)("a general context of default sizes (%s)", (_, checked) => {
  const { memory } = openMemory(checked);
  const fresh = (): MemoryContext => memory.top.createChild("worked");

  it("rows 1 to 3: created, a request of 0, a request of 100", () => {
    expect(numbers(fresh())).toBe(FRESH);
    const empty = fresh();
    empty.alloc(0);
    expect(numbers(empty)).toBe("8192/1/8040/0/152");
    const hundred = fresh();
    hundred.alloc(100);
    expect(numbers(hundred)).toBe("8192/1/7920/0/272");
  });

  it("rows 4 to 9: a hundred of 100, ten freed, taken again, all freed, 50, reset", () => {
    const context = fresh();
    const chunks = times(100, context, 100);
    expect(numbers(context)).toBe("16384/2/2624/1/13760");
    for (const chunk of chunks.slice(30, 40)) memory.free(chunk);
    expect(numbers(context)).toBe("16384/2/3984/11/12400");
    expect(times(10, context, 100)).toEqual(chunks.slice(30, 40).reverse());
    expect(numbers(context)).toBe("16384/2/2624/1/13760");
    for (const chunk of chunks) memory.free(chunk);
    expect(numbers(context)).toBe("16384/2/16224/101/160");
    context.alloc(50);
    expect(numbers(context)).toBe("16384/2/16152/101/232");
    context.reset();
    expect(numbers(context)).toBe(FRESH);
    expect(context.isEmpty()).toBe(true);
  });

  it("rows 10 and 11: a dedicated chunk, freed: as new, but not empty", () => {
    const context = fresh();
    const chunk = context.alloc(9000);
    expect(numbers(context)).toBe("17224/2/8056/0/9168");
    expect(memory.chunkSpace(chunk)).toBe(9008);
    memory.free(chunk);
    expect(numbers(context)).toBe(FRESH);
    expect(context.isEmpty()).toBe(false);
  });

  it("rows 12 to 14: the largest class, freed, and one byte more", () => {
    const context = fresh();
    const chunk = context.alloc(8192);
    expect(numbers(context)).toBe("24576/2/16216/6/8360");
    memory.free(chunk);
    expect(numbers(context)).toBe("24576/2/24416/7/160");
    const other = fresh();
    other.alloc(8193);
    expect(numbers(other)).toBe("16424/2/8056/0/8368");
  });

  it("row 15: dedicated blocks leave the head its room", () => {
    const context = fresh();
    times(3, context, 9000);
    context.alloc(8);
    expect(numbers(context)).toBe("35288/4/8040/0/27248");
  });

  it("rows 16 to 19: resizing within a class, beyond it, to a dedicated block and back", () => {
    const context = fresh();
    const first = context.alloc(100);
    expect(memory.realloc(first, 128)).toBe(first);
    expect(numbers(context)).toBe("8192/1/7920/0/272");
    const second = memory.realloc(first, 129);
    expect(second).not.toBe(first);
    expect(numbers(context)).toBe("8192/1/7792/1/400");
    expect(memory.realloc(second, 10)).toBe(second);
    const sizes = [9000, 20000, 10];
    const rows: string[] = [];
    sizes.reduce<ChunkPtr>((chunk, bytes) => {
      const moved = memory.realloc(chunk, bytes);
      rows.push(numbers(context));
      return moved;
    }, second);
    expect(rows).toEqual(["17224/2/8056/2/9168", "28224/2/8056/2/20168", "8240/2/8056/2/184"]);
  });

  it("rows 20 and 21: a thousand and two hundred thousand of 100", () => {
    const context = fresh();
    times(1000, context, 100);
    expect(numbers(context)).toBe("262144/6/125888/6/136256");
    context.reset();
    for (let count = 0; count < 200_000; count += 1) context.alloc(100);
    expect(numbers(context)).toBe("33554432/14/6353984/18/27200448");
    context.delete();
  });

  it("gives every class the space its table says, header included", () => {
    const context = fresh();
    const spaces = [0, 8, 9, 16, 17, 33, 65, 129, 257, 513, 1025, 2049, 4097, 8192].map((bytes) =>
      memory.chunkSpace(context.alloc(bytes)),
    );
    expect(spaces).toEqual([16, 16, 24, 24, 40, 72, 136, 264, 520, 1032, 2056, 4104, 8200, 8200]);
  });
});

describe.each(builds)("general contexts of other sizes (%s)", (_, checked) => {
  const afterwards = (sizes: ContextSizes, ...requests: number[]): string => {
    const { memory } = openMemory(checked);
    const context = memory.top.createChild("other", sizes);
    for (const bytes of requests) context.alloc(bytes);
    return numbers(context);
  };
  const same = (bytes: number): ContextSizes => ({
    minContextSize: bytes,
    initBlockSize: bytes,
    maxBlockSize: bytes,
  });

  it("rows 22, 23, 25, 26, 27", () => {
    expect(afterwards(ALLOCSET_SMALL_SIZES)).toBe("1024/1/888/0/136");
    expect(afterwards(ALLOCSET_SMALL_SIZES, 2000)).toBe("3056/2/888/0/2168");
    expect(afterwards(same(8192))).toBe(FRESH);
    expect(afterwards(same(32768))).toBe("32768/1/32632/0/136");
    expect(afterwards(ALLOCSET_SMALL_SIZES, ...Array<number>(400).fill(100))).toBe(
      "57344/10/2592/7/54752",
    );
  });

  it("row 24: a small context in recycled memory keeps the limit of the memory's first life", () => {
    const { memory } = openMemory(checked);
    const first = memory.top.createChild("first", ALLOCSET_START_SMALL_SIZES);
    first.alloc(2000);
    expect(numbers(first)).toBe("5120/2/2904/4/2216");
    const { address } = first;
    first.delete();
    const second = memory.top.createChild("second", ALLOCSET_SMALL_SIZES);
    expect(second.address).toBe(address);
    second.alloc(2000);
    expect(numbers(second)).toBe("5120/2/2904/4/2216");
  });

  it.each([
    [1024, 128],
    [2048, 256],
    [4096, 512],
    [8192, 1024],
    [16384, 2048],
    [32768, 4096],
    [65536, 8192],
  ])("with blocks up to %i, requests above %i are dedicated", (maxBlockSize, limit) => {
    const { memory } = openMemory(checked);
    const context = memory.top.createChild("limit", { initBlockSize: 1024, maxBlockSize });
    expect(memory.chunkSpace(context.alloc(limit))).toBe(limit + 8);
    expect(memory.chunkSpace(context.alloc(limit + 1))).toBe(limit + 16);
    const blocks = context.stats().blocks;
    memory.free(context.alloc(limit + 9));
    expect(context.stats().blocks).toBe(blocks);
  });
});

describe.each(builds)("deleted contexts (%s)", (_, checked) => {
  it("are reused, the last one first", () => {
    const { memory } = openMemory(checked);
    const contexts = Array.from({ length: 3 }, () => memory.top.createChild("one"));
    const addresses = contexts.map((context) => context.address);
    for (const context of contexts) context.delete();
    const reused = Array.from({ length: 3 }, () => memory.top.createChild("two").address);
    expect(reused).toEqual(addresses.reverse());
  });

  it("are kept up to a hundred, then given back all at once", () => {
    const { memory, inside } = openMemory(checked);
    const contexts = Array.from({ length: ASET_MAX_FREE_CONTEXTS + 1 }, () =>
      memory.top.createChild("kept"),
    );
    const before = memory.blockStatistics().liveBlocks;
    for (const context of contexts.slice(1)) context.delete();
    expect(memory.blockStatistics().liveBlocks).toBe(before);
    contexts[0]?.delete();
    expect(memory.blockStatistics().liveBlocks).toBe(before - ASET_MAX_FREE_CONTEXTS);
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it("of unusual sizes are given back at once", () => {
    const { memory } = openMemory(checked);
    const before = memory.blockStatistics().liveBlocks;
    const context = memory.top.createChild("unusual", { initBlockSize: 4096 });
    context.alloc(5000);
    context.delete();
    expect(memory.blockStatistics().liveBlocks).toBe(before);
  });
});

describe.each(builds)("when memory is exhausted (%s)", (_, checked) => {
  function exhaust(context: MemoryContext): ChunkPtr[] {
    const chunks: ChunkPtr[] = [];
    for (const bytes of [100_000, 10_000, 1_000, 100, 8]) {
      for (;;) {
        const chunk = context.allocExtended(bytes, 2);
        if (chunk === 0) break;
        chunks.push(chunk);
      }
    }
    return chunks;
  }

  it("the error names size and context, and everything stays usable", () => {
    const { memory, inside } = openMemory(checked, { maxMemory: "1MB" });
    const context = memory.top.createChild("greedy");
    const chunks = exhaust(context);
    const error = catchError(() => context.alloc(5_000));
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect(error).toMatchObject({
      code: "53200",
      message: "out of memory",
      detail: 'Failed on request of size 5000 in memory context "greedy".',
      requestedBytes: 5_000,
      context: "greedy",
    });
    expect(inside.exports.checkHeap()).toBe(0);
    for (const chunk of chunks) memory.free(chunk);
    expect(inside.exports.checkHeap()).toBe(0);
    context.reset();
    expect(numbers(context)).toBe(FRESH);
    expect(context.alloc(900_000)).toBeGreaterThan(0);
  });

  it("ErrorContext still serves its reserve", () => {
    const { memory } = openMemory(checked, { maxMemory: "256kB" });
    exhaust(memory.top.createChild("greedy"));
    expect(() => memory.top.createChild("no room")).toThrow(OutOfMemoryError);
    for (let count = 0; count < 7; count += 1) memory.errorContext.alloc(1_000);
    memory.errorContext.reset();
    for (let count = 0; count < 59; count += 1) memory.errorContext.alloc(100);
  });

  it("a failed creation names the context", () => {
    const { memory, inside } = openMemory(checked);
    inside.exports.injectFaults(0, 1);
    expect(catchError(() => memory.top.createChild("unborn"))).toMatchObject({
      detail: 'Failed while creating memory context "unborn".',
    });
    expect(memory.top.children()).toEqual([memory.errorContext]);
    expect(memory.top.createChild("born").closed).toBe(false);
  });

  it("a failed resize leaves the chunk as it was", () => {
    const { memory, inside } = openMemory(checked);
    const context = memory.top.createChild("resize");
    for (const bytes of [100, 9_000]) {
      const chunk = context.alloc(bytes);
      memory.u8.fill(5, chunk, chunk + bytes);
      inside.exports.injectFaults(0, 1);
      expect(memory.reallocExtended(chunk, 30_000, 2)).toBe(0);
      expect(memory.u8.subarray(chunk, chunk + bytes).every((byte) => byte === 5)).toBe(true);
      memory.free(chunk);
    }
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it("a new block is asked for half as large, down to 1 MB", () => {
    const { memory } = openMemory(checked, { maxMemory: "4MB" });
    const context = memory.top.createChild("halving", { initBlockSize: 2 * 1024 ** 2 });
    while (context.stats().blocks < 2) context.alloc(8_192);
    expect(context.stats().totalBytes).toBe(3 * 1024 ** 2);
  });
});

function catchError(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
