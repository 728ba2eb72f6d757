// Proves with real threads that who has the lock finds the row as it is: two read under a share
// lock while one changes it, and one who dies between the change and its message leaves nobody with
// the old row. The orders of steps are for test/interleave; this is for real memory and real locks.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { Backend, CatalogRelation, SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builds } from "../support/region.ts";

const CHANGES = 300;
const LAST = 1_000;
const open: SharedMemory[] = [];
const workers: Worker[] = [];

afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.terminate();
  for (const shared of open.splice(0)) await shared.close();
});

async function region(checked: boolean): Promise<SharedMemory> {
  const shared = await SharedMemory.create({
    settings: { shared_buffers: "256kB", max_connections: 5 },
    storage: memoryStorage(),
    checked,
  });
  open.push(shared);
  return shared;
}

function start({ handle }: SharedMemory, role: string, times: number): Worker {
  const script = new URL("./catalog.worker.mjs", import.meta.url);
  const worker = new Worker(script, { workerData: { handle, role, times } });
  workers.push(worker);
  return worker;
}

interface Outcome {
  readonly stale: number;
  readonly reads: number;
}

async function outcomeOf(worker: Worker): Promise<Outcome> {
  const [outcome] = (await once(worker, "message")) as [Outcome];
  return outcome;
}

describe.each(builds)("workers and one catalog, %s", (_, checked) => {
  it("read a row under a share lock as it is, while another changes it", async () => {
    const shared = await region(checked);
    const backend = await Backend.attach(shared.handle);
    backend.createRelationSync("rows");
    const started = ["read", "read", "change"].map((role) => start(shared, role, CHANGES));
    const outcomes = await Promise.all(started.map(outcomeOf));
    expect(outcomes.map(({ stale }) => stale)).toEqual([0, 0, 0]);
    backend.detach();
  }, 60_000);

  it("find the new row when the one who changed it dies before telling", async () => {
    const shared = await region(checked);
    const backend = await Backend.attach(shared.handle);
    const rows = new CatalogRelation(backend.buffers, backend.createRelationSync("rows"));
    const catalog = backend.catalog.register("rows", {
      keys: ["string", "number"],
      loadSync: (...keys) => rows.readSync(...keys),
      decode: (row) => (row[0] ?? 0) | ((row[1] ?? 0) << 8),
    });
    rows.writeSync(["row", 1], Uint8Array.of(7, 0));
    expect(catalog.findSync("row", 1)?.value).toBe(7);
    const dying = start(shared, "die", LAST);
    expect(await once(dying, "message")).toEqual(["changed"]);
    expect(catalog.findSync("row", 1)?.value).toBe(7);
    await dying.terminate();
    const relation = rows.relation.number;
    await backend.locks.acquire({ type: "relation", relation }, "AccessShareLock");
    expect(catalog.findSync("row", 1)?.value).toBe(LAST);
    backend.detach();
  }, 60_000);
});
