/**
 * Measures one row in a process of its own and sends the result to the parent (run.ts): what the
 * engine learnt from one row's calls must not slow down or speed up another's.
 *
 *   node dist/bench/measure.js ROW ROUNDS
 */

import { defaultEffort, measureRow, sunk } from "./harness.ts";
import { rows } from "./rows.ts";

const [id, rounds] = process.argv.slice(2);
const row = rows.find((one) => one.id === id);
if (row === undefined || process.send === undefined) {
  throw new Error("measure.js is started by run.js, with the id of a row");
}
const result = await measureRow(row, { ...defaultEffort, rounds: Number(rounds) });
process.send({ result, sunk: sunk() }, () => process.exit(0));
