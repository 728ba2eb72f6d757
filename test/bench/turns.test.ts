// Turns of workers that measure together: all start at once, the values are those of the turn, and
// a worker that never comes ends in an error.

import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { Turns } from "../../bench/turns.ts";

const built = new URL("../../dist/bench/turns.js", import.meta.url).href;

/** Answers, as its value, 100 × its number + the turn + what a turn's milliseconds say. */
const source = `
  const { workerData } = require("node:worker_threads");
  import(${JSON.stringify(built)}).then(({ Turns }) => {
    const { control, worker, workers } = workerData;
    const turns = new Turns(workers, control);
    for (let turn = 1; turns.await(turn); turn += 1) {
      turns.meet();
      turns.finish(worker, 100 * worker + turn + turns.milliseconds / 1000);
    }
  });
`;

const started: Worker[] = [];

/** Starts the first `present` of `workers` workers; each promise is one's exit code. */
function start(turns: Turns, workers: number, present = workers): Promise<number>[] {
  return Array.from({ length: present }, (_, worker) => {
    const workerData = { control: turns.control, worker, workers };
    const thread = new Worker(source, { eval: true, workerData });
    started.push(thread);
    return new Promise((resolve) => thread.once("exit", resolve));
  });
}

afterEach(async () => {
  await Promise.all(started.splice(0).map((worker) => worker.terminate()));
});

describe("turns", () => {
  test("every worker takes every turn, and the end ends them", async () => {
    const turns = new Turns(2);
    const ended = start(turns, 2);
    expect(turns.take(250)).toEqual([1.25, 101.25]);
    expect(turns.take(500)).toEqual([2.5, 102.5]);
    for (let turn = 3; turn < 200; turn += 1) expect(turns.take(0)).toEqual([turn, 100 + turn]);
    turns.end();
    expect(await Promise.all(ended)).toEqual([0, 0]);
  });

  test("a worker that does not come to the start fails the turn, in the time allowed", () => {
    const turns = new Turns(2, undefined, 300);
    start(turns, 2, 1);
    expect(() => turns.take(1)).toThrow("did not finish");
    // The one that came has waited at the start: nothing was measured.
    expect([...new Float64Array(turns.control.slice(-16))]).toEqual([0, 0]);
  });
});
