/**
 * Both workers of the example: the one that holds, and is ended, and the one that comes next.
 */

import { parentPort, workerData } from "node:worker_threads";
import { Backend, type SharedMemoryHandle } from "../../bindings/index.ts";

/** What a worker is started with. */
export interface HolderTask {
  readonly handle: SharedMemoryHandle;
  readonly role: "holder" | "next";
}

/** What it says. */
export interface HolderMessage {
  readonly said: string;
}

const RELATION = "accounts";
const VALUE_AT = 4096;
const HALF = 2048;

function tell(said: string): void {
  const message: HolderMessage = { said };
  parentPort?.postMessage(message);
}

/** Takes everything, changes half of it, and sleeps until it is ended. */
function hold(backend: Backend): void {
  const { buffers } = backend;
  const relation = backend.createRelationSync(RELATION);
  buffers.extendSync(relation, 1);
  buffers.changeSync(relation, 0, (bytes) => bytes.fill(1, VALUE_AT, VALUE_AT + 2 * HALF));
  backend.lwlock("counter").acquireSync();
  backend.lwlock("account").acquireSync();
  const { words } = backend.segment("account");
  words[1] = (words[1] ?? 0) + 5;
  const buffer = buffers.pin(relation.id, 0);
  buffers.lockExclusive(buffer);
  buffers.beginChange(buffer);
  buffers.bytes(buffer).fill(2, VALUE_AT, VALUE_AT + HALF);
  tell("holds two locks, half a sum, and a pinned page half changed");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

/** Wants all of it. */
function comeNext(backend: Backend): void {
  const lines: string[] = [];
  const counter = backend.lwlock("counter").acquireSync();
  lines.push('has lock "counter"');
  const account = backend.lwlock("account").acquireSync();
  const [sum, left = 0, right = 0] = backend.segment("account").words;
  lines.push(`has lock "account": ${left} + ${right} = ${sum}`);
  {
    using page = backend.buffers.readSync(backend.openRelationSync(RELATION), 0);
    const values = new Set(page.bytes.subarray(VALUE_AT, VALUE_AT + 2 * HALF));
    lines.push(`reads the page as it was before: every byte is ${[...values].join(" or ")}`);
  }
  account[Symbol.dispose]();
  counter[Symbol.dispose]();
  backend.detach();
  tell(lines.join("\n"));
}

const { handle, role } = workerData as HolderTask;
const backend = Backend.attachSync(handle);
if (role === "holder") hold(backend);
else comeNext(backend);
