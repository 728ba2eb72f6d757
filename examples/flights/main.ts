/**
 * `npm start`: a parallel query over real data, larger than shared_buffers. HELP in options.ts says
 * what it does, job.ts how.
 *
 * An error is one line on stderr and exit code 1. Ctrl-C stops every thread where it is; since a
 * table gets its name by the last step of its load, the data directory is usable at any moment.
 */

import { fileURLToPath } from "node:url";
import { PallocError } from "../../bindings/index.ts";
import { FlightsJob } from "./job.ts";
import { HELP, type Options, oneLine, readOptions, UsageError } from "./options.ts";
import { progressDisplay } from "./progress.ts";
import { reportText } from "./report-text.ts";
import { runReport } from "./run.ts";

const DEFAULT_DIRECTORY = fileURLToPath(new URL("../../../data/flights", import.meta.url));
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
/**
 * A signal this long after the first ends the process at once; npm may send the first one twice.
 */
const PATIENCE_MS = 1000;

const progress = progressDisplay(process.stderr);
let job: FlightsJob | undefined;
let firstSignal: number | undefined;

function say(line: string): void {
  process.stderr.write(`palloc: ${line}\n`);
}

function lineOf(error: unknown): string {
  if (error instanceof UsageError) return error.message;
  if (!(error instanceof PallocError)) {
    return `internal error: ${error instanceof Error ? (error.stack ?? error.message) : error}`;
  }
  return oneLine(error);
}

async function interrupted(signal: keyof typeof EXIT_CODES): Promise<void> {
  if (firstSignal !== undefined) {
    if (performance.now() - firstSignal > PATIENCE_MS) process.exit(EXIT_CODES[signal]);
    return;
  }
  firstSignal = performance.now();
  progress.stop();
  const loading = job?.loading ?? false;
  await job?.close().catch((error: unknown) => say(lineOf(error)));
  say(
    loading
      ? "interrupted while loading; nothing half-loaded is kept, the next start loads again"
      : "interrupted; the data directory is as it was",
  );
  process.exit(EXIT_CODES[signal]);
}

async function run(options: Options): Promise<number> {
  job = await FlightsJob.open(options);
  try {
    const report = await runReport(job, progress.show);
    progress.stop();
    process.stdout.write(
      options.json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report),
    );
    if (report.leaks.length > 0) say(`the leak check failed: ${report.leaks.join(", ")}`);
    return report.leaks.length > 0 ? 1 : 0;
  } finally {
    progress.stop();
    await job.close();
  }
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2), DEFAULT_DIRECTORY);
  if (!options.help) return run(options);
  process.stdout.write(HELP);
  return 0;
}

// Whoever reads the report may stop reading, as `head` does.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});
process.on("SIGINT", interrupted);
process.on("SIGTERM", interrupted);
main().then(
  (exitCode) => {
    process.exitCode = exitCode;
  },
  (error: unknown) => {
    // After a signal the threads are stopped in mid-work, and what they say of it is no news.
    if (firstSignal !== undefined) return;
    say(lineOf(error));
    process.exitCode = 1;
  },
);
