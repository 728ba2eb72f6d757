// The heap page format of examples/flights: what is put in comes out, a page takes exactly as many
// rows as its arithmetic says, and bytes that are no heap page are recognised. Pages lie in the
// middle of a larger buffer, as frames do in the region.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BLOCK_BYTES,
  PAGE_HEADER_BYTES,
  PAGE_LOWER_OFFSET,
  PAGE_UPPER_OFFSET,
} from "../../assembly/common/constants.ts";
import { initPage } from "../../bindings/shared/page.ts";
import {
  addRow,
  DELAY_OFFSET,
  DISTANCE_OFFSET,
  type Frames,
  NOT_A_HEAP_PAGE,
  ORIGIN_OFFSET,
  rowAddress,
  rowCount,
  textLength,
  textStart,
} from "../../examples/flights/heap.ts";

const PAGE = 3 * BLOCK_BYTES;

interface Row {
  date: number;
  delay: number;
  distance: number;
  origin: string;
  destination: string;
}

function frames(): Frames {
  const buffer = new ArrayBuffer(5 * BLOCK_BYTES);
  const made = {
    u8: new Uint8Array(buffer).fill(0xee),
    u16: new Uint16Array(buffer),
    u32: new Uint32Array(buffer),
    i32: new Int32Array(buffer),
    f64: new Float64Array(buffer),
  };
  made.u8.fill(0, PAGE, PAGE + BLOCK_BYTES);
  return made;
}

function initialised(): Frames {
  const made = frames();
  initPage(made.u8.subarray(PAGE, PAGE + BLOCK_BYTES));
  return made;
}

function put(views: Frames, row: Row): boolean {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const { date, delay, distance, origin, destination } = row;
  return addRow(views, PAGE, date, delay, distance, bytes(origin), bytes(destination));
}

function textAt(views: Frames, at: number): string {
  const start = textStart(at);
  return new TextDecoder().decode(views.u8.slice(start, start + textLength(views, at)));
}

function get(views: Frames, index: number): Row {
  const at = rowAddress(views, PAGE, index);
  expect(at % 8).toBe(0);
  const origin = textAt(views, at + ORIGIN_OFFSET);
  const destinationAt = textStart(at + ORIGIN_OFFSET) + textLength(views, at + ORIGIN_OFFSET);
  return {
    date: views.f64[at / 8] ?? 0,
    delay: views.i32[(at + DELAY_OFFSET) / 4] ?? 0,
    distance: views.i32[(at + DISTANCE_OFFSET) / 4] ?? 0,
    origin,
    destination: textAt(views, destinationAt),
  };
}

const flight: Row = {
  date: 978307260000,
  delay: -7,
  distance: 2176,
  origin: "LAS",
  destination: "PHL",
};

const anyRow: fc.Arbitrary<Row> = fc.record({
  date: fc.double({ noNaN: true }),
  delay: fc.integer(),
  distance: fc.integer(),
  origin: fc.string({ maxLength: 30 }),
  destination: fc.string({ maxLength: 30 }),
});

describe("a heap page", () => {
  test("takes 291 flights and refuses the next without a change", () => {
    const views = initialised();
    for (let row = 0; row < 291; row += 1) expect(put(views, flight)).toBe(true);
    const full = views.u8.slice();
    expect(put(views, flight)).toBe(false);
    expect(views.u8).toEqual(full);
    expect(rowCount(views, PAGE)).toBe(291);
    expect(get(views, 290)).toEqual(flight);
  });

  test("gives back every row that was put in, and touches no byte outside itself", () => {
    fc.assert(
      fc.property(fc.array(anyRow, { minLength: 1, maxLength: 150 }), (rows) => {
        const views = initialised();
        const kept = rows.filter((row) => put(views, row));
        expect(rowCount(views, PAGE)).toBe(kept.length);
        kept.forEach((row, index) => {
          expect(get(views, index)).toEqual(row);
        });
        expect(views.u8.subarray(0, PAGE).every((byte) => byte === 0xee)).toBe(true);
        expect(views.u8.subarray(PAGE + BLOCK_BYTES).every((byte) => byte === 0xee)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test("that was never written has no rows", () => {
    expect(rowCount(frames(), PAGE)).toBe(0);
  });

  test("whose bounds contradict each other is no heap page", () => {
    const damages: [number, number][] = [
      [PAGE_HEADER_BYTES - 4, 8000],
      [8004, 8000],
      [PAGE_HEADER_BYTES, BLOCK_BYTES + 8],
      [PAGE_HEADER_BYTES, 0],
    ];
    for (const [lower, upper] of damages) {
      const views = initialised();
      views.u16[(PAGE + PAGE_LOWER_OFFSET) / 2] = lower;
      views.u16[(PAGE + PAGE_UPPER_OFFSET) / 2] = upper;
      expect(rowCount(views, PAGE)).toBe(NOT_A_HEAP_PAGE);
    }
  });

  test("has no row where a line pointer is unused, unaligned, too short or leads out of it", () => {
    const normal = 1 << 15;
    const length = 24 << 17;
    const pointers = [
      0,
      8168 | length,
      8164 | normal | length,
      8168 | normal | (16 << 17),
      8176 | normal | length,
    ];
    for (const pointer of pointers) {
      const views = initialised();
      put(views, flight);
      views.u32[(PAGE + PAGE_HEADER_BYTES) / 4] = pointer;
      expect(rowAddress(views, PAGE, 0)).toBe(0);
    }
  });
});
