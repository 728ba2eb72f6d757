// Proves what a program sees when memory runs out: error 53200 in PostgreSQL's words, the numbers
// as fields, the report of the whole tree, a hook before the throw; and that all contexts stay
// usable, ErrorContext from its reserve.

import { describe, expect, it } from "vitest";
import { ALLOC_NO_OOM } from "../../assembly/common/constants.ts";
import { OutOfMemoryError } from "../../bindings/abi/errors.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openEmptyMemory, openMemory } from "../support/process.ts";

/** More than a memory of 1 MB has. */
const TOO_MUCH = 2_000_000;
/** ErrorContext is 8 kB, of which its header takes 136 and each chunk 8. */
const RESERVED_CHUNKS = 7;

function failureOf(work: () => unknown): OutOfMemoryError {
  try {
    work();
  } catch (error) {
    if (error instanceof OutOfMemoryError) return error;
    throw error;
  }
  throw new Error("memory did not run out");
}

type Maker = (top: MemoryContext) => MemoryContext;

const kinds: [string, Maker][] = [
  ["general", (top) => top.createChild("victim")],
  ["generation", (top) => top.createGeneration("victim")],
  ["bump", (top) => top.createBump("victim")],
];

describe.each(builds)("out of memory (%s)", (_, checked) => {
  it.each(kinds)("names the request and the context, in a %s context", (_kind, make) => {
    const { memory } = openMemory(checked, { maxMemory: "1MB" });
    const context = make(memory.top);
    const calls = [
      () => context.alloc(TOO_MUCH),
      () => context.allocZero(TOO_MUCH),
      () => context.allocExtended(TOO_MUCH, 0),
    ];
    for (const call of calls) {
      const error = failureOf(call);
      expect(error.code).toBe("53200");
      expect(error.message).toBe("out of memory");
      expect(error.detail).toBe(
        `Failed on request of size ${TOO_MUCH} in memory context "victim".`,
      );
      expect(error).toMatchObject({ requestedBytes: TOO_MUCH, context: "victim" });
      expect(error.statistics).toBe(memory.statsText());
      expect(error.statistics).toMatch(/^TopMemoryContext: .*\n {2}victim: [\s\S]*\nGrand total: /);
    }
  });

  it("names the context of the chunk when a resize fails, and the chunk is as before", () => {
    const { memory } = openMemory(checked, { maxMemory: "1MB" });
    const context = memory.top.createGeneration("grown");
    const chunk = context.alloc(100);
    memory.u8.fill(7, chunk, chunk + 100);
    const error = failureOf(() => memory.realloc(chunk, TOO_MUCH));
    expect(error.detail).toBe(`Failed on request of size ${TOO_MUCH} in memory context "grown".`);
    expect(error.statistics).toContain("  grown: ");
    expect(memory.u8.subarray(chunk, chunk + 100).every((byte) => byte === 7)).toBe(true);
    memory.free(chunk);
  });

  it.each<[string, Maker]>([
    ["general", (top) => top.createChild("late", { minContextSize: 2 ** 21 })],
    ["generation", (top) => top.createGeneration("late", { minContextSize: 2 ** 21 })],
    ["bump", (top) => top.createBump("late", { minContextSize: 2 ** 21 })],
  ])("names the %s context that could not be created, and leaves no trace of it", (_kind, make) => {
    const { memory, inside } = openMemory(checked, { maxMemory: "1MB" });
    const before = memory.statsText();
    const error = failureOf(() => make(memory.top));
    expect(error.message).toBe("out of memory");
    expect(error.detail).toBe('Failed while creating memory context "late".');
    expect(error).toMatchObject({ requestedBytes: 2 ** 21, context: "late", statistics: before });
    expect(memory.statsText()).toBe(before);
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it("reports without taking memory, and only where an error is thrown", () => {
    const { memory } = openMemory(checked, { maxMemory: "1MB" });
    const chunk = memory.top.alloc(8);
    const before = memory.blockStatistics();
    failureOf(() => memory.top.alloc(TOO_MUCH));
    expect(memory.top.allocExtended(TOO_MUCH, ALLOC_NO_OOM)).toBe(0);
    expect(memory.top.allocAligned(TOO_MUCH, 64, ALLOC_NO_OOM)).toBe(0);
    expect(memory.reallocExtended(chunk, TOO_MUCH, ALLOC_NO_OOM)).toBe(0);
    expect(memory.blockStatistics()).toEqual(before);
  });

  it("shows the error to onOutOfMemory before it is thrown, and never for ALLOC_NO_OOM", () => {
    const seen: OutOfMemoryError[] = [];
    const onOutOfMemory = (error: OutOfMemoryError): void => void seen.push(error);
    const { memory } = openMemory(checked, { maxMemory: "1MB", onOutOfMemory });
    const chunk = memory.top.alloc(8);
    const thrown = [
      failureOf(() => memory.top.alloc(TOO_MUCH)),
      failureOf(() => memory.realloc(chunk, TOO_MUCH)),
      failureOf(() => memory.top.createChild("late", { minContextSize: 2 ** 21 })),
    ];
    expect(memory.top.allocExtended(TOO_MUCH, ALLOC_NO_OOM)).toBe(0);
    expect(seen).toEqual(thrown);
    expect(seen[0]).toBe(thrown[0]);
  });

  it("throws what onOutOfMemory throws instead", () => {
    const onOutOfMemory = (): never => {
      throw new RangeError("too much");
    };
    const { memory } = openMemory(checked, { maxMemory: "1MB", onOutOfMemory });
    expect(() => memory.top.alloc(TOO_MUCH)).toThrow(RangeError);
    expect(memory.top.alloc(8)).toBeGreaterThan(0);
  });

  it("has no report where there is no context yet", () => {
    const { inside } = openEmptyMemory(checked, { maxMemory: "1MB" });
    const sizes = { minContextSize: 2 ** 21, initBlockSize: 8192, maxBlockSize: 2 ** 23 };
    expect(failureOf(() => inside.createRoot("first", sizes)).statistics).toBeUndefined();
  });

  it("leaves ErrorContext its reserve when everything else is taken", () => {
    const { memory, inside } = openMemory(checked, { maxMemory: "1MB" });
    const hog = memory.top.createChild("hog");
    for (const bytes of [100_000, 10_000, 1_000, 100, 8]) {
      while (hog.allocExtended(bytes, ALLOC_NO_OOM) !== 0);
    }
    while (memory.top.allocExtended(8, ALLOC_NO_OOM) !== 0);
    failureOf(() => memory.top.createChild("another"));
    for (let round = 0; round < 3; round += 1) {
      for (let chunk = 0; chunk < RESERVED_CHUNKS; chunk += 1) {
        const at = memory.errorContext.alloc(1024);
        memory.u8.fill(1, at, at + 1024);
      }
      failureOf(() => memory.errorContext.alloc(1024));
      expect(inside.exports.checkHeap()).toBe(0);
      memory.errorContext.reset();
    }
    hog.reset();
    expect(memory.top.createChild("another").alloc(100_000)).toBeGreaterThan(0);
  });

  it("leaves a full context usable: what is freed can be had again", () => {
    const { memory, inside } = openMemory(checked, { maxMemory: "1MB" });
    const hog = memory.top.createChild("hog");
    const held = [];
    for (;;) {
      const chunk = hog.allocExtended(3_000, ALLOC_NO_OOM);
      if (chunk === 0) break;
      held.push(chunk);
    }
    failureOf(() => hog.alloc(3_000));
    const last = held.pop();
    if (last === undefined) throw new Error("nothing was allocated");
    memory.free(last);
    expect(hog.alloc(3_000)).toBe(last);
    expect(inside.exports.checkHeap()).toBe(0);
  });
});
