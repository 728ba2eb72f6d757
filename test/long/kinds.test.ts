// Proves over a million random operations for each kind of context, and as many over all kinds
// mixed, that wasm does what the twin predicts: every address, chunk header, space and content at
// each step, every counter and a walk of the heap after each few. The memory is small, so that it
// also runs out, and begins anew after each stretch, so that no history wears itself out.
//
// A failure names the seed, the kind and the steps of the stretch up to it: see
// test/differential/aset.test.ts for how to replay them.

import { describe, expect, it } from "vitest";
import { Comparison } from "../differential/comparison.ts";
import { formatHistory, type KindLetter, randomSteps, type Step } from "../support/history.ts";
import { builds } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";
import { Progress } from "./progress.ts";

const OPERATIONS = 1_000_000;
const STRETCH = 5_000;
/** Steps between two comparisons of every counter. */
const EVERY = 10;

const subjects: readonly (readonly [string, KindLetter | undefined])[] = [
  ["general", "c"],
  ["generation", "g"],
  ["slab", "s"],
  ["bump", "b"],
  ["mixed", undefined],
];

/** Runs one stretch of a history on a memory of its own. */
function stretch(steps: Generator<Step, never>, checked: boolean, root: KindLetter): void {
  const comparison = new Comparison({ checked, root, every: EVERY });
  const done: Step[] = [];
  try {
    for (let count = 0; count < STRETCH; count += 1) {
      const step = steps.next().value;
      done.push(step);
      comparison.step(step);
    }
    comparison.finish();
  } catch (cause) {
    throw new Error(`${String(cause)}\nroot ${root}: ${formatHistory(done)}`, { cause });
  }
}

describe.each(builds)("wasm (%s) and twin", (build, checked) => {
  it.each(subjects)("agree over a million operations: %s", (name, kind) => {
    const progress = new Progress(`${build}, ${name}`, OPERATIONS);
    const steps = randomSteps(new Random(seed), kind);
    for (let done = 0; done < OPERATIONS; done += STRETCH) {
      expect(() => stretch(steps, checked, kind ?? "c"), `seed ${seed}`).not.toThrow();
      progress.show(done + STRETCH);
    }
  });
});
