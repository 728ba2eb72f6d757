// The hash aggregation of examples/flights over process memory: any rows in any split give what a
// Map gives, the table grows, the limit is the one of the formula, and a deleted per-query context
// leaves nothing. The leak check itself is tested on leaks made on purpose.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LimitExceededError, type MemoryContext, ProcessMemory } from "../../bindings/index.ts";
import { HashAggregate, type HashLimit } from "../../examples/flights/aggregate.ts";
import { holdingsOf, leftOver } from "../../examples/flights/leaks.ts";
import { ColumnState, FlightState } from "../../examples/flights/transition.ts";

const PLENTY: HashLimit = { workMemBytes: 8 * 1024 * 1024, hashMemMultiplier: 2 };

type Row = readonly [key: string, delay: number, distance: number];

function addAll(aggregate: HashAggregate, tuple: MemoryContext, rows: readonly Row[]): void {
  const state = new FlightState(tuple.memory);
  for (const [key, delay, distance] of rows) {
    const bytes = new TextEncoder().encode(key);
    const at = tuple.alloc(bytes.length);
    tuple.memory.u8.set(bytes, at);
    state.add(aggregate.state(at, bytes.length), delay, distance);
    tuple.reset();
  }
}

/** key → [count, sum of delays, largest distance] */
function groupsOf(aggregate: HashAggregate): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  aggregate.forEachGroup(({ key, count, sum, max }) => {
    groups.set(new TextDecoder().decode(key), [count, sum, max]);
  });
  return groups;
}

function expected(rows: readonly Row[]): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  for (const [key, delay, distance] of rows) {
    const [count = 0, sum = 0, max = -Infinity] = groups.get(key) ?? [];
    groups.set(key, [count + 1, sum + delay, Math.max(max, distance)]);
  }
  return groups;
}

const anyRow: fc.Arbitrary<Row> = fc.tuple(
  fc.string({ maxLength: 5 }),
  fc.integer({ min: -2000, max: 2000 }),
  fc.integer(),
);

describe.each(["release", "checked"])("hash aggregation in %s memory", (build) => {
  const memory = ProcessMemory.createSync({ checked: build === "checked" });

  test("gives what a Map gives, in one part or in several that are merged", () => {
    fc.assert(
      fc.property(fc.array(fc.array(anyRow, { maxLength: 200 }), { maxLength: 4 }), (parts) => {
        const before = holdingsOf(memory, 0);
        const executor = memory.top.createChild("ExecutorState");
        const tuple = executor.createChild("ExprContext");
        const final = new HashAggregate(executor, "key", PLENTY, new FlightState(memory));
        for (const rows of parts) {
          const partial = new HashAggregate(executor, "key", PLENTY, new FlightState(memory));
          addAll(partial, tuple, rows);
          expect(partial.groups).toBe(expected(rows).size);
          const { at, bytes } = partial.pack();
          final.merge(memory.u8.slice(at, at + bytes), tuple);
        }
        expect(groupsOf(final)).toEqual(expected(parts.flat()));
        executor.delete();
        expect(leftOver(before, holdingsOf(memory, 0))).toEqual([]);
      }),
      { numRuns: 30 },
    );
  });

  test("keeps 20,000 groups apart while the bucket array doubles", () => {
    const executor = memory.top.createChild("ExecutorState");
    const tuple = executor.createChild("ExprContext");
    const aggregate = new HashAggregate(executor, "key", PLENTY, new FlightState(memory));
    const rows = Array.from(
      { length: 40_000 },
      (_, row): Row => [`${row % 20_000}`, row, -1 - row],
    );
    addAll(aggregate, tuple, rows);
    expect(groupsOf(aggregate)).toEqual(expected(rows));
    executor.delete();
  });

  test("refuses the first group beyond the limit, and names what holds how much", () => {
    const before = holdingsOf(memory, 0);
    const executor = memory.top.createChild("ExecutorState");
    const tuple = executor.createChild("ExprContext");
    const limit = { workMemBytes: 64 * 1024, hashMemMultiplier: 1.5 };
    const aggregate = new HashAggregate(executor, "key", limit, new FlightState(memory));
    const held = (): number =>
      executor
        .children()
        .filter(({ name }) => name.startsWith("HashAgg"))
        .reduce((sum, context) => sum + context.memAllocated(true), 0);
    let thrown: unknown;
    for (let row = 0; thrown === undefined; row += 1) {
      expect(held()).toBeLessThanOrEqual(96 * 1024);
      try {
        addAll(aggregate, tuple, [[`${row}`, 0, 0]]);
      } catch (error) {
        thrown = error;
      }
    }
    expect(thrown).toBeInstanceOf(LimitExceededError);
    expect(thrown).toMatchObject({
      code: "53400",
      message: 'hash table of "group by key" exceeds its limit of 96 kB',
      limitBytes: 96 * 1024,
      usedBytes: held(),
      context: "HashAgg hashed tuples",
    });
    expect(held()).toBeGreaterThan(96 * 1024);
    executor.delete();
    expect(leftOver(before, holdingsOf(memory, 0))).toEqual([]);
  });
});

describe("the state of a column", () => {
  const memory = ProcessMemory.createSync();

  /** Adds the values, null for a missing one, in as many parts, and combines those. */
  function combined(parts: readonly (readonly (number | null)[])[]): ColumnState["values"] {
    const state = new ColumnState(memory);
    const made = (): number => {
      const at = memory.top.allocZero(state.bytes);
      state.clear(at);
      return at;
    };
    const final = made();
    for (const part of parts) {
      const at = made();
      for (const value of part) value === null ? state.addNull(at) : state.add(at, value);
      state.combine(final, at);
    }
    return () => state.values(final);
  }

  test("counts rows without a value, and leaves them out of the sum and the maximum", () => {
    expect(combined([[null, -3], [null], [-2.5]])(0)).toEqual({
      count: 4,
      values: 2,
      sum: -5.5,
      max: -2.5,
    });
    expect(combined([[null]])(0)).toMatchObject({ count: 1, values: 0, sum: 0 });
  });

  test("loses nothing to rounding, in whatever order the parts come", () => {
    const parts = [[1e16, 1], Array.from({ length: 10 }, () => 0.1), [-1e16, 1]];
    expect(combined(parts)(0).sum).toBe(3);
    expect(combined(parts.toReversed())(0).sum).toBe(3);
  });

  test("refuses a sum that no double can hold", () => {
    expect(() => combined([[1.7e308], [1.7e308]])(0)).toThrow("value out of range: overflow");
  });
});

describe("the leak check", () => {
  const memory = ProcessMemory.createSync();

  test("finds a context that was not deleted", () => {
    const before = holdingsOf(memory, 0);
    using context = memory.top.createChild("forgotten");
    expect(leftOver(before, holdingsOf(memory, 0))).toEqual([
      "1 memory contexts",
      `${context.stats().usedBytes} bytes in chunks`,
    ]);
  });

  test("finds a chunk that was not freed, and one that went to a free list", () => {
    const before = holdingsOf(memory, 0);
    const chunk = memory.top.alloc(100);
    expect(leftOver(before, holdingsOf(memory, 0))).toEqual(["136 bytes in chunks"]);
    memory.free(chunk);
    expect(leftOver(before, holdingsOf(memory, 0))).toEqual(["1 free chunks"]);
  });

  test("finds a pin that was not given back", () => {
    expect(leftOver(holdingsOf(memory, 0), holdingsOf(memory, 1))).toEqual(["1 buffer pins"]);
  });
});
