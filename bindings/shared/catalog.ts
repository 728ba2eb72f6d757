/**
 * The catalog cache: rows that describe things, found by their keys. A row is looked for in the
 * backend's own entries, then in those that all backends share, and then read by the function that
 * the catalog was registered with; what was read is kept in both.
 *
 * Entries are right for whoever holds the lock under which the row is changed:
 *
 *   who changes    takes the lock · says which row (`invalidate`) · changes it · commits: messages
 *                  are sent, then locks released
 *   who looks      takes a lock that excludes the other: messages are received · looks
 *
 * Without such a lock an entry may be as old as the start of the statement. A change of a page
 * stands whether its transaction commits or not; so a rollback sends the same messages.
 *
 * PostgreSQL: src/backend/utils/cache/catcache.c, syscache.c, inval.c
 */

import { PallocError } from "../abi/errors.ts";
import type { ProcessMemory } from "../process/memory.ts";
import type { Attachment } from "./attachment.ts";
import { PrivateEntries, type PrivateEntry } from "./catalog-entries.ts";
import { type CatalogKey, type MapKey, mapKeyOf } from "./catalog-keys.ts";
import { CacheReference, type ReferenceKeeper } from "./catalog-reference.ts";
import { CatalogRing, type Invalidation } from "./catalog-ring.ts";
import type { Routine } from "./routine.ts";
import type { SettingValues } from "./settings.ts";

const KILOBYTE = 1024;
const MOST_KEYS = 4;
/** A row that changes as often as this while it is read is not kept. */
const TRIES = 16;

/** How rows of a catalog are found and read. */
export interface CatalogDefinition<Value = Uint8Array> {
  /** Kinds of the keys, one to four. */
  readonly keys: readonly ("number" | "string")[];
  /** Reads a row; undefined if there is none. May look into catalogs, take locks, and wait. */
  loadSync(...keys: readonly CatalogKey[]): Uint8Array | undefined;
  /** As `loadSync`, for {@link Catalog.find}. Default: `loadSync`. */
  load?(...keys: readonly CatalogKey[]): Promise<Uint8Array | undefined>;
  /** What a row means, made once an entry. Default: a copy of its bytes. */
  decode?(row: Uint8Array): Value;
}

/** What was looked up in a catalog, as PostgreSQL counts it with CATCACHE_STATS. */
export interface CatalogStatistics {
  /** Found among the backend's own entries. */
  readonly hits: number;
  /** Found there that there is no such row. */
  readonly negativeHits: number;
  /** Found, or found to be none, among the entries that all backends share. */
  readonly sharedHits: number;
  /** Rows read by `loadSync` or `load`. */
  readonly loads: number;
  /** Times that these found no row, which is remembered too. */
  readonly negativeLoads: number;
  /** Own entries that went because their row had changed. */
  readonly invalidations: number;
}

/** What catalogs of a backend have in common. @internal */
export interface CatalogGround {
  readonly ring: CatalogRing;
  readonly entries: PrivateEntries;
  /** What has to be sent at the end of the transaction. */
  readonly pending: Pending;
  /** Of the session that there is at the moment. */
  keeper: ReferenceKeeper | undefined;
}

/** Changes that a transaction has announced. @internal */
export class Pending {
  readonly #all: Invalidation[] = [];

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  has(catalog: number, hash: number): boolean {
    return this.#all.some(
      (each) => each.catalog === catalog && (each.hash === undefined || each.hash === hash),
    );
  }

  add(message: Invalidation): void {
    const { catalog, hash } = message;
    if (hash === undefined || !this.has(catalog, hash)) this.#all.push(message);
  }

  /** Takes all out. */
  take(): Invalidation[] {
    return this.#all.splice(0);
  }
}

/** Rows of one kind. */
export class Catalog<Value> {
  readonly name: string;
  /** The same in all backends of the region. */
  readonly number: number;
  readonly #definition: CatalogDefinition<Value>;
  readonly #ground: CatalogGround;
  readonly #entries: ReadonlyMap<MapKey, PrivateEntry>;
  readonly #isSingle: boolean;
  #hits = 0;
  #negativeHits = 0;
  #sharedHits = 0;
  #loads = 0;
  #negativeLoads = 0;

