/**
 * What a backend keeps of the catalog for itself: copies of rows, and the knowledge that there is
 * none. A row's bytes are a chunk of CacheMemoryContext; all together are kept below a limit, and
 * what was not used since the hand passed goes first.
 *
 * An entry that is referred to stays as it is when its row changes: it is *dead*, no look-up finds
 * it any more, and its memory goes with the last reference. An entry that is being built is known
 * by a *marker*, so that an invalidation which comes meanwhile is not lost.
 *
 * PostgreSQL: src/backend/utils/cache/catcache.c, CatCacheInvalidate, CatCacheRemoveCTup
 */

import type { ChunkPtr } from "../abi/pointers.ts";
import type { MemoryContext } from "../process/context.ts";
import type { ProcessMemory } from "../process/memory.ts";
import type { MapKey } from "./catalog-keys.ts";

/** What an entry costs besides its row: an estimate of the engine's objects. */
const ENTRY_BYTES = 128;
const CONTEXT_NAME = "CacheMemoryContext";

/** One row, or the absence of one. @internal */
export interface PrivateEntry {
  readonly catalog: number;
  readonly key: MapKey;
  readonly hash: number;
  /** 0 for a negative entry, and for a row without bytes. */
  readonly chunk: ChunkPtr | 0;
  readonly bytes: number;
  readonly negative: boolean;
  /** What the row means, once somebody has asked for it. */
  value: unknown;
  references: number;
  dead: boolean;
  used: boolean;
  /** The next in the list of those of its hash. */
  sameHash: PrivateEntry | undefined;
}

/** An entry that is being built. @internal */
export interface Marker {
  readonly catalog: number;
  readonly hash: number;
  dead: boolean;
}

/** Private entries of all catalogs. @internal */
export class PrivateEntries {
  readonly #memory: ProcessMemory;
  readonly #limit: () => number;
  readonly #catalogs: Map<MapKey, PrivateEntry>[] = [];
  readonly #byHash = new Map<number, PrivateEntry>();
  readonly #markers = new Set<Marker>();
  /** Entries of each catalog that were invalidated. */
  readonly #invalidated: number[] = [];
  #context: MemoryContext | undefined;
  #bytes = 0;
  #count = 0;

  /** @param limit - bytes, as the parameter is now */
  constructor(memory: ProcessMemory, limit: () => number) {
    this.#memory = memory;
    this.#limit = limit;
  }

  /** Bytes of all entries that are found, with an estimate of what the engine adds. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Entries that are found. */
  get count(): number {
    return this.#count;
  }

  /** How many entries of a catalog were invalidated. */
  invalidatedOf(catalog: number): number {
    return this.#invalidated[catalog] ?? 0;
  }

  /** Entries of a catalog, for look-ups: one Map for as long as the backend lives. */
  of(catalog: number): ReadonlyMap<MapKey, PrivateEntry> {
    return this.#map(catalog);
  }

