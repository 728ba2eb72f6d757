/**
 * What a backend does with a row of a CSV table in `select KEY, count(*), count(C), avg(C), max(C)
 * … group by KEY`. The key is copied from shared memory into the per-tuple context, and C's double
 * is added to the key's state. No JavaScript object is made for a row.
 *
 * A key is the text of the value, or the eight bytes of its double where no text is stored. A
 * missing value is a key of no bytes, which no other value is: all of them are one group, as in
 * SQL.
 */

import { BLOCK_BYTES, type MemoryContext, type ProcessMemory } from "../../../bindings/index.ts";
import type { HashAggregate } from "../aggregate.ts";
import type { Frames } from "../heap.ts";
import type { RowConsumer } from "../query.ts";
import type { ColumnState } from "../transition.ts";
import type { CsvPlan } from "./table.ts";
import { dataAt, dataBytes, hasValue, type RowLayout, rowLayout, varlenaAt } from "./tuple.ts";

const DOUBLE_BYTES = 8;
const BLOCK_MASK = BLOCK_BYTES - 1;

/** Adds rows of a CSV table to an aggregation. */
export class CsvRows implements RowConsumer {
  readonly leastBytes: number;
  readonly #frames: Frames;
  readonly #memory: ProcessMemory;
  readonly #tuple: MemoryContext;
  readonly #aggregate: HashAggregate;
  readonly #state: ColumnState;
  readonly #layout: RowLayout;
  readonly #key: number;
  /** Whether keys are texts; else they are doubles. */
  readonly #textKey: boolean;
  readonly #keyNumber: number;
  readonly #value: number;
  readonly #valueNumber: number;

  /** @param tuple - per-tuple context; whoever calls {@link add} resets it after each row */
  constructor(
    frames: Frames,
    tuple: MemoryContext,
    aggregate: HashAggregate,
    state: ColumnState,
    { columns, groupBy, agg }: CsvPlan,
  ) {
    this.#frames = frames;
    this.#memory = tuple.memory;
    this.#tuple = tuple;
    this.#aggregate = aggregate;
    this.#state = state;
    this.#layout = rowLayout(columns);
    this.leastBytes = this.#layout.textOffset;
    this.#key = groupBy;
    this.#textKey = columns[groupBy]?.text === true;
    this.#keyNumber = this.#layout.numberIndex[groupBy] ?? 0;
    this.#value = agg;
    this.#valueNumber = this.#layout.numberIndex[agg] ?? 0;
  }

  add(row: number): boolean {
    const frames = this.#frames;
    let from = row;
    let bytes = 0;
    if (hasValue(frames, row, this.#layout, this.#key)) {
      from = row + this.#keyNumber * DOUBLE_BYTES;
      bytes = DOUBLE_BYTES;
      if (this.#textKey) {
        const text = varlenaAt(frames, row, this.#layout, this.#key);
        from = dataAt(frames, text);
        bytes = dataBytes(frames, text);
      }
    }
    // A page begins at a multiple of its size, and a key ends within it.
    if (bytes < 0 || (row & BLOCK_MASK) + (from - row) + bytes > BLOCK_BYTES) return false;
    const state = this.#keyState(from, bytes);
    if (hasValue(frames, row, this.#layout, this.#value)) {
      this.#state.add(state, frames.f64[(row >>> 3) + this.#valueNumber] ?? 0);
    } else this.#state.addNull(state);
    return true;
  }

  #keyState(from: number, bytes: number): number {
    const { u8: frames } = this.#frames;
    const key = this.#tuple.alloc(bytes);
    const { u8 } = this.#memory;
    for (let i = 0; i < bytes; i += 1) u8[key + i] = frames[from + i] ?? 0;
    return this.#aggregate.state(key, bytes);
  }
}

/** The key of a group as the file has it; null for missing values. */
export function csvKeyText(key: Uint8Array, { columns, groupBy }: CsvPlan): string | null {
  if (key.length === 0) return null;
  if (columns[groupBy]?.text === true) return new TextDecoder().decode(key);
  return `${new Float64Array(key.slice().buffer)[0]}`;
}
