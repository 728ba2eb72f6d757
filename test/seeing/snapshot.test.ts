// Proves that a snapshot groups contexts by their path and counts what is in use, for every kind of
// context; that a difference holds what was added and what went, and nothing else; that a memory
// tells at its end what nobody had deleted.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ProcessMemory } from "../../bindings/process/memory.ts";
import { diff, type LeakReport, type MemorySnapshot } from "../../bindings/process/snapshot.ts";
import { builds, openMemory } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";

const allocMany = (
  context: { alloc(bytes: number): number },
  count: number,
  bytes: number,
): void => {
  for (let done = 0; done < count; done += 1) context.alloc(bytes);
};

describe.each(builds)("snapshot, %s build", (_, checked) => {
  let memory: ProcessMemory;

  beforeEach(() => {
    memory = openMemory(checked).memory;
  });

  afterEach(() => memory.dispose());

  const group = (snapshot: MemorySnapshot, ...path: string[]) =>
    snapshot.groups.find((found) => found.path.join("/") === path.join("/"));

  it("sums up contexts of one path, and tells idents apart", () => {
    for (const ident of [null, null, "GET /", "GET /", "PUT /"]) {
      memory.top.createChild("request").ident = ident;
    }
    const snapshot = memory.snapshot();
    expect(group(snapshot, "TopMemoryContext", "request")).toMatchObject({ contexts: 2 });
    expect(group(snapshot, "TopMemoryContext", "request: GET /")).toMatchObject({ contexts: 2 });
    expect(group(snapshot, "TopMemoryContext", "request: PUT /")).toMatchObject({ contexts: 1 });
    expect(snapshot.totalBytes).toBe(memory.top.stats(true).totalBytes);
  });

  it("counts the chunks in use of all kinds that can tell", () => {
    const kinds = {
      general: memory.top.createChild("general"),
      generation: memory.top.createGeneration("generation"),
      slab: memory.top.createSlab("slab", { chunkSize: 64 }),
      bump: memory.top.createBump("bump"),
    };
    for (const context of Object.values(kinds)) allocMany(context, 300, 64);
    for (const context of [kinds.general, kinds.generation, kinds.slab]) {
      memory.free(context.alloc(64));
    }
    kinds.general.alloc(9000);
    memory.free(kinds.general.alloc(9000));
    const snapshot = memory.snapshot();
    const chunks = (name: string) => group(snapshot, "TopMemoryContext", name)?.chunks;
    expect([chunks("general"), chunks("generation"), chunks("slab")]).toEqual([301, 300, 300]);
    expect(chunks("bump")).toBe(0);
  });

  it(`counts right over a random history, seed ${seed}`, () => {
    const random = new Random(seed);
    const context = memory.top.createChild("context");
    const chunks: ReturnType<typeof context.alloc>[] = [];
    for (let step = 0; step < 2000; step += 1) {
      const at = random.below(chunks.length + 1);
      const chunk = chunks[at];
      if (chunk === undefined || random.below(3) > 0)
        chunks.push(context.alloc(random.below(9000)));
      else if (random.below(2) === 0) chunks[at] = memory.realloc(chunk, random.below(20000));
      else memory.free(chunks.splice(at, 1)[0] ?? chunk);
    }
    expect(group(memory.snapshot(), "TopMemoryContext", "context")?.chunks).toBe(chunks.length);
  });

  it("counts what contexts have adopted", () => {
    memory.top.createChild("request").adopt({ free: () => undefined });
    expect(group(memory.snapshot(), "TopMemoryContext", "request")).toMatchObject({ adopted: 1 });
  });

  it("differs by what was added and by what went", () => {
    const gone = memory.top.createChild("gone");
    const cache = memory.top.createChild("cache");
    const before = memory.snapshot();
    expect(diff(before, memory.snapshot())).toMatchObject({ groups: [], usedBytes: 0 });
    gone.delete();
    memory.top.createChild("made");
    allocMany(cache, 10, 1000);
    const change = diff(before, memory.snapshot());
    const path = (name: string) => ["TopMemoryContext", name];
    expect(change.groups).toEqual([
      {
        path: path("cache"),
        contexts: 0,
        totalBytes: 8192,
        usedBytes: 10344,
        chunks: 10,
        adopted: 0,
      },
      { path: path("made"), contexts: 1, totalBytes: 8192, usedBytes: 136, chunks: 0, adopted: 0 },
      {
        path: path("gone"),
        contexts: -1,
        totalBytes: -8192,
        usedBytes: -136,
        chunks: 0,
        adopted: 0,
      },
    ]);
    expect(String(change)).toBe(
      [
        "TopMemoryContext / cache: +10344 bytes used; +10 chunks; 0 contexts; +8192 total",
        "TopMemoryContext / made: +136 bytes used; 0 chunks; +1 contexts; +8192 total",
        "TopMemoryContext / gone: -136 bytes used; 0 chunks; -1 contexts; -8192 total",
        "Grand total: +10344 bytes used; +8192 total",
      ].join("\n"),
    );
  });

  it("is plain data", () => {
    expect(structuredClone(memory.snapshot())).toEqual(memory.snapshot());
  });
});

describe.each(builds)("the report at the end, %s build", (_, checked) => {
  it("names the contexts that nobody had deleted, before they go", () => {
    const onLeak = vi.fn<(report: LeakReport) => void>();
    const { memory } = openMemory(checked, { onLeak });
    const callback = vi.fn();
    const request = memory.top.createChild("request");
    request.ident = "GET /";
    request.onReset(callback);
    allocMany(request, 3, 100);
    memory.top.createChild("cache").adopt({ free: () => undefined });
    memory.top.createChild("cache");
    memory.top.createChild("tidy").delete();
    memory.top.alloc(1000);
    onLeak.mockImplementation(() => expect(callback).not.toHaveBeenCalled());
    memory.dispose();
    const report = onLeak.mock.lastCall?.[0];
    expect(report).toMatchObject({ contexts: 3, usedBytes: 816 });
    expect(String(report)).toBe(
      [
        "2 memory contexts were not deleted: TopMemoryContext / cache: " +
          "272 used (0 chunks); 1 adopted",
        "memory context was not deleted: TopMemoryContext / request: GET /: 544 used (3 chunks)",
      ].join("\n"),
    );
    expect(callback).toHaveBeenCalledOnce();
    memory.dispose();
    expect(onLeak).toHaveBeenCalledOnce();
  });

  it("says nothing when there is nothing to say", () => {
    const onLeak = vi.fn();
    const { memory } = openMemory(checked, { onLeak });
    memory.top.alloc(1000);
    memory.top.createChild("tidy").delete();
    memory.dispose();
    expect(onLeak).not.toHaveBeenCalled();
  });

  it("may throw, and the memory is closed all the same", () => {
    const thrown = new Error("leak");
    const onLeak = (): never => {
      throw thrown;
    };
    const { memory } = openMemory(checked, { onLeak });
    const request = memory.top.createChild("request");
    expect(() => memory.dispose()).toThrow(thrown);
    expect(request.closed).toBe(true);
  });
});
