// The shared catalog cache: rows that one backend has read, for all. Found without a lock; changed
// under the lock of the ring.
//
// What must never be: somebody has received a message and then finds the old row. Three rules see
// to it.
//
// 1. Sending unlinks first, then sends, under the lock. Whoever has received the message finds the
//    entry unlinked.
// 2. Who reads a row notes the number of the next message before it begins. Linking what it has
//    read looks, under the same lock, whether a message since then is about it: then it is not
//    linked (ST_STALE), and must be read again. A message that comes later unlinks it.
// 3. The change is visible before its message is sent, and said to be coming before it is visible:
//    who dies in between has all entries killed and everybody reset (reap.ts).
//
// PostgreSQL: src/backend/utils/cache/catcache.c, SearchCatCache, CatCacheInvalidate (whose caches
// are private: each backend reads each row for itself)

import { Atomic } from "../common/atomics";
import {
  ENTRY_BUILDING,
  ENTRY_LIVE,
  ENTRY_NEGATIVE,
  MESSAGE_ALL,
  MESSAGE_KEY,
  ROW_DATA_BYTES_OFFSET,
  ROW_DATA_OFFSET,
  ROW_HASH_OFFSET,
  ST_NO_ROOM,
  ST_NO_ROW,
  ST_STALE,
} from "../common/cache-constants";
import { invariant } from "../common/check";
import { PANIC_OWNER, ST_BUSY, ST_GONE, ST_MISS, ST_OK } from "../common/constants";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";
import { Chain } from "./chain";
import { Entry } from "./entry";
import { Sinval } from "./sinval";
import { NONE, Store } from "./store";

/** A row that is not there. */
const NO_ROW: u32 = u32.MAX_VALUE;

export class Catalog {
  /**
   * Finds an entry and holds it: its number, ST_NO_ROW if it is known that there is no such row, or
   * ST_MISS. Leaves hash, address and bytes of the row in the own row of the ring.
   */
  static find(catalog: u32, keys: usize, keyBytes: u32): i32 {
    const hash = Chain.hash(catalog, keys, keyBytes);
    store<u32>(Sinval.mine(), hash, ROW_HASH_OFFSET);
    const head = Atomic.load(Chain.head(hash));
    const reference = Chain.search(head, catalog, hash, keys, keyBytes);
    if (reference == 0 || !Entry.hold(reference - 1)) return ST_MISS;
    const granule = reference - 1;
    const entry = Entry.at(granule);
    // Held now: if it is what it was taken for, it stays so.
    const stands = Entry.begins(granule) && entry.isLive();
    if (stands && entry.matches(catalog, hash, keys, keyBytes)) return Catalog.found(granule);
    Entry.letGo(granule);
    return ST_MISS;
  }

  private static found(granule: u32): i32 {
    const entry = Entry.at(granule);
    if (entry.used == 0) entry.used = 1;
    if ((entry.getState() & ENTRY_NEGATIVE) != 0) {
      Entry.letGo(granule);
      return ST_NO_ROW;
    }
    const mine = Sinval.mine();
    store<u32>(mine, <u32>entry.row(), ROW_DATA_OFFSET);
    store<u32>(mine, entry.rowBytes, ROW_DATA_BYTES_OFFSET);
    return granule;
  }

  // ── Adding what was read ───────────────────────────────────────────────────────────────────────

  /**
   * Room for a row of `rowBytes`, NO_ROW for the knowledge that there is none: its number, and the
   * row's address in the own row of the ring. The caller fills it in, then publishes or discards.
   */
  static reserve(catalog: u32, keys: usize, keyBytes: u32, rowBytes: u32): i32 {
    const bytes = rowBytes == NO_ROW ? 0 : rowBytes;
    const hash = Chain.hash(catalog, keys, keyBytes);
    if (!Sinval.acquire()) return Catalog.refusal();
    const granule = Store.take(Entry.bytes(keyBytes, bytes));
    Sinval.lock().release();
    if (granule == NONE) return ST_NO_ROOM;
    const entry = Entry.at(granule);
    entry.hash = hash;
    entry.catalog = catalog;
    entry.keyBytes = keyBytes;
    entry.rowBytes = rowBytes;
    entry.used = 1;
    memory.copy(entry.keys(), keys, keyBytes);
    store<u32>(Sinval.mine(), <u32>entry.row(), ROW_DATA_OFFSET);
    return granule;
  }

