/**
 * Heavyweight locks of one backend: on relations, pages, tuples, transactions, objects and numbers,
 * in PostgreSQL's eight modes, granted in PostgreSQL's order.
 *
 * A backend is one session: what it holds belongs to it and not to its tasks, and never excludes
 * itself. Locks are counted: each acquisition is given back once.
 *
 * PostgreSQL: src/backend/storage/lmgr/lock.c, lmgr.c
 */

import { ST_NOT_AVAILABLE, ST_OK } from "../../assembly/common/constants.ts";
import { LEVEL_SESSION, LEVEL_TRANSACTION } from "../../assembly/common/lock-constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import { AdvisoryLocks, type LockGround } from "./advisory-locks.ts";
import { notAvailable } from "./lock-errors.ts";
import { type LockMode, type LockTag, modeNumbers, type TagWords, wordsOf } from "./lock-tags.ts";
import type { LockRow, LockViews } from "./lock-views.ts";
import type { LockObserver, LockRequest } from "./lock-waits.ts";

/** Who gives a lock back: the session, or the end of the transaction. */
export type LockLevel = "session" | "transaction";

/** How a lock is taken. */
export interface LockOptions {
  /** Default session. */
  readonly level?: LockLevel;
  /** Whether a lock that is not free is an error (55P03) instead of a wait. Default false. */
  readonly noWait?: boolean;
  /** Milliseconds to wait at most; 0 for ever. Default: the parameter `lock_timeout`. */
  readonly timeout?: number;
}

/** As {@link LockOptions}, for calls that do not block. */
export interface AsyncLockOptions extends LockOptions {
  /** Gives up waiting, with 57014. */
  readonly signal?: CancelSignal;
}

const NO_WAIT = 2;
const levels: Readonly<Record<LockLevel, number>> = {
  session: LEVEL_SESSION,
  transaction: LEVEL_TRANSACTION,
};
const EVERY_LEVEL = (1 << LEVEL_SESSION) | (1 << LEVEL_TRANSACTION);

/** A lock that a backend holds, once. */
export class HeldLock {
  readonly tag: LockTag;
  readonly mode: LockMode;
  readonly level: LockLevel;
  readonly #manager: LockManager;
  #released = false;

  /** @internal */
  constructor(manager: LockManager, tag: LockTag, mode: LockMode, level: LockLevel) {
    this.#manager = manager;
    this.tag = tag;
    this.mode = mode;
    this.level = level;
  }

  /** Gives this acquisition back. Idempotent. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#manager.releaseSync(this.tag, this.mode, { level: this.level });
  }

  /** {@link release}. */
  [Symbol.dispose](): void {
    this.release();
  }
}

/** The heavyweight locks of one backend. */
export class LockManager extends AdvisoryLocks {
  readonly #views: LockViews;

  /** @internal */
  constructor(ground: LockGround, views: LockViews) {
    super(ground);
    this.#views = views;
  }

  /**
   * Takes a lock. May block the thread. A thread that owns the region waits five seconds at most.
   *
   * @throws {@link LockError} 55P03 if it is not to be had with `noWait`, or not in time; 53200 if
   *   the lock table is full: then nothing is held
   * @throws {@link DeadlockError} 40P01 if to wait would be a deadlock
   * @see PostgreSQL: src/backend/storage/lmgr/lock.c, LockAcquireExtended
   * @example
   * using lock = backend.locks.acquireSync({ type: "object", classid: 1, objid: 7 }, "ShareLock");
   */
  acquireSync(tag: LockTag, mode: LockMode, options: LockOptions = {}): HeldLock {
    const request = this.#request(tag, mode, options);
    const status = this.ground.runSync(this.ground.waits.acquire(request));
    if (status === ST_NOT_AVAILABLE) throw notAvailable(request.words);
    return new HeldLock(this, tag, mode, options.level ?? "session");
  }

  /** As {@link acquireSync}, without blocking the thread. A pending wait keeps a process alive. */
  async acquire(tag: LockTag, mode: LockMode, options: AsyncLockOptions = {}): Promise<HeldLock> {
    const request = this.#request(tag, mode, options);
    const status = await this.ground.run(this.ground.waits.acquire(request), options.signal);
    if (status === ST_NOT_AVAILABLE) throw notAvailable(request.words);
    return new HeldLock(this, tag, mode, options.level ?? "session");
  }

