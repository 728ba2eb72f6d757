/**
 * Measures a row in processes of its own (measure.ts): one for the checks, another for the times.
 * Each gets a directory for its files, which goes when it ends, or when this process does.
 */

import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Rejected, RowResult } from "./harness.ts";

const program = fileURLToPath(new URL("./measure.js", import.meta.url));

/** Runs measure.js in a process of its own and returns what it sends. */
function apart<Outcome>(...task: readonly string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const TMPDIR = mkdtempSync(join(tmpdir(), "palloc-bench-"));
    const child = fork(program, [...task], { env: { ...process.env, TMPDIR } });
    const end = (): void => {
      child.kill("SIGKILL");
      rmSync(TMPDIR, { recursive: true, force: true });
    };
    process.once("exit", end);
    let sent: { outcome: Outcome } | undefined;
    child.on("message", (message) => {
      sent = message as { outcome: Outcome };
    });
    child.on("error", reject);
    child.on("exit", (code) => {
      process.off("exit", end);
      end();
      if (sent === undefined) reject(new Error(`${task.join(" ")} ended with code ${code}`));
      else resolve(sent.outcome);
    });
  });
}

/** Checks the row's contenders, then times those that passed. */
export async function measureApart(id: string, rounds: number): Promise<RowResult> {
  const rejected = await apart<Rejected[]>("check", id);
  return apart<RowResult>("time", id, String(rounds), JSON.stringify(rejected));
}
