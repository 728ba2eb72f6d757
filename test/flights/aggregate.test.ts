// The hash aggregation of examples/flights over process memory and temporary files: any rows in
// any split give what a Map gives, whether they fit or spill; what is held never passes the limit;
// and a query that ends, however, leaves nothing. The leak check itself is tested on leaks made on
// purpose.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type MemoryContext, ProcessMemory, type TemporaryFile } from "../../bindings/index.ts";
import { type Group, HashAggregate } from "../../examples/flights/aggregate.ts";
import type { HashLimit } from "../../examples/flights/hash-limit.ts";
import { type Holdings, leftOver, memoryHeld } from "../../examples/flights/leaks.ts";
import { ColumnState, FlightState } from "../../examples/flights/transition.ts";
import { openPool } from "../support/pool.ts";
import { builds } from "../support/region.ts";

const PLENTY: HashLimit = { bytes: 16 * 1024 * 1024, maxBlockBytes: 512 * 1024 };
const TIGHT: HashLimit = { bytes: 64 * 1024, maxBlockBytes: 8192 };

/** What a memory holds, of a backend that has no pins and no locks. */
function heldBy(memory: ProcessMemory): Holdings {
  return { ...memoryHeld(memory), pins: 0, locks: 0 };
}

/** One query's contexts. */
interface Query {
  readonly executor: MemoryContext;
  readonly tuple: MemoryContext;
  readonly aggregate: () => HashAggregate;
  /** Ends it; everything must be as it was before. */
  readonly end: () => void;
}

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

/** Calls `visit` with all groups. */
function drain(aggregate: HashAggregate, visit: (group: Group) => void): void {
  while (aggregate.drainBatch(visit));
}

/** key → [count, sum of delays, largest distance] */
function groupsOf(aggregate: HashAggregate): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  drain(aggregate, ({ key, count, sum, max }) => {
    groups.set(new TextDecoder().decode(key), [count, sum, max]);
  });
  return groups;
}

