/**
 * Rows under keys on pages of a relation: what the catalog cache is a cache of. Since a checkpoint
 * is a commit, rows and the pages they describe come back together after a crash.
 *
 * A page is a slotted page as PostgreSQL's: line pointers grow up from its header, rows down from
 * its end. A row is never changed where it stands: a new version is added, then the old one loses
 * its line pointer, if both are on one page in one change. On two pages these are two changes, and
 * whoever stops in between leaves both: the higher version counts, and the next change of that row
 * removes the other. A deleted row's bytes are used again when its page is next packed.
 *
 *        0         4             6           8              12
 *       ┌─────────┬─────────────┬───────────┬──────────────┬──────────┬─────┐
 *   row │ version │ bytes of key│ 0         │ bytes of row │ key      │ row │
 *       └─────────┴─────────────┴───────────┴──────────────┴──────────┴─────┘
 *
 * There is no index: to read a row reads the relation, of a few pages, in the pool. The cache is
 * what makes that rare. Whoever writes holds a lock that excludes others who write.
 *
 * PostgreSQL: src/backend/catalog/indexing.c, CatalogTupleInsert; src/include/storage/itemid.h
 */

import {
  BLOCK_BYTES,
  PAGE_HEADER_BYTES,
  PAGE_LOWER_OFFSET,
  PAGE_UPPER_OFFSET,
} from "../../assembly/common/constants.ts";
import { DataCorruptedError, PallocError } from "../abi/errors.ts";
import type { BufferPool } from "./buffers.ts";
import type { CatalogKey } from "./catalog-keys.ts";
import { initPage } from "./page.ts";
import type { Relation } from "./relation.ts";

const LINE_POINTER_BYTES = 4;
const LP_OFFSET_MASK = 0x7fff;
const LP_NORMAL = 0x8000;
const LP_LENGTH_SHIFT = 17;
const KEY_BYTES_OFFSET = 4;
const ROW_BYTES_OFFSET = 8;
const ROW_HEADER_BYTES = 12;
const ALIGN_MASK = 7;
/** What one row may have, key and header included. */
const MOST_BYTES = BLOCK_BYTES - PAGE_HEADER_BYTES - LINE_POINTER_BYTES - ALIGN_MASK;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A row with its keys. */
export interface CatalogRow {
  readonly keys: readonly CatalogKey[];
  readonly row: Uint8Array;
}

/** Where a row stands. */
interface Place {
  readonly block: number;
  readonly item: number;
  readonly version: number;
}

interface Item extends Place {
  /** Offset in the page. */
  readonly at: number;
  readonly bytes: number;
}

/** A relation of rows under keys. */
export class CatalogRelation {
  readonly relation: Relation;
  readonly #pool: BufferPool;

  /**
   * @param relation - used for this alone
   * @example
   * const tables = new CatalogRelation(backend.buffers, backend.openRelationSync("tables"));
   */
  constructor(pool: BufferPool, relation: Relation) {
    this.#pool = pool;
    this.relation = relation;
  }

