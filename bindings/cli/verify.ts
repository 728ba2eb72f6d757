/**
 * `palloc verify`: looks for damage in a data directory, and changes nothing. The directory is
 * claimed meanwhile, as a program that uses it would: pages that somebody is writing cannot be
 * judged.
 *
 * PostgreSQL: src/bin/pg_checksums/pg_checksums.c
 */

import { existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  type StorageProblem,
  type VerifyProgress,
  type VerifyResult,
  verifyStorage,
} from "../index.ts";
import { nodeFiles } from "../storage/node-fs.ts";
import { readWords, UsageError } from "./usage.ts";

const USAGE = `palloc verify: looks for damage in a data directory

Usage: palloc verify DIRECTORY [--json] [--progress]

Checks the control document, the journal of the last checkpoint, and length, header and checksum of
every page, as the next start would find them. Changes nothing. The directory must not be in use.

Options:
  --json       print the result as JSON
  --progress   tell on standard error how far it is
  --help       this text

Exit code: 0 no damage, 1 damage, 2 could not look.
`;

/** Time between two lines of progress. */
const PROGRESS_MS = 500;

/** Runs the command. @param words - what stands behind `verify` @returns the exit code */
export async function verify(words: readonly string[]): Promise<number> {
  const { values, positionals } = readWords(words, {
    json: { type: "boolean" },
    progress: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  });
  if (values.help === true) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [directory, ...more] = positionals;
  if (directory === undefined) throw new UsageError("verify what? Name a data directory");
  if (more.length > 0) throw new UsageError("verify takes one directory");
  checkDirectory(directory);
  const result = await look(directory, values.progress === true);
  const clean = result.problems.length === 0;
  const text =
    values.json === true
      ? JSON.stringify({ directory: resolve(directory), clean, ...result }, undefined, 2)
      : textOf(result);
  process.stdout.write(`${text}\n`);
  return clean ? 0 : 1;
}

function checkDirectory(directory: string): void {
  const found = statSync(directory, { throwIfNoEntry: false });
  if (found === undefined) throw new Error(`directory "${directory}" does not exist`);
  if (!found.isDirectory()) throw new Error(`"${directory}" is not a directory`);
  const ours = ["palloc.control", "palloc.control.1", "base"];
  if (ours.some((name) => existsSync(join(directory, name)))) return;
  throw new Error(`"${directory}" is not a data directory: no palloc.control and no base is in it`);
}

async function look(directory: string, progress: boolean): Promise<VerifyResult> {
  const storage = nodeFiles(directory, { create: false });
  const release = await storage.claim?.();
  try {
    return await verifyStorage(storage, progress ? progressTeller() : undefined);
  } finally {
    storage.closeSync();
    release?.();
  }
}

/** Writes a line now and then, and one at the end. */
function progressTeller(): (progress: VerifyProgress) => void {
  let last = performance.now();
  return ({ relation, pages, pagesTotal }) => {
    const now = performance.now();
    if (now - last < PROGRESS_MS && pages < pagesTotal) return;
    last = now;
    const percent = Math.floor((100 * pages) / Math.max(1, pagesTotal));
    process.stderr.write(`${percent} %, ${pages} of ${pagesTotal} pages, relation "${relation}"\n`);
  };
}

function textOf(result: VerifyResult): string {
  const { checkpoint, pages, relations, problems, dataChecksums } = result;
  const lines = problems.map(lineOf);
  const notes: readonly (readonly [count: number, words: string])[] = [
    [result.pagesFromJournal, "pages judged by the image that recovery would put back"],
    [result.blocksCutOff, "blocks newer than the checkpoint, which recovery would cut off"],
    [result.relationsRemoved, "relations unknown to the checkpoint, which recovery would remove"],
    [result.recordsPassedOver, "unfinished records in the journal, which recovery would pass over"],
  ];
  for (const [count, words] of notes) if (count > 0) lines.push(`${count} ${words}`);
  if (checkpoint > 0 && !dataChecksums) lines.push("no data checksums: only lengths were judged");
  const verdict = problems.length === 0 ? "no damage" : `damage in ${problems.length} places`;
  lines.push(`checkpoint ${checkpoint}, ${relations} relations, ${pages} pages: ${verdict}`);
  return lines.join("\n");
}

function lineOf({ relation, block, problem }: StorageProblem): string {
  const where = block === null ? "" : `, block ${block}`;
  return `${JSON.stringify(relation)}${where}: ${problem}`;
}