/** Rows of so many groups, which come by turns. */
function manyRows(rows: number, groups: number): Row[] {
  return Array.from({ length: rows }, (_, row): Row => [`${row % groups}`, row, -1 - row]);
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

describe.each(builds)("hash aggregation, %s build", (_, checked) => {
  /** A backend of its own for each test, and a query's contexts in it. */
  async function query(limit: HashLimit): Promise<Query> {
    const pool = await openPool({ checked, files: false });
    const backend = pool.attach({ memory: { checked, maxMemory: "32MB" } });
    const before = heldBy(backend.memory);
    const executor = backend.memory.top.createChild("ExecutorState");
    const tuple = executor.createChild("ExprContext");
    const files: TemporaryFile[] = [];
    let seed = 0;
    const aggregate = (): HashAggregate => {
      const transition = new FlightState(backend.memory);
      const createFile = (context: MemoryContext): TemporaryFile => {
        files.push(backend.createTemporaryFile(context));
        return files.at(-1) as TemporaryFile;
      };
      seed += 1;
      return new HashAggregate({ executor, limit, transition, createFile, seed });
    };
    const end = (): void => {
      // As a query's owner does.
      for (const file of files) file.close();
      executor.delete();
      expect(leftOver(before, heldBy(backend.memory))).toEqual([]);
      expect(pool.storage.relationsSync()).toEqual([]);
    };
    return { executor, tuple, aggregate, end };
  }

  test.each([
    ["in memory", PLENTY],
    ["spilling", TIGHT],
  ])("gives what a Map gives, in one part or in several that are merged, %s", async (_, limit) => {
    const { tuple, aggregate, end } = await query(limit);
    const property = fc.property(
      fc.array(fc.array(anyRow, { maxLength: 3000, size: "max" }), { maxLength: 3 }),
      (parts) => {
        const final = aggregate();
        for (const rows of parts) {
          const partial = aggregate();
          addAll(partial, tuple, rows);
          let groups = 0;
          partial.drainPacked((packed, count) => {
            groups += count;
            final.merge(packed, tuple);
          });
          expect(groups).toBe(expected(rows).size);
        }
        expect(groupsOf(final)).toEqual(expected(parts.flat()));
      },
    );
    fc.assert(property, { numRuns: 8 });
    end();
  });

  test("keeps 20,000 groups apart while the bucket array doubles, and spills nothing", async () => {
    const { tuple, aggregate, end } = await query(PLENTY);
    const whole = aggregate();
    const rows = manyRows(40_000, 20_000);
    addAll(whole, tuple, rows);
    expect(groupsOf(whole)).toEqual(expected(rows));
    expect(whole.use).toMatchObject({ batches: 1, diskBytes: 0 });
    end();
  });

  test("stays below its limit whatever comes, and spills in several passes", async () => {
    const { executor, tuple, aggregate, end } = await query(TIGHT);
    const limitBytes = 64 * 1024;
    const held = (): number =>
      executor
        .children()
        .filter(({ name }) => name.startsWith("HashAgg"))
        .reduce((sum, context) => sum + context.memAllocated(true), 0);
    const whole = aggregate();
    const rows = manyRows(30_000, 30_000);
    for (let row = 0; row < rows.length; row += 10) {
      addAll(whole, tuple, rows.slice(row, row + 10));
      expect(held()).toBeLessThanOrEqual(limitBytes);
    }
    expect(groupsOf(whole)).toEqual(expected(rows));
    const { batches, peakBytes, diskBytes } = whole.use;
    expect(whole.use.limitBytes).toBe(limitBytes);
    // Some 700 groups fit, and a batch has about 30,000 / 4: it must spill once more, into parts
    // that are told apart by further bits; by the same ones each row would be written five times.
    expect(batches).toBeGreaterThan(1 + 4 + 4 * 4);
    expect(diskBytes / rows.length).toBeLessThan(3.5 * 48);
    expect(peakBytes).toBeGreaterThan(limitBytes / 4);
    expect(peakBytes).toBeLessThanOrEqual(limitBytes);
    expect(diskBytes / rows.length).toBeGreaterThan(48);
    end();
  });

  test("has each group once, also where a small one would fit after a large one did not", async () => {
    const { tuple, aggregate, end } = await query(TIGHT);
    const whole = aggregate();
    const rows = Array.from({ length: 4000 }, (_, row): Row => {
      const key = row % 400;
      return [key % 3 === 0 ? `${key}`.repeat(300) : `${key}`, row, row];
    });
    addAll(whole, tuple, rows);
    let groups = 0;
    drain(whole, () => {
      groups += 1;
    });
    expect(groups).toBe(expected(rows).size);
    expect(whole.use.batches).toBeGreaterThan(1);
    end();
  });

  test("finishes even where one group is more than the limit", async () => {
    const { tuple, aggregate, end } = await query({ bytes: 1024, maxBlockBytes: 8192 });
    const whole = aggregate();
    const rows = Array.from({ length: 60 }, (_, row): Row => [`${row % 20}`.repeat(800), row, 0]);
    addAll(whole, tuple, rows);
    expect(groupsOf(whole)).toEqual(expected(rows));
    end();
  });

  test("leaves no file and no memory when it is given up, spilled or half read", async () => {
    const { tuple, aggregate, end } = await query(TIGHT);
    addAll(aggregate(), tuple, manyRows(5_000, 5_000));
    const half = aggregate();
    addAll(half, tuple, manyRows(5_000, 5_000));
    let groups = 0;
    const stop = (): void => {
      groups += 1;
      if (groups === 2_000) throw new Error("enough");
    };
    expect(() => drain(half, stop)).toThrow("enough");
    end();
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
    const before = heldBy(memory);
    using context = memory.top.createChild("forgotten");
    expect(leftOver(before, heldBy(memory))).toEqual([
      "1 memory contexts",
      `${context.stats().usedBytes} bytes in chunks`,
    ]);
  });

  test("finds a chunk that was not freed, and one that went to a free list", () => {
    const before = heldBy(memory);
    const chunk = memory.top.alloc(100);
    expect(leftOver(before, heldBy(memory))).toEqual(["136 bytes in chunks"]);
    memory.free(chunk);
    expect(leftOver(before, heldBy(memory))).toEqual(["1 free chunks"]);
  });

  test("finds a pin and a lock that were not given back", () => {
    const held = heldBy(memory);
    expect(leftOver(held, { ...held, pins: 1 })).toEqual(["1 buffer pins"]);
    expect(leftOver(held, { ...held, locks: 2 })).toEqual(["2 locks"]);
  });
});
