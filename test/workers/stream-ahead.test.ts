// Read streams over I/O workers: runs are read while others are delivered, and nobody waits for a
// stream whose owner does something else. Real threads; reads are held at a gate, and a test waits
// for events, never for a time.

import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import {
  PART_SLOTS,
  SLOT_BYTES,
  SLOT_SLEEPING_ON_OFFSET,
} from "../../assembly/common/constants.ts";
import { REQUEST_SUBMITTED } from "../../assembly/common/io-constants.ts";
import {
  Backend,
  type BufferId,
  type ReadStream,
  type ReadStreamOptions,
} from "../../bindings/index.ts";
import { partOf } from "../../bindings/shared/statistics.ts";
import type { IoMethod } from "../support/io-methods.ts";
import { builds } from "../support/region.ts";
import { errorOf } from "./gated-storage.ts";
import {
  death,
  endScene,
  ends,
  expectNothingLeft,
  ioWorker,
  requests,
  type Scene,
  scene,
  VALUE_AT,
} from "./io-scene.ts";

afterEach(endScene);

const BLOCKS = 40;
/** Three runs: 16, 16 and 8 blocks. */
const RUNS = 3;
const ALL = Array.from({ length: BLOCKS }, (_, block) => block);

function wide(checked: boolean, workers: number, method: IoMethod = "worker"): Promise<Scene> {
  return scene(checked, workers, method, 3, 512);
}

function streamOf(at: Scene, options: ReadStreamOptions = { full: true }): ReadStream {
  const relation = at.backend.openRelationSync("t");
  return at.backend.buffers.readStream(relation, { first: 0, end: BLOCKS }, options);
}

function taken({ backend }: Scene, buffer: BufferId | undefined): number {
  if (buffer === undefined) throw new Error("the stream has ended");
  const value = backend.buffers.bytes(buffer)[VALUE_AT] ?? -1;
  backend.buffers.unpin(buffer);
  return value;
}

/** What a stream still delivers: values, or SQLSTATEs. */
async function drain(at: Scene, stream: ReadStream): Promise<(number | string)[]> {
  const found: (number | string)[] = [];
  for (;;) {
    try {
      const buffer = await stream.next();
      if (buffer === undefined) return found;
      found.push(taken(at, buffer));
    } catch (error) {
      found.push((error as { code: string }).code);
    }
  }
}

async function untilRequests(at: Scene, count: number): Promise<void> {
  while (requests(at.shared).length < count) await new Promise(setImmediate);
}

/** Releases the gate from another thread, once the backend of this one is asleep. */
async function releaseWhenAsleep(at: Scene): Promise<void> {
  const { buffer } = at.shared.handle.memory;
  const word = partOf(buffer, PART_SLOTS).off + at.backend.slot * SLOT_BYTES;
  const { words } = at.gate.manager.handle as unknown as { words: SharedArrayBuffer };
  const script = `
    const { parentPort, workerData: { buffer, word, words } } = require("node:worker_threads");
    parentPort.postMessage("ready");
    while (Atomics.load(new Int32Array(buffer), word) === 0);
    Atomics.store(new Int32Array(words), 0, 0);
    Atomics.notify(new Int32Array(words), 0);`;
  const data = { buffer, word: (word + SLOT_SLEEPING_ON_OFFSET) / 4, words };
  const worker = new Worker(script, { eval: true, workerData: data });
  ends.push(() => worker.terminate());
  await new Promise((resolve) => worker.once("message", resolve));
}

