/**
 * References into the catalog cache as a session has them: a query or transaction remembers those
 * it takes, and gives back, after its locks, what is left. What it has changed is told before.
 *
 * PostgreSQL: src/backend/utils/cache/catcache.c, catcache_resowner_desc; src/backend/access/
 * transam/xact.c, AtEOXact_Inval
 */

import type { CatalogCache } from "../shared/catalog.ts";
import type {
  CacheReference,
  ReferenceKeeper,
  ReferenceOwner,
} from "../shared/catalog-reference.ts";
import { RELEASE_PRIORITY, type ResourceKind, type ResourceOwner } from "./resource-owner.ts";
import type { TransactionEvent } from "./transactions.ts";

type Reference = CacheReference<unknown>;

const kind: ResourceKind<Reference> = {
  name: "catcache reference",
  phase: "afterLocks",
  priority: RELEASE_PRIORITY.cacheReferences,
  release: (reference) => reference.giveBack(),
  describe: (reference) => {
    const { catalog, keyText, count } = reference;
    return `cache ${catalog.name} (${catalog.number}), tuple ${keyText} has count ${count}`;
  },
};

/** What the references and changes of one session need to know of it. @internal */
export interface SessionState {
  /** Levels of the transaction under way; 0 outside one. */
  readonly depth: number;
  /** Who owns what is taken now. */
  readonly owner: ResourceOwner | undefined;
}

/** Ties a catalog cache to the transactions of a session. @internal */
export class CacheReferences implements ReferenceKeeper {
  readonly #catalog: CatalogCache;
  readonly #state: () => SessionState;
  readonly #owners = new WeakMap<ResourceOwner, ReferenceOwner>();

  constructor(catalog: CatalogCache, state: () => SessionState) {
    this.#catalog = catalog;
    this.#state = state;
    catalog.bind(this);
  }

  inTransaction(): boolean {
    return this.#state().depth > 0;
  }

  remember(reference: Reference): ReferenceOwner | undefined {
    const { owner } = this.#state();
    if (owner === undefined) return undefined;
    owner.remember(kind, reference);
    const known = this.#owners.get(owner);
    if (known !== undefined) return known;
    const made = { forget: (each: Reference): void => owner.forget(kind, each) };
    this.#owners.set(owner, made);
    return made;
  }

  /** A transaction comes to its end: whether it commits or not, pages it has changed stay so. */
  onTransaction(event: TransactionEvent): void {
    if (event === "beforeLocks" || event === "abort") this.#catalog.tellPending();
  }

  /** The session ends. */
  close(): void {
    this.#catalog.bind(undefined);
  }
}
