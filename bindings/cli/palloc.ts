#!/usr/bin/env node
/**
 * The command `palloc`: what can be done with a data directory without a program of one's own.
 *
 *   palloc verify DIRECTORY [--json] [--progress]
 *
 * Exit code 0: all is well; 1: damage was found; 2: the command could not do its work. Results go
 * to standard output; errors, hints and progress to standard error. Nothing imports this folder.
 *
 * PostgreSQL: src/bin
 */

import { PallocError } from "../index.ts";
import { UsageError } from "./usage.ts";
import { verify } from "./verify.ts";

const USAGE = `palloc: looks after palloc's data directories

Usage: palloc COMMAND [OPTIONS]

Commands:
  verify DIRECTORY   look for damage in a data directory that nobody has open

Options:
  --help             this text; after a command, what the command does
`;

async function main(words: readonly string[]): Promise<number> {
  const [command, ...rest] = words;
  if (command === "verify") return await verify(rest);
  if (command === "--help" || command === "-h" || command === "help") {
    process.stdout.write(USAGE);
    return 0;
  }
  throw new UsageError(command === undefined ? "no command" : `unknown command "${command}"`);
}

function report(error: unknown): void {
  const lines = [`palloc: ${error instanceof Error ? error.message : String(error)}`];
  if (error instanceof UsageError) lines.push('Try "palloc --help".');
  if (error instanceof PallocError) {
    if (error.detail !== undefined) lines.push(`DETAIL: ${error.detail}`);
    if (error.hint !== undefined) lines.push(`HINT: ${error.hint}`);
  }
  process.stderr.write(`${lines.join("\n")}\n`);
}

// Whoever reads may go away, as `head` does. Other failures mean that the result was not told.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") return;
  report(error);
  process.exitCode = 2;
});
process.stderr.on("error", () => {});

try {
  const code = await main(process.argv.slice(2));
  process.exitCode ??= code;
} catch (error) {
  report(error);
  process.exitCode = 2;
}
