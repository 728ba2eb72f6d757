/** The report of a run as text of at most 100 columns. */

import Table from "cli-table3";
import type { HashUse } from "./aggregate.ts";
import type { AuditReport } from "./job.ts";
import type { Holdings } from "./leaks.ts";
import {
  type BackendUse,
  type CsvResultRow,
  type CursorReport,
  type FlightResultRow,
  type IoUse,
  type LockReport,
  type QueryReport,
  type Report,
  type SourceReport,
  TOP_ROWS,
} from "./report.ts";

const BLOCK_BYTES = 8192;
const MEGABYTE = 1024 * 1024;
const WIDTH = 100;
const CELL_LENGTH = 40;

/** The report as text. */
export function reportText(report: Report): string {
  const { queries } = report;
  const sections = [
    headText(report),
    ...(report.cursor === undefined ? [] : [cursorText(report.cursor)]),
    ...queries.map((query, index) => queryText(query, index + 1)),
    buffersText(report),
    sessionsText(report),
    sharedMemoryText(report),
    leakText(report),
    `Whole run ${seconds(report.seconds)}, peak resident memory ${megabytes(report.peakResidentBytes)}.`,
  ];
  return `${sections.join("\n\n")}\n`;
}

function headText({ source, load, settings, relation, dataDirectory }: Report): string {
  const size = `${whole(load.blocks)} pages, ${megabytes(load.blocks * BLOCK_BYTES)}`;
  const lines = [
    `Table ${relation} (${size}) in ${dataDirectory}`,
    `shared_buffers ${settings.shared_buffers}, work_mem ${settings.work_mem}, ` +
      `max_connections ${settings.max_connections}, ${settings.workers} worker threads`,
  ];
  if (source !== undefined) lines.push(...sourceText(source));
  if (!load.loaded) return [...lines, "Loaded by an earlier run."].join("\n");
  if (load.restarted) lines.push("An unfinished load was found and dropped; the load began again.");
  lines.push(
    `Loaded ${whole(load.rows)} rows in ${seconds(load.seconds)}; the checkpoint at the end wrote ` +
      `${whole(load.checkpointBuffers)} buffers in ${seconds(load.checkpointSeconds)}.`,
    "",
    locksText(load.locks),
  );
  return lines.join("\n");
}

/** What a cursor gave, and what it held between two fetches. */
function cursorText({ sql, flights, pins }: CursorReport): string {
  const rows = flights.map(({ date, delay, distance, origin, destination }) => [
    date,
    whole(delay),
    whole(distance),
    origin,
    destination,
  ]);
  const { between, afterwards } = pins;
  return [
    heading("Cursor: the first rows"),
    sql,
    "",
    table(["date", "delay", "distance", "origin", "destination"], rows),
    `Between two fetches it had ${pages(between)} pinned; after the commit ${pages(afterwards)}.`,
  ].join("\n");
}

function pages(count: number): string {
  return count === 1 ? "1 page" : `${whole(count)} pages`;
}

function queryText(query: QueryReport, number: number): string {
  const { repeats } = query;
  const lines = [heading(`Query ${number}: ${query.title}`), query.sql];
  lines.push(
    `${whole(query.rows)} rows, ${whole(query.groups)} groups, ${query.backends.length} backends, ` +
      `work_mem ${query.workMem}, ${seconds(query.seconds)}`,
  );
  if (repeats === undefined) {
    const { backends, locks } = query;
    lines.push("", topText(query), "", hashText(query), "", locksText(locks), "");
    lines.push(...contextsText(backends));
  } else lines.push(`The groups are those of query ${repeats}.`);
  return lines.join("\n");
}

function sourceText({ path, bytes, columns }: SourceReport): string[] {
  const named = columns.map(({ name, type }) => `${oneCell(name)} ${type}`);
  return [`CSV file ${path} (${megabytes(bytes)})`, ...wrap(`Columns: ${named.join(", ")}`)];
}

function topText({ result, groups, sql }: QueryReport): string {
  const rows = result.slice(0, TOP_ROWS);
  const ofFlights = rows.filter((row) => "averageDelay" in row);
  const ofCsv = rows.filter((row) => "values" in row);
  const text = ofFlights.length > 0 ? flightsText(ofFlights, sql) : csvText(ofCsv);
  const more = groups - rows.length;
  return more > 0 ? `${text}\n… and ${whole(more)} more` : text;
}

