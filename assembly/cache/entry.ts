// Entries of the shared catalog cache, and who holds them. An entry is a row of some catalog, or
// the knowledge that there is none, under up to four keys. Its number is that of its first granule.
//
//   header 32 │ keys, whole words │ row
//
//   state    13        12     11     10         9       0
//           ┌────────┬──────┬──────┬──────────┬─────────┐
//           │NEGATIVE│ DEAD │ LIVE │ BUILDING │ builder │     0: free
//           └────────┴──────┴──────┴──────────┴─────────┘
//
//   free → BUILDING (one backend fills it) → LIVE (linked; never changed) → DEAD → free
//
// A hold is a byte: one a backend and granule, written by that backend alone, which counts its own
// in it. The handshake is that of frames:
//
//   holder    stores its byte, then loads the class of the page and the state of the entry
//   claimant  stores DEAD (or takes the class away), then loads the bytes
//
// Who finds an entry that is not LIVE, or not what it was looking for, takes its byte back. DEAD
// stands before an entry is unlinked, so that a death in between leaves nothing that is found.
//
// PostgreSQL: src/include/utils/catcache.h, CatCTup

import { Atomic } from "../common/atomics";
import {
  CATALOG_CLASSES,
  CATALOG_GRANULE_SHIFT,
  CATALOG_PAGE_GRANULES,
  ENTRY_HEADER_BYTES,
  ENTRY_LIVE,
  SINVAL_CATALOG_OFFSET,
} from "../common/cache-constants";
import { OWNER_MASK } from "../common/constants";
import { CatalogHeader } from "../ipc/cache-parts";
import { Region } from "../ipc/region";
import { me } from "../ipc/self";

/** Keys and rows begin at multiples of this. */
const ALIGN_MASK: u32 = 7;
const WORD_MASK: u32 = 3;

@unmanaged
export class Entry {
  /** ENTRY_ bits, or 0. Atomic. */
  private state: u32;
  /** Entry + 1 of the next in the chain, or 0. Atomic. */
  private next: u32;
  /** All up to `row` written by the builder, constant while LIVE. */
  hash: u32;
  catalog: u32;
  keyBytes: u32;
  rowBytes: u32;
  /** 1 after a use since the hand last passed. A hint. */
  used: u32;

  @inline static header(): CatalogHeader {
    return changetype<CatalogHeader>(load<usize>(Region.get().sinval, SINVAL_CATALOG_OFFSET));
  }

  /** The entry that begins at a granule. */
  @inline static at(granule: u32): Entry {
    return changetype<Entry>(
      <usize>Entry.header().first + ((<usize>granule) << CATALOG_GRANULE_SHIFT),
    );
  }

  /** Granules there are. */
  @inline static granules(): u32 {
    return Entry.header().pages * CATALOG_PAGE_GRANULES;
  }

  /** Whether an entry can begin at a granule: what a walk meets may have been taken apart. */
  static begins(granule: u32): bool {
    const kind = Atomic.load(Entry.classOf(granule / CATALOG_PAGE_GRANULES));
    if (kind - 1 >= <u32>CATALOG_CLASSES) return false;
    return (granule & ((1 << (kind - 1)) - 1)) == 0;
  }

  /** Address of a page's word: 0 free, else its class + 1. */
  @inline static classOf(page: u32): usize {
    return <usize>Entry.header().classes + <usize>page * sizeof<u32>();
  }

  @inline getState(): u32 {
    return Atomic.load(changetype<usize>(this) + offsetof<Entry>("state"));
  }

  @inline setState(state: u32): void {
    Atomic.store(changetype<usize>(this) + offsetof<Entry>("state"), state);
  }

  @inline isLive(): bool {
    return (this.getState() & ENTRY_LIVE) != 0;
  }

  /** Who builds it, + 1. */
  @inline builder(): u32 {
    return this.getState() & OWNER_MASK;
  }

  @inline nextAddress(): usize {
    return changetype<usize>(this) + offsetof<Entry>("next");
  }

  @inline keys(): usize {
    return changetype<usize>(this) + ENTRY_HEADER_BYTES;
  }

  @inline row(): usize {
    return this.keys() + ((this.keyBytes + ALIGN_MASK) & ~ALIGN_MASK);
  }

  /** Bytes of an entry with such keys and such a row. */
  @inline static bytes(keyBytes: u32, rowBytes: u32): u32 {
    return ENTRY_HEADER_BYTES + ((keyBytes + ALIGN_MASK) & ~ALIGN_MASK) + rowBytes;
  }

  /** Whether it is the entry of these keys; they are whole words. */
  matches(catalog: u32, hash: u32, keys: usize, keyBytes: u32): bool {
    if (this.hash != hash || this.catalog != catalog || this.keyBytes != keyBytes) return false;
    const own = this.keys();
    for (let at: u32 = 0; at < keyBytes; at += WORD_MASK + 1) {
      if (load<u32>(own + at) != load<u32>(keys + at)) return false;
    }
    return true;
  }

  // ── Holds ──────────────────────────────────────────────────────────────────────────────────────

  @inline static holdOf(backend: u32, granule: u32): usize {
    const header = Entry.header();
    return header.holds + backend * header.columnBytes + granule;
  }

  /**
   * One more hold of this backend's; it is to look at the entry after this. False if it has as many
   * as can be counted.
   */
  static hold(granule: u32): bool {
    const at = Entry.holdOf(me, granule);
    const holds = load<u8>(at);
    if (holds == u8.MAX_VALUE) return false;
    Atomic.store8(at, holds + 1);
    return true;
  }

  /** One hold less; false if there is none. */
  static letGo(granule: u32): bool {
    const at = Entry.holdOf(me, granule);
    const holds = load<u8>(at);
    if (holds == 0) return false;
    Atomic.store8(at, holds - 1);
    return true;
  }

  static isHeld(granule: u32): bool {
    for (let backend = Region.get().backends; backend-- > 0; ) {
      if (Atomic.load8(Entry.holdOf(backend, granule)) != 0) return true;
    }
    return false;
  }
}

if (offsetof<Entry>() > <usize>ENTRY_HEADER_BYTES) ERROR("Entry outgrew its header");
