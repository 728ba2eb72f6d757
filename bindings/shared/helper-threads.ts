/**
 * Helper threads: workers that the owner of a region starts beside those of the user, to write
 * behind them or to read for them. Node only; in a browser the user makes the worker.
 *
 *   owner    start ─► Worker(entry, {handle, data})     close ─► status word, wake, wait
 *   helper            attach … "ready" … work … "error" …         RegionGoneError → detach, end
 *
 * A helper attaches like any backend, so that its end is noticed and what it held is given back;
 * its slots are beside max_connections. One that ends while the region runs is told of and started
 * again a second later; with its slot repaired nothing is lost. Where it does not even get ready,
 * at its first start, `start` fails and nothing is tried again. Helpers do not keep the process
 * alive.
 *
 * PostgreSQL: src/backend/postmaster/postmaster.c, StartChildProcess, process_pm_child_exit
 */

import { REGION_STATUS_OFFSET, STATUS_RUNNING } from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { SharedMemoryHandle } from "./handle.ts";
import { nodeModule, warnOnNode } from "./threads.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** Time from the end of a helper to its next start. */
const RESTART_MS = 1000;
/** How long a helper may take to end by itself when the region closes. */
const END_MS = 10_000;

/** A helper has met an error that it survived, or has ended by one. */
export interface HelperError {
  /** Which helper: `"writer"` or `"ioworkers"`. */
  readonly helper: string;
  /** What went wrong; the `code` is that of the error in the helper. */
  readonly error: PallocError;
  /** Whether the thread has ended; it is started again. */
  readonly ended: boolean;
}

/** Where a script lies; a `URL` fits. */
export interface ScriptAddress {
  readonly href: string;
}

/** A helper to be started. @internal */
export interface HelperPlan {
  readonly helper: string;
  /** Its script: beside this module's folder, or an address of its own. */
  readonly entry: string | ScriptAddress;
  /** Reaches the helper with the handle; can be posted. */
  readonly data?: unknown;
}

/** What a helper gets as `workerData`. @internal */
export interface HelperData {
  readonly palloc: {
    readonly helper: string;
    readonly handle: SharedMemoryHandle;
    readonly data: unknown;
  };
}

/** What a helper says. Its end says the rest. @internal */
export type HelperMessage =
  | { readonly palloc: "ready" }
  | { readonly palloc: "error"; readonly code: string; readonly message: string };

/** A worker as far as its owner needs it. */
interface HelperThread {
  readonly threadId: number;
  on(event: "message", listener: (message: HelperMessage) => void): unknown;
  on(event: "error", listener: (error: unknown) => void): unknown;
  once(event: "exit", listener: (exitCode: number) => void): unknown;
  ref(): void;
  unref(): void;
  terminate(): Promise<number>;
}

interface NodeWorkers {
  readonly Worker: new (
    url: URL,
    options: { readonly workerData: HelperData; readonly name: string },
  ) => HelperThread;
  readonly parentPort: { postMessage(message: HelperMessage): void } | null;
  readonly workerData: unknown;
}

interface Running {
  readonly thread: HelperThread;
  readonly exited: Promise<void>;
}

/** The helper threads of one region. @internal */
export class Helpers {
  #handle: SharedMemoryHandle;
  readonly #watch: (worker: HelperThread) => void;
  readonly #started = new Set<string>();
  /** Those that were started and got ready; what a new region begins with. */
  readonly #plans: HelperPlan[] = [];
  readonly #running = new Set<Running>();
  readonly #restarts = new Set<unknown>();
  readonly #listeners = new Set<(error: HelperError) => void>();
  #closed = false;

  /** @param watch - has the end of a worker noticed */
  constructor(handle: SharedMemoryHandle, watch: (worker: HelperThread) => void) {
    this.#handle = handle;
    this.#watch = watch;
  }

  /** How many helper threads there are. */
  get count(): number {
    return this.#running.size;
  }

