/**
 * What a table made from a CSV file knows of itself: which file it was loaded from, its columns;
 * and how it is called. The description stands in the catalog (table-catalog.ts).
 *
 * A table's name is that of the file with a hash of its whole path and of the number of rows asked
 * for, then a generation. A file that has changed is loaded as the next generation, and only when
 * that one is complete is the last one dropped: at every moment there is one to be used.
 */

import { createHash } from "node:crypto";
import { basename } from "node:path";
import type { Column } from "./columns.ts";
import type { FileIdentity } from "./file.ts";

/** Description of a table. */
export interface CsvTable {
  readonly source: FileIdentity;
  /** Rows in the table. */
  readonly rows: number;
  readonly columns: readonly Column[];
}

/** A table, with what a query does with it. */
export interface CsvPlan extends CsvTable {
  /** Index of the column to group by. */
  readonly groupBy: number;
  /** Index of the column to aggregate. */
  readonly agg: number;
}

const STEM_LENGTH = 32;
const HASH_LENGTH = 8;

/** Name of a file's table, without the generation at its end. */
export function tablePrefix(path: string, maxRows: number): string {
  const stem = basename(path)
    .replace(/\.csv$/i, "")
    .replaceAll(/[^A-Za-z0-9]+/g, "_")
    .slice(0, STEM_LENGTH);
  const hash = createHash("sha256").update(`${maxRows} ${path}`).digest("hex");
  return `csv_${stem}_${hash.slice(0, HASH_LENGTH)}_`;
}

/** Generations of a file's table among `names`, the newest first. */
export function generations(names: readonly string[], prefix: string): number[] {
  return names
    .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
    .sort((left, right) => right - left);
}
