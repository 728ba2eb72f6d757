// Heavyweight locks with real threads: nobody is ever where somebody else has an exclusive lock,
// and after terminations at random moments every lock can be had again and none is left.

import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { Backend, SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { Random, seed } from "../support/random.ts";
import { builds } from "../support/region.ts";

const WORKERS = 3;
const TERMINATIONS = 12;
const BETWEEN_MS = 40;
const [STOP, MISTAKES, ROUNDS] = [0, 1, 2];

function start(shared: SharedMemory, number: number, random: Random): Promise<Worker> {
  const worker = new Worker(new URL("locks.worker.mjs", import.meta.url), {
    workerData: { handle: shared.handle, number, seed: random.next() },
  });
  return new Promise((resolve, reject) => {
    worker.once("message", () => resolve(worker));
    worker.once("error", reject);
  });
}

function ended(worker: Worker): Promise<void> {
  return new Promise((resolve) => worker.once("exit", () => resolve()));
}

describe.each(builds)("heavyweight locks of workers, %s build", (_, checked) => {
  it("exclude each other, and come back from whoever is terminated", async () => {
    const random = new Random(seed);
    const settings = { shared_buffers: 16, max_connections: WORKERS + 1 };
    const segments = { proof: 256 };
    const shared = await SharedMemory.create({
      settings,
      segments,
      checked,
      storage: memoryStorage(),
    });
    const { words } = shared.segment("proof");
    const workers: Worker[] = [];
    for (let number = 1; number <= WORKERS; number += 1) {
      workers.push(await start(shared, number, random));
    }
    for (let count = 0; count < TERMINATIONS; count += 1) {
      await new Promise((resolve) => setTimeout(resolve, random.below(BETWEEN_MS)));
      const index = random.below(WORKERS);
      const dead = new Promise((resolve) => shared.onBackendDeath(resolve));
      await workers[index]?.terminate();
      await dead;
      workers[index] = await start(shared, index + 1, random);
    }
    Atomics.store(words, STOP, 1);
    await Promise.all(workers.map(ended));
    expect(words[MISTAKES]).toBe(0);
    expect(words[ROUNDS]).toBeGreaterThan(100);
    const backend = Backend.attachSync(shared.handle);
    expect(backend.locks.rows()).toEqual([]);
    for (let place = 0; place < 3; place += 1) {
      expect(backend.locks.tryAdvisoryLock(place)).toBe(true);
      backend.locks.lockRelationSync(100 + place, "AccessShareLock");
    }
    expect(backend.locks.rows().filter(({ fastpath }) => fastpath)).toHaveLength(3);
    backend.detach();
    await shared.close();
  }, 60_000);
});
