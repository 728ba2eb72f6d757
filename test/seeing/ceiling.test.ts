// Proves that a context with a ceiling never holds more than that, whatever kind of context below
// it asks, and by whatever call; that a refused request leaves everything usable; that one warning
// comes before; that a context without a ceiling is not asked.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ALLOC_NO_OOM, type MemoryContext } from "../../bindings/process/context.ts";
import type { ProcessInternals, ProcessMemory } from "../../bindings/process/memory.ts";
import { builds, openMemory } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";

const kB = 1024;

describe.each(builds)("a ceiling, %s build", (_, checked) => {
  let memory: ProcessMemory;
  let inside: ProcessInternals;
  let request: MemoryContext;

  beforeEach(() => {
    ({ memory, inside } = openMemory(checked));
    request = memory.top.createChild("request");
  });

  afterEach(() => {
    expect(inside.exports.checkHeap()).toBe(0);
    memory.dispose();
  });

  const fill = (context: MemoryContext, bytes = 100): void => {
    for (let done = 0; done < 10_000; done += 1) context.alloc(bytes);
  };
  const refused = expect.objectContaining({ name: "LimitExceededError", code: "53400" });

  it.each<[string, () => MemoryContext]>([
    ["itself", () => request],
    ["a general context below", () => request.createChild("below")],
    ["a generation context below", () => request.createGeneration("below")],
    ["a slab context below", () => request.createSlab("below", { chunkSize: 100 })],
    ["a bump context below", () => request.createBump("below")],
    ["one far below", () => request.createChild("a").createChild("b").createChild("c")],
  ])("stops %s before the limit, and the rest goes on", (_name, make) => {
    request.setCeiling({ limitBytes: "64kB" });
    const context = make();
    expect(() => fill(context)).toThrow(refused);
    const held = request.memAllocated(true);
    expect(held).toBeLessThanOrEqual(64 * kB);
    expect(held).toBeGreaterThan(30 * kB);
    fill(memory.top);
    context.reset();
    expect(context.alloc(100)).toBeGreaterThan(0);
  });

  it("says in PostgreSQL's manner what was asked for and what there was", () => {
    request.setCeiling({ limitBytes: 20_000 });
    const below = request.createChild("below");
    expect(() => below.alloc(9000)).toThrow(
      expect.objectContaining({
        message: 'memory context "request" has reached its ceiling',
        detail:
          "Failed on request of size 9000: it needs a block of 9032 bytes, " +
          "and 16384 of 20000 are held already.",
        context: "request",
        limitBytes: 20_000,
        usedBytes: 16_384,
      }),
    );
  });

  it("stops every call that takes blocks, and leaves the chunk as it was", () => {
    const small = request.alloc(100);
    const large = request.alloc(20 * kB);
    memory.u8.fill(7, large, large + 20 * kB);
    request.setCeiling({ limitBytes: 40 * kB });
    expect(() => request.allocZero(30 * kB)).toThrow(refused);
    expect(() => request.allocExtended(30 * kB, 0)).toThrow(refused);
    expect(() => request.allocAligned(30 * kB, 64)).toThrow(refused);
    expect(() => memory.realloc(small, 30 * kB)).toThrow(refused);
    expect(() => memory.realloc(large, 50 * kB)).toThrow(refused);
    expect(() => request.createChild("below", { initBlockSize: 32 * kB })).toThrow(refused);
    expect(request.allocExtended(30 * kB, ALLOC_NO_OOM)).toBe(0);
    expect(memory.u8.subarray(large, large + 20 * kB).every((byte) => byte === 7)).toBe(true);
    expect(memory.realloc(large, 21 * kB)).toBeGreaterThan(0);
    expect(request.children()).toEqual([]);
  });

  it("also stops another wasm module", () => {
    request.setCeiling({ limitBytes: 10 * kB });
    const { palloc_in } = memory.imports.env;
    expect(() => palloc_in(request.address, 9000)).toThrow(refused);
    expect(palloc_in(request.address, 100)).toBeGreaterThan(0);
  });

  it("makes large blocks smaller before it refuses, as exhausted memory does", () => {
    request.setCeiling({ limitBytes: "12MB" });
    expect(() => {
      while (true) request.alloc(8000);
    }).toThrow(refused);
    expect(request.memAllocated(true)).toBeGreaterThan(10 * kB * kB);
  });

  it("is passed on to what is moved or made below, and taken away from what leaves", () => {
    const moved = memory.top.createChild("moved");
    const deep = moved.createChild("deep");
    request.setCeiling({ limitBytes: 40 * kB });
    moved.setParent(request);
    expect(() => deep.alloc(30 * kB)).toThrow(refused);
    expect(() => deep.createChild("made").alloc(30 * kB)).toThrow(refused);
    moved.setParent(memory.top);
    expect(deep.alloc(30 * kB)).toBeGreaterThan(0);
    moved.setParent(request);
    request.setCeiling(null);
    expect(deep.alloc(30 * kB)).toBeGreaterThan(0);
  });

  it("holds beside one further up: the nearest that is reached speaks", () => {
    const inner = request.createChild("inner");
    request.setCeiling({ limitBytes: 100 * kB });
    inner.setCeiling({ limitBytes: 50 * kB });
    expect(() => inner.alloc(60 * kB)).toThrow(expect.objectContaining({ context: "inner" }));
    request.alloc(70 * kB);
    expect(() => inner.alloc(30 * kB)).toThrow(expect.objectContaining({ context: "request" }));
    inner.setCeiling(null);
    expect(() => inner.alloc(30 * kB)).toThrow(expect.objectContaining({ context: "request" }));
  });

  it("does not outlive its context at the same address", () => {
    request.setCeiling({ limitBytes: 10 * kB });
    const { address } = request;
    request.delete();
    const next = memory.top.createChild("next");
    expect(next.address).toBe(address);
    expect(next.alloc(30 * kB)).toBeGreaterThan(0);
  });

  it("warns once, after the call, in a microtask", async () => {
    const onWarn = vi.fn((context: MemoryContext) => void context.alloc(10 * kB));
    request.setCeiling({ warnBytes: 30 * kB, onWarn });
    request.alloc(8 * kB);
    await Promise.resolve();
    expect(onWarn).not.toHaveBeenCalled();
    request.alloc(30 * kB);
    expect(onWarn).not.toHaveBeenCalled();
    await Promise.resolve();
    expect(onWarn).toHaveBeenCalledExactlyOnceWith(request, request.memAllocated() - 10 * kB - 32);
    request.alloc(30 * kB);
    await Promise.resolve();
    expect(onWarn).toHaveBeenCalledOnce();
  });

  it("warns before it throws", () => {
    const seen: string[] = [];
    const onWarn = (): void => void seen.push("warned");
    request.setCeiling({ warnBytes: 20 * kB, limitBytes: 40 * kB, onWarn });
    try {
      fill(request);
    } catch {
      seen.push("thrown");
    }
    expect(seen).toEqual(["warned", "thrown"]);
  });

  it.each([-1, 0.5, Number.NaN, "much"])("takes no size like %s", (limitBytes) => {
    expect(() => request.setCeiling({ limitBytes })).toThrow(/limitBytes/);
    fill(request);
  });

  it(`is never exceeded in a random history, seed ${seed}`, () => {
    const random = new Random(seed);
    const limitBytes = 200 * kB;
    request.setCeiling({ limitBytes });
    const contexts = [request];
    let refusals = 0;
    for (let step = 0; step < 3000; step += 1) {
      const context = random.pick(contexts);
      try {
        if (random.below(20) === 0) contexts.push(context.createGeneration("below"));
        else if (random.below(60) === 0) context.resetOnly();
        else context.alloc(random.below(random.pick([100, 1000, 20_000])));
      } catch (error) {
        expect(error).toEqual(refused);
        refusals += 1;
      }
      expect(request.memAllocated(true)).toBeLessThanOrEqual(limitBytes);
    }
    expect(refusals).toBeGreaterThan(10);
  });
});
