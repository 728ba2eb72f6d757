/** The report of a run as a plain object, as `--json` prints it; report-text.ts has it as text. */

import type { Group, HashUse } from "./aggregate.ts";
import { csvKeyText } from "./csv/rows.ts";
import type { CsvPlan } from "./csv/table.ts";
import type { Flight } from "./flight-cursor.ts";
import { flightKeyText } from "./flight-rows.ts";
import type { AuditReport, QueryOutcome, SessionReport } from "./job.ts";
import type { LoadOutcome } from "./messages.ts";
import type { LockSight, Sight } from "./sight.ts";

/** One group of flights, as the report shows it. */
export interface FlightResultRow {
  readonly key: string;
  readonly count: number;
  readonly averageDelay: number;
  readonly maxDistance: number;
}

/** One group of a CSV file, as the report shows it. */
export interface CsvResultRow {
  /** As the file has it; null for rows without a value. */
  readonly key: string | null;
  /** Rows. */
  readonly count: number;
  /** Rows that have a value; the average is over them. */
  readonly values: number;
  /** Null if there is no value, as `max`. */
  readonly average: number | null;
  readonly max: number | null;
}

/** One group. */
export type ResultRow = FlightResultRow | CsvResultRow;

/** The CSV file of a run. */
export interface SourceReport {
  readonly path: string;
  readonly bytes: number;
  readonly columns: readonly { readonly name: string; readonly type: "number" | "text" }[];
}

/** A lock that somebody had, with the names of things: a row of `pg_locks`. */
export interface LockReport extends Omit<LockSight, "relation"> {
  /** Whose lock it is. */
  readonly of: string;
  /** Name of the relation; null for a lock on something else. */
  readonly relation: string | null;
}

/** How one backend fared in a query. */
export interface BackendUse {
  /** Its name, such as `backend 1`. */
  readonly backend: string;
  readonly rows: number;
  readonly blocks: number;
  readonly groups: number;
  readonly use: HashUse;
  /** The context tree half-way through the scan, as MemoryContextStats prints it. */
  readonly contexts: string;
  /** Pages it had pinned then. */
  readonly pins: number;
}

/** What was loaded, or found. */
export interface LoadReport extends Omit<LoadOutcome, "sight"> {
  /** The loader's locks when it was about to commit. */
  readonly locks: readonly LockReport[];
}

/** What a cursor over the table gave. */
export interface CursorReport {
  readonly sql: string;
  readonly flights: readonly Flight[];
  /** Pages that the leader had pinned between two fetches, and after the commit. */
  readonly pins: { readonly between: number; readonly afterwards: number };
}

/** One query of the run. */
export interface QueryReport {
  readonly title: string;
  readonly sql: string;
  readonly workMem: string;
  readonly seconds: number;
  /** Rows scanned. */
  readonly rows: number;
  readonly groups: number;
  /**
   * All groups, largest first; of flights only the first ten of a query with more than a thousand.
   */
  readonly result: readonly ResultRow[];
  readonly backends: readonly BackendUse[];
  /** What the leader used to combine the backends' groups. */
  readonly leader: HashUse;
  /** Every backend's locks half-way through its scan, and the leader's. */
  readonly locks: readonly LockReport[];
  /** Number of an earlier query whose groups these are again. */
  readonly repeats?: number;
  readonly audits: readonly AuditReport[];
}

/** What the buffer pool did in one phase of the run. */
export interface BufferUse {
  readonly phase: string;
  readonly hits: number;
  readonly reads: number;
  readonly writes: number;
  readonly evictions: number;
}

/** What backends did in one phase through the pool at large (`normal`), or through rings. */
export interface IoUse {
  readonly phase: string;
  readonly context: "bulkread" | "bulkwrite" | "normal" | "vacuum";
  /** Calls of storage, each for one block or several. */
  readonly reads: number;
  readonly blocksRead: number;
  readonly writes: number;
  readonly blocksWritten: number;
  readonly hits: number;
  readonly evictions: number;
  /** Evictions of a page that the same ring had brought. */
  readonly reuses: number;
}

