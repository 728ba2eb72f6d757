// The operations of a backend for the scheduler. What waits or touches storage are the routines of
// bindings/shared themselves (parts.ts); what their callers do around them - pin, lock, change,
// give back - is done here by the same calls in the same order, so that bytes can be touched in
// halves. What an operation believes to have is noted when it has it, and no longer noted before
// it gives it back.

import {
  BUFFER_MASK,
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_FREE,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  NEED_READ,
  ST_BUSY,
  ST_CLEANUP_TAKEN,
  ST_OK,
} from "../../assembly/common/constants.ts";
import { BufferError } from "../../bindings/abi/errors.ts";
import type { Relation } from "../../bindings/shared/relation.ts";
import type { Routine } from "../../bindings/shared/routine.ts";
import { Strategy } from "../../bindings/shared/strategy.ts";
import { FILE, OTHER_FILE } from "./medium.ts";
import { drive, type Fate, MEDIUM_ERROR, type Parts, partsOf } from "./parts.ts";
import type { Actor, Note, Operation, Script } from "./steps.ts";

const FORK_BITS = 2;
const NO_BUFFERS = "53200";

/** A backend in a schedule: what it calls, and what it is made of. */
export interface Backend extends Actor {
  readonly parts: Parts;
}

/** What an operation of a backend is. */
export type Act = (backend: Backend) => Operation<void>;

/** One operation after another. */
export function inTurn(...acts: readonly Act[]): Script {
  return function* all(actor) {
    const backend = { ...actor, parts: partsOf(actor) };
    for (const act of acts) yield* act(backend);
  };
}

/** As {@link inTurn}, where writes take companions with them: two pages behind one sync. */
export function inBatches(...acts: readonly Act[]): Script {
  return function* all(actor) {
    const backend = { ...actor, parts: partsOf(actor, 2) };
    for (const act of acts) yield* act(backend);
  };
}

/** Tells what the backend counts on from now on. */
export function* note(what: Note): Operation<void> {
  yield { do: "note", note: what };
}

/** Passes a good status on. */
export function check(status: number): number {
  if (status < 0) throw new Error(`status ${status}`);
  return status;
}

/**
 * Runs a routine, again if every buffer is taken: in so small a pool that may be by the guards of
 * others, for a moment.
 */
export function* run<Result>(
  backend: Backend,
  routine: () => Routine<Result>,
  fate: Fate = {},
): Operation<Result> {
  for (;;) {
    try {
      return yield* drive(backend, routine(), fate);
    } catch (error) {
      if (!(error instanceof BufferError) || error.code !== NO_BUFFERS) throw error;
    }
    yield { do: "tired" };
  }
}

/** Calls until the result means neither to sleep nor to look again. */
export function untilDone(backend: Backend, call: () => number): Operation<number> {
  return drive(backend, backend.parts.attachment.untilDone(call));
}

// ── Pins ─────────────────────────────────────────────────────────────────────────────────────────

/** NumberPool.pin. */
function* pin(
  backend: Backend,
  file: number,
  block: number,
  strategy?: Strategy,
): Operation<number> {
  const options = strategy === undefined ? {} : { strategy };
  const buffer = yield* run(backend, () => backend.parts.pool.pinned(file, block, options));
  yield* note({ kind: "pinned", buffer, file, block });
  return buffer;
}

/** NumberPool.unpin. */
export function* unpin(
  { x }: Backend,
  buffer: number,
  file: number,
  block: number,
): Operation<void> {
  yield* note({ kind: "unpinned", buffer, file, block });
  check(x.unpin(buffer));
}

// ── Content locks ────────────────────────────────────────────────────────────────────────────────

function* lockShare(backend: Backend, buffer: number): Operation<void> {
  check(yield* drive(backend, backend.parts.locks.share(buffer)));
  yield* note({ kind: "shared", buffer });
}

