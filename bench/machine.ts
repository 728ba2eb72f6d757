/**
 * Where numbers were measured: enough to compare two runs, nothing that names the machine, its user
 * or its folders.
 */

import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem, type } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Processor, memory and system, as the JSON holds them. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly os: string;
}

const GIGABYTE = 1024 ** 3;

/** Describes the machine this process runs on. */
export function thisMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    os: `${type()} ${release()} ${process.arch}`,
  };
}

/** One line for people. */
export function machineText(machine: Machine): string {
  const memory = `${(machine.memoryBytes / GIGABYTE).toFixed(1)} GB`;
  return `${machine.cpu}, ${machine.cores} cores, ${memory}, ${machine.os}`;
}

/** The package's folder: the nearest one above bench, built or not, that has a package.json. */
export function packageRoot(): string {
  let folder = new URL("..", import.meta.url);
  while (!existsSync(new URL("package.json", folder))) {
    const parent = new URL("..", folder);
    if (parent.href === folder.href) throw new Error("package.json not found");
    folder = parent;
  }
  return fileURLToPath(folder);
}

const PEERS = [
  "assemblyscript",
  "@thi.ng/malloc",
  "lru-cache",
  "@electric-sql/pglite",
  "benchmark",
];

/** Versions of palloc and of what it is compared with. */
export function versions(): Record<string, string> {
  const text = readFileSync(join(packageRoot(), "package.json"), "utf8");
  const manifest = JSON.parse(text) as {
    version: string;
    devDependencies: Record<string, string>;
  };
  const peers = PEERS.map((name) => [name, manifest.devDependencies[name] ?? "unknown"]);
  return { palloc: manifest.version, v8: process.versions.v8, ...Object.fromEntries(peers) };
}
