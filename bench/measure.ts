/**
 * Checks or times one row in a process of its own and sends the outcome to the parent (run.ts):
 * what the engine learnt from one row's calls, or from a check, must not change another's times.
 *
 *   node dist/bench/measure.js check ROW
 *   node dist/bench/measure.js time ROW ROUNDS REJECTED
 */

import { checkRow, defaultEffort, type Rejected, sunk, timeRow } from "./harness.ts";
import { rows } from "./rows.ts";

const [task, id, rounds, rejected] = process.argv.slice(2);
const row = rows.find((one) => one.id === id);
if (row === undefined || process.send === undefined) {
  throw new Error("measure.js is started by run.js, with the id of a row");
}
const outcome =
  task === "check"
    ? await checkRow(row)
    : await timeRow(row, JSON.parse(rejected ?? "[]") as Rejected[], {
        ...defaultEffort,
        rounds: Number(rounds),
      });
process.send({ outcome, sunk: sunk() }, () => process.exit(0));
