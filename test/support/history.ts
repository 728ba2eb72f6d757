// A history of operations on memory contexts in a compact notation, for random tests: a failing one
// is printed as text that can be pasted into a test.
//
//   c0.1 g0.1 b0.1   a context under context 0, of the sizes number 1: general, generation, bump
//   s0.1             a slab context, of the slab sizes number 1
//   a2.64            64 bytes in context 2
//   e2.64.5          the same with flags 5: huge, zeroed
//   A2.64.5          the same at a multiple of 2 to the 5th
//   f5               frees chunk 5
//   r5.300           makes chunk 5 300 bytes long
//   m1.2             one block request succeeds, then two fail
//   R1 O1 K1    reset, resetOnly, resetChildren of context 1
//   D1 X1       delete, deleteChildren         p3.1    moves context 3 under context 1
//
// Numbers count what lives at that moment and wrap around, so that any text is a valid history and
// leaving steps out leaves one. Context 0 is a root that is never deleted. In a slab context every
// size that does not end in 9 stands for the only one it has.

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

/** Sizes of slab contexts that histories use: block, chunk. */
export const sizesOfSlabs: readonly (readonly [number, number])[] = [
  [8192, 100],
  [8192, 64],
  [1024, 0],
  [1024, 900],
  [100000, 2000],
  [1000, 13],
];

/** A kind of context: the letter that makes one. */
export type KindLetter = "c" | "g" | "b" | "s";

/** What a number of a step is: for `any` sizes are at times as large as numbers get. */
type Draw = "index" | "size" | "any" | "few" | "flags" | "power";

/** How often each operation comes, and what its numbers are. */
const operations: readonly (readonly [string, number, readonly Draw[]])[] = [
  ["c", 2, ["index", "few"]],
  ["g", 2, ["index", "few"]],
  ["b", 2, ["index", "few"]],
  ["s", 2, ["index", "few"]],
  ["a", 40, ["index", "any"]],
  ["e", 5, ["index", "any", "flags"]],
  ["A", 4, ["index", "any", "power"]],
  ["f", 25, ["index"]],
  ["r", 12, ["index", "size"]],
  ["R", 1, ["index"]],
  ["O", 1, ["index"]],
  ["K", 1, ["index"]],
  ["D", 4, ["index"]],
  ["X", 1, ["index"]],
  ["p", 1, ["index", "index"]],
  ["m", 1, ["few", "few"]],
];

/** Sizes around the limits. */
const enormous = [0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff];
/** One `any` in so many is one of them. */
const ENORMOUS_EVERY = 40;

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

const sizes: fc.Arbitrary<number> = fc.oneof(
  { weight: 6, arbitrary: fc.nat(300) },
  { weight: 3, arbitrary: fc.nat(9000) },
  { weight: 1, arbitrary: fc.nat(300000) },
  { weight: 2, arbitrary: fc.nat(33).map((n) => 2 ** (3 + Math.floor(n / 3)) - 1 + (n % 3)) },
);

const arbitraries: Readonly<Record<Draw, fc.Arbitrary<number>>> = {
  index: fc.nat(999),
  few: fc.nat(5),
  flags: fc.nat(7),
  power: fc.nat(14),
  size: sizes,
  any: fc.oneof(
    { weight: ENORMOUS_EVERY, arbitrary: sizes },
    { weight: 1, arbitrary: fc.constantFrom(...enormous) },
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

/** Endless random steps; those that make contexts make one kind if that is asked for. */
export function* randomSteps(random: Random, kind?: KindLetter): Generator<Step, never> {
  const limits = [8, 16, 64, 100, 300, 1000, 8192, 8193, 20000, 200000];
  const size = (): number => random.below(random.pick(limits));
  const draw: Readonly<Record<Draw, () => number>> = {
    index: () => random.below(1000),
    few: () => random.below(6),
    flags: () => random.below(8),
    power: () => random.below(15),
    size,
    any: () => (random.below(ENORMOUS_EVERY) === 0 ? random.pick(enormous) : size()),
  };
  const lots = operations.flatMap((operation) =>
    Array.from({ length: operation[1] }, () => operation),
  );
  while (true) {
    const [drawn, , kinds] = random.pick(lots);
    const op = kind !== undefined && "cgbs".includes(drawn) ? kind : drawn;
    yield { op, numbers: kinds.map((one) => draw[one]()) };
  }
}
