// One data directory, one owner: in one thread, in two threads of a process, in two processes; and
// that the claim of an owner that died is free by itself, with nothing cleaned up by anybody.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { nodeFiles, openStorage } from "../../bindings/storage/node-fs.ts";

const root = mkdtempSync(join(tmpdir(), "palloc-claims-"));
const claimer = new URL("./claimer.mjs", import.meta.url);
const module = new URL("../../dist/bindings/storage/node-fs.js", import.meta.url).href;
const started: (ChildProcess | Worker)[] = [];
let directories = 0;

afterEach(async () => {
  for (const each of started.splice(0)) {
    if (each instanceof Worker) await each.terminate();
    else each.kill("SIGKILL");
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function newDirectory(): string {
  return join(root, `data${directories++}`);
}

async function claim(directory: string): Promise<() => void> {
  const release = await nodeFiles(directory).claim?.();
  if (release === undefined) throw new Error("files have no claim");
  return release;
}

function refused(directory: string): unknown {
  return expect.objectContaining({
    name: "StorageError",
    code: "55006",
    message: `data directory "${directory}" is in use by another process or thread`,
    target: directory,
    hint: "Wait until that one has ended, or use another directory.",
  });
}

/** Starts a process that claims the directory. @returns it, and what it says */
async function processOn(directory: string): Promise<[ChildProcess, string]> {
  const path = fileURLToPath(claimer);
  const child = spawn(process.execPath, [path, module, directory], { stdio: "pipe" });
  started.push(child);
  const [text] = await once(child.stdout, "data");
  return [child, String(text).trim()];
}

async function threadOn(directory: string): Promise<[Worker, string]> {
  const worker = new Worker(claimer, { workerData: { module, directory } });
  started.push(worker);
  const [text] = await once(worker, "message");
  return [worker, text];
}

describe("a data directory", () => {
  test("has one owner in a thread, whatever path leads to it, until it is given back", async () => {
    const directory = newDirectory();
    const release = await claim(directory);
    await expect(claim(directory)).rejects.toEqual(refused(directory));
    const other = openStorage(nodeFiles(directory).handle);
    await expect(other.claim?.()).rejects.toEqual(refused(directory));
    symlinkSync(directory, `${directory}-link`);
    await expect(claim(`${directory}-link`)).rejects.toEqual(refused(`${directory}-link`));
    (await claim(newDirectory()))();
    release();
    release();
    const again = await claim(directory);
    release();
    await expect(claim(directory)).rejects.toEqual(refused(directory));
    again();
  });

  test("has one owner among many that ask at once", async () => {
    const directory = newDirectory();
    const asked = await Promise.allSettled(Array.from({ length: 20 }, () => claim(directory)));
    const granted = asked.filter((each) => each.status === "fulfilled");
    expect(granted).toHaveLength(1);
    granted[0]?.value();
  });

  test("is refused to a second process, and free once the first one is killed", async () => {
    const directory = newDirectory();
    const [first, said] = await processOn(directory);
    expect(said).toBe("claimed");
    const [, second] = await processOn(directory);
    expect(second).toMatch(/^55006: data directory ".*" is in use by another process or thread$/);
    await expect(claim(directory)).rejects.toEqual(refused(directory));
    first.kill("SIGKILL");
    await once(first, "exit");
    (await claim(directory))();
    expect(readdirSync(directory)).toEqual(["base"]);
  });

  test("is refused to a second thread, and free once the first one is terminated", async () => {
    const directory = newDirectory();
    const [first, said] = await threadOn(directory);
    expect(said).toBe("claimed");
    const [, second] = await threadOn(directory);
    expect(second).toMatch(/^55006: /);
    await expect(claim(directory)).rejects.toEqual(refused(directory));
    await first.terminate();
    const release = await claim(directory);
    expect((await threadOn(directory))[1]).toMatch(/^55006: /);
    release();
    expect((await threadOn(directory))[1]).toBe("claimed");
  });

  test("that is gone cannot be claimed, and the error names it", async () => {
    const directory = newDirectory();
    const storage = nodeFiles(directory);
    rmSync(directory, { recursive: true });
    await expect(storage.claim?.()).rejects.toEqual(
      expect.objectContaining({
        code: "58P01",
        message: `could not claim data directory "${directory}": No such file or directory`,
      }),
    );
  });
});

test("memory storage has no claim: its handle is the claim", () => {
  expect(memoryStorage({ maxBytes: 8192 }).claim).toBeUndefined();
});