function flightsText(rows: readonly FlightResultRow[], sql: string): string {
  const cells = rows.map(({ key, count, averageDelay, maxDistance }) => [
    key,
    whole(count),
    averageDelay.toFixed(4),
    whole(maxDistance),
  ]);
  return table([sql.split(/[ ,]/)[1] ?? "key", "count", "avg delay", "max distance"], cells);
}

function csvText(rows: readonly CsvResultRow[]): string {
  const cells = rows.map(({ key, count, values, average, max }) => [
    key === null ? "(null)" : oneCell(key),
    whole(count),
    whole(values),
    average === null ? "(null)" : fraction(average),
    max === null ? "(null)" : fraction(max),
  ]);
  return table(["group", "count", "values", "avg", "max"], cells);
}

/** A value of any length and any characters, fit for a table's cell. */
function oneCell(text: string): string {
  const plain = text.replaceAll(/[\s\p{Cc}]+/gu, " ");
  return plain.length > CELL_LENGTH ? `${plain.slice(0, CELL_LENGTH - 1)}…` : plain;
}

/** A number with at most four decimals, or in powers of ten where that says nothing. */
function fraction(value: number): string {
  const size = Math.abs(value);
  const plain = value === 0 || (size >= 0.001 && size < 1e15);
  if (!plain) return value.toExponential(4);
  return value.toLocaleString("en-US", { maximumFractionDigits: 4 });
}

/** What each hash table took, as PostgreSQL's EXPLAIN ANALYZE says it. */
function hashText({ backends, leader }: QueryReport): string {
  const uses: readonly (readonly [string, HashUse])[] = [
    ...backends.map(({ backend, use }) => [backend, use] as const),
    ["the leader", leader],
  ];
  const rows = uses.map(([of, { limitBytes, peakBytes, batches, diskBytes }]) => [
    of,
    ...[batches, kilobytes(peakBytes), kilobytes(limitBytes), kilobytes(diskBytes)].map(whole),
  ]);
  return table(["hash table of", "batches", "memory kB", "at most kB", "disk kB"], rows);
}

/** Rows of `pg_locks`, each of the moment at which its backend looked. */
function locksText(locks: readonly LockReport[]): string {
  const rows = locks.map(({ of, relation, mode, granted, fastpath }) => [
    of,
    relation === null ? "" : oneCell(relation),
    mode,
    granted ? "granted" : "awaited",
    fastpath ? "fast path" : "lock table",
  ]);
  return table(["pg_locks of", "relation", "mode", "granted", "where"], rows, "left");
}

function contextsText(backends: readonly BackendUse[]): string[] {
  return backends.flatMap(({ backend, rows, blocks, contexts, pins }) => [
    `Memory contexts of ${backend} half-way, ${pages(pins)} pinned; ` +
      `it read ${whole(rows)} rows in ${whole(blocks)} pages:`,
    ...indented(contexts),
  ]);
}

function buffersText({ buffers, usageCounts, io, rings }: Report): string {
  const use = buffers.map(({ phase, hits, reads, writes, evictions }) => [
    phase,
    ...[hits, reads, writes, evictions].map(whole),
  ]);
  const most = Math.max(1, ...usageCounts.map((row) => row.buffers));
  const usage = usageCounts.map((row) => [
    `${row.usage_count}`,
    ...[row.buffers, row.dirty, row.pinned].map(whole),
    "█".repeat(Math.ceil((row.buffers / most) * 40)),
  ]);
  return [
    heading("Buffer pool"),
    table(["phase", "hits", "reads", "writes", "evictions"], use),
    "",
    ringsText(rings),
    "",
    ioText(io),
    "",
    table(["usage count", "buffers", "dirty", "pinned", ""], usage),
  ].join("\n");
}

function ringsText({ scan, load }: Report["rings"]): string {
  const scans =
    scan === 0 ? "Scans use the whole pool" : `Each scan has a ring of ${buffersOf(scan)}`;
  const loads = load === 0 ? "loads the whole pool" : `a load one of ${buffersOf(load)}`;
  return `${scans}, ${loads}.`;
}

function buffersOf(count: number): string {
  return `${whole(count)} buffers (${megabytes(count * BLOCK_BYTES)})`;
}

