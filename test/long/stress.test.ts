// The stress tests of test/workers, for minutes: all operations of the pool on both cores at one
// time, and then 1,700 workers on each configuration terminated in the midst of them, 5,100 in all.
//
// PALLOC_STRESS_SECONDS sets how long each configuration is worked on, PALLOC_STRESS_KILLS how many
// workers are terminated on each. A line says every ten seconds how far it has come.

import { describe, it } from "vitest";
import { configurations } from "../workers/stress.ts";
import { loseNothing, outliveTheTerminated } from "../workers/stress-proofs.ts";

const WORKERS = 4;
const SAY_EVERY_MS = 10_000;

const { seconds, kills } = effort(process.env);

function effort(env: NodeJS.ProcessEnv): { readonly seconds: number; readonly kills: number } {
  const { PALLOC_STRESS_SECONDS = "60", PALLOC_STRESS_KILLS = "1700" } = env;
  return { seconds: Number(PALLOC_STRESS_SECONDS), kills: Number(PALLOC_STRESS_KILLS) };
}

/** Prints one line of many. */
function sayer(): (line: string) => void {
  let last = performance.now();
  return (line) => {
    if (performance.now() - last < SAY_EVERY_MS && !line.includes("in repair")) return;
    last = performance.now();
    process.stdout.write(`${line}\n`);
  };
}

describe.each(configurations)("on $name", (configuration) => {
  const options = { configuration, workers: WORKERS, seconds };

  it("a relation ten times the pool has every change that was made, and no other", async () => {
    await loseNothing({ ...options, kills: 0, say: sayer() });
  });

  it("workers terminated at random moments leave whole pages, and nothing else", async () => {
    await outliveTheTerminated({ ...options, workers: WORKERS - 1, kills, say: sayer() });
  });
});
