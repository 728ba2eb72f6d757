/**
 * What `npm run bench:postgres` measured, kept for later runs of `npm run bench`. Numbers of two
 * machines are no ratio, and neither are those of one machine under two kernels: a file counts only
 * on the machine that wrote it, and until that machine starts again.
 */

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Machine, packageRoot } from "./machine.ts";

/** Where the file is unless `--json` says otherwise. */
export const POSTGRES_JSON = "bench/results/postgres.json";

/** What can be measured inside the server. */
export const postgresOperations = [
  "hit-1000-pages",
  "hit-whole-pool",
  "context-life",
  "advisory-lock",
  "relation-lock",
  "lwlock",
  "lwlock-shared",
  "catalog-hit",
] as const;

/** Name of one of {@link postgresOperations}. */
export type PostgresOperation = (typeof postgresOperations)[number];

/** The file. */
export interface PostgresFile {
  readonly kind: "palloc bench:postgres";
  readonly machine: Machine;
  /** See {@link thisBoot}. */
  readonly boot: string;
  /** Of the server. */
  readonly version: string;
  /** ISO 8601, UTC. */
  readonly date: string;
  /** Nanoseconds an operation, one number a round. */
  readonly operations: Readonly<Record<PostgresOperation, readonly number[]>>;
}

const BOOT_ID = "/proc/sys/kernel/random/boot_id";
const DIGEST_LENGTH = 16;

/**
 * A word that changes each time the machine starts and tells nothing else; undefined where the
 * system has none, and then no file counts.
 */
export function thisBoot(): string | undefined {
  if (!existsSync(BOOT_ID)) return undefined;
  const id = readFileSync(BOOT_ID, "utf8");
  return createHash("sha256").update(id).digest("hex").slice(0, DIGEST_LENGTH);
}

/**
 * The file's content if it was measured on `machine` since it started.
 *
 * @param text - of the file; anything
 * @returns undefined for a file of another machine or boot, or no such file at all
 */
export function usableFile(
  text: string,
  machine: Machine,
  boot: string | undefined,
): PostgresFile | undefined {
  const file = parsed(text);
  if (file?.kind !== "palloc bench:postgres" || boot === undefined) return undefined;
  const sameMachine =
    file.machine?.cpu === machine.cpu &&
    file.machine.cores === machine.cores &&
    file.machine.memoryBytes === machine.memoryBytes &&
    file.machine.os === machine.os;
  const complete = postgresOperations.every((name) => isTimed(file.operations?.[name]));
  return sameMachine && file.boot === boot && complete ? (file as PostgresFile) : undefined;
}

/** Reads {@link POSTGRES_JSON} of this package, if it is there and usable here. */
export function readPostgresFile(machine: Machine): PostgresFile | undefined {
  const path = join(packageRoot(), POSTGRES_JSON);
  if (!existsSync(path)) return undefined;
  return usableFile(readFileSync(path, "utf8"), machine, thisBoot());
}

function parsed(text: string): Partial<PostgresFile> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function isTimed(rounds: unknown): boolean {
  const positive = (value: unknown): boolean => typeof value === "number" && value > 0;
  return Array.isArray(rounds) && rounds.length > 0 && rounds.every(positive);
}
