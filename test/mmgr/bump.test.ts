// Proves the numbers and habits of bump contexts: PostgreSQL's worked examples in their 32-bit
// column, and what cannot be done with their chunks.

import { describe, expect, it } from "vitest";
import { InvalidPointerError, InvalidSizeError } from "../../bindings/abi/errors.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openMemory } from "../support/process.ts";

const FRESH = "8120/1/8104/16/8192";

/** As the examples write it: total / blocks / free / used / held. */
function numbers(context: MemoryContext): string {
  const { totalBytes, blocks, freeBytes, freeChunks, usedBytes } = context.stats();
  expect(freeChunks).toBe(0);
  return [totalBytes, blocks, freeBytes, usedBytes, context.memAllocated()].join("/");
}

describe.each(builds)("a bump context (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);
  const fresh = (): MemoryContext => memory.top.createBump("worked");
  const sound = (): void => expect(inside.exports.checkHeap()).toBe(0);

  it("rows 39 to 41: created, a request of 100, a hundred of them", () => {
    const context = fresh();
    expect(numbers(context)).toBe(FRESH);
    expect(context.alloc(100)).toBe(context.address + 88);
    expect(numbers(context)).toBe("8120/1/8000/120/8192");
    for (let count = 1; count < 100; count += 1) context.alloc(100);
    expect(numbers(context)).toBe("16312/2/5880/10432/16384");
    expect(context.type).toBe("Bump");
    context.reset();
    expect(numbers(context)).toBe(FRESH);
    sound();
  });

  it("rows 42 and 43: 9,000 shares a block, 600,000 has one of its own, and the first stays", () => {
    const context = fresh();
    context.alloc(9_000);
    expect(numbers(context)).toBe("24504/2/15472/9032/24576");
    const large = fresh();
    large.alloc(600_000);
    expect(numbers(large)).toBe("608136/2/8104/600032/608208");
    expect(large.alloc(8)).toBe(large.address + 88);
    sound();
  });

  it("two requests of 0 share an address, and the context is still empty", () => {
    const context = fresh();
    expect(context.alloc(0)).toBe(context.alloc(0));
    expect(context.isEmpty()).toBe(true);
    expect(numbers(context)).toBe(FRESH);
    context.alloc(1);
    expect(context.isEmpty()).toBe(false);
  });

  it("its counters leave out its header, its held bytes do not", () => {
    const context = fresh();
    expect(context.memAllocated() - context.stats().totalBytes).toBe(72);
  });

  it("a size within 7 of the largest number is refused, not rounded to nothing", () => {
    const context = fresh();
    for (const bytes of [0xffffffff, 0xfffffff9]) {
      expect(() => context.alloc(bytes)).toThrow(InvalidSizeError);
      expect(inside.exports.alloc(context.address, bytes)).toBe(0);
    }
    expect(numbers(context)).toBe(FRESH);
  });

  it("its chunks can be neither freed nor resized, nor asked for their context or space", () => {
    const context = fresh();
    const first = context.allocZero(100);
    const second = context.allocZero(100);
    const aligned = context.allocAligned(100, 64) as typeof first;
    const before = numbers(context);
    for (const chunk of [first, second, aligned]) {
      expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
      expect(() => memory.realloc(chunk, 10)).toThrow(InvalidPointerError);
      expect(() => memory.chunkContext(chunk)).toThrow(InvalidPointerError);
      expect(() => memory.chunkSpace(chunk)).toThrow(InvalidPointerError);
    }
    expect(aligned % 64).toBe(0);
    expect(numbers(context)).toBe(before);
    context.delete();
    sound();
  });
});