  /** Takes a lock if it is free; undefined if not. Does not wait. */
  tryAcquireSync(
    tag: LockTag,
    mode: LockMode,
    options: Pick<LockOptions, "level"> = {},
  ): HeldLock | undefined {
    const request = this.#request(tag, mode, { ...options, noWait: true });
    const status = this.ground.runSync(this.ground.waits.acquire(request));
    if (status === ST_NOT_AVAILABLE) return undefined;
    return new HeldLock(this, tag, mode, options.level ?? "session");
  }

  /**
   * Gives back one acquisition of a mode at a level. False, with a warning, if it is not held so.
   */
  releaseSync(tag: LockTag, mode: LockMode, options: Pick<LockOptions, "level"> = {}): boolean {
    const level = levels[options.level ?? "session"];
    return this.#release(wordsOf(tag), mode, level);
  }

  #release(words: TagWords, mode: LockMode, level: number): boolean {
    const { waits } = this.ground;
    const released = this.ground.runSync(waits.release(words, numberOf(mode), level));
    if (!released) this.ground.warn(`you don't own a lock of type ${mode}`);
    return released;
  }

  /** Gives back all locks of a level, however often taken; without a level, all there are. */
  releaseAll(level?: LockLevel): void {
    const mask = level === undefined ? EVERY_LEVEL : 1 << levels[level];
    this.ground.runSync(this.ground.waits.releaseAll(mask, 0));
  }

  // ── Numbers in, nothing out: for hot loops ─────────────────────────────────────────────────────

  /**
   * Takes a lock on a relation by its number. One call into wasm if it need not wait. May block the
   * thread. Throws as {@link acquireSync}.
   */
  lockRelationSync(relation: number, mode: LockMode, level: LockLevel = "session"): void {
    const flags = levels[level] | NO_WAIT;
    const status = this.ground.exports().lockRelation(relation, numberOf(mode), flags);
    if (status >= ST_OK) {
      if (level === "transaction") this.#took(relation, mode);
      if (status === ST_OK) this.ground.waits.acquired();
      return;
    }
    const request = this.#request({ type: "relation", relation }, mode, { level });
    this.ground.runSync(this.ground.waits.acquire(request));
  }

  /** Gives back what {@link lockRelationSync} took; false, with a warning, if it is not held. */
  unlockRelationSync(relation: number, mode: LockMode, level: LockLevel = "session"): boolean {
    const exports = this.ground.exports();
    const status = exports.unlockRelation(relation, numberOf(mode), levels[level]);
    if (status !== ST_OK) return this.releaseSync({ type: "relation", relation }, mode, { level });
    if (level === "transaction") {
      this.ground.waits.observer?.givenBack(
        wordsOf({ type: "relation", relation }),
        numberOf(mode),
      );
    }
    return true;
  }

  #took(relation: number, mode: LockMode): void {
    const words = wordsOf({ type: "relation", relation });
    this.ground.waits.took(words, numberOf(mode), LEVEL_TRANSACTION);
  }

  // ── Transactions ───────────────────────────────────────────────────────────────────────────────

  /** Has somebody told of each lock of the transaction; undefined ends it. @internal */
  observe(observer: LockObserver | undefined): void {
    this.ground.waits.observer = observer;
  }

  /** Gives back one lock of the transaction that the observer was told of. @internal */
  releaseTaken(words: TagWords, mode: number): void {
    this.ground.runSync(this.ground.waits.release(words, mode, LEVEL_TRANSACTION));
  }

  // ── Seeing ─────────────────────────────────────────────────────────────────────────────────────

  /**
   * The rows of `pg_locks`: all locks that any backend holds or waits for, at one moment but for
   * those on fast paths, which are looked at first.
   */
  rows(): LockRow[] {
    return this.ground.runSync(this.#views.rows());
  }

  /**
   * `pg_blocking_pids()`: who holds, or waits before it for, what a thread's backend waits for.
   *
   * @param pid - of the waiting backend, as in pg_locks
   */
  blockingPids(pid: number): number[] {
    return this.ground.runSync(this.#views.blockingPids(pid));
  }

  #request(tag: LockTag, mode: LockMode, options: LockOptions): LockRequest {
    const { level = "session", noWait = false, timeout = this.ground.timeout } = options;
    if (!(timeout >= 0)) throw new RangeError(`a timeout of 0 ms or more, not ${timeout}`);
    return { words: wordsOf(tag), mode: numberOf(mode), level: levels[level], noWait, timeout };
  }
}

function numberOf(mode: LockMode): number {
  const number = modeNumbers[mode];
  if (number === undefined) throw new TypeError(`no mode of locks: ${String(mode)}`);
  return number;
}
