/**
 * The fields of records: where each lies, and how it is read and written.
 *
 * A field is an object of a class of its type that knows its offset, so that a call of `get` is
 * inlined to one load however many kinds of record a program has. Numbers are little-endian and
 * wrap around as those of typed arrays do.
 *
 * Each class of numbers has loops of its own for columns: what an engine learns about the arrays in
 * a loop it keeps with the loop, and one for all types costs twenty times as much.
 */

import { encodeText, textIn } from "./strings.ts";

/** The types a field can have. `bytes:16` is 16 bytes; `text:16` UTF-8 in 16 bytes, NULs behind. */
export type FieldType =
  | "u8"
  | "i8"
  | "u16"
  | "i16"
  | "u32"
  | "i32"
  | "u64"
  | "i64"
  | "f32"
  | "f64"
  | `bytes:${number}`
  | `text:${number}`;

/** What a field of a type holds, for a program. */
export type FieldValue<Type extends FieldType> = Type extends "u64" | "i64"
  ? bigint
  : Type extends `bytes:${number}`
    ? Uint8Array
    : Type extends `text:${number}`
      ? string
      : number;

/** What the values of a field can be copied to: an array, or a typed one. */
export interface RecordColumn<Value> {
  [index: number]: Value;
  readonly length: number;
}

/** The memory records lie in; a `ProcessMemory` fits. */
export interface RecordMemory {
  readonly u8: Uint8Array;
  readonly dataView: DataView;
}

/**
 * One field of a kind of record: it reads and writes any record of that kind, by address, through
 * `memory.dataView`. In a memory that grows, take that anew after each call that may allocate.
 */
export abstract class RecordField<Value> {
  readonly name: string;
  readonly type: FieldType;
  /** Bytes from the beginning of the record. */
  readonly offset: number;
  readonly bytes: number;

  /** Made by `defineRecord`. @internal */
  constructor(name: string, type: FieldType, offset: number, bytes: number) {
    this.name = name;
    this.type = type;
    this.offset = offset;
    this.bytes = bytes;
  }

  /** The value in the record at `address`. @throws `RangeError` outside the memory */
  abstract get(view: DataView, address: number): Value;
  /** Sets the value in the record at `address`. @throws `RangeError` outside the memory */
  abstract set(view: DataView, address: number, value: Value): void;

  /** Sets the values of records that lie `stride` bytes apart, as many as `from` has. */
  scatter(view: DataView, address: number, stride: number, from: ArrayLike<Value>): void {
    for (let index = 0; index < from.length; index += 1) {
      this.set(view, address + index * stride, from[index] as Value);
    }
  }

  /** Copies the values of records that lie `stride` bytes apart, as many as `to` has room for. */
  gather(view: DataView, address: number, stride: number, to: RecordColumn<Value>): void {
    for (let index = 0; index < to.length; index += 1) {
      to[index] = this.get(view, address + index * stride);
    }
  }
}

class U8Field extends RecordField<number> {
  get(view: DataView, address: number): number {
    return view.getUint8(address + this.offset);
  }
  set(view: DataView, address: number, value: number): void {
    view.setUint8(address + this.offset, value);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setUint8(at, from[index] as number);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getUint8(at);
    }
  }
}

class I8Field extends RecordField<number> {
  get(view: DataView, address: number): number {
    return view.getInt8(address + this.offset);
  }
  set(view: DataView, address: number, value: number): void {
    view.setInt8(address + this.offset, value);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setInt8(at, from[index] as number);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getInt8(at);
    }
  }
}

class U16Field extends RecordField<number> {
  get(view: DataView, address: number): number {
    return view.getUint16(address + this.offset, true);
  }
  set(view: DataView, address: number, value: number): void {
    view.setUint16(address + this.offset, value, true);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setUint16(at, from[index] as number, true);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getUint16(at, true);
    }
  }
}

class I16Field extends RecordField<number> {
  get(view: DataView, address: number): number {
    return view.getInt16(address + this.offset, true);
  }
  set(view: DataView, address: number, value: number): void {
    view.setInt16(address + this.offset, value, true);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setInt16(at, from[index] as number, true);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getInt16(at, true);
    }
  }
}

class U32Field extends RecordField<number> {
  get(view: DataView, address: number): number {
    return view.getUint32(address + this.offset, true);
  }
  set(view: DataView, address: number, value: number): void {
    view.setUint32(address + this.offset, value, true);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setUint32(at, from[index] as number, true);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getUint32(at, true);
    }
  }
}

