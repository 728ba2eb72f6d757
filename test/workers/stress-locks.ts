// What one thread of a stress test does to locks, by chance: heavyweight ones on the fast path and
// past it, in weak modes and strong, one or several, in orders that entangle; advisory ones of the
// session and of the transaction; the user's own locks with each of the three meanings of a death.
//
// Whoever has a lock marks it (stress-words.ts), so that two who have what excludes each other are
// noticed. What the user's locks guard is two words that are equal whenever the lock is free.

import type {
  Backend,
  HeldLock,
  LightweightLockOptions,
  LockMode,
  LockTag,
} from "../../bindings/index.ts";
import type { Random } from "../support/random.ts";
import type { Board, Life } from "./stress-words.ts";

/** The user's locks of the region. */
export const USER_LOCKS: Readonly<Record<string, LightweightLockOptions>> = {
  released: { onOwnerDeath: "release" },
  precious: { onOwnerDeath: "poison" },
  called: { onOwnerDeath: "call" },
};
/** The condition variable of the region. */
export const NEWS = "news";
/** What the locks guard: two words for each that can be half changed, and one that cannot. */
export const GUARDED = "guarded";
export const GUARDED_BYTES = 64;
/** First of the two words under a lock. */
export const WORDS_OF: Readonly<Record<string, number>> = { precious: 0, called: 2 };
const COUNTER = 4;

/** Relations that are locked and have no pages: the first three share a class of strong flags. */
const RELATIONS = [9001, 9002, 9003, 9004] as const;
const TAGS: readonly LockTag[] = [
  ...RELATIONS.map((relation): LockTag => ({ type: "relation", relation })),
  { type: "page", relation: 9001, page: 1 },
  { type: "tuple", relation: 9001, page: 1, tuple: 2 },
  { type: "object", classid: 1, objid: 7 },
  { type: "transactionid", transactionid: 77 },
];
const ADVISORY = [7n, 8n, [1, 2]] as const;
const FIRST_ADVISORY = TAGS.length;
const FIRST_USER_LOCK = FIRST_ADVISORY + ADVISORY.length;
const MODES: readonly LockMode[] = [
  "AccessShareLock",
  "RowShareLock",
  "RowExclusiveLock",
  "ShareUpdateExclusiveLock",
  "ShareLock",
  "ShareRowExclusiveLock",
  "ExclusiveLock",
  "AccessExclusiveLock",
];
const WEAK_MODES = 3;
const [ALL, EXCLUSIVE, SHARE, ANY] = [8, 7, 5, 1];
/** Less than a backend's share of the table, so that it is never full. */
const MANY_LOCKS = 40;
/** Errors that a wait for a lock may end in; what is held stays held. */
const REFUSALS: readonly (string | undefined)[] = ["40P01", "55P03"];

/** One thread's work with locks. */
export interface LockLoadOptions extends Life {
  readonly backend: Backend;
  readonly board: Board;
  readonly random: Random;
}

/** An operation, and how often it is done. */
export type Lot = readonly [times: number, operation: () => void];

export class LockLoad {
  readonly #backend: Backend;
  readonly #board: Board;
  readonly #me: Life;
  readonly #random: Random;
  readonly #guarded: Int32Array;

  constructor({ backend, board, party, life, random }: LockLoadOptions) {
    this.#backend = backend;
    this.#board = board;
    this.#me = { party, life };
    this.#random = random;
    this.#guarded = backend.segment(GUARDED).words;
  }

