// Proves that no size of an array wraps around, that views show what a chunk holds for as long as
// it lives, and that a growth of the memory is survived through the views that last.

import { describe, expect, it } from "vitest";
import { addSize, mulSize, SizeOverflowError } from "../../bindings/process/arrays.ts";
import { ALLOC_HUGE, ALLOC_NO_OOM, ALLOC_ZERO } from "../../bindings/process/context.ts";
import { builds, openMemory } from "../support/process.ts";

describe("sizes", () => {
  it("are multiplied and added up to 32 bits", () => {
    expect(mulSize(0, 2 ** 40)).toBe(0);
    expect(mulSize(65_535, 65_537)).toBe(0xffffffff);
    expect(addSize(0xfffffffe, 1)).toBe(0xffffffff);
  });

  it("beyond 32 bits are an error with PostgreSQL's code and text", () => {
    const failure = { code: "54000", operands: [65_536, 65_536] };
    const text = "invalid memory allocation request size 65536 * 65536";
    expect(() => mulSize(65_536, 65_536)).toThrow(SizeOverflowError);
    expect(() => mulSize(65_536, 65_536)).toThrow(expect.objectContaining(failure));
    expect(() => mulSize(65_536, 65_536)).toThrow(text);
    expect(() => addSize(0xffffffff, 1)).toThrow(
      "invalid memory allocation request size 4294967295 + 1",
    );
  });

  it("are whole numbers from 0 on", () => {
    for (const wrong of [1.5, Number.NaN, Number.POSITIVE_INFINITY, "1" as unknown as number]) {
      expect(() => mulSize(wrong, 1)).toThrow(TypeError);
      expect(() => mulSize(1, wrong)).toThrow(TypeError);
    }
    expect(() => mulSize(-1, 1)).toThrow(RangeError);
    expect(() => addSize(1, -1)).toThrow(RangeError);
  });
});

describe.each(builds)("arrays (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);
  const context = memory.top.createChild("arrays");
  const overflow = expect.objectContaining({ code: "54000" });
  const tooLarge = expect.objectContaining({ code: "XX000" });

  it("are as large as count times size", () => {
    expect(memory.chunkSpace(context.allocArray(100, 40))).toBe(
      memory.chunkSpace(context.alloc(4_000)),
    );
    const cleared = context.allocArrayZero(100, 40);
    expect(memory.bytes(cleared, 4_000).every((byte) => byte === 0)).toBe(true);
    const flagged = context.allocArrayExtended(10, 40, ALLOC_ZERO);
    expect(memory.bytes(flagged, 400).every((byte) => byte === 0)).toBe(true);
  });

  it("overflow before memory is asked for, whatever the flags", () => {
    const before = memory.blockStatistics().requests;
    expect(() => context.allocArray(2 ** 30, 4)).toThrow(overflow);
    expect(() => context.allocArrayZero(2 ** 30, 4)).toThrow(overflow);
    const flags = ALLOC_HUGE | ALLOC_NO_OOM;
    expect(() => context.allocArrayExtended(2 ** 30, 4, flags)).toThrow(overflow);
    expect(() => context.allocArray(2 ** 28, 4)).toThrow(tooLarge);
    expect(context.allocArrayExtended(2 ** 28, 4, flags)).toBe(0);
    expect(memory.blockStatistics().requests).toBe(before);
  });

  it("change their length and keep what they hold", () => {
    let chunk = context.allocArray(3, 8);
    memory.view(Float64Array, chunk, 3).set([1, 2, 3]);
    chunk = memory.reallocArray(chunk, 1_000, 8);
    expect([...memory.view(Float64Array, chunk, 3)]).toEqual([1, 2, 3]);
    expect(() => memory.reallocArray(chunk, 2 ** 30, 8)).toThrow(overflow);
    expect(() => memory.reallocArrayExtended(chunk, 2 ** 30, 8, ALLOC_NO_OOM)).toThrow(overflow);
    expect(memory.reallocArrayExtended(chunk, 2 ** 27, 8, ALLOC_NO_OOM | ALLOC_HUGE)).toBe(0);
    expect([...memory.view(Float64Array, chunk, 3)]).toEqual([1, 2, 3]);
  });

  it("are cleared where they grow, and only there", () => {
    let chunk = context.alloc(64);
    memory.bytes(chunk, 64).fill(7);
    chunk = memory.reallocZero(chunk, 24, 64);
    expect([...memory.bytes(chunk, 64)]).toEqual([...Array(24).fill(7), ...Array(40).fill(0)]);
    memory.bytes(chunk, 64).fill(7);
    chunk = memory.reallocArrayZero(chunk, 8, 2_000, 8);
    const bytes = memory.bytes(chunk, 16_000);
    expect(bytes.subarray(0, 64).every((byte) => byte === 7)).toBe(true);
    expect(bytes.subarray(64).every((byte) => byte === 0)).toBe(true);
    expect(memory.reallocZero(chunk, 16_000, 16_000)).toBe(chunk);
  });

  it("cannot be cleared where they shrink", () => {
    const chunk = context.alloc(64);
    const text = "invalid repalloc0 call: oldsize 64, new size 63";
    expect(() => memory.reallocZero(chunk, 64, 63)).toThrow(text);
    expect(() => memory.reallocZero(chunk, 64, 63)).toThrow(tooLarge);
    expect(() => memory.reallocZero(chunk, -1, 63)).toThrow(RangeError);
    expect(() => memory.reallocZero(chunk, 1, Number.NaN)).toThrow(TypeError);
    expect(inside.exports.checkHeap()).toBe(0);
  });
});

