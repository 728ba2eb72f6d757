/**
 * What the owner of a region does when a thread has ended, or a backend says that it has crashed:
 * the slot is marked dead, what it held is given back in wasm (assembly/buffer/reap.ts), listeners
 * are told. A repair that fails ends the region.
 *
 * PostgreSQL: src/backend/postmaster/postmaster.c, HandleChildCrash
 */

import { POISON_BITS, POISON_REPAIR, ST_BUSY } from "../../assembly/common/constants.ts";
import type { StorageManager } from "../storage/manager.ts";
import type { BackendDeath } from "./memory-options.ts";
import { hasCrashed, type LiveRegion } from "./restart.ts";
import { backendRows } from "./statistics.ts";
import { removeTemporaries } from "./temp-relations.ts";

/** A reaper that met a partition lock in use tries again after this. */
const REAP_AGAIN_MS = 1;

/** The owner of a region, as reaping needs it. @internal */
export interface ReapGround {
  /** The present region. */
  region(): LiveRegion;
  readonly slots: number;
  readonly storage: StorageManager;
  isClosed(): boolean;
  /** The token of the thread that watches a slot's for the owner, if any. */
  watcherOf(slot: number): number | undefined;
  poison(reason: string, code: number): void;
}

/** Gives back what the dead held. @internal */
export class Reaper {
  readonly #ground: ReapGround;
  readonly #listeners = new Set<(death: BackendDeath) => void>();

  constructor(ground: ReapGround) {
    this.#ground = ground;
  }

  onDeath(listener: (death: BackendDeath) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A thread has ended, and with it its workers: whatever slots they had are given back. */
  threadEnded(token: number): void {
    const { exports } = this.#ground.region();
    for (const { slot, threadId } of backendRows(exports, this.#ground.slots)) {
      if (threadId === token || this.#ground.watcherOf(slot) === token) this.dead(slot, threadId);
    }
  }

  /** A slot's backend is dead. */
  dead(slot: number, threadId: number): void {
    const region = this.#ground.region();
    if (region.exports.markDead(slot) !== 0) this.#reap(region, slot, threadId);
  }

  /** In a region that has crashed, or is not the present one any more, nothing is worth that. */
  #reap(region: LiveRegion, slot: number, threadId: number): void {
    const ground = this.#ground;
    if (ground.isClosed() || region.exports !== ground.region().exports) return;
    if (hasCrashed(region)) return;
    let status: number;
    try {
      this.#removeTemporaries(slot);
      status = region.exports.reap(slot);
    } catch (error) {
      const why = `what slot ${slot} held could not be given back: ${String(error)}`;
      ground.poison(why, (slot << POISON_BITS) | POISON_REPAIR);
      return;
    }
    if (status === ST_BUSY) {
      setTimeout(() => this.#reap(region, slot, threadId), REAP_AGAIN_MS);
      return;
    }
    for (const listener of this.#listeners) listener({ slot, threadId });
  }

  /** Before the slot is free. What fails here is left to the next backend in it. */
  #removeTemporaries(slot: number): void {
    try {
      removeTemporaries(this.#ground.storage, slot);
    } catch {}
  }
}