  /** @internal */
  constructor(name: string, definition: CatalogDefinition<Value>, ground: CatalogGround) {
    this.name = name;
    this.number = ground.ring.register(name);
    this.#definition = definition;
    this.#ground = ground;
    this.#entries = ground.entries.of(this.number);
    this.#isSingle = definition.keys.length === 1;
  }

  /**
   * What this backend has looked up so far.
   *
   * @see PostgreSQL: src/backend/utils/cache/catcache.c, CatCachePrintStats
   */
  get statistics(): CatalogStatistics {
    return {
      hits: this.#hits,
      negativeHits: this.#negativeHits,
      sharedHits: this.#sharedHits,
      loads: this.#loads,
      negativeLoads: this.#negativeLoads,
      invalidations: this.#ground.entries.invalidatedOf(this.number),
    };
  }

  /**
   * Finds a row. Undefined if there is none. May read it, and so wait; a hit makes no call into
   * wasm. Within a session the reference belongs to the query or transaction under way.
   *
   * @throws what the definition's `loadSync` throws; TypeError for keys of other kinds
   * @see PostgreSQL: src/backend/utils/cache/syscache.c, SearchSysCache
   * @example
   * using table = tables.findSync("flights");
   * if (table !== undefined) scan(table.value.columns);
   */
  findSync(...keys: readonly CatalogKey[]): CacheReference<Value> | undefined {
    const [first] = keys;
    // Of one key there is nothing to be made; one of another kind is found nowhere.
    const known = keys.length === 1 && this.#isSingle ? this.#entries.get(first ?? "") : undefined;
    if (known !== undefined) return this.#refer(this.#hit(known));
    const key = mapKeyOf(this.#definition.keys, keys);
    const own = this.#entries.get(key);
    return this.#refer(own === undefined ? this.#missSync(key, keys) : this.#hit(own));
  }

  /**
   * As {@link findSync}, for who wants the value alone: nothing has to be given back, since the
   * value is an object of the engine's and stays as it is, whatever becomes of the row.
   */
  valueSync(...keys: readonly CatalogKey[]): Value | undefined {
    const [first] = keys;
    const known = keys.length === 1 && this.#isSingle ? this.#entries.get(first ?? "") : undefined;
    if (known === undefined || known.value === undefined) {
      using reference = this.findSync(...keys);
      return reference?.value;
    }
    known.used = true;
    this.#hits += 1;
    return known.value as Value;
  }

  /** As {@link findSync}, without blocking the thread while the row is read. */
  async find(...keys: readonly CatalogKey[]): Promise<CacheReference<Value> | undefined> {
    const key = mapKeyOf(this.#definition.keys, keys);
    const own = this.#entries.get(key);
    return this.#refer(own === undefined ? await this.#miss(key, keys) : this.#hit(own));
  }

  /**
   * Finds and holds a row among the entries that all backends share: numbers in, a number out, for
   * hot loops over keys of one or more numbers. One call into wasm; reads nothing.
   *
   * @returns the entry, 0 or more, for {@link releaseShared}; below 0 if it is not there
   */
  holdShared(one: number, two = 0, three = 0, four = 0): number {
    const { length } = this.#definition.keys;
    return this.#ground.ring.hold(this.number, length, one, two, three, four);
  }

  /** Gives back what {@link holdShared} holds. */
  releaseShared(entry: number): void {
    this.#ground.ring.release(entry);
  }

  #hit(entry: PrivateEntry): PrivateEntry {
    if (entry.negative) this.#negativeHits += 1;
    else this.#hits += 1;
    return entry;
  }

  #refer(entry: PrivateEntry): CacheReference<Value> | undefined {
    entry.used = true;
    if (entry.negative) return undefined;
    return new CacheReference(this, entry, this.#valueOf(entry), this.#ground.keeper);
  }

  #valueOf(entry: PrivateEntry): Value {
    if (entry.value === undefined) {
      const bytes = this.#ground.entries.bytesOf(entry);
      const { decode } = this.#definition;
      entry.value = decode === undefined ? bytes.slice() : decode(bytes);
    }
    return entry.value as Value;
  }

  /** @internal */
  giveBack(entry: PrivateEntry): void {
    this.#ground.entries.release(entry);
  }

  // ── Misses ─────────────────────────────────────────────────────────────────────────────────────

