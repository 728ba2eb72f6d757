// Proves that a wrong call changes nothing: whatever number is offered as a chunk and whatever
// handle is dead, the answer is a typed error and the memory is, byte for byte, what it was.
//
// What a release build cannot tell from a chunk of its own: a freed chunk whose header still
// stands, and bytes of the program's that spell out the header of one. The checked build knows
// every chunk (test/mmgr/shadow.test.ts).

import { describe, expect, it } from "vitest";
import { KIND_ALIGNED, KIND_ASET, KIND_BUMP } from "../../assembly/common/constants.ts";
import { ClosedError, InvalidPointerError, PallocError } from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { ProcessMemory } from "../../bindings/process/memory.ts";
import { builds, bytesOf, isUnchanged, openMemory } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";

const PAGE = 65536;

/** Every call that takes a chunk, with the name it has in messages. */
function callsOn(memory: ProcessMemory): [string, (chunk: ChunkPtr) => unknown][] {
  return [
    ["pfree", (chunk) => memory.free(chunk)],
    ["repalloc", (chunk) => memory.realloc(chunk, 64)],
    ["repalloc", (chunk) => memory.realloc(chunk, 100_000)],
    ["repalloc", (chunk) => memory.reallocExtended(chunk, 64, 2)],
    ["GetMemoryChunkContext", (chunk) => memory.chunkContext(chunk)],
    ["GetMemoryChunkSpace", (chunk) => memory.chunkSpace(chunk)],
  ];
}

/** A memory with contexts of every kind, each with chunks, and 4 kB of zeroes to forge in. */
function inhabited(checked: boolean): { memory: ProcessMemory; field: number } {
  const { memory } = openMemory(checked, { maxMemory: "1MB" });
  const slab = memory.top.createSlab("slab", { chunkSize: 100 });
  for (let round = 0; round < 5; round += 1) slab.alloc(100);
  for (const context of [
    memory.top.createChild("general"),
    memory.top.createGeneration("generation"),
    memory.top.createBump("bump"),
  ]) {
    for (const bytes of [0, 8, 100, 1000, 9000, 20_000]) {
      const chunk = context.alloc(bytes);
      memory.u8.fill(1, chunk, chunk + bytes);
      context.allocAligned(bytes, 64);
    }
  }
  return { memory, field: memory.top.allocZero(4096) };
}

/** Asserts that no call takes `chunk` for a chunk, and that all leave the bytes alone. */
function expectRefused(memory: ProcessMemory, chunk: number, error: new () => Error): void {
  const before = bytesOf(memory);
  for (const [name, call] of callsOn(memory)) {
    expect(() => call(chunk as ChunkPtr), `${name} of ${chunk}`).toThrow(error);
  }
  expect(isUnchanged(memory, before), `bytes after calls with ${chunk}`).toBe(true);
}

const invalid = InvalidPointerError as unknown as new () => Error;

