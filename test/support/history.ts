// A history of operations on memory contexts in a compact notation, for random tests: a failing one
// is printed as text that can be pasted into a test.
//
//   c0.1        a context under context 0, of the sizes number 1
//   a2.64       64 bytes in context 2          f5      frees chunk 5
//   r5.300      makes chunk 5 300 bytes long   m1.2    one block request succeeds, then two fail
//   R1 O1 K1    reset, resetOnly, resetChildren of context 1
//   D1 X1       delete, deleteChildren         p3.1    moves context 3 under context 1
//
// Numbers count what lives at that moment and wrap around, so that any text is a valid history and
// leaving steps out leaves one. Context 0 is a root that is never deleted.

import fc from "fast-check";
import type { Random } from "./random.ts";

/** One step: a letter and its numbers. */
export interface Step {
  readonly op: string;
  readonly numbers: readonly number[];
}

/** Sizes of contexts that histories use: min, init, max. */
export const sizesOfContexts: readonly (readonly [number, number, number])[] = [
  [0, 8192, 8388608],
  [0, 1024, 8192],
  [0, 1024, 8388608],
  [8192, 8192, 8192],
  [0, 1024, 1024],
  [2048, 4096, 65536],
];

/** How often each operation comes, and what its numbers are. */
const operations: readonly (readonly [string, number, readonly ("index" | "size" | "few")[]])[] = [
  ["c", 4, ["index", "few"]],
  ["a", 40, ["index", "size"]],
  ["f", 20, ["index"]],
  ["r", 12, ["index", "size"]],
  ["R", 1, ["index"]],
  ["O", 1, ["index"]],
  ["K", 1, ["index"]],
  ["D", 2, ["index"]],
  ["X", 1, ["index"]],
  ["p", 1, ["index", "index"]],
  ["m", 1, ["few", "few"]],
];

/** Text of a history. */
export function formatHistory(steps: readonly Step[]): string {
  return steps.map(({ op, numbers }) => `${op}${numbers.join(".")}`).join(" ");
}

/** A history from its text. */
export function parseHistory(text: string): Step[] {
  const words = text.split(/\s+/).filter((word) => word !== "");
  return words.map((word) => ({
    op: word.charAt(0),
    numbers: word.slice(1).split(".").map(Number),
  }));
}

const arbitraries = {
  index: fc.nat(999),
  few: fc.nat(5),
  size: fc.oneof(
    { weight: 6, arbitrary: fc.nat(300) },
    { weight: 3, arbitrary: fc.nat(9000) },
    { weight: 1, arbitrary: fc.nat(300000) },
    { weight: 2, arbitrary: fc.nat(33).map((n) => 2 ** (3 + Math.floor(n / 3)) - 1 + (n % 3)) },
  ),
};

/** Random histories; one that fails shrinks, and prints in the notation. */
export function histories(maxLength: number): fc.Arbitrary<readonly Step[]> {
  const step = fc.oneof(
    ...operations.map(([op, weight, kinds]) => ({
      weight,
      arbitrary: fc
        .tuple(...kinds.map((kind) => arbitraries[kind]))
        .map((numbers) => ({ op, numbers })),
    })),
  );
  return fc
    .array(step, { maxLength, size: "max" })
    .map((steps) =>
      Object.assign(steps, { [fc.toStringMethod]: () => `"${formatHistory(steps)}"` }),
    );
}

/** One long random history. */
export function longHistory(random: Random, length: number): Step[] {
  const sizes = [8, 16, 64, 100, 300, 1000, 8192, 8193, 20000, 200000];
  const draw = {
    index: () => random.below(1000),
    few: () => random.below(6),
    size: () => random.below(random.pick(sizes)),
  };
  const lots = operations.flatMap((operation) =>
    Array(operation[1]).fill(operation),
  ) as (typeof operations)[number][];
  return Array.from({ length }, () => {
    const [op, , kinds] = random.pick(lots);
    return { op, numbers: kinds.map((kind) => draw[kind]()) };
  });
}
