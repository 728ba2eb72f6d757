// Heavyweight locks for the scheduler: the routines of bindings/shared/lock-waits.ts themselves,
// with a note of what a backend believes to hold when it has it, taken back before it gives it
// back.

import { ST_NOT_AVAILABLE, ST_OK } from "../../assembly/common/constants.ts";
import { DeadlockError } from "../../bindings/abi/errors.ts";
import { Attachment } from "../../bindings/shared/attachment.ts";
import type { TagWords } from "../../bindings/shared/lock-tags.ts";
import { LockWaits } from "../../bindings/shared/lock-waits.ts";
import type { Routine } from "../../bindings/shared/routine.ts";
import { type Belief, beliefsOf, type LockBeliefs } from "./lock-beliefs.ts";
import { drive } from "./parts.ts";
import type { Actor, Operation, Script } from "./steps.ts";

/** Address of a word of the region that is never written: its version. */
const NEVER_WRITTEN = 4;
const RELATION_REST = 1 << 24;
const ADVISORY_REST = (2 << 24) | (10 << 16) | 1;
const EVERY_LEVEL = 3;
/** Time does not pass in schedules: who looks for deadlocks does so as a step of its own. */
const NEVER_LOOKS = { deadlockTimeout: Number.POSITIVE_INFINITY, log: undefined };

/** What is done to one lock. */
export interface LockActor extends Actor {
  readonly waits: LockWaits;
}

export type LockAct = (actor: LockActor) => Operation<void>;

export const advisory = (key: number): TagWords => [1, key, 0, ADVISORY_REST];
export const relation = (number: number): TagWords => [1, number, 0, RELATION_REST];

/** One after another. */
export function lockScript(...acts: readonly LockAct[]): Script {
  return function* all(actor) {
    const attachment = new Attachment(actor.x, actor.memory, actor.slot, true);
    const backend = { ...actor, waits: new LockWaits(attachment, NEVER_LOOKS) };
    for (const act of acts) yield* act(backend);
  };
}

function believe({ once }: LockActor, act: (beliefs: LockBeliefs) => void): void {
  once({ at: NEVER_WRITTEN, writes: false, act: (world) => act(beliefsOf(world)) });
}

function request(
  words: TagWords,
  mode: number,
  noWait = false,
): Parameters<LockWaits["acquire"]>[0] {
  return { words, mode, level: 0, noWait, timeout: 0 };
}

/** Takes a lock and keeps it; false if it was refused. */
function* take(
  actor: LockActor,
  words: TagWords,
  mode: number,
  noWait = false,
): Operation<boolean> {
  const status = yield* drive(actor, actor.waits.acquire(request(words, mode, noWait)));
  if (status === ST_NOT_AVAILABLE) return false;
  believe(actor, (beliefs) => beliefs.hold(beliefOf(actor, words, mode)));
  return true;
}

function beliefOf({ slot }: LockActor, [, field2]: TagWords, mode: number): Belief {
  return { slot, field2, mode };
}

function* give(actor: LockActor, words: TagWords, mode: number): Operation<void> {
  believe(actor, (beliefs) => beliefs.release(beliefOf(actor, words, mode)));
  const released = yield* drive(actor, actor.waits.release(words, mode, 0));
  if (!released) throw new Error(`mode ${mode} was not held`);
}

/** Others may go on while a lock is held, without a preemption being spent on it. */
function* keep(): Operation<void> {
  yield { do: "tired" };
}

/** Takes a lock, and gives it back. */
export function locking(words: TagWords, mode: number): LockAct {
  return function* lock(actor) {
    yield* take(actor, words, mode);
    yield* keep();
    yield* give(actor, words, mode);
  };
}

/** As {@link locking}, twice at a time. */
export function lockingTwice(words: TagWords, mode: number): LockAct {
  return function* lock(actor) {
    yield* take(actor, words, mode);
    yield* take(actor, words, mode);
    yield* give(actor, words, mode);
    yield* give(actor, words, mode);
  };
}

/** As {@link locking}, if the lock is free. */
export function tryingLock(words: TagWords, mode: number): LockAct {
  return function* attempt(actor) {
    if (yield* take(actor, words, mode, true)) yield* give(actor, words, mode);
  };
}

/** Takes a lock in one mode, then in another; gives up the second if that is a deadlock. */
export function upgrading(words: TagWords, low: number, high: number): LockAct {
  return function* upgrade(actor) {
    yield* take(actor, words, low);
    yield* keep();
    try {
      yield* take(actor, words, high);
      yield* give(actor, words, high);
    } catch (error) {
      if (!(error instanceof DeadlockError)) throw error;
    }
    yield* give(actor, words, low);
  };
}

/** Takes a lock in one mode and at once in another. */
export function adding(words: TagWords, first: number, second: number): LockAct {
  return function* add(actor) {
    yield* take(actor, words, first);
    yield* take(actor, words, second);
    yield* keep();
    yield* give(actor, words, second);
    yield* give(actor, words, first);
  };
}

/** Takes several locks; gives all of them back at once. */
export function lockingAll(...locks: readonly (readonly [TagWords, number])[]): LockAct {
  return function* lockAll(actor) {
    for (const [words, mode] of locks) yield* take(actor, words, mode);
    yield* keep();
    believe(actor, (beliefs) => beliefs.gone(actor.slot));
    yield* drive(actor, actor.waits.releaseAll(EVERY_LEVEL, 0));
  };
}

/** Leaves the region with locks held. */
export function leavingLocked(...locks: readonly (readonly [TagWords, number])[]): LockAct {
  return function* leave(actor) {
    for (const [words, mode] of locks) yield* take(actor, words, mode);
    believe(actor, (beliefs) => beliefs.gone(actor.slot));
    const attachment = new Attachment(actor.x, actor.memory, actor.slot, true);
    const status = yield* drive(actor, attachment.untilDone(actor.x.leave));
    if (status !== ST_OK) throw new Error(`status ${status}`);
  };
}

const CANCELLED = new Error("cancelled");

/** Wants a lock, and gives up at the first sleep, others having gone on or not. */
export function cancelling(words: TagWords, mode: number): LockAct {
  return function* cancel(actor) {
    try {
      yield* drive(actor, cancelled(actor.waits.acquire(request(words, mode))));
    } catch (error) {
      if (error !== CANCELLED) throw error;
      return;
    }
    believe(actor, (beliefs) => beliefs.hold(beliefOf(actor, words, mode)));
    yield* give(actor, words, mode);
  };
}

/** A routine whose first sleep is a pause that ends in an error. */
function* cancelled<Result>(routine: Routine<Result>): Routine<Result> {
  let next = routine.next();
  while (next.done !== true) {
    if (next.value.op === "sleep") {
      yield { op: "pause" };
      next = routine.throw(CANCELLED);
    } else {
      yield next.value;
      next = routine.next();
    }
  }
  return next.value;
}