class I32Field extends RecordField<number> {
  get(view: DataView, address: number): number {
    return view.getInt32(address + this.offset, true);
  }
  set(view: DataView, address: number, value: number): void {
    view.setInt32(address + this.offset, value, true);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setInt32(at, from[index] as number, true);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getInt32(at, true);
    }
  }
}

class U64Field extends RecordField<bigint> {
  get(view: DataView, address: number): bigint {
    return view.getBigUint64(address + this.offset, true);
  }
  set(view: DataView, address: number, value: bigint): void {
    view.setBigUint64(address + this.offset, value, true);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<bigint>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setBigUint64(at, from[index] as bigint, true);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<bigint>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getBigUint64(at, true);
    }
  }
}

class I64Field extends RecordField<bigint> {
  get(view: DataView, address: number): bigint {
    return view.getBigInt64(address + this.offset, true);
  }
  set(view: DataView, address: number, value: bigint): void {
    view.setBigInt64(address + this.offset, value, true);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<bigint>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setBigInt64(at, from[index] as bigint, true);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<bigint>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getBigInt64(at, true);
    }
  }
}

class F32Field extends RecordField<number> {
  get(view: DataView, address: number): number {
    return view.getFloat32(address + this.offset, true);
  }
  set(view: DataView, address: number, value: number): void {
    view.setFloat32(address + this.offset, value, true);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setFloat32(at, from[index] as number, true);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getFloat32(at, true);
    }
  }
}

class F64Field extends RecordField<number> {
  get(view: DataView, address: number): number {
    return view.getFloat64(address + this.offset, true);
  }
  set(view: DataView, address: number, value: number): void {
    view.setFloat64(address + this.offset, value, true);
  }
  override scatter(view: DataView, address: number, stride: number, from: ArrayLike<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < from.length; index += 1, at += stride) {
      view.setFloat64(at, from[index] as number, true);
    }
  }
  override gather(view: DataView, address: number, stride: number, to: RecordColumn<number>): void {
    let at = address + this.offset;
    for (let index = 0; index < to.length; index += 1, at += stride) {
      to[index] = view.getFloat64(at, true);
    }
  }
}

/** Gives a view of the field; takes bytes, fewer being followed by zeros. */
class BytesField extends RecordField<Uint8Array> {
  get(view: DataView, address: number): Uint8Array {
    return new Uint8Array(view.buffer, address + this.offset, this.bytes);
  }
  set(view: DataView, address: number, value: Uint8Array): void {
    put(view, this, address, value);
  }
}

class TextField extends RecordField<string> {
  get(view: DataView, address: number): string {
    return textIn(new Uint8Array(view.buffer), address + this.offset, this.bytes);
  }
  set(view: DataView, address: number, value: string): void {
    put(view, this, address, encodeText(value));
  }
}

function put(
  view: DataView,
  field: RecordField<unknown>,
  address: number,
  value: Uint8Array,
): void {
  const { name, bytes, offset } = field;
  if (value.length > bytes) {
    throw new RangeError(`field "${name}" has ${bytes} bytes; the value has ${value.length}`);
  }
  const u8 = new Uint8Array(view.buffer);
  const begin = address + offset;
  if (begin + bytes > u8.length)
    throw new RangeError(`no record at ${address}: outside the memory`);
  u8.set(value, begin);
  u8.fill(0, begin + value.length, begin + bytes);
}

type FieldClass = new (
  name: string,
  type: FieldType,
  offset: number,
  bytes: number,
) => RecordField<unknown>;

const numberFields: Readonly<Record<string, readonly [make: FieldClass, bytes: number]>> = {
  u8: [U8Field, 1],
  i8: [I8Field, 1],
  u16: [U16Field, 2],
  i16: [I16Field, 2],
  u32: [U32Field, 4],
  i32: [I32Field, 4],
  u64: [U64Field, 8],
  i64: [I64Field, 8],
  f32: [F32Field, 4],
  f64: [F64Field, 8],
};

/** A type, taken apart. @internal */
export interface FieldForm {
  readonly make: FieldClass;
  readonly bytes: number;
  readonly alignment: number;
}

/** Takes a type apart. @throws `TypeError` for what is none @internal */
export function formOf(name: string, type: FieldType): FieldForm {
  const known = Object.hasOwn(numberFields, type) ? numberFields[type] : undefined;
  if (known !== undefined) return { make: known[0], bytes: known[1], alignment: known[1] };
  const parts = /^(bytes|text):([1-9]\d{0,8})$/.exec(type);
  if (parts === null) {
    throw new TypeError(`field "${name}" has the unknown type "${type}"`);
  }
  const make: FieldClass = parts[1] === "bytes" ? BytesField : TextField;
  return { make, bytes: Number(parts[2]), alignment: 1 };
}
