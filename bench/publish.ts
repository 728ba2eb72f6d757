/**
 * `npm run bench:publish -- FILE…`: makes results that `npm run bench -- --json FILE` wrote the
 * published ones, row by row, and writes the tables of README.md and docs/benchmarks.md anew.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "./machine.ts";
import { everything, headlines, withTable } from "./markdown.ts";
import type { Report } from "./report.ts";
import { rows } from "./rows.ts";

const PUBLISHED = "bench/results/published.json";

/** The rows of `newer` in the place of those of `older`; rows that are measured no more go. */
function merged(older: Report, newer: Report): Report {
  const fresh = new Map([...older.rows, ...newer.rows].map((row) => [row.id, row]));
  const results = rows.flatMap(({ id }) => fresh.get(id) ?? []);
  return { ...older, ...newer, rows: results };
}

function read(file: string): Report {
  return JSON.parse(readFileSync(file, "utf8")) as Report;
}

function rewrite(file: string, table: string): void {
  const path = join(packageRoot(), file);
  writeFileSync(path, withTable(readFileSync(path, "utf8"), table));
}

const published = join(packageRoot(), PUBLISHED);
const report = process.argv.slice(2).map(read).reduce(merged, read(published));
writeFileSync(published, `${JSON.stringify(report, undefined, 2)}\n`);
rewrite("README.md", headlines(report));
rewrite("docs/benchmarks.md", everything(report));
const missing = rows.filter(({ id }) => !report.rows.some((row) => row.id === id));
console.log(`${report.rows.length} rows published`);
if (missing.length > 0) console.log(`never measured: ${missing.map(({ id }) => id).join(", ")}`);
