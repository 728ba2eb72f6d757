// Sizes of the two parts that the catalog cache needs: the ring of invalidations and the shared
// entries (cache/sinval.ts and cache/store.ts say what they are for). Both follow from
// catalog_cache_size and the number of slots; with 0 the parts are empty and there is no cache.
//
//   ring      128 bytes, 1,152 a slot, 64 kB of messages
//   cache     a header · names of catalogs · heads, a power of two, one for each 256 bytes
//             · a class for each page · a byte a slot and granule of 128 bytes · the pages
//
// With 16 connections and 1 MB of pages that is 90 kB of ring and 1.2 MB of cache.
//
// PostgreSQL: src/backend/storage/ipc/sinvaladt.c, SharedInvalShmemSize

import { Align } from "../common/align";
import {
  CATALOG_GRANULE_SHIFT,
  CATALOG_HEADER_BYTES,
  CATALOG_NAME_BYTES,
  CATALOG_PAGE_SHIFT,
  CATALOGS,
  SINVAL_CATALOG_OFFSET,
  SINVAL_MESSAGE_SHIFT,
  SINVAL_MESSAGES,
  SINVAL_ROW_BYTES,
  SINVAL_ROWS_OFFSET,
} from "../common/cache-constants";
import { CACHE_LINE_BYTES, PART_SINVAL } from "../common/constants";
import { Region } from "./region";

const KILOBYTE_SHIFT: u32 = 10;
/** What no memory holds; keeps the arithmetic within its words. */
const MOST_PAGES: u32 = 1 << 18;
/** Granules for each head. */
const GRANULES_PER_HEAD: u32 = 2;

/** The first words of the cache: what it consists of. Written once, before anybody attaches. */
@unmanaged
export class CatalogHeader {
  /** Pages of entries. */
  pages: u32;
  /** Number of heads - 1. */
  headMask: u32;
  /** Addresses. */
  names: u32;
  heads: u32;
  classes: u32;
  holds: u32;
  /** Distance from one backend's holds to the next. */
  columnBytes: u32;
  /** Address of the first page. */
  first: u32;
  /** Page that was used last; changed under the lock. */
  hand: u32;
}

export class CacheParts {
  /** Bytes of the ring, or of the cache. */
  static bytes(part: u32): u64 {
    if (Region.get().catalogKilobytes == 0) return 0;
    const backends = Region.get().backends;
    if (part == PART_SINVAL) return CacheParts.messages(backends) + CacheParts.ringBytes();
    const pages = CacheParts.pageCount();
    return CacheParts.before(backends, pages) + ((<u64>pages) << CATALOG_PAGE_SHIFT);
  }

  /** Fills in where everything is. */
  static create(region: Region, ring: u32, cache: u32): void {
    const pages = CacheParts.pageCount();
    region.sinval = ring;
    store<u32>(ring, cache, SINVAL_CATALOG_OFFSET);
    const header = changetype<CatalogHeader>(<usize>cache);
    header.pages = pages;
    header.headMask = CacheParts.headCount(pages) - 1;
    header.columnBytes = CacheParts.columnBytes(pages);
    header.names = cache + CATALOG_HEADER_BYTES;
    header.heads = header.names + CATALOGS * CATALOG_NAME_BYTES;
    header.classes = header.heads + CacheParts.headCount(pages) * sizeof<u32>();
    header.holds = header.classes + Align.up(pages * sizeof<u32>(), CACHE_LINE_BYTES);
    header.first = cache + <u32>CacheParts.before(region.backends, pages);
  }

  /** Offset of the messages in the ring's part. */
  @inline static messages(backends: u32): u32 {
    return SINVAL_ROWS_OFFSET + backends * SINVAL_ROW_BYTES;
  }

  @inline private static ringBytes(): u32 {
    return SINVAL_MESSAGES << SINVAL_MESSAGE_SHIFT;
  }

  private static pageCount(): u32 {
    const pages = Region.get().catalogKilobytes >>> (CATALOG_PAGE_SHIFT - KILOBYTE_SHIFT);
    return min<u32>(max<u32>(pages, 1), MOST_PAGES);
  }

  private static headCount(pages: u32): u32 {
    const granules = pages << (CATALOG_PAGE_SHIFT - CATALOG_GRANULE_SHIFT);
    return Align.nextPowerOfTwo(granules / GRANULES_PER_HEAD);
  }

  @inline private static columnBytes(pages: u32): u32 {
    return pages << (CATALOG_PAGE_SHIFT - CATALOG_GRANULE_SHIFT);
  }

  /** Bytes before the first page. */
  private static before(backends: u32, pages: u32): u64 {
    const names = CATALOG_HEADER_BYTES + CATALOGS * CATALOG_NAME_BYTES;
    const heads = CacheParts.headCount(pages) * sizeof<u32>();
    const classes = Align.up(pages * sizeof<u32>(), CACHE_LINE_BYTES);
    return <u64>names + heads + classes + <u64>backends * CacheParts.columnBytes(pages);
  }
}

if (offsetof<CatalogHeader>() > <usize>CATALOG_HEADER_BYTES)
  ERROR("CatalogHeader outgrew its line");
if (SINVAL_ROW_BYTES % CACHE_LINE_BYTES != 0) ERROR("a row must be whole cache lines");