/** Calls of storage and the blocks they moved; contexts in which nothing was done are left out. */
function ioText(io: readonly IoUse[]): string {
  const some = io.filter(({ reads, writes, hits }) => reads + writes + hits > 0);
  const rows = some.map((use) => [
    `${use.phase}, ${use.context}`,
    ...[use.hits, use.reads, use.blocksRead].map(whole),
    perCall(use.blocksRead, use.reads),
    ...[use.writes, use.blocksWritten].map(whole),
    perCall(use.blocksWritten, use.writes),
    ...[use.evictions, use.reuses].map(whole),
  ]);
  const read = ["reads", "blocks", "a read"];
  const written = ["writes", "blocks", "a write"];
  return table(["phase, context", "hits", ...read, ...written, "evicted", "reused"], rows);
}

function perCall(blocks: number, calls: number): string {
  return calls === 0 ? "" : (blocks / calls).toFixed(1);
}

/** Transactions, and look-ups in the catalog of tables: where each was answered. */
function sessionsText({ sessions }: Report): string {
  const rows = sessions.map(({ of, commits, rollbacks, catalog }) => [
    of,
    ...[commits, rollbacks, catalog.hits, catalog.sharedHits, catalog.loads].map(whole),
    ...[catalog.negativeHits + catalog.negativeLoads, catalog.invalidations].map(whole),
  ]);
  const transactions = ["commits", "rollbacks"];
  const lookUps = ["own hits", "shared hits", "rows read", "no such row", "invalidated"];
  return [
    heading("Sessions: transactions, and look-ups in the catalog cache"),
    table(["session", ...transactions, ...lookUps], rows),
  ].join("\n");
}

function sharedMemoryText({ sharedMemory: { parts, regionBytes } }: Report): string {
  const rows = parts.map(({ name, off, allocated_size: size }) => [
    name ?? "(not used)",
    off === null ? "" : whole(off),
    whole(size),
  ]);
  const sum = parts.reduce((total, part) => total + part.allocated_size, 0);
  const verdict = sum === regionBytes ? "which is the region" : `but the region has ${regionBytes}`;
  return [
    heading("Shared memory"),
    table(["part", "offset", "bytes"], rows),
    `Sum ${whole(sum)} bytes (${megabytes(sum)}), ${verdict}.`,
  ].join("\n");
}

function leakText({ queries, leaks }: Report): string {
  const cell = (audit: AuditReport, what: keyof Holdings): string =>
    `${whole(audit.before[what])} → ${whole(audit.after[what])}`;
  const rows = queries.flatMap(({ audits }, index) =>
    audits.map((audit) => [
      `query ${index + 1}, ${audit.of}`,
      cell(audit, "contexts"),
      cell(audit, "usedBytes"),
      cell(audit, "freeChunks"),
      cell(audit, "pins"),
      cell(audit, "locks"),
    ]),
  );
  const verdict =
    leaks.length === 0
      ? ["No context, no chunk, no pin and no lock was left over after the queries."]
      : leaks.map((leak) => `LEAK ${leak}`);
  return [
    heading("Leak check: before → after each query"),
    table(["", "contexts", "used bytes", "free chunks", "pins", "locks"], rows),
    ...verdict,
  ].join("\n");
}

/**
 * Aligned columns: the first to the left, numbers to the right, a last one without a head left.
 *
 * @param rest - where all columns but the first are aligned
 */
function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  rest: "left" | "right" = "right",
): string {
  const names = ["top", "bottom", "left", "right", "mid", "middle"] as const;
  const joints = [
    "top-mid",
    "top-left",
    "top-right",
    "bottom-mid",
    "bottom-left",
    "bottom-right",
  ] as const;
  const sides = ["left-mid", "mid-mid", "right-mid"] as const;
  const none = Object.fromEntries([...names, ...joints, ...sides].map((name) => [name, ""]));
  const drawn = new Table({
    head: [...head],
    chars: none,
    colAligns: head.map((name, index) => (index > 0 && name !== "" ? rest : "left")),
    style: { "padding-left": 0, "padding-right": 2, head: [], border: [] },
  });
  for (const row of rows) drawn.push([...row]);
  return indented(drawn.toString())
    .map((line) => line.trimEnd())
    .join("\n");
}

function heading(text: string): string {
  return `── ${text} ${"─".repeat(Math.max(0, WIDTH - text.length - 4))}`;
}

function indented(text: string): string[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => `  ${line}`);
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function whole(value: number): string {
  return value.toLocaleString("en-US");
}

function seconds(value: number): string {
  return `${value.toFixed(2)} s`;
}

function kilobytes(bytes: number): number {
  return Math.ceil(bytes / 1024);
}

function megabytes(bytes: number): string {
  return `${(bytes / MEGABYTE).toFixed(1)} MB`;
}