describe.each(builds)("a number that is no chunk (%s)", (_, checked) => {
  it.each([
    ["null", 0],
    ["inside the unwritten start", 8],
    ["the last of the unwritten start", 64],
    ["odd", 4097],
    ["not a multiple of 8", 4100],
    ["before the header of the first area", 4096],
    ["the end of the memory", 16 * PAGE],
    ["far behind it", 2 ** 30],
    ["2 GiB", 2 ** 31],
    ["the last word", 2 ** 32 - 8],
    ["the last byte", 2 ** 32 - 1],
    ["behind 4 GiB", 2 ** 32],
    ["behind 4 GiB, and a chunk in the low word", 2 ** 32 + 4248],
    ["negative", -8],
    ["very negative", -(2 ** 31)],
    ["huge", 2 ** 53],
  ])("is refused: %s", (_name, chunk) => {
    expectRefused(inhabited(checked).memory, chunk, invalid);
  });

  it.each([
    ["NaN", Number.NaN],
    ["a fraction", 4096.5],
    ["infinite", Number.POSITIVE_INFINITY],
    ["a text", "4248"],
    ["undefined", undefined],
    ["null", null],
    ["an object", {}],
  ])("is a TypeError: %s", (_name, chunk) => {
    expectRefused(inhabited(checked).memory, chunk as number, TypeError as new () => Error);
  });

  it("is told with the header that stands there", () => {
    const { memory, field } = inhabited(checked);
    const chunk = (field + 64) as ChunkPtr;
    memory.u32.set([0x12345678, 0x9abcdef0], (chunk - 8) >>> 2);
    const shown = `0x${chunk.toString(16)} (header 0x9abcdef012345678)`;
    for (const [name, call] of callsOn(memory)) {
      expect(() => call(chunk)).toThrow(`${name} called with invalid pointer ${shown}`);
    }
    const zero = memory.top.allocZero(8);
    expect(() => memory.free(0 as ChunkPtr)).toThrow("0x0 (header 0x0000000000000000)");
    expect(zero).toBeGreaterThan(0);
  });

  it("is refused at every place inside chunks that does not follow a chunk's header", () => {
    const { memory, field } = inhabited(checked);
    for (let at = field + 8; at < field + 4096; at += 56) expectRefused(memory, at, invalid);
    for (let at = field + 1; at < field + 8; at += 1) expectRefused(memory, at, invalid);
  });

  it("is refused for headers of every kind that name no block", () => {
    const { memory, field } = inhabited(checked);
    const chunk = field + 2048;
    const offsets = [0, 2, 16, 24, 32, 64, 2000, chunk, 2 ** 28, 2 ** 30 - 2];
    for (let kind = 0; kind <= 15; kind += 1) {
      for (const offset of offsets) {
        for (const value of [0, 1, 5, 10, 11, 64, 2 ** 20]) {
          // A redirect that leads to a chunk is an aligned chunk; these lead into zeroes.
          const low = ((value << 5) | kind) >>> 0;
          memory.u32.set([low, (offset << 2) >>> 0], (chunk - 8) >>> 2);
          for (const [, call] of callsOn(memory)) {
            expect(() => call(chunk as ChunkPtr)).toThrow(InvalidPointerError);
          }
        }
      }
    }
    memory.u32.fill(0, (chunk - 8) >>> 2, chunk >>> 2);
    expect(memory.u8.subarray(field, field + 4096).every((byte) => byte === 0)).toBe(true);
  });

  it("is refused for external headers that stand elsewhere", () => {
    const { memory, field } = inhabited(checked);
    const chunk = field + 2048;
    for (const kind of [KIND_ASET, KIND_ASET + 1, KIND_ASET + 2, KIND_ALIGNED, KIND_BUMP]) {
      const large = memory.top.alloc(9_000);
      const [low = 0, high = 0] = memory.u32.subarray((large - 8) >>> 2, large >>> 2);
      memory.free(large);
      memory.u32.set([((low & ~15) | kind) >>> 0, high], (chunk - 8) >>> 2);
      expectRefused(memory, chunk, invalid);
    }
  });

  it("is refused for random bytes", () => {
    const { memory, field } = inhabited(checked);
    const random = new Random(seed);
    for (let at = field; at < field + 4096; at += 4) memory.u32[at >>> 2] = random.next();
    const before = bytesOf(memory);
    for (let at = field + 8; at < field + 4096; at += 8) {
      for (const [, call] of callsOn(memory)) {
        expect(() => call(at as ChunkPtr), `seed ${seed}, at ${at}`).toThrow(InvalidPointerError);
      }
    }
    expect(isUnchanged(memory, before)).toBe(true);
  });

  it("is refused where a deleted context had its chunks", () => {
    const { memory, inside } = openMemory(checked, { maxMemory: "1MB" });
    const sizes = { initBlockSize: 1024, maxBlockSize: 1024 };
    const makers: ((top: MemoryContext) => [MemoryContext, ChunkPtr[]])[] = [
      (top) => withChunks(top.createChild("general", sizes), [8, 100, 9000]),
      (top) => withChunks(top.createChild("kept for reuse"), [8, 100, 9000]),
      (top) => withChunks(top.createGeneration("generation", sizes), [8, 100, 9000]),
      (top) => withChunks(top.createSlab("slab", { chunkSize: 100 }), [100, 100]),
      (top) => withChunks(top.createBump("bump", sizes), [8, 100, 9000]),
    ];
    for (const make of makers) {
      const [context, chunks] = make(memory.top);
      context.delete();
      for (const chunk of chunks) expectRefused(memory, chunk, invalid);
    }
    expect(inside.exports.checkHeap()).toBe(0);
  });
});

function withChunks(context: MemoryContext, sizes: number[]): [MemoryContext, ChunkPtr[]] {
  return [context, sizes.map((bytes) => context.alloc(bytes))];
}