function* lockExclusive(backend: Backend, buffer: number): Operation<void> {
  check(yield* drive(backend, backend.parts.locks.exclusive(buffer)));
  yield* note({ kind: "exclusive", buffer });
}

function* unlock({ x }: Backend, buffer: number): Operation<void> {
  yield* note({ kind: "unlocked", buffer });
  check(x.unlock(buffer));
}

// ── Whole operations ─────────────────────────────────────────────────────────────────────────────

/** Pins a page and lets it go. */
export function pinning(block: number): Act {
  return function* pinned(backend) {
    const buffer = yield* pin(backend, FILE, block);
    yield* unpin(backend, buffer, FILE, block);
  };
}

/** A pinned page is looked at, and let go. */
export function* look(
  backend: Backend,
  buffer: number,
  file: number,
  block: number,
): Operation<void> {
  yield* lockShare(backend, buffer);
  yield { do: "look", buffer, file, block };
  yield* unlock(backend, buffer);
  yield* unpin(backend, buffer, file, block);
}

/** BufferPool.readSync: pin, share lock, look. */
export function reading(block: number, file: number = FILE): Act {
  return function* read(backend) {
    if (file === OTHER_FILE) yield* note({ kind: "uses", file });
    const buffer = yield* pin(backend, file, block);
    yield* look(backend, buffer, file, block);
  };
}

/** Blocks read one after another by way of a ring of one frame. */
export function scanning(...blocks: readonly number[]): Act {
  return function* scan(backend) {
    const ring = new Strategy("bulkread", 1);
    for (const block of blocks) {
      const buffer = yield* pin(backend, FILE, block, ring);
      yield* look(backend, buffer, FILE, block);
    }
  };
}

/** The same page pinned twice by one backend. */
export function readingTwice(block: number): Act {
  return function* twice(backend) {
    const outer = yield* pin(backend, FILE, block);
    yield* reading(block)(backend);
    yield* unpin(backend, outer, FILE, block);
  };
}

/** A read that the medium fails; the page is there for the next. */
export function failing(block: number): Act {
  return function* failed(backend) {
    let buffer: number;
    try {
      buffer = yield* run(backend, () => backend.parts.pool.pinned(FILE, block, {}), {
        fails: true,
      });
    } catch (error) {
      if (error !== MEDIUM_ERROR) throw error;
      return;
    }
    yield* note({ kind: "pinned", buffer, file: FILE, block });
    yield* unpin(backend, buffer, FILE, block);
  };
}

/** NumberPool.beginChange to endChange. */
function* change(backend: Backend, buffer: number, file: number, block: number): Operation<void> {
  check(backend.x.beginChange(buffer));
  yield { do: "stamp", buffer, file, block };
  check(yield* drive(backend, backend.parts.pool.ended(buffer)));
  yield* note({ kind: "changed", file, block });
}

/** BufferPool.changeSync. */
export function changing(block: number, file: number = FILE): Act {
  return function* changed(backend) {
    const buffer = yield* pin(backend, file, block);
    yield* lockExclusive(backend, buffer);
    yield* change(backend, buffer, file, block);
    yield* unlock(backend, buffer);
    yield* unpin(backend, buffer, file, block);
  };
}

/** A change that is taken back. */
export function undoing(block: number): Act {
  return function* undone(backend) {
    const buffer = yield* pin(backend, FILE, block);
    yield* lockExclusive(backend, buffer);
    check(backend.x.beginChange(buffer));
    yield { do: "stamp", buffer, file: FILE, block };
    check(backend.x.undoChange(buffer));
    yield* note({ kind: "undone", file: FILE, block });
    yield* unlock(backend, buffer);
    yield* unpin(backend, buffer, FILE, block);
  };
}

