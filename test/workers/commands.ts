// What a test can tell a worker to do, and the side of it that runs in the test.

import { Worker } from "node:worker_threads";
import type { SharedMemoryHandle } from "../../bindings/index.ts";

/** Commands of backend.worker.ts. */
export interface Commands {
  /** @param other - handle of a region other than the one the worker was started for */
  attach(other?: SharedMemoryHandle): number;
  detach(): void;
  pin(relation: string, block: number): number;
  unpin(buffer: number): void;
  lockShare(buffer: number): void;
  lockExclusive(buffer: number): void;
  unlock(buffer: number): void;
  beginChange(buffer: number): void;
  scribble(buffer: number): void;
  create(relation: string, blocks: number): number;
  read(relation: string, block: number): number;
  increment(relation: string, blocks: number, times: number, seed: number): number;
  sum(relation: string, blocks: number): number;
  pinTogether(relation: string, block: number, others: number): number;
  checkpoint(): number;
  blocks(relation: string): number;
  extend(relation: string, blocks: number): number;
  truncate(relation: string, blocks: number): void;
  drop(relation: string): void;
  /** Makes a temporary file and a temporary relation, of so many blocks each. */
  spill(blocks: number): void;
  flush(relation: string): void;
  startReading(relation: string, blocks: number): void;
  /** @param begun - a word that becomes 1 when it has begun */
  compute(milliseconds: number, begun: Int32Array): void;
  allocate(bytes: number): number;
  free(chunk: number): void;
  exit(code: number): void;
  throwUncaught(): void;
  attachInChild(): number | Promise<number>;
}

/** A message to a worker. */
export interface Call {
  readonly id: number;
  readonly command: keyof Commands;
  readonly args: readonly unknown[];
}

/** A worker's answer to one. */
export interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly code: string | undefined; readonly message: string };
}

/** A worker with a backend, at the other end of messages. */
export class Remote {
  readonly worker: Worker;
  readonly exited: Promise<unknown>;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #calls = 0;

  constructor(handle: SharedMemoryHandle) {
    const url = new URL("../../dist/test/workers/backend.worker.js", import.meta.url);
    this.worker = new Worker(url, { workerData: { handle } });
    this.exited = new Promise((resolve) => this.worker.once("exit", resolve));
    this.worker.on("message", (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    // An uncaught error ends the worker; tests that provoke one look at the exit.
    this.worker.on("error", () => {});
  }

  /** Starts a worker and attaches it. */
  static async attached(handle: SharedMemoryHandle): Promise<Remote> {
    const remote = new Remote(handle);
    await remote.call("attach");
    return remote;
  }

  /** Runs a command; rejects with the worker's error. */
  call<Name extends keyof Commands>(
    command: Name,
    ...args: Parameters<Commands[Name]>
  ): Promise<Awaited<ReturnType<Commands[Name]>>> {
    const id = this.#calls;
    this.#calls += 1;
    this.worker.postMessage({ id, command, args } satisfies Call);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ value, error }) => {
        if (error === undefined) resolve(value as Awaited<ReturnType<Commands[Name]>>);
        else reject(Object.assign(new Error(error.message), { code: error.code }));
      });
    });
  }

  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.exited;
  }
}
