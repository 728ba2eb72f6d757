// Proves that two Web Workers share one pool over the in-memory storage, that what one of them held
// comes back when it is terminated, and that the page that owns the region stays responsive.

import { afterEach, describe, expect, it } from "vitest";
import { Backend, SharedMemory } from "../../dist/bindings/index.js";
import { memoryStorage } from "../../dist/bindings/storage/memory.js";
import type { Answer, Request } from "./worker.ts";

/** Twice as many pages as buffers: pages must leave for storage and come back. */
const SETTINGS = { shared_buffers: "128kB", max_connections: 4 };
const BLOCKS = 32;
const ROUNDS = 50;

/** A backend in a worker, asked one thing at a time. */
class RemoteBackend {
  readonly #worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });

  async ask(request: Request): Promise<number> {
    const answer = await new Promise<Answer>((resolve, reject) => {
      this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
      this.#worker.onerror = ({ message }) => reject(new Error(message));
      this.#worker.postMessage(request);
    });
    if ("error" in answer) throw new Error(answer.error);
    return answer.value;
  }

  terminate(): void {
    this.#worker.terminate();
  }
}

const remotes: RemoteBackend[] = [];

async function start(shared: SharedMemory): Promise<RemoteBackend> {
  const remote = new RemoteBackend();
  remotes.push(remote);
  await remote.ask({ ask: "attach", handle: shared.handle });
  return remote;
}

async function retire(...leaving: RemoteBackend[]): Promise<void> {
  for (const remote of leaving) await remote.ask({ ask: "detach" });
}

afterEach(() => {
  for (const remote of remotes.splice(0)) remote.terminate();
});

describe.each([{ checked: false }, { checked: true }])(
  "shared memory, checked: $checked",
  (build) => {
    const create = (): Promise<SharedMemory> =>
      SharedMemory.create({ settings: SETTINGS, storage: memoryStorage(), ...build });

    it("has a page that is isolated across origins", () => {
      expect(globalThis.crossOriginIsolated).toBe(true);
    });

    it("loses no change of two workers that change the same pages at once", async () => {
      const shared = await create();
      const [one, two] = [await start(shared), await start(shared)];
      expect(await one.ask({ ask: "create", name: "counters", blocks: BLOCKS })).toBe(BLOCKS);
      const counting = { ask: "count", name: "counters", rounds: ROUNDS } as const;
      await Promise.all([one.ask(counting), two.ask(counting)]);
      expect(await one.ask({ ask: "sum", name: "counters" })).toBe(2 * ROUNDS * BLOCKS);
      expect(await two.ask({ ask: "sum", name: "counters" })).toBe(2 * ROUNDS * BLOCKS);
      const { hits, reads, writes, evictions } = shared.statistics();
      expect(Math.min(hits, reads, writes, evictions)).toBeGreaterThan(0);
      await retire(one, two);
      await shared.close();
    });

    it("reads a page from storage once for both workers", async () => {
      const shared = await create();
      const [one, two] = [await start(shared), await start(shared)];
      await one.ask({ ask: "create", name: "pages", blocks: BLOCKS });
      const before = shared.statistics();
      await one.ask({ ask: "pin", name: "pages", block: 0 });
      await two.ask({ ask: "pin", name: "pages", block: 0 });
      const after = shared.statistics();
      expect(after.reads - before.reads).toBe(1);
      expect(after.hits - before.hits).toBe(1);
      for (const remote of [one, two]) remote.terminate();
      await shared.close();
    });

    it("gives back what a terminated worker held", async () => {
      const shared = await create();
      const [one, two] = [await start(shared), await start(shared)];
      await one.ask({ ask: "create", name: "pages", blocks: BLOCKS });
      const pinned = (): number => shared.usageCounts().reduce((sum, row) => sum + row.pinned, 0);
      await two.ask({ ask: "pin", name: "pages", block: 7 });
      expect(pinned()).toBe(1);
      const death = new Promise((resolve) => shared.onBackendDeath(resolve));
      two.terminate();
      await death;
      expect(pinned()).toBe(0);
      expect(shared.backends().map(({ state }) => state)).toEqual(["active"]);
      await retire(one);
      await shared.close();
    });
  },
);

describe("a page, which may not sleep", () => {
  it("gives up a lock that it would have to wait for long, with 55P03", async () => {
    const shared = await SharedMemory.create({ settings: SETTINGS, storage: memoryStorage() });
    const [holder, waiter] = [
      await Backend.attach(shared.handle),
      await Backend.attach(shared.handle),
    ];
    const relation = holder.createRelationSync("pages");
    holder.buffers.extendSync(relation);
    const buffer = holder.buffers.pin(relation.id, 0);
    holder.buffers.lockExclusive(buffer);
    expect(waiter.buffers.pin(relation.id, 0)).toBe(buffer);
    expect(() => waiter.buffers.lockShare(buffer)).toThrow(
      expect.objectContaining({ code: "55P03" }),
    );
    holder.buffers.unlock(buffer);
    waiter.buffers.lockShare(buffer);
    for (const backend of [holder, waiter]) backend.detach();
    expect(shared.backends()).toEqual([]);
    await shared.close();
  }, 30_000);
});
