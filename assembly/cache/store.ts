// Where the entries of the shared catalog cache live: pages of 8 kB, each cut into entries of one
// size. Everything here runs under the lock of the ring (sinval.ts), but for a hold that comes and
// goes at any time.
//
//   page   class 0 (128 bytes) ▐▐▐▐▐▐▐▐▐▐▐▐▐▐▐▐   … class 3 (1 kB) ▐███████▐███████ …   free
//
// To find room: a free entry of the class, then a free page, then the hand goes round the pages of
// the class and takes an entry that was not used since it last passed, then a page of another class
// none of whose entries is held. If all that fails there is no room, which is no error: a cache
// that is full forgets, or does not learn.
//
// Nothing is derived: an entry is free when its state says so, and a page when its class does. A
// backend that dies under the lock leaves at most an entry that is DEAD and linked, or BUILDING;
// the first is unlinked by whoever meets it, the second by reap.ts.
//
// PostgreSQL: none; its catalog caches are private and grow without limit

import { Atomic } from "../common/atomics";
import {
  CATALOG_CLASSES,
  CATALOG_GRANULE_SHIFT,
  CATALOG_PAGE_GRANULES,
  ENTRY_BUILDING,
  ENTRY_DEAD,
  ENTRY_LIVE,
} from "../common/cache-constants";
import { Self } from "../ipc/self";
import { Chain } from "./chain";
import { Entry } from "./entry";

/** No granule. */
export const NONE: u32 = u32.MAX_VALUE;
/** A page that is being taken apart: of no class. */
const TAKEN: u32 = CATALOG_CLASSES + 1;
/** Once round to take the uses away, once to take an entry. */
const ROUNDS: u32 = 2;

export class Store {
  /** An entry of at least so many bytes, BUILDING; NONE if there is no room. */
  static take(bytes: u32): u32 {
    const kind = Store.classFor(bytes);
    if (kind >= <u32>CATALOG_CLASSES) return NONE;
    let granule = Store.unused(kind);
    if (granule == NONE) granule = Store.newPage(kind);
    if (granule == NONE) granule = Store.sweep(kind);
    if (granule == NONE && Store.steal()) granule = Store.newPage(kind);
    if (granule == NONE) return NONE;
    Entry.at(granule).setState(ENTRY_BUILDING | Self.owner());
    return granule;
  }

  /** The smallest class whose entries have so many bytes. */
  private static classFor(bytes: u32): u32 {
    let kind: u32 = 0;
    while (kind < <u32>CATALOG_CLASSES && (<u32>1) << (CATALOG_GRANULE_SHIFT + kind) < bytes)
      ++kind;
    return kind;
  }

  @inline private static isOf(page: u32, kind: u32): bool {
    return Atomic.load(Entry.classOf(page)) == kind + 1;
  }

  /** A free entry of a class. */
  private static unused(kind: u32): u32 {
    const pages = Entry.header().pages;
    let page = Entry.header().hand;
    for (let left = pages; left > 0; --left) {
      if (page >= pages) page = 0;
      if (Store.isOf(page, kind)) {
        const granule = Store.unusedIn(page, kind);
        if (granule != NONE) {
          Entry.header().hand = page;
          return granule;
        }
      }
      page += 1;
    }
    return NONE;
  }

  private static unusedIn(page: u32, kind: u32): u32 {
    const first = page * CATALOG_PAGE_GRANULES;
    for (let at: u32 = 0; at < <u32>CATALOG_PAGE_GRANULES; at += (<u32>1) << kind) {
      if (Entry.at(first + at).getState() == 0) return first + at;
    }
    return NONE;
  }

  /** Gives a free page to a class; its first entry. */
  private static newPage(kind: u32): u32 {
    const pages = Entry.header().pages;
    for (let page: u32 = 0; page < pages; ++page) {
      const word = Atomic.load(Entry.classOf(page));
      // One that was being taken apart when its taker died is empty as well.
      if (word != 0 && word != TAKEN) continue;
      const first = page * CATALOG_PAGE_GRANULES;
      for (let at: u32 = 0; at < <u32>CATALOG_PAGE_GRANULES; at += (<u32>1) << kind) {
        Entry.at(first + at).setState(0);
      }
      Atomic.store(Entry.classOf(page), kind + 1);
      return first;
    }
    return NONE;
  }

  /** The hand goes round the entries of a class. */
  private static sweep(kind: u32): u32 {
    const pages = Entry.header().pages;
    for (let left = pages * ROUNDS; left > 0; --left) {
      const page = Entry.header().hand < pages ? Entry.header().hand : 0;
      Entry.header().hand = page + 1;
      if (!Store.isOf(page, kind)) continue;
      const first = page * CATALOG_PAGE_GRANULES;
      for (let at: u32 = 0; at < <u32>CATALOG_PAGE_GRANULES; at += (<u32>1) << kind) {
        if (Store.reclaim(first + at)) return first + at;
      }
    }
    return NONE;
  }

  /** Takes an entry if nobody wants it; then it is free. */
  private static reclaim(granule: u32): bool {
    const entry = Entry.at(granule);
    const state = entry.getState();
    if ((state & (ENTRY_LIVE | ENTRY_DEAD)) == 0 || Entry.isHeld(granule)) return false;
    if ((state & ENTRY_LIVE) != 0 && entry.used != 0) {
      entry.used = 0;
      return false;
    }
    Store.kill(granule);
    return entry.getState() == 0;
  }

  /** Makes an entry one that is not found any more; frees it if nobody holds it. */
  static kill(granule: u32): void {
    const entry = Entry.at(granule);
    entry.setState(ENTRY_DEAD);
    Chain.unlink(granule);
    if (!Entry.isHeld(granule)) entry.setState(0);
  }

  /** Takes a page of another class apart. */
  private static steal(): bool {
    const pages = Entry.header().pages;
    for (let page: u32 = 0; page < pages; ++page) {
      const word = Atomic.load(Entry.classOf(page));
      if (word - 1 < <u32>CATALOG_CLASSES && Store.empty(page, word - 1)) return true;
    }
    return false;
  }

  /** True if nothing of a page was held or being built: then the page is free. */
  private static empty(page: u32, kind: u32): bool {
    const first = page * CATALOG_PAGE_GRANULES;
    for (let at: u32 = 0; at < <u32>CATALOG_PAGE_GRANULES; at += (<u32>1) << kind) {
      const state = Entry.at(first + at).getState();
      if ((state & ENTRY_BUILDING) != 0 || Entry.isHeld(first + at)) return false;
    }
    for (let at: u32 = 0; at < <u32>CATALOG_PAGE_GRANULES; at += (<u32>1) << kind) {
      if (Entry.at(first + at).getState() != 0) Store.kill(first + at);
    }
    Atomic.store(Entry.classOf(page), TAKEN);
    for (let at: u32 = 0; at < <u32>CATALOG_PAGE_GRANULES; at += (<u32>1) << kind) {
      if (!Entry.isHeld(first + at)) continue;
      Atomic.store(Entry.classOf(page), kind + 1);
      return false;
    }
    Atomic.store(Entry.classOf(page), 0);
    return true;
  }
}
