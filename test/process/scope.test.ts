// Proves that a context goes when its scope ends, whichever way it ends, and takes with it what it
// has adopted: once, in turn, and not at all after it was taken back.

import { describe, expect, it } from "vitest";
import type { MemoryContext } from "../../bindings/process/context.ts";
import { builds, openMemory } from "../support/process.ts";

describe.each(builds)("a scope (%s)", (_, checked) => {
  const { memory } = openMemory(checked);

  it("gives the callback a child, returns its result and deletes the child", () => {
    let seen: MemoryContext | undefined;
    const result = memory.top.scope("scope", (child) => {
      seen = child;
      expect(child.parent).toBe(memory.top);
      child.alloc(100);
      return 42;
    });
    expect(result).toBe(42);
    expect(seen?.closed).toBe(true);
  });

  it("deletes the child when the callback throws, and throws the same", () => {
    const failure = new Error("no");
    let seen: MemoryContext | undefined;
    const run = (): void =>
      memory.top.scope("scope", (child) => {
        seen = child;
        throw failure;
      });
    expect(run).toThrow(failure);
    expect(seen?.closed).toBe(true);
  });

  it("keeps the child until the promise settles", async () => {
    let open: (() => void) | undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    let seen: MemoryContext | undefined;
    const running = memory.top.scope("scope", async (child) => {
      seen = child;
      await gate;
      return memory.readString(child.strdup("later"));
    });
    await Promise.resolve();
    expect(seen?.closed).toBe(false);
    open?.();
    expect(await running).toBe("later");
    expect(seen?.closed).toBe(true);
  });

  it("deletes the child when the promise is rejected", async () => {
    let seen: MemoryContext | undefined;
    const running = memory.top.scope("scope", async (child) => {
      seen = child;
      await Promise.resolve();
      throw new Error("later");
    });
    await expect(running).rejects.toThrow("later");
    expect(seen?.closed).toBe(true);
  });

  it("waits for what is awaited like a promise and is none", async () => {
    let seen: MemoryContext | undefined;
    const thenable = {
      // biome-ignore lint/suspicious/noThenProperty: this is what the test is about.
      then: (resolve: (value: string) => void): void => resolve("done"),
    };
    const running = memory.top.scope("scope", (child) => {
      seen = child;
      return thenable;
    });
    expect(seen?.closed).toBe(false);
    expect(await running).toBe("done");
    expect(seen?.closed).toBe(true);
  });

  it("tells both errors when the deletion fails after the work", async () => {
    const work = new Error("work");
    const deletion = new Error("deletion");
    const failing = (child: MemoryContext): never => {
      child.onReset(() => {
        throw deletion;
      });
      throw work;
    };
    const expected = { name: "SuppressedError", error: deletion, suppressed: work };
    expect(() => memory.top.scope("scope", failing)).toThrow(expect.objectContaining(expected));
    await expect(memory.top.scope("scope", async (child) => failing(child))).rejects.toMatchObject(
      expected,
    );
    memory.top.deleteChildren();
  });

  it("does not mind a child that was deleted by its own callback", () => {
    expect(() => memory.top.scope("scope", (child) => child.delete())).not.toThrow();
  });

  it("takes the sizes of the child's blocks", () => {
    const sizes = { initBlockSize: 1024, maxBlockSize: 1024 };
    expect(memory.top.scope("scope", (child) => child.memAllocated(), sizes)).toBe(1024);
  });

  it("is what a using declaration is", () => {
    let seen: MemoryContext;
    {
      using child = memory.top.createChild("using");
      seen = child;
    }
    expect(seen.closed).toBe(true);
  });
});

