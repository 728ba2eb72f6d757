/**
 * The table's pages: PostgreSQL's slotted page, and rows as small as its rules allow.
 *
 * A page begins with the 24-byte page header (written by `initPage`), then one 4-byte line pointer
 * a row, growing up; rows grow down from the end. `lower` and `upper` of the header bound the hole
 * between them. A row is found through its line pointer alone, so rows may have any length.
 *
 *        0        12      14      16                 24
 *       ┌─────────┬───────┬───────┬──────────────────┬────┬────┬────┬─ ─ ─┐
 *  page │ lsn …   │ lower │ upper │ special, version │ lp │ lp │ lp │ →   │ lower
 *       ├─────────┴───────┴───────┴──────────────────┴────┴────┴────┴─ ─ ─┤
 *       │                             hole                                │
 *       │   ← ┌───────────────────┬───────────────────┬───────────────────┤ upper
 *       │     │ row 3             │ row 2             │ row 1             │
 *       └─────┴───────────────────┴───────────────────┴───────────────────┘ 8192
 *
 *        31             17 16  15 14              0
 *       ┌─────────────────┬──────┬─────────────────┐
 *    lp │ length of row   │flags │ offset in page  │   flags 1: the row is there
 *       └─────────────────┴──────┴─────────────────┘
 *
 *        0            8          12             16                 20
 *       ┌────────────┬──────────┬──────────────┬──────────────────┬─────────────┬───┐
 *   row │ date, f64  │ delay i32│ distance i32 │ origin, varlena  │ destination │pad│ to 8 bytes
 *       └────────────┴──────────┴──────────────┴──────────────────┴─────────────┴───┘
 *
 * Text is a short varlena: one byte, length with itself × 2 + 1, then the bytes. There is no row
 * header with transaction numbers, because nothing here has versions, and no null bitmap, because
 * every column is NOT NULL. So a flight takes 24 bytes and its line pointer 4: 291 to a page.
 *
 * All functions take a page's byte offset in the region and use the region's own typed arrays:
 * numbers in, numbers out, no view a page and no object a row.
 *
 * PostgreSQL: src/include/storage/bufpage.h, PageHeaderData; src/include/storage/itemid.h,
 * ItemIdData; src/backend/storage/page/bufpage.c, PageAddItemExtended; src/include/varatt.h,
 * varattrib_1b
 */

import {
  BLOCK_BYTES,
  PAGE_HEADER_BYTES,
  PAGE_LOWER_OFFSET,
  PAGE_UPPER_OFFSET,
} from "../../bindings/index.ts";

/** Views over all of the region's memory; a `BufferPool` has them. */
export interface Frames {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
}

/** Where a row's columns begin. */
export const DATE_OFFSET = 0;
export const DELAY_OFFSET = 8;
export const DISTANCE_OFFSET = 12;
export const ORIGIN_OFFSET = 16;

const ROW_ALIGN_MASK = 7;
/** Bytes a flight has at least. */
export const MIN_ROW_BYTES = 24;
const LINE_POINTER_BYTES = 4;
const LINE_POINTER_SHIFT = 2;
const LP_OFFSET_MASK = 0x7fff;
const LP_FLAGS_SHIFT = 15;
const LP_FLAGS_MASK = 3;
const LP_NORMAL = 1;
const LP_LENGTH_SHIFT = 17;
/** A short varlena's length byte counts itself. */
const VARLENA_HEADER_BYTES = 1;
/** Longest text a short varlena can hold. */
export const MAX_TEXT_BYTES = 126;

/** Longest row that fits on an empty page, with its line pointer; a multiple of 8. */
export const MAX_ROW_BYTES: number =
  (BLOCK_BYTES - PAGE_HEADER_BYTES - LINE_POINTER_BYTES) & ~ROW_ALIGN_MASK;
/** What {@link reserveRow} returns for a page that is full. */
export const NO_ROOM = 0;
/** What {@link rowCount} returns for a page that is no heap page. */
export const NOT_A_HEAP_PAGE = -1;

/**
 * Adds a row to a page that was made by `initPage`. The caller holds the exclusive lock and has
 * begun a change.
 *
 * @param page - byte offset of the page in the region
 * @param date - milliseconds since 1970
 * @param origin - at most {@link MAX_TEXT_BYTES} bytes, as `destination`
 * @returns false if the page has no room; nothing was changed
 */
