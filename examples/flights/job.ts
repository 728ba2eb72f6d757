/**
 * The job, without its command line: shared memory over a data directory, the load, and queries by
 * several backends. The main thread is the postmaster and the leader. It creates the region, starts
 * and watches the threads, and as a backend of its own combines their results in process memory and
 * temporary files; it never touches a page.
 */

import {
  Backend,
  PallocError,
  type ProcessMemory,
  type ResolvedSettings,
  SharedMemory,
} from "../../bindings/index.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import type { Group, HashAggregate, HashUse } from "./aggregate.ts";
import { FLOW_BYTES, FLOW_SEGMENT, GroupFlow } from "./flow.ts";
import { holdingsOf } from "./leaks.ts";
import {
  type BackendAudit,
  type CsvPlan,
  type CsvSource,
  type LoadMessage,
  type LoadOutcome,
  type LoadProgress,
  type LoadRequest,
  type QueryMessage,
  RemoteError,
} from "./messages.ts";
import { flightsPath } from "./parquet.ts";
import { finalAggregate, type Plan } from "./query.ts";
import { Ranking } from "./ranking.ts";
import { ParallelScan, SCAN_SEGMENT, SCAN_SEGMENT_BYTES } from "./scan.ts";
import { Thread } from "./threads.ts";

/** Backends that may work on a query at once. */
export const MAX_WORKERS = 8;
/** The leader is one more. */
const MAX_CONNECTIONS: number = MAX_WORKERS + 1;

/** What a job is opened with. */
export interface JobOptions {
  /** Directory of the data files; made if missing. */
  readonly dataDirectory: string;
  /** `shared_buffers`, as text with its unit. */
  readonly sharedBuffers: string;
  /** `work_mem`, as text with its unit. */
  readonly workMem: string;
  /** Backends per query, 1 to {@link MAX_WORKERS}. */
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
  readonly use: HashUse;
  /** The context tree half-way through the scan, as MemoryContextStats prints it. */
  readonly contexts: string;
}

/** What a backend, or the leader, held before and after a query: the two must be equal. */
export interface AuditReport extends BackendAudit {
  readonly of: string;
}

/** What a query did. */
export interface QueryOutcome {
  readonly seconds: number;
  readonly rows: number;
  /** Number of groups. */
  readonly groups: number;
  /** The largest of them, largest first: as many as were asked for. */
  readonly largest: readonly Group[];
  readonly backends: readonly BackendReport[];
  /** What the leader used to combine the backends' groups. */
  readonly leader: HashUse;
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
  readonly #leader: Backend;
  #backends: QueryThread[] = [];
  #loader: Thread<LoadMessage> | undefined;
  /** Backends started so far; each has a number of its own. */
  #started = 0;
  #blocks = 0;
  #closing: Promise<void> | undefined;
  #relation: string;
  #csv: CsvPlan | undefined;

