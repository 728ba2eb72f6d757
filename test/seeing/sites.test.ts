// Proves that a checked memory knows where chunks were allocated for as long as they live, at the
// rate asked for, and that its errors name the context and that place. A release memory knows
// nothing, and nothing stands between it and wasm.

import { afterEach, describe, expect, it } from "vitest";
import { ALLOC_ZERO, type MemoryContext } from "../../bindings/process/context.ts";
import type { ProcessMemory } from "../../bindings/process/memory.ts";
import { openMemory } from "../support/process.ts";

let memory: ProcessMemory;

afterEach(() => memory.dispose());

function open(every = 1, checked = true): MemoryContext {
  ({ memory } = openMemory(checked, { allocationSites: { every } }));
  return memory.top.createChild("request");
}

/** Three places that allocate, to be told apart by their names. */
function leak(context: MemoryContext, bytes: number): ReturnType<MemoryContext["alloc"]> {
  return context.alloc(bytes);
}

function keep(context: MemoryContext, bytes: number): void {
  context.allocZero(bytes);
  context.allocExtended(bytes, ALLOC_ZERO);
}

function resize(chunk: ReturnType<MemoryContext["alloc"]>): ReturnType<MemoryContext["alloc"]> {
  return memory.realloc(chunk, 5000);
}

const places = (): (string | undefined)[][] =>
  memory
    .topSites()
    .map(({ stack, chunks, bytes }) => [
      /^at (\w+) .*sites\.test/.exec(stack)?.[1],
      String(chunks),
      String(bytes),
    ]);

describe("allocation sites of a checked memory", () => {
  it("lists the places whose chunks are live, those with most bytes first", () => {
    const context = open();
    leak(context, 1000);
    for (let done = 0; done < 3; done += 1) keep(context, 10);
    const freed = leak(context, 4000);
    memory.free(freed);
    expect(places()).toEqual([
      ["leak", "1", "1000"],
      ["keep", "3", "30"],
      ["keep", "3", "30"],
    ]);
    expect(memory.topSites(1)).toHaveLength(1);
  });

  it("moves a chunk's site to where it was resized", () => {
    resize(leak(open(), 10));
    expect(places()).toEqual([["resize", "1", "5000"]]);
  });

  it.each<[string, (context: MemoryContext) => void]>([
    ["reset", (context) => context.reset()],
    ["resetOnly", (context) => context.resetOnly()],
    ["resetChildren of the one above", () => memory.top.resetChildren()],
    ["delete", (context) => context.delete()],
    ["deleteChildren of the one above", () => memory.top.deleteChildren()],
  ])("forgets the chunks that go with %s, in every kind of context", (_, end) => {
    const context = open();
    const bump = context.createBump("bump");
    for (const below of [context, bump, context.createGeneration("generation")]) leak(below, 10);
    leak(context.createSlab("slab", { chunkSize: 10 }), 10);
    leak(memory.top, 7);
    expect(places()).toContainEqual(["leak", "1", "7"]);
    end(context);
    if (!context.closed && !bump.closed) context.reset();
    expect(places()).toEqual([["leak", "1", "7"]]);
  });

  it("keeps the chunks of contexts that a callback saved", () => {
    const context = open();
    leak(context, 10);
    context.onReset(() => {
      throw new Error("not now");
    });
    leak(context.createChild("below"), 20);
    expect(() => context.reset()).toThrow("not now");
    expect(places()).toEqual([["leak", "1", "10"]]);
  });

  it("samples at the rate asked for, or not at all", () => {
    const context = open(10);
    for (let done = 0; done < 95; done += 1) leak(context, 10);
    expect(places()).toEqual([["leak", "9", "90"]]);
    memory.dispose();
    leak(open(0), 10);
    expect(memory.topSites()).toEqual([]);
    for (const every of [-1, 0.5, Number.NaN]) {
      expect(() => openMemory(true, { allocationSites: { every } })).toThrow(RangeError);
    }
  });

  it("is not kept by a release memory", () => {
    leak(open(1, false), 10);
    expect(memory.topSites()).toEqual([]);
  });
});

describe("errors of a checked memory", () => {
  it("names the chunk that an interior pointer lies in, and where it was allocated", () => {
    const context = open();
    const small = leak(context, 100);
    const large = leak(context, 20_000);
    for (const [chunk, inside] of [
      [small, 8],
      [small, 96],
      [large, 16_000],
    ] as const) {
      expect(() => memory.free((chunk + inside) as typeof chunk)).toThrowError(
        expect.objectContaining({
          name: "InvalidPointerError",
          context: "request",
          detail: expect.stringContaining(`${inside} bytes inside a chunk of memory context "req`),
          allocationSite: expect.stringMatching(/^at leak/),
        }),
      );
    }
    memory.free(small);
    expect(() => memory.free((small + 8) as typeof small)).toThrowError(
      expect.objectContaining({ name: "InvalidPointerError", context: undefined }),
    );
  });

  it("name context and site of a chunk that is freed twice", () => {
    const chunk = leak(open(), 10);
    memory.free(chunk);
    const fields = {
      code: "XX000",
      context: "request",
      allocationSite: expect.stringMatching(/^at leak /),
      detail: expect.stringMatching(/in memory context "request" was freed already.\nIt was alloc/),
    };
    expect(() => memory.free(chunk)).toThrow(expect.objectContaining(fields));
    expect(() => memory.realloc(chunk, 20)).toThrow(expect.objectContaining(fields));
  });

  it("name the context alone of a chunk that was not sampled", () => {
    const chunk = leak(open(0), 10);
    memory.free(chunk);
    expect(() => memory.free(chunk)).toThrow(
      expect.objectContaining({ context: "request", allocationSite: undefined }),
    );
  });

  it("name the site of a large chunk whose memory went back", () => {
    const chunk = leak(open(), 100_000);
    memory.free(chunk);
    expect(() => memory.free(chunk)).toThrow(
      expect.objectContaining({
        context: "request",
        allocationSite: expect.stringMatching(/leak/),
      }),
    );
  });

  it("say nothing of chunks about a pointer that lies in none", () => {
    const chunk = leak(open(), 100);
    const wrong = (chunk + 1000) as typeof chunk;
    expect(() => memory.free(wrong)).toThrow(
      expect.objectContaining({ context: undefined, detail: undefined }),
    );
  });

  it("name context and site of a chunk written past its end", () => {
    const chunk = leak(open(), 10);
    memory.u8[chunk + 10] = 1;
    expect(() => memory.free(chunk)).toThrow(
      expect.objectContaining({
        name: "CorruptionError",
        pointer: chunk,
        context: "request",
        allocationSite: expect.stringMatching(/^at leak /),
        detail: expect.stringMatching(
          /^The chunk 0x\w+ in memory context "request" was written pa/,
        ),
      }),
    );
  });

  it("name context and site of a chunk written after it was freed", () => {
    const context = open();
    const chunk = leak(context, 10);
    memory.free(chunk);
    memory.u8[chunk + 8] = 1;
    expect(() => context.alloc(10)).toThrow(
      expect.objectContaining({
        pointer: chunk,
        context: "request",
        allocationSite: expect.stringMatching(/^at leak /),
        detail: expect.stringMatching(/was written after it had been freed/),
      }),
    );
  });
});
