// Proves aligned chunks: where they lie, what their header says, and which kinds of context can do
// what with them; and with it the table of what each kind supports.

import { describe, expect, it } from "vitest";
import { ALLOC_NO_OOM, ALLOC_ZERO } from "../../assembly/common/constants.ts";
import { InvalidPointerError, InvalidSizeError } from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openMemory } from "../support/process.ts";

describe.each(builds)("an aligned chunk (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);
  const sound = (): void => expect(inside.exports.checkHeap()).toBe(0);
  const kinds = [
    ["general", () => memory.top.createChild("worked")],
    ["generation", () => memory.top.createGeneration("worked")],
  ] as const;

  it("row 21a: 100 at 64 is a chunk of 256 in a general context", () => {
    const context = memory.top.createChild("worked");
    const chunk = context.allocAligned(100, 64);
    expect(chunk % 64).toBe(0);
    const { totalBytes, blocks, freeBytes, freeChunks, usedBytes } = context.stats();
    const numbers = [totalBytes, blocks, freeBytes, freeChunks, usedBytes].join("/");
    expect(numbers).toBe("8192/1/7792/0/400");
  });

  it.each(kinds)("lies at every alignment and dies like any other: %s", (_kind, make) => {
    const context = make();
    for (let alignment = 1; alignment <= 65_536; alignment *= 2) {
      const chunk = context.allocAligned(100, alignment, ALLOC_ZERO) as ChunkPtr;
      expect(chunk % alignment).toBe(0);
      expect(memory.u8.subarray(chunk, chunk + 100).every((byte) => byte === 0)).toBe(true);
      expect(memory.chunkContext(chunk)).toBe(context);
      expect(memory.chunkSpace(chunk)).toBeGreaterThanOrEqual(100 + alignment);
      memory.u8.fill(9, chunk, chunk + 100);
      sound();
      memory.free(chunk);
    }
    sound();
  });

  it("its header leads to the inner chunk, not to a block", () => {
    const context = memory.top.createGeneration("worked");
    const chunk = context.allocAligned(100, 64) as ChunkPtr;
    const [low = 0, high = 0] = memory.u32.subarray((chunk - 8) >>> 2, chunk >>> 2);
    expect(low).toBe((64 << 5) | 6);
    const inner = (chunk - 8 - (high >>> 2)) as ChunkPtr;
    expect(inner).toBe(context.address + 120);
    expect(memory.chunkSpace(inner)).toBe(memory.chunkSpace(chunk));
    expect(memory.chunkContext(chunk)).toBe(context);
  });

  it.each(kinds)("a resize always moves it and keeps alignment and contents: %s", (_kind, make) => {
    const context = make();
    const chunk = context.allocAligned(100, 256) as ChunkPtr;
    memory.u8.fill(5, chunk, chunk + 100);
    const larger = memory.realloc(chunk, 5_000);
    const smaller = memory.realloc(larger, 50);
    expect(new Set([chunk, larger, smaller]).size).toBeGreaterThan(1);
    expect([larger % 256, smaller % 256]).toEqual([0, 0]);
    expect(larger).not.toBe(chunk);
    expect(memory.u8.subarray(smaller, smaller + 50).every((byte) => byte === 5)).toBe(true);
    memory.free(smaller);
    sound();
  });

  it("in a slab the enlarged request has the wrong size, unless it happens to be the right one", () => {
    const context = memory.top.createSlab("worked", { chunkSize: 128 });
    expect(() => context.allocAligned(128, 64)).toThrow(InvalidSizeError);
    const chunk = context.allocAligned(64, 64) as ChunkPtr;
    expect(chunk % 64).toBe(0);
    memory.free(chunk);
    expect(context.stats().blocks).toBe(0);
    sound();
  });

  it("the enlarged request is what is held against the limit", () => {
    const context = memory.top.createChild("worked");
    expect(() => context.allocAligned(0x3fffffff - 63, 64)).toThrow(InvalidSizeError);
    expect(context.isEmpty()).toBe(true);
    expect(context.allocAligned(0x3fffffff - 64, 64, ALLOC_NO_OOM)).toBe(0);
    for (const alignment of [0, 3, -8, 2 ** 27, 1.5, Number.NaN]) {
      expect(() => context.allocAligned(100, alignment)).toThrow(RangeError);
    }
    sound();
  });

  it("an overwritten header is refused and nothing is damaged", () => {
    const context = memory.top.createChild("worked");
    const chunk = context.allocAligned(100, 64) as ChunkPtr;
    const at = (chunk - 8) >>> 2;
    const header = memory.u32.slice(at, at + 2);
    for (const low of [0, (48 << 5) | 6, (8 << 5) | 6, (64 << 5) | 22, (2 ** 27 - 1) << 5]) {
      memory.u32[at] = low;
      expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
      expect(() => memory.realloc(chunk, 10)).toThrow(InvalidPointerError);
    }
    memory.u32[at] = header[0] as number;
    for (const high of [0xfffffff8, 64 << 2]) {
      memory.u32[at + 1] = high;
      expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
    }
    memory.u32.set(header, at);
    memory.free(chunk);
    sound();
  });
});

describe.each(builds)("what each kind of context supports (%s)", (_, checked) => {
  const { memory } = openMemory(checked);
  const { top } = memory;
  const held = (): number => memory.blockStatistics().liveBytes;

  it("a request of 0 costs 16 bytes, 8, an error, nothing", () => {
    const cost = (context: MemoryContext): number => {
      const before = context.stats().usedBytes;
      context.alloc(0);
      return context.stats().usedBytes - before;
    };
    expect(cost(top.createChild("general"))).toBe(16);
    expect(cost(top.createGeneration("generation"))).toBe(8);
    expect(() => cost(top.createSlab("slab", { chunkSize: 100 }))).toThrow(InvalidSizeError);
    expect(cost(top.createBump("bump"))).toBe(0);
  });

  it("all but slabs have a keeper, which reset leaves", () => {
    const slab = top.createSlab("slab", { chunkSize: 100 });
    for (const context of [top.createChild("a"), top.createGeneration("b"), top.createBump("c")]) {
      context.alloc(100);
      context.reset();
      expect(context.stats().blocks).toBe(1);
    }
    slab.alloc(100);
    slab.reset();
    expect(slab.stats().blocks).toBe(0);
  });

  it("a deleted context waits for reuse only if it was general", () => {
    for (const make of [
      () => top.createGeneration("b"),
      () => top.createBump("c"),
      () => top.createSlab("d", { chunkSize: 100 }),
    ]) {
      const before = held();
      make().delete();
      expect(held()).toBe(before);
    }
    const general = top.createChild("a");
    const before = held();
    general.delete();
    expect(held()).toBe(before);
  });

  it("no kind retries a failed block with a smaller one, but the general one", () => {
    const sizes = { initBlockSize: 4_194_304, minContextSize: 1_024 };
    const { memory: small, inside } = openMemory(checked);
    const general = small.top.createChild("general", sizes);
    const others = [
      small.top.createGeneration("generation", sizes),
      small.top.createBump("bump", sizes),
    ];
    const fill = (context: MemoryContext): ChunkPtr | 0 => {
      context.alloc(500);
      context.alloc(100);
      inside.exports.injectFaults(0, 1);
      return context.allocExtended(2_000, ALLOC_NO_OOM);
    };
    expect(fill(general)).not.toBe(0);
    for (const context of others) {
      expect(fill(context)).toBe(0);
      expect(context.allocExtended(2_000, ALLOC_NO_OOM)).not.toBe(0);
    }
  });
});
