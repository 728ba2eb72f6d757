// Adds up the reports of several vitest runs and prints the sum as the last line.
//
//   node .ci/count.mjs REPORT.json ...
//
// Fails when a test failed, was skipped or only promised, and when a file of tests ran none.

import { existsSync, readFileSync } from "node:fs";
import { relative } from "node:path";

const total = { passed: 0, failed: 0, skipped: 0 };
const problems = [];

for (const path of process.argv.slice(2)) {
  if (!existsSync(path)) {
    problems.push(`${path}: the run left no report`);
    continue;
  }
  const report = JSON.parse(readFileSync(path, "utf8"));
  if (report.testResults.length === 0) problems.push(`${path}: no suite ran`);
  for (const { name, status, message, assertionResults } of report.testResults) {
    const suite = relative(process.cwd(), name);
    if (assertionResults.length === 0) problems.push(`${suite}: ran no test`);
    if (status !== "passed") problems.push(`${suite}: ${status}. ${message ?? ""}`);
    for (const test of assertionResults) {
      if (test.status === "passed") total.passed++;
      else if (test.status === "failed") total.failed++;
      else total.skipped++;
      if (test.status !== "passed") problems.push(`${suite}: ${test.status}: ${test.fullName}`);
    }
  }
  if (report.success !== true) problems.push(`${path}: the run did not succeed`);
}

for (const problem of problems) console.log(problem);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(problems.length === 0 && total.passed > 0 ? 0 : 1);