  /**
   * Links what this backend has filled in, read since message `since`: ST_OK; ST_STALE if it may
   * have changed meanwhile: then it is gone. An entry that another backend was faster with stays.
   */
  static publish(granule: u32, since: u32): i32 {
    const entry = Entry.at(granule);
    if (CHECKING) invariant(entry.builder() == Self.owner(), PANIC_OWNER);
    if (!Sinval.acquire()) return Catalog.refusal();
    const stale = Sinval.mentions(since, entry.catalog, entry.hash);
    if (stale || Catalog.isThere(entry)) {
      entry.setState(0);
    } else {
      Chain.link(granule);
      entry.setState(entry.rowBytes == NO_ROW ? ENTRY_LIVE | ENTRY_NEGATIVE : ENTRY_LIVE);
    }
    Sinval.lock().release();
    return stale ? ST_STALE : ST_OK;
  }

  private static isThere(entry: Entry): bool {
    const head = Atomic.load(Chain.head(entry.hash));
    return Chain.search(head, entry.catalog, entry.hash, entry.keys(), entry.keyBytes) != 0;
  }

  /** Gives up what this backend was building: nobody else knows of it. */
  static discard(granule: u32): void {
    if (CHECKING) invariant(Entry.at(granule).builder() == Self.owner(), PANIC_OWNER);
    Entry.at(granule).setState(0);
  }

  // ── Invalidating ───────────────────────────────────────────────────────────────────────────────

  /** Kills the entries of one key, and tells everybody. */
  static invalidate(catalog: u32, hash: u32): i32 {
    if (!Sinval.acquire()) return Catalog.refusal();
    let at = Chain.head(hash);
    for (let left = Entry.granules(); left > 0; --left) {
      const reference = Atomic.load(at);
      if (reference == 0) break;
      const entry = Entry.at(reference - 1);
      if (entry.hash == hash && entry.catalog == catalog) Store.kill(reference - 1);
      else at = entry.nextAddress();
    }
    Sinval.send(catalog, hash, MESSAGE_KEY);
    Sinval.lock().release();
    Sinval.askSometimes();
    return ST_OK;
  }

  /** Kills all entries of a catalog, and tells everybody. */
  static invalidateAll(catalog: u32): i32 {
    if (!Sinval.acquire()) return Catalog.refusal();
    Catalog.killAll(catalog);
    Sinval.send(catalog, 0, MESSAGE_ALL);
    Sinval.lock().release();
    Sinval.askSometimes();
    return ST_OK;
  }

  /** Kills the entries of a catalog, or of all (u32.MAX_VALUE). Under the lock. */
  static killAll(catalog: u32): void {
    const last = Entry.granules();
    for (let granule: u32 = 0; granule < last; ++granule) {
      if (!Entry.begins(granule)) continue;
      const entry = Entry.at(granule);
      const isWanted = catalog == u32.MAX_VALUE || entry.catalog == catalog;
      if (entry.isLive() && isWanted) Store.kill(granule);
    }
  }

  /** Gives back what a backend was building. Under the lock. */
  static freeBuiltBy(owner: u32): void {
    const last = Entry.granules();
    for (let granule: u32 = 0; granule < last; ++granule) {
      if (!Entry.begins(granule)) continue;
      const entry = Entry.at(granule);
      if ((entry.getState() & ENTRY_BUILDING) == 0 || entry.builder() != owner) continue;
      // It may be linked: then it was one store from being found.
      Chain.unlink(granule);
      entry.setState(0);
    }
  }

  @inline private static refusal(): i32 {
    return Region.get().isRunning() ? ST_BUSY : ST_GONE;
  }
}