describe.each(builds)("%s build", (_, checked) => {
  it("has runs read by several workers before the first page is there", async () => {
    const at = await wide(checked, 2);
    at.gate.close();
    const stream = streamOf(at);
    const first = stream.next();
    await at.gate.untilEntered(2);
    expect(requests(at.shared)).toHaveLength(RUNS);
    at.gate.release();
    expect([taken(at, await first), ...(await drain(at, stream))]).toEqual(ALL);
    expect([at.gate.entered, at.gate.ownReads]).toEqual([RUNS, 0]);
    await expectNothingLeft(at);
  });

  it("goes on with calls that wait in their thread, and looks no further than its pins", async () => {
    const at = await wide(checked, 1);
    const stream = streamOf(at, { full: true, maxBlocks: 8 });
    const found: number[] = [];
    for (let next = stream.nextSync(); next !== undefined; next = stream.nextSync()) {
      expect(at.backend.buffers.pinnedBuffers()).toBeLessThanOrEqual(9);
      found.push(taken(at, next));
    }
    expect(found).toEqual(ALL);
    expect([at.gate.entered, at.gate.ownReads]).toEqual([BLOCKS / 4, 0]);
    await expectNothingLeft(at);
  });

  it("is no wait for oneself: its backend reads a page that still waits for a worker", async () => {
    const at = await wide(checked, 1);
    at.gate.close();
    const stream = streamOf(at);
    const first = stream.next();
    await untilRequests(at, RUNS);
    await at.gate.untilEntered(1);
    expect(requests(at.shared)).toContain(REQUEST_SUBMITTED);
    await releaseWhenAsleep(at);
    using page = at.backend.buffers.readSync(at.backend.openRelationSync("t"), 39);
    expect(page.bytes[VALUE_AT]).toBe(39);
    page[Symbol.dispose]();
    expect([taken(at, await first), ...(await drain(at, stream))]).toEqual(ALL);
    expect(at.gate.ownReads).toBe(0);
    await expectNothingLeft(at);
  });

  it("prewarming is read ahead as well", async () => {
    const at = await wide(checked, 2);
    at.gate.close();
    const relation = at.backend.openRelationSync("t");
    const warming = at.backend.prewarm(relation);
    await at.gate.untilEntered(2);
    at.gate.release();
    expect(await warming).toBe(BLOCKS);
    expect([at.gate.entered, at.gate.ownReads]).toEqual([RUNS, 0]);
    await expectNothingLeft(at);
  });

  it("leaves no pin and no request when it is disposed, whatever workers have of it", async () => {
    const at = await wide(checked, 1);
    at.gate.close();
    const stream = streamOf(at);
    const first = stream.next();
    await at.gate.untilEntered(1);
    stream[Symbol.dispose]();
    at.gate.release();
    await expect(first).rejects.toThrow(/closed/);
    await expectNothingLeft(at, 0, ALL.length);
    at.gate.close();
    const again = streamOf(at);
    const pending = again.next();
    await at.gate.untilEntered(2);
    at.gate.release();
    taken(at, await pending);
    again[Symbol.dispose]();
    await expectNothingLeft(at, 0, ALL.length);
    expect(await drain(at, streamOf(at))).toEqual(ALL);
  });

  it("goes on with the same block after a wait that was given up", async () => {
    const at = await wide(checked, 1);
    at.gate.close();
    const stream = streamOf(at);
    const stop = new AbortController();
    const first = stream.next(stop.signal);
    await at.gate.untilEntered(1);
    stop.abort();
    await expect(first).rejects.toMatchObject({ code: "57014" });
    expect(at.backend.buffers.pinnedBuffers()).toBe(0);
    at.gate.release();
    expect(await drain(at, stream)).toEqual(ALL);
    await expectNothingLeft(at);
  });

  it("what workers cannot read is read by its owner, page by page where it must be", async () => {
    const at = await wide(checked, 2);
    at.gate.fail();
    expect(await drain(at, streamOf(at))).toEqual(ALL);
    expect([at.gate.entered, at.gate.ownReads]).toEqual([RUNS, RUNS]);
    await expectNothingLeft(at);
  });
});

describe.each(builds)("deaths, %s build", (_, checked) => {
  it("of the only worker: pages it had and pages that waited are read by the stream", async () => {
    const at = await wide(checked, 0);
    const worker = await ioWorker(at.shared);
    at.gate.close();
    const stream = streamOf(at);
    const first = stream.next();
    await at.gate.untilEntered(1);
    await untilRequests(at, RUNS);
    const died = death(at.shared);
    await worker.terminate();
    await died;
    at.gate.release();
    expect([taken(at, await first), ...(await drain(at, stream))]).toEqual(ALL);
    expect(at.gate.ownReads).toBe(RUNS);
    await expectNothingLeft(at);
  });

  it("of the only worker: another backend gets a page whose stream is not asked any more", async () => {
    const at = await wide(checked, 0);
    const worker = await ioWorker(at.shared);
    at.gate.close();
    const stream = streamOf(at);
    const first = stream.next();
    await at.gate.untilEntered(1);
    at.gate.pass();
    expect(taken(at, await first)).toBe(0);
    await at.gate.untilEntered(2);
    const died = death(at.shared);
    await worker.terminate();
    await died;
    at.gate.release();
    const other = Backend.attachSync(at.shared.handle, { storage: at.gate.open });
    for (const block of [20, 39]) {
      using page = await other.buffers.read(other.openRelationSync("t"), block);
      expect(page.bytes[VALUE_AT]).toBe(block);
    }
    other.detach();
    expect(await drain(at, stream)).toEqual(ALL.slice(1));
    await expectNothingLeft(at);
  });

  it("of a backend in the middle of a stream: workers end what they have", async () => {
    const at = await wide(checked, 1);
    at.gate.close();
    const leaks: string[] = [];
    const other = Backend.attachSync(at.shared.handle, {
      storage: at.gate.open,
      onWarning: (message) => leaks.push(message),
    });
    const relation = other.openRelationSync("t");
    const stream = other.buffers.readStream(relation, { first: 0, end: 40 }, { full: true });
    const first = expect(stream.next()).rejects.toThrow(/closed/);
    await at.gate.untilEntered(1);
    other.detach();
    at.gate.release();
    await first;
    expect(leaks).toHaveLength(BLOCKS);
    stream[Symbol.dispose]();
    expect(await drain(at, streamOf(at))).toEqual(ALL);
    await expectNothingLeft(at);
  });
});

describe("errors", () => {
  it("are those of the other method, each in its turn", async () => {
    async function found(method: IoMethod): Promise<unknown[]> {
      const at = await wide(true, method === "worker" ? 2 : 0, method);
      const relation = at.backend.openRelationSync("t");
      at.gate.manager.writeSync(relation.number, 0, 3, new Uint8Array(8192).fill(0x77));
      at.gate.manager.writeSync(relation.number, 0, 20, new Uint8Array(8192).fill(0x77));
      const stream = streamOf(at);
      const delivered = await drain(at, stream);
      const messages = await errorOf(() => at.backend.buffers.readSync(relation, 20));
      const zeroed = await drain(at, streamOf(at, { full: true, mode: "zeroOnError" }));
      await expectNothingLeft(at);
      return [delivered, messages, zeroed, at.warnings];
    }
    const [sync, worker] = [await found("sync"), await found("worker")];
    expect(worker).toEqual(sync);
    expect(sync[0]).toEqual(ALL.map((block) => (block === 3 || block === 20 ? "XX001" : block)));
  });
});
