// Proves that the searches find what they are for: each mistake planted in the sources is found
// within a minute, and the ones that no schedule can tell from the right thing say why. The whole
// list is hunted in test/long; here those that need most of the harness.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compileMutant, hunt } from "./hunt.ts";
import { type Mutant, mutants, otherMutants } from "./mutants.ts";
import { newMutants } from "./new-mutants.ts";
import { queueMutants } from "./queue-mutants.ts";

const SEED = 20260727;
const MINUTE_MS = 60_000;
const everyRun: readonly string[] = [
  "a pin is not checked after it was stored",
  "a claim does not look at hold words",
  "a frame is published before it is linked",
  "a checkpoint writes a page that it does not hold",
];

function isHuntedAlways({ name }: Mutant): boolean {
  return everyRun.includes(name);
}

describe("a planted mistake", () => {
  it.each([...mutants, ...otherMutants].filter(isHuntedAlways))(
    "is found: $name",
    async (mutant) => {
      const found = hunt(mutant, await compileMutant(mutant), MINUTE_MS, SEED);
      expect(found?.error.schedule).toMatch(/^[oabc]/);
    },
    2 * MINUTE_MS,
  );

  // A source that has moved on would leave a mistake that nobody can plant any more.
  it.each([...mutants, ...otherMutants, ...newMutants, ...queueMutants])(
    "has its one place: $name",
    ({ patches }) => {
      for (const { file, find } of patches) {
        const source = readFileSync(new URL(`../../assembly/${file}`, import.meta.url), "utf8");
        expect(source.split(find), file).toHaveLength(2);
      }
    },
  );

  it("is planted in one place or not at all", async () => {
    const patches = [{ file: "buffer/evict.ts", find: "return", put: "return" }];
    await expect(compileMutant({ name: "x", patches })).rejects.toThrow("exactly once");
  });
});
