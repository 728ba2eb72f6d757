// Pages that tell what they are: every word follows from the block and the version, so that a page
// of another block, of two versions, or half of one is noticed wherever one looks.
//
// A page that was never changed is all zeroes and has version 0.

import { BLOCK_BYTES, initPage, PAGE_HEADER_BYTES } from "../../bindings/index.ts";

const WORD_BYTES = Uint32Array.BYTES_PER_ELEMENT;
const WORDS = BLOCK_BYTES / WORD_BYTES;
const BLOCK_AT = PAGE_HEADER_BYTES / WORD_BYTES;
const VERSION_AT = BLOCK_AT + 1;
const FIRST_FILLED = VERSION_AT + 1;
/** Where a quick look looks. */
const PLACES = [FIRST_FILLED, 400, 801, 1203, 1604, WORDS - 1] as const;

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, WORDS);
}

function filling(block: number, version: number, at: number): number {
  const mixed = Math.imul(block + 1, 0x9e3779b1) ^ Math.imul(version, 0x85ebca6b);
  return (mixed + Math.imul(at, 0xc2b2ae35)) >>> 0;
}

/** Version of a page, without looking at the rest. */
export function versionOf(bytes: Uint8Array): number {
  return wordsOf(bytes)[VERSION_AT] ?? 0;
}

/** Block that a page says it is; looks at one word only, and needs no lock. */
export function blockOf(bytes: Uint8Array): number {
  return wordsOf(bytes)[BLOCK_AT] ?? 0;
}

/** Makes a page the given version of a block. Its block's word never changes once it is there. */
export function stampPage(bytes: Uint8Array, block: number, version: number): void {
  const words = wordsOf(bytes);
  if (version === 1) initPage(bytes);
  words[BLOCK_AT] = block;
  words[VERSION_AT] = version;
  for (let at = FIRST_FILLED; at < WORDS; at += 1) words[at] = filling(block, version, at);
}

/**
 * The version of a page that is whole.
 *
 * @param everywhere - looks at every word, not at a few places
 * @throws if the page is that of another block, or not of one version
 */
export function checkedVersion(bytes: Uint8Array, block: number, everywhere: boolean): number {
  const words = wordsOf(bytes);
  const version = words[VERSION_AT] ?? 0;
  const blank = version === 0;
  if ((words[BLOCK_AT] ?? 0) !== (blank ? 0 : block)) {
    throw new Error(`block ${block} holds block ${words[BLOCK_AT]}, version ${version}`);
  }
  const check = (at: number): void => {
    const expected = blank ? 0 : filling(block, version, at);
    if (words[at] === expected) return;
    throw new Error(`block ${block}, version ${version}: word ${at} is of another page`);
  };
  if (!everywhere) for (const at of PLACES) check(at);
  else for (let at = FIRST_FILLED; at < WORDS; at += 1) check(at);
  return version;
}
