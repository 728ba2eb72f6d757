/**
 * One run over an open job: load, queries, and what there is to say about them.
 *
 * Of flights there are three queries. The first fits into work_mem. The second, at a work_mem of
 * 1 MB, does not and spills to temporary files. The third is the first again and must give the same
 * groups: what spilled has left everything as it was. Of a CSV file there is the one that was asked
 * for.
 */

import { BLOCK_BYTES, PallocError, ringSize } from "../../bindings/index.ts";
import type { CsvPlan } from "./csv/table.ts";
import type { FlightsJob } from "./job.ts";
import { leftOver } from "./leaks.ts";
import type { LoadProgress } from "./messages.ts";
import { scansThroughRing } from "./pages.ts";
import { cursorSql, planOf, sqlOf } from "./query.ts";
import {
  type BufferUse,
  groupsShown,
  type IoUse,
  loadReport,
  type QueryReport,
  queryReport,
  type Report,
  type SourceReport,
} from "./report.ts";

/** Flights that the cursor is asked for at a time. */
const FETCH = 2;
/** Too little for the 213,834 groups of the second query, and enough for 229. */
const SMALL_WORK_MEM = "1MB";

interface QueryStep {
  readonly title: string;
  readonly groupBy: string;
  readonly workMem: string;
  /** Number of an earlier query that this one must agree with. */
  readonly repeats?: number;
}

/** Collects what the buffer pool does, phase by phase. */
class BufferLog {
  readonly uses: BufferUse[] = [];
  readonly io: IoUse[] = [];
  readonly #job: FlightsJob;
  #last: Omit<BufferUse, "phase">;
  #lastIo: readonly Omit<IoUse, "phase">[];

  constructor(job: FlightsJob) {
    this.#job = job;
    this.#last = job.shared.statistics();
    this.#lastIo = ioNow(job);
  }

  /** Notes what was done since the last call. */
  note(phase: string): void {
    const now = this.#job.shared.statistics();
    const { hits, reads, writes, evictions } = this.#last;
    this.uses.push({
      phase,
      hits: now.hits - hits,
      reads: now.reads - reads,
      writes: now.writes - writes,
      evictions: now.evictions - evictions,
    });
    this.#last = now;
    const io = ioNow(this.#job);
    for (const [index, row] of io.entries()) {
      const before = this.#lastIo[index];
      if (before !== undefined) this.io.push({ phase, ...ioBetween(before, row) });
    }
    this.#lastIo = io;
  }
}

/** What client backends have done so far in each context. */
function ioNow({ shared }: FlightsJob): Omit<IoUse, "phase">[] {
  return shared.views
    .pgStatIo()
    .filter(
      ({ backend_type, object }) => backend_type === "client backend" && object === "relation",
    )
    .map((row) => ({
      context: row.context,
      reads: row.reads ?? 0,
      blocksRead: (row.read_bytes ?? 0) / BLOCK_BYTES,
      writes: row.writes ?? 0,
      blocksWritten: (row.write_bytes ?? 0) / BLOCK_BYTES,
      hits: row.hits ?? 0,
      evictions: row.evictions ?? 0,
      reuses: row.reuses ?? 0,
    }));
}

function ioBetween(before: Omit<IoUse, "phase">, now: Omit<IoUse, "phase">): Omit<IoUse, "phase"> {
  return {
    context: now.context,
    reads: now.reads - before.reads,
    blocksRead: now.blocksRead - before.blocksRead,
    writes: now.writes - before.writes,
    blocksWritten: now.blocksWritten - before.blocksWritten,
    hits: now.hits - before.hits,
    evictions: now.evictions - before.evictions,
    reuses: now.reuses - before.reuses,
  };
}

/** The rings of this run; PostgreSQL's other one is for maintenance, which there is none of. */
function ringsOf({ settings }: FlightsJob, blocks: number): Report["rings"] {
  return {
    scan: scansThroughRing(blocks, settings.sharedBuffers) ? ringSize("bulkread", settings) : 0,
    load: ringSize("bulkwrite", settings),
  };
}

/** Runs queries one after the other and keeps what there is to report. */
class Steps {
  readonly queries: QueryReport[] = [];
  readonly leaks: string[] = [];
  readonly #job: FlightsJob;
  readonly #log: BufferLog;

