// An empty project with the packed tarball installed, as a user's would be.

import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const repository: string = fileURLToPath(new URL("../..", import.meta.url));
const fixtures = fileURLToPath(new URL("fixtures", import.meta.url));

export interface Outcome {
  readonly status: number | null;
  /** Standard output, then standard error. */
  readonly text: string;
  readonly errors: string;
}

/** Runs a program to its end. */
export function run(program: string, words: readonly string[], folder: string): Outcome {
  const { status, stdout, stderr } = spawnSync(program, words, { cwd: folder, encoding: "utf8" });
  return { status, text: stdout + stderr, errors: stderr };
}

function runWell(program: string, words: readonly string[], folder: string): string {
  const { status, text } = run(program, words, folder);
  if (status !== 0) throw new Error(`${program} ${words.join(" ")} ended with ${status}:\n${text}`);
  return text;
}

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

function pack(folder: string): Packed {
  const words = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const { status, stdout, stderr } = spawnSync("npm", words, { cwd: repository, encoding: "utf8" });
  if (status !== 0) throw new Error(`npm pack ended with ${status}:\n${stderr}`);
  const [packed] = JSON.parse(stdout) as [Packed];
  return packed;
}

/** The tarball, and a project of a few files that installed it. */
export class Project {
  readonly folder: string = mkdtempSync(join(tmpdir(), "palloc-package-"));
  readonly tarball: string;
  /** Paths of the files in the tarball. */
  readonly paths: readonly string[];

  constructor() {
    const { filename, files } = pack(this.folder);
    this.tarball = join(this.folder, filename);
    this.paths = files.map(({ path }) => path);
    this.write("package.json", '{ "name": "empty", "private": true }');
    runWell("npm", ["install", "--no-audit", "--no-fund", `./${filename}`], this.folder);
    for (const name of readdirSync(fixtures)) {
      copyFileSync(join(fixtures, name), join(this.folder, name));
    }
  }

  /** Writes a file of the project. */
  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  /** Reads a file of the installed package. */
  read(path: string): Buffer {
    return readFileSync(join(this.folder, "node_modules/palloc", path));
  }

  /** Runs a file of the project with Node; anything on stderr, a warning too, is a failure. */
  node(name: string): string {
    const { status, text, errors } = run(process.execPath, [name], this.folder);
    if (status !== 0 || errors !== "") throw new Error(`${name} ended with ${status}:\n${text}`);
    return text;
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
