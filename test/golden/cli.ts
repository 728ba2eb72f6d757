// `npm run golden -- DIR`: one line for each trace that fails or is skipped, then the count.

import { existsSync } from "node:fs";
import { judgeDirectory, type Outcome } from "./run.ts";

const [directory] = process.argv.slice(2);

if (directory === undefined || !existsSync(directory)) {
  console.error("usage: npm run golden -- DIRECTORY   (a directory of traces, *.json)");
  process.exitCode = 1;
} else {
  const outcomes = judgeDirectory(directory);
  for (const outcome of outcomes) {
    if (outcome.result === "failed") console.log(`failed  ${outcome.reason}`);
    if (outcome.result === "skipped") console.log(`skipped ${outcome.name}: ${outcome.reason}`);
  }
  const count = (result: Outcome["result"]): number =>
    outcomes.filter((outcome) => outcome.result === result).length;
  console.log(`${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`);
  if (count("failed") > 0 || outcomes.length === 0) process.exitCode = 1;
}
