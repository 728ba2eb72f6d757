/**
 * `npm run bench:postgres`: PostgreSQL 15 and ours side by side. Starts a server of its own, times
 * what PostgreSQL does inside it, measures the rows that are set against PostgreSQL with it, round
 * by round, and prints their table. What it measured is kept for `npm run bench` on the same
 * machine.
 *
 *   npm run bench:postgres -- [--json FILE] [--rounds N] [--help]
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { measureApart } from "./apart.ts";
import { defaultEffort, median, type RowResult } from "./harness.ts";
import { machineText, packageRoot, thisMachine } from "./machine.ts";
import { type BenchOptions, parseOptions, UsageError } from "./options.ts";
import {
  POSTGRES_JSON,
  type PostgresFile,
  type PostgresOperation,
  postgresOperations,
  thisBoot,
} from "./postgres-file.ts";
import { askPostgres, CONNECTION_VARIABLE, POSTGRES } from "./postgres-peer.ts";
import { type PostgresServer, startPostgres } from "./postgres-server.ts";
import { PostgresError } from "./postgres-session.ts";
import { closeCalls, digits, losses, tableText } from "./report.ts";
import { rows } from "./rows.ts";

const HELP = `npm run bench:postgres -- [options]

  --json FILE   where the results go (${POSTGRES_JSON})
  --rounds N    turns each contender gets, 1 to 1000 (9)
  --help        this text

Needs PostgreSQL 15's server and header files and a C compiler; on Debian 12:
apt-get install postgresql-15 postgresql-server-dev-15 gcc`;

type Operations = Record<PostgresOperation, number[]>;

/** Every operation in turn, as often as there are rounds. */
async function timeOperations({ connection }: PostgresServer, rounds: number): Promise<Operations> {
  const entries = postgresOperations.map((name) => [name, [] as number[]] as const);
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, taken] of entries) taken.push(askPostgres(connection, name));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return Object.fromEntries(entries) as Operations;
}

/** The rows that have PostgreSQL as a peer, measured with the server that runs. */
async function measureRows(server: PostgresServer, rounds: number): Promise<RowResult[]> {
  process.env[CONNECTION_VARIABLE] = JSON.stringify(server.connection);
  const results: RowResult[] = [];
  for (const { id, targets } of rows) {
    if (!(POSTGRES in targets)) continue;
    process.stderr.write(`measuring ${id} …\n`);
    results.push(await measureApart(id, rounds));
  }
  return results;
}

function print(file: PostgresFile, results: readonly RowResult[]): void {
  console.log(tableText(results));
  console.log(`PostgreSQL ${file.version}, inside the server, ns an operation:`);
  for (const name of postgresOperations) {
    console.log(`  ${name.padEnd(16)}${digits(median(file.operations[name])).padStart(8)}`);
  }
  console.log(`${machineText(file.machine)}\n${file.date}`);
  const lost = losses(results);
  console.log(lost.length === 0 ? "\nNo case lost." : `\nWhere we lose:\n  ${lost.join("\n  ")}`);
  const close = closeCalls(results);
  if (close.length > 0) console.log(`\nToo close to call in this run:\n  ${close.join("\n  ")}`);
}

/** Runs `use` while a server runs; it is stopped however that ends, Ctrl-C included. */
async function withServer<T>(use: (server: PostgresServer) => Promise<T>): Promise<T> {
  const interruption = new AbortController();
  const { signal } = interruption;
  const interrupted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  interrupted.catch(() => {});
  for (const name of ["SIGINT", "SIGTERM"]) {
    process.once(name, () => interruption.abort(new PostgresError("interrupted")));
  }
  process.stderr.write("building the extension, starting PostgreSQL …\n");
  const server = await startPostgres(signal);
  try {
    return await Promise.race([use(server), interrupted]);
  } finally {
    await server.stop();
  }
}

async function measure({ rounds, json }: BenchOptions): Promise<void> {
  const [file, results] = await withServer(async (server) => {
    process.stderr.write("timing PostgreSQL …\n");
    const operations = await timeOperations(server, rounds);
    const written: PostgresFile = {
      kind: "palloc bench:postgres",
      machine: thisMachine(),
      boot: thisBoot() ?? "unknown",
      version: server.version,
      date: new Date().toISOString(),
      operations,
    };
    return [written, await measureRows(server, rounds)] as const;
  });
  const path = json ?? join(packageRoot(), POSTGRES_JSON);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify({ ...file, rows: results }, null, 2)}\n`);
  print(file, results);
  console.log(`\nwritten to ${json ?? POSTGRES_JSON}`);
  if (results.some(({ rejected }) => rejected.length > 0)) process.exitCode = 1;
}

try {
  const options = parseOptions(process.argv.slice(2), defaultEffort.rounds);
  if (options.only !== undefined || options.list) {
    throw new UsageError("bench:postgres measures every row that is set against PostgreSQL");
  }
  if (options.help) console.log(HELP);
  else await measure(options);
} catch (error) {
  console.error(`bench:postgres: ${error instanceof Error ? error.message : String(error)}`);
  // Not the exit code alone: after an interruption a row is still being measured.
  process.exit(1);
}