describe.each(builds)("views (%s)", (_, checked) => {
  const { memory } = openMemory(checked);
  const context = memory.top.createChild("views");

  it("show the chunk, each in its way", () => {
    const chunk = context.allocZero(32);
    memory.view(Float64Array, chunk, 4)[0] = 1;
    expect(memory.view(BigUint64Array, chunk, 4)[0]).toBe(0x3ff0000000000000n);
    expect(memory.view(DataView, chunk, 32).getFloat64(0, true)).toBe(1);
    expect(memory.bytes(chunk, 8)[7]).toBe(0x3f);
    expect(memory.dataView.getFloat64(chunk, true)).toBe(1);
    expect(memory.view(Uint16Array, chunk + 2, 3)).toHaveLength(3);
  });

  it("are valid for the chunk's whole life", () => {
    const chunk = context.alloc(80);
    const view = memory.view(Float64Array, chunk, 10).fill(3);
    for (let index = 0; index < 2_000; index += 1) context.alloc(8_000);
    expect(view).toHaveLength(10);
    view[9] = 4;
    expect(memory.f64[chunk / 8 + 9]).toBe(4);
    expect(memory.dataView).toBe(memory.dataView);
  });

  it("do not reach outside the memory", () => {
    const end = memory.u8.length;
    for (const [address, count] of [
      [0, 1],
      [end, 1],
      [end - 8, 2],
      [8, 2 ** 40],
      [-8, 1],
    ]) {
      const make = (): unknown => memory.view(Float64Array, address as number, count as number);
      expect(make).toThrow(RangeError);
    }
    expect(() => memory.view(Float64Array, end - 4, 0)).toThrow(RangeError);
    expect(memory.bytes(end - 1, 1)).toHaveLength(1);
    expect(() => memory.bytes(8, 1.5)).toThrow(TypeError);
  });
});

describe("views of a memory that grows", () => {
  it("are emptied by growth, and made anew by those that last", () => {
    const { memory } = openMemory(false, { initialMemory: "64kB", maxMemory: "8MB" });
    const context = memory.top.createChild("growing");
    const chunk = context.allocZero(16);
    const plain = memory.bytes(chunk, 16);
    const whole = memory.dataView;
    const lasting = memory.lastingView(Uint8Array, chunk, 16);
    const inView = memory.lastingView(DataView, chunk, 16);
    const { view } = lasting;
    expect(lasting.view).toBe(view);
    view[3] = 9;
    for (let index = 0; index < 100; index += 1) context.alloc(8_000);
    expect(plain).toHaveLength(0);
    expect(lasting.view[3]).toBe(9);
    expect(inView.view.getUint8(3)).toBe(9);
    expect(memory.dataView === whole).toBe(false);
    expect(memory.dataView.getUint8(chunk + 3)).toBe(9);
    const text = context.strdup("grown");
    expect(memory.readString(text)).toBe("grown");
  });

  it("take text that made the memory grow", () => {
    const { memory } = openMemory(false, { initialMemory: "64kB", maxMemory: "8MB" });
    const context = memory.top.createChild("growing");
    for (const text of ["short", "ü".repeat(100_000)]) {
      for (let index = 0; index < 9; index += 1) {
        expect(memory.readString(context.strdup(text))).toBe(text);
      }
    }
  });
});
