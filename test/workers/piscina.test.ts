// A pool of somebody else's, unmodified: its workers attach like any other, and when one is
// terminated in the middle of a page change, by the pool's own cancellation, all is given back.

import { Piscina } from "piscina";
import { afterEach, describe, expect, it } from "vitest";
import { Backend, SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builds } from "../support/region.ts";
import { BLOCKS, COUNT_AT, type PoolTask, RELATION } from "./pool-task.ts";

const THREADS = 3;
const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface Setting {
  readonly shared: SharedMemory;
  run(kind: PoolTask["kind"], signal?: AbortSignal): Promise<number>;
  readonly words: Int32Array;
}

async function setting(checked: boolean): Promise<Setting> {
  const shared = await SharedMemory.create({
    settings: { shared_buffers: "128kB", max_connections: THREADS + 2 },
    storage: memoryStorage(),
    checked,
  });
  closing.push(() => shared.close());
  const pool = new Piscina({
    filename: new URL("../../dist/test/workers/pool-task.js", import.meta.url).href,
    name: "runPoolTask",
    minThreads: THREADS,
    maxThreads: THREADS,
  });
  closing.push(() => pool.destroy());
  const words = new Int32Array(new SharedArrayBuffer(4));
  const { handle } = shared;
  const run: Setting["run"] = (kind, signal) =>
    pool.run({ handle, kind, words } satisfies PoolTask, signal === undefined ? {} : { signal });
  return { shared, run, words };
}

describe.each(builds)("an unmodified piscina pool, %s build", (_, checked) => {
  it("attaches its workers, which share the pages", async () => {
    const { shared, run } = await setting(checked);
    await run("fill");
    const tasks = 12;
    const slots = await Promise.all(Array.from({ length: tasks }, () => run("add")));
    expect(new Set(slots).size).toBeGreaterThan(1);
    expect(counts(shared)).toEqual(new Array(BLOCKS).fill(tasks));
  });

  it("has a worker terminated in mid-operation: everything is given back", async () => {
    const { shared, run, words } = await setting(checked);
    await run("fill");
    const given = new AbortController();
    const held = expect(run("hold", given.signal)).rejects.toThrow();
    while (Atomics.load(words, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    const waiting = run("add");
    const died = new Promise((resolve) => {
      shared.onBackendDeath(resolve);
    });
    given.abort();
    await held;
    await died;
    await waiting;
    expect(counts(shared)).toEqual(new Array(BLOCKS).fill(1));
    expect(shared.usageCounts().reduce((sum, { pinned }) => sum + pinned, 0)).toBe(0);
    await Promise.all(Array.from({ length: THREADS * 2 }, () => run("add")));
    expect(counts(shared)).toEqual(new Array(BLOCKS).fill(1 + THREADS * 2));
  });
});

function counts(shared: SharedMemory): number[] {
  using backend = Backend.attachSync(shared.handle);
  const relation = backend.openRelationSync(RELATION);
  return Array.from({ length: BLOCKS }, (_, block) => {
    using page = backend.buffers.readSync(relation, block);
    const { bytes } = page;
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(COUNT_AT, true);
  });
}