export function addRow(
  frames: Frames,
  page: number,
  date: number,
  delay: number,
  distance: number,
  origin: Uint8Array,
  destination: Uint8Array,
): boolean {
  const { u8, i32, f64 } = frames;
  const text = origin.length + destination.length + 2 * VARLENA_HEADER_BYTES;
  const row = reserveRow(frames, page, ORIGIN_OFFSET + text);
  if (row === NO_ROOM) return false;
  f64[row >>> 3] = date;
  i32[(row + DELAY_OFFSET) >>> 2] = delay;
  i32[(row + DISTANCE_OFFSET) >>> 2] = distance;
  const next = putText(u8, row + ORIGIN_OFFSET, origin);
  putText(u8, next, destination);
  return true;
}

/**
 * Makes room for a row of `bytes` on a page and points a new line pointer at it. The caller holds
 * the exclusive lock, has begun a change, and writes the row.
 *
 * @param page - byte offset of the page in the region
 * @returns the row's byte address in the region, a multiple of 8, or {@link NO_ROOM}
 */
export function reserveRow({ u16, u32 }: Frames, page: number, bytes: number): number {
  const length = (bytes + ROW_ALIGN_MASK) & ~ROW_ALIGN_MASK;
  const lowerAt = (page + PAGE_LOWER_OFFSET) >>> 1;
  const upperAt = (page + PAGE_UPPER_OFFSET) >>> 1;
  const lower = u16[lowerAt] ?? 0;
  const upper = (u16[upperAt] ?? 0) - length;
  if (upper < lower + LINE_POINTER_BYTES) return NO_ROOM;
  const pointer = upper | (LP_NORMAL << LP_FLAGS_SHIFT) | (length << LP_LENGTH_SHIFT);
  u32[(page + lower) >>> LINE_POINTER_SHIFT] = pointer;
  u16[lowerAt] = lower + LINE_POINTER_BYTES;
  u16[upperAt] = upper;
  return page + upper;
}

/** Writes a short varlena and returns the address after it. */
function putText(u8: Uint8Array, at: number, text: Uint8Array): number {
  const { length } = text;
  u8[at] = ((length + VARLENA_HEADER_BYTES) << 1) | 1;
  const first = at + VARLENA_HEADER_BYTES;
  for (let i = 0; i < length; i += 1) u8[first + i] = text[i] ?? 0;
  return first + length;
}

/**
 * Counts the rows of a page; a page that was never written has none.
 *
 * @returns {@link NOT_A_HEAP_PAGE} if the header's bounds contradict each other
 */
export function rowCount(frames: Frames, page: number): number {
  const lower = frames.u16[(page + PAGE_LOWER_OFFSET) >>> 1] ?? 0;
  const upper = frames.u16[(page + PAGE_UPPER_OFFSET) >>> 1] ?? 0;
  if (upper === 0) return lower === 0 ? 0 : NOT_A_HEAP_PAGE;
  const sound = lower >= PAGE_HEADER_BYTES && lower <= upper && upper <= BLOCK_BYTES;
  return sound ? (lower - PAGE_HEADER_BYTES) >>> LINE_POINTER_SHIFT : NOT_A_HEAP_PAGE;
}

/**
 * Finds row `index` of a page.
 *
 * @param least - bytes a row has at least; default those of a flight
 * @returns byte address in the region, a multiple of 8; 0 if the line pointer leads nowhere
 */
export function rowAddress(
  frames: Frames,
  page: number,
  index: number,
  least: number = MIN_ROW_BYTES,
): number {
  const at = (page + PAGE_HEADER_BYTES) >>> LINE_POINTER_SHIFT;
  const pointer = frames.u32[at + index] ?? 0;
  const offset = pointer & LP_OFFSET_MASK;
  const length = pointer >>> LP_LENGTH_SHIFT;
  const there = ((pointer >>> LP_FLAGS_SHIFT) & LP_FLAGS_MASK) === LP_NORMAL;
  const fits = length >= least && offset + length <= BLOCK_BYTES;
  return there && fits && (offset & ROW_ALIGN_MASK) === 0 ? page + offset : 0;
}

/** Bytes of the text at a short varlena; the text begins at {@link textStart}. */
export function textLength(frames: Frames, at: number): number {
  return ((frames.u8[at] ?? 0) >>> 1) - VARLENA_HEADER_BYTES;
}

/** First byte of the text of a short varlena. */
export function textStart(at: number): number {
  return at + VARLENA_HEADER_BYTES;
}
