/**
 * Locks of the user whose owner has died and that say `call`: their listeners put right what the
 * lock guards, and only then may the next have it. Until then the owner of the region holds it.
 *
 * PostgreSQL: none; there a crash of one ends all.
 */

import { POISON_BITS, POISON_LOCK, ST_DRAIN } from "../../assembly/common/constants.ts";
import { ON_DEATH_CALL } from "../../assembly/common/lock-constants.ts";
import { hasCrashed, type LiveRegion } from "./restart.ts";

/** As it stands in the word: the owner of the region, slot 0. */
const REAPER = 1;
const LOOK_MS = 1;

/** A lock whose owner ended, or detached, without giving it back. */
export interface LockOwnerDeath {
  /** Name of the lock. */
  readonly lock: string;
}

/** Puts right what a lock guards. The lock is held until it returns, or its promise settles. */
export type LockDeathListener = (death: LockOwnerDeath) => unknown;

/** What the owner of a region does for such locks. @internal */
export class LockDeaths {
  readonly #region: () => LiveRegion;
  readonly #poison: (reason: string, code: number) => void;
  readonly #listeners = new Set<LockDeathListener>();
  /** Locks whose listeners are at work, of the region in that memory. */
  readonly #under = new WeakMap<object, Set<number>>();

  constructor(region: () => LiveRegion, poison: (reason: string, code: number) => void) {
    this.#region = region;
    this.#poison = poison;
  }

  onDeath(listener: LockDeathListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Looks for locks that were left to the owner of the region, and has them put right. */
  look(): void {
    const region = this.#region();
    const { handle, exports } = region;
    const under = this.#under.get(handle.memory) ?? new Set<number>();
    this.#under.set(handle.memory, under);
    handle.waits.locks.forEach((_, lock) => {
      if (under.has(lock) || exports.lwlockOwner(lock) !== REAPER) return;
      if (exports.lwlockPolicy(lock) !== ON_DEATH_CALL) return;
      under.add(lock);
      void this.#settle(region, lock).finally(() => under.delete(lock));
    });
  }

  async #settle(region: LiveRegion, lock: number): Promise<void> {
    const { exports, handle } = region;
    const name = handle.waits.locks[lock] ?? "";
    // The dead one may have been waiting for share holders still: they look at what it guards.
    while (exports.lwlockDrain(lock) === ST_DRAIN) {
      exports.sleep(0);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    if (hasCrashed(region)) return;
    const code = (lock << POISON_BITS) | POISON_LOCK;
    const died = `a backend ended while it held lock "${name}"`;
    if (this.#listeners.size === 0) return this.#poison(`${died}, and nobody listens`, code);
    try {
      for (const listener of this.#listeners) await listener({ lock: name });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return this.#poison(`${died}, and its listener failed: ${why}`, code);
    }
    exports.lwlockRelease(lock);
  }
}
