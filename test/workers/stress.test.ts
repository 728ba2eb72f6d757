// Real threads on both cores, a pool a tenth of the data's size, everything the pool can do at one
// time: for seconds here, for minutes in test/long.

import { describe, it } from "vitest";
import { configurations } from "./stress.ts";
import { loseNothing, outliveTheTerminated } from "./stress-proofs.ts";

const SECONDS = 2;
const WORKERS = 3;

describe.each(configurations)("on $name", (configuration) => {
  it("a relation ten times the pool has every change that was made, and no other", async () => {
    await loseNothing({ configuration, workers: WORKERS, seconds: SECONDS, kills: 0 });
  });

  it("workers terminated at random moments leave whole pages, and nothing else", async () => {
    await outliveTheTerminated({ configuration, workers: WORKERS, seconds: SECONDS, kills: 5 });
  });
});