describe.each(builds)("adopting (%s)", (_, checked) => {
  const { memory } = openMemory(checked);
  const open = (): MemoryContext => memory.top.createChild("owner");

  it("ends an object by the first of dispose, free and delete that it has", () => {
    const log: string[] = [];
    const named = (name: string) => (): void => void log.push(name);
    const owner = open();
    owner.adopt({ delete: named("delete") });
    owner.adopt({ free: named("free"), delete: named("wrong") });
    const all = {
      [Symbol.dispose]: named("dispose"),
      free: named("wrong"),
      delete: named("wrong"),
    };
    expect(owner.adopt(all)).toBe(all);
    expect(owner.adopted).toBe(3);
    owner.reset();
    expect(log).toEqual(["dispose", "free", "delete"]);
    expect(owner.adopted).toBe(0);
    owner.delete();
    expect(log).toHaveLength(3);
  });

  it("calls the method on the object", () => {
    class Handle {
      live = true;
      free(): void {
        this.live = false;
      }
    }
    const handle = memory.top.scope("owner", (owner) => owner.adopt(new Handle()));
    expect(handle.live).toBe(false);
  });

  it("ends by a given function what has no such method", () => {
    const closed: string[] = [];
    const socket = { port: 80 };
    const owner = open();
    owner.adopt(socket, ({ port }) => closed.push(`${port}`));
    owner.delete();
    expect(closed).toEqual(["80"]);
  });

  it("refuses what cannot be ended, a Map among it", () => {
    const owner = open();
    const adopt = owner.adopt.bind(owner) as (resource: unknown) => unknown;
    for (const wrong of [new Map(), {}, null, undefined, 7, "free", { free: 1 }]) {
      expect(() => adopt(wrong)).toThrow(TypeError);
    }
    expect(owner.adopted).toBe(0);
  });

  it("keeps its turn among the callbacks, the latest first", () => {
    const log: string[] = [];
    const owner = open();
    owner.adopt({ free: () => log.push("first") });
    owner.onReset(() => log.push("callback"));
    owner.adopt({ free: () => log.push("last") });
    owner.reset();
    expect(log).toEqual(["last", "callback", "first"]);
  });

  it("does not end what was taken back, and cannot take back what is not there", () => {
    let ended = 0;
    const resource = {
      free: (): void => {
        ended += 1;
      },
    };
    const owner = open();
    owner.adopt(resource);
    expect(owner.unadopt(resource)).toBe(resource);
    expect(owner.adopted).toBe(0);
    owner.reset();
    expect(ended).toBe(0);
    expect(() => owner.unadopt(resource)).toThrow(expect.objectContaining({ code: "42704" }));
    owner.adopt(resource);
    owner.delete();
    expect(ended).toBe(1);
    expect(() => owner.unadopt(resource)).toThrow(expect.objectContaining({ code: "42704" }));
  });

  it("ends an object once, however often it was adopted, with the last context that did", () => {
    let ended = 0;
    const resource = {
      free: (): void => {
        ended += 1;
      },
    };
    const [one, two] = [open(), open()];
    one.adopt(resource);
    one.adopt(resource);
    expect(one.adopted).toBe(1);
    two.adopt(resource);
    expect([one.adopted, two.adopted]).toEqual([0, 1]);
    one.delete();
    expect(ended).toBe(0);
    two.delete();
    expect(ended).toBe(1);
  });

  it("keeps the others adopted when one throws", () => {
    const log: string[] = [];
    const owner = open();
    owner.adopt({ free: () => log.push("first") });
    owner.adopt({
      free: () => {
        throw new Error("second");
      },
    });
    expect(() => owner.delete()).toThrow("second");
    expect([owner.adopted, owner.closed]).toEqual([1, false]);
    owner.delete();
    expect(log).toEqual(["first"]);
  });

  it("ends what contexts below have adopted when one above goes", () => {
    const log: string[] = [];
    const owner = open();
    owner.adopt({ free: () => log.push("above") });
    owner.createChild("below").adopt({ free: () => log.push("below") });
    owner.delete();
    expect(log).toEqual(["below", "above"]);
  });

  it("takes back a callback, once for each time it was registered", () => {
    let calls = 0;
    const work = (): void => {
      calls += 1;
    };
    const owner = open();
    owner.onReset(work);
    owner.onReset(work);
    owner.offReset(work);
    owner.reset();
    expect(calls).toBe(1);
    expect(() => owner.offReset(work)).toThrow(RangeError);
  });

  it("ends with the memory what is still adopted", () => {
    const log: string[] = [];
    const other = openMemory(checked).memory;
    other.top.adopt({ free: () => log.push("top") });
    other.top.createChild("child").adopt({ free: () => log.push("child") });
    other.dispose();
    expect(log).toEqual(["child", "top"]);
  });

  it("refuses a deleted context and leaves the object where it was", () => {
    let ended = 0;
    const resource = {
      free: (): void => {
        ended += 1;
      },
    };
    const [one, two] = [open(), open()];
    one.adopt(resource);
    two.delete();
    expect(() => two.adopt(resource)).toThrow(expect.objectContaining({ code: "55000" }));
    one.delete();
    expect(ended).toBe(1);
  });
});
