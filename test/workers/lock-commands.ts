// What a test can tell a worker to do with the user's locks, and the side of it in the test.

import { Worker } from "node:worker_threads";
import type { LightweightLockMode, SharedMemoryHandle } from "../../bindings/index.ts";

/** Commands of locks.worker.ts. */
export interface LockCommands {
  /** @returns the slot */
  attach(handle?: SharedMemoryHandle): number;
  detach(): void;
  acquire(lock: string, mode?: LightweightLockMode): void;
  tryAcquire(lock: string, mode?: LightweightLockMode): boolean;
  /** @returns whether the lock was taken */
  acquireOrWait(lock: string): boolean;
  release(lock: string): void;
  /** Adds one to a word of the segment under a lock, by a load and a store, `times` times. */
  count(lock: string, times: number): void;
  /** Two words of the segment are kept equal under the lock; looks at them in share mode. */
  compare(lock: string, times: number): number;
  /** Waits until a word of the segment is not 0, and takes one from it. @returns its turns */
  consume(condition: string, lock: string, items: number): number;
  produce(condition: string, lock: string, items: number, all: boolean): void;
  /** Makes a relation of one page that holds a number, and takes a checkpoint. */
  create(relation: string, value: number): void;
  change(relation: string, value: number): void;
  read(relation: string): number;
  checkpoint(): void;
  waitLatch(): boolean;
  setLatch(slot: number): void;
  /** Writes to storage, waiting in the middle until the second word of the segment is not 0. */
  slowWrite(relation: string): string;
}

export interface LockCall {
  readonly id: number;
  readonly command: keyof LockCommands;
  readonly args: readonly unknown[];
}

export interface LockAnswer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly code: string | undefined; readonly message: string };
}

/** An error that a worker met. */
export class WorkerError extends Error {
  readonly code: string | undefined;

  constructor(code: string | undefined, message: string) {
    super(message);
    this.code = code;
  }
}

/** A worker with a backend. */
export class LockWorker {
  readonly worker: Worker;
  readonly exited: Promise<unknown>;
  readonly #waiting = new Map<number, (answer: LockAnswer) => void>();
  #calls = 0;

  constructor(handle: SharedMemoryHandle) {
    const url = new URL("../../dist/test/workers/locks.worker.js", import.meta.url);
    this.worker = new Worker(url, { workerData: { handle } });
    this.exited = new Promise((resolve) => this.worker.once("exit", resolve));
    this.worker.on("message", (answer: LockAnswer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  static async attached(handle: SharedMemoryHandle): Promise<LockWorker> {
    const worker = new LockWorker(handle);
    await worker.call("attach");
    return worker;
  }

  call<Name extends keyof LockCommands>(
    command: Name,
    ...args: Parameters<LockCommands[Name]>
  ): Promise<ReturnType<LockCommands[Name]>> {
    this.#calls += 1;
    const call: LockCall = { id: this.#calls, command, args };
    this.worker.postMessage(call);
    return new Promise((resolve, reject) => {
      this.#waiting.set(call.id, ({ value, error }) => {
        if (error === undefined) resolve(value as ReturnType<LockCommands[Name]>);
        else reject(new WorkerError(error.code, error.message));
      });
    });
  }

  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.exited;
  }
}
