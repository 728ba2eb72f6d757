/**
 * Which locks of the transaction are of which savepoint: a lock that is taken belongs to the owner
 * of the moment, and goes on to the owner around it when that one ends well. So a rollback to a
 * savepoint gives back what was locked since, and nothing else.
 *
 * A lock is remembered as a text of its tag and mode, once for each acquisition: texts that say the
 * same are the same.
 *
 * PostgreSQL: src/backend/storage/lmgr/lock.c, LockReassignCurrentOwner, LockReleaseCurrentOwner
 */

import type { LockManager } from "../shared/lock-manager.ts";
import type { TagWords } from "../shared/lock-tags.ts";
import type { LockObserver } from "../shared/lock-waits.ts";
import { RELEASE_PRIORITY, type ResourceKind, type ResourceOwner } from "./resource-owner.ts";

/** Says which owner has which locks. @internal */
export class HeldLocks implements LockObserver {
  readonly #locks: LockManager;
  readonly #owner: () => ResourceOwner | undefined;
  readonly #kind: ResourceKind<string>;
  /** An owner gives back what it has forgotten already: that is nobody else's. */
  #isReleasing = false;

  /** @param owner - who owns what is taken now */
  constructor(locks: LockManager, owner: () => ResourceOwner | undefined) {
    this.#locks = locks;
    this.#owner = owner;
    this.#kind = {
      name: "lock",
      phase: "locks",
      priority: RELEASE_PRIORITY.locks,
      handedOn: true,
      release: (lock) => this.#release(lock),
    };
    locks.observe(this);
  }

  taken(words: TagWords, mode: number): void {
    this.#owner()?.remember(this.#kind, textOf(words, mode));
  }

  givenBack(words: TagWords, mode: number): void {
    if (this.#isReleasing) return;
    const lock = textOf(words, mode);
    for (let owner = this.#owner(); owner !== undefined; owner = owner.parent) {
      if (!owner.holds(this.#kind, lock)) continue;
      owner.forget(this.#kind, lock);
      return;
    }
  }

  /** The session ends. */
  close(): void {
    this.#locks.observe(undefined);
  }

  #release(lock: string): void {
    const [field1 = 0, field2 = 0, field3 = 0, rest = 0, mode = 0] = lock.split(" ").map(Number);
    this.#isReleasing = true;
    try {
      this.#locks.releaseTaken([field1, field2, field3, rest], mode);
    } finally {
      this.#isReleasing = false;
    }
  }
}

function textOf(words: TagWords, mode: number): string {
  return [...words, mode].join(" ");
}
