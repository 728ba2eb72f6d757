// Proves the tree: order, reset and delete as PostgreSQL orders them, depth without recursion, and
// handles that close with what they stand for.

import { describe, expect, it } from "vitest";
import { ClosedError, PallocError } from "../../bindings/abi/errors.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openMemory } from "../support/process.ts";

const names = (contexts: readonly MemoryContext[]): string =>
  contexts.map((context) => context.name).join(" ");

describe.each(builds)("the context tree (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);
  /** root → a → (b, c → d), each with a chunk. */
  function tree(): Record<"root" | "a" | "b" | "c" | "d", MemoryContext> {
    const root = memory.top.createChild("root");
    const a = root.createChild("a");
    const b = a.createChild("b");
    const c = a.createChild("c");
    const d = c.createChild("d");
    for (const context of [root, a, b, c, d]) context.alloc(9_000);
    return { root, a, b, c, d };
  }
  const sound = (): void => expect(inside.exports.checkHeap()).toBe(0);

  it("lists children newest first", () => {
    const { a } = tree();
    expect(names(a.children())).toBe("c b");
    expect(a.parent?.name).toBe("root");
  });

  it("reset deletes everything below and empties the context", () => {
    const { root, a, b, c, d } = tree();
    a.reset();
    expect([root, a, b, c, d].map((context) => context.closed)).toEqual([
      false,
      false,
      true,
      true,
      true,
    ]);
    expect(a.isEmpty()).toBe(true);
    expect(a.stats()).toMatchObject({ blocks: 1, usedBytes: 136 });
    sound();
  });

  it("resetOnly leaves the children and their chunks", () => {
    const { a, c } = tree();
    a.resetOnly();
    expect(names(a.children())).toBe("c b");
    expect(a.memAllocated()).toBe(8_192);
    expect(a.isEmpty()).toBe(false);
    expect(c.memAllocated()).toBe(8_192 + 9_032);
    sound();
  });

  it("resetChildren empties all below, deletes none and leaves the context itself", () => {
    const { a, b, c, d } = tree();
    a.resetChildren();
    expect([a, b, c, d].map((context) => context.memAllocated())).toEqual([
      8_192 + 9_032,
      8_192,
      8_192,
      8_192,
    ]);
    expect(d.isEmpty()).toBe(true);
    sound();
  });

  it("delete closes the context and everything below, and nothing else", () => {
    const { root, a, b, c, d } = tree();
    c.delete();
    expect([root, a, b, c, d].map((context) => context.closed)).toEqual([
      false,
      false,
      false,
      true,
      true,
    ]);
    expect(names(a.children())).toBe("b");
    sound();
  });

  it("deleteChildren leaves the context and its chunks", () => {
    const { a, b, d } = tree();
    a.deleteChildren();
    expect([a.closed, b.closed, d.closed]).toEqual([false, true, true]);
    expect(a.memAllocated(true)).toBe(8_192 + 9_032);
    sound();
  });

  it("setParent puts the context first and changes no number", () => {
    const { root, a, b, d } = tree();
    const before = memory.top.stats(true);
    d.setParent(root);
    expect(names(root.children())).toBe("d a");
    expect(d.parent).toBe(root);
    b.setParent(a);
    expect(names(a.children())).toBe("c b");
    expect(memory.top.stats(true)).toEqual(before);
    sound();
    a.delete();
    expect(d.closed).toBe(false);
  });

  it("refuses a loop, another memory, and moving or deleting what is permanent", () => {
    const { a, d } = tree();
    expect(() => a.setParent(d)).toThrow(TypeError);
    expect(() => a.setParent(a)).toThrow(TypeError);
    expect(() => a.setParent(openMemory(checked).memory.top)).toThrow(TypeError);
    for (const permanent of [memory.top, memory.errorContext]) {
      expect(() => permanent.delete()).toThrow(PallocError);
      expect(() => permanent.setParent(a)).toThrow(PallocError);
    }
    sound();
  });

  it("sums over a subtree", () => {
    const { root, a, c, d } = tree();
    expect(c.stats(true)).toMatchObject({ blocks: 4, totalBytes: 2 * (8_192 + 9_032) });
    expect(root.memAllocated(true)).toBe(5 * (8_192 + 9_032));
    expect(a.memAllocated(true) - c.memAllocated(true)).toBe(2 * d.memAllocated());
  });

  it("a tree 20,000 deep is deleted in one call", () => {
    const deep = openMemory(checked, { maxMemory: "64MB" });
    const top = deep.memory.top.createChild("top");
    let context = top;
    for (let depth = 0; depth < 20_000; depth += 1) {
      context = context.createChild("deep", { initBlockSize: 1024, minContextSize: 1024 });
    }
    const { liveBlocks } = deep.memory.blockStatistics();
    top.delete();
    expect(context.closed).toBe(true);
    expect(deep.memory.blockStatistics().liveBlocks).toBe(liveBlocks - 20_000);
    expect(deep.inside.exports.checkHeap()).toBe(0);
  });

  it("an allocation that fails makes the context not empty, one above the extended limit does not", () => {
    const context = memory.top.createChild("empty");
    expect(() => context.allocExtended(2 ** 30, 0)).toThrow();
    expect(context.isEmpty()).toBe(true);
    expect(() => context.alloc(2 ** 30)).toThrow();
    expect(context.isEmpty()).toBe(false);
  });
});

