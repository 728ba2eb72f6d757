/**
 * Kills a lock holder, and goes on.
 *
 * Two workers share a region. The first takes two locks and a page, changes half of the page, and
 * is terminated in the middle. The second waits for the locks; it gets one as it is, the other only
 * after this thread has put right what it guards, and finds the page as it was before.
 */

import { Worker } from "node:worker_threads";
import { SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import type { HolderMessage, HolderTask } from "./worker.ts";

/** Words of the segment: a sum, and its two parts. */
const SUM = 0;
const LEFT = 1;
const RIGHT = 2;

function start(task: HolderTask): [Worker, Promise<HolderMessage>] {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: task });
  const message = new Promise<HolderMessage>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  return [worker, message];
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const shared = await SharedMemory.create({
  settings: { shared_buffers: "256kB", max_connections: 4 },
  storage: memoryStorage(),
  segments: { account: 64 },
  locks: { counter: { onOwnerDeath: "release" }, account: { onOwnerDeath: "call" } },
});
const { words } = shared.segment("account");
words.set([10, 4, 6]);

shared.onBackendDeath(({ slot }) => say(`the backend in slot ${slot} is dead, its slot is free`));
shared.onLockOwnerDeath(({ lock }) => {
  const [before, after] = [words[SUM], (words[LEFT] ?? 0) + (words[RIGHT] ?? 0)];
  words[SUM] = after;
  say(`lock "${lock}": put right under it, the sum was ${before} and is ${after}`);
});

const [first, holds] = start({ handle: shared.handle, role: "holder" });
say(`worker 1: ${(await holds).said}`);
const [second, done] = start({ handle: shared.handle, role: "next" });
const began = shared.statistics().reads;
await new Promise((resolve) => setTimeout(resolve, 100));
await first.terminate();
say("worker 1 is terminated");
for (const line of (await done).said.split("\n")) say(`worker 2: ${line}`);
say(`pages read again from storage: ${shared.statistics().reads - began}`);
await new Promise((resolve) => second.once("exit", resolve));
say(`backends left: ${shared.backends().length}`);
await shared.close();
