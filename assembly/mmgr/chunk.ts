// The eight bytes before every chunk: who owns it, how large it is, where its block begins.
//
// From the chunk's address alone, free and realloc find the kind of owner, the block and thus the
// context. PostgreSQL's word has 30 bits of value and 30 of offset in 59, sharing bit 34, which the
// offset of 8-aligned things never uses. Here it is two 32-bit words; a value below 2^27, as size
// classes are, lies wholly in the lower one, and then the upper one is the offset shifted by two.
//
//        31                              5   4   3       0
//       ┌─────────────────────────────────┬─────┬─────────┐
// low   │ value (low 27 bits)             │ ext │  kind   │
//       ├─────────────────────────────┬───┴─────┴─────────┤
// high  │ offset of this header >> 1  │  value >> 27      │
//       └─────────────────────────────┴───────────────────┘
//        31                          3 2                 0
//
// A chunk alone on its block is external: value and offset are replaced by a pattern. The kinds 0,
// 1, 2 and 8 to 15 are invalid, so that zeroed, wiped and filled memory is no chunk.
//
// PostgreSQL: src/include/utils/memutils_memorychunk.h, MemoryChunk

import {
  CHUNK_HEADER_BYTES,
  CHUNK_MAX_VALUE,
  FILL_FREED,
  FILL_FRESH,
  FILL_SLACK,
  KIND_BUMP,
} from "../common/constants";

const KIND_BITS: u32 = 4;
const KIND_MASK: u32 = (1 << KIND_BITS) - 1;
const EXTERNAL: u32 = 1 << KIND_BITS;
const VALUE_SHIFT: u32 = KIND_BITS + 1;
const LOW_VALUE_BITS: u32 = 32 - VALUE_SHIFT;
const HIGH_VALUE_MASK: u32 = 7;
const OFFSET_SHIFT: u32 = 2;
const OFFSET_MASK: u32 = 0x3ffffffe;
/** The pattern of external chunks, and under it the external flag and the kind. */
const EXTERNAL_HIGH: u32 = 0xb1a8db85;
const EXTERNAL_LOW: u32 = 0x8eb6efa0;

@unmanaged
export class ChunkHeader {
  low: u32;
  high: u32;

  @inline static at(address: usize): ChunkHeader {
    return changetype<ChunkHeader>(address);
  }

  /** The header before a chunk. */
  @inline static of(chunk: usize): ChunkHeader {
    return changetype<ChunkHeader>(chunk - CHUNK_HEADER_BYTES);
  }

  @inline get address(): usize {
    return changetype<usize>(this);
  }

  /** The first usable byte. */
  @inline get chunk(): usize {
    return changetype<usize>(this) + CHUNK_HEADER_BYTES;
  }

  @inline get kind(): u32 {
    return this.low & KIND_MASK;
  }

  @inline get isExternal(): bool {
    return (this.low & EXTERNAL) != 0;
  }

  @inline get value(): u32 {
    return (this.low >>> VALUE_SHIFT) | ((this.high & HIGH_VALUE_MASK) << LOW_VALUE_BITS);
  }

  /** Distance back to the block's header. */
  @inline get offset(): u32 {
    return (this.high >>> OFFSET_SHIFT) & OFFSET_MASK;
  }

  /** As offset, of a header whose value is below 2^27. */
  @inline get smallOffset(): u32 {
    return this.high >>> OFFSET_SHIFT;
  }

  /** Writes a header. */
  @inline set(kind: u32, value: u32, offset: u32): void {
    this.low = (value << VALUE_SHIFT) | kind;
    this.high = (offset << OFFSET_SHIFT) | (value >>> LOW_VALUE_BITS);
  }

  /** Writes a header whose value is below 2^27. */
  @inline setSmall(kind: u32, value: u32, offset: u32): void {
    this.low = (value << VALUE_SHIFT) | kind;
    this.high = offset << OFFSET_SHIFT;
  }

  /** Writes the header of a chunk alone on its block. */
  @inline setExternal(kind: u32): void {
    this.low = EXTERNAL_LOW | EXTERNAL | kind;
    this.high = EXTERNAL_HIGH;
  }

  /** Whether this is, bit for bit, what setExternal writes. */
  @inline isExternalOf(kind: u32): bool {
    return this.low == (EXTERNAL_LOW | EXTERNAL | kind) && this.high == EXTERNAL_HIGH;
  }

  /**
   * The value of a header of this kind that is not external, by one comparison: for any other kind,
   * and for external ones, the result is larger than every size class.
   */
  @inline smallValueOf(kind: u32): u32 {
    return rotr<u32>(this.low - kind, VALUE_SHIFT);
  }
}

if (offsetof<ChunkHeader>() != CHUNK_HEADER_BYTES) ERROR("the chunk header is eight bytes");
if (OFFSET_MASK != (CHUNK_MAX_VALUE & ~1)) ERROR("value and offset share one bit");
if ((FILL_FRESH & KIND_MASK) <= KIND_BUMP) ERROR("fresh bytes must not look like a chunk");
if ((FILL_FREED & KIND_MASK) <= KIND_BUMP) ERROR("freed bytes must not look like a chunk");
if ((FILL_SLACK & KIND_MASK) <= KIND_BUMP) ERROR("slack must not look like a chunk");