  #missSync(key: MapKey, keys: readonly CatalogKey[]): PrivateEntry {
    const known = this.#shared(key, keys);
    if (typeof known !== "number") return known;
    for (let tries = 1; ; tries += 1) {
      const building = this.#begin(known);
      const row = this.#building(building, () => this.#definition.loadSync(...keys));
      const entry = this.#built({ ...building, key, keys, row, last: tries === TRIES });
      if (entry !== undefined) return entry;
    }
  }

  async #miss(key: MapKey, keys: readonly CatalogKey[]): Promise<PrivateEntry> {
    const known = this.#shared(key, keys);
    if (typeof known !== "number") return known;
    const { load, loadSync } = this.#definition;
    for (let tries = 1; ; tries += 1) {
      const building = this.#begin(known);
      let row: Uint8Array | undefined;
      try {
        row = await (load === undefined ? loadSync(...keys) : load(...keys));
      } catch (error) {
        this.#ground.entries.unmark(building.marker);
        throw error;
      }
      const entry = this.#built({ ...building, key, keys, row, last: tries === TRIES });
      if (entry !== undefined) return entry;
    }
  }

  /** The entry, from the shared cache; or the hash of the keys, if it has to be read. */
  #shared(key: MapKey, keys: readonly CatalogKey[]): PrivateEntry | number {
    const { ring, entries, pending } = this.#ground;
    const found = ring.find(this.number, keys);
    const hash = ring.lastHash;
    if (found === undefined) return hash;
    // What this transaction changes it sees as it is, and nobody else is to see it from here.
    if (pending.has(this.number, hash)) return hash;
    this.#sharedHits += 1;
    return entries.add(this.number, key, hash, found.row, true);
  }

  #begin(hash: number): Building {
    const { ring, entries } = this.#ground;
    return { hash, since: ring.begin(), marker: entries.mark(this.number, hash) };
  }

  #building<Row>({ marker }: Building, load: () => Row): Row {
    try {
      return load();
    } catch (error) {
      this.#ground.entries.unmark(marker);
      throw error;
    }
  }

  /** Keeps what was read; undefined if it changed meanwhile. */
  #built({ hash, since, marker, key, keys, row, last }: Built): PrivateEntry | undefined {
    const { ring, entries, pending } = this.#ground;
    if (row === undefined) this.#negativeLoads += 1;
    else this.#loads += 1;
    const stands = entries.unmark(marker);
    const own = pending.has(this.number, hash);
    if (!own && !last && !stands) return undefined;
    const known = !own && stands && ring.publish(this.number, keys, row, since);
    if (!known && !own && !last) return undefined;
    return entries.add(this.number, key, hash, row, known);
  }

  // ── Changes ────────────────────────────────────────────────────────────────────────────────────

  /**
   * Says that the row of these keys is about to change, or to come, or to go: before it does, and
   * under the lock that keeps others from relying on it. In a transaction of a session everybody is
   * told at its end, before its locks are released, whether it commits or not; until then this
   * backend reads the row anew each time. Outside one everybody is told at once: then call it after
   * the change, or use {@link changeSync}.
   *
   * @see PostgreSQL: src/backend/utils/cache/inval.c, CacheInvalidateHeapTuple
   */
  invalidate(...keys: readonly CatalogKey[]): void {
    mapKeyOf(this.#definition.keys, keys);
    this.#invalidate({ catalog: this.number, hash: this.#ground.ring.hashOf(this.number, keys) });
  }

  /** {@link invalidate} for all rows. */
  invalidateAll(): void {
    this.#invalidate({ catalog: this.number, hash: undefined });
  }

  #invalidate(message: Invalidation): void {
    const { ring, keeper, pending } = this.#ground;
    if (keeper?.inTransaction() !== true) {
      this.#drop(message);
      ring.send(message);
      return;
    }
    ring.announce(true);
    pending.add(message);
    this.#drop(message);
  }

  #drop({ hash }: Invalidation): void {
    const { entries } = this.#ground;
    if (hash === undefined) entries.invalidateAll(this.number);
    else entries.invalidate(this.number, hash);
  }

  /**
   * Runs `change`, which changes the row of these keys, and tells everybody: afterwards, or at the
   * end of the transaction. If this backend dies in between all caches are emptied.
   */
  changeSync<Result>(keys: readonly CatalogKey[], change: () => Result): Result {
    const { ring, keeper, pending } = this.#ground;
    if (keeper?.inTransaction() === true) {
      this.invalidate(...keys);
      return change();
    }
    ring.announce(true);
    try {
      return change();
    } finally {
      this.invalidate(...keys);
      ring.announce(!pending.isEmpty);
    }
  }
}

