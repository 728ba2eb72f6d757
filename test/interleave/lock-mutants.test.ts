// Proves that the searches over heavyweight locks find what they are for. All planted mistakes are
// hunted in test/long; here one of the fast path, and that each still has its place.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compileMutant } from "./hunt.ts";
import { huntLocks, lockMutants } from "./lock-mutants.ts";

const SEED = 20260727;
const MINUTE_MS = 60_000;

describe("a mistake planted in heavyweight locks", () => {
  it.each(lockMutants.filter(({ name }) => name.startsWith("a strong lock looks")))(
    "is found: $name",
    async (mutant) => {
      const found = huntLocks(mutant, await compileMutant(mutant), MINUTE_MS, SEED);
      expect(found?.error.reason).toMatch(/hold modes/);
    },
    2 * MINUTE_MS,
  );

  it.each(lockMutants)("has its one place: $name", ({ patches }) => {
    for (const { file, find } of patches) {
      const source = readFileSync(new URL(`../../assembly/${file}`, import.meta.url), "utf8");
      expect(source.split(find), file).toHaveLength(2);
    }
  });
});
