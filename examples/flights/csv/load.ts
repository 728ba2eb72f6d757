/**
 * Has the table of a CSV file: finds it loaded, or loads it. The file is read once to check all of
 * it and to find out its columns, then once more into the table. A file is taken for the one that
 * was loaded if its path, size and time of modification are the same.
 */

import { type BufferPool, PallocError } from "../../../bindings/index.ts";
import { NO_ROOM, reserveRow } from "../heap.ts";
import { buildTable, dropTable, nothingLoaded, type TableLoad } from "../load.ts";
import type { CsvSource, LoadOutcome, LoadProgress } from "../messages.ts";
import { NO_PAGE, PageWriter } from "../pages.ts";
import { ColumnFinder, columnIndex, requireNumbers } from "./columns.ts";
import { CsvFile, placeOf } from "./file.ts";
import { type CsvTable, generations, tablePrefix } from "./table.ts";
import { RowEncoder } from "./tuple.ts";

/** Rows between two reports of progress. */
const PROGRESS_ROWS = 30_000;
const GROUP_BY = "--group-by";
const AGG = "--agg";

type OnProgress = (progress: LoadProgress) => void;

/**
 * Loads a CSV file unless its table exists. Whatever is thrown, the tables are those of before.
 *
 * @throws PallocError for a file that cannot be read, is no CSV, lacks a column that was asked for
 *   or has a row too long for a page; and 53100 when the disk is full
 */
export async function ensureCsvLoaded(load: TableLoad, source: CsvSource): Promise<LoadOutcome> {
  const { backend } = load.session;
  const file = await CsvFile.open(source.path);
  try {
    const prefix = tablePrefix(source.path, source.maxRows);
    const [newest = 0] = generations(backend.relationNamesSync(), prefix);
    const found = source.reload ? undefined : findTable(load, `${prefix}${newest}`, file, source);
    if (found !== undefined) return found;

    const table = await describe(file, source, load.onProgress);
    const outcome = await buildTable(load, {
      name: `${prefix}${newest + 1}`,
      fill: async (unfinished) => {
        const writer = new PageWriter(backend.buffers, unfinished);
        await copyRows(backend.buffers, writer, file, table, load.onProgress);
        return table.rows;
      },
      describe: () => ({ kind: "csv", ...table }),
    });
    dropOlder(load, prefix, newest);
    checkColumns(table, source);
    return outcome;
  } finally {
    await file.close();
  }
}

/** The table if it is that of the file as it is now. */
function findTable(
  { session, tables }: TableLoad,
  name: string,
  { identity }: CsvFile,
  source: CsvSource,
): LoadOutcome | undefined {
  const table = session.transaction(() => tables.find(name));
  if (table?.kind !== "csv") return undefined;
  const { source: loaded } = table;
  if (loaded.bytes !== identity.bytes || loaded.modified !== identity.modified) return undefined;
  checkColumns(table, source);
  return nothingLoaded(name, table.pages);
}

/**
 * Drops the tables of the file as it was. They are known to the checkpoint that the load ended
 * with: another one lets their files go.
 */
function dropOlder(load: TableLoad, prefix: string, newest: number): void {
  const { backend } = load.session;
  const older = generations(backend.relationNamesSync(), prefix).filter((each) => each <= newest);
  for (const each of older) dropTable(load, `${prefix}${each}`);
  if (newest > 0) backend.checkpointSync();
}

/** @throws PallocError unless the columns that were asked for are there and do */
function checkColumns(table: CsvTable, { path, groupBy, agg }: CsvSource): void {
  const names = table.columns.map((column) => column.name);
  columnIndex(GROUP_BY, groupBy, names, path);
  requireNumbers(AGG, table.columns[columnIndex(AGG, agg, names, path)], path);
}

/** Reads the whole file, or as many rows as are wanted, without storing anything. */
async function describe(
  file: CsvFile,
  source: CsvSource,
  onProgress: OnProgress,
): Promise<CsvTable> {
  const { path, bytes: total } = file.identity;
  let finder: ColumnFinder | undefined;
  let agg = 0;
  await file.read({
    header: (header, line) => {
      finder = new ColumnFinder(header, placeOf(path, line));
      columnIndex(GROUP_BY, source.groupBy, finder.names, path);
      agg = columnIndex(AGG, source.agg, finder.names, path);
    },
    row: (values, line) => {
      finder?.add(values, line);
      if (finder?.isNumber(agg) === false) requireNumbers(AGG, finder.columns[agg], path);
      return (finder?.rows ?? 0) < source.maxRows;
    },
    pause: (done) => {
      // Not for the last piece: a file of a single one is checked before a line could be read.
      if (done < total) onProgress({ phase: "check", done, total });
    },
  });
  return { source: file.identity, rows: finder?.rows ?? 0, columns: finder?.columns ?? [] };
}

async function copyRows(
  pool: BufferPool,
  writer: PageWriter,
  file: CsvFile,
  table: CsvTable,
  onProgress: OnProgress,
): Promise<void> {
  const { path } = file.identity;
  const encoder = new RowEncoder(table.columns);
  let rows = 0;
  const add = (values: readonly string[], line: number): void => {
    const row = atLine(path, line, () => encoder.encode(values));
    let at = NO_ROOM;
    if (writer.page === NO_PAGE) writer.resume();
    if (writer.page !== NO_PAGE) at = reserveRow(pool, writer.page, row.length);
    if (at === NO_ROOM) {
      writer.startPage();
      at = reserveRow(pool, writer.page, row.length);
    }
    pool.u8.set(row, at);
    rows += 1;
    if (rows % PROGRESS_ROWS === 0) onProgress({ phase: "rows", done: rows, total: table.rows });
  };
  await file.read({
    row: (values, line) => {
      if (rows < table.rows) add(values, line);
      return rows < table.rows;
    },
    // The next chunk is awaited, and no lock is held meanwhile.
    pause: () => writer.pause(),
  });
  writer.finish();
  await file.requireUnchanged();
}

/** Names the line in an error that is of a row. */
function atLine<Value>(path: string, line: number, work: () => Value): Value {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PallocError)) throw error;
    const { code, detail, hint } = error;
    throw new PallocError(code, `${placeOf(path, line)}: ${error.message}`, {
      ...(detail === undefined ? {} : { detail }),
      ...(hint === undefined ? {} : { hint }),
      cause: error,
    });
  }
}
