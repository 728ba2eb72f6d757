/**
 * Talking to the PostgreSQL server of a benchmark: one program run to its end at a time, so that a
 * turn of the harness, which waits for nothing, can ask it. What is timed is timed inside the
 * server; how long the question takes does not matter.
 */

import { spawnSync } from "node:child_process";

/** How to reach the server. */
export interface PostgresConnection {
  readonly psql: string;
  readonly socketDirectory: string;
  /** Object identifier of the relation whose pages are read. */
  readonly relation: number;
}

/** Whom a program runs as; empty is whoever runs this. */
export interface User {
  readonly uid?: number;
  readonly gid?: number;
}

/** The longest that one program may take. */
export const STEP_MS = 120_000;

/** Something that PostgreSQL needs is not there or did not work; the message says what to do. */
export class PostgresError extends Error {}

/** Runs one statement and returns its one value. @throws {@link PostgresError} if it fails */
export function query({ psql, socketDirectory }: PostgresConnection, sql: string): string {
  const options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"];
  const place = ["-h", socketDirectory, "-U", "palloc", "-d", "postgres"];
  return run(psql, [...options, ...place, "-c", sql]);
}

/** Runs a program to its end and returns what it printed. */
export function run(
  program: string,
  args: readonly string[],
  user: User = {},
  cwd?: string,
): string {
  const done = spawnSync(program, [...args], {
    ...user,
    ...(cwd === undefined ? {} : { cwd }),
    encoding: "utf8",
    timeout: STEP_MS,
  });
  if (done.status === 0) return done.stdout.trim();
  const reason = done.error?.message ?? done.stderr.trim();
  throw new PostgresError(`${program} failed: ${reason}`);
}