  /** Calls `listener` with what goes wrong in helpers. @returns takes that back */
  onError(listener: (error: HelperError) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** As {@link start}, for a helper of which one is enough. @throws 55000 if there is one */
  async startOnce(plan: HelperPlan): Promise<void> {
    const { helper } = plan;
    if (this.#started.has(helper)) {
      throw new PallocError("55000", `helper "${helper}" is running already`);
    }
    this.#started.add(helper);
    try {
      await this.start(plan);
    } catch (error) {
      this.#started.delete(helper);
      throw error;
    }
  }

  /** Starts a thread and waits until it is attached. @throws what kept it from that */
  async start(plan: HelperPlan): Promise<void> {
    await this.#launch(plan);
    this.#plans.push(plan);
  }

  async #launch(plan: HelperPlan): Promise<void> {
    const workers = nodeModule<NodeWorkers>("node:worker_threads");
    if (workers === undefined) {
      throw new PallocError("0A000", "helper threads are started by palloc on Node only", {
        hint: "In a browser make the worker, and import the helper's module in it.",
      });
    }
    const { helper, data } = plan;
    const { entry } = plan;
    const url = new URL(typeof entry === "string" ? entry : entry.href, import.meta.url);
    const workerData: HelperData = { palloc: { helper, handle: this.#handle, data } };
    const thread = new workers.Worker(url, { workerData, name: `palloc ${helper}` });
    this.#watch(thread);
    await this.#attended(plan, thread);
    thread.unref();
  }

  /** Ends all helpers; the region's status says already that it is over. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#restarts) clearTimeout(timer as number);
    this.#restarts.clear();
    await Promise.all([...this.#running].map(end));
  }

  /** After {@link close}: starts all that ran, for a new region. */
  async startAgain(handle: SharedMemoryHandle): Promise<void> {
    this.#handle = handle;
    this.#closed = false;
    await Promise.all(this.#plans.map((plan) => this.#launch(plan)));
  }

  /** Listens to a thread from its start to its end; resolves when it is ready. */
  #attended(plan: HelperPlan, thread: HelperThread): Promise<void> {
    return new Promise((resolve, reject) => {
      let ready = false;
      let failure = new PallocError("57P02", `helper "${plan.helper}" ended unexpectedly`);
      const exited = new Promise<void>((gone) => thread.once("exit", () => gone()));
      const running: Running = { thread, exited };
      this.#running.add(running);
      thread.on("message", (message) => {
        if (message.palloc === "ready") {
          ready = true;
          resolve();
        } else if (message.palloc === "error") {
          const error = new PallocError(message.code, message.message);
          if (ready) this.#tell({ helper: plan.helper, error, ended: false });
          else failure = error;
        }
      });
      thread.on("error", (error) => {
        failure = asPallocError(error);
      });
      void exited.then(() => {
        this.#running.delete(running);
        if (!ready) reject(failure);
        else this.#ended(plan, failure);
      });
    });
  }

  /** A helper that was at work has ended. */
  #ended(plan: HelperPlan, error: PallocError): void {
    if (this.#closed || !this.#isRunning()) return;
    this.#tell({ helper: plan.helper, error, ended: true });
    this.#startLater(plan);
  }

  #startLater(plan: HelperPlan): void {
    const timer: unknown = setTimeout(() => {
      this.#restarts.delete(timer);
      if (!this.#isRunning()) return;
      this.#launch(plan).catch((error: unknown) => this.#ended(plan, asPallocError(error)));
    }, RESTART_MS);
    (timer as { unref?(): void }).unref?.();
    this.#restarts.add(timer);
  }

  #isRunning(): boolean {
    const words = new Int32Array(this.#handle.memory.buffer);
    return Atomics.load(words, REGION_STATUS_OFFSET / WORD_BYTES) === STATUS_RUNNING;
  }

  #tell(error: HelperError): void {
    if (this.#listeners.size === 0) {
      warnOnNode(`helper "${error.helper}": ${error.error.code} ${error.error.message}`);
    }
    for (const listener of this.#listeners) listener(error);
  }
}

/** Waits for a helper's end, and makes it end if it does not. */
async function end({ thread, exited }: Running): Promise<void> {
  thread.ref();
  const timer = setTimeout(() => void thread.terminate(), END_MS);
  await exited;
  clearTimeout(timer);
}

/** The error with its SQLSTATE; XX000 for what has none. */
function asPallocError(error: unknown): PallocError {
  if (error instanceof PallocError) return error;
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  return new PallocError(typeof code === "string" ? code : "XX000", String(message ?? error), {
    cause: error,
  });
}

// ── In the helper ────────────────────────────────────────────────────────────────────────────────

/** The helper's end of it. @internal */
export interface HelperSide {
  readonly handle: SharedMemoryHandle;
  readonly data: unknown;
  /** It is attached and at work. */
  ready(): void;
  /** It has met an error, and goes on or ends; the owner's listeners hear of it. */
  failed(error: unknown): void;
}

/** What this thread was started for, if it was started as that helper. @internal */
export function helperSide(helper: string): HelperSide | undefined {
  const workers = nodeModule<NodeWorkers>("node:worker_threads");
  const origin = (workers?.workerData as Partial<HelperData> | null | undefined)?.palloc;
  const port = workers?.parentPort;
  if (origin?.helper !== helper || port == null) return undefined;
  return {
    handle: origin.handle,
    data: origin.data,
    ready: () => port.postMessage({ palloc: "ready" }),
    failed: (error) => {
      const { code, message } = asPallocError(error);
      port.postMessage({ palloc: "error", code, message });
    },
  };
}
