// Proves the eight bytes before a chunk: PostgreSQL's words for the recorded cases, and that
// whatever a pointer leads to, what is no chunk is refused without a change.

import { describe, expect, it } from "vitest";
import { InvalidPointerError } from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import { builds, openMemory } from "../support/process.ts";

const calls = ["free", "realloc", "chunkContext", "chunkSpace"] as const;

describe.each(builds)("the chunk header (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);
  const context = memory.top.createChild("chunks");
  const header = (chunk: number): string => {
    const [low = 0, high = 0] = memory.u32.subarray((chunk - 8) >>> 2);
    return [high, low].map((word) => word.toString(16).padStart(8, "0")).join("");
  };
  /** Tries every call that takes a chunk; all must refuse, and change nothing. */
  const demandRefused = (at: number): void => {
    const before = memory.statsText();
    for (const call of calls) {
      const attempt = (): unknown =>
        call === "realloc" ? memory.realloc(at as ChunkPtr, 64) : memory[call](at as ChunkPtr);
      expect(attempt, `${call} of ${at}`).toThrow(InvalidPointerError);
    }
    expect(memory.statsText()).toBe(before);
    expect(inside.exports.checkHeap()).toBe(0);
  };

  it("holds kind, class and offset as PostgreSQL writes them", () => {
    expect(header(context.alloc(100))).toBe("0000006000000083");
    expect(header(context.alloc(100))).toBe("0000028000000083");
    expect(header(context.alloc(9000))).toBe("b1a8db858eb6efb3");
  });

  it("of a pointer that is null, odd, inside the header page or outside the memory is refused", () => {
    const end = memory.u8.length;
    const chunk = context.alloc(100);
    for (const at of [0, 1, 4, 8, 16, 4096, 4104]) demandRefused(at);
    for (const at of [chunk + 1, chunk + 2, chunk + 4, chunk - 8]) demandRefused(at);
    for (const at of [end - 8, end, end + 8, 2 ** 31, 2 ** 32 - 8, 2 ** 32, 2 ** 40, -8, -1]) {
      demandRefused(at);
    }
  });

  it.each([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])("of kind %i is refused", (kind) => {
    const chunk = context.allocZero(400);
    memory.u32[(chunk + 8) >>> 2] = (4 << 5) | kind;
    memory.u32[(chunk + 12) >>> 2] = memory.u32[(chunk - 4) >>> 2] ?? 0;
    demandRefused(chunk + 16);
    memory.free(chunk);
  });

  it.each([
    ["leads to no block", 0x83, 64 << 2],
    ["leads below the memory", 0x83, 0xfffffffc],
    ["leads to the chunk itself", 0x83, 0],
    ["has no such class", (11 << 5) | 3, 0x60],
    ["claims to be alone on a block", 0x8eb6efb3, 0xb1a8db85],
    ["is almost that of a dedicated chunk", 0x8eb6efb3, 0xb1a8db84],
  ])("that %s is refused", (_what, low, high) => {
    const chunk = context.allocZero(400);
    memory.u32[(chunk + 32) >>> 2] = low;
    memory.u32[(chunk + 36) >>> 2] = high;
    demandRefused(chunk + 40);
    memory.free(chunk);
  });

  it("of a chunk whose block was given back is refused", () => {
    const dedicated = context.alloc(9_000);
    memory.free(dedicated);
    demandRefused(dedicated);
    const child = memory.top.createChild("gone", { initBlockSize: 4096 });
    const [first, later] = [child.alloc(100), child.alloc(4_000)];
    child.delete();
    demandRefused(first);
    demandRefused(later);
    const kept = memory.top.createChild("kept");
    const stale = kept.alloc(100);
    kept.delete();
    demandRefused(stale);
  });

  it("of another memory's chunk is refused", () => {
    const other = openMemory(checked).memory;
    const deep = other.top.createChild("other", { minContextSize: 1024 ** 2 });
    demandRefused(deep.alloc(100) + 8 * 1024);
  });

  it("is shown in PostgreSQL's words", () => {
    const chunk = context.allocZero(64);
    memory.u32[(chunk + 8) >>> 2] = 0x1234;
    memory.u32[(chunk + 12) >>> 2] = 0xab;
    const at = (chunk + 16) as ChunkPtr;
    const shown = `invalid pointer 0x${at.toString(16)} (header 0x000000ab00001234)`;
    expect(() => memory.free(at)).toThrow(`pfree called with ${shown}`);
    expect(() => memory.realloc(at, 1)).toThrow(`repalloc called with ${shown}`);
    expect(() => memory.chunkContext(at)).toThrow(`GetMemoryChunkContext called with ${shown}`);
    expect(() => memory.chunkSpace(at)).toThrow(`GetMemoryChunkSpace called with ${shown}`);
    expect(() => memory.free(0 as ChunkPtr)).toThrow(
      "pfree called with invalid pointer 0x0 (header 0x0000000000000000)",
    );
  });

  it("is not looked for behind what is no address", () => {
    for (const value of [Number.NaN, 1.5, "8", undefined, null, {}]) {
      expect(() => memory.free(value as never)).toThrow(TypeError);
      expect(() => memory.realloc(value as never, 8)).toThrow(TypeError);
      expect(() => memory.chunkSpace(value as never)).toThrow(TypeError);
    }
  });
});
