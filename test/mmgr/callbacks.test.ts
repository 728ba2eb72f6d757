// Proves what runs before a context is reset or deleted: in which order, once only, and what is
// left when one of them throws. After each interruption handles and wasm agree, and a second
// attempt finishes.

import { describe, expect, it } from "vitest";
import {
  CONTEXT_FIRST_CHILD_OFFSET,
  CONTEXT_NEXT_SIBLING_OFFSET,
} from "../../assembly/common/constants.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openMemory } from "../support/process.ts";

describe.each(builds)("callbacks (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);

  /** A tree a(b(d, e), c), children listed newest first, each noting its name. */
  function tree(): { at: Record<string, MemoryContext>; ran: string[] } {
    const ran: string[] = [];
    const a = memory.top.createChild("a");
    const b = a.createGeneration("b");
    const c = a.createBump("c");
    const at = { a, b, c, d: b.createSlab("d", { chunkSize: 8 }), e: b.createChild("e") };
    for (const context of Object.values(at)) context.onReset(() => ran.push(context.name));
    return { at, ran };
  }

  /** Addresses below a context, as the headers in wasm's memory are linked. */
  function linked(context: number): number[] {
    const below: number[] = [];
    const word = (address: number): number => memory.u32[address >>> 2] ?? 0;
    let child = word(context + CONTEXT_FIRST_CHILD_OFFSET);
    while (child !== 0) {
      below.push(child, ...linked(child));
      child = word(child + CONTEXT_NEXT_SIBLING_OFFSET);
    }
    return below;
  }

  function handles(context: MemoryContext): number[] {
    return context.children().flatMap((child) => [child.address, ...handles(child)]);
  }

  function agree(): void {
    expect(handles(memory.top)).toEqual(linked(memory.top.address));
    expect(inside.exports.checkHeap()).toBe(0);
  }

  const named = (at: Record<string, MemoryContext>, name: string): MemoryContext =>
    at[name] as MemoryContext;

  it("run the latest registered first, once only", () => {
    const context = memory.top.createChild("order");
    const ran: number[] = [];
    for (const number of [1, 2, 3]) context.onReset(() => ran.push(number));
    context.reset();
    expect(ran).toEqual([3, 2, 1]);
    context.reset();
    context.delete();
    expect(ran).toEqual([3, 2, 1]);
    agree();
  });

  it("registration makes a context not empty, so that the next reset runs it", () => {
    const context = memory.top.createChild("registered");
    expect(context.isEmpty()).toBe(true);
    let ran = 0;
    context.onReset(() => {
      ran += 1;
    });
    expect(context.isEmpty()).toBe(false);
    context.resetOnly();
    expect([ran, context.isEmpty()]).toEqual([1, true]);
  });

  it("delete and reset run those below first; resetChildren runs those above first", () => {
    const deleted = tree();
    named(deleted.at, "a").delete();
    expect(deleted.ran.join("")).toBe("cedba");
    const reset = tree();
    named(reset.at, "a").reset();
    expect(reset.ran.join("")).toBe("cedba");
    const below = tree();
    named(below.at, "a").resetChildren();
    expect(below.ran.join("")).toBe("cbed");
    agree();
  });

  it("a context is still linked and its chunks are still there while its callbacks run", () => {
    const parent = memory.top.createChild("parent");
    const context = parent.createChild("linked");
    const chunk = context.alloc(8);
    memory.u32[chunk >>> 2] = 4711;
    const seen: unknown[] = [];
    context.onReset(() => seen.push(memory.u32[chunk >>> 2], context.parent === parent));
    parent.delete();
    expect(seen).toEqual([4711, true]);
  });

  it.each([
    ["delete", "c", "cbdea"],
    ["delete", "e", "bdea"],
    ["delete", "b", "ba"],
    ["delete", "a", "a"],
    ["reset", "d", "bda"],
    ["reset", "a", "a"],
    ["deleteChildren", "e", "bdea"],
    ["deleteChildren", "b", "ba"],
  ] as const)("a %s that a callback of %s interrupts keeps the rest", (call, thrower, open) => {
    const { at, ran } = tree();
    const context = named(at, thrower);
    let thrown = 0;
    context.onReset(() => {
      thrown += 1;
      throw new Error("interrupted");
    });
    context.onReset(() => ran.push("first"));
    expect(() => named(at, "a")[call]()).toThrow("interrupted");
    const left = Object.values(at).filter(({ closed }) => !closed);
    expect(new Set(left.map(({ name }) => name))).toEqual(new Set(open));
    expect(ran.at(-1)).toBe("first");
    agree();
    named(at, "a")[call]();
    expect(thrown).toBe(1);
    expect(ran.filter((name) => name === thrower)).toEqual([thrower]);
    expect(named(at, "a").closed).toBe(call === "delete");
    if (call !== "delete") expect(named(at, "a").children()).toEqual([]);
    agree();
  });

  it("what throws in resetChildren leaves every context in place", () => {
    const { at, ran } = tree();
    named(at, "b").onReset(() => {
      throw new Error("interrupted");
    });
    expect(() => named(at, "a").resetChildren()).toThrow("interrupted");
    expect(ran.join("")).toBe("c");
    agree();
    named(at, "a").resetChildren();
    expect(ran.join("")).toBe("cbed");
    agree();
  });
});