  lots(): readonly Lot[] {
    return [
      [120, () => this.#weak()],
      [30, () => this.#weakTwice()],
      [40, () => this.#one()],
      [30, () => this.#upgrade()],
      [60, () => this.#entangle()],
      [20, () => this.#impatient()],
      [10, () => this.#many()],
      [40, () => this.#advisory()],
      [30, () => this.#advisoryXact()],
      [40, () => this.#released()],
      [30, () => this.#pair("precious")],
      [20, () => this.#pair("called")],
      [20, () => this.#look()],
      [10, () => this.#news()],
      [2, () => void this.#backend.locks.rows()],
    ];
  }

  get #locks(): Backend["locks"] {
    return this.#backend.locks;
  }

  /** Works while a lock is held and marked. */
  #marked(key: number, mode: number, work: () => void): void {
    this.#board.enter(this.#me, key, mode);
    work();
    this.#board.leave(this.#me, key, mode);
  }

  // ── Heavyweight locks ──────────────────────────────────────────────────────────────────────────

  #weak(): void {
    const index = this.#random.below(RELATIONS.length);
    const relation = RELATIONS[index] as number;
    const mode = this.#random.between(1, WEAK_MODES);
    const level = this.#random.below(4) === 0 ? "transaction" : "session";
    this.#locks.lockRelationSync(relation, nameOf(mode), level);
    this.#marked(index, mode, () => {});
    if (level === "transaction") this.#locks.releaseAll("transaction");
    else this.#mustHave(this.#locks.unlockRelationSync(relation, nameOf(mode)));
  }

  #weakTwice(): void {
    const index = this.#random.below(RELATIONS.length);
    const [low, high] = [1, this.#random.between(1, WEAK_MODES)];
    using _first = this.#locks.acquireSync(tagOf(index), nameOf(low));
    this.#board.enter(this.#me, index, low);
    const second = this.#tryTo(() => this.#locks.acquireSync(tagOf(index), nameOf(high)));
    if (second !== undefined && high !== low) this.#marked(index, high, () => {});
    second?.release();
    this.#board.leave(this.#me, index, low);
  }

  /** Any lock in any mode; a third of them only if it is free. */
  #one(): void {
    const [index, mode] = this.#anyLock();
    const noWait = this.#random.below(3) === 0;
    const held = noWait
      ? this.#locks.tryAcquireSync(tagOf(index), nameOf(mode))
      : this.#locks.acquireSync(tagOf(index), nameOf(mode));
    if (held === undefined) return;
    this.#marked(index, mode, () => {});
    held.release();
  }

  /** A weaker mode, then a stronger: two who do that at one time are a deadlock. */
  #upgrade(): void {
    const [index] = this.#anyLock();
    const low = this.#random.between(1, SHARE);
    const high = this.#random.between(low + 1, ALL);
    const first = this.#locks.acquireSync(tagOf(index), nameOf(low));
    this.#board.enter(this.#me, index, low);
    const second = this.#tryTo(() => this.#locks.acquireSync(tagOf(index), nameOf(high)));
    if (second !== undefined) this.#marked(index, high, () => {});
    this.#board.leave(this.#me, index, low);
    second?.release();
    first.release();
  }

  /** Two or three locks in whatever order; gives up what is a deadlock. */
  #entangle(): void {
    const held: [HeldLock, index: number, mode: number][] = [];
    for (let count = this.#random.between(2, 3); count > 0; count -= 1) {
      const [index, mode] = this.#anyLock();
      if (held.some(([, other]) => other === index)) continue;
      const lock = this.#tryTo(() => this.#locks.acquireSync(tagOf(index), nameOf(mode)));
      if (lock === undefined) break;
      this.#board.enter(this.#me, index, mode);
      held.push([lock, index, mode]);
    }
    for (const [, index, mode] of held) this.#board.leave(this.#me, index, mode);
    if (this.#random.below(2) === 0) for (const [lock] of held) lock.release();
    else this.#locks.releaseAll("session");
  }

  #impatient(): void {
    const [index, mode] = this.#anyLock();
    const timeout = this.#random.between(1, 3);
    const tag = tagOf(index);
    const held = this.#tryTo(() => this.#locks.acquireSync(tag, nameOf(mode), { timeout }));
    if (held === undefined) return;
    this.#marked(index, mode, () => {});
    held.release();
  }

  /** A part of the lock table, which is given back at once. */
  #many(): void {
    const level = this.#random.below(2) === 0 ? "session" : "transaction";
    for (let count = 0; count < MANY_LOCKS; count += 1) {
      const objid = this.#me.life * MANY_LOCKS + count;
      const tag: LockTag = { type: "object", classid: 2, objid };
      this.#locks.acquireSync(tag, "ExclusiveLock", { level });
    }
    this.#locks.releaseAll(level);
  }

  #anyLock(): [index: number, mode: number] {
    return [this.#random.below(TAGS.length), this.#random.between(ANY, ALL)];
  }

  // ── Advisory locks ─────────────────────────────────────────────────────────────────────────────

  #advisory(): void {
    const index = this.#random.below(ADVISORY.length);
    const key = ADVISORY[index] as bigint;
    const locks = this.#locks;
    const kind = this.#random.below(3);
    if (kind === 0) {
      locks.advisoryLockSync(key);
      this.#marked(FIRST_ADVISORY + index, EXCLUSIVE, () => {});
      this.#mustHave(locks.advisoryUnlock(key));
    } else if (kind === 1) {
      locks.advisoryLockSharedSync(key);
      this.#marked(FIRST_ADVISORY + index, SHARE, () => {});
      this.#mustHave(locks.advisoryUnlockShared(key));
    } else if (locks.tryAdvisoryLock(key)) {
      this.#marked(FIRST_ADVISORY + index, EXCLUSIVE, () => {});
      locks.advisoryUnlockAll();
    }
  }

  #advisoryXact(): void {
    const index = this.#random.below(ADVISORY.length);
    const key = ADVISORY[index] as bigint;
    const shared = this.#random.below(2) === 0;
    if (shared) this.#locks.advisoryXactLockSharedSync(key);
    else this.#locks.advisoryXactLockSync(key);
    this.#marked(FIRST_ADVISORY + index, shared ? SHARE : EXCLUSIVE, () => {});
    this.#locks.releaseAll("transaction");
  }

  // ── The user's own ─────────────────────────────────────────────────────────────────────────────

  #released(): void {
    const lock = this.#backend.lwlock("released");
    const shared = this.#random.below(3) === 0;
    const mode = shared ? "shared" : "exclusive";
    const held = this.#random.below(3) === 0 ? lock.tryAcquire(mode) : lock.acquireSync(mode);
    if (held === undefined) return;
    const words = this.#guarded;
    this.#marked(keyOfLock("released"), shared ? ANY : ALL, () => {
      const seen = Atomics.load(words, COUNTER);
      if (!shared) Atomics.store(words, COUNTER, seen + 1);
      else if (seen !== Atomics.load(words, COUNTER)) throw new Error("it changed while shared");
    });
    lock.release();
  }

  /** Two words, half changed for a moment. */
  #pair(name: "precious" | "called"): void {
    const lock = this.#backend.lwlock(name);
    const orWait = this.#random.below(4) === 0;
    const held = orWait ? lock.acquireOrWaitSync() : lock.acquireSync();
    if (held === undefined) return;
    this.#marked(keyOfLock(name), ALL, () => {
      const next = this.#mustBeEqual(name) + 1;
      const at = WORDS_OF[name] as number;
      Atomics.store(this.#guarded, at, next);
      for (let spin = this.#random.below(100_000); spin > 0; spin -= 1)
        Atomics.load(this.#guarded, 0);
      Atomics.store(this.#guarded, at + 1, next);
    });
    lock.release();
  }

  #look(): void {
    const name = this.#random.below(2) === 0 ? "precious" : "called";
    const lock = this.#backend.lwlock(name);
    lock.acquireSync("shared");
    this.#marked(keyOfLock(name), ANY, () => void this.#mustBeEqual(name));
    lock.release();
  }

  #mustBeEqual(name: "precious" | "called"): number {
    const at = WORDS_OF[name] as number;
    const [one, two] = [Atomics.load(this.#guarded, at), Atomics.load(this.#guarded, at + 1)];
    if (one !== two) throw new Error(`what "${name}" guards is half changed: ${one}, ${two}`);
    return one;
  }

  #news(): void {
    const news = this.#backend.conditionVariable(NEWS);
    const kind = this.#random.below(4);
    if (kind < 2) news.waitUntilSync(() => false, { timeout: 1 });
    else if (kind === 2) news.signal();
    else news.broadcast();
  }

  /** Undefined if it is refused: a deadlock, or time is up. */
  #tryTo(take: () => HeldLock): HeldLock | undefined {
    try {
      return take();
    } catch (error) {
      if (REFUSALS.includes((error as { code?: string }).code)) return undefined;
      throw error;
    }
  }

  #mustHave(given: boolean): void {
    if (!given) throw new Error("a lock that was held is not");
  }
}

function nameOf(mode: number): LockMode {
  return MODES[mode - 1] as LockMode;
}

function tagOf(index: number): LockTag {
  return TAGS[index] as LockTag;
}

function keyOfLock(name: string): number {
  return FIRST_USER_LOCK + Object.keys(USER_LOCKS).indexOf(name);
}
