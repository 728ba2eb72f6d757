/**
 * Measures a row in processes of its own (measure.ts): one for the checks, another for the times.
 */

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Rejected, RowResult } from "./harness.ts";

/** Runs measure.js in a process of its own and returns what it sends. */
function apart<Outcome>(...task: readonly string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL("./measure.js", import.meta.url)), [...task]);
    let sent: { outcome: Outcome } | undefined;
    child.on("message", (message) => {
      sent = message as { outcome: Outcome };
    });
    child.on("error", reject);
    child.on("exit", (code) => {
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
