// Proves that the current context is restored however work ends, and that two requests served at a
// time never see each other's once the memory follows await.

import { describe, expect, it } from "vitest";
import { followAwait } from "../../bindings/async-context.ts";
import { builds, openMemory } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";

const pause = (milliseconds = 0): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });

describe.each(builds)("the current context (%s)", (_, checked) => {
  const { memory } = openMemory(checked);

  it("is the top one until another is chosen", () => {
    expect(openMemory(checked).memory.current.name).toBe("TopMemoryContext");
  });

  it("is switched, and switched back to what was", () => {
    using child = memory.top.createChild("child");
    const before = memory.switchTo(child);
    expect(before).toBe(memory.top);
    expect(memory.chunkContext(memory.alloc(10))).toBe(child);
    expect(memory.switchTo(before)).toBe(child);
    expect(memory.current).toBe(memory.top);
  });

  it("is restored when work within it returns or throws", () => {
    using child = memory.top.createChild("child");
    using inner = child.createChild("inner");
    const seen = memory.within(child, () => {
      expect(() =>
        memory.within(inner, () => {
          expect(memory.current).toBe(inner);
          throw new Error("inside");
        }),
      ).toThrow("inside");
      memory.switchTo(inner);
      return memory.current.name;
    });
    expect(seen).toBe("inner");
    expect(memory.current).toBe(memory.top);
  });

  it("refuses deleted contexts and those of other memories", () => {
    const child = memory.top.createChild("child");
    child.delete();
    const foreign = openMemory(checked).memory.top;
    expect(() => memory.switchTo(child)).toThrow(expect.objectContaining({ code: "55000" }));
    expect(() => memory.within(child, () => 1)).toThrow(expect.objectContaining({ code: "55000" }));
    expect(() => memory.switchTo(foreign)).toThrow(TypeError);
    expect(() => memory.within(foreign, () => 1)).toThrow(TypeError);
    expect(memory.current).toBe(memory.top);
  });

  it("says so when it has been deleted since", () => {
    const child = memory.top.createChild("child");
    memory.within(child, () => {
      child.delete();
      expect(() => memory.alloc(8)).toThrow(expect.objectContaining({ code: "55000" }));
    });
  });

  it("refuses asynchronous work that it cannot follow", () => {
    using child = memory.top.createChild("child");
    expect(() => memory.within(child, async () => 1)).toThrow(/palloc\/async-context/);
    expect(memory.current).toBe(memory.top);
  });
});

describe.each(builds)("the current context, following await (%s)", (_, checked) => {
  const { memory } = openMemory(checked);
  followAwait(followAwait(memory));

  it("is each request's own, however many are served at a time", async () => {
    const random = new Random(seed);
    const serve = (name: string): Promise<string> =>
      memory.top.scope(name, (request) =>
        memory.within(request, async () => {
          const texts: string[] = [];
          for (let step = 0; step < 5; step += 1) {
            const chunk = memory.current.strdup(`${name} ${step}`);
            await pause(random.below(3));
            expect(memory.current).toBe(request);
            expect(memory.chunkContext(chunk)).toBe(request);
            texts.push(memory.readString(chunk));
          }
          return texts.join();
        }),
      );
    const names = Array.from({ length: 20 }, (_, index) => `request ${index}`);
    const answers = await Promise.all(names.map(serve));
    expect(answers).toEqual(
      names.map((name) => [0, 1, 2, 3, 4].map((step) => `${name} ${step}`).join()),
    );
    expect(memory.current).toBe(memory.top);
    expect(memory.top.children().filter(({ name }) => name.startsWith("request"))).toEqual([]);
  });

  it("is switched in one branch without the others' noticing", async () => {
    using request = memory.top.createChild("request");
    const branch = async (name: string): Promise<string> => {
      await pause();
      const before = memory.switchTo(request.createChild(name));
      expect(before).toBe(request);
      await pause(1);
      return memory.current.name;
    };
    await memory.within(request, async () => {
      expect(await Promise.all([branch("left"), branch("right")])).toEqual(["left", "right"]);
      expect(memory.current).toBe(request);
    });
    expect(memory.current).toBe(memory.top);
  });

  it("is restored when work throws at once or later", async () => {
    using request = memory.top.createChild("request");
    const failing = (): void => {
      throw new Error("now");
    };
    expect(() => memory.within(request, failing)).toThrow("now");
    expect(memory.current).toBe(memory.top);
    const later = memory.within(request, async () => {
      await pause();
      throw new Error(memory.current.name);
    });
    await expect(later).rejects.toThrow("request");
    expect(memory.current).toBe(memory.top);
  });

  it("keeps what was current before it began to follow", () => {
    const opened = openMemory(checked).memory;
    const child = opened.top.createChild("chosen");
    opened.switchTo(child);
    expect(followAwait(opened).current).toBe(child);
  });

  it("is one for each memory", () => {
    const other = followAwait(openMemory(checked).memory);
    using child = memory.top.createChild("child");
    memory.within(child, () => expect(other.current).toBe(other.top));
  });
});
