// What TypeScript calls of the catalog cache; shared.ts exports it all. Keys of any kind stand in
// the own row of the ring as whole words; up to four numbers may be given instead.

import {
  CATALOG_NAME_BYTES,
  CATALOGS,
  ROW_KEYS_OFFSET,
  ROW_MESSAGES_OFFSET,
  ST_NO_ROOM,
} from "../common/cache-constants";
import { ST_BUSY, ST_NOT_PINNED, ST_OK } from "../common/constants";
import { Region } from "../ipc/region";
import { me } from "../ipc/self";
import { Catalog } from "./catalog";
import { Chain } from "./chain";
import { Entry } from "./entry";
import { Sinval } from "./sinval";

const WORD: usize = sizeof<u32>();

/** Address of the own row of the ring; 0 if the region has no catalog cache. */
export function catalogRow(): u32 {
  return Region.get().sinval == 0 ? 0 : <u32>Sinval.mine();
}

/** This backend begins to receive. */
export function catalogJoin(): void {
  Sinval.join();
}

/** The number of the catalog whose name, its length first, stands where messages come. */
export function catalogNumber(): i32 {
  if (!Sinval.acquire()) return ST_BUSY;
  const wanted = Sinval.mine() + ROW_MESSAGES_OFFSET;
  let result: i32 = ST_NO_ROOM;
  for (let index: u32 = 0; index < <u32>CATALOGS; ++index) {
    const name = <usize>Entry.header().names + index * CATALOG_NAME_BYTES;
    const isFree = load<u8>(name) == 0;
    if (!isFree && memory.compare(name, wanted, CATALOG_NAME_BYTES) != 0) continue;
    // The length makes it one, last.
    memory.copy(name + 1, wanted + 1, CATALOG_NAME_BYTES - 1);
    store<u8>(name, load<u8>(wanted));
    result = index;
    break;
  }
  Sinval.lock().release();
  return result;
}

/** As `catalogFind`, by up to four numbers. */
export function catalogFindWords(
  catalog: u32,
  count: u32,
  one: u32,
  two: u32,
  three: u32,
  four: u32,
): i32 {
  const keys = Sinval.mine() + ROW_KEYS_OFFSET;
  store<u32>(keys, one);
  store<u32>(keys, two, WORD);
  store<u32>(keys, three, 2 * WORD);
  store<u32>(keys, four, 3 * WORD);
  return Catalog.find(catalog, keys, count * <u32>WORD);
}

/** Finds an entry by the keys in the own row, and holds it. */
export function catalogFind(catalog: u32, keyBytes: u32): i32 {
  return Catalog.find(catalog, Sinval.mine() + ROW_KEYS_OFFSET, keyBytes);
}

/** Gives back an entry that `catalogFind` found. */
export function catalogRelease(entry: u32): i32 {
  return entry < Entry.granules() && Entry.letGo(entry) ? ST_OK : ST_NOT_PINNED;
}

/** Hash of the keys in the own row. */
export function catalogHash(catalog: u32, keyBytes: u32): u32 {
  return Chain.hash(catalog, Sinval.mine() + ROW_KEYS_OFFSET, keyBytes);
}

/** To be called before a row is read that is to be published. */
export function catalogBegin(): u32 {
  return Sinval.written();
}

/** Room for a row of `rowBytes` under the keys in the own row; -1 says that there is no row. */
export function catalogReserve(catalog: u32, keyBytes: u32, rowBytes: u32): i32 {
  return Catalog.reserve(catalog, Sinval.mine() + ROW_KEYS_OFFSET, keyBytes, rowBytes);
}

export function catalogPublish(entry: u32, since: u32): i32 {
  return Catalog.publish(entry, since);
}

export function catalogDiscard(entry: u32): void {
  Catalog.discard(entry);
}

/** Says that something is about to change (1), or that all messages of it are sent (0). */
export function catalogAnnounce(value: u32): void {
  Sinval.setInvalidating(me, value);
}

export function catalogInvalidate(catalog: u32, hash: u32): i32 {
  return Catalog.invalidate(catalog, hash);
}

export function catalogInvalidateAll(catalog: u32): i32 {
  return Catalog.invalidateAll(catalog);
}

/** How many messages came, or ST_RESET: then all that is cached must go. */
export function catalogReceive(): i32 {
  return Sinval.receive();
}

/** Backends that hold an entry; for tests and reports. */
export function catalogHolders(entry: u32): u32 {
  let holders: u32 = 0;
  for (let backend = Region.get().backends; backend-- > 0; ) {
    if (load<u8>(Entry.holdOf(backend, entry)) != 0) holders += 1;
  }
  return holders;
}

/** State of an entry, or -1 where none can begin; for tests and reports. */
export function catalogState(entry: u32): i32 {
  return entry < Entry.granules() && Entry.begins(entry) ? <i32>Entry.at(entry).getState() : -1;
}
