/**
 * Whose pins are whose. Pins and content locks are counted in the hold words of shared memory
 * already, and a hit costs one call into wasm; remembering each of them once more would double
 * that. So nothing is done while pins are taken and given back. When another owner's turn comes,
 * the hold words are looked at, and what has become more since the last look is of the owner whose
 * turn ends:
 *
 *   last look   buffer 3: 1 pin
 *   now         buffer 3: 1 pin, buffer 7: 2 pins, locked    →  two pins on 7 and the lock on it
 *
 * With nothing pinned, which is the rule between two queries, a look is two comparisons.
 *
 * Tasks of one backend that run at the same time as a query are taken to be the query's: they are
 * one session.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, buffer_resowner_desc
 */

import type { BufferPool, LeakedPin } from "../shared/buffers.ts";
import { RELEASE_PRIORITY, type ResourceKind, type ResourceOwner } from "./resource-owner.ts";

/** Pins on one buffer. */
interface Pins {
  readonly page: LeakedPin;
  readonly pins: number;
  readonly locked: boolean;
}

/** Says which owner has which pins. @internal */
export class HeldPins {
  readonly #buffers: BufferPool;
  readonly #kind: ResourceKind<Pins>;
  /** Of the last look. */
  #seen: ReadonlyMap<number, LeakedPin> = new Map();
  readonly #owned = new Map<ResourceOwner, Map<number, Pins>>();

  constructor(buffers: BufferPool) {
    this.#buffers = buffers;
    this.#kind = {
      name: "buffer",
      phase: "beforeLocks",
      priority: RELEASE_PRIORITY.bufferPins,
      release: ({ page, pins, locked }) => buffers.releasePins(page.buffer, pins, locked),
      describe: (pins) => this.#describe(pins),
    };
  }

  /** The turn of an owner ends: what was pinned since the last look is its, or nobody's. */
  settle(owner: ResourceOwner | undefined): void {
    if (this.#seen.size === 0 && !this.#buffers.hasPins()) return;
    const now = this.#now();
    for (const buffer of new Set([...now.keys(), ...this.#seen.keys()])) {
      this.#count(owner, buffer, now.get(buffer));
    }
    this.#seen = now;
  }

  /**
   * The owner ends, and those below it: it remembers its pins, to give them back with all else.
   */
  hand(owner: ResourceOwner): void {
    for (const [each, held] of this.#owned) {
      if (!isWithin(each, owner)) continue;
      for (const pins of held.values()) each.remember(this.#kind, pins);
      this.#owned.delete(each);
    }
  }

  /** An owner has given back what it had, which it was rid of before: nobody has less for it. */
  look(): void {
    if (this.#seen.size > 0) this.#seen = this.#now();
  }

  #now(): ReadonlyMap<number, LeakedPin> {
    return new Map(this.#buffers.leakedPins().map((page) => [page.buffer, page]));
  }

  #count(owner: ResourceOwner | undefined, buffer: number, now: LeakedPin | undefined): void {
    const seen = this.#seen.get(buffer);
    const page = now ?? seen;
    if (page === undefined) return;
    const more = (now?.pins ?? 0) - (seen?.pins ?? 0);
    const locks = now?.locked === true && seen?.locked !== true;
    if (owner !== undefined && (more > 0 || locks))
      this.#add(owner, page, Math.max(more, 0), locks);
    if (now?.locked !== true) this.#forgetLock(buffer);
    for (let left = -more; left > 0; left -= 1) this.#takeOne(owner, buffer);
  }

  #add(owner: ResourceOwner, page: LeakedPin, more: number, locks: boolean): void {
    const held = this.#owned.get(owner) ?? new Map<number, Pins>();
    this.#owned.set(owner, held);
    const { pins, locked } = held.get(page.buffer) ?? { pins: 0, locked: false };
    held.set(page.buffer, { page, pins: pins + more, locked: locked || locks });
  }

  /** One pin less: of this owner, or of whoever has one, the latest first. */
  #takeOne(owner: ResourceOwner | undefined, buffer: number): void {
    const others = [...this.#owned.keys()].reverse();
    for (const each of owner === undefined ? others : [owner, ...others]) {
      const held = this.#owned.get(each);
      const found = held?.get(buffer);
      if (held === undefined || found === undefined || found.pins === 0) continue;
      const left = { ...found, pins: found.pins - 1 };
      if (left.pins === 0 && !left.locked) held.delete(buffer);
      else held.set(buffer, left);
      return;
    }
  }

  #forgetLock(buffer: number): void {
    for (const held of this.#owned.values()) {
      const found = held.get(buffer);
      if (found === undefined || !found.locked) continue;
      if (found.pins === 0) held.delete(buffer);
      else held.set(buffer, { ...found, locked: false });
    }
  }

  /** As DebugPrintBufferRefcount has it. */
  #describe({ page, pins }: Pins): string {
    const { flags, holders } = this.#buffers.stateOf(page.buffer);
    const number = String(page.buffer).padStart(3, "0");
    const where = `rel=${page.relation}, blockNum=${page.block}`;
    return `[${number}] (${where}, flags=0x${flags.toString(16)}, refcount=${holders} ${pins})`;
  }
}

function isWithin(owner: ResourceOwner, ancestor: ResourceOwner): boolean {
  for (let at: ResourceOwner | undefined = owner; at !== undefined; at = at.parent) {
    if (at === ancestor) return true;
  }
  return false;
}
