// What the twin's kinds of context have in common: the words every context header begins with, the
// encoding of chunk headers, and what a kind answers.

import { CHUNK_HEADER_BYTES, MAX_ALIGN } from "../../assembly/common/constants.ts";

/** Words of every context header. */
export const KIND = 0;
export const IS_RESET = 1;
export const MEM_ALLOCATED = 2;

/**
 * Counters: blocks, total, free, free chunks, used, and what single kinds count beside them, all
 * chunks of a generation and the empty blocks of a slab.
 */
export type TwinStatistics = readonly [
  blocks: number,
  total: number,
  free: number,
  freeChunks: number,
  used: number,
  chunks: number,
  emptyBlocks: number,
];

/** One kind of context. Contexts and chunks are addresses; a chunk is one of this kind. */
export interface TwinKind {
  /** The chunk, or 0. */
  alloc(context: number, bytes: number, limit: number): number;
  free(chunk: number): void;
  /** The chunk, moved or not, or 0 and it is as before. */
  realloc(chunk: number, bytes: number, limit: number): number;
  chunkSpace(chunk: number): number;
  chunkContext(chunk: number): number;
  isEmpty(context: number): boolean;
  reset(context: number): void;
  /** Resets and gives the header back. */
  destroy(context: number): void;
  statistics(context: number): TwinStatistics;
}

/** The next multiple of 8, for any size. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / MAX_ALIGN) * MAX_ALIGN;
}

/** The next power of two. */
export function powerOfTwo(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}

/** Writes the header of a chunk: kind, a value of 30 bits, and the way back. */
export function writeHeader(
  words: Int32Array,
  chunk: number,
  header: { kind: number; value: number; offset: number },
): void {
  const at = (chunk - CHUNK_HEADER_BYTES) >> 2;
  const { kind, value, offset } = header;
  const bits = (BigInt(offset) << 34n) | (BigInt(value) << 5n) | BigInt(kind);
  words[at] = Number(BigInt.asIntN(32, bits));
  words[at + 1] = Number(BigInt.asIntN(32, bits >> 32n));
}

/** The value in a chunk's header. */
export function headerValue(words: Int32Array, chunk: number): number {
  return Number((headerBits(words, chunk) >> 5n) & 0x3fffffffn);
}

/** The way back in a chunk's header, counted from the header. */
export function headerOffset(words: Int32Array, chunk: number): number {
  return Number((headerBits(words, chunk) >> 34n) & 0x3ffffffen);
}

/** Whether a chunk is alone on its block. */
export function isExternal(words: Int32Array, chunk: number): boolean {
  return (headerBits(words, chunk) & 0x10n) !== 0n;
}

/** Writes the header of a chunk that is alone on its block. */
export function writeExternal(words: Int32Array, chunk: number, kind: number): void {
  const at = (chunk - CHUNK_HEADER_BYTES) >> 2;
  words[at] = 0x8eb6efb0 | kind | 0;
  words[at + 1] = 0xb1a8db85 | 0;
}

function headerBits(words: Int32Array, chunk: number): bigint {
  const at = (chunk - CHUNK_HEADER_BYTES) >> 2;
  const [low = 0, high = 0] = words.subarray(at, at + 2);
  return BigInt.asUintN(32, BigInt(low)) | (BigInt.asUintN(32, BigInt(high)) << 32n);
}