interface Building {
  readonly hash: number;
  readonly since: number;
  readonly marker: ReturnType<PrivateEntries["mark"]>;
}

interface Built extends Building {
  readonly key: MapKey;
  readonly keys: readonly CatalogKey[];
  readonly row: Uint8Array | undefined;
  /** Whether to make do with it though it changes all the time. */
  readonly last: boolean;
}

/** What a {@link CatalogCache} needs. @internal */
export interface CatalogCacheParts {
  readonly attachment: Attachment;
  readonly memory: ProcessMemory;
  readonly values: SettingValues;
  runSync<Result>(routine: Routine<Result>): Result;
}

/** The catalogs of one backend. */
export class CatalogCache {
  readonly #ground: CatalogGround;
  readonly #catalogs = new Map<string, Catalog<never>>();
  readonly #listeners = new Set<(catalog: string | undefined) => void>();

  /** @internal */
  constructor({ attachment, memory, values, runSync }: CatalogCacheParts) {
    const limit = (): number => values.catalog_cache_private_size * KILOBYTE;
    const entries = new PrivateEntries(memory, limit);
    const ring = new CatalogRing(attachment, runSync, {
      invalidate: (message) => this.#apply(message),
      reset: () => this.#reset(),
    });
    this.#ground = { ring, entries, pending: new Pending(), keeper: undefined };
  }

  /**
   * Makes a catalog known to this backend. All backends that name it share its entries, so their
   * definitions must read the same rows.
   *
   * @param name - 1 to 63 bytes of UTF-8; a region has 64 catalogs at most
   * @throws {@link PallocError} 42710 if this backend has it, 54000 if the region has too many
   */
  register<Value = Uint8Array>(name: string, definition: CatalogDefinition<Value>): Catalog<Value> {
    const { length } = definition.keys;
    if (length < 1 || length > MOST_KEYS) {
      throw new RangeError(`a catalog has 1 to ${MOST_KEYS} keys, not ${length}`);
    }
    if (this.#catalogs.has(name)) {
      throw new PallocError("42710", `catalog "${name}" already exists in this backend`);
    }
    const catalog = new Catalog(name, definition, this.#ground);
    this.#catalogs.set(name, catalog as Catalog<never>);
    return catalog;
  }

  /**
   * Receives what others have changed. By itself at the start of a statement of a session, after a
   * heavyweight lock was taken, and in the event loop when this backend has fallen behind.
   *
   * @see PostgreSQL: src/backend/utils/cache/inval.c, AcceptInvalidationMessages
   */
  accept(): void {
    this.#ground.ring.receive();
  }

  /**
   * Calls `listener` when rows of a catalog have changed; without a name, perhaps of any. It must
   * not throw. @returns takes it back
   */
  onInvalidation(listener: (catalog: string | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Entries of this backend's own, and their bytes, those of objects estimated. */
  get privateUse(): { readonly entries: number; readonly bytes: number } {
    const { count, bytes } = this.#ground.entries;
    return { entries: count, bytes };
  }

  /** From now on a session's transactions decide when changes are told. @internal */
  bind(keeper: ReferenceKeeper | undefined): void {
    this.#ground.keeper = keeper;
  }

  /** Tells what a transaction has changed; it is about to release its locks. @internal */
  tellPending(): void {
    if (this.#ground.pending.isEmpty) return;
    for (const message of this.#ground.pending.take()) this.#ground.ring.send(message);
    this.#ground.ring.announce(false);
  }

  #apply({ catalog, hash }: Invalidation): void {
    if (hash === undefined) this.#ground.entries.invalidateAll(catalog);
    else this.#ground.entries.invalidate(catalog, hash);
    if (this.#listeners.size === 0) return;
    for (const { name, number } of this.#catalogs.values())
      if (number === catalog) this.#tell(name);
  }

  #reset(): void {
    this.#ground.entries.invalidateAll();
    this.#tell(undefined);
  }

  #tell(name: string | undefined): void {
    for (const listener of this.#listeners) listener(name);
  }
}
