// What the pool knows of a page's bytes: its checksum, and whether its header is sane.
//
// The checksum is 16 bits, so that pages can be read by PostgreSQL's own tools: 32 sums, each over
// one column of the page seen as 64 rows of 32 words, folded together with the block number. Eight
// vectors of four sums run side by side; their offsets are immediates in the code, because this
// module has no data section.
//
// PostgreSQL: src/include/storage/checksum_impl.h, pg_checksum_page; bufpage.c, PageIsVerified

import {
  BLOCK_BYTES,
  PAGE_BAD_BOTH,
  PAGE_BAD_CHECKSUM,
  PAGE_BAD_HEADER,
  PAGE_CHECKSUM_OFFSET,
  PAGE_FLAGS_OFFSET,
  PAGE_GOOD,
  PAGE_LOWER_OFFSET,
  PAGE_SPECIAL_OFFSET,
  PAGE_UPPER_OFFSET,
  PAGE_VALID_FLAGS,
} from "../common/constants";
import { Region } from "../ipc/region";

const ROW_BYTES: usize = 128;
/** Four of the 32 words of a row. */
const VECTOR_BYTES: usize = 16;
const CHECKSUM_MODULUS: u32 = 65535;
/** The checksum field, first half of the third word, counts as zero. */
const CHECKSUM_HOLE: i32 = -65536;
const WORD_BYTES: usize = 8;
const MAXALIGN_MASK: u32 = 7;

export class Page {
  /** The checksum that belongs into the page's header; never 0. The page is only read. */
  static checksum(page: usize, block: u32): u32 {
    return ((Page.fold(page, CHECKSUM_HOLE) ^ block) % CHECKSUM_MODULUS) + 1;
  }

  /** All 32 bits of the sums over all bytes; for images of pages in the journal. */
  @inline static digest(page: usize): u32 {
    return Page.fold(page, -1);
  }

  @inline static storedChecksum(page: usize): u32 {
    return load<u16>(page, PAGE_CHECKSUM_OFFSET);
  }

  /** What a page about to be written carries as checksum; a new page, all zero, has none. */
  static seal(page: usize, block: u32): u32 {
    if (Region.get().checksums == 0 || Page.isNew(page)) return Page.storedChecksum(page);
    return Page.checksum(page, block);
  }

  /** PAGE_GOOD, or what is wrong with a page just read. */
  static verify(page: usize, block: u32): i32 {
    if (Region.get().checksums == 0) return PAGE_GOOD;
    if (Page.isNew(page)) return Page.isZero(page) ? PAGE_GOOD : PAGE_BAD_HEADER;
    const sane = Page.isSane(page);
    if (Page.checksum(page, block) == Page.storedChecksum(page)) {
      return sane ? PAGE_GOOD : PAGE_BAD_HEADER;
    }
    return sane ? PAGE_BAD_CHECKSUM : PAGE_BAD_BOTH;
  }

  @inline private static isNew(page: usize): bool {
    return load<u16>(page, PAGE_UPPER_OFFSET) == 0;
  }

  private static isZero(page: usize): bool {
    for (let at: usize = 0; at < <usize>BLOCK_BYTES; at += WORD_BYTES) {
      if (load<u64>(page + at) != 0) return false;
    }
    return true;
  }

  private static isSane(page: usize): bool {
    const lower: u32 = load<u16>(page, PAGE_LOWER_OFFSET);
    const upper: u32 = load<u16>(page, PAGE_UPPER_OFFSET);
    const special: u32 = load<u16>(page, PAGE_SPECIAL_OFFSET);
    if ((load<u16>(page, PAGE_FLAGS_OFFSET) & ~PAGE_VALID_FLAGS) != 0) return false;
    if (lower > upper || upper > special || special > <u32>BLOCK_BYTES) return false;
    return (special & MAXALIGN_MASK) == 0;
  }

  /** The 32 sums of a page, folded into one word; its third word is seen through a mask. */
  private static fold(page: usize, mask: i32): u32 {
    let a = i32x4(0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a);
    let b = i32x4(0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c);
    let c = i32x4(0xf8d4474f, 0xe39eb970, 0x42c6ae16, 0x993216fa);
    let d = i32x4(0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb);
    let e = i32x4(0xe58f764b, 0x187636bc, 0x5d7b3bb1, 0xe73de7de);
    let f = i32x4(0x92bec979, 0xcca6c0b2, 0x304a0979, 0x85aa43d4);
    let g = i32x4(0x783125bb, 0x6ca8eaa2, 0xe407eac6, 0x4b5cfc3e);
    let h = i32x4(0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756);
    let first = v128.and(v128.load(page), i32x4.replace_lane(i32x4.splat(-1), 2, mask));
    for (let row = page; row < page + BLOCK_BYTES; row += ROW_BYTES) {
      if (row != page) first = v128.load(row);
      a = Page.round(a, first);
      b = Page.round(b, v128.load(row, VECTOR_BYTES));
      c = Page.round(c, v128.load(row, 2 * VECTOR_BYTES));
      d = Page.round(d, v128.load(row, 3 * VECTOR_BYTES));
      e = Page.round(e, v128.load(row, 4 * VECTOR_BYTES));
      f = Page.round(f, v128.load(row, 5 * VECTOR_BYTES));
      g = Page.round(g, v128.load(row, 6 * VECTOR_BYTES));
      h = Page.round(h, v128.load(row, 7 * VECTOR_BYTES));
    }
    const left = v128.xor(v128.xor(Page.end(a), Page.end(b)), v128.xor(Page.end(c), Page.end(d)));
    const right = v128.xor(v128.xor(Page.end(e), Page.end(f)), v128.xor(Page.end(g), Page.end(h)));
    const all = v128.xor(left, right);
    return (
      i32x4.extract_lane(all, 0) ^
      i32x4.extract_lane(all, 1) ^
      i32x4.extract_lane(all, 2) ^
      i32x4.extract_lane(all, 3)
    );
  }

  /** One step of the 32-bit FNV-1a variant: four sums take in four words. */
  @inline private static round(sums: v128, words: v128): v128 {
    const mixed = v128.xor(sums, words);
    const factor = i32x4.splat(16777619);
    return v128.xor(i32x4.mul(mixed, factor), i32x4.shr_u(mixed, 17));
  }

  /** Two more steps, so that the last words have mixed like the first. */
  @inline private static end(sums: v128): v128 {
    const none = i32x4.splat(0);
    return Page.round(Page.round(sums, none), none);
  }
}
