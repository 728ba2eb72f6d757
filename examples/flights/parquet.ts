/**
 * Reads the flights from their Parquet file, one row group at a time and column by column. Never
 * are there row objects: a group of 272,727 rows is five arrays, and the one before it is garbage.
 *
 * The file comes with the npm package vega-datasets: 3,000,000 flights in the United States in
 * 2001, ZSTD-compressed, in 11 row groups. Its columns may be null by their schema; none is.
 */

import { type FileHandle, open } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetRead } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { PallocError } from "../../bindings/index.ts";

/** The rows of one row group. Texts are UTF-8 bytes; equal texts are often one object. */
export interface FlightColumns {
  readonly rows: number;
  /** Milliseconds since 1970. */
  readonly date: ArrayLike<number | undefined>;
  /** Minutes; negative when early. */
  readonly delay: ArrayLike<bigint | undefined>;
  /** Miles. */
  readonly distance: ArrayLike<bigint | undefined>;
  readonly origin: ArrayLike<Uint8Array | undefined>;
  readonly destination: ArrayLike<Uint8Array | undefined>;
}

/** An open file of flights. */
export interface FlightFile {
  readonly rows: number;
  /** Decodes each row group when it is asked for. */
  rowGroups(): AsyncGenerator<FlightColumns, void, undefined>;
}

/**
 * Path of the flights file in the installed vega-datasets package.
 *
 * @throws PallocError 58P01 if the package is not installed
 */
export function flightsPath(): string {
  try {
    const entry = import.meta.resolve("vega-datasets");
    return fileURLToPath(new URL("../data/flights-3m.parquet", entry));
  } catch (cause) {
    throw new PallocError("58P01", "the package vega-datasets, which has the data, is missing", {
      hint: "Run npm install in palloc's repository.",
      cause,
    });
  }
}

const MICROSECONDS = 1000;

/** Values as the loader wants them: numbers for dates, bytes for text. */
const parsers = {
  timestampFromMicroseconds: (micros: bigint) => Number(micros) / MICROSECONDS,
  stringFromBytes: (bytes: Uint8Array) => bytes,
};

/**
 * Opens a flights file and hands it to `use`; the file is closed when that ends.
 *
 * @throws PallocError 58030 if the file is missing or no Parquet file of flights
 */
export async function withFlights<Result>(
  path: string,
  use: (file: FlightFile) => Promise<Result>,
): Promise<Result> {
  const handle = await orUnreadable(path, open(path));
  try {
    const file = await orUnreadable(path, bufferOf(handle));
    const metadata = await orUnreadable(path, parquetMetadataAsync(file));
    return await use({
      rows: Number(metadata.num_rows),
      async *rowGroups() {
        let rowStart = 0;
        for (const { num_rows } of metadata.row_groups) {
          const rows = Number(num_rows);
          yield await orUnreadable(path, readRowGroup(file, metadata, rowStart, rows));
          rowStart += rows;
        }
      },
    });
  } finally {
    await handle.close();
  }
}

/** Names the file in whatever goes wrong with it. */
async function orUnreadable<Value>(path: string, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new PallocError("58030", `could not read file "${path}": ${why}`, { cause });
  }
}

/** hyparquet's own file buffer opens the file again for each slice; this one keeps it open. */
async function bufferOf(handle: FileHandle): Promise<AsyncBuffer> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      const bytes = new Uint8Array(end - start);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
      if (bytesRead < bytes.length) throw new Error(`it ends before byte ${end}`);
      return bytes.buffer;
    },
  };
}

async function readRowGroup(
  file: AsyncBuffer,
  metadata: FileMetaData,
  rowStart: number,
  rows: number,
): Promise<FlightColumns> {
  const columns = new Map<string, ArrayLike<unknown>[]>();
  await parquetRead({
    file,
    metadata,
    compressors,
    parsers,
    rowStart,
    rowEnd: rowStart + rows,
    onChunk: ({ columnName, columnData }) => {
      columns.set(columnName, [...(columns.get(columnName) ?? []), columnData]);
    },
  });
  return flightColumns(columns, rows);
}

function flightColumns(columns: Map<string, ArrayLike<unknown>[]>, rows: number): FlightColumns {
  const column = <Value>(name: string): ArrayLike<Value | undefined> => {
    const chunks = columns.get(name) ?? [];
    const whole = chunks.length === 1 ? chunks[0] : chunks.flatMap((chunk) => Array.from(chunk));
    if (whole === undefined || whole.length !== rows) {
      throw new Error(`its column "${name}" has ${whole?.length ?? 0} of ${rows} rows`);
    }
    return whole as ArrayLike<Value | undefined>;
  };
  return {
    rows,
    date: column("date"),
    delay: column("delay"),
    distance: column("distance"),
    origin: column("origin"),
    destination: column("destination"),
  };
}