/** NumberPool.pinZeroed: the page's buffer, pinned, with its exclusive lock. */
function* pinZeroed(backend: Backend, block: number): Operation<number> {
  const { x, parts } = backend;
  const located = yield* run(backend, () => parts.io.locate(FILE, block, 0));
  const buffer = located & BUFFER_MASK;
  if ((located & NEED_READ) === 0) {
    yield* drive(backend, parts.io.finish(located, FILE, block, 0));
    yield* note({ kind: "pinned", buffer, file: FILE, block });
    yield* lockExclusive(backend, buffer);
  } else {
    yield* note({ kind: "zeroing", file: FILE, block });
    check(x.finishZeroed(buffer));
    yield* note({ kind: "zeroed", file: FILE, block });
    yield* note({ kind: "pinned", buffer, file: FILE, block });
    yield* note({ kind: "exclusive", buffer });
  }
  return buffer;
}

/** A page that is not in the pool is cleared instead of read. */
export function clearing(block: number): Act {
  return function* cleared(backend) {
    const buffer = yield* pinZeroed(backend, block);
    yield* unlock(backend, buffer);
    yield* unpin(backend, buffer, FILE, block);
  };
}

/** As {@link clearing}, and a change of the page. */
export function zeroing(block: number): Act {
  return function* zeroed(backend) {
    const buffer = yield* pinZeroed(backend, block);
    yield* change(backend, buffer, FILE, block);
    yield* unlock(backend, buffer);
    yield* unpin(backend, buffer, FILE, block);
  };
}

/** A cleanup lock, and a change under it; refused if somebody else waits for it. */
export function cleaning(block: number): Act {
  return function* cleaned(backend) {
    const buffer = yield* pin(backend, FILE, block);
    const status = yield* drive(backend, backend.parts.locks.cleanup(buffer));
    if (status === ST_OK) {
      yield* note({ kind: "exclusive", buffer });
      yield* note({ kind: "alone", buffer });
      yield* change(backend, buffer, FILE, block);
      yield* unlock(backend, buffer);
    } else if (status !== ST_CLEANUP_TAKEN) check(status);
    yield* unpin(backend, buffer, FILE, block);
  };
}

/** Locks that are taken only if they are free: share, exclusive, cleanup. */
export function trying(block: number): Act {
  return function* tried(backend) {
    const { x } = backend;
    const buffer = yield* pin(backend, FILE, block);
    if (x.lockShareNow(buffer) === ST_OK) {
      yield* note({ kind: "shared", buffer });
      yield { do: "look", buffer, file: FILE, block };
      yield* unlock(backend, buffer);
    }
    if (x.lockExclusiveNow(buffer) === ST_OK) {
      yield* note({ kind: "exclusive", buffer });
      if (x.settleCleanupNow(buffer) === ST_OK) {
        yield* note({ kind: "alone", buffer });
        yield { do: "look", buffer, file: FILE, block };
        yield* unlock(backend, buffer);
      } else yield* note({ kind: "unlocked", buffer });
    }
    yield* unpin(backend, buffer, FILE, block);
  };
}

/** Backend.checkpointSync. */
export function checkpointing(): Act {
  return function* checkpoint(backend) {
    yield* note({ kind: "checkpoint begins" });
    yield* drive(backend, backend.parts.checkpoints.run());
    yield* note({ kind: "checkpoint ends" });
  };
}

/** BufferPool.flushSync. */
export function flushing(): Act {
  return function* flush(backend) {
    yield* drive(backend, backend.parts.pages.flush(0));
  };
}

/** BufferPool.evictSync of a buffer, whatever is in it. */
export function evicting(buffer: number): Act {
  return function* evict(backend) {
    yield* drive(backend, backend.parts.pages.evict(buffer));
  };
}

/** The pages of a relation that nobody else uses are forgotten. */
export function dropping(): Act {
  return function* drop(backend) {
    const { x } = backend;
    yield* note({ kind: "drop begins", file: OTHER_FILE });
    check(yield* untilDone(backend, () => x.dropPages(OTHER_FILE, 0, 0xffffffff)));
    yield* note({ kind: "drop ends", file: OTHER_FILE });
  };
}

