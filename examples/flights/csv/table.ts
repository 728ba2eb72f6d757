/**
 * What a table made from a CSV file knows of itself: which file it was loaded from, its columns.
 * This is kept in the table's own first pages, not beside it, so that one renaming (load.ts) makes
 * both appear together, and a table whose description is missing or of another file cannot be.
 *
 *        0             24      28              32
 *       ┌─────────────┬───────┬───────────────┬─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┐
 *  page │ page header │ magic │ bytes of JSON │ the JSON, or its next part │
 *       └─────────────┴───────┴───────────────┴─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┘ 8192
 *
 * A table's name is that of the file with a hash of its whole path and of the number of rows asked
 * for, then a generation. A file that has changed is loaded as the next generation, and only when
 * that one is complete is the last one dropped: at every moment there is one to be used.
 *
 * PostgreSQL: src/include/access/nbtree.h, BTMetaPageData
 */

import { createHash } from "node:crypto";
import { basename } from "node:path";
import {
  type Backend,
  BLOCK_BYTES,
  DataCorruptedError,
  PAGE_HEADER_BYTES,
  PAGE_LOWER_OFFSET,
  type Relation,
} from "../../../bindings/index.ts";
import type { Frames } from "../heap.ts";
import { type PageWriter, readPages } from "../pages.ts";
import type { Column } from "./columns.ts";
import type { FileIdentity } from "./file.ts";

/** Description of a table. */
export interface CsvTable {
  readonly source: FileIdentity;
  /** Rows in the table. */
  readonly rows: number;
  readonly columns: readonly Column[];
}

const MAGIC = 0x31565343; // "CSV1" as bytes
const MAGIC_OFFSET: number = PAGE_HEADER_BYTES;
const LENGTH_OFFSET: number = PAGE_HEADER_BYTES + 4;
const TEXT_OFFSET: number = PAGE_HEADER_BYTES + 8;
const TEXT_BYTES: number = BLOCK_BYTES - TEXT_OFFSET;
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

/** Writes the description as the table's first pages. */
export function writeDescription(frames: Frames, writer: PageWriter, table: CsvTable): void {
  const text = new TextEncoder().encode(JSON.stringify(table));
  for (let at = 0; at < text.length; at += TEXT_BYTES) {
    writer.startPage();
    const part = text.subarray(at, at + TEXT_BYTES);
    const { page } = writer;
    frames.u32[(page + MAGIC_OFFSET) >>> 2] = MAGIC;
    frames.u32[(page + LENGTH_OFFSET) >>> 2] = text.length;
    frames.u8.set(part, page + TEXT_OFFSET);
    frames.u16[(page + PAGE_LOWER_OFFSET) >>> 1] = TEXT_OFFSET + part.length;
  }
  writer.finish();
}

/**
 * Reads the description of a table.
 *
 * @returns it, and the first block that has rows
 * @throws DataCorruptedError if the first pages hold none
 */
export function readDescription(
  backend: Backend,
  relation: Relation,
): { readonly table: CsvTable; readonly firstBlock: number } {
  const pool = backend.buffers;
  const parts: Uint8Array[] = [];
  let length = 0;
  const take = (page: number, block: number): void => {
    if (pool.u32[(page + MAGIC_OFFSET) >>> 2] !== MAGIC) throw noDescription(relation, block);
    length = pool.u32[(page + LENGTH_OFFSET) >>> 2] ?? 0;
    const rest = Math.min(TEXT_BYTES, length - block * TEXT_BYTES);
    parts.push(pool.u8.slice(page + TEXT_OFFSET, page + TEXT_OFFSET + rest));
  };
  readPages(backend, relation, { first: 0, end: 1 }, take);
  const firstBlock = Math.ceil(length / TEXT_BYTES);
  if (firstBlock > relation.blocksSync()) throw noDescription(relation, 0);
  readPages(backend, relation, { first: 1, end: firstBlock }, take);
  const table = JSON.parse(Buffer.concat(parts).toString()) as CsvTable;
  return { table, firstBlock };
}

function noDescription({ name }: Relation, block: number): DataCorruptedError {
  const message = `block ${block} of relation "${name}" does not describe a table`;
  return new DataCorruptedError(message, { relation: name, block });
}