  private constructor(options: JobOptions, shared: SharedMemory, leader: Backend) {
    this.options = options;
    this.shared = shared;
    this.#leader = leader;
    this.#relation = Number.isFinite(options.maxRows) ? `flights_${options.maxRows}` : "flights";
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
      segments: {
        [SCAN_SEGMENT]: SCAN_SEGMENT_BYTES,
        [FLOW_SEGMENT]: FLOW_BYTES * MAX_WORKERS,
      },
    });
    return new FlightsJob(options, shared, await Backend.attach(shared.handle));
  }

  get settings(): ResolvedSettings {
    return this.shared.settings;
  }

  /** Process memory of the leader, which combines the backends' results. */
  get memory(): ProcessMemory {
    return this.#leader.memory;
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
   * @param keep - how many groups to return, the largest; all are counted
   * @throws PallocError 55000 when a backend's thread ends while it scans, XX001 for a damaged page
   * @throws StorageError 53100 when there is no room for what does not fit into work_mem
   */
  async query(plan: QueryPlan, keep: number = Number.POSITIVE_INFINITY): Promise<QueryOutcome> {
    await this.#startBackends();
    const started = performance.now();
    const csv = this.#csv === undefined ? {} : { csv: this.#csv };
    const whole: Plan = { ...plan, relation: this.#relation, ...csv };
    const before = holdingsOf(this.memory, 0);
    const { answers, ...result } = await this.#execute(whole, keep);
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
      ...result,
    };
  }

  /** Ends the backends in order, the leader last. @returns what they left in shared memory */
  async detach(): Promise<string[]> {
    const backends = this.#backends;
    this.#backends = [];
    for (const { worker } of backends) worker.postMessage({ kind: "detach" });
    await Promise.all(backends.map(({ ended }) => ended));
    this.#leader.detach();
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
    this.#leader.detach();
    await this.shared.close();
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

  /** The whole plan: the backends' partial phase and, as their groups come in, the final one. */
  async #execute(plan: Plan, keep: number): Promise<Executed> {
    const executor = this.memory.top.createChild("ExecutorState");
    const tuple = executor.createChild("ExprContext");
    const aggregate = finalAggregate(this.#leader, executor, plan);
    try {
      const answers = await this.#scan(plan, (packed) => aggregate.merge(packed, tuple));
      return { answers, ...ranked(aggregate, keep), leader: aggregate.use };
    } finally {
      aggregate.close();
      executor.delete();
    }
  }

  /** Lets every backend scan, and `take` its groups; waits for all of them, also when one fails. */
  async #scan(plan: Plan, take: (packed: Uint8Array) => void): Promise<Answer[]> {
    const blocks = this.#blocks;
    const scan = new ParallelScan(this.shared.segment(SCAN_SEGMENT).words, blocks);
    scan.restart();
    let failed: { readonly error: unknown } | undefined;
    const requests = this.#backends.map(async (thread, backend): Promise<Answer> => {
      const flow = new GroupFlow(this.shared.segment(FLOW_SEGMENT).words, backend);
      flow.restart();
      let contexts = "";
      const message = await thread.request({ kind: "query", plan, blocks, backend }, (posted) => {
        if (posted.kind === "contexts") contexts = posted.text;
        else if (posted.kind !== "groups") return true;
        else failed ??= outcome(scan, () => take(posted.packed));
        if (posted.kind === "groups") flow.taken();
        return false;
      });
      return { thread, message, contexts };
    });
    for (const request of requests) request.catch(() => scan.cancel());
    const settled = await Promise.allSettled(requests);
    if (failed !== undefined) throw failed.error;
    return settled.map(answerOf);
  }
}

/** What executing a plan gave. */
interface Executed extends Pick<QueryOutcome, "groups" | "largest" | "leader"> {
  readonly answers: readonly Answer[];
}

/** Does the leader's part of a scan; what it throws cancels the scan. */
function outcome(scan: ParallelScan, work: () => void): { readonly error: unknown } | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    scan.cancel();
    return { error };
  }
}

/** @throws what a backend failed with */
function answerOf(settled: PromiseSettledResult<Answer>): Answer {
  if (settled.status === "rejected") throw settled.reason;
  const { message } = settled.value;
  if (message.kind === "failed") throw failure(message);
  return settled.value;
}

/** Counts the groups, and keeps the largest. */
function ranked(aggregate: HashAggregate, keep: number): Pick<QueryOutcome, "groups" | "largest"> {
  const ranking = new Ranking(keep);
  aggregate.drain((group) => ranking.add(group));
  return { groups: ranking.count, largest: ranking.largest() };
}

/** A plan without the table, which the job knows. */
export type QueryPlan = Omit<Plan, "relation" | "csv">;

const LEADER = "the leader";
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
  if (message.kind !== "done") throw failure(message);
  const { rows, blocks, groups, use } = message.value.partial;
  return { backend: thread.name, rows, blocks, groups, use, contexts };
}
