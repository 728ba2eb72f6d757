/**
 * Locks of the user: named when the region is created, for as short or as long as the user likes,
 * shared by many backends or one's alone. Nothing detects a deadlock among them; a backend that
 * takes several keeps an order of its own.
 *
 * A lock is held by a backend, not by a task of it. A promise form waits for another task that has
 * it; a synchronous call would wait for itself, and throws.
 *
 * PostgreSQL: src/backend/storage/lmgr/lwlock.c
 */

import {
  ST_ALREADY_LOCKED,
  ST_BUSY,
  ST_DRAIN,
  ST_FREED,
  ST_OK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import {
  LWLOCK_FREE,
  ON_DEATH_CALL,
  ON_DEATH_POISON,
  ON_DEATH_RELEASE,
} from "../../assembly/common/lock-constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import { PallocError } from "../abi/errors.ts";
import type { Attachment } from "./attachment.ts";
import { HELD, type Routine, SLEEP } from "./routine.ts";

/** How a lock is held: beside others who only look, or alone. */
export type LightweightLockMode = "shared" | "exclusive";

/**
 * What it means that a backend ended, or detached, holding a lock exclusively.
 * - `release`: the next may have it; what it guards is right at every moment;
 * - `poison`: what it guards may be half changed; the region ends, and begins anew at its last
 *   checkpoint;
 * - `call`: listeners of the region's owner put it right before the next may have it; see
 *   {@link SharedMemory.onLockOwnerDeath}.
 */
export type OnOwnerDeath = "release" | "poison" | "call";

/** A lock asked for at the creation of a region. */
export interface LightweightLockOptions {
  /** Default `release`. */
  readonly onOwnerDeath?: OnOwnerDeath;
}

/** Policies as wasm knows them. @internal */
export const onDeathCodes: Readonly<Record<OnOwnerDeath, number>> = {
  release: ON_DEATH_RELEASE,
  poison: ON_DEATH_POISON,
  call: ON_DEATH_CALL,
};

/** What a promise form may be given. */
export interface LockWaitOptions {
  /** Gives up at the next wait, with 57014. */
  readonly signal?: CancelSignal;
}

/** What locks, conditions and latches need of their backend. @internal */
export interface WaitGround {
  readonly attachment: Attachment;
  runSync<Result>(routine: Routine<Result>): Result;
  run<Result>(routine: Routine<Result>, signal?: CancelSignal): Promise<Result>;
}

/** A lock that is held until it is released or its scope ends. */
export class HeldLightweightLock {
  readonly mode: LightweightLockMode;
  readonly #lock: LightweightLock;
  readonly #turn: number;

  /** @internal */
  constructor(lock: LightweightLock, mode: LightweightLockMode, turn: number) {
    this.#lock = lock;
    this.mode = mode;
    this.#turn = turn;
  }

  /** Whether the lock is still held by way of this object. */
  get isHeld(): boolean {
    return this.#lock.isTurn(this.#turn);
  }

  /** Gives the lock back. Idempotent: what is held anew since then stays. */
  [Symbol.dispose](): void {
    if (this.isHeld) this.#lock.release();
  }
}

/** One of the region's named locks, for one backend. */
export class LightweightLock {
  readonly name: string;
  readonly #index: number;
  readonly #ground: WaitGround;
  readonly #attachment: Attachment;
  #heldAs: LightweightLockMode | undefined;
  /** How often it was taken. Not the last taker: that would keep an object for each. */
  #turn = 0;

  /** @internal */
  constructor(name: string, index: number, ground: WaitGround) {
    this.name = name;
    this.#index = index;
    this.#ground = ground;
    this.#attachment = ground.attachment;
  }

  /** How this backend holds the lock. */
  get heldAs(): LightweightLockMode | undefined {
    return this.#heldAs;
  }

  /** Whether the lock is held since it was taken that often. @internal */
  isTurn(turn: number): boolean {
    return this.#turn === turn && this.#heldAs !== undefined;
  }

  /**
   * Takes the lock; waits as long as others hold it.
   *
   * @param mode - default `exclusive`
   * @throws {@link PallocError} 55000 if this backend holds it, in either mode
   * @throws {@link BufferError} 55P03 after 5 s on the thread that owns the region
   * @see PostgreSQL: src/backend/storage/lmgr/lwlock.c, LWLockAcquire
   */
  acquireSync(mode: LightweightLockMode = "exclusive"): HeldLightweightLock {
    const status = this.#take(mode);
    if (status !== ST_OK) this.#acquireSlowly(mode, status);
    return this.#nowHeld(mode);
  }

  #acquireSlowly(mode: LightweightLockMode, status: number): void {
    if (status === ST_ALREADY_LOCKED) throw this.#heldAlready();
    this.#ground.runSync(this.#taken(mode, status));
  }

  /** As {@link acquireSync}, without blocking the thread; waits for other tasks, too. */
  async acquire(
    mode: LightweightLockMode = "exclusive",
    { signal }: LockWaitOptions = {},
  ): Promise<HeldLightweightLock> {
    return await this.#ground.run(this.#acquired(mode), signal);
  }

  *#acquired(mode: LightweightLockMode): Routine<HeldLightweightLock> {
    yield* this.#taken(mode, this.#take(mode));
    return this.#nowHeld(mode);
  }

  /**
   * Takes the lock if it is free.
   *
   * @throws {@link PallocError} 55000 if this backend holds it
   * @see PostgreSQL: src/backend/storage/lmgr/lwlock.c, LWLockConditionalAcquire
   */
  tryAcquire(mode: LightweightLockMode = "exclusive"): HeldLightweightLock | undefined {
    const { exports } = this.#attachment;
    const status =
      mode === "shared"
        ? exports.lwlockShareNow(this.#index)
        : exports.lwlockExclusiveNow(this.#index);
    if (status === ST_BUSY) return undefined;
    if (status === ST_ALREADY_LOCKED) throw this.#heldAlready();
    this.#attachment.check(status);
    return this.#nowHeld(mode);
  }

  /**
   * Takes the lock exclusively if it is free; else waits until it was free for a moment, and takes
   * nothing. For work that one does for all: who had to wait finds it done.
   *
   * @see PostgreSQL: src/backend/storage/lmgr/lwlock.c, LWLockAcquireOrWait
   */
  acquireOrWaitSync(): HeldLightweightLock | undefined {
    this.#mustNotHold();
    return this.#ground.runSync(this.#takenOrFree());
  }

  /** As {@link acquireOrWaitSync}, without blocking the thread. */
  async acquireOrWait({ signal }: LockWaitOptions = {}): Promise<HeldLightweightLock | undefined> {
    return await this.#ground.run(this.#takenOrFree(), signal);
  }

  /**
   * Gives the lock back.
   *
   * @throws {@link PallocError} 55000 if this backend does not hold it
   * @see PostgreSQL: src/backend/storage/lmgr/lwlock.c, LWLockRelease
   */
  release(): void {
    if (this.#heldAs === undefined) throw this.#notHeld();
    this.#heldAs = undefined;
    let status = ST_OK;
    try {
      status = this.#attachment.exports.lwlockRelease(this.#index);
    } catch (error) {
      // A backend that is gone has given everything back.
      if (!this.#attachment.closed) throw error;
    }
    if (status !== ST_OK) throw this.#notHeld();
  }

  #take(mode: LightweightLockMode): number {
    const { exports } = this.#attachment;
    return mode === "shared"
      ? exports.lwlockShare(this.#index)
      : exports.lwlockExclusive(this.#index);
  }

  #nowHeld(mode: LightweightLockMode): HeldLightweightLock {
    this.#heldAs = mode;
    this.#turn += 1;
    return new HeldLightweightLock(this, mode, this.#turn);
  }

  /** Goes on from the first attempt until the lock is held. */
  *#taken(mode: LightweightLockMode, first: number): Routine<void> {
    const { exports } = this.#attachment;
    let status = first;
    let owned = false;
    try {
      while (status !== ST_OK) {
        owned = status === ST_DRAIN;
        if (status === ST_WAIT || owned) yield SLEEP;
        else if (status === ST_ALREADY_LOCKED) yield HELD;
        else this.#attachment.check(status);
        status = owned ? exports.lwlockDrain(this.#index) : this.#take(mode);
      }
      owned = false;
    } finally {
      if (owned) this.#giveUp();
    }
  }

  *#takenOrFree(): Routine<HeldLightweightLock | undefined> {
    const { exports } = this.#attachment;
    for (let tenure = 0; ; ) {
      const status = exports.lwlockOrWait(this.#index, tenure);
      if (status === ST_OK) return this.#nowHeld("exclusive");
      if (status === ST_FREED) return undefined;
      if (status === ST_DRAIN) {
        yield* this.#drained();
        return undefined;
      }
      if (status === ST_ALREADY_LOCKED) yield HELD;
      else if (status === ST_WAIT) yield SLEEP;
      else {
        tenure = this.#attachment.check(status);
        yield SLEEP;
      }
    }
  }

  /** The word is ours, the lock is not yet: waits for share holders, and gives it back. */
  *#drained(): Routine<void> {
    const { exports } = this.#attachment;
    try {
      do yield SLEEP;
      while (exports.lwlockDrain(this.#index) === ST_DRAIN);
    } finally {
      this.#giveUp();
    }
  }

  /** Given up while share holders were waited for: the owner word is taken already. */
  #giveUp(): void {
    const { attachment } = this.#ground;
    if (!attachment.closed) attachment.exports.lwlockRelease(this.#index);
  }

  #mustNotHold(): void {
    this.#attachment.mustBeOpen();
    if (this.#attachment.exports.lwlockMode(this.#index) !== LWLOCK_FREE) {
      throw this.#heldAlready();
    }
  }

  #heldAlready(): PallocError {
    return new PallocError("55000", `lock "${this.name}" is held by this backend already`, {
      hint: "Release it first; a lock is held once, in one mode.",
    });
  }

  #notHeld(): PallocError {
    return new PallocError("55000", `lock "${this.name}" is not held`);
  }
}
