/**
 * References into the catalog cache: who has one may rely on the value he was given, whatever
 * becomes of the row meanwhile.
 *
 * PostgreSQL: src/backend/utils/cache/catcache.c, ReleaseCatCache
 */

import type { Catalog } from "./catalog.ts";
import type { PrivateEntry } from "./catalog-entries.ts";

/** Who remembers references and says whether a transaction is under way: a session. @internal */
export interface ReferenceKeeper {
  inTransaction(): boolean;
  /** @returns who has to be told when it is given back */
  remember(reference: CacheReference<unknown>): ReferenceOwner | undefined;
}

/** Who has remembered a reference. @internal */
export interface ReferenceOwner {
  forget(reference: CacheReference<unknown>): void;
}

/** An entry that is in use: its value stays as it is until this is released. */
export class CacheReference<Value> {
  readonly catalog: Catalog<Value>;
  readonly value: Value;
  /** Undefined once it is given back. */
  #entry: PrivateEntry | undefined;
  #owner: ReferenceOwner | undefined;

  /** @internal */
  constructor(
    catalog: Catalog<Value>,
    entry: PrivateEntry,
    value: Value,
    keeper: ReferenceKeeper | undefined,
  ) {
    this.catalog = catalog;
    this.value = value;
    this.#entry = entry;
    entry.references += 1;
    this.#owner = keeper?.remember(this as CacheReference<unknown>);
  }

  /** Whether the row has changed: another look-up gives another value. */
  get dead(): boolean {
    return this.#entry?.dead ?? true;
  }

  /** The keys, as a warning shows them. @internal */
  get keyText(): string {
    return String(this.#entry?.key);
  }

  /** References to the entry, this one included. @internal */
  get count(): number {
    return this.#entry?.references ?? 0;
  }

  /** Gives the entry back. Idempotent. */
  release(): void {
    this.#owner?.forget(this as CacheReference<unknown>);
    this.giveBack();
  }

  /** {@link release}, by the owner who has remembered it. @internal */
  giveBack(): void {
    const entry = this.#entry;
    if (entry === undefined) return;
    this.#entry = undefined;
    this.#owner = undefined;
    this.catalog.giveBack(entry);
  }

  /** {@link release}. */
  [Symbol.dispose](): void {
    this.release();
  }
}
