/**
 * What the columns of a CSV file are, found out by reading all of it once before anything is
 * stored. A column is of numbers if each of its values, missing ones aside, is a finite number in
 * decimal digits: `7`, `-1.50`, `.5`, `6.02e23`, blanks around it allowed. Everything else is text,
 * `0x1f`, `NaN` and `1,000` included.
 *
 * Reading twice costs the parser's time again, but it means that an error in the last line of the
 * file is found before the first page is written, that the types are those of the whole file and
 * not of its first rows, and that memory does not grow with the file.
 *
 * Grouping is by what the file has written, letter for letter: 00501 and 501 are two postal codes,
 * and an id of twenty digits is not rounded. Where every number of a column is written as
 * JavaScript would write it, its eight bytes say as much as its text and only they are stored; of
 * other columns of numbers both are, and of text the text alone.
 */

import { PallocError } from "../../../bindings/index.ts";
import { placeOf } from "./file.ts";

/** One column. At least one of `number` and `text` is stored of each value. */
export interface Column {
  readonly name: string;
  /** Whether the values are numbers; they are stored as doubles. */
  readonly number: boolean;
  /** Whether the values' text is stored, because no number stands for it. */
  readonly text: boolean;
  /** Of a column that is not of numbers: the first value that is none, and its line. */
  readonly witness?: { readonly value: string; readonly line: number };
}

/** PostgreSQL: MaxHeapAttributeNumber */
const MAX_COLUMNS = 1600;
/** Names listed in a message, at most. */
const LISTED_NAMES = 20;
const WITNESS_LENGTH = 40;
const DECIMAL = /^[ \t]*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?[ \t]*$/;

/** Finds out the columns of a file, row by row. */
export class ColumnFinder {
  readonly names: readonly string[];
  readonly #number: boolean[];
  readonly #text: boolean[];
  readonly #witnesses: (Column["witness"] | undefined)[];
  #rows = 0;

  /**
   * @param header - names of the columns; one that is empty becomes `column_N`
   * @throws PallocError 42701 for a name that comes twice, 54011 for more than 1600 columns
   */
  constructor(header: readonly string[], place: string) {
    if (header.length > MAX_COLUMNS) {
      const message = `${place}: tables can have at most ${MAX_COLUMNS} columns, not ${header.length}`;
      throw new PallocError("54011", message);
    }
    this.names = header.map((name, index) => (name === "" ? `column_${index + 1}` : name));
    const twice = this.names.find((name, index) => this.names.indexOf(name) !== index);
    if (twice !== undefined) {
      throw new PallocError("42701", `${place}: column "${twice}" specified more than once`, {
        hint: "Give the columns different names.",
      });
    }
    this.#number = header.map(() => true);
    this.#text = header.map(() => false);
    this.#witnesses = header.map(() => undefined);
  }

  /** Rows seen. */
  get rows(): number {
    return this.#rows;
  }

  get columns(): Column[] {
    return this.names.map((name, index) => {
      const witness = this.#witnesses[index];
      const number = this.#number[index] === true;
      const kept = { name, number, text: !number || this.#text[index] === true };
      return witness === undefined ? kept : { ...kept, witness };
    });
  }

  /** Looks at one row. */
  add(values: readonly string[], line: number): void {
    this.#rows += 1;
    for (const [index, value] of values.entries()) {
      if (value === "" || this.#number[index] === false) continue;
      const number = Number(value);
      if (String(number) === value && Number.isFinite(number)) continue;
      if (DECIMAL.test(value) && Number.isFinite(number)) this.#text[index] = true;
      else {
        this.#number[index] = false;
        this.#witnesses[index] = { value: shortened(value), line };
      }
    }
  }

  /** Whether a column has only numbers so far. */
  isNumber(index: number): boolean {
    return this.#number[index] === true;
  }
}

/**
 * Index of the column an option names.
 *
 * @param option - `--group-by` or `--agg`
 * @param name - undefined if the option was not given
 * @throws PallocError 42601 or 42703, which list the columns there are
 */
export function columnIndex(
  option: string,
  name: string | undefined,
  names: readonly string[],
  path: string,
): number {
  const index = name === undefined ? -1 : names.indexOf(name);
  if (index >= 0) return index;
  const hint = `The columns of "${path}" are ${listed(names)}`;
  if (name === undefined) {
    throw new PallocError("42601", `option ${option} is needed with a CSV file`, { hint });
  }
  throw new PallocError("42703", `option ${option} "${name}": there is no such column`, { hint });
}

/** @throws PallocError 42804 unless the column is of numbers */
export function requireNumbers(option: string, column: Column | undefined, path: string): void {
  if (column?.number === true) return;
  const { name = "", witness = { value: "", line: 0 } } = column ?? {};
  const where = `${placeOf(path, witness.line)} has "${witness.value}"`;
  throw new PallocError("42804", `option ${option} "${name}": column "${name}" is not numeric`, {
    detail: `${where.replace(/^l/, "L")}.`,
    hint: "Choose a column whose values are all numbers.",
  });
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, LISTED_NAMES).map((name) => `"${name}"`);
  const more = names.length - shown.length;
  return more > 0 ? `${shown.join(", ")} and ${more} more` : shown.join(", ");
}

function shortened(value: string): string {
  return value.length > WITNESS_LENGTH ? `${value.slice(0, WITNESS_LENGTH - 1)}…` : value;
}
