/**
 * The job, without its command line: shared memory over a data directory, the load, and queries by
 * several backends. The main thread is the postmaster. It creates the region, starts and watches
 * the threads and combines their results in process memory of its own; it never touches a page.
 */

import {
  LimitExceededError,
  PallocError,
  ProcessMemory,
  type ResolvedSettings,
  SharedMemory,
} from "../../bindings/index.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import type { Group } from "./aggregate.ts";
import { holdingsOf } from "./leaks.ts";
import {
  type BackendAudit,
  type CsvPlan,
  type CsvSource,
  type ErrorReport,
  type LoadMessage,
  type LoadOutcome,
  type LoadProgress,
  type LoadRequest,
  type QueryMessage,
  RemoteError,
  reportOf,
} from "./messages.ts";
import { flightsPath } from "./parquet.ts";
import { finalAggregate, type Plan } from "./query.ts";
import { ParallelScan, SCAN_SEGMENT, SCAN_SEGMENT_BYTES } from "./scan.ts";
import { Thread } from "./threads.ts";

/** Backends that may be attached at once. */
export const MAX_CONNECTIONS = 8;

/** What a job is opened with. */
export interface JobOptions {
  /** Directory of the data files; made if missing. */
  readonly dataDirectory: string;
  /** `shared_buffers`, as text with its unit. */
  readonly sharedBuffers: string;
  /** `work_mem`, as text with its unit. */
  readonly workMem: string;
  /** Backends per query, 1 to {@link MAX_CONNECTIONS}. */
  readonly workers: number;
  /** Rows to load at most; tables of different sizes are different relations. */
  readonly maxRows: number;
  /** A CSV file to load and query instead of the flights. */
  readonly csv?: Omit<CsvSource, "kind" | "maxRows">;
}

/** How one backend fared in a query. */
export interface BackendReport {
  /** Its name in the report, such as `backend 1`. */
  readonly backend: string;
  readonly rows: number;
  readonly blocks: number;
  readonly groups: number;
  /** The context tree half-way, or when the query failed, as MemoryContextStats prints it. */
  readonly contexts: string;
}

/** A query that did not fit into its limit. */
export interface Refusal {
  /** Who met the limit first, such as `backend 1` or `the leader`. */
  readonly by: string;
  readonly error: ErrorReport;
  /** Its context tree at that moment. */
  readonly contexts: string;
}

/** What a backend, or the leader, held before and after a query: the two must be equal. */
export interface AuditReport extends BackendAudit {
  readonly of: string;
}

/** What a query did, whether it was refused or not. Other errors are thrown. */
export interface QueryOutcome {
  readonly seconds: number;
  readonly rows: number;
  /** All groups, largest first; empty when the query was refused. */
  readonly groups: readonly Group[];
  readonly backends: readonly BackendReport[];
  readonly refusal?: Refusal;
  readonly audits: readonly AuditReport[];
}

type QueryThread = Thread<QueryMessage>;

/** One backend's answer, with the context tree it posted on the way. */
interface Answer {
  readonly thread: QueryThread;
  readonly message: QueryMessage;
  readonly contexts: string;
}

/** An open job. Close it: that stops all threads and gives the directory back. */
export class FlightsJob {
  readonly options: JobOptions;
  readonly shared: SharedMemory;
  /** Process memory of the leader, which combines the backends' results. */
  readonly memory: ProcessMemory;
  #backends: QueryThread[] = [];
  #loader: Thread<LoadMessage> | undefined;
  /** Backends started so far; each has a number of its own. */
  #started = 0;
  #blocks = 0;
  #closing: Promise<void> | undefined;
  #relation: string;
  #csv: CsvPlan | undefined;

  private constructor(options: JobOptions, shared: SharedMemory) {
    this.options = options;
    this.shared = shared;
    this.#relation = Number.isFinite(options.maxRows) ? `flights_${options.maxRows}` : "flights";
    this.memory = ProcessMemory.createSync();
  }

