/**
 * One run over an open job: load, three queries, and what there is to say about them. The first
 * query fits into work_mem. The second, at a work_mem of 1 MB, does not and is refused. The third
 * is the first again and must give the same groups: a refusal has left everything usable.
 */

import { PallocError, resolveSettings } from "../../bindings/index.ts";
import type { FlightsJob, QueryPlan } from "./job.ts";
import { leftOver } from "./leaks.ts";
import type { LoadProgress } from "./messages.ts";
import { type GroupColumn, sqlOf } from "./query.ts";
import { type BufferUse, type QueryReport, queryReport, type Report } from "./report.ts";

/** Too little for the 213,834 groups of the second query, and enough for 229. */
const SMALL_WORK_MEM = "1MB";

interface QueryStep {
  readonly title: string;
  readonly groupBy: GroupColumn;
  readonly workMem: string;
  /** Number of an earlier query that this one must agree with. */
  readonly repeats?: number;
}

/** Collects what the buffer pool does, phase by phase. */
class BufferLog {
  readonly uses: BufferUse[] = [];
  readonly #job: FlightsJob;
  #last: Omit<BufferUse, "phase">;

  constructor(job: FlightsJob) {
    this.#job = job;
    this.#last = job.shared.statistics();
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
  }
}

/**
 * Runs the whole job and detaches its backends; the job stays open.
 *
 * @throws PallocError when a query fails for another reason than its limit
 */
export async function runReport(
  job: FlightsJob,
  onProgress: (progress: LoadProgress) => void,
): Promise<Report> {
  const started = performance.now();
  const log = new BufferLog(job);
  const load = await job.load(onProgress);
  log.note("load");

  const queries: QueryReport[] = [];
  const leaks: string[] = [];
  const run = async (step: QueryStep): Promise<QueryReport> => {
    const plan = planOf(job, step);
    const outcome = await job.query(plan);
    const sql = sqlOf({ ...plan, relation: job.relation });
    const query = queryReport({ ...step, sql }, outcome);
    queries.push(query);
    for (const { of, before, after } of outcome.audits) {
      leaks.push(
        ...leftOver(before, after).map((left) => `query ${queries.length}, ${of}: ${left}`),
      );
    }
    log.note(`query ${queries.length}`);
    return query;
  };
  const { workMem } = job.options;
  const first = await run({ title: "delays by origin", groupBy: "origin", workMem });
  await run({ title: "more groups than fit", groupBy: "date", workMem: SMALL_WORK_MEM });
  const again = await run({ title: "the first one again", groupBy: "origin", workMem, repeats: 1 });
  if (JSON.stringify(first.result) !== JSON.stringify(again.result)) {
    throw new PallocError("XX000", "query 3 gave other groups than query 1");
  }

  const usageCounts = job.shared.usageCounts();
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
    load,
    queries,
    buffers: log.uses,
    usageCounts,
    sharedMemory: { parts: job.shared.allocations(), regionBytes: job.shared.regionBytes },
    leaks,
    seconds: (performance.now() - started) / 1000,
    peakResidentBytes: process.resourceUsage().maxRSS * 1024,
  };
}

/** The plan of a step; its work_mem is that of this query alone, as after `set local`. */
function planOf(job: FlightsJob, { groupBy, workMem }: QueryStep): QueryPlan {
  const settings = resolveSettings({ ...job.settings.values, work_mem: workMem });
  const { workMemBytes, hashMemMultiplier } = settings;
  return { groupBy, limit: { workMemBytes, hashMemMultiplier } };
}
