// Proves that records lie as a C compiler would lay them, hold what their types can hold, and give
// the same by cursor, by field and by column.

import { describe, expect, expectTypeOf, it } from "vitest";
import { type FieldType, formOf } from "../../bindings/process/record-fields.ts";
import { defineRecord } from "../../bindings/process/records.ts";
import { builds, openMemory } from "../support/process.ts";

const Order = defineRecord({ id: "u32", price: "f64", flags: "u8", name: "text:15" });

describe("a layout", () => {
  const offsetsOf = (shape: Record<string, FieldType>): number[] => {
    const { bytes, alignment, fields } = defineRecord(shape);
    return [...Object.values(fields).map(({ offset }) => offset), bytes, alignment];
  };

  it("is that of C: each field at a multiple of its size, the whole at one of the largest", () => {
    expect(offsetsOf({ a: "u32", b: "f64", c: "u8", d: "bytes:16" })).toEqual([
      0, 8, 16, 17, 40, 8,
    ]);
    expect(offsetsOf({ a: "u8", b: "i16", c: "u8", d: "f32" })).toEqual([0, 2, 4, 8, 12, 4]);
    expect(offsetsOf({ a: "bytes:3", b: "u8", c: "i64" })).toEqual([0, 3, 8, 16, 8]);
    expect(offsetsOf({ a: "text:5" })).toEqual([0, 5, 1]);
  });

  it("refuses unknown types, no field, and names that cursors or JavaScript use", () => {
    for (const type of ["u7", "bytes:0", "bytes:", "bytes:1.5", "text:-1", "toString"]) {
      expect(() => defineRecord({ a: type as FieldType })).toThrow(TypeError);
    }
    for (const name of ["memory", "address", "constructor", "0"]) {
      expect(() => defineRecord({ [name]: "u8" })).toThrow(TypeError);
    }
    expect(() => defineRecord({})).toThrow(TypeError);
  });

  it("infers the types of the values", () => {
    const Row = defineRecord({ a: "i8", b: "u64", c: "bytes:2", d: "text:2" });
    expectTypeOf<ReturnType<typeof Row.at>>().toMatchObjectType<{
      a: number;
      b: bigint;
      c: Uint8Array;
      d: string;
    }>();
    expectTypeOf(Row.fields.b.get).returns.toEqualTypeOf<bigint>();
  });
});

