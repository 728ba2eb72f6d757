/** Fills the table of flights: rows of a Parquet file, one row group at a time. */

import { type BufferPool, PallocError, type Relation } from "../../bindings/index.ts";
import { addRow, MAX_TEXT_BYTES } from "./heap.ts";
import { buildTable, type TableLoad } from "./load.ts";
import type { FlightsSource, LoadOutcome } from "./messages.ts";
import { NO_PAGE, PageWriter } from "./pages.ts";
import { type FlightColumns, withFlights } from "./parquet.ts";

/** Rows between two reports of progress. */
const PROGRESS_ROWS = 30_000;

const COLUMNS = ["date", "delay", "distance", "origin", "destination"].map((name) => ({ name }));

/**
 * Loads the flights, which are not there.
 *
 * @throws Error when the file cannot be read or a value does not fit its column
 */
export function loadFlights(load: TableLoad, source: FlightsSource): Promise<LoadOutcome> {
  const { relation: name, path } = source;
  return buildTable(load, {
    name,
    fill: (relation) => copyRows(load, relation, source),
    describe: (rows) => ({ kind: "flights", rows, source: { path }, columns: COLUMNS }),
  });
}

function copyRows(
  { session, onProgress }: TableLoad,
  relation: Relation,
  source: FlightsSource,
): Promise<number> {
  return withFlights(source.path, async (file) => {
    const total = Math.min(file.rows, source.maxRows);
    const writer = new FlightWriter(session.backend.buffers, relation);
    for await (const columns of file.rowGroups()) {
      const end = Math.min(columns.rows, total - writer.rows);
      for (let row = 0; row < end; row += 1) {
        writer.add(columns, row);
        if (writer.rows % PROGRESS_ROWS === 0) {
          onProgress({ phase: "rows", done: writer.rows, total });
        }
      }
      // Decoding the next row group is awaited, and no lock is held meanwhile.
      writer.pages.finish();
      if (writer.rows === total) break;
    }
    return writer.rows;
  });
}

/** Appends flights to a relation. */
class FlightWriter {
  readonly pages: PageWriter;
  readonly #pool: BufferPool;
  #rows = 0;

  constructor(pool: BufferPool, relation: Relation) {
    this.#pool = pool;
    this.pages = new PageWriter(pool, relation);
  }

  get rows(): number {
    return this.#rows;
  }

  add(columns: FlightColumns, row: number): void {
    const date = notNull(columns.date[row], "date");
    const delay = int32(notNull(columns.delay[row], "delay"));
    const distance = int32(notNull(columns.distance[row], "distance"));
    const origin = text(notNull(columns.origin[row], "origin"));
    const destination = text(notNull(columns.destination[row], "destination"));
    const { pages } = this;
    if (pages.page === NO_PAGE) pages.startPage();
    while (!addRow(this.#pool, pages.page, date, delay, distance, origin, destination)) {
      pages.startPage();
    }
    this.#rows += 1;
  }
}

function notNull<Value>(value: Value | null | undefined, column: string): Value {
  if (value !== undefined && value !== null) return value;
  const message = `null value in column "${column}" of relation "flights" violates not-null constraint`;
  throw new PallocError("23502", message);
}

function int32(value: bigint): number {
  const number = Number(value);
  if ((number | 0) === number) return number;
  throw new PallocError("22003", `value "${value}" is out of range for type integer`);
}

function text(value: Uint8Array): Uint8Array {
  if (value.length <= MAX_TEXT_BYTES) return value;
  throw new PallocError("22001", `value of ${value.length} bytes is too long for a short varlena`, {
    detail: `The longest text a row can hold is ${MAX_TEXT_BYTES} bytes.`,
  });
}