/** Backend.dropRelationSync, of the relation that nobody uses. */
export function removing(): Act {
  return function* remove(backend) {
    yield* note({ kind: "drop begins", file: OTHER_FILE });
    yield* drive(backend, backend.parts.pages.drop(`r${OTHER_FILE >>> FORK_BITS}`));
    yield* note({ kind: "drop ends", file: OTHER_FILE });
  };
}

/** Relation.truncate to nothing, of the relation that nobody uses. */
export function truncating(): Act {
  return function* truncate(backend) {
    const number = OTHER_FILE >>> FORK_BITS;
    const relation = { id: OTHER_FILE, name: "truncated", number } as unknown as Relation;
    yield* note({ kind: "drop begins", file: OTHER_FILE });
    yield* drive(backend, backend.parts.pages.truncate(relation, 0));
    yield* note({ kind: "drop ends", file: OTHER_FILE });
  };
}

/** Attachment.withNamedLock. */
export function naming(lock: number): Act {
  return function* named(backend) {
    const { x } = backend;
    check(yield* untilDone(backend, () => x.lockNamed(lock)));
    yield* note({ kind: "named", lock });
    yield* note({ kind: "unnamed", lock });
    check(x.unlockNamed(lock));
  };
}

/** Backend.detach: the slot is free afterwards. */
export function leaving(block?: number): Act {
  return function* leave(backend) {
    if (block !== undefined) {
      const buffer = yield* pin(backend, FILE, block);
      yield* lockShare(backend, buffer);
      yield* note({ kind: "unlocked", buffer });
    }
    yield* note({ kind: "left" });
    check(yield* untilDone(backend, backend.x.leave));
  };
}

/** Backend.attach: claims a slot, waits until the owner has made it active. */
export function attaching(): Act {
  return function* attach({ x, slot: thread }) {
    const slot = check(x.claimSlot(thread));
    yield* note({ kind: "attached", slot });
    x.requestAttach();
    for (;;) {
      const life = x.slotLife(slot);
      if ((life & LIFE_STATE_MASK) !== LIFE_CLAIMED) break;
      yield { do: "await", at: x.slotAddress(slot) >>> 0, value: life };
    }
    x.enter(slot, 1);
  };
}

/** The owner of the region: repairs what the dead held, and admits who wants to attach. */
export const owner: Script = function* owning(actor) {
  let unreaped: number[] = [];
  for (;;) {
    const dead: number = yield { do: "idle", busy: unreaped.length > 0 };
    unreaped.push(...threadEnded(actor, dead));
    unreaped = unreaped.filter((slot) => actor.x.reap(slot) === ST_BUSY);
    yield* answer(actor);
    // SharedMemory.#reap: again after a while, other deaths in between.
    if (unreaped.length > 0) yield { do: "tired" };
  }
};

/** SharedMemory.#threadEnded: the slots that the thread had, dead from now on. */
function threadEnded({ x, slots }: Actor, thread: number): number[] {
  const found: number[] = [];
  for (let slot = 1; slot < slots && thread !== 0; slot += 1) {
    const life = x.slotLife(slot);
    if ((life & LIFE_STATE_MASK) === LIFE_FREE || life >>> LIFE_STATE_BITS !== thread) continue;
    if (x.markDead(slot) !== 0) found.push(slot);
  }
  return found;
}

/** SharedMemory.#listen, #admit. */
function* answer({ x, slots }: Actor): Operation<void> {
  for (let slot = 1; slot < slots; slot += 1) {
    if ((x.slotLife(slot) & LIFE_STATE_MASK) !== LIFE_CLAIMED) continue;
    x.advanceSlot(slot, LIFE_CLAIMED, LIFE_ACTIVE);
    yield { do: "wake", at: x.slotAddress(slot) >>> 0 };
  }
}
