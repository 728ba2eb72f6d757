// The user's locks and conditions, further than every run goes: two preemptions, and one with a
// death, of any two operations; three backends with both.

import { describe, expect, it } from "vitest";
import {
  calledPairs,
  conditions,
  lockEngine,
  lockPairs,
  lockTrios,
} from "../interleave/lwlocks.ts";
import { searchFor } from "../interleave/search.ts";

const SEARCH_MS = 60_000;

describe("locks and conditions of the user", () => {
  it.each([...lockPairs, ...calledPairs, ...conditions, ...lockTrios])(
    "with two preemptions, and with one and a death, are right: $name",
    (configuration) => {
      for (const bounds of [
        { preemptions: 2, deaths: 0 },
        { preemptions: 1, deaths: 1 },
      ]) {
        expect(searchFor(SEARCH_MS, lockEngine(configuration), bounds)).toBeGreaterThan(1);
      }
    },
    4 * SEARCH_MS,
  );
});
