// The main job as a whole, over the built program and three million real flights: the parallel
// query gives what plain JavaScript gives, also where it does not fit into work_mem and spills,
// nothing leaks, and whatever interrupts a load or damages a file, no wrong result is ever printed.

import {
  cpSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FlightsJob } from "../../examples/flights/job.ts";
import type { FlightResultRow, Report, ResultRow } from "../../examples/flights/report.ts";
import { reportText } from "../../examples/flights/report-text.ts";
import { changeControl, newestControl } from "../support/control.ts";
import {
  aggregatePlainly,
  datesPlainly,
  type Ended,
  largestDates,
  type Row,
  run,
  start,
  temporaryDirectory,
} from "./support.ts";

const BLOCK_BYTES = 8192;
const ALL = Number.POSITIVE_INFINITY;

const temporary = temporaryDirectory();
afterAll(temporary.remove);

const full = join(temporary.path, "full");
let first: Ended;
let report: Report;

beforeAll(async () => {
  first = await run(["--data-dir", full, "--json"]);
  expect(first.exitCode, first.stderr).toBe(0);
  report = JSON.parse(first.stdout);
});

function flights(rows: readonly ResultRow[]): FlightResultRow[] {
  return rows.filter((row) => "averageDelay" in row);
}

function byKey(rows: readonly ResultRow[]): Map<string, Row> {
  return new Map(flights(rows).map((row) => [row.key, row]));
}

/** The one line of an error, without its beginning `palloc: `. */
function lineOf({ exitCode, stdout, stderr }: Ended): string {
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toMatch(/^palloc: [^\n]+\n$/);
  return stderr.slice("palloc: ".length, -1);
}

