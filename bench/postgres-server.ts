/**
 * A PostgreSQL 15 server for the length of a benchmark: a cluster in a temporary directory, reached
 * through a socket in that directory and by no address, with bench/postgres/palloc_bench.c in it.
 *
 * PostgreSQL refuses to run as root: then all of it runs as `postgres` or `nobody`. The server is a
 * child of `timeout`, which ends it even if this process is killed; the directory goes last.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "./machine.ts";
import {
  type PostgresConnection,
  PostgresError,
  query,
  run,
  STEP_MS,
  type User,
} from "./postgres-session.ts";
import { POSTGRES_POOL_PAGES } from "./workloads.ts";

const BINARIES = "/usr/lib/postgresql/15/bin";
const SOURCE = "bench/postgres/palloc_bench.c";
/** 128 MB, as ours: 16,384 pages. */
const SHARED_BUFFERS = "128MB";
/** Leaves room for one row a page. */
const ROW_BYTES = 7000;
const SERVER_SECONDS = 1800;
const START_SECONDS = 30;
const LOOK_MS = 100;

/** A running server. */
export interface PostgresServer {
  readonly connection: PostgresConnection;
  /** What `SHOW server_version` says. */
  readonly version: string;
  /** Ends the server and removes its directory. */
  stop(): Promise<void>;
}

/**
 * Builds the extension, makes a cluster and starts it.
 *
 * @param signal - aborted, it ends the attempt and takes back what was made
 */
export async function startPostgres(signal: AbortSignal): Promise<PostgresServer> {
  requirePackages();
  const user = chooseUser();
  const directory = mkdtempSync(join(tmpdir(), "palloc-postgres-"));
  let server: ChildProcess | undefined;
  try {
    const library = buildExtension(directory);
    const data = makeCluster(directory, user);
    server = launch(data, directory, user);
    await untilReady(server, directory, signal);
    const connection = prepareDatabase(directory, library);
    const version = query(connection, "SHOW server_version");
    const running = server;
    return { connection, version, stop: () => stop(running, directory) };
  } catch (error) {
    await stop(server, directory);
    throw error;
  }
}

function requirePackages(): void {
  const config = join(BINARIES, "pg_config");
  const headers = existsSync(config) ? run(config, ["--includedir-server"]) : "";
  const found = existsSync(join(BINARIES, "postgres")) && existsSync(join(headers, "postgres.h"));
  const compiler = spawnSync("cc", ["--version"]).status === 0;
  if (found && compiler) return;
  throw new PostgresError(
    "PostgreSQL 15's server, its header files and a C compiler are needed; on Debian 12:\n" +
      "  apt-get install postgresql-15 postgresql-server-dev-15 gcc",
  );
}

/** Nobody in particular unless this process is root's. */
function chooseUser(): User {
  if (process.getuid?.() !== 0) return {};
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = ["-u", "-g"].map((flag) => spawnSync("id", [flag, name]).stdout.toString());
    if (uid !== undefined && uid !== "" && gid !== undefined) {
      return { uid: Number(uid), gid: Number(gid) };
    }
  }
  throw new PostgresError('PostgreSQL does not run as root, and there is no user "postgres"');
}

function buildExtension(directory: string): string {
  const library = join(directory, "palloc_bench.so");
  const include = `-I${run(join(BINARIES, "pg_config"), ["--includedir-server"])}`;
  const source = join(packageRoot(), SOURCE);
  run("cc", ["-O2", "-fPIC", "-shared", include, source, "-o", library]);
  return library;
}

function makeCluster(directory: string, user: User): string {
  const data = join(directory, "data");
  mkdirSync(data, { mode: 0o700 });
  if (user.uid !== undefined && user.gid !== undefined) {
    chownSync(directory, user.uid, user.gid);
    chownSync(data, user.uid, user.gid);
  }
  chmodSync(directory, 0o700);
  const options = ["--auth=trust", "--username=palloc", "--no-locale", "--encoding=UTF8"];
  run(join(BINARIES, "initdb"), ["-D", data, "--no-sync", ...options], user, directory);
  return data;
}

function launch(data: string, directory: string, user: User): ChildProcess {
  const settings = {
    listen_addresses: "",
    unix_socket_directories: directory,
    shared_buffers: SHARED_BUFFERS,
    autovacuum: "off",
    fsync: "off",
    max_wal_size: "1GB",
    // A statement that hangs ends, and with it the benchmark.
    statement_timeout: String(STEP_MS),
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const bound = ["--signal=INT", "--kill-after=10", String(SERVER_SECONDS)];
  return spawn("timeout", [...bound, join(BINARIES, "postgres"), "-D", data, ...flags], {
    ...user,
    cwd: directory,
    stdio: "ignore",
  });
}

async function untilReady(
  server: ChildProcess,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  const end = performance.now() + START_SECONDS * 1000;
  while (spawnSync(join(BINARIES, "pg_isready"), ["-q", "-h", directory]).status !== 0) {
    if (server.exitCode !== null) {
      throw new PostgresError(`the PostgreSQL server ended with code ${server.exitCode}`);
    }
    if (performance.now() > end) {
      throw new PostgresError(`the PostgreSQL server did not start within ${START_SECONDS} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    signal.throwIfAborted();
  }
}

function prepareDatabase(directory: string, library: string): PostgresConnection {
  const place = { psql: join(BINARIES, "psql"), socketDirectory: directory, relation: 0 };
  query(
    place,
    "CREATE FUNCTION palloc_bench(text, oid, int, int) RETURNS float8 " +
      `LANGUAGE c STRICT AS '${library}', 'palloc_bench'`,
  );
  query(place, "CREATE UNLOGGED TABLE pages (filling text)");
  query(place, "ALTER TABLE pages ALTER filling SET STORAGE PLAIN");
  query(
    place,
    `INSERT INTO pages SELECT repeat('x', ${ROW_BYTES}) FROM generate_series(1, ${POSTGRES_POOL_PAGES})`,
  );
  query(place, "CHECKPOINT");
  return { ...place, relation: Number(query(place, "SELECT 'pages'::regclass::oid")) };
}

async function stop(server: ChildProcess | undefined, directory: string): Promise<void> {
  if (server !== undefined && server.exitCode === null && server.signalCode === null) {
    const ended = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGINT");
    await ended;
  }
  rmSync(directory, { recursive: true, force: true });
}