describe.each(builds)("a closed handle (%s)", (_, checked) => {
  const uses: Readonly<Record<string, (context: MemoryContext, open: MemoryContext) => unknown>> = {
    alloc: (context) => context.alloc(8),
    "alloc of nonsense": (context) => context.alloc(Number.NaN),
    allocZero: (context) => context.allocZero(8),
    allocExtended: (context) => context.allocExtended(8, 0),
    "allocExtended without error": (context) => context.allocExtended(8, 2),
    createChild: (context) => context.createChild("child"),
    reset: (context) => context.reset(),
    resetOnly: (context) => context.resetOnly(),
    resetChildren: (context) => context.resetChildren(),
    delete: (context) => context.delete(),
    deleteChildren: (context) => context.deleteChildren(),
    setParent: (context, open) => context.setParent(open),
    "setParent under it": (context, open) => open.setParent(context),
    stats: (context) => context.stats(),
    memAllocated: (context) => context.memAllocated(),
    isEmpty: (context) => context.isEmpty(),
    children: (context) => context.children(),
    parent: (context) => context.parent,
    address: (context) => context.address,
    ident: (context) => context.ident,
    statsText: (context) => context.memory.statsText(context),
  };

  it.each(Object.entries(uses))("refuses %s", (_name, use) => {
    const { memory, inside } = openMemory(checked);
    const parent = memory.top.createChild("parent");
    const closed = parent.createChild("closed");
    const open = memory.top.createChild("open");
    parent.reset();
    // Another context now lives where the closed one did.
    const heir = memory.top.createChild("heir");
    expect(() => use(closed, open)).toThrow(ClosedError);
    expect(heir.isEmpty()).toBe(true);
    expect(inside.exports.checkHeap()).toBe(0);
  });

  it("may be disposed of again, and using closes it", () => {
    const { memory } = openMemory(checked);
    const context = memory.top.createChild("scoped");
    {
      using scoped = context;
      scoped.alloc(8);
    }
    expect(context.closed).toBe(true);
    expect(() => context[Symbol.dispose]()).not.toThrow();
  });

  it("is what every handle of a disposed memory becomes", () => {
    const { memory } = openMemory(checked);
    const child = memory.top.createChild("child");
    const chunk = child.alloc(8);
    memory.dispose();
    memory.dispose();
    expect(child.closed).toBe(true);
    expect(() => memory.top).toThrow(ClosedError);
    expect(() => memory.errorContext).toThrow(ClosedError);
    expect(() => memory.free(chunk)).toThrow(ClosedError);
    expect(() => memory.realloc(chunk, 9)).toThrow(ClosedError);
    expect(() => memory.chunkSpace(chunk)).toThrow(ClosedError);
    expect(() => memory.blockStatistics()).toThrow(ClosedError);
  });
});
