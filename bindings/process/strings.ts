/**
 * Text between JavaScript and a memory: UTF-8 that ends at a NUL, as C programs have it.
 *
 * Both directions have a loop of their own for short ASCII text, below the length from which the
 * engine's encoder and decoder, which cost about the same for every length, are faster.
 *
 * @see PostgreSQL: src/backend/utils/mmgr/mcxt.c, pstrdup, pnstrdup
 */

import type { ChunkPtr } from "../abi/pointers.ts";
import { checkSize } from "./arrays.ts";
import { checkRange, type ViewSource } from "./chunk-views.ts";

/** Up to this length the loops are faster; measured on Node 20. */
const SHORT_TEXT = 16;
const SHORT_READ = 8;
/** Most bytes that UTF-8 needs for one unit of a JavaScript string. */
const BYTES_PER_UNIT = 3;
/** Texts that surely fit are encoded here first: 12 kB. */
const SCRATCH_BYTES = 12_288;

const encoder = new TextEncoder();
/** Keeps a leading U+FEFF, which belongs to the text; what is no UTF-8 becomes U+FFFD. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const scratch = new Uint8Array(SCRATCH_BYTES);

/** Where text can be copied to. */
interface TextTarget {
  readonly memory: ViewSource;
  alloc(bytes: number): ChunkPtr;
}

/** A chunk with the text and a NUL; `maxBytes` of it if given. @internal */
export function copyText(context: TextTarget, text: string, maxBytes?: number): ChunkPtr {
  if (maxBytes === undefined && isShortAscii(text)) {
    const { length } = text;
    const chunk = context.alloc(length + 1);
    // After the allocation: it may have grown the memory.
    const { u8 } = context.memory;
    for (let index = 0; index < length; index += 1) u8[chunk + index] = text.charCodeAt(index);
    u8[chunk + length] = 0;
    return chunk;
  }
  const bytes = encodeText(text, maxBytes);
  const chunk = context.alloc(bytes.length + 1);
  const { u8 } = context.memory;
  u8.set(bytes, chunk);
  u8[chunk + bytes.length] = 0;
  return chunk;
}

/** Writes text and a NUL into `roomBytes` at `address`; bytes without the NUL. @internal */
export function writeText(
  memory: ViewSource,
  address: number,
  text: string,
  roomBytes: number,
): number {
  const { u8 } = memory;
  checkRange(u8, address, roomBytes);
  const bytes = encodeText(text);
  if (bytes.length >= roomBytes) {
    const needed = bytes.length + 1;
    throw new RangeError(`the text needs ${needed} bytes with its NUL; there are ${roomBytes}`);
  }
  u8.set(bytes, address);
  u8[address + bytes.length] = 0;
  return bytes.length;
}

/** Text from `address` to a NUL, or to `maxBytes`, or to the end of the memory. @internal */
export function readText(memory: ViewSource, address: number, maxBytes?: number): string {
  return textIn(memory.u8, address, maxBytes);
}

/** As {@link readText}, given the bytes of the memory. @internal */
export function textIn(u8: Uint8Array, address: number, maxBytes?: number): string {
  if (maxBytes !== undefined) checkSize("length", maxBytes);
  checkRange(u8, address, 0);
  const limit = Math.min(address + (maxBytes ?? u8.length), u8.length);
  const short = Math.min(limit - address, SHORT_READ);
  let length = 0;
  let all = 0;
  for (; length < short; length += 1) {
    const byte = u8[address + length] ?? 0;
    if (byte === 0) return decodeShort(u8, address, length, all);
    all |= byte;
  }
  if (short < SHORT_READ) return decodeShort(u8, address, length, all);
  const nul =
    maxBytes === undefined ? u8.indexOf(0, address + short) : nulBefore(u8, address, limit);
  return decoder.decode(u8.subarray(address, nul < 0 ? limit : nul));
}

/** Where the first NUL from `address` on lies, or -1 if it does not lie before `limit`. */
function nulBefore(u8: Uint8Array, address: number, limit: number): number {
  const at = u8.subarray(address, limit).indexOf(0);
  return at < 0 ? -1 : address + at;
}

/** `all` is the union of the bytes: below 128 for ASCII. */
function decodeShort(u8: Uint8Array, address: number, length: number, all: number): string {
  if (all >= 0x80) return decoder.decode(u8.subarray(address, address + length));
  let text = "";
  for (let index = address; index < address + length; index += 1) {
    text += String.fromCharCode(u8[index] ?? 0);
  }
  return text;
}

/** Short, of U+0001 to U+007F only. */
function isShortAscii(text: string): boolean {
  if (typeof text !== "string" || text.length > SHORT_TEXT) return false;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit === 0 || unit > 0x7f) return false;
  }
  return true;
}

/** UTF-8 without a NUL, whole characters only; valid until the next call. */
export function encodeText(text: string, maxBytes?: number): Uint8Array {
  if (typeof text !== "string") throw new TypeError(`text must be a string, not ${String(text)}`);
  const nul = text.indexOf("\0");
  if (nul >= 0) {
    throw new RangeError(`the text holds U+0000 at ${nul}, where it would end for a reader`);
  }
  if (maxBytes !== undefined) checkSize("length", maxBytes);
  const whole = text.length * BYTES_PER_UNIT <= SCRATCH_BYTES;
  if (whole) {
    const isBounded = maxBytes !== undefined && maxBytes < SCRATCH_BYTES;
    const room = isBounded ? scratch.subarray(0, maxBytes) : scratch;
    return scratch.subarray(0, encoder.encodeInto(text, room).written);
  }
  const bytes = encoder.encode(text);
  let end = Math.min(maxBytes ?? bytes.length, bytes.length);
  // Back to the first byte of the character that does not fit; at most three steps.
  while (end < bytes.length && end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end);
}
