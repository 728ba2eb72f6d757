/**
 * The job, from its beginning to its end, and with it the life of a backend; to be read from top to
 * bottom. The same life is told with its reasons in docs/life-of-a-backend.md.
 *
 *   open       the region is made; the leader connects
 *   load       the loader's thread connects, fills the table in one transaction, disconnects
 *   query      begin · set local · look the table up and lock it · query · commit; meanwhile the
 *              workers do the same, each in a session of its own
 *   detach     all disconnect
 *
 * The main thread is the postmaster, which makes the region and starts threads, and the leader, a
 * backend that combines what the workers find, in process memory and temporary files.
 */

import { setImmediate } from "node:timers/promises";
import {
  type Query,
  type ResolvedSettings,
  Session,
  SharedMemory,
  type Transaction,
} from "../../bindings/index.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import type { Group, HashAggregate, HashUse } from "./aggregate.ts";
import { type Flight, flightsOf } from "./flight-cursor.ts";
import { FLOW_BYTES, FLOW_SEGMENT } from "./flow.ts";
import { holdingsOf } from "./leaks.ts";
import { nothingLoaded } from "./load.ts";
import {
  type BackendAudit,
  type CsvSource,
  type LoadMessage,
  type LoadOutcome,
  type LoadProgress,
  type LoadRequest,
  RemoteError,
} from "./messages.ts";
import { flightsPath } from "./parquet.ts";
import { finalAggregate, planOf } from "./query.ts";
import { Ranking } from "./ranking.ts";
import { SCAN_SEGMENT, SCAN_SEGMENT_BYTES } from "./scan.ts";
import { SessionLog, type SessionUse, type Sight, sightOf } from "./sight.ts";
import { type OpenTable, TableCatalog, type TableDescription } from "./table-catalog.ts";
import { Thread, unexpected } from "./threads.ts";
import { type Answer, type QueryThread, Workers } from "./workers.ts";

/** Backends that may work on a query at once. */
export const MAX_WORKERS = 8;
/** The leader is one more. */
const MAX_CONNECTIONS: number = MAX_WORKERS + 1;
const LEADER = "the leader";
const LOADER = "the loader";

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

/** What is asked of the table. */
export interface JobQuery {
  /** Name of the column whose values make the groups. */
  readonly groupBy: string;
  /** `work_mem` for this query alone, as text with its unit. */
  readonly workMem: string;
}

/** How one backend fared in a query. */
export interface BackendReport {
  /** Its name in the report, such as `backend 1`. */
  readonly backend: string;
  readonly rows: number;
  readonly blocks: number;
  readonly groups: number;
  readonly use: HashUse;
  /** The backend half-way through the scan. */
  readonly sight: Sight;
}

/** What a backend, or the leader, held before and after a query: the two must be equal. */
export interface AuditReport extends BackendAudit {
  readonly of: string;
}

/** What one session has done since it was connected. */
export interface SessionReport extends SessionUse {
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
  /** The leader while it waited for the first groups. */
  readonly leaderSight: Sight;
  readonly audits: readonly AuditReport[];
}

/** What a cursor over the flights gave, and the pages it had pinned. */
export interface FirstFlights {
  readonly flights: readonly Flight[];
  readonly pins: { readonly between: number; readonly afterwards: number };
}

/** An open job. Close it: that stops all threads and gives the directory back. */
export class FlightsJob {
  readonly options: JobOptions;
  readonly shared: SharedMemory;
  readonly #session: Session;
  readonly #tables: TableCatalog;
  readonly #log: SessionLog;
  readonly #workers: Workers;
  /** What sessions other than the leader's have done, by their names. */
  readonly #uses = new Map<string, SessionUse>();
  #loader: Thread<LoadMessage> | undefined;
  #closing: Promise<void> | undefined;
  #relation: string;

  private constructor(options: JobOptions, shared: SharedMemory, session: Session) {
    this.options = options;
    this.shared = shared;
    this.#session = session;
    this.#tables = new TableCatalog(session.backend);
    this.#log = new SessionLog(session, this.#tables);
    this.#workers = new Workers(shared, options.workers);
    this.#relation = Number.isFinite(options.maxRows) ? `flights_${options.maxRows}` : "flights";
  }