describe.each(builds)("a handle that is dead (%s)", (_, checked) => {
  /** Every call on a context. */
  function callsOf(context: MemoryContext, other: MemoryContext): (() => unknown)[] {
    return [
      () => context.alloc(8),
      () => context.allocZero(8),
      () => context.allocExtended(8, 0),
      () => context.allocExtended(8, 2),
      () => context.allocAligned(8, 64),
      () => context.createChild("child"),
      () => context.createGeneration("child"),
      () => context.createSlab("child", { chunkSize: 8 }),
      () => context.createBump("child"),
      () => context.onReset(() => undefined),
      () => context.reset(),
      () => context.resetOnly(),
      () => context.resetChildren(),
      () => context.delete(),
      () => context.deleteChildren(),
      () => context.setParent(other),
      () => other.setParent(context),
      () => context.stats(),
      () => context.memAllocated(),
      () => context.isEmpty(),
      () => context.children(),
      () => context.address,
      () => context.type,
      () => context.parent,
      () => context.ident,
      () => {
        context.ident = "x";
      },
      () => context.memory.statsText(context),
    ];
  }

  it("answers every call with 55000, whichever way it died", () => {
    const { memory } = openMemory(checked, { maxMemory: "1MB" });
    const other = memory.top.createChild("other");
    const deaths: ((context: MemoryContext) => void)[] = [
      (context) => context.delete(),
      (context) => context[Symbol.dispose](),
      (context) => context.parent?.delete(),
      (context) => context.parent?.reset(),
      (context) => context.parent?.deleteChildren(),
    ];
    for (const die of deaths) {
      const context = memory.top.createChild("above").createChild("dead");
      die(context);
      const before = bytesOf(memory);
      for (const call of callsOf(context, other)) expect(call).toThrow(ClosedError);
      context[Symbol.dispose]();
      expect(isUnchanged(memory, before)).toBe(true);
    }
  });

  it("answers every call with 55000 once the memory is disposed of, which may happen twice", () => {
    const { memory } = openMemory(checked, { maxMemory: "1MB" });
    const context = memory.top.createChild("dead");
    const other = memory.top.createChild("other");
    const chunk = context.alloc(100);
    memory.dispose();
    memory.dispose();
    memory[Symbol.dispose]();
    for (const call of callsOf(context, other)) expect(call).toThrow(ClosedError);
    for (const [, call] of callsOn(memory)) expect(() => call(chunk)).toThrow(ClosedError);
    for (const call of [
      () => memory.top,
      () => memory.errorContext,
      () => memory.statsText(),
      () => memory.blockStatistics(),
    ]) {
      expect(call).toThrow(ClosedError);
    }
  });

  it("cannot be the top or the error context", () => {
    const { memory } = openMemory(checked, { maxMemory: "1MB" });
    const child = memory.top.createChild("child");
    const before = bytesOf(memory);
    for (const context of [memory.top, memory.errorContext]) {
      expect(() => context.delete()).toThrow(PallocError);
      expect(() => context.setParent(child)).toThrow(PallocError);
    }
    expect(() => child.setParent(child)).toThrow(TypeError);
    expect(isUnchanged(memory, before)).toBe(true);
  });
});

describe.each(builds)("an argument that is none (%s)", (_, checked) => {
  it.each([
    ["0", RangeError],
    [0, RangeError],
    [65_535, RangeError],
    ["63kB", RangeError],
    [-1, RangeError],
    [-65_536, RangeError],
    [2 ** 32 + 65_536, RangeError],
    [2 ** 53, RangeError],
    ["9999999GB", RangeError],
    [Number.NaN, TypeError],
    [Number.POSITIVE_INFINITY, RangeError],
    [100_000.5, TypeError],
    ["-1MB", RangeError],
    ["1e9", TypeError],
    ["64mb", TypeError],
    ["", TypeError],
    [true, TypeError],
    [[], TypeError],
    [10n, TypeError],
  ])("is refused before anything is reserved: maxMemory and initialMemory %s", (size, error) => {
    const options = { maxMemory: size as number, checked };
    expect(() => ProcessMemory.createSync(options)).toThrow(error);
    expect(() => ProcessMemory.createSync({ initialMemory: size as number, checked })).toThrow(
      error,
    );
  });

  it.each([7, null, undefined, {}, Symbol("name"), ["name"]])(
    "is refused before wasm is entered: a name that is no string (case %#)",
    (name) => {
      const { memory } = openMemory(checked, { maxMemory: "1MB" });
      const before = bytesOf(memory);
      const bad = name as unknown as string;
      expect(() => memory.top.createChild(bad)).toThrow(TypeError);
      expect(() => memory.top.createGeneration(bad)).toThrow(TypeError);
      expect(() => memory.top.createSlab(bad, { chunkSize: 8 })).toThrow(TypeError);
      expect(() => memory.top.createBump(bad)).toThrow(TypeError);
      if (name !== null) {
        expect(() => {
          memory.top.ident = bad;
        }).toThrow(TypeError);
      }
      expect(isUnchanged(memory, before)).toBe(true);
    },
  );
});
