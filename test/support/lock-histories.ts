// Random histories of lock requests, for the twin alone and for the twin beside wasm. Numbers wrap
// around, so that a history with steps left out is a history still.

import fc from "fast-check";

/** One step of a backend. Who waits looks for a deadlock or gives up; others do the rest. */
export interface LockStep {
  readonly op: "acquire" | "try" | "release" | "end" | "check" | "give up";
  readonly backend: number;
  readonly object: number;
  readonly mode: number;
}

/** How a history is drawn. */
export interface HistoryShape {
  readonly backends: number;
  readonly objects: number;
  readonly maxLength: number;
}

const WEIGHTS: readonly (readonly [LockStep["op"], number])[] = [
  ["acquire", 24],
  ["try", 2],
  ["release", 5],
  ["end", 1],
  ["check", 6],
  ["give up", 1],
];

/** Modes 1 to 8; those at the ends, which are compatible with most and with nothing, more often. */
const modes = fc.constantFrom(1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8);
/** Modes that many can hold at a time. */
const weakModes = fc.constantFrom(1, 1, 1, 2, 2, 3, 3, 4, 5);

/** Random histories; one that fails is printed shrunk, a word a step. */
export function lockHistories(shape: HistoryShape): fc.Arbitrary<readonly LockStep[]> {
  const { backends, objects, maxLength } = shape;
  const step = fc.record({
    op: fc.oneof(...WEIGHTS.map(([op, weight]) => ({ weight, arbitrary: fc.constant(op) }))),
    backend: fc.nat(backends - 1),
    object: fc.nat(objects - 1),
    mode: modes,
  });
  return fc.array(step, { maxLength, size: "max" }).map(printable);
}

/**
 * Random histories in which everybody holds something, and then everybody wants something: cycles
 * come often, and those that several queues must be sorted for.
 */
export function lockTangles(shape: HistoryShape): fc.Arbitrary<readonly LockStep[]> {
  const { backends, objects } = shape;
  const acquire = (mode: fc.Arbitrary<number>): fc.Arbitrary<LockStep> =>
    fc.record({
      op: fc.constant("acquire" as const),
      backend: fc.nat(backends - 1),
      object: fc.nat(objects - 1),
      mode,
    });
  const holds = fc.array(acquire(weakModes), { maxLength: 2 * backends, size: "max" });
  const wants = fc.array(acquire(modes), { minLength: backends, maxLength: 3 * backends });
  return fc.tuple(holds, wants).map(([one, other]) => printable([...one, ...other]));
}

function printable(steps: readonly LockStep[]): readonly LockStep[] {
  return Object.assign([...steps], { [fc.toStringMethod]: () => formatSteps(steps) });
}

/** Text of a history: `acquire 2.0.8` is backend 2, object 0, mode 8. */
export function formatSteps(steps: readonly LockStep[]): string {
  return steps
    .map(({ op, backend, object, mode }) => `${op} ${backend}.${object}.${mode}`)
    .join(" · ");
}
