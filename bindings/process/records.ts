/**
 * Records with a declared layout: the structs of C, over chunks.
 *
 * The layout is C's: fields in their order, each at the next multiple of its own size (bytes and
 * text at the next byte), and the whole rounded up to the largest of these sizes, so that records
 * can lie side by side. A C program with the same struct reads the same fields.
 *
 * Three ways to the values, from the shortest to write to the fastest:
 *
 *   order.price                                    a cursor; moved by setting its `address`
 *   Order.fields.price.get(view, address)          `view` is `memory.dataView`: one inlined load
 *   orders.fill({ price }), orders.column("price") whole columns
 *
 * Accessors of a cursor are as fast as a field's `get` while a program uses two or three kinds of
 * record; engines give up on inlining what they have seen on more.
 */

import { mulSize } from "./arrays.ts";
import { checkRange } from "./chunk-views.ts";
import type { ContextTools } from "./context-tools.ts";
import {
  type FieldType,
  type FieldValue,
  formOf,
  type RecordColumn,
  type RecordField,
  type RecordMemory,
} from "./record-fields.ts";

/** Names of fields and their types, in the order they lie. */
export type RecordShape = Readonly<Record<string, FieldType>>;

/** The values of a record. */
export type RecordValues<Shape extends RecordShape> = {
  -readonly [Name in keyof Shape]: FieldValue<Shape[Name]>;
};

/** One record, read and written by the names of its fields. */
export type RecordCursor<Shape extends RecordShape> = RecordValues<Shape> & {
  readonly memory: RecordMemory;
  /** Where the record lies; set it to look at another one. */
  address: number;
};

/** The fields of a kind of record, by name. */
export type RecordFields<Shape extends RecordShape> = {
  readonly [Name in keyof Shape]: RecordField<FieldValue<Shape[Name]>>;
};

/** Columns of some or all fields, for {@link RecordArray.fill} and {@link RecordArray.copyTo}. */
export type RecordColumns<Shape extends RecordShape, Way extends "in" | "out"> = {
  readonly [Name in keyof Shape]?: Way extends "in"
    ? ArrayLike<FieldValue<Shape[Name]>>
    : RecordColumn<FieldValue<Shape[Name]>>;
};

type CursorClass<Shape extends RecordShape> = new (
  memory: RecordMemory,
  address: number,
) => RecordCursor<Shape>;

type AnyField = RecordField<unknown>;

/** A kind of record, made by {@link defineRecord}. */
export class RecordType<Shape extends RecordShape> {
  readonly fields: RecordFields<Shape>;
  /** Bytes of a record, and from one to the next in an array. */
  readonly bytes: number;
  /** The address of a record is a multiple of this: 1, 2, 4 or 8. */
  readonly alignment: number;
  readonly #Cursor: CursorClass<Shape>;

  /** Made by {@link defineRecord}. @internal */
  constructor(shape: Shape) {
    const { fields, bytes, alignment } = layOut(shape);
    this.fields = fields as unknown as RecordFields<Shape>;
    this.bytes = bytes;
    this.alignment = alignment;
    this.#Cursor = cursorClass(fields) as CursorClass<Shape>;
  }

  /** A new record in a context, all zero but for `values`. @throws as `alloc` of the context */
  alloc(context: ContextTools, values: Partial<RecordValues<Shape>> = {}): RecordCursor<Shape> {
    const address = context.allocArrayZero(1, this.bytes);
    return Object.assign(new this.#Cursor(context.memory, address), values);
  }

  /**
   * A cursor on the record at `address`.
   *
   * @throws `RangeError` if that is not inside the memory, or no multiple of `alignment`
   */
  at(memory: RecordMemory, address: number): RecordCursor<Shape> {
    this.#checkPlace(memory, address, 1);
    return new this.#Cursor(memory, address);
  }

  /** `count` new records side by side in a context, all zero. @throws as `allocArray` */
  allocArray(context: ContextTools, count: number): RecordArray<Shape> {
    const address = context.allocArrayZero(count, this.bytes);
    return new RecordArray(this, context.memory, address, count);
  }

  /** The `count` records that lie side by side from `address` on. @throws as {@link at} */
  arrayAt(memory: RecordMemory, address: number, count: number): RecordArray<Shape> {
    this.#checkPlace(memory, address, count);
    return new RecordArray(this, memory, address, count);
  }

  #checkPlace(memory: RecordMemory, address: number, count: number): void {
    checkRange(memory.u8, address, mulSize(count, this.bytes));
    if (address % this.alignment !== 0) {
      throw new RangeError(`a record must lie at a multiple of ${this.alignment}, not ${address}`);
    }
  }
}

/** Records side by side, made by {@link RecordType.allocArray}. */
export class RecordArray<Shape extends RecordShape> {
  readonly type: RecordType<Shape>;
  readonly memory: RecordMemory;
  /** Where the first record lies. */
  readonly address: number;
  /** How many there are. */
  readonly length: number;

