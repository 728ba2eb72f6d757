/**
 * Portals: queries under way. Each has a context for what it needs, an owner for what it holds, and
 * a name under which it is found. A query that is done at once has one for that time; a cursor
 * keeps it from one fetch to the next.
 *
 *   TopPortalContext
 *   └── PortalContext           ident: the portal's name, `<unnamed>` without one
 *       └── ExecutorState       one run
 *
 * When a transaction fails the portals' resources go at once, and what is below their contexts; the
 * portals themselves are there, as failed, until the rollback.
 *
 * PostgreSQL: src/backend/utils/mmgr/portalmem.c
 */

import { PallocError } from "../abi/errors.ts";
import type { MemoryContext } from "../process/context.ts";
import type { ProcessMemory } from "../process/memory.ts";
import { ALLOCSET_SMALL_SIZES } from "../process/sizes.ts";
import type { Ending, ResourceOwner } from "./resource-owner.ts";

/** Where a portal is in its life. */
export type PortalStatus = "ready" | "active" | "done" | "failed";

/** A query under way. @internal */
export interface Portal {
  readonly name: string;
  readonly context: MemoryContext;
  /** Undefined once a failed transaction has taken it. */
  owner: ResourceOwner | undefined;
  status: PortalStatus;
  /** Nesting level of the transaction that it dies with if that is rolled back. */
  level: number;
  /** Ends what runs in the portal; called once. */
  cleanup: (() => void) | undefined;
  /** Makes what is left, so that the portal can stay without its transaction; called once. */
  persist: (() => void) | undefined;
}

/** The level of a portal that no transaction ends. */
const HELD = 0;

/** The portals of a session. @internal */
export class Portals {
  readonly #memory: ProcessMemory;
  readonly #settle: (owner: ResourceOwner) => void;
  readonly #top: MemoryContext;
  readonly #portals = new Map<string, Portal>();

  /** @param settle - has an owner remember what it took, before it gives back */
  constructor(memory: ProcessMemory, settle: (owner: ResourceOwner) => void) {
    this.#memory = memory;
    this.#settle = settle;
    this.#top = memory.top.createChild("TopPortalContext");
  }

  /** How many there are. */
  get size(): number {
    return this.#portals.size;
  }

  /** Makes a portal. @throws {@link PallocError} 42P03 if there is one of that name */
  create(name: string, owner: ResourceOwner, level: number): Portal {
    if (this.#portals.has(name)) {
      owner.delete();
      throw new PallocError("42P03", `cursor "${name}" already exists`);
    }
    const context = this.#top.createChild("PortalContext", ALLOCSET_SMALL_SIZES);
    context.ident = name === "" ? "<unnamed>" : name;
    const status = "ready";
    const ends = { cleanup: undefined, persist: undefined };
    const portal: Portal = { name, context, owner, status, level, ...ends };
    this.#portals.set(name, portal);
    return portal;
  }

  /** The portal of a name, or undefined. */
  find(name: string): Portal | undefined {
    return this.#portals.get(name);
  }

  /**
   * Ends a portal.
   *
   * @param ending - how, for what its owner holds; undefined if the transaction's end sees to that
   */
  drop(portal: Portal, ending: Ending | undefined, failed: (error: unknown) => void): void {
    this.#cleanUp(portal, failed);
    this.#portals.delete(portal.name);
    const { owner } = portal;
    if (ending !== undefined && owner !== undefined) {
      this.#settle(owner);
      owner.releaseAll(ending);
    }
    portal.owner = undefined;
    dispose(portal.context, failed);
  }

  /**
   * The transaction is about to commit: portals that are to be held make their rows, and give back
   * what they have. What that throws is thrown: the transaction fails.
   *
   * @returns whether there were any
   * @see PostgreSQL: src/backend/utils/mmgr/portalmem.c, HoldPortal
   */
  hold(ending: Ending): boolean {
    let any = false;
    for (const portal of this.#portals.values()) {
      const { persist, owner } = portal;
      if (persist === undefined || owner === undefined) continue;
      portal.persist = undefined;
      persist();
      this.#cleanUp(portal, ending.failed);
      this.#settle(owner);
      owner.releaseAll(ending);
      portal.owner = undefined;
      portal.level = HELD;
      any = true;
    }
    return any;
  }

  /** The transaction commits: its portals end, their resources with the transaction's. */
  beforeCommit(failed: (error: unknown) => void): void {
    for (const portal of [...this.#portals.values()]) {
      if (portal.level !== HELD) this.drop(portal, undefined, failed);
    }
  }

  /** A savepoint is released: its portals are of the level around it. */
  handOn(level: number, owner: ResourceOwner): void {
    for (const portal of this.#portals.values()) {
      if (portal.level < level) continue;
      portal.level = level - 1;
      portal.owner?.moveTo(owner);
    }
  }

  /** The transaction fails, from a level inwards: what its portals need is gone. */
  abort(level: number, failed: (error: unknown) => void): void {
    for (const portal of this.#portals.values()) {
      if (portal.level < level) continue;
      this.#cleanUp(portal, failed);
      portal.status = "failed";
      portal.owner = undefined;
      for (const child of portal.context.children()) dispose(child, failed);
    }
  }

  /** After {@link abort}: the portals themselves go. */
  cleanUp(level: number, failed: (error: unknown) => void): void {
    for (const portal of [...this.#portals.values()]) {
      if (portal.level >= level) this.drop(portal, undefined, failed);
    }
  }

  /** The session ends. */
  close(failed: (error: unknown) => void): void {
    dispose(this.#top, failed);
  }

  #cleanUp(portal: Portal, failed: (error: unknown) => void): void {
    const { cleanup } = portal;
    portal.cleanup = undefined;
    const before = this.#memory.current;
    try {
      cleanup?.();
    } catch (error) {
      failed(error);
    } finally {
      if (!before.closed) this.#memory.switchTo(before);
    }
  }
}

/** Deletes a context, however many of its callbacks throw. @internal */
export function dispose(context: MemoryContext, failed: (error: unknown) => void): void {
  // Each round that throws takes a callback away.
  while (!context.closed) {
    try {
      context.delete();
    } catch (error) {
      failed(error);
    }
  }
}

/** Resets a context, however many of its callbacks throw. @internal */
export function clear(context: MemoryContext, failed: (error: unknown) => void): void {
  for (let done = false; !done; ) {
    try {
      context.reset();
      done = true;
    } catch (error) {
      failed(error);
    }
  }
}
