// Proves that a context outlives its handle, that the program is told of it when it asked for
// that, and that the context then dies only if the program deletes it. The garbage collector is
// started by hand, which V8 allows once it is told to.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it, vi } from "vitest";
import type { CollectedContext } from "../../bindings/process/collected.ts";
import { MemoryContext } from "../../bindings/process/context.ts";
import { internals, type ProcessMemory } from "../../bindings/process/memory.ts";
import { builds, openMemory } from "../support/process.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Collects, and lets finalizers run, some times over. */
async function collect(): Promise<void> {
  for (let round = 0; round < 5; round += 1) {
    await new Promise((done) => setTimeout(done, 0));
    collectGarbage();
  }
  await new Promise((done) => setTimeout(done, 0));
}

/** Makes contexts in a frame that is gone afterwards, so that nothing holds their handles. */
function inFrame<T>(work: () => T): T {
  return (() => work())();
}

describe.each(builds)("a handle that was collected, %s build", (_, checked) => {
  const open = (onCollected?: (lost: CollectedContext) => void): ProcessMemory =>
    openMemory(checked, onCollected === undefined ? {} : { onCollected }).memory;
  const names = (memory: ProcessMemory): string[] => memory.rows().map(({ name }) => name);

  it("leaves its context alive, and by itself says nothing", async () => {
    const memory = open();
    inFrame(() => void memory.top.createChild("forgotten").alloc(100));
    await collect();
    expect(names(memory)).toContain("forgotten");
  });

  it("is reported once, with name, bytes and the place where it was made", async () => {
    const onCollected = vi.fn<(lost: CollectedContext) => void>();
    const memory = open(onCollected);
    inFrame(() => {
      const forgotten = memory.top.createChild("forgotten");
      forgotten.ident = "GET /";
      forgotten.alloc(1000);
    });
    const kept = memory.top.createChild("kept");
    inFrame(() => memory.top.createChild("deleted").delete());
    await collect();
    await collect();
    expect(onCollected).toHaveBeenCalledOnce();
    expect(onCollected.mock.lastCall?.[0]).toMatchObject({
      name: "forgotten",
      ident: "GET /",
      usedBytes: 1168,
      creationSite: checked ? expect.stringContaining("collected.test") : undefined,
    });
    expect(names(memory)).toContain("forgotten");
    expect(kept.closed).toBe(false);
  });

  it("takes its context with it only where the program says so", async () => {
    const memory = open(({ context }) => context.delete());
    inFrame(() => void memory.top.createSlab("forgotten", { chunkSize: 8 }));
    await collect();
    expect(names(memory)).not.toContain("forgotten");
  });

  it("counts as lost only when nothing below it is held, and then from below upwards", async () => {
    const lost: string[] = [];
    const memory = open(({ name }) => void lost.push(name));
    const held = { below: inFrame(() => memory.top.createChild("above").createBump("below")) };
    await collect();
    expect(lost).toEqual([]);
    Reflect.deleteProperty(held, "below");
    await collect();
    expect(lost).toEqual(["below", "above"]);
  });

  it("is not missed by scopes, nor by contexts that are current", async () => {
    const onCollected = vi.fn();
    const memory = open(onCollected);
    inFrame(() => void memory.switchTo(memory.top.createChild("current")));
    memory.top.scope("scope", (scope) => scope.createChild("below").alloc(8));
    await collect();
    expect(onCollected).not.toHaveBeenCalled();
    expect(memory.alloc(8)).toBeGreaterThan(0);
  });

  it("stands for its context in every call", () => {
    const memory = open(() => undefined);
    const one = memory.top.createChild("one");
    const two = memory.top.createGeneration("two");
    expect(one).toBeInstanceOf(MemoryContext);
    two.setParent(one);
    expect(two.parent).toBe(one);
    expect(one.children()).toEqual([two]);
    expect(memory.top).toBe(one.parent);
    const chunk = two.alloc(100);
    expect(memory.chunkContext(chunk)).toBe(two);
    expect(memory.realloc(chunk, 200)).toBeGreaterThan(0);
    one.ident = "text";
    expect(memory.statsText(one)).toContain("one: ");
    expect(memory.rows(one)[0]).toMatchObject({ ident: "text" });
    const resource = { free: vi.fn() };
    one.adopt(resource);
    expect(one.adopted).toBe(1);
    one.setCeiling({ limitBytes: "8kB" });
    expect(() => two.alloc(20_000)).toThrow(expect.objectContaining({ code: "53400" }));
    one.reset();
    expect(resource.free).toHaveBeenCalledOnce();
    expect(two.closed).toBe(true);
    expect(() => two.alloc(8)).toThrow(expect.objectContaining({ code: "55000" }));
    expect(internals(memory).exports.checkHeap()).toBe(0);
    memory.dispose();
    expect(one.closed).toBe(true);
  });
});
