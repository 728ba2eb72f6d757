// Proves the TypeScript side of process memory: arguments are checked before wasm is entered, sizes
// are read as PostgreSQL reads them, and memories are apart from each other.

import { describe, expect, it } from "vitest";
import { InvalidSizeError, OutOfMemoryError } from "../../bindings/abi/errors.ts";
import { ProcessMemory } from "../../bindings/process/memory.ts";
import { ALLOCSET_DEFAULT_SIZES, parseBytes } from "../../bindings/process/sizes.ts";
import { builds, openMemory } from "../support/process.ts";

describe.each(builds)("ProcessMemory (%s)", (_, checked) => {
  it("begins with TopMemoryContext and ErrorContext", async () => {
    const memory = await ProcessMemory.create({ checked });
    expect(memory.top.name).toBe("TopMemoryContext");
    expect(memory.errorContext.name).toBe("ErrorContext");
    expect(memory.top.children()).toEqual([memory.errorContext]);
    expect(memory.top.parent).toBeNull();
    expect(memory.top.memory).toBe(memory);
    memory.dispose();
  });

  it("has views that last and see the same bytes", () => {
    const { memory } = openMemory(checked);
    const { u8 } = memory;
    const chunk = memory.top.alloc(16);
    memory.u32[chunk >>> 2] = 0x01020304;
    memory.f64[(chunk + 8) >>> 3] = 1;
    for (let round = 0; round < 100; round += 1) memory.top.alloc(100_000);
    expect(memory.u8).toBe(u8);
    expect([...u8.subarray(chunk, chunk + 4)]).toEqual([4, 3, 2, 1]);
    expect(memory.u16[(chunk >>> 1) + 1]).toBe(0x0102);
    expect(memory.i32[(chunk + 12) >>> 2]).toBe(0x3ff00000);
  });

  it("allocZero clears the bytes asked for", () => {
    const { memory } = openMemory(checked);
    const context = memory.top.createChild("zero");
    const dirty = context.alloc(100);
    memory.u8.fill(0xff, dirty, dirty + 100);
    memory.free(dirty);
    const chunk = context.allocZero(100);
    expect(chunk).toBe(dirty);
    expect(memory.u8.subarray(chunk, chunk + 100).every((byte) => byte === 0)).toBe(true);
    const large = context.allocExtended(20_000, 4);
    expect(memory.u8.subarray(large, large + 20_000).every((byte) => byte === 0)).toBe(true);
  });

  it.each([Number.NaN, 1.5, "8", undefined, null, {}, Number.POSITIVE_INFINITY])(
    "refuses a request of %s with a TypeError and leaves the context empty",
    (bytes) => {
      const { memory } = openMemory(checked);
      const context = memory.top.createChild("strict");
      expect(() => context.alloc(bytes as number)).toThrow(TypeError);
      expect(() => context.allocZero(bytes as number)).toThrow(TypeError);
      expect(() => context.allocExtended(bytes as number, 2)).toThrow(TypeError);
      expect(context.isEmpty()).toBe(true);
      expect(() => memory.realloc(context.alloc(8), bytes as number)).toThrow(TypeError);
    },
  );

  it("refuses a negative request with a RangeError, and one that is too large with its limit", () => {
    const { memory } = openMemory(checked);
    const context = memory.top.createChild("strict");
    expect(() => context.alloc(-1)).toThrow(RangeError);
    for (const bytes of [2 ** 30, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40]) {
      expect(() => context.alloc(bytes)).toThrow(InvalidSizeError);
      expect(() => context.alloc(bytes)).toThrow(`invalid memory alloc request size ${bytes}`);
      expect(() => memory.realloc(context.alloc(8), bytes)).toThrow(InvalidSizeError);
      expect(() => memory.realloc(context.alloc(9_000), bytes)).toThrow(InvalidSizeError);
    }
    expect(() => context.allocExtended(2 ** 31, 1 + 2)).toThrow(InvalidSizeError);
    expect(() => context.allocExtended(2 ** 30, 1)).toThrow(OutOfMemoryError);
    expect(context.allocExtended(2 ** 30, 1 + 2)).toBe(0);
    expect(() => context.allocExtended(8, 8)).toThrow(RangeError);
  });

  it("keeps memories apart", () => {
    const first = openMemory(checked).memory;
    const second = openMemory(checked).memory;
    const chunk = first.top.alloc(64);
    first.u8.fill(1, chunk, chunk + 64);
    expect(second.top.alloc(64)).toBe(chunk);
    second.u8.fill(2, chunk, chunk + 64);
    expect(first.u8[chunk]).toBe(1);
  });

  it("reset of the top context deletes the others and keeps ErrorContext", () => {
    const { memory, inside } = openMemory(checked);
    const child = memory.top.createChild("child");
    memory.top.alloc(9_000);
    memory.errorContext.alloc(9_000);
    memory.top.reset();
    expect(child.closed).toBe(true);
    expect(memory.errorContext.isEmpty()).toBe(true);
    expect(memory.top.memAllocated(true)).toBe(16_384);
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it.each([
    [{ maxMemory: "63kB" }, RangeError],
    [{ maxMemory: "5GB" }, RangeError],
    [{ maxMemory: -1 }, RangeError],
    [{ maxMemory: Number.NaN }, TypeError],
    [{ maxMemory: 100_000.5 }, TypeError],
    [{ maxMemory: "64 mb" }, TypeError],
    [{ maxMemory: "" }, TypeError],
    [{ maxMemory: "1.5MB" }, TypeError],
    [{ maxMemory: "1MB", initialMemory: "2MB" }, RangeError],
    [{ maxMemory: null as never }, TypeError],
  ])("refuses %j", (options, error) => {
    expect(() => ProcessMemory.createSync({ ...options, checked })).toThrow(error);
  });

  it.each([
    [{ initBlockSize: 1023 }, RangeError],
    [{ initBlockSize: 1024.5 }, TypeError],
    [{ initBlockSize: Number.NaN }, TypeError],
    [{ initBlockSize: 8192, maxBlockSize: 4096 }, RangeError],
    [{ maxBlockSize: 2 ** 30 }, RangeError],
    [{ minContextSize: 512 }, RangeError],
    [{ minContextSize: 65536, maxBlockSize: 8192 }, RangeError],
    [{ minContextSize: -1 }, RangeError],
  ])("refuses a context of sizes %j", (sizes, error) => {
    const { memory } = openMemory(checked);
    expect(() => memory.top.createChild("bad", sizes)).toThrow(error);
    expect(() => memory.top.createChild(7 as never)).toThrow(TypeError);
  });
});

describe("a memory of 4 GB (release; the table of a checked one needs part of the 4 GB)", () => {
  it("serves addresses above 2 GiB as positive numbers", () => {
    const { memory, inside } = openMemory(false, { maxMemory: "4GB" });
    const context = memory.top.createChild("high");
    const below = [context.allocExtended(2 ** 31 - 1, 1), context.allocExtended(2 ** 30, 1)];
    const high = context.alloc(100);
    const large = context.alloc(50_000);
    expect(below[1]).toBeGreaterThan(2 ** 31);
    expect(large).toBeGreaterThan(2 ** 31);
    memory.u8[large] = 5;
    expect(memory.chunkContext(large)).toBe(context);
    expect(memory.u8[memory.realloc(large, 90_000)]).toBe(5);
    memory.free(high);
    const child = context.createChild("above", { minContextSize: 2 ** 20 });
    const chunk = child.alloc(64);
    memory.free(chunk);
    expect(child.alloc(64)).toBe(chunk);
    expect(child.stats().blocks).toBe(1);
    expect(inside.exports.checkHeap()).toBe(0);
    context.reset();
    expect(memory.top.memAllocated(true)).toBe(3 * 8192);
  });
});

describe("sizes", () => {
  it.each([
    ["64MB", 67_108_864],
    ["64 kB", 65_536],
    ["2GB", 2 ** 31],
    ["70000", 70_000],
    ["70000B", 70_000],
    [70_000, 70_000],
  ])("%s is %i bytes", (text, bytes) => {
    expect(parseBytes("size", text, 0, 2 ** 32)).toBe(bytes);
  });

  it("the defaults cannot be changed", () => {
    expect(Object.isFrozen(ALLOCSET_DEFAULT_SIZES)).toBe(true);
  });
});
