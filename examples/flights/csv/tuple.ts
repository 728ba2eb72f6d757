/**
 * A row of a CSV file on a heap page (heap.ts has the page).
 *
 *        0                       8 × numbers
 *       ┌──────────┬──────────┬─────────────┬───────────────────┬─ ─ ─┬───┐
 *   row │ number 0 │ number 1 │ bitmap      │ text 0, varlena   │  …  │pad│ to 8 bytes
 *       └──────────┴──────────┴─────────────┴───────────────────┴─ ─ ─┴───┘
 *
 * Numbers are doubles at fixed places, so that an aggregate finds its value in one load; a missing
 * one leaves its eight bytes unused. The bitmap has a bit for each column, in the file's order, 1
 * where there is a value. Texts follow in the file's order, missing ones not at all: a varlena of
 * one byte and up to 126 bytes of text, or of four bytes and more.
 *
 * PostgreSQL: src/backend/access/common/heaptuple.c, heap_form_tuple; src/include/varatt.h
 */

import { PallocError } from "../../../bindings/index.ts";
import { type Frames, MAX_ROW_BYTES } from "../heap.ts";
import type { Column } from "./columns.ts";

const DOUBLE_BYTES = 8;
const SHORT_HEADER_BYTES = 1;
const LONG_HEADER_BYTES = 4;
const MAX_SHORT_BYTES = 126;

/** Where the parts of a row are. */
export interface RowLayout {
  readonly numbers: number;
  readonly bitmapOffset: number;
  readonly textOffset: number;
  /** Per column: index among the numbers, or -1. */
  readonly numberIndex: readonly number[];
  /** Per column: index among the texts, or -1. */
  readonly textIndex: readonly number[];
  /** Columns that have a text, in order. */
  readonly textColumns: readonly number[];
}

/** Lays out the rows of a table. */
export function rowLayout(columns: readonly Column[]): RowLayout {
  let numbers = 0;
  const textColumns: number[] = [];
  const numberIndex: number[] = [];
  const textIndex: number[] = [];
  for (const [index, { number, text }] of columns.entries()) {
    numberIndex.push(number ? numbers : -1);
    textIndex.push(text ? textColumns.length : -1);
    if (number) numbers += 1;
    if (text) textColumns.push(index);
  }
  const bitmapOffset = numbers * DOUBLE_BYTES;
  const textOffset = bitmapOffset + Math.ceil(columns.length / 8);
  return { numbers, bitmapOffset, textOffset, numberIndex, textIndex, textColumns };
}

/** Writes rows, one at a time, into private memory; from there they go to a page in one copy. */
export class RowEncoder {
  readonly #columns: readonly Column[];
  readonly #layout: RowLayout;
  readonly #bytes = new Uint8Array(2 * MAX_ROW_BYTES);
  readonly #doubles = new Float64Array(this.#bytes.buffer);
  readonly #utf8 = new TextEncoder();

  /** @throws PallocError 54000 if even a row without values is too long for a page */
  constructor(columns: readonly Column[]) {
    this.#columns = columns;
    this.#layout = rowLayout(columns);
    if (this.#layout.textOffset > MAX_ROW_BYTES) throw tooBig(this.#layout.textOffset);
  }

  /**
   * Encodes a row.
   *
   * @returns its bytes, valid until the next call
   * @throws PallocError 54000 if the row is longer than a page can hold
   */
  encode(values: readonly string[]): Uint8Array {
    const { bitmapOffset, textOffset, numberIndex } = this.#layout;
    this.#bytes.fill(0, bitmapOffset, textOffset);
    let end = textOffset;
    for (const [index, value] of values.entries()) {
      const number = numberIndex[index] ?? -1;
      if (value === "") {
        if (number >= 0) this.#doubles[number] = 0;
        continue;
      }
      const at = bitmapOffset + (index >>> 3);
      this.#bytes[at] = (this.#bytes[at] ?? 0) | (1 << (index & 7));
      if (number >= 0) this.#doubles[number] = Number(value);
      if (this.#columns[index]?.text === true) end = this.#putText(end, value, values);
    }
    return this.#bytes.subarray(0, end);
  }

  /** Puts a text at `at` and returns the address after it. */
  #putText(at: number, value: string, values: readonly string[]): number {
    const length = Buffer.byteLength(value);
    const first = at + (length > MAX_SHORT_BYTES ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES);
    if (first + length > MAX_ROW_BYTES) throw this.#tooBig(values);
    const bytes = this.#bytes;
    if (length <= MAX_SHORT_BYTES) bytes[at] = ((length + SHORT_HEADER_BYTES) << 1) | 1;
    else {
      const word = (length + LONG_HEADER_BYTES) << 2;
      for (let i = 0; i < LONG_HEADER_BYTES; i += 1) bytes[at + i] = (word >>> (8 * i)) & 0xff;
    }
    this.#utf8.encodeInto(value, bytes.subarray(first, first + length));
    return first + length;
  }

  /** Names what takes most of a row that is too long. */
  #tooBig(values: readonly string[]): PallocError {
    const sizes = values.map((value) => Buffer.byteLength(value));
    const longest = sizes.indexOf(Math.max(...sizes));
    const { textColumns, textOffset } = this.#layout;
    const text = textColumns.reduce((sum, index) => sum + (sizes[index] ?? 0) + 1, 0);
    const { name = "" } = this.#columns[longest] ?? {};
    return tooBig(textOffset + text, {
      detail: `Its longest value, ${sizes[longest]} bytes, is in column "${name}".`,
    });
  }
}

function tooBig(bytes: number, parts: { readonly detail?: string } = {}): PallocError {
  const message = `row is too big: size ${bytes}, maximum size ${MAX_ROW_BYTES}`;
  return new PallocError("54000", message, {
    ...parts,
    hint: "A row must fit into a page of 8 kB; leave the long column out of the file.",
  });
}

/** Whether the row at `row` has a value in a column. */
export function hasValue(frames: Frames, row: number, layout: RowLayout, column: number): boolean {
  const bits = frames.u8[row + layout.bitmapOffset + (column >>> 3)] ?? 0;
  return ((bits >>> (column & 7)) & 1) !== 0;
}

/** Address of the varlena of a column that has a value. */
export function varlenaAt(frames: Frames, row: number, layout: RowLayout, column: number): number {
  let at = row + layout.textOffset;
  for (const other of layout.textColumns) {
    if (other === column) break;
    if (hasValue(frames, row, layout, other)) at = dataAt(frames, at) + dataBytes(frames, at);
  }
  return at;
}

/** Address of the text of a varlena. */
export function dataAt({ u8 }: Frames, at: number): number {
  return at + (((u8[at] ?? 0) & 1) !== 0 ? SHORT_HEADER_BYTES : LONG_HEADER_BYTES);
}

/** Bytes of the text of a varlena. */
export function dataBytes({ u8 }: Frames, at: number): number {
  const first = u8[at] ?? 0;
  if ((first & 1) !== 0) return (first >>> 1) - SHORT_HEADER_BYTES;
  const word = first | ((u8[at + 1] ?? 0) << 8) | ((u8[at + 2] ?? 0) << 16);
  return (word >>> 2) - LONG_HEADER_BYTES;
}
