/**
 * The backends that scan for the leader: a thread each, started when they are first needed and kept
 * for the next query. The leader gives all of them the same question and takes their groups as they
 * come; when one fails, the others are told to stop, and all are waited for.
 *
 * PostgreSQL: src/backend/executor/nodeGather.c; src/backend/access/transam/parallel.c,
 * LaunchParallelWorkers, SerializeGUCState
 */

import type { SharedMemory } from "../../bindings/index.ts";
import { FLOW_SEGMENT, GroupFlow } from "./flow.ts";
import { type QueryMessage, type QueryRequest, RemoteError } from "./messages.ts";
import { ParallelScan, SCAN_SEGMENT } from "./scan.ts";
import type { Sight } from "./sight.ts";
import { Thread, unexpected } from "./threads.ts";

/** A backend's thread. */
export type QueryThread = Thread<QueryMessage>;

/** One backend's answer, with what it showed of itself on the way. */
export interface Answer {
  readonly thread: QueryThread;
  readonly message: QueryMessage;
  readonly sight: Sight | undefined;
}

/** What all of them are asked. */
export type Request = Omit<QueryRequest & { readonly kind: "query" }, "kind" | "backend">;

/** The worker threads of one job. */
export class Workers {
  readonly #shared: SharedMemory;
  readonly #count: number;
  #threads: QueryThread[] = [];
  /** Started so far; each has a number of its own. */
  #started = 0;

  /** @param count - how many work on a query */
  constructor(shared: SharedMemory, count: number) {
    this.#shared = shared;
    this.#count = count;
  }

  /** Those that are connected. */
  get threads(): readonly QueryThread[] {
    return this.#threads;
  }

  /**
   * Starts those that are missing, and waits until they have connected.
   *
   * @param relation - what they are going to scan
   */
  async start(relation: string): Promise<void> {
    this.#threads = this.#threads.filter(({ alive }) => alive);
    const missing = this.#count - this.#threads.length;
    const started = Array.from({ length: missing }, () => {
      this.#started += 1;
      const name = `backend ${this.#started}`;
      const workerData = { handle: this.#shared.handle, name, relation };
      return new Thread<QueryMessage>(name, "./query-worker.js", workerData);
    });
    this.#threads.push(...started);
    const answers = await Promise.all(
      started.map((thread) => thread.request(undefined, () => true)),
    );
    for (const answer of answers) if (answer.kind !== "connected") throw failure(answer);
  }

  /**
   * Has every backend scan its share of the relation.
   *
   * @param blocks - length of the relation
   * @param take - gets their groups; what it throws ends the scan
   */
  async scan(
    request: Request,
    blocks: number,
    take: (packed: Uint8Array) => void,
  ): Promise<Answer[]> {
    const scan = new ParallelScan(this.#shared.segment(SCAN_SEGMENT).words);
    scan.restart(blocks);
    let failed: { readonly error: unknown } | undefined;
    const takeOrFail = (packed: Uint8Array): void => {
      try {
        if (failed === undefined) take(packed);
      } catch (error) {
        failed = { error };
        scan.cancel();
      }
    };
    const answers = this.#threads.map((thread, backend) =>
      this.#ask(thread, { kind: "query", ...request, backend }, takeOrFail),
    );
    for (const answer of answers) answer.catch(() => scan.cancel());
    const settled = await Promise.allSettled(answers);
    if (failed !== undefined) throw failed.error;
    return settled.map(answerOf);
  }

  async #ask(
    thread: QueryThread,
    request: QueryRequest & { readonly kind: "query" },
    take: (packed: Uint8Array) => void,
  ): Promise<Answer> {
    const flow = new GroupFlow(this.#shared.segment(FLOW_SEGMENT).words, request.backend);
    flow.restart();
    let sight: Sight | undefined;
    const message = await thread.request(request, (posted) => {
      if (posted.kind === "sight") sight = posted.sight;
      else if (posted.kind === "groups") {
        take(posted.packed);
        // Not at once: what is sent meanwhile would be received in this turn of the event loop.
        setImmediate(() => flow.taken());
      } else return true;
      return false;
    });
    return { thread, message, sight };
  }

  /** Has all of them disconnect, and waits until their threads have ended. */
  async disconnect(): Promise<void> {
    const threads = this.#threads;
    this.#threads = [];
    for (const { worker } of threads) worker.postMessage({ kind: "disconnect" });
    await Promise.all(threads.map(({ ended }) => ended));
  }

  /** Stops all of them wherever they are. */
  async terminate(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }
}

/** @throws what a backend failed with */
function answerOf(settled: PromiseSettledResult<Answer>): Answer {
  if (settled.status === "rejected") throw settled.reason;
  const { message } = settled.value;
  if (message.kind === "failed") throw failure(message);
  return settled.value;
}

function failure(message: QueryMessage): Error {
  return message.kind === "failed" ? new RemoteError(message.error) : unexpected(message);
}
