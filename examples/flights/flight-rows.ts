/**
 * What a backend does with a flight in `select KEY, count(*), avg(delay), max(distance) from
 * flights group by KEY`.
 *
 * A row's key is "detoasted" into the per-tuple context, which is reset after the row: text gets a
 * 4-byte length word instead of the 1-byte header it has on the page, as PostgreSQL does before it
 * hashes a short varlena. That is also how the bytes get from shared into private memory.
 *
 * PostgreSQL: src/backend/common/detoast.c, detoast_attr
 */

import type { MemoryContext, ProcessMemory } from "../../bindings/index.ts";
import type { HashAggregate } from "./aggregate.ts";
import {
  DATE_OFFSET,
  DELAY_OFFSET,
  DISTANCE_OFFSET,
  type Frames,
  MIN_ROW_BYTES,
  ORIGIN_OFFSET,
  textLength,
  textStart,
} from "./heap.ts";
import type { GroupColumn, RowConsumer } from "./query.ts";
import type { FlightState } from "./transition.ts";

const LENGTH_WORD_BYTES = 4;
const LENGTH_SHIFT = 2;
const DATE_BYTES = 8;

/** Adds flights to an aggregation. */
export class FlightRows implements RowConsumer {
  readonly leastBytes: number = MIN_ROW_BYTES;
  readonly #frames: Frames;
  readonly #memory: ProcessMemory;
  readonly #tuple: MemoryContext;
  readonly #aggregate: HashAggregate;
  readonly #state: FlightState;
  readonly #byOrigin: boolean;

  /** @param tuple - per-tuple context; whoever calls {@link add} resets it after each row */
  constructor(
    frames: Frames,
    tuple: MemoryContext,
    aggregate: HashAggregate,
    state: FlightState,
    groupBy: GroupColumn,
  ) {
    this.#frames = frames;
    this.#memory = tuple.memory;
    this.#tuple = tuple;
    this.#aggregate = aggregate;
    this.#state = state;
    this.#byOrigin = groupBy === "origin";
  }

  add(row: number): boolean {
    const { i32 } = this.#frames;
    const delay = i32[(row + DELAY_OFFSET) >>> 2] ?? 0;
    const distance = i32[(row + DISTANCE_OFFSET) >>> 2] ?? 0;
    const state = this.#byOrigin ? this.#stateOfOrigin(row) : this.#stateOfDate(row);
    this.#state.add(state, delay, distance);
    return true;
  }

  #stateOfOrigin(row: number): number {
    const { u8: frames } = this.#frames;
    const text = row + ORIGIN_OFFSET;
    const length = textLength(this.#frames, text);
    const datum = this.#tuple.alloc(LENGTH_WORD_BYTES + length);
    const { u8, u32 } = this.#memory;
    u32[datum >>> 2] = (LENGTH_WORD_BYTES + length) << LENGTH_SHIFT;
    const from = textStart(text);
    const key = datum + LENGTH_WORD_BYTES;
    for (let i = 0; i < length; i += 1) u8[key + i] = frames[from + i] ?? 0;
    return this.#aggregate.state(key, length);
  }

  #stateOfDate(row: number): number {
    const datum = this.#tuple.alloc(DATE_BYTES);
    this.#memory.f64[datum >>> 3] = this.#frames.f64[(row + DATE_OFFSET) >>> 3] ?? 0;
    return this.#aggregate.state(datum, DATE_BYTES);
  }
}

/** The key of a group of flights as text. */
export function flightKeyText(key: Uint8Array, groupBy: string): string {
  if (groupBy === "origin") return new TextDecoder().decode(key);
  const milliseconds = new Float64Array(key.slice().buffer)[0] ?? 0;
  return new Date(milliseconds).toISOString();
}
