// I/O workers in real threads: the main thread reads without blocking, errors are those of the
// other method, and whoever ends in the middle of a read, pages and frames stay whole. Workers run
// the built package; reads are held at a gate: this file waits for events, never for a time.

import { afterEach, describe, expect, it } from "vitest";
import { REQUEST_SUBMITTED } from "../../assembly/common/io-constants.ts";
import { Backend, SharedMemory } from "../../bindings/index.ts";
import { IO_WORKER, type IoMethod, ioMethods } from "../support/io-methods.ts";
import { builds } from "../support/region.ts";
import { errorOf, GatedStorage } from "./gated-storage.ts";
import {
  death,
  endScene,
  expectNothingLeft,
  ioWorker,
  open,
  remote,
  requests,
  type Scene,
  scene,
  VALUE_AT,
  value,
} from "./io-scene.ts";

afterEach(endScene);

describe.each(builds)("%s build", (_, checked) => {
  it("a promise reads in another thread: the main thread goes round while storage holds it up", async () => {
    const at = await scene(checked);
    at.gate.close();
    const reading = value(at, 5);
    await at.gate.untilEntered(1);
    let rounds = 0;
    for (; rounds < 100; rounds += 1) await new Promise(setImmediate);
    expect(requests(at.shared)).toHaveLength(1);
    at.gate.release();
    expect(await reading).toBe(5);
    expect(at.gate.ownReads).toBe(0);
    await expectNothingLeft(at);
  });

  it("several promises are read by several workers at one moment, one page once", async () => {
    const at = await scene(checked, 3);
    at.gate.close();
    const before = at.shared.statistics().reads;
    const reading = Promise.all([1, 2, 3, 2].map((block) => value(at, block)));
    await at.gate.untilEntered(3);
    at.gate.release();
    expect(await reading).toEqual([1, 2, 3, 2]);
    expect(at.shared.statistics().reads - before).toBe(3);
    expect(at.gate.ownReads).toBe(0);
    await expectNothingLeft(at);
  });

  it("a call that waits in its thread has workers read as well", async () => {
    const at = await scene(checked);
    const { backend } = at;
    const relation = backend.openRelationSync("t");
    for (let block = 0; block < 40; block += 1) {
      using page = backend.buffers.readSync(relation, block);
      expect(page.bytes[VALUE_AT]).toBe(block);
    }
    expect(at.gate.entered).toBe(40);
    expect(at.gate.ownReads).toBe(0);
  });

  it("without a worker a backend reads for itself", async () => {
    const at = await scene(checked, 0);
    expect(await value(at, 9)).toBe(9);
    expect(at.gate.ownReads).toBe(1);
    await expectNothingLeft(at);
  });

  it("what fails in a worker is read by who asked", async () => {
    const at = await scene(checked);
    at.gate.fail();
    expect(await value(at, 3)).toBe(3);
    expect([at.gate.entered, at.gate.ownReads]).toEqual([1, 1]);
    await expectNothingLeft(at);
  });

  it("a read that is given up ends without who gave it up, and the page is whole", async () => {
    const at = await scene(checked);
    at.gate.close();
    const relation = at.backend.openRelationSync("t");
    const stop = new AbortController();
    const { signal } = stop;
    const readings = [7, 8].map((block) => at.backend.buffers.read(relation, block, { signal }));
    const given = Promise.all(
      readings.map((each) => expect(each).rejects.toMatchObject({ code: "57014" })),
    );
    await at.gate.untilEntered(1);
    stop.abort();
    await given;
    at.gate.release();
    expect([await value(at, 7), await value(at, 8)]).toEqual([7, 8]);
    await expectNothingLeft(at);
  });
});

