/**
 * Who gives back what is not memory: pins, locks, references into caches, files. A query or a
 * transaction remembers in its owner what it takes, and whatever is still there at its end is given
 * back, also when an error has torn through the code that would have done so.
 *
 * Owners form a tree with the lifetimes of the contexts:
 *
 *   TopTransaction
 *   ├── Portal               a query of the transaction itself
 *   └── SubTransaction       a savepoint
 *       └── Portal
 *
 * An owner ends in three phases, those below it first in each: what others must not see any more
 * once locks are gone, then the locks, then what is nobody else's business. In each phase kinds go
 * in the order of their priorities, and of one kind the latest first. At a commit everything
 * should have been given back before; what is left is told, in PostgreSQL's words, and given back.
 * At a rollback nothing is told.
 *
 * PostgreSQL reserves room first (ResourceOwnerEnlarge), so that remembering cannot fail; here it
 * is an array of the engine's.
 *
 * PostgreSQL: src/backend/utils/resowner/resowner.c, src/include/utils/resowner.h
 */

import { PallocError } from "../abi/errors.ts";

/** When a kind of resource is given back. */
export type ReleasePhase = "beforeLocks" | "locks" | "afterLocks";

/** What a kind of resource is, and how one is given back. */
export interface ResourceKind<Resource> {
  /** As a warning calls it. */
  readonly name: string;
  readonly phase: ReleasePhase;
  /** Within its phase the lowest goes first; see {@link RELEASE_PRIORITY}. */
  readonly priority: number;
  /** Gives one back. What it throws is thrown when everything else has been given back. */
  release(resource: Resource): void;
  /** One in a warning. Default: its kind and its text. */
  describe?(resource: Resource): string;
  /**
   * Whether a query or savepoint that ends well hands it to the transaction around it, as it hands
   * on locks. Default false: then it is a leak.
   */
  readonly handedOn?: boolean;
}

/** PostgreSQL's priorities of kinds. */
export const RELEASE_PRIORITY = {
  /** Before locks. */
  bufferPins: 200,
  relationReferences: 300,
  sharedSegments: 400,
  /** Locks. */
  locks: 100,
  /** After locks. */
  cacheReferences: 100,
  cacheListReferences: 200,
  snapshots: 500,
  files: 600,
} as const;

/** How the life ended that an owner belongs to. @internal */
export interface Ending {
  readonly isCommit: boolean;
  /** Whether the whole transaction ends. */
  readonly isTopLevel: boolean;
  /** Gets the warnings of a commit. */
  warn(message: string): void;
  /** Gets what releasing threw. */
  failed(error: unknown): void;
}

interface Remembered {
  readonly kind: ResourceKind<never>;
  readonly resource: unknown;
}

/** What a query, a savepoint or a transaction has to give back. */
export class ResourceOwner {
  /** TopTransaction, SubTransaction or Portal. */
  readonly name: string;
  #parent: ResourceOwner | undefined;
  /** The newest first. */
  #children: ResourceOwner[] = [];
  #resources: Remembered[] = [];
  #releasing = false;

  /** @internal */
  constructor(name: string, parent?: ResourceOwner) {
    this.name = name;
    this.#parent = parent;
    if (parent !== undefined) parent.#children.unshift(this);
  }

  /** The owner that this one's life is part of. */
  get parent(): ResourceOwner | undefined {
    return this.#parent;
  }

  /** How many resources are remembered here, those of owners below not counted. */
  get size(): number {
    return this.#resources.length;
  }

  /**
   * Remembers a resource that was just taken. Constant time.
   *
   * @throws {@link PallocError} XX000 once the owner gives back
   * @see PostgreSQL: src/backend/utils/resowner/resowner.c, ResourceOwnerRemember
   */
  remember<Resource>(kind: ResourceKind<Resource>, resource: Resource): void {
    if (this.#releasing) throw misuse("ResourceOwnerRemember called after release started");
    this.#resources.push({ kind: kind as ResourceKind<never>, resource });
  }

  /**
   * Forgets a resource that is given back: the latest that is the same. Looks from the end.
   *
   * @throws {@link PallocError} XX000 if it is not remembered here, or the owner gives back
   * @see PostgreSQL: src/backend/utils/resowner/resowner.c, ResourceOwnerForget
   */
  forget<Resource>(kind: ResourceKind<Resource>, resource: Resource): void {
    if (this.#releasing) {
      throw misuse(`ResourceOwnerForget called for ${kind.name} after release started`);
    }
    const index = this.#resources.findLastIndex((each) => isOf(each, kind, resource));
    if (index < 0) {
      throw misuse(`${describe(kind, resource)} is not owned by resource owner ${this.name}`);
    }
    this.#resources.splice(index, 1);
  }

  /** Whether a resource is remembered here. Looks from the end. */
  holds<Resource>(kind: ResourceKind<Resource>, resource: Resource): boolean {
    return this.#resources.findLastIndex((each) => isOf(each, kind, resource)) >= 0;
  }

  /** Gives back everything, here and below, in all phases. @internal */
  releaseAll(ending: Ending): void {
    for (const phase of ["beforeLocks", "locks", "afterLocks"] as const) {
      this.release(phase, ending);
    }
    this.delete();
  }

  /**
   * Gives back what belongs to one phase, below first.
   *
   * @see PostgreSQL: src/backend/utils/resowner/resowner.c, ResourceOwnerReleaseInternal
   * @internal
   */
  release(phase: ReleasePhase, ending: Ending): void {
    for (const child of [...this.#children]) child.release(phase, ending);
    this.#releasing = true;
    const due = this.#resources.filter(({ kind }) => kind.phase === phase).reverse();
    this.#resources = this.#resources.filter(({ kind }) => kind.phase !== phase);
    due.sort((one, other) => one.kind.priority - other.kind.priority);
    for (const { kind, resource } of due) this.#giveBack(kind, resource as never, ending);
  }

  /** Ends the owner and those below it, which have nothing left. @internal */
  delete(): void {
    for (const child of [...this.#children]) child.delete();
    this.#unlink();
  }

  /** Puts the owner below another one. @internal */
  moveTo(parent: ResourceOwner): void {
    this.#unlink();
    this.#parent = parent;
    parent.#children.unshift(this);
  }

  #unlink(): void {
    const parent = this.#parent;
    if (parent === undefined) return;
    parent.#children.splice(parent.#children.indexOf(this), 1);
    this.#parent = undefined;
  }

  #giveBack<Resource>(kind: ResourceKind<Resource>, resource: Resource, ending: Ending): void {
    const { isCommit, isTopLevel } = ending;
    const parent = this.#parent;
    if (kind.handedOn === true && isCommit && !isTopLevel && parent !== undefined) {
      parent.#resources.push({ kind: kind as ResourceKind<never>, resource });
      return;
    }
    try {
      if (isCommit && kind.handedOn !== true) {
        ending.warn(`resource was not closed: ${describe(kind, resource)}`);
      }
      kind.release(resource);
    } catch (error) {
      ending.failed(error);
    }
  }
}

function isOf<Resource>(
  each: Remembered,
  kind: ResourceKind<Resource>,
  resource: Resource,
): boolean {
  return each.resource === resource && each.kind === (kind as ResourceKind<never>);
}

function describe<Resource>(kind: ResourceKind<Resource>, resource: Resource): string {
  return kind.describe?.(resource) ?? `${kind.name} ${String(resource)}`;
}

function misuse(message: string): PallocError {
  return new PallocError("XX000", message);
}