describe("the first run", () => {
  test("gives for each origin what plain JavaScript gives", async () => {
    const [query] = report.queries;
    expect(query?.rows).toBe(3_000_000);
    const expected = await aggregatePlainly(ALL);
    expect(expected.size).toBe(229);
    expect(byKey(query?.result ?? [])).toEqual(expected);
    const { count, averageDelay, maxDistance } = flights(query?.result ?? [])[0] ?? {
      averageDelay: 0,
    };
    expect([count, averageDelay.toFixed(4), maxDistance]).toEqual([166_341, "9.2737", 4244]);
  });

  test("loads a table several times larger than the pool by writing dirty pages back", () => {
    const [load] = report.buffers;
    expect(report.load.blocks).toBeGreaterThan(4 * 2048);
    expect(load?.evictions).toBeGreaterThan(3 * 2048);
    expect(load?.writes).toBeGreaterThanOrEqual(3_000_000 / 291);
  });

  test("spills the query that does not fit, and stays below its limit", async () => {
    const query = report.queries[1];
    expect(query).toMatchObject({ groups: 213_834, workMem: "1MB" });
    expect(query?.result).toEqual(await largestDates(10));
    const uses = [...(query?.backends ?? []).map(({ use }) => use), query?.leader];
    expect(uses).toHaveLength(3);
    for (const use of uses) {
      expect(use?.limitBytes).toBe(2 * 1024 * 1024);
      expect(use?.peakBytes).toBeLessThanOrEqual(2 * 1024 * 1024);
      expect(use?.batches).toBeGreaterThan(1);
      expect(use?.diskBytes).toBeGreaterThan(1024 * 1024);
    }
    // The table and the catalog: no temporary file is left.
    expect(readdirSync(join(full, "base"))).toHaveLength(2);
  });

  test("gives the same groups again after that, and leaves nothing over", () => {
    expect(report.queries[2]?.result).toEqual(report.queries[0]?.result);
    expect(report.leaks).toEqual([]);
    for (const { audits } of report.queries) {
      expect(audits.map(({ of }) => of)).toEqual(["backend 1", "backend 2", "the leader"]);
      for (const { before, after } of audits) expect(after).toEqual(before);
    }
  });

  test("shows each backend's contexts while the query runs", () => {
    for (const { contexts } of report.queries[0]?.backends ?? []) {
      const names = contexts
        .trimEnd()
        .split("\n")
        .map((line) => /^ *[\w ]+/.exec(line)?.[0]);
      expect(names).toEqual([
        "TopMemoryContext",
        "  CacheMemoryContext",
        "  TopTransactionContext",
        "  TransactionAbortContext",
        "  MessageContext",
        "  TopPortalContext",
        "    PortalContext",
        "      ExecutorState",
        "        HashAgg hashed tuples",
        "        HashAgg meta context",
        "        ExprContext",
        "  GUCMemoryContext",
        "  ErrorContext",
        "Grand total",
      ]);
      // Between two rows the per-tuple context is as it was made, however many there were.
      expect(contexts).toContain(
        "        ExprContext: 8192 total in 1 blocks; 8056 free (0 chunks); 136 used\n",
      );
    }
  });

  test("locks the table, and each backend's lock stands in pg_locks while it scans", () => {
    const relation = "flights";
    const granted = true;
    expect(report.load.locks).toEqual([
      { of: "the loader", relation, mode: "RowExclusiveLock", granted, fastpath: false },
      { of: "the loader", relation, mode: "AccessExclusiveLock", granted, fastpath: false },
      {
        of: "the loader",
        relation: "catalog.relations",
        mode: "ShareRowExclusiveLock",
        granted,
        fastpath: false,
      },
    ]);
    for (const { locks } of report.queries) {
      const lock = { relation, mode: "AccessShareLock", granted, fastpath: true };
      const backends = ["backend 1", "backend 2", "the leader"];
      expect(locks).toEqual(backends.map((of) => ({ of, ...lock })));
    }
  });

  test("prints what docs/life-of-a-backend.md shows of it", () => {
    const page = readFileSync(new URL("../../docs/life-of-a-backend.md", import.meta.url), "utf8");
    // The first block is a drawing.
    const shown = [...page.matchAll(/^```text\n([\s\S]*?)^```$/gm)].slice(1);
    expect(shown.length).toBeGreaterThan(5);
    const printed = new Set(reportText(report).split("\n"));
    const lines = shown.flatMap(([, text = ""]) => text.trimEnd().split("\n"));
    expect(lines.filter((line) => !printed.has(line))).toEqual([]);
  });

  test("has each backend pin the page it looks at, and give it back", () => {
    for (const { backends, audits } of report.queries) {
      for (const { pins } of backends) expect(pins).toBeGreaterThan(0);
      for (const { after } of audits) expect(after).toMatchObject({ pins: 0, locks: 0 });
    }
  });

  test("finds the table in the catalog cache, where the load's commit made it known", () => {
    const [loader, one, two, leader] = report.sessions;
    // The leader had looked before the load, and remembered that there was no such table.
    expect(leader?.catalog).toMatchObject({ loads: 1, negativeLoads: 1, invalidations: 1 });
    // Nobody else has read the row: it was among the entries that all share.
    for (const each of [one, two]) {
      expect(each?.catalog).toEqual({
        ...{ hits: 7, negativeHits: 0, sharedHits: 1, loads: 0, negativeLoads: 0 },
        invalidations: 0,
      });
      // One to find the table, and one a query.
      expect(each).toMatchObject({ commits: 4, rollbacks: 0 });
    }
    expect(loader).toMatchObject({ of: "the loader", commits: 1, rollbacks: 0 });
  });

  test("fetches the first flights through a cursor that keeps a page pinned in between", () => {
    const { cursor } = report;
    expect(cursor?.flights).toHaveLength(4);
    expect(cursor?.flights[0]).toEqual({
      date: "2001-01-01T00:01:00.000Z",
      ...{ delay: 33, distance: 2176, origin: "LAS", destination: "PHL" },
    });
    expect(cursor?.pins).toEqual({ between: 1, afterwards: 0 });
  });

  test("accounts for every byte of shared memory and every buffer", () => {
    const { parts, regionBytes } = report.sharedMemory;
    expect(parts.reduce((sum, part) => sum + part.allocated_size, 0)).toBe(regionBytes);
    expect(parts.map(({ name }) => name)).toContain("parallel scan");
    expect(report.usageCounts.reduce((sum, row) => sum + row.buffers, 0)).toBe(2048);
    expect(report.usageCounts.every(({ pinned }) => pinned === 0)).toBe(true);
  });

  // One row group decoded is about 100 MB of garbage collected heap, whatever the file's size; the
  // collector lets two or three of them stand. All rows as objects would be 865 MB.
  test("stays below 500 MB", () => {
    expect(report.peakResidentBytes).toBeLessThan(500_000_000);
  });

  test("shows progress on stderr", () => {
    expect(first.stderr).toContain("Loading rows: 10 % of 3000000\n");
    expect(first.stderr).toMatch(/Writing dirty buffers: 100 % of \d+\n$/);
  });
});

