// What the tests of the main job share: running the built program as a user does, and the same
// aggregation done plainly in JavaScript, straight from the Parquet file.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parquetMetadata, parquetRead } from "hyparquet";
import { compressors } from "hyparquet-compressors";

const root = fileURLToPath(new URL("../..", import.meta.url));
const program = join(root, "dist/examples/flights/main.js");
const parquet = join(root, "node_modules/vega-datasets/data/flights-3m.parquet");

/** How a run of the program ended. */
export interface Ended {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A run of the program that has not ended. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Settles when stderr has shown this text. */
  readonly shown: (text: string) => Promise<void>;
}

/** Starts the built program. */
export function start(args: readonly string[], environment: Record<string, string> = {}): Running {
  const env = { ...process.env, ...environment };
  const child = spawn(process.execPath, [program, ...args], { cwd: root, env });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on("close", (exitCode, signal) => {
      resolve({ exitCode, signal, stdout, stderr });
    });
  });
  const shown = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (stderr.includes(text)) resolve();
      };
      look();
      child.stderr.on("data", look);
      child.on("close", () => reject(new Error(`ended without "${text}": ${stderr}`)));
    });
  return { child, ended, shown };
}

/** Runs the built program to its end. */
export function run(args: readonly string[]): Promise<Ended> {
  return start(args).ended;
}

/** A new directory below the system's temporary one; `remove` it. */
export function temporaryDirectory(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "palloc-flights-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** One group as the report's JSON has it. */
export interface Row {
  readonly key: string;
  readonly count: number;
  readonly averageDelay: number;
  readonly maxDistance: number;
}

/**
 * `select origin, count(*), avg(delay), max(distance) … group by origin`, by key, in plain
 * JavaScript.
 */
export function aggregatePlainly(maxRows: number): Promise<Map<string, Row>> {
  return remembered("origin", maxRows);
}

/** All groups of the same by date. */
export function datesPlainly(): Promise<Map<string, Row>> {
  return remembered("date", Number.POSITIVE_INFINITY);
}

/** The largest groups by date, largest first; of two as large the one with lesser bytes. */
export async function largestDates(count: number): Promise<Row[]> {
  const all = [...(await datesPlainly()).values()];
  const bytes = ({ key }: Row): Uint8Array =>
    new Uint8Array(new Float64Array([Date.parse(key)]).buffer);
  all.sort((left, right) => right.count - left.count || Buffer.compare(bytes(left), bytes(right)));
  return all.slice(0, count);
}

type KeyColumn = "origin" | "date";

const aggregated = new Map<string, Promise<Map<string, Row>>>();

function remembered(column: KeyColumn, maxRows: number): Promise<Map<string, Row>> {
  const of = `${column} ${maxRows}`;
  const known = aggregated.get(of) ?? aggregate(column, maxRows);
  aggregated.set(of, known);
  return known;
}

function textOf(key: string | Date): string {
  return typeof key === "string" ? key : key.toISOString();
}

async function aggregate(column: KeyColumn, maxRows: number): Promise<Map<string, Row>> {
  const bytes = await readFile(parquet);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
  const metadata = parquetMetadata(file);
  const groups = new Map<string, { count: number; sum: number; max: number }>();
  let rowStart = 0;
  for (const { num_rows } of metadata.row_groups) {
    const rowEnd = rowStart + Math.min(Number(num_rows), maxRows - rowStart);
    if (rowEnd <= rowStart) break;
    await parquetRead({
      file,
      metadata,
      compressors,
      columns: [column, "delay", "distance"],
      rowStart,
      rowEnd,
      onComplete: (rows) => {
        for (const [value, delay, distance] of rows as [string | Date, bigint, bigint][]) {
          const key = textOf(value);
          const group = groups.get(key) ?? { count: 0, sum: 0, max: -1 };
          group.count += 1;
          group.sum += Number(delay);
          group.max = Math.max(group.max, Number(distance));
          groups.set(key, group);
        }
      },
    });
    rowStart = rowEnd;
  }
  return new Map(
    [...groups].map(([key, { count, sum, max }]) => [
      key,
      { key, count, averageDelay: sum / count, maxDistance: max },
    ]),
  );
}