describe.each(builds)("deaths, %s build", (_, checked) => {
  it.each([1, 2])("a worker terminated in the middle of a read, of %i there are", async (count) => {
    const at = await scene(checked, count - 1);
    const worker = await ioWorker(at.shared);
    at.gate.close();
    // As many reads as there are workers: each has one, and the one that ends too.
    const reading = Promise.all([11, 12].slice(0, count).map((block) => value(at, block)));
    await at.gate.untilEntered(count);
    const died = death(at.shared);
    await worker.terminate();
    await died;
    at.gate.release();
    expect(await reading).toEqual([11, 12].slice(0, count));
    expect(at.gate.ownReads).toBe(1);
    await expectNothingLeft(at);
    expect(await value(at, 13)).toBe(13);
  });

  it("a backend terminated while its read is queued takes nothing with it", async () => {
    const at = await scene(checked);
    const other = await remote(at.shared);
    at.gate.close();
    const reading = value(at, 1);
    await at.gate.untilEntered(1);
    void other.call("read", "t", 2);
    while (!requests(at.shared).includes(REQUEST_SUBMITTED)) await new Promise(setImmediate);
    const died = death(at.shared);
    await other.terminate();
    expect(await died).toMatchObject({ slot: 2 });
    expect(requests(at.shared)).toHaveLength(1);
    at.gate.release();
    expect([await reading, await value(at, 2)]).toEqual([1, 2]);
    await expectNothingLeft(at);
  });

  it("a backend terminated while a worker reads for it leaves the page to the worker", async () => {
    const at = await scene(checked);
    const other = await remote(at.shared);
    at.gate.close();
    void other.call("read", "t", 2);
    await at.gate.untilEntered(1);
    const died = death(at.shared);
    await other.terminate();
    expect(await died).toMatchObject({ slot: 2 });
    const reading = value(at, 2);
    at.gate.release();
    expect(await reading).toBe(2);
    expect([at.gate.entered, at.gate.ownReads]).toEqual([1, 0]);
    await expectNothingLeft(at);
  });

  it("a backend that detaches leaves its reads to the workers that have them", async () => {
    const at = await scene(checked);
    at.gate.close();
    const relation = at.backend.openRelationSync("t");
    const readings = [4, 5].map((block) => at.backend.buffers.read(relation, block));
    const closed = Promise.all(readings.map((each) => expect(each).rejects.toThrow(/closed/)));
    await at.gate.untilEntered(1);
    at.backend.detach();
    at.gate.release();
    await closed;
    const again = {
      ...at,
      backend: Backend.attachSync(at.shared.handle, { storage: at.gate.open }),
    };
    expect([await value(again, 4), await value(again, 5)]).toEqual([4, 5]);
    await expectNothingLeft(again);
  });

  it("a region that closes while a worker reads tells who asked", async () => {
    const at = await scene(checked);
    at.gate.close();
    const reading = expect(value(at, 6)).rejects.toMatchObject({ code: "57P01" });
    await at.gate.untilEntered(1);
    // Before the worker has ended: the end of the region wakes who waits for it.
    await Promise.all([reading, at.shared.close()]);
    at.gate.release();
  });
});

describe("errors", () => {
  /** Breaks a page in storage, and asks for it and for one behind the end. */
  async function errors(method: IoMethod): Promise<unknown[]> {
    const at = await scene(true, method === "worker" ? 1 : 0, method);
    const relation = at.backend.openRelationSync("t");
    at.gate.manager.writeSync(relation.number, 0, 3, new Uint8Array(8192).fill(0x77));
    at.gate.manager.writeSync(relation.number, 0, 4, brokenChecksum(at, relation.number));
    const { buffers } = at.backend;
    const found: unknown[] = [];
    for (const block of [3, 4, 40]) {
      found.push(await errorOf(() => buffers.readSync(relation, block)));
      found.push(await errorOf(() => buffers.read(relation, block)));
    }
    using zeroed = await buffers.read(relation, 3, { mode: "zeroOnError" });
    found.push(
      zeroed.bytes.every((byte) => byte === 0),
      at.warnings,
    );
    zeroed[Symbol.dispose]();
    await expectNothingLeft(at, 2);
    return found;
  }

  function brokenChecksum({ gate }: Scene, relation: number): Uint8Array {
    const page = new Uint8Array(8192);
    gate.manager.readSync(relation, 0, 4, page);
    page[5000] = 1;
    return page;
  }

  it("a page that is none, and a failing medium, are the same errors on both methods", async () => {
    const [sync, worker] = [await errors("sync"), await errors("worker")];
    expect(worker).toEqual(sync);
    expect(sync.slice(0, 6)).toMatchObject([
      { code: "XX001" },
      { code: "XX001" },
      { code: "XX001" },
      { code: "XX001" },
      { code: "XX001" },
      { code: "XX001" },
    ]);
    expect(sync[7]).toEqual([expect.stringContaining("zeroing out page")]);
  });
});

describe("a region with io_method worker", () => {
  it("starts io_workers threads, in slots that no client gets, and ends them with it", async () => {
    const gate = new GatedStorage();
    const settings = { shared_buffers: 16, max_connections: 2, io_method: "worker" };
    const shared = await SharedMemory.create({
      settings: { ...settings, io_workers: 2 },
      storage: gate.manager,
      ioWorkers: IO_WORKER,
    });
    open.push(shared);
    expect(shared.backends().map(({ slot }) => slot)).toEqual([3, 4]);
    const clients = [0, 1].map(() => Backend.attachSync(shared.handle, { storage: gate.open }));
    expect(clients.map(({ slot }) => slot)).toEqual([1, 2]);
    expect(() => Backend.attachSync(shared.handle, { storage: gate.open })).toThrow(
      /too many clients/,
    );
    for (const client of clients) client.detach();
    await shared.close();
  });

  it("whose workers cannot open the storage is refused with their error", async () => {
    const gate = new GatedStorage();
    const handle = { ...gate.manager.handle, module: undefined, kind: "of my own" };
    const storage = new Proxy(gate.manager, {
      get: (target, key) => (key === "handle" ? handle : Reflect.get(target, key)),
    });
    const settings = { shared_buffers: 16, io_method: "worker" };
    await expect(
      SharedMemory.create({ settings, storage, ioWorkers: IO_WORKER }),
    ).rejects.toMatchObject({ code: "0A000" });
  });

  it.each(ioMethods)("with io_method %s keeps max_connections for clients", async (method) => {
    const at = await scene(false, 0, method, 2);
    Backend.attachSync(at.shared.handle, { storage: at.gate.open }).detach();
    expect(at.shared.settings.slots).toBe(1 + 2 + 2 + (method === "worker" ? 3 : 0));
  });
});