describe("a later run", () => {
  test("finds the table and prints a report of at most 100 columns", async () => {
    const { exitCode, stdout, stderr } = await run(["--data-dir", full]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toContain("Loaded by an earlier run.");
    expect(stdout).toMatch(/^ {2}ORD +166,341 +9\.2737 +4,244$/m);
    expect(stdout).toMatch(/^ {2}the leader +\d+ +1,\d+ +2,048 +\d,\d+$/m);
    expect(stdout).toContain(
      "No context, no chunk, no pin and no lock was left over after the queries.",
    );
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  test.each([
    ["one backend and the smallest work_mem", ["--workers", "1", "--work-mem", "64kB"]],
    ["eight backends over the smallest pool", ["--workers", "8", "--shared-buffers", "128kB"]],
    ["a pool that holds the whole table", ["--shared-buffers", "384MB"]],
  ])("gives the same with %s", async (_, args) => {
    const { exitCode, stdout, stderr } = await run(["--data-dir", full, "--json", ...args]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const { queries, leaks, buffers } = JSON.parse(stdout) as Report;
    expect(queries[0]?.result).toEqual(report.queries[0]?.result);
    expect(queries[1]?.result).toEqual(report.queries[1]?.result);
    expect(leaks).toEqual([]);
    if (args.includes("384MB")) expect(buffers.at(-1)).toMatchObject({ hits: 10_368, reads: 0 });
  });

  test("spills nothing where the second query fits", async () => {
    const { stdout } = await run(["--data-dir", full, "--rows", "20000", "--json"]);
    const { queries, relation } = JSON.parse(stdout) as Report;
    expect(relation).toBe("flights_20000");
    expect(byKey(queries[0]?.result ?? [])).toEqual(await aggregatePlainly(20_000));
    expect(queries[1]?.leader).toMatchObject({ batches: 1, diskBytes: 0 });
    expect(queries[1]?.result[0]?.key).toMatch(/^2001-01-\d\dT\d\d:\d\d:00\.000Z$/);
  });
});

describe("an interrupted load", () => {
  const interruptions = [
    ["Ctrl-C", "SIGINT", 130],
    ["SIGTERM", "SIGTERM", 143],
    ["kill -9", "SIGKILL", null],
  ] as const;

  test.each(interruptions)("by %s is begun again by the next run", async (_, signal, exitCode) => {
    const directory = join(temporary.path, signal);
    const args = ["--data-dir", directory, "--rows", "600000", "--json"];
    const interrupted = start(args);
    await interrupted.shown("Loading rows: 40 %");
    interrupted.child.kill(signal);
    const ended = await interrupted.ended;
    expect(ended.exitCode).toBe(exitCode);
    expect(ended.stdout).toBe("");
    if (exitCode !== null) {
      expect(ended.stderr).toMatch(
        /\npalloc: interrupted while loading; [^\n]+ the next start loads again\n$/,
      );
    }
    const next = await run(args);
    expect(next.exitCode, next.stderr).toBe(0);
    const { load, queries } = JSON.parse(next.stdout) as Report;
    expect(load).toMatchObject({ loaded: true, restarted: true, rows: 600_000 });
    expect(byKey(queries[0]?.result ?? [])).toEqual(await aggregatePlainly(600_000));
  });
});

describe("a data directory that another process uses", () => {
  test("is refused in one line, and the other process is not disturbed", async () => {
    const args = ["--data-dir", join(temporary.path, "shared"), "--rows", "600000", "--json"];
    const loading = start(args);
    await loading.shown("Loading rows: 10 %");
    expect(lineOf(await run(args))).toMatch(/^data directory "\S+shared" is in use by another /);
    const { exitCode, stdout } = await loading.ended;
    expect(exitCode).toBe(0);
    const { queries } = JSON.parse(stdout) as Report;
    expect(byKey(queries[0]?.result ?? [])).toEqual(await aggregatePlainly(600_000));
  });
});

describe("a damaged data directory is refused in one line:", () => {
  const rows = ["--rows", "20000"];
  const sound = join(temporary.path, "sound");
  let copies = 0;

  beforeAll(async () => {
    expect((await run(["--data-dir", sound, ...rows])).exitCode).toBe(0);
  });

  /** A copy of the small table's directory, and its one segment file. */
  function copy(): { directory: string; segment: string } {
    copies += 1;
    const directory = join(temporary.path, `copy-${copies}`);
    cpSync(sound, directory, { recursive: true });
    const [file = ""] = readdirSync(join(directory, "base"));
    return { directory, segment: join(directory, "base", file) };
  }

  async function refusal(directory: string): Promise<string> {
    return lineOf(await run(["--data-dir", directory, ...rows]));
  }

  test("a page whose checksum does not match, with its relation and block", async () => {
    const { directory, segment } = copy();
    const bytes = readFileSync(segment);
    bytes[5 * BLOCK_BYTES + 4000] = (bytes[5 * BLOCK_BYTES + 4000] ?? 0) ^ 1;
    writeFileSync(segment, bytes);
    const line = await refusal(directory);
    const [what, why] = line.split(". ");
    expect(what).toBe('invalid page in block 5 of relation "flights_20000"');
    expect(why).toMatch(/^page verification failed, calculated checksum \d+ but expected \d+$/);
    expect(readFileSync(segment)).toEqual(bytes);
  });

  test.each([
    ["truncated by a block", BLOCK_BYTES],
    ["truncated within a block", 100],
  ])("a segment file %s, with the relation", async (_, bytes) => {
    const { directory, segment } = copy();
    const length = statSync(segment).size - bytes;
    truncateSync(segment, length);
    expect(await refusal(directory)).toMatch(/"flights_20000".*128/);
    expect(statSync(segment).size).toBe(length);
  });

  test("a missing segment file, with the relation", async () => {
    const { directory, segment } = copy();
    rmSync(segment);
    expect(await refusal(directory)).toMatch(/"flights_20000" has no file/);
  });

  test("another format version, with the version", async () => {
    const { directory } = copy();
    changeControl(directory, (text) => text.replace(/"version": \d+/, '"version": 99'));
    const control = newestControl(directory);
    const bytes = readFileSync(control);
    expect(await refusal(directory)).toMatch(/incompatible .* format version 99 /);
    expect(readFileSync(control)).toEqual(bytes);
  });

  test("control files that were written over", async () => {
    const { directory } = copy();
    for (const n of [0, 1]) writeFileSync(join(directory, `palloc.control.${n}`), "nonsense");
    expect(await refusal(directory)).toMatch(/^files "palloc.control.0" and .* are damaged/);
  });
});

/** The built job over the full table: its threads run built files. */
async function opened(): Promise<FlightsJob> {
  const built = new URL("../../dist/examples/flights/job.js", import.meta.url).href;
  const { FlightsJob: Job } = (await import(built)) as { FlightsJob: typeof FlightsJob };
  return Job.open({
    dataDirectory: full,
    sharedBuffers: "16MB",
    workMem: "4MB",
    workers: 2,
    maxRows: ALL,
  });
}

describe("grouping by date", () => {
  test.each([64, 1024, 4096])(
    "at a work_mem of %d kB gives what plain JavaScript gives, within it",
    async (kilobytes) => {
      const workMem = `${kilobytes}kB`;
      const expected = await datesPlainly();
      const job = await opened();
      try {
        await job.load(() => {});
        const before = readdirSync(join(full, "base"));
        const { groups, largest, backends, leader } = await job.query({ groupBy: "date", workMem });
        expect(groups).toBe(expected.size);
        let wrong = 0;
        for (const { key, count, sum, max } of largest) {
          const date = new Date(new Float64Array(key.slice().buffer)[0] ?? 0).toISOString();
          const row = expected.get(date);
          if (row?.count !== count || row.averageDelay !== sum / count || row.maxDistance !== max) {
            wrong += 1;
          }
        }
        expect([largest.length, wrong]).toEqual([expected.size, 0]);
        for (const use of [...backends.map((each) => each.use), leader]) {
          expect(use.limitBytes).toBe(2 * kilobytes * 1024);
          expect(use.peakBytes).toBeLessThanOrEqual(use.limitBytes);
        }
        expect(leader.batches).toBeGreaterThan(1);
        // No temporary file is left.
        expect(readdirSync(join(full, "base"))).toEqual(before);
      } finally {
        await job.close();
      }
    },
  );
});

describe("a backend whose thread ends while it scans", () => {
  const plan = { groupBy: "origin", workMem: "4MB" };

  test("fails the query with a clear error, and the next query gives the right result", async () => {
    const job = await opened();
    try {
      const deaths: number[] = [];
      job.shared.onBackendDeath(({ slot }) => deaths.push(slot));
      await job.query(plan);
      const [victim] = job.backends;
      const query = job.query(plan);
      // Posted half-way: the thread is in the middle of its scan.
      victim?.worker.on("message", ({ kind }) => {
        if (kind === "sight") void victim.worker.terminate();
      });
      await expect(query).rejects.toMatchObject({
        code: "55000",
        message: "lost connection to parallel worker",
        detail: expect.stringMatching(
          /^The thread of backend 1 \(thread \d+\) ended with exit code 1\.$/,
        ),
      });
      expect(deaths).toHaveLength(1);
      // The leader, and the backend that is left.
      expect(job.shared.backends()).toHaveLength(2);
      expect(job.shared.usageCounts().every(({ pinned }) => pinned === 0)).toBe(true);

      const outcome = await job.query(plan);
      expect(outcome.rows).toBe(3_000_000);
      expect(outcome.groups).toBe(229);
      expect(outcome.backends.map(({ backend }) => backend)).toEqual(["backend 2", "backend 3"]);
      expect(await job.detach()).toEqual([]);
    } finally {
      await job.close();
    }
  });
});