  /** @internal */
  constructor(type: RecordType<Shape>, memory: RecordMemory, address: number, length: number) {
    this.type = type;
    this.memory = memory;
    this.address = address;
    this.length = length;
  }

  /** Where record `index` lies. @throws `RangeError` if there is no such record */
  addressOf(index: number): number {
    if (index >>> 0 !== index || index >= this.length) {
      throw new RangeError(`there is no record ${String(index)} of ${this.length}`);
    }
    return this.address + index * this.type.bytes;
  }

  /** A cursor on record `index`. @throws `RangeError` if there is no such record */
  at(index: number): RecordCursor<Shape> {
    return this.type.at(this.memory, this.addressOf(index));
  }

  /** The records, by one cursor that moves from each to the next: keep values, not the cursor. */
  *[Symbol.iterator](): Generator<RecordCursor<Shape>, void, undefined> {
    if (this.length === 0) return;
    const cursor = this.at(0);
    for (let index = 0; index < this.length; index += 1) {
      cursor.address = this.addressOf(index);
      yield cursor;
    }
  }

  /**
   * Sets fields of the first records from columns, one array a field; the other fields stay.
   *
   * @throws `RangeError` for a column longer than this; nothing is written then
   */
  fill(columns: RecordColumns<Shape, "in">): void {
    for (const [field, column] of this.#columns<ArrayLike<unknown>>(columns)) {
      field.scatter(this.memory.dataView, this.address, this.type.bytes, column);
    }
  }

  /**
   * Copies fields into columns, one array a field, each of at most as many records as it has room
   * for. A field of bytes gives views, which show the records as they become.
   *
   * @throws `RangeError` for a column longer than this; nothing is written then
   */
  copyTo(columns: RecordColumns<Shape, "out">): void {
    for (const [field, column] of this.#columns<RecordColumn<unknown>>(columns)) {
      field.gather(this.memory.dataView, this.address, this.type.bytes, column);
    }
  }

  /** The values of one field, as an array. {@link copyTo} fills typed arrays. */
  column<Name extends keyof Shape>(name: Name): FieldValue<Shape[Name]>[] {
    const column = new Array<FieldValue<Shape[Name]>>(this.length);
    const { memory, address, type } = this;
    type.fields[name].gather(memory.dataView, address, type.bytes, column);
    return column;
  }

  /** Fields and their columns, all of them checked. */
  #columns<Values extends { readonly length: number }>(columns: object): [AnyField, Values][] {
    const fields = this.type.fields as Readonly<Record<string, AnyField>>;
    return Object.entries(columns as Readonly<Record<string, Values>>).map(([name, column]) => {
      const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
      if (field === undefined) throw new TypeError(`there is no field "${name}"`);
      if (column.length > this.length) {
        throw new RangeError(`column "${name}" has ${column.length} values for ${this.length}`);
      }
      return [field, column];
    });
  }
}

/**
 * Declares a kind of record.
 *
 * @example
 * ```ts
 * const Order = defineRecord({ id: "u32", price: "f64", flags: "u8", name: "text:16" });
 * const order = Order.alloc(context, { id: 7, name: "Käse" });
 * order.price = 2.5;
 * const orders = Order.allocArray(context, 1000);
 * orders.fill({ id: Uint32Array.from({ length: 1000 }, (_, index) => index) });
 * ```
 * @throws `TypeError` for an unknown type, no field, or a name that cursors use (`memory`,
 * `address`) or that is a number, since JavaScript puts those first
 */
export function defineRecord<const Shape extends RecordShape>(shape: Shape): RecordType<Shape> {
  return new RecordType(shape);
}

function layOut(shape: RecordShape): {
  fields: Record<string, AnyField>;
  bytes: number;
  alignment: number;
} {
  const fields: Record<string, AnyField> = {};
  let end = 0;
  let largest = 1;
  for (const [name, type] of Object.entries(shape)) {
    if (/^(memory|address|constructor|__proto__|\d+)$/.test(name)) {
      throw new TypeError(`a field cannot have the name "${name}"`);
    }
    const { make, bytes, alignment } = formOf(name, type);
    const offset = roundUp(end, alignment);
    fields[name] = new make(name, type, offset, bytes);
    end = offset + bytes;
    largest = Math.max(largest, alignment);
  }
  if (end === 0) throw new TypeError("a record needs a field");
  return { fields: Object.freeze(fields), bytes: roundUp(end, largest), alignment: largest };
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

/** A class whose prototype has an accessor for each field. */
function cursorClass(fields: Readonly<Record<string, AnyField>>): unknown {
  class Cursor {
    readonly memory: RecordMemory;
    address: number;

    constructor(memory: RecordMemory, address: number) {
      this.memory = memory;
      this.address = address;
    }
  }
  for (const [name, field] of Object.entries(fields)) {
    Object.defineProperty(Cursor.prototype, name, {
      enumerable: true,
      get(this: Cursor): unknown {
        return field.get(this.memory.dataView, this.address);
      },
      set(this: Cursor, value: unknown): void {
        field.set(this.memory.dataView, this.address, value);
      },
    });
  }
  return Cursor;
}
