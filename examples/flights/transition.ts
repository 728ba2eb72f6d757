/**
 * Transition states: what an aggregation keeps of one group while rows come in, and how two of them
 * become one. They lie in wasm process memory and are addressed, never copied into objects.
 *
 *              0            8           12             16
 *             ┌────────────┬───────────┬──────────────┐
 *   flights   │ delays f64 │ count u32 │ distance i32 │     count(*), avg(delay), max(distance)
 *             └────────────┴───────────┴──────────────┘
 *              0            8            16          24          28           32
 *             ┌────────────┬────────────┬───────────┬───────────┬────────────┐
 *   a column  │ sum f64    │ lost f64   │ max f64   │ rows u32  │ values u32 │
 *             └────────────┴────────────┴───────────┴───────────┴────────────┘
 *             count(*), count(c), avg(c), max(c)
 *
 * The flights' delays are whole numbers, whose sums are exact. A column may hold fractions: what an
 * addition rounds away is collected in `lost` (Neumaier), so that backends which read the pages in
 * another order still come to the same average.
 *
 * PostgreSQL: src/backend/executor/nodeAgg.c, advance_transition_function;
 * src/backend/utils/adt/float.c, float8_accum and float8_combine
 */

import { PallocError, type ProcessMemory } from "../../bindings/index.ts";

/** What became of a group. */
export interface GroupValues {
  /** Rows, those without a value included. */
  readonly count: number;
  /** Rows that have a value; the average is over them. */
  readonly values: number;
  readonly sum: number;
  /** The largest value; of no meaning when there is none. */
  readonly max: number;
}

/** What a `HashAggregate` needs to know about the states in its entries. */
export interface Transition {
  /** Size of a state; a multiple of 8. */
  readonly bytes: number;
  /** Makes the state of a group without rows, in memory that is zero. */
  clear(at: number): void;
  /** Adds the state at `from` to the one at `at`. */
  combine(at: number, from: number): void;
  values(at: number): GroupValues;
}

const COUNT_OFFSET = 8;
const DISTANCE_OFFSET = 12;
const LEAST_INT32 = -0x80000000;

/** count(*), avg(delay), max(distance) of flights. */
export class FlightState implements Transition {
  readonly bytes = 16;
  // Process memory is reserved in full here, so these views last as long as it does.
  readonly #u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #f64: Float64Array;

  constructor(memory: ProcessMemory) {
    this.#u32 = memory.u32;
    this.#i32 = memory.i32;
    this.#f64 = memory.f64;
  }

  clear(at: number): void {
    this.#i32[(at + DISTANCE_OFFSET) >>> 2] = LEAST_INT32;
  }

  /** Adds one flight. */
  add(at: number, delay: number, distance: number): void {
    this.#accumulate(at, 1, delay, distance);
  }

  combine(at: number, from: number): void {
    const count = this.#u32[(from + COUNT_OFFSET) >>> 2] ?? 0;
    const distance = this.#i32[(from + DISTANCE_OFFSET) >>> 2] ?? 0;
    this.#accumulate(at, count, this.#f64[from >>> 3] ?? 0, distance);
  }

  values(at: number): GroupValues {
    const count = this.#u32[(at + COUNT_OFFSET) >>> 2] ?? 0;
    const max = this.#i32[(at + DISTANCE_OFFSET) >>> 2] ?? 0;
    return { count, values: count, sum: this.#f64[at >>> 3] ?? 0, max };
  }

  #accumulate(at: number, count: number, delay: number, distance: number): void {
    const sumAt = at >>> 3;
    const countAt = (at + COUNT_OFFSET) >>> 2;
    const distanceAt = (at + DISTANCE_OFFSET) >>> 2;
    this.#f64[sumAt] = (this.#f64[sumAt] ?? 0) + delay;
    this.#u32[countAt] = (this.#u32[countAt] ?? 0) + count;
    if (distance > (this.#i32[distanceAt] ?? 0)) this.#i32[distanceAt] = distance;
  }
}

const LOST = 1;
const MAX = 2;
const ROWS_OFFSET = 24;
const VALUES_OFFSET = 28;

/** count(*), count(c), avg(c), max(c) of a column of numbers that may be missing. */
export class ColumnState implements Transition {
  readonly bytes = 32;
  readonly #u32: Uint32Array;
  readonly #f64: Float64Array;

  constructor(memory: ProcessMemory) {
    this.#u32 = memory.u32;
    this.#f64 = memory.f64;
  }

  clear(at: number): void {
    this.#f64[(at >>> 3) + MAX] = Number.NEGATIVE_INFINITY;
  }

  /** Adds a row that has a value. */
  add(at: number, value: number): void {
    this.#count(at, 1, 1);
    this.#accumulate(at, value, 0, value);
  }

  /** Adds a row that has none: it counts, and nothing more. */
  addNull(at: number): void {
    this.#count(at, 1, 0);
  }

  combine(at: number, from: number): void {
    const rows = this.#u32[(from + ROWS_OFFSET) >>> 2] ?? 0;
    const values = this.#u32[(from + VALUES_OFFSET) >>> 2] ?? 0;
    const double = from >>> 3;
    const sum = this.#f64[double] ?? 0;
    this.#count(at, rows, values);
    this.#accumulate(at, sum, this.#f64[double + LOST] ?? 0, this.#f64[double + MAX] ?? 0);
  }

  /** @throws PallocError 22003 if the sum is beyond what a double can hold */
  values(at: number): GroupValues {
    const double = at >>> 3;
    const sum = (this.#f64[double] ?? 0) + (this.#f64[double + LOST] ?? 0);
    if (!Number.isFinite(sum)) {
      throw new PallocError("22003", "value out of range: overflow", {
        detail: "The sum of a group's values is beyond 1.8e308.",
      });
    }
    return {
      count: this.#u32[(at + ROWS_OFFSET) >>> 2] ?? 0,
      values: this.#u32[(at + VALUES_OFFSET) >>> 2] ?? 0,
      sum,
      max: this.#f64[double + MAX] ?? 0,
    };
  }

  #count(at: number, rows: number, values: number): void {
    const rowsAt = (at + ROWS_OFFSET) >>> 2;
    const valuesAt = (at + VALUES_OFFSET) >>> 2;
    this.#u32[rowsAt] = (this.#u32[rowsAt] ?? 0) + rows;
    this.#u32[valuesAt] = (this.#u32[valuesAt] ?? 0) + values;
  }

  #accumulate(at: number, value: number, lost: number, max: number): void {
    const double = at >>> 3;
    const sum = this.#f64[double] ?? 0;
    const next = sum + value;
    const larger = Math.abs(sum) >= Math.abs(value);
    const rounded = larger ? sum - next + value : value - next + sum;
    this.#f64[double] = next;
    this.#f64[double + LOST] = (this.#f64[double + LOST] ?? 0) + lost + rounded;
    if (max > (this.#f64[double + MAX] ?? 0)) this.#f64[double + MAX] = max;
  }
}
