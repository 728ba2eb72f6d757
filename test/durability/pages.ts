// What the tests write into pages: every sector tells which page it belongs to and in which
// version, so that a page torn between two versions, or put in another's place, is no page at all.

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";

const HEADER_BYTES = 24;
const PAGE_VERSION = 0x2004;
/** Where a page has its checksum, two bytes. */
export const CHECKSUM_AT = 8;
const CHECKSUM_END = 10;
const LOWER_AT = 12;
const UPPER_AT = 14;
const SPECIAL_AT = 16;
const VERSION_AT = 18;

/** Which page, and how often it was changed. Version 0 is a page of zeroes. */
export interface PageStamp {
  /** Of the relation; not its number, which may come again after a crash. */
  readonly uid: number;
  readonly block: number;
  readonly version: number;
}

/** Makes a page's bytes, but for its checksum. */
export function stamp(bytes: Uint8Array, { uid, block, version }: PageStamp): void {
  bytes.fill(0, 0, HEADER_BYTES);
  if (version === 0) {
    bytes.fill(0, HEADER_BYTES);
    return;
  }
  const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  header.setUint16(LOWER_AT, HEADER_BYTES, true);
  header.setUint16(UPPER_AT, BLOCK_BYTES, true);
  header.setUint16(SPECIAL_AT, BLOCK_BYTES, true);
  header.setUint16(VERSION_AT, PAGE_VERSION, true);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, BLOCK_BYTES / 4);
  const parts = [uid, block, version];
  for (let at = HEADER_BYTES / 4; at < words.length; at++) words[at] = parts[at % 3] ?? 0;
}

const expected = new Uint8Array(BLOCK_BYTES);

/** What is wrong with a page's bytes, or undefined. The checksum is the pool's own business. */
export function misprint(bytes: Uint8Array, page: PageStamp): string | undefined {
  stamp(expected, page);
  expected.set(bytes.subarray(CHECKSUM_AT, CHECKSUM_END), CHECKSUM_AT);
  if (Buffer.compare(bytes, expected) === 0) return undefined;
  const words = new Uint32Array(bytes.slice().buffer);
  const found = new Set<string>();
  for (let at = HEADER_BYTES / 4; at + 2 < words.length; at += 3) {
    found.add([...words.subarray(at, at + 3)].join("/"));
    if (found.size > 3) break;
  }
  const { uid, block, version } = page;
  return `expected ${uid}/${block}/${version} (relation/block/version), found ${[...found]}`;
}