  /** Reads the row of these keys; undefined if there is none. May wait for storage. */
  readSync(...keys: readonly CatalogKey[]): Uint8Array | undefined {
    const key = keyBytes(keys);
    let newest: { readonly version: number; readonly row: Uint8Array } | undefined;
    this.#each((page, item) => {
      if (newest !== undefined && newest.version >= item.version) return;
      if (hasKey(page, item.at, key)) newest = { version: item.version, row: rowOf(page, item.at) };
    });
    return newest?.row;
  }

  /** All rows, in no order. May wait for storage. */
  rowsSync(): CatalogRow[] {
    const found = new Map<string, CatalogRow & { readonly version: number }>();
    this.#each((page, { at, version }) => {
      const text = keyTextOf(page, at);
      if ((found.get(text)?.version ?? -1) >= version) return;
      found.set(text, { keys: JSON.parse(text) as CatalogKey[], row: rowOf(page, at), version });
    });
    return [...found.values()].map(({ keys, row }) => ({ keys, row }));
  }

  /**
   * Sets the row of these keys, or adds it. The caller holds a lock that excludes other writers,
   * and tells the cache: `catalog.changeSync(keys, () => rows.writeSync(keys, row))`.
   *
   * @throws {@link PallocError} 54000 if key and row have more than 8,145 bytes
   */
  writeSync(keys: readonly CatalogKey[], row: Uint8Array): void {
    const key = keyBytes(keys);
    const older = this.#places(key);
    const version = older.reduce((most, each) => Math.max(most, each.version), 0) + 1;
    const bytes = (ROW_HEADER_BYTES + key.length + row.length + ALIGN_MASK) & ~ALIGN_MASK;
    if (bytes > MOST_BYTES) {
      throw new PallocError("54000", `row is too big: size ${bytes}, maximum size ${MOST_BYTES}`);
    }
    const block = this.#blockFor(bytes, older);
    this.#pool.changeSync(this.relation, block, (page) => {
      const view = viewOf(page);
      for (const each of older) if (each.block === block) clearPointer(view, each.item);
      pack(page, view);
      add(page, view, bytes, { version, key, row });
    });
    this.#remove(older.filter((each) => each.block !== block));
  }

  /** Removes the row of these keys. @returns whether there was one */
  deleteSync(...keys: readonly CatalogKey[]): boolean {
    const places = this.#places(keyBytes(keys));
    // The oldest first: who stops in between has not brought one back.
    this.#remove(places.toSorted((one, other) => one.version - other.version));
    return places.length > 0;
  }

  #remove(places: readonly Place[]): void {
    for (const { block, item } of places) {
      this.#pool.changeSync(this.relation, block, (page) => clearPointer(viewOf(page), item));
    }
  }

  #places(key: Uint8Array): Place[] {
    const places: Place[] = [];
    this.#each((page, { block, item, version, at }) => {
      if (hasKey(page, at, key)) places.push({ block, item, version });
    });
    return places;
  }

  /** A block with room for a row, its own older versions aside; a new one if there is none. */
  #blockFor(bytes: number, older: readonly Place[]): number {
    const used = new Map<number, number>();
    this.#each((_, { block, item, bytes: taken }) => {
      const goes = older.some((each) => each.block === block && each.item === item);
      const spent = goes ? 0 : taken + LINE_POINTER_BYTES;
      used.set(block, (used.get(block) ?? 0) + spent);
    });
    const room = BLOCK_BYTES - PAGE_HEADER_BYTES - LINE_POINTER_BYTES - bytes;
    const blocks = this.relation.blocksSync();
    for (let block = 0; block < blocks; block += 1) {
      if ((used.get(block) ?? 0) <= room) return block;
    }
    return this.#pool.extendSync(this.relation);
  }

  /** Calls `visit` for every row that is there. */
  #each(visit: (page: Uint8Array, item: Item) => void): void {
    const blocks = this.relation.blocksSync();
    for (let block = 0; block < blocks; block += 1) {
      using pinned = this.#pool.readSync(this.relation, block);
      this.#eachOn(pinned.bytes, block, visit);
    }
  }

  #eachOn(page: Uint8Array, block: number, visit: (page: Uint8Array, item: Item) => void): void {
    const view = viewOf(page);
    for (let item = 0; item < itemCount(view); item += 1) {
      const pointer = pointerAt(view, item);
      if ((pointer & LP_NORMAL) === 0) continue;
      const at = pointer & LP_OFFSET_MASK;
      const bytes = pointer >>> LP_LENGTH_SHIFT;
      const sound =
        at >= PAGE_HEADER_BYTES && at + bytes <= BLOCK_BYTES && isWhole(view, at, bytes);
      if (!sound) throw damaged(this.relation, block, item);
      visit(page, { block, item, at, bytes, version: view.getUint32(at, true) });
    }
  }
}

// ── Keys ─────────────────────────────────────────────────────────────────────────────────────────

/** Keys as they are stored: JSON says of each whether it is a number. */
function keyBytes(keys: readonly CatalogKey[]): Uint8Array {
  return encoder.encode(JSON.stringify(keys));
}

