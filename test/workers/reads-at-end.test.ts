// A worker that is terminated while a read of its own is under way. On Node its 'exit' comes after
// the read, so that nothing lands in memory once the owner repairs; and the page is read again by
// whoever wants it next.

import { execFileSync } from "node:child_process";
import { mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SharedMemory } from "../../bindings/index.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { built } from "../support/io-methods.ts";
import { builds } from "../support/region.ts";
import { Remote } from "./commands.ts";

let directory = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "palloc-reads-"));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Reads from a pipe into shared memory, in a promise. */
const READER = `
  const { open, read } = require("node:fs");
  const { parentPort, workerData } = require("node:worker_threads");
  open(workerData.pipe, "r+", (error, file) => {
    if (error) throw error;
    read(file, workerData.bytes, 0, 1, null, () => {});
    parentPort.postMessage("reading");
  });
`;

describe("a read that is under way when its worker is terminated", () => {
  it("lands before the worker's 'exit'", async () => {
    const pipe = join(directory, "pipe");
    execFileSync("mkfifo", [pipe]);
    const bytes = new Uint8Array(new SharedArrayBuffer(1));
    const worker = new Worker(READER, { eval: true, workerData: { pipe, bytes } });
    await new Promise((resolve) => worker.once("message", resolve));
    let hasExited = false;
    const exited = new Promise<number>((resolve) => {
      worker.once("exit", () => {
        hasExited = true;
        resolve(bytes[0] ?? 0);
      });
    });
    void worker.terminate();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(hasExited).toBe(false);
    writeSync(openSync(pipe, "r+"), "x");
    expect(await exited).toBe("x".charCodeAt(0));
  });

  it.each(builds)("leaves no pin and no page that is not whole, %s build", async (_, checked) => {
    const shared = await SharedMemory.create({
      settings: { shared_buffers: "128kB", max_connections: 3 },
      storage: built(nodeFiles(directory)),
      checked,
    });
    const reader = await Remote.attached(shared.handle);
    const blocks = 40;
    try {
      const writer = await Remote.attached(shared.handle);
      await writer.call("create", "t", blocks);
      await writer.call("increment", "t", 1, 7, 1);
      await writer.call("checkpoint");
      for (let block = 1; block < blocks; block += 1) await writer.call("read", "t", block);
      for (let turn = 0; turn < 5; turn += 1) {
        const remote = turn === 0 ? reader : await Remote.attached(shared.handle);
        await remote.call("startReading", "t", blocks);
        await remote.terminate();
        expect(shared.backends().map(({ slot }) => slot)).toEqual([2]);
        expect(await writer.call("read", "t", 0)).toBe(7);
        expect(shared.usageCounts().reduce((sum, { pinned }) => sum + pinned, 0)).toBe(0);
      }
      await writer.terminate();
    } finally {
      await reader.terminate();
      await shared.close();
    }
  });
});
