// Proves what the checked build finds beyond the release build, with the same layout and numbers.

import { describe, expect, it } from "vitest";
import {
  FILL_FREED,
  FILL_FRESH,
  FILL_SLACK,
  PANIC_WRITE_AFTER_FREE,
  PANIC_WRITE_PAST_END,
} from "../../assembly/common/constants.ts";
import { CorruptionError, InvalidPointerError } from "../../bindings/abi/errors.ts";
import { openMemory } from "../support/process.ts";

describe("the checked build", () => {
  it("refuses to free a chunk twice, and changes nothing", () => {
    const { memory, inside } = openMemory(true);
    const context = memory.top.createChild("twice");
    const chunk = context.alloc(100);
    memory.free(chunk);
    expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
    expect(() => memory.realloc(chunk, 10)).toThrow(InvalidPointerError);
    expect(context.alloc(100)).toBe(chunk);
    expect(context.alloc(100)).not.toBe(chunk);
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it("refuses a chunk that died with a reset", () => {
    const { memory } = openMemory(true);
    const context = memory.top.createChild("reset");
    const chunk = context.alloc(100);
    context.reset();
    expect(() => memory.free(chunk)).toThrow(InvalidPointerError);
  });

  it("refuses an address inside a chunk even where the bytes look like a header", () => {
    const { memory } = openMemory(true);
    const context = memory.top.createChild("inside");
    const chunk = context.alloc(200);
    memory.u32.copyWithin((chunk + 8) >>> 2, (chunk - 8) >>> 2, chunk >>> 2);
    const high = memory.u32[(chunk + 12) >>> 2] ?? 0;
    memory.u32[(chunk + 12) >>> 2] = high + (16 << 2);
    expect(() => memory.free((chunk + 16) as never)).toThrow(InvalidPointerError);
  });

  it.each([
    ["free", 100],
    ["realloc", 100],
    ["free", 9_001],
    ["realloc", 9_001],
  ] as const)("finds a write past the end at %s of a chunk of %i", (call, bytes) => {
    const { memory, inside } = openMemory(true);
    const chunk = memory.top.createChild("past").alloc(bytes);
    memory.u8[chunk + bytes] = 1;
    expect(inside.exports.checkHeap()).toBe(PANIC_WRITE_PAST_END);
    const attempt = (): unknown =>
      call === "free" ? memory.free(chunk) : memory.realloc(chunk, 20_000);
    expect(attempt).toThrow(CorruptionError);
    expect(attempt).toThrow(String(PANIC_WRITE_PAST_END));
  });

  it("finds a write into freed memory, at the next walk and when it is given out again", () => {
    const { memory, inside } = openMemory(true);
    const context = memory.top.createChild("after");
    const chunk = context.alloc(100);
    memory.free(chunk);
    memory.u8[chunk + 50] = 1;
    expect(inside.exports.checkHeap()).toBe(PANIC_WRITE_AFTER_FREE);
    expect(() => context.alloc(100)).toThrow(String(PANIC_WRITE_AFTER_FREE));
  });

  it("fills fresh, slack and freed bytes with patterns of their own", () => {
    const { memory } = openMemory(true);
    const context = memory.top.createChild("patterns");
    const chunk = context.alloc(100);
    const bytes = memory.u8.subarray(chunk, chunk + 128);
    expect(new Set(bytes.subarray(0, 100))).toEqual(new Set([FILL_FRESH]));
    expect(new Set(bytes.subarray(100))).toEqual(new Set([FILL_SLACK]));
    memory.free(chunk);
    expect(new Set(bytes.subarray(4))).toEqual(new Set([FILL_FREED]));
  });

  it("keeps what was asked for when a chunk is resized within its class", () => {
    const { memory, inside } = openMemory(true);
    const chunk = memory.top.createChild("resize").alloc(100);
    memory.u8.fill(1, chunk, chunk + 100);
    expect(memory.realloc(chunk, 120)).toBe(chunk);
    memory.u8.fill(2, chunk + 100, chunk + 120);
    expect(inside.exports.checkHeap()).toBe(0);
    memory.realloc(chunk, 60);
    memory.u8[chunk + 60] = 3;
    expect(inside.exports.checkHeap()).toBe(PANIC_WRITE_PAST_END);
  });

  it("gives the same addresses and reports as the release build", () => {
    const [first, second] = [false, true].map((checked) => {
      const { memory } = openMemory(checked);
      const context = memory.top.createChild("same");
      const places = [0, 100, 5_000, 9_000, 100].map((bytes) => context.alloc(bytes));
      places.push(memory.realloc(places[3] as never, 50_000));
      memory.free(places[1] as never);
      return `${places.join()} ${memory.statsText()} ${JSON.stringify(memory.blockStatistics())}`;
    });
    expect(first).toBe(second);
  });
});
