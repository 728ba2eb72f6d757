// Proves with real threads that one that computes answers at its next safe point, one that waits
// answers from its event loop, and one that does neither costs the asker no more than the timeout.

import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { requestRows, serveRows } from "../../bindings/process/remote-rows.ts";
import { builds, openMemory } from "../support/process.ts";
import type { RowsWorkerData } from "../workers/rows.worker.ts";

const workerFile = new URL("../../dist/test/workers/rows.worker.js", import.meta.url);

describe.each(builds)("rows of another thread, %s build", (_, checked) => {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  let worker: Worker | undefined;
  let port: MessagePort | undefined;

  function start(mode: RowsWorkerData["mode"]): MessagePort {
    const { port1, port2 } = new MessageChannel();
    stop.fill(0);
    const data: RowsWorkerData = { port: port2, checked, mode, stop };
    worker = new Worker(workerFile, { workerData: data, transferList: [port2] });
    port = port1;
    return port1;
  }

  afterEach(async () => {
    Atomics.store(stop, 0, 1);
    port?.close();
    await worker?.terminate();
  });

  it.each(["computes", "waits"] as const)("come from one that %s", async (mode) => {
    const remote = start(mode);
    const [first, second] = await Promise.all([
      requestRows(remote, { timeoutMs: 5000, pid: 7 }),
      requestRows(remote, { timeoutMs: 5000 }),
    ]);
    const names = ["TopMemoryContext", "request", "ErrorContext"];
    expect(first.rows.map(({ name }) => name)).toEqual(names);
    expect(second.rows).toEqual(first.rows);
    expect(first.text.split("\n").slice(0, 3)).toEqual([
      "logging memory contexts of PID 7",
      expect.stringMatching(/^TopMemoryContext: 8192 total in 1 blocks;/),
      expect.stringMatching(/^ {2}request: 8192 total in 1 blocks;/),
    ]);
    expect((await requestRows(remote)).rows).toEqual(first.rows);
  });

  it("do not come from one that is deaf, and who asks hears that in time", async () => {
    const remote = start("is deaf");
    const began = performance.now();
    await expect(requestRows(remote, { timeoutMs: 50 })).rejects.toMatchObject({ code: "57014" });
    expect(performance.now() - began).toBeLessThan(5000);
  });

  it("are refused by a memory that is closed, and no longer served after the end", async () => {
    const { memory } = openMemory(checked);
    const { port1, port2 } = new MessageChannel();
    port = port1;
    const server = serveRows(memory, port2);
    expect((await requestRows(port1)).rows).toEqual(memory.rows());
    memory.dispose();
    await expect(requestRows(port1)).rejects.toMatchObject({ code: "55000" });
    server[Symbol.dispose]();
    await expect(requestRows(port1, { timeoutMs: 20 })).rejects.toMatchObject({ code: "57014" });
    await expect(requestRows(port1, { timeoutMs: -1 })).rejects.toThrow(RangeError);
    port2.close();
  });
});