  /**
   * Creates the shared memory over the data directory.
   *
   * @throws PallocError for a parameter out of range or a directory that cannot be used
   */
  static async open(options: JobOptions): Promise<FlightsJob> {
    const shared = await SharedMemory.create({
      settings: {
        shared_buffers: options.sharedBuffers,
        work_mem: options.workMem,
        max_connections: MAX_CONNECTIONS,
      },
      storage: nodeFiles(options.dataDirectory),
      segments: { [SCAN_SEGMENT]: SCAN_SEGMENT_BYTES },
    });
    return new FlightsJob(options, shared);
  }

  get settings(): ResolvedSettings {
    return this.shared.settings;
  }

  /** Name of the table; that of a CSV file is known after the load. */
  get relation(): string {
    return this.#relation;
  }

  /** What is known of a CSV file's table after the load; undefined for flights. */
  get csv(): CsvPlan | undefined {
    return this.#csv;
  }

  /** Whether a load is under way. */
  get loading(): boolean {
    return this.#loader !== undefined;
  }

  /** The query threads that are attached, for tests that end one. */
  get backends(): readonly QueryThread[] {
    return this.#backends;
  }

  /** Loads the table in a backend of its own, unless it is there and complete. */
  async load(onProgress: (progress: LoadProgress) => void): Promise<LoadOutcome> {
    const { relation, options } = this;
    const { csv, maxRows } = options;
    const request: LoadRequest = {
      handle: this.shared.handle,
      source:
        csv === undefined
          ? { kind: "flights", path: flightsPath(), relation, maxRows }
          : { kind: "csv", ...csv, maxRows },
    };
    const loader = new Thread<LoadMessage>("the loader", "./load-worker.js", request);
    this.#loader = loader;
    const answer = await loader.request(undefined, (message) => {
      if (message.kind === "progress") onProgress(message.progress);
      return message.kind !== "progress";
    });
    await loader.ended;
    this.#loader = undefined;
    if (answer.kind !== "done") throw failure(answer);
    this.#relation = answer.table.relation;
    this.#csv = answer.table.csv;
    // A load that was interrupted is unknown to the last checkpoint: its files went at the start.
    const interrupted = this.shared.recovery.relationsRemoved > 0;
    return { ...answer.value, restarted: answer.value.loaded && interrupted };
  }