  #map(catalog: number): Map<MapKey, PrivateEntry> {
    const found = this.#catalogs[catalog] ?? new Map<MapKey, PrivateEntry>();
    this.#catalogs[catalog] = found;
    return found;
  }

  /**
   * Makes an entry. Only one that is to be found counts against the limit.
   *
   * @param row - copied; undefined if there is none
   * @param kept - false for one that dies with its reference
   */
  add(
    catalog: number,
    key: MapKey,
    hash: number,
    row: Uint8Array | undefined,
    kept: boolean,
  ): PrivateEntry {
    const bytes = row?.length ?? 0;
    const fits = kept && this.#makeRoom(bytes + ENTRY_BYTES);
    const entry: PrivateEntry = {
      ...{ catalog, key, hash, bytes, chunk: this.#copied(row), negative: row === undefined },
      ...{ value: undefined, references: 0, dead: !fits, used: true, sameHash: undefined },
    };
    if (!fits) return entry;
    const map = this.#map(catalog);
    const older = map.get(key);
    if (older !== undefined) this.remove(older);
    map.set(key, entry);
    entry.sameHash = this.#byHash.get(hash);
    this.#byHash.set(hash, entry);
    this.#bytes += bytes + ENTRY_BYTES;
    this.#count += 1;
    return entry;
  }

  #copied(row: Uint8Array | undefined): ChunkPtr | 0 {
    if (row === undefined || row.length === 0) return 0;
    this.#context ??= this.#memory.top.createChild(CONTEXT_NAME);
    const chunk = this.#context.alloc(row.length);
    this.#memory.u8.set(row, chunk);
    return chunk;
  }

  /** A row's bytes, where they are: valid until process memory grows, as long as it is held. */
  bytesOf({ chunk, bytes }: PrivateEntry): Uint8Array {
    return this.#memory.u8.subarray(chunk, chunk + bytes);
  }

  /** A reference is given back. */
  release(entry: PrivateEntry): void {
    entry.references -= 1;
    if (entry.dead && entry.references === 0) this.#free(entry);
  }

  /** Has an entry no longer found; its memory goes now or with its last reference. */
  remove(entry: PrivateEntry): void {
    if (entry.dead) return;
    this.#map(entry.catalog).delete(entry.key);
    this.#unlist(entry);
    entry.dead = true;
    this.#bytes -= entry.bytes + ENTRY_BYTES;
    this.#count -= 1;
    if (entry.references === 0) this.#free(entry);
  }

  #unlist(entry: PrivateEntry): void {
    let at = this.#byHash.get(entry.hash);
    if (at === entry) {
      if (entry.sameHash === undefined) this.#byHash.delete(entry.hash);
      else this.#byHash.set(entry.hash, entry.sameHash);
      return;
    }
    while (at !== undefined && at.sameHash !== entry) at = at.sameHash;
    if (at !== undefined) at.sameHash = entry.sameHash;
  }

  #free(entry: PrivateEntry): void {
    if (entry.chunk !== 0 && this.#context?.closed === false) this.#memory.free(entry.chunk);
  }

  /** The second chance: what was used since the last round stays, at the end of its Map. */
  #makeRoom(bytes: number): boolean {
    const limit = this.#limit();
    if (bytes > limit) return false;
    for (let round = 0; round < 2 && this.#bytes + bytes > limit; round += 1) {
      for (const map of this.#catalogs) this.#sweep(map, limit - bytes);
    }
    return this.#bytes + bytes <= limit;
  }

  #sweep(map: Map<MapKey, PrivateEntry> | undefined, limit: number): void {
    for (const entry of map?.values() ?? []) {
      if (this.#bytes <= limit) return;
      if (entry.used || entry.references > 0) entry.used = false;
      else this.remove(entry);
    }
  }

  // ── Invalidating ───────────────────────────────────────────────────────────────────────────────

  /** Of one hash: also of other keys that have it, which is a loss and no mistake. */
  invalidate(catalog: number, hash: number): void {
    for (let at = this.#byHash.get(hash); at !== undefined; ) {
      const next = at.sameHash;
      if (at.catalog === catalog) this.#outdated(at);
      at = next;
    }
    for (const marker of this.#markers) {
      if (marker.catalog === catalog && marker.hash === hash) marker.dead = true;
    }
  }

  /** Of one catalog, or of all. */
  invalidateAll(catalog?: number): void {
    for (const [number, map] of this.#catalogs.entries()) {
      if (map === undefined || (catalog !== undefined && number !== catalog)) continue;
      for (const entry of [...map.values()]) this.#outdated(entry);
    }
    for (const marker of this.#markers) {
      if (catalog === undefined || marker.catalog === catalog) marker.dead = true;
    }
  }

  #outdated(entry: PrivateEntry): void {
    this.#invalidated[entry.catalog] = this.invalidatedOf(entry.catalog) + 1;
    this.remove(entry);
  }

  /** An entry is being built from now on. */
  mark(catalog: number, hash: number): Marker {
    const marker = { catalog, hash, dead: false };
    this.#markers.add(marker);
    return marker;
  }

  /** It is no longer. @returns whether nothing has invalidated it */
  unmark(marker: Marker): boolean {
    this.#markers.delete(marker);
    return !marker.dead;
  }
}