  // ── Connect ────────────────────────────────────────────────────────────────────────────────────

  /**
   * Creates the shared memory over the data directory, and connects the leader's session to it.
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
    const session = await Session.connect(shared.handle, { applicationName: LEADER });
    return new FlightsJob(options, shared, session);
  }

  // ── Load ───────────────────────────────────────────────────────────────────────────────────────

  /** Loads the table in a backend of its own, unless it is there and complete. */
  async load(onProgress: (progress: LoadProgress) => void): Promise<LoadOutcome> {
    if (this.options.csv === undefined) {
      const known = this.table;
      if (known !== undefined) return nothingLoaded(this.#relation, known.pages);
    }
    const loader = new Thread<LoadMessage>(LOADER, "./load-worker.js", this.#loadRequest());
    this.#loader = loader;
    const answer = await loader.request(undefined, (message) => {
      if (message.kind === "progress") onProgress(message.progress);
      return message.kind !== "progress";
    });
    await loader.ended;
    this.#loader = undefined;
    if (answer.kind === "failed") throw new RemoteError(answer.error);
    if (answer.kind !== "done") throw unexpected(answer);
    this.#relation = answer.value.relation;
    this.#uses.set(LOADER, answer.use);
    // A load that was interrupted is unknown to the last checkpoint: its files went at the start.
    const interrupted = this.shared.recovery.relationsRemoved > 0;
    return { ...answer.value, restarted: answer.value.loaded && interrupted };
  }

  #loadRequest(): LoadRequest {
    const { csv, maxRows } = this.options;
    const relation = this.#relation;
    return {
      handle: this.shared.handle,
      source:
        csv === undefined
          ? { kind: "flights", path: flightsPath(), relation, maxRows }
          : { kind: "csv", ...csv, maxRows },
    };
  }

  /** What the catalog knows of the table; undefined if there is none. */
  get table(): TableDescription | undefined {
    return this.#session.transaction(() => this.#tables.find(this.#relation));
  }

  // ── Fetch ──────────────────────────────────────────────────────────────────────────────────────

  /**
   * Fetches the first flights through a cursor, in parts. From one part to the next the cursor
   * keeps its place, and with it a page; its end, at the latest that of the transaction, gives that
   * back.
   */
  firstFlights(...counts: readonly number[]): FirstFlights {
    const session = this.#session;
    const { buffers } = session.backend;
    const { flights, between } = session.transaction((transaction) => {
      const { relation } = this.#tables.open(this.#relation, "AccessShareLock");
      const cursor = transaction.cursor("flights", () => flightsOf(session.backend, relation));
      const flights = counts.flatMap((count) => cursor.fetch(count));
      return { flights, between: buffers.pinnedBuffers() };
    });
    return { flights, pins: { between, afterwards: buffers.pinnedBuffers() } };
  }

  // ── Query ──────────────────────────────────────────────────────────────────────────────────────

  /**
   * Asks the table with as many backends as the options say; starts those that are missing.
   *
   * @param keep - how many groups to return, the largest; all are counted
   * @throws PallocError 55000 when a backend's thread ends while it scans, XX001 for a damaged page
   * @throws StorageError 53100 when there is no room for what does not fit into work_mem
   */
  async query(wanted: JobQuery, keep: number = Number.POSITIVE_INFINITY): Promise<QueryOutcome> {
    await this.#workers.start(this.#relation);
    const started = performance.now();
    const before = holdingsOf(this.#session);
    const { answers, ...result } = await this.#session.transaction((transaction) =>
      this.#answer(transaction, wanted, keep),
    );
    const seconds = (performance.now() - started) / 1000;
    const backends = answers.map((answer) => this.#backendReport(answer));
    return {
      seconds,
      rows: backends.reduce((sum, { rows }) => sum + rows, 0),
      backends,
      audits: [
        ...answers.flatMap(auditOf),
        { of: LEADER, before, after: holdingsOf(this.#session) },
      ],
      ...result,
    };
  }

  /** The leader's transaction. What it sets, locks and takes ends with it. */
  #answer(
    transaction: Transaction,
    { groupBy, workMem }: JobQuery,
    keep: number,
  ): Promise<Answered> {
    this.#session.set("work_mem", workMem, { local: true });
    const table = this.#tables.open(this.#relation, "AccessShareLock");
    return transaction.query("aggregate", (query) => this.#gather(query, table, groupBy, keep));
  }

  /** The whole query: the workers' partial phase and, as their groups come in, the final one. */
  async #gather(query: Query, table: OpenTable, groupBy: string, keep: number): Promise<Answered> {
    const question = { relation: this.#relation, groupBy, agg: this.options.csv?.agg ?? "" };
    const aggregate = finalAggregate(query, planOf(question, table.description));
    const leaderSight = sightOf(this.#session);
    const answers = await this.#workers.scan(
      { question, settings: settingsOf(this.#session) },
      table.description.pages,
      (packed) => aggregate.merge(packed, query.perTuple),
    );
    const result = await ranked(aggregate, keep);
    return { answers, ...result, leader: aggregate.use, leaderSight };
  }

  #backendReport({ thread, message, sight }: Answer): BackendReport {
    if (message.kind !== "done" || sight === undefined) throw unexpected(message);
    const { partial, use } = message.value;
    this.#uses.set(thread.name, use);
    return { backend: thread.name, ...partial, sight };
  }

  // ── Disconnect ─────────────────────────────────────────────────────────────────────────────────

  /** Disconnects the backends, the leader last. @returns what they left in shared memory */
  async detach(): Promise<string[]> {
    await this.#workers.disconnect();
    this.#session.close();
    return this.shared.backends().map((row) => `backend slot ${row.slot} is still taken`);
  }

  /** Stops every thread wherever it is, and gives the directory back. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([this.#workers.terminate(), this.#loader?.terminate()]);
    this.#session.close();
    await this.shared.close();
  }

  // ── What there is to see ───────────────────────────────────────────────────────────────────────

  get settings(): ResolvedSettings {
    return this.shared.settings;
  }

  /** Name of the table; that of a CSV file is known after the load. */
  get relation(): string {
    return this.#relation;
  }

  /** Whether a load is under way. */
  get loading(): boolean {
    return this.#loader !== undefined;
  }

  /** The query threads that are connected, for tests that end one. */
  get backends(): readonly QueryThread[] {
    return this.#workers.threads;
  }

  /** What the sessions have done, the loader's first and the leader's last. */
  get sessions(): SessionReport[] {
    const uses = [...this.#uses, [LEADER, this.#log.use] as const];
    return uses.map(([of, use]) => ({ of, ...use }));
  }

  /** Names of relations by their numbers, as rows of `pg_locks` have them. */
  get relationNames(): ReadonlyMap<number, string> {
    const { backend } = this.#session;
    const names = backend.relationNamesSync();
    return new Map(names.map((name) => [backend.openRelationSync(name).number, name]));
  }
}

/** What a query's transaction gave. */
interface Answered extends Pick<QueryOutcome, "groups" | "largest" | "leader" | "leaderSight"> {
  readonly answers: readonly Answer[];
}

/** Counts the groups, and keeps the largest. Between two batches the event loop turns. */
async function ranked(
  aggregate: HashAggregate,
  keep: number,
): Promise<Pick<QueryOutcome, "groups" | "largest">> {
  const ranking = new Ranking(keep);
  while (aggregate.drainBatch((group) => ranking.add(group))) await setImmediate();
  return { groups: ranking.count, largest: ranking.largest() };
}

/** The variables that the session has set: its workers are to have them too. */
function settingsOf(session: Session): Record<string, string> {
  const set = session.pgSettings().filter(({ source }) => source === "session");
  return Object.fromEntries(set.map(({ name, setting }) => [name, setting]));
}

function auditOf({ thread, message }: Answer): AuditReport[] {
  if (message.kind === "done") return [{ of: thread.name, ...message.value.audit }];
  const stopped = message.kind === "failed" || message.kind === "cancelled";
  return stopped && message.audit !== undefined ? [{ of: thread.name, ...message.audit }] : [];
}