  /**
   * Runs `plan` over the table with as many backends as the options say; starts those that are
   * missing.
   *
   * @returns the groups, or why the query was refused; a refusal leaves everything usable
   * @throws PallocError 55000 when a backend's thread ends while it scans, XX001 for a damaged page
   */
  async query(plan: QueryPlan): Promise<QueryOutcome> {
    await this.#startBackends();
    const started = performance.now();
    const csv = this.#csv === undefined ? {} : { csv: this.#csv };
    const whole: Plan = { ...plan, relation: this.#relation, ...csv };
    const answers = await this.#scan(whole);
    const before = holdingsOf(this.memory, 0);
    const refusal = refusalOf(answers);
    const combined =
      refusal === undefined ? this.#combine(whole, answers) : { groups: [], refusal };
    const seconds = (performance.now() - started) / 1000;
    const backends = answers.map(reportOfBackend);
    return {
      seconds,
      rows: backends.reduce((sum, { rows }) => sum + rows, 0),
      backends,
      audits: [
        ...answers.flatMap(auditOf),
        { of: LEADER, before, after: holdingsOf(this.memory, 0) },
      ],
      ...combined,
    };
  }

  /** Ends the backends in order. Returns what they left in shared memory, in words. */
  async detach(): Promise<string[]> {
    const backends = this.#backends;
    this.#backends = [];
    for (const { worker } of backends) worker.postMessage({ kind: "detach" });
    await Promise.all(backends.map(({ ended }) => ended));
    return this.shared.backends().map((row) => `backend slot ${row.slot} is still taken`);
  }

  /** Stops every thread wherever it is, and gives the directory back. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const threads = [...this.#backends, ...(this.#loader === undefined ? [] : [this.#loader])];
    await Promise.all(threads.map((thread) => thread.terminate()));
    await this.shared.close();
    this.memory.dispose();
  }

  async #startBackends(): Promise<void> {
    this.#backends = this.#backends.filter(({ alive }) => alive);
    const { handle } = this.shared;
    const missing = this.options.workers - this.#backends.length;
    const started = Array.from({ length: missing }, () => {
      this.#started += 1;
      const workerData = { handle, relation: this.relation };
      return new Thread<QueryMessage>(`backend ${this.#started}`, "./query-worker.js", workerData);
    });
    this.#backends.push(...started);
    const answers = await Promise.all(
      started.map((thread) => thread.request(undefined, () => true)),
    );
    for (const answer of answers) {
      if (answer.kind !== "attached") throw failure(answer);
      this.#blocks = answer.blocks;
    }
  }

  /** Lets every backend scan; waits for all of them, also when one fails. */
  async #scan(plan: Plan): Promise<Answer[]> {
    const blocks = this.#blocks;
    const scan = new ParallelScan(this.shared.segment(SCAN_SEGMENT).words, blocks);
    scan.restart();
    const requests = this.#backends.map(async (thread): Promise<Answer> => {
      let contexts = "";
      const message = await thread.request({ kind: "query", plan, blocks }, (posted) => {
        if (posted.kind === "contexts") contexts = posted.text;
        return posted.kind !== "contexts";
      });
      return { thread, message, contexts };
    });
    for (const request of requests) request.catch(() => scan.cancel());
    const settled = await Promise.allSettled(requests);
    const answers: Answer[] = [];
    for (const outcome of settled) {
      if (outcome.status === "rejected") throw outcome.reason;
      answers.push(outcome.value);
    }
    return answers;
  }

  /** The final phase: one aggregation over the backends' groups, under the same limit. */
  #combine(plan: Plan, answers: readonly Answer[]): { groups: Group[]; refusal?: Refusal } {
    const executor = this.memory.top.createChild("ExecutorState");
    try {
      const tuple = executor.createChild("ExprContext");
      const aggregate = finalAggregate(executor, plan);
      for (const { message } of answers) {
        if (message.kind === "done") aggregate.merge(message.value.partial.packed, tuple);
      }
      const groups: Group[] = [];
      aggregate.forEachGroup((group) => groups.push(group));
      return { groups: groups.sort(largestFirst) };
    } catch (error) {
      if (!(error instanceof LimitExceededError)) throw error;
      const contexts = this.memory.statsText();
      return { groups: [], refusal: { by: LEADER, error: reportOf(error), contexts } };
    } finally {
      executor.delete();
    }
  }
}

/** A plan without the table, which the job knows. */
export type QueryPlan = Omit<Plan, "relation" | "csv">;

const LEADER = "the leader";
const LIMIT_EXCEEDED = "53400";

/** By count, then by key, so that the order is the same in every run. */
function largestFirst(left: Group, right: Group): number {
  return right.count - left.count || Buffer.compare(left.key, right.key);
}

/** The first refusal among the answers, if any; throws what else went wrong. */
function refusalOf(answers: readonly Answer[]): Refusal | undefined {
  let refusal: Refusal | undefined;
  for (const { thread, message, contexts } of answers) {
    if (message.kind !== "failed") continue;
    if (message.error.code !== LIMIT_EXCEEDED) throw failure(message);
    refusal ??= { by: thread.name, error: message.error, contexts };
  }
  return refusal;
}

function failure(message: QueryMessage | LoadMessage): Error {
  if (message.kind === "failed") return new RemoteError(message.error);
  return new PallocError("XX000", `unexpected message "${message.kind}" from a worker thread`);
}

function auditOf({ thread, message }: Answer): AuditReport[] {
  if (message.kind === "done") return [{ of: thread.name, ...message.value.audit }];
  const stopped = message.kind === "failed" || message.kind === "cancelled";
  return stopped && message.audit !== undefined ? [{ of: thread.name, ...message.audit }] : [];
}

function reportOfBackend({ thread, message, contexts }: Answer): BackendReport {
  const none = { rows: 0, blocks: 0, groups: 0 };
  const { rows, blocks, groups } = message.kind === "done" ? message.value.partial : none;
  return { backend: thread.name, rows, blocks, groups, contexts };
}