function keyTextOf(page: Uint8Array, at: number): string {
  const from = at + ROW_HEADER_BYTES;
  return decoder.decode(
    page.slice(from, from + viewOf(page).getUint16(at + KEY_BYTES_OFFSET, true)),
  );
}

function hasKey(page: Uint8Array, at: number, key: Uint8Array): boolean {
  if (viewOf(page).getUint16(at + KEY_BYTES_OFFSET, true) !== key.length) return false;
  return key.every((byte, index) => page[at + ROW_HEADER_BYTES + index] === byte);
}

function rowOf(page: Uint8Array, at: number): Uint8Array {
  const view = viewOf(page);
  const from = at + ROW_HEADER_BYTES + view.getUint16(at + KEY_BYTES_OFFSET, true);
  return page.slice(from, from + view.getUint32(at + ROW_BYTES_OFFSET, true));
}

// ── Pages ────────────────────────────────────────────────────────────────────────────────────────

function viewOf(page: Uint8Array): DataView {
  return new DataView(page.buffer, page.byteOffset, BLOCK_BYTES);
}

function itemCount(view: DataView): number {
  const lower = view.getUint16(PAGE_LOWER_OFFSET, true);
  return Math.max(0, lower - PAGE_HEADER_BYTES) / LINE_POINTER_BYTES;
}

function pointerAt(view: DataView, item: number): number {
  return view.getUint32(PAGE_HEADER_BYTES + item * LINE_POINTER_BYTES, true);
}

function setPointer(view: DataView, item: number, pointer: number): void {
  view.setUint32(PAGE_HEADER_BYTES + item * LINE_POINTER_BYTES, pointer, true);
}

function clearPointer(view: DataView, item: number): void {
  setPointer(view, item, 0);
}

/** Whether key and row lie within the bytes of the row. */
function isWhole(view: DataView, at: number, bytes: number): boolean {
  if (bytes < ROW_HEADER_BYTES) return false;
  const key = view.getUint16(at + KEY_BYTES_OFFSET, true);
  return ROW_HEADER_BYTES + key + view.getUint32(at + ROW_BYTES_OFFSET, true) <= bytes;
}

/** Moves what is left of a page together, without line pointers that lead nowhere. */
function pack(page: Uint8Array, view: DataView): void {
  const rows: Uint8Array[] = [];
  for (let item = 0; item < itemCount(view); item += 1) {
    const pointer = pointerAt(view, item);
    const at = pointer & LP_OFFSET_MASK;
    if ((pointer & LP_NORMAL) !== 0) rows.push(page.slice(at, at + (pointer >>> LP_LENGTH_SHIFT)));
  }
  initPage(page);
  for (const row of rows) put(page, view, row);
}

function add(
  page: Uint8Array,
  view: DataView,
  bytes: number,
  { version, key, row }: { readonly version: number; readonly key: Uint8Array; row: Uint8Array },
): void {
  const whole = new Uint8Array(bytes);
  const header = new DataView(whole.buffer);
  header.setUint32(0, version, true);
  header.setUint16(KEY_BYTES_OFFSET, key.length, true);
  header.setUint32(ROW_BYTES_OFFSET, row.length, true);
  whole.set(key, ROW_HEADER_BYTES);
  whole.set(row, ROW_HEADER_BYTES + key.length);
  put(page, view, whole);
}

function put(page: Uint8Array, view: DataView, row: Uint8Array): void {
  const lower = view.getUint16(PAGE_LOWER_OFFSET, true);
  const upper = view.getUint16(PAGE_UPPER_OFFSET, true) - row.length;
  page.set(row, upper);
  setPointer(view, itemCount(view), upper | LP_NORMAL | (row.length << LP_LENGTH_SHIFT));
  view.setUint16(PAGE_LOWER_OFFSET, lower + LINE_POINTER_BYTES, true);
  view.setUint16(PAGE_UPPER_OFFSET, upper, true);
}

function damaged({ name }: Relation, block: number, item: number): DataCorruptedError {
  const message = `item ${item} of block ${block} of relation "${name}" is no catalog row`;
  return new DataCorruptedError(message, { relation: name, block });
}