describe.each(builds)("records (%s)", (_, checked) => {
  const { memory, inside } = openMemory(checked);
  const context = memory.top.createChild("records");

  it("begin all zero but for the values given, and hold what is set", () => {
    const order = Order.alloc(context, { id: 7, name: "Käse" });
    expect({ ...read(order) }).toEqual({ id: 7, price: 0, flags: 0, name: "Käse" });
    order.price = 2.5;
    order.flags = 0x1ff;
    expect([order.price, order.flags]).toEqual([2.5, 0xff]);
    expect(memory.f64[(order.address + 8) / 8]).toBe(2.5);
    expect(Order.fields.name.get(memory.dataView, order.address)).toBe("Käse");
    Order.fields.id.set(memory.dataView, order.address, 8);
    expect(order.id).toBe(8);
    memory.free(context.alloc(8));
    expect(inside.exports.checkHeap()).toBe(0);
  });

  const extremes: [FieldType, readonly (number | bigint)[]][] = [
    ["u8", [0, 255]],
    ["i8", [-128, 127]],
    ["u16", [0, 65_535]],
    ["i16", [-32_768, 32_767]],
    ["u32", [0, 4_294_967_295]],
    ["i32", [-2_147_483_648, 2_147_483_647]],
    ["u64", [0n, 2n ** 64n - 1n]],
    ["i64", [-(2n ** 63n), 2n ** 63n - 1n]],
    ["f32", [-1.5, 2 ** 100]],
    ["f64", [Number.MIN_VALUE, Number.MAX_VALUE]],
  ];
  it.each(extremes)("hold the extremes of %s, between neighbours that stay", (type, values) => {
    const Row = defineRecord({ before: "u8", value: type, after: "u8" });
    const row = Row.alloc(context, { before: 0xaa, after: 0x55 });
    for (const value of values) {
      row.value = value as never;
      expect(row.value).toBe(value);
      expect([row.before, row.after]).toEqual([0xaa, 0x55]);
    }
    const rows = Row.allocArray(context, 3);
    rows.fill({ value: values as never, before: [1, 2, 3], after: [4, 5, 6] });
    expect(rows.column("value")).toEqual([...values, typeof values[0] === "bigint" ? 0n : 0]);
    expect(rows.column("before")).toEqual([1, 2, 3]);
    expect(rows.column("after")).toEqual([4, 5, 6]);
    expect(rows.at(1).value).toBe(values[1]);
    expect(Row.fields.value.bytes).toBe(formOf("value", type).bytes);
  });

  it("hold bytes and text up to their size, zeros behind, and no more", () => {
    const Row = defineRecord({ raw: "bytes:4", text: "text:4", end: "u8" });
    const row = Row.alloc(context, { end: 1 });
    row.raw = Uint8Array.of(1, 2, 3, 4);
    row.raw = Uint8Array.of(9);
    expect([...row.raw]).toEqual([9, 0, 0, 0]);
    row.text = "four";
    expect(row.text).toBe("four");
    row.text = "ü";
    expect(row.text).toBe("ü");
    expect(() => {
      row.text = "fünf";
    }).toThrow('field "text" has 4 bytes; the value has 5');
    expect(() => {
      row.raw = new Uint8Array(5);
    }).toThrow(RangeError);
    expect([row.text, row.end]).toEqual(["ü", 1]);
    row.raw[1] = 7;
    expect(memory.u8[row.address + 1]).toBe(7);
  });

  it("lie side by side, reached by index, by a cursor that moves, and by iteration", () => {
    const orders = Order.allocArray(context, 100);
    expect(orders.addressOf(1) - orders.address).toBe(Order.bytes);
    for (const [index, order] of [...Array(100).keys()].map((i) => [i, orders.at(i)] as const)) {
      order.id = index;
    }
    const cursor = orders.at(0);
    cursor.address = orders.addressOf(42);
    expect(cursor.id).toBe(42);
    const ids: number[] = [];
    for (const { id } of orders) ids.push(id);
    expect(ids).toEqual([...Array(100).keys()]);
    expect([...Order.allocArray(context, 0)]).toEqual([]);
    for (const wrong of [-1, 100, 1.5, Number.NaN]) {
      expect(() => orders.at(wrong)).toThrow(RangeError);
    }
  });

  it("are filled from columns and copied to columns", () => {
    const orders = Order.allocArray(context, 50);
    const price = Float64Array.from({ length: 50 }, (_, index) => index / 4);
    orders.fill({ price, name: ["first", "second"] });
    expect(orders.column("price")).toEqual([...price]);
    expect(orders.column("name").slice(0, 3)).toEqual(["first", "second", ""]);
    const copied = { price: new Float64Array(50), id: new Uint32Array(10) };
    orders.copyTo(copied);
    expect(copied.price).toEqual(price);
    expect(Order.arrayAt(memory, orders.address, 50).at(49).price).toBe(49 / 4);
  });

  it("stay as they are if a column is too long or names no field", () => {
    const orders = Order.allocArray(context, 2);
    const wrong = orders.fill.bind(orders) as (columns: object) => void;
    expect(() => wrong({ id: [1, 2], price: [1, 2, 3] })).toThrow(RangeError);
    expect(() => wrong({ id: [1, 2], toString: [1] })).toThrow(TypeError);
    expect(orders.column("id")).toEqual([0, 0]);
  });

  it("are looked at only inside the memory, at their alignment", () => {
    const end = memory.u8.length;
    for (const address of [0, -8, 12, end - 8, end]) {
      expect(() => Order.at(memory, address)).toThrow(RangeError);
    }
    const order = Order.alloc(context);
    order.address = end;
    expect(() => order.price).toThrow(RangeError);
    expect(() => {
      order.name = "x";
    }).toThrow(RangeError);
    expect(() => Order.allocArray(context, 2 ** 30)).toThrow(
      expect.objectContaining({ code: "54000" }),
    );
  });
});

describe("records of a memory that grows", () => {
  it("are found by their cursors after a growth", () => {
    const { memory } = openMemory(false, { initialMemory: "64kB", maxMemory: "8MB" });
    const context = memory.top.createChild("records");
    const order = Order.alloc(context, { price: 1.25, name: "kept" });
    for (let index = 0; index < 100; index += 1) context.alloc(8_000);
    expect([order.price, order.name]).toEqual([1.25, "kept"]);
    order.price = 2;
    expect(order.price).toBe(2);
  });
});

/** The values of an order as a plain object. */
function read({ id, price, flags, name }: ReturnType<typeof Order.at>): object {
  return { id, price, flags, name };
}