/** Buffers of one usage count. */
export interface UsageRow {
  readonly usage_count: number;
  readonly buffers: number;
  readonly dirty: number;
  readonly pinned: number;
}

/** A named part of shared memory; name null is what is not used. */
export interface SharedMemoryPart {
  readonly name: string | null;
  readonly off: number | null;
  readonly size: number;
  readonly allocated_size: number;
}

/** Everything a run found out. */
export interface Report {
  readonly dataDirectory: string;
  readonly relation: string;
  readonly settings: {
    readonly shared_buffers: string;
    readonly work_mem: string;
    readonly max_connections: number;
    readonly workers: number;
  };
  /** Missing for flights. */
  readonly source?: SourceReport;
  readonly load: LoadReport;
  /** Missing for a CSV file. */
  readonly cursor?: CursorReport;
  readonly queries: readonly QueryReport[];
  readonly buffers: readonly BufferUse[];
  readonly io: readonly IoUse[];
  /** Buffers of the rings of scans and loads; 0 where the whole pool is used. */
  readonly rings: { readonly scan: number; readonly load: number };
  readonly usageCounts: readonly UsageRow[];
  /** What each session did from its connection on. */
  readonly sessions: readonly SessionReport[];
  readonly sharedMemory: {
    readonly parts: readonly SharedMemoryPart[];
    readonly regionBytes: number;
  };
  /** What was left over after the queries; the run fails if there is any. */
  readonly leaks: readonly string[];
  readonly seconds: number;
  /** Peak resident memory of the whole process. */
  readonly peakResidentBytes: number;
}

/** Rows that are shown of a query with many groups. */
export const TOP_ROWS = 10;
const MANY_GROUPS = 1000;

/** How many groups of a query are kept to be shown: all of a CSV file's, which are the answer. */
export function groupsShown(csv: CsvPlan | undefined): number {
  return csv === undefined ? MANY_GROUPS : Number.POSITIVE_INFINITY;
}

/** Names of relations by their numbers. */
export type RelationNames = ReadonlyMap<number, string>;

/** The locks of one backend, named. */
function locksOf(of: string, { locks }: Sight, names: RelationNames): LockReport[] {
  return locks.map(({ relation, ...lock }) => {
    const name = relation === null ? null : (names.get(relation) ?? String(relation));
    return { of, relation: name, ...lock };
  });
}

/** Makes the load's part of the report. */
export function loadReport({ sight, ...outcome }: LoadOutcome, names: RelationNames): LoadReport {
  return { ...outcome, locks: sight === undefined ? [] : locksOf("the loader", sight, names) };
}

/** Makes a query's part of the report. */
export function queryReport(
  query: Pick<QueryReport, "title" | "sql" | "workMem" | "repeats"> & { readonly groupBy: string },
  outcome: QueryOutcome,
  csv: CsvPlan | undefined,
  relations: RelationNames,
): QueryReport {
  const { groupBy, ...names } = query;
  const { groups, largest } = outcome;
  const few = groups <= groupsShown(csv);
  const shown = few ? largest : largest.slice(0, TOP_ROWS);
  return {
    ...names,
    seconds: outcome.seconds,
    rows: outcome.rows,
    groups,
    result: shown.map((group) =>
      csv === undefined ? flightResult(group, groupBy) : csvResult(group, csv),
    ),
    backends: outcome.backends.map(({ sight: { contexts, pins }, ...use }) => {
      return { ...use, contexts, pins };
    }),
    leader: outcome.leader,
    locks: [
      ...outcome.backends.flatMap(({ backend, sight }) => locksOf(backend, sight, relations)),
      ...locksOf("the leader", outcome.leaderSight, relations),
    ],
    audits: outcome.audits,
  };
}

function flightResult({ key, count, sum, max }: Group, groupBy: string): FlightResultRow {
  return {
    key: flightKeyText(key, groupBy),
    count,
    averageDelay: sum / count,
    maxDistance: max,
  };
}

function csvResult({ key, count, values, sum, max }: Group, csv: CsvPlan): CsvResultRow {
  const some = values > 0;
  return {
    key: csvKeyText(key, csv),
    count,
    values,
    average: some ? sum / values : null,
    max: some ? max : null,
  };
}
