/**
 * PostgreSQL as a contender. In `npm run bench:postgres` a server runs, and each turn is a session
 * of its own that times the operation inside the server. In `npm run bench` no server runs, and the
 * turns are those that `bench:postgres` took on this machine since it started; if it took none
 * there is no such contender.
 */

import type { Contender } from "./harness.ts";
import { thisMachine } from "./machine.ts";
import { type PostgresOperation, readPostgresFile } from "./postgres-file.ts";
import { type PostgresConnection, query } from "./postgres-session.ts";
import { POSTGRES_POOL_PAGES, WORKING_SET_PAGES } from "./workloads.ts";

/** The variable through which bench/postgres.ts tells its children where the server is. */
export const CONNECTION_VARIABLE = "PALLOC_BENCH_POSTGRES";

/** What the table and the JSON call it. */
export const POSTGRES = "PostgreSQL";

const SAMPLE_MS = 15;

/** The contender for one operation, or none. */
export function postgresPeer(operation: PostgresOperation): Contender[] {
  const connection = process.env[CONNECTION_VARIABLE];
  if (connection !== undefined) {
    return [livePeer(JSON.parse(connection) as PostgresConnection, operation)];
  }
  const rounds = readPostgresFile(thisMachine())?.operations[operation];
  return rounds === undefined ? [] : [recordedPeer(rounds)];
}

/** Times an operation inside the server, in nanoseconds. */
export function askPostgres(connection: PostgresConnection, operation: PostgresOperation): number {
  const pages = operation === "hit-1000-pages" ? WORKING_SET_PAGES : POSTGRES_POOL_PAGES;
  const name = operation.startsWith("hit-") ? "hit" : operation;
  const call = `palloc_bench('${name}', ${connection.relation}, ${pages}, ${SAMPLE_MS})`;
  return Number(query(connection, `SELECT ${call}`));
}

function livePeer(connection: PostgresConnection, operation: PostgresOperation): Contender {
  const turn = (): number => askPostgres(connection, operation);
  return { name: POSTGRES, role: "peer", operations: 1, run: turn, turn, check: () => void turn() };
}

function recordedPeer(rounds: readonly number[]): Contender {
  let next = 0;
  const turn = (): number => rounds[next++ % rounds.length] ?? Number.NaN;
  // The server's own gate has passed: it gives an error instead of a number.
  return { name: POSTGRES, role: "peer", operations: 1, run: turn, turn, check: () => {} };
}
