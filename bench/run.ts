/**
 * `npm run bench`: measures the rows of the design, prints one table, writes JSON.
 *
 *   npm run bench -- [--only ROW] [--json FILE] [--rounds N] [--list] [--help]
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { measureApart } from "./apart.ts";
import { defaultEffort, type RowResult } from "./harness.ts";
import { machineText, packageRoot, thisMachine, versions } from "./machine.ts";
import { type BenchOptions, HELP, parseOptions, UsageError } from "./options.ts";
import { readPostgresFile } from "./postgres-file.ts";
import { POSTGRES } from "./postgres-peer.ts";
import { absentPeers, closeCalls, losses, type Report, tableText } from "./report.ts";
import { rows } from "./rows.ts";
import { selectRows } from "./select.ts";

const DEFAULT_JSON = "bench/results/latest.json";

async function measureAll(options: BenchOptions): Promise<RowResult[]> {
  const chosen = options.only === undefined ? rows : selectRows(rows, options.only);
  if (chosen.length === 0) {
    throw new UsageError(`there is no row "${options.only}"; --list shows them`);
  }
  const results: RowResult[] = [];
  for (const { id } of chosen) {
    process.stderr.write(`measuring ${id} …\n`);
    results.push(await measureApart(id, options.rounds));
  }
  return results;
}

function print(report: Report): void {
  const { machine, node, date, rows: results } = report;
  console.log(tableText(results));
  const names = Object.entries(report.versions).map(([name, version]) => `${name} ${version}`);
  console.log(`${machineText(machine)}\nnode ${node}, ${names.join(", ")}`);
  console.log(`${date}, ${report.rounds} interleaved rounds; time is the median of the rounds`);
  if (report.postgres !== undefined && results.some(({ peers }) => POSTGRES in peers)) {
    const { version, date: measured } = report.postgres;
    console.log(`PostgreSQL ${version}, measured ${measured} by npm run bench:postgres`);
  }
  const lost = losses(results);
  console.log(lost.length === 0 ? "\nNo case lost." : `\nWhere we lose:\n  ${lost.join("\n  ")}`);
  const close = closeCalls(results);
  if (close.length > 0) console.log(`\nToo close to call in this run:\n  ${close.join("\n  ")}`);
  const absent = absentPeers(results);
  if (absent.length > 0) console.log(`\nNot measured:\n  ${absent.join("\n  ")}`);
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2), defaultEffort.rounds);
  if (options.help) return console.log(HELP);
  if (options.list) return console.log(rows.map(({ id, name }) => `${id}  ${name}`).join("\n"));
  const results = await measureAll(options);
  const machine = thisMachine();
  const postgres = readPostgresFile(machine);
  const report: Report = {
    machine,
    node: process.versions.node,
    versions: versions(),
    date: new Date().toISOString(),
    rounds: options.rounds,
    rows: results,
    ...(postgres && { postgres: { version: postgres.version, date: postgres.date } }),
  };
  const file = options.json ?? join(packageRoot(), DEFAULT_JSON);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  print(report);
  console.log(`\nwritten to ${options.json ?? DEFAULT_JSON}`);
  if (results.some(({ rejected }) => rejected.length > 0)) process.exitCode = 1;
}

// A row that is being measured, and its files, end with this process.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
try {
  await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
