/**
 * Flights one by one, as a cursor has them: `select * from flights`. The rows of a page are found
 * under its share lock; then it stays pinned, and not locked, until the last of them was fetched.
 * Who reads them meanwhile holds a lock on the table that excludes whoever would change them.
 *
 * PostgreSQL: src/backend/access/heap/heapam.c, heapgettup_pagemode
 */

import type { Backend, Relation } from "../../bindings/index.ts";
import {
  DATE_OFFSET,
  DELAY_OFFSET,
  DISTANCE_OFFSET,
  type Frames,
  ORIGIN_OFFSET,
  rowAddress,
  rowCount,
  textLength,
  textStart,
} from "./heap.ts";

/** One row of the table. */
export interface Flight {
  /** ISO 8601, UTC. */
  readonly date: string;
  /** Minutes. */
  readonly delay: number;
  /** Miles. */
  readonly distance: number;
  readonly origin: string;
  readonly destination: string;
}

/** The flights in the order of their pages. Ending it early gives the page back. */
export function* flightsOf({ buffers: pool }: Backend, relation: Relation): Generator<Flight> {
  const blocks = relation.blocksSync();
  for (let block = 0; block < blocks; block += 1) {
    const buffer = pool.pin(relation.id, block);
    try {
      pool.lockShare(buffer);
      const rows = rowsOn(pool, pool.offset(buffer));
      pool.unlock(buffer);
      for (const row of rows) yield flightAt(pool, row);
    } finally {
      pool.unpin(buffer);
    }
  }
}

/** Addresses of a page's rows. */
function rowsOn(frames: Frames, page: number): number[] {
  const count = Math.max(0, rowCount(frames, page));
  const rows = Array.from({ length: count }, (_, index) => rowAddress(frames, page, index));
  return rows.filter((row) => row !== 0);
}

function flightAt(frames: Frames, row: number): Flight {
  const { i32, f64 } = frames;
  const origin = row + ORIGIN_OFFSET;
  const destination = textStart(origin) + textLength(frames, origin);
  return {
    date: new Date(f64[(row + DATE_OFFSET) >>> 3] ?? 0).toISOString(),
    delay: i32[(row + DELAY_OFFSET) >>> 2] ?? 0,
    distance: i32[(row + DISTANCE_OFFSET) >>> 2] ?? 0,
    origin: textAt(frames, origin),
    destination: textAt(frames, destination),
  };
}

function textAt(frames: Frames, at: number): string {
  const from = textStart(at);
  return new TextDecoder().decode(frames.u8.slice(from, from + textLength(frames, at)));
}
