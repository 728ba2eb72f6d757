/**
 * The end of a region as after a crash, and its new beginning over the same storage. Ended it is by
 * a status that every backend meets at its next call that waits, takes a lock or reads; the owner
 * then makes a new region, under the same SharedMemory object.
 *
 *   status CRASHED ─► helpers end ─► nobody writes to storage any more ─► new memory ─► storage
 *   back at its last checkpoint ─► helpers start ─► listeners get the handle, and post it on
 *
 * What a backend of the old region still does it does to a memory that nobody looks at any more. To
 * storage it can do nothing (guarded-storage.ts).
 *
 * PostgreSQL: src/backend/postmaster/postmaster.c, HandleFatalError, PostmasterStateMachine
 */

import {
  LIFE_DEAD,
  LIFE_FREE,
  LIFE_STATE_MASK,
  POISON_BITS,
  POISON_LOCK,
  POISON_MASK,
  POISON_REPAIR,
  POISON_REQUESTED,
  POISON_SYNC,
  REGION_POISON_OFFSET,
  REGION_STATUS_OFFSET,
  SLOT_WRITING_OFFSET,
  STATUS_CRASHED,
} from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { SharedMemoryHandle } from "./handle.ts";
import type { RecoveryResult } from "./recovery.ts";
import { warnOnNode } from "./threads.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** How often the owner looks whether somebody still writes. */
const LOOK_MS = 2;
/** How long one write to storage may go on after the region has ended. */
const WRITING_TIMEOUT_MS = 10_000;

/** A region that has begun anew. Post the handle to the workers that shall attach again. */
export interface RegionRestart {
  /** Why the region before ended. */
  readonly reason: string;
  readonly handle: SharedMemoryHandle;
  /** What had to be put back to what the last checkpoint says. */
  readonly recovery: RecoveryResult;
}

/** A region that has ended and stays down. */
export interface RegionDown {
  readonly reason: string;
  /** What kept it from beginning anew; none if restart_after_crash is off. */
  readonly error: Error | undefined;
}

/** A region as it is now, for those who watch over it. @internal */
export interface LiveRegion {
  readonly exports: SharedExports;
  readonly handle: SharedMemoryHandle;
}

/** The owner of a region, as its restart needs it. @internal */
export interface RestartGround {
  /** The present region. */
  region(): LiveRegion;
  /** Backend slots, the owner's included. */
  readonly slots: number;
  /** Whether a region that crashed begins anew. */
  readonly comesBack: boolean;
  isClosed(): boolean;
  /** Ends all helper threads, and waits for that. */
  stopHelpers(): Promise<void>;
  /** Makes a new region over the storage, which becomes the present one. */
  recreate(): RecoveryResult;
  /** Starts them again. */
  startHelpers(): Promise<void>;
}

/** Sees that a region has crashed, and brings it back. @internal */
export class Restarts {
  readonly #ground: RestartGround;
  readonly #restarted = new Set<(restart: RegionRestart) => void>();
  readonly #down = new Set<(down: RegionDown) => void>();
  #words: string | undefined;
  #under: Promise<void> | undefined;
  #isDown = false;

  constructor(ground: RestartGround) {
    this.#ground = ground;
  }

  onRestart(listener: (restart: RegionRestart) => void): () => void {
    this.#restarted.add(listener);
    return () => this.#restarted.delete(listener);
  }

  onDown(listener: (down: RegionDown) => void): () => void {
    this.#down.add(listener);
    return () => this.#down.delete(listener);
  }

  /** Ends the present region, for a reason in the owner's words. */
  poison(reason: string, code: number = POISON_REQUESTED): void {
    if (hasCrashed(this.#ground.region())) return;
    this.#words = reason;
    this.#ground.region().exports.poison(code);
  }

  /** Begins a restart if the region has crashed; one at a time. */
  look(): void {
    if (this.#under !== undefined || this.#isDown || !hasCrashed(this.#ground.region())) return;
    this.#under = this.#restart().finally(() => {
      this.#under = undefined;
    });
  }

  /** Resolves when no restart is under way. */
  async settled(): Promise<void> {
    await this.#under;
  }

  async #restart(): Promise<void> {
    const ground = this.#ground;
    const reason = this.#words ?? reasonOf(ground.region().handle);
    this.#words = undefined;
    // Again: who ended it may have died before everybody was awake.
    ground.region().exports.wakeEverybody();
    try {
      await ground.stopHelpers();
      if (!ground.comesBack) return this.#stayDown({ reason, error: undefined });
      await this.#nobodyWrites();
      if (ground.isClosed()) return;
      const recovery = ground.recreate();
      await ground.startHelpers();
      const { handle } = ground.region();
      for (const listener of this.#restarted) listener({ reason, handle, recovery });
    } catch (error) {
      this.#stayDown({ reason, error: error as Error });
    }
  }

  #stayDown(down: RegionDown): void {
    this.#isDown = true;
    if (this.#down.size === 0) {
      const cause = down.error === undefined ? "" : `: ${down.error.message}`;
      warnOnNode(`shared memory has ended (${down.reason}) and stays down${cause}`);
    }
    for (const listener of this.#down) listener(down);
  }

  /** Waits until no backend is in the middle of a write. @throws 55006 if one does not end */
  async #nobodyWrites(): Promise<void> {
    const deadline = performance.now() + WRITING_TIMEOUT_MS;
    for (;;) {
      const slot = this.#writer();
      if (slot === undefined || this.#ground.isClosed()) return;
      if (performance.now() > deadline) throw stillWriting(slot);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  /** A slot whose backend is changing storage; the dead change nothing. */
  #writer(): number | undefined {
    const { exports, handle } = this.#ground.region();
    const words = new Int32Array(handle.memory.buffer);
    for (let slot = 1; slot < this.#ground.slots; slot += 1) {
      const state = exports.slotLife(slot) & LIFE_STATE_MASK;
      if (state === LIFE_FREE || state === LIFE_DEAD) continue;
      const word = ((exports.slotAddress(slot) >>> 0) + SLOT_WRITING_OFFSET) / WORD_BYTES;
      if (Atomics.load(words, word) !== 0) return slot;
    }
    return undefined;
  }
}

/** Whether a region has ended as after a crash. @internal */
export function hasCrashed({ handle }: LiveRegion): boolean {
  const words = new Int32Array(handle.memory.buffer);
  return Atomics.load(words, REGION_STATUS_OFFSET / WORD_BYTES) === STATUS_CRASHED;
}

/** Why a region was ended, from its header. */
function reasonOf({ memory, waits }: SharedMemoryHandle): string {
  const words = new Int32Array(memory.buffer);
  const word = Atomics.load(words, REGION_POISON_OFFSET / WORD_BYTES) >>> 0;
  const number = word >>> POISON_BITS;
  switch (word & POISON_MASK) {
    case POISON_LOCK:
      return `a backend ended while it held lock "${waits.locks[number] ?? number}"`;
    case POISON_SYNC:
      return "storage could not be made durable";
    case POISON_REPAIR:
      return `what a dead backend held in slot ${number} could not be given back`;
    default:
      return "it was asked for";
  }
}

function stillWriting(slot: number): PallocError {
  const message = `the backend in slot ${slot} is writing to storage since ${WRITING_TIMEOUT_MS} ms`;
  return new PallocError("55006", message, {
    detail: "Recovery must not begin while a write of the region that ended may still come.",
    hint: "End its thread, then create the region anew over the same storage.",
  });
}