  constructor(job: FlightsJob, log: BufferLog) {
    this.#job = job;
    this.#log = log;
  }

  async run(step: QueryStep, csv?: CsvPlan): Promise<QueryReport> {
    const job = this.#job;
    const { groupBy } = step;
    const outcome = await job.query(step, groupsShown(csv));
    const plan = { relation: job.relation, groupBy, agg: job.options.csv?.agg ?? "" };
    const sql = sqlOf(csv === undefined ? plan : { ...plan, csv });
    const query = queryReport({ ...step, sql }, outcome, csv, job.relationNames);
    this.queries.push(query);
    const number = this.queries.length;
    for (const { of, before, after } of outcome.audits) {
      this.leaks.push(...leftOver(before, after).map((left) => `query ${number}, ${of}: ${left}`));
    }
    this.#log.note(`query ${number}`);
    return query;
  }
}

async function queryFlights({ options: { workMem } }: FlightsJob, steps: Steps): Promise<void> {
  const first = await steps.run({ title: "delays by origin", groupBy: "origin", workMem });
  await steps.run({ title: "more groups than fit", groupBy: "date", workMem: SMALL_WORK_MEM });
  const title = "the first one again";
  const again = await steps.run({ title, groupBy: "origin", workMem, repeats: 1 });
  if (JSON.stringify(first.result) !== JSON.stringify(again.result)) {
    throw new PallocError("XX000", "query 3 gave other groups than query 1");
  }
}

async function queryCsv(job: FlightsJob, csv: CsvPlan, steps: Steps): Promise<void> {
  const { workMem, csv: asked } = job.options;
  const groupBy = asked?.groupBy ?? "";
  await steps.run({ title: `${asked?.agg} by ${groupBy}`, groupBy, workMem }, csv);
}

/** What the catalog knows of a CSV file's table, and what is asked of it; undefined for flights. */
function csvOf({ table, relation, options }: FlightsJob): CsvPlan | undefined {
  if (table === undefined) throw new PallocError("42P01", `relation "${relation}" does not exist`);
  const { groupBy = "", agg = "" } = options.csv ?? {};
  return planOf({ relation, groupBy, agg }, table).csv;
}

function sourceOf({ source, columns }: CsvPlan): SourceReport {
  return {
    path: source.path,
    bytes: source.bytes,
    columns: columns.map(({ name, number }) => ({ name, type: number ? "number" : "text" })),
  };
}

/**
 * Runs the whole job and detaches its backends; the job stays open.
 *
 * @throws PallocError when the load or a query fails
 */
export async function runReport(
  job: FlightsJob,
  onProgress: (progress: LoadProgress) => void,
): Promise<Report> {
  const started = performance.now();
  const log = new BufferLog(job);
  const load = loadReport(await job.load(onProgress), job.relationNames);
  log.note("load");

  const csv = csvOf(job);
  const steps = new Steps(job, log);
  const cursor = csv === undefined ? job.firstFlights(FETCH, FETCH) : undefined;
  if (cursor !== undefined) log.note("cursor");
  if (csv === undefined) await queryFlights(job, steps);
  else await queryCsv(job, csv, steps);
  const { queries, leaks } = steps;

  const usageCounts = job.shared.usageCounts();
  const { sessions } = job;
  leaks.push(...(await job.detach()));
  return {
    dataDirectory: job.options.dataDirectory,
    relation: job.relation,
    settings: {
      shared_buffers: job.settings.show("shared_buffers"),
      work_mem: job.settings.show("work_mem"),
      max_connections: job.settings.maxConnections,
      workers: job.options.workers,
    },
    ...(csv === undefined ? {} : { source: sourceOf(csv) }),
    load,
    ...(cursor === undefined ? {} : { cursor: { sql: cursorSql(job.relation), ...cursor } }),
    queries,
    buffers: log.uses,
    io: log.io,
    rings: ringsOf(job, load.blocks),
    usageCounts,
    sessions,
    sharedMemory: { parts: job.shared.allocations(), regionBytes: job.shared.regionBytes },
    leaks,
    seconds: (performance.now() - started) / 1000,
    peakResidentBytes: process.resourceUsage().maxRSS * 1024,
  };
}
