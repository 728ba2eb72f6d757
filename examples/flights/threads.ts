/**
 * A backend's worker thread as the main thread sees it: one request at a time, and an answer or an
 * error for each, also when the thread ends before it has answered.
 */

import { Worker } from "node:worker_threads";
import { PallocError } from "../../bindings/index.ts";

/** What threads post: anything with a `kind`. */
interface Message {
  readonly kind: string;
}

/** An answer that nobody has asked for. */
export function unexpected({ kind }: Message): PallocError {
  return new PallocError("XX000", `unexpected message "${kind}" from a worker thread`);
}

/** Takes each message; true when it was the answer waited for. */
type Listener<Posted> = (message: Posted) => boolean;

interface Pending<Posted extends Message> {
  readonly listener: Listener<Posted>;
  readonly resolve: (message: Posted) => void;
  readonly reject: (error: Error) => void;
}

/** A worker thread that posts messages of type `Posted`. */
export class Thread<Posted extends Message> {
  /** What the thread is called in messages, such as `backend 1`. */
  readonly name: string;
  readonly worker: Worker;
  readonly threadId: number;
  /** Settles when the thread has ended, with its exit code. */
  readonly ended: Promise<number>;
  #pending: Pending<Posted> | undefined;
  #cause: unknown;
  #alive = true;

  /** @param file - worker file beside this one, by its built name */
  constructor(name: string, file: string, workerData: unknown) {
    this.name = name;
    this.worker = new Worker(new URL(file, import.meta.url), { workerData });
    this.threadId = this.worker.threadId;
    this.worker.on("message", (message: Posted) => this.#receive(message));
    this.worker.on("error", (error) => {
      this.#cause = error;
    });
    this.ended = new Promise((resolve) => {
      this.worker.on("exit", (exitCode) => {
        this.#alive = false;
        this.#fail(this.#death(exitCode));
        resolve(exitCode);
      });
    });
  }

  /** False once the thread has ended. */
  get alive(): boolean {
    return this.#alive;
  }

  /**
   * Posts a request, if one is given, and waits for its answer.
   *
   * @param isAnswer - sees each message; true for the one that ends the wait
   * @throws PallocError 55000 when the thread ends first
   */
  request(request: unknown, isAnswer: Listener<Posted>): Promise<Posted> {
    return new Promise((resolve, reject) => {
      if (!this.#alive) {
        reject(this.#death(undefined));
        return;
      }
      this.#pending = { listener: isAnswer, resolve, reject };
      if (request !== undefined) this.worker.postMessage(request);
    });
  }

  /** Stops the thread wherever it is; settles when it has stopped. */
  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.ended;
  }

  #receive(message: Posted): void {
    const pending = this.#pending;
    if (pending === undefined || !pending.listener(message)) return;
    this.#pending = undefined;
    pending.resolve(message);
  }

  #fail(error: Error): void {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(error);
  }

  #death(exitCode: number | undefined): PallocError {
    const cause = this.#cause;
    const how = exitCode === undefined ? "" : ` with exit code ${exitCode}`;
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    return new PallocError("55000", "lost connection to parallel worker", {
      detail: `The thread of ${this.name} (thread ${this.threadId}) ended${how}${why}.`,
      ...(cause === undefined ? {} : { cause }),
    });
  }
}
