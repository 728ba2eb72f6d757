// The crash tests are believed because they find these: mistakes of the journal, the checkpoint and
// recovery, each planted alone, each found within a bounded number of crashes.

import { describe, expect, test } from "vitest";
import { seed } from "../support/random.ts";
import { hunt, mistakes, noMistake } from "./mistakes.ts";

/** Each is found in a fraction of these. */
const MOST_IMAGES = 400;

describe("crashes find a planted mistake", () => {
  test.each(mistakes)("$name", async (mistake) => {
    const found = await hunt(mistake, seed, MOST_IMAGES);
    expect(found, `not found in ${MOST_IMAGES} crashes`).toBeDefined();
  });

  test("and find nothing where none is planted", async () => {
    expect(await hunt(noMistake, seed, MOST_IMAGES)).toBeUndefined();
  });
});
