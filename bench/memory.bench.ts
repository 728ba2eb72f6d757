/**
 * What N workers that all read the same 64 MB keep in memory: on one pool, and each with a private
 * `lru-cache` of pages. A program of its own is started for every figure (memory-child.ts) and says
 * how much memory the system has given it, workers, engine and all: memory that was once used is
 * seldom given back, so a second figure in one process would be none.
 */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Contender, Role, Row } from "./harness.ts";
import { type DataDirectory, makeDirectory } from "./pages.ts";

/** Whose memory is measured. */
export type MemoryKind = "pool" | "lru-cache";

/** 64 MB. */
export const MEMORY_PAGES = 8192;
const SETTINGS = { shared_buffers: "16MB" };
const CHILD_MS = 60_000;
const MEGABYTE = 1024 * 1024;

const child = fileURLToPath(new URL("./memory-child.js", import.meta.url));

/** Bytes that a program with `workers` workers holds once each has read every page. */
function residentBytes(kind: MemoryKind, workers: number, data: DataDirectory): number {
  const task = [child, kind, String(workers), data.directory, data.file];
  const printed = execFileSync(process.execPath, task, { encoding: "utf8", timeout: CHILD_MS });
  const bytes = Number(printed);
  if (!(bytes > 0)) throw new Error(`memory-child.js printed ${printed}`);
  return bytes;
}

function measured(
  name: string,
  role: Role,
  kind: MemoryKind,
  workers: number,
  data: DataDirectory,
): Contender {
  const turn = (): number => residentBytes(kind, workers, data) / MEGABYTE;
  // The child checks every page it reads, and fails with a wrong one.
  return { name, role, operations: 1, run: turn, turn, check: () => void turn() };
}

async function memoryContenders(workers: number): Promise<Contender[]> {
  const data = await makeDirectory(MEMORY_PAGES, SETTINGS);
  const peer = measured("lru-cache", "peer", "lru-cache", workers, data);
  return [measured("palloc", "ours", "pool", workers, data), { ...peer, dispose: data.remove }];
}

function memoryRow(workers: number): Row {
  const who = workers === 1 ? "1 worker" : `${workers} workers`;
  return {
    id: `memory.${workers}-worker${workers === 1 ? "" : "s"}`,
    name: `memory of a program whose ${who} read the same 64 MB: one pool, or a cache each`,
    unit: "MB",
    targets: {},
    contenders: () => memoryContenders(workers),
  };
}

/** What a pool for all saves over a cache for each. */
export const memoryRows: readonly Row[] = [1, 2, 4].map(memoryRow);
