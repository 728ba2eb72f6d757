// The operations of a backend, as bindings/shared/buffers.ts, backend.ts and attachment.ts drive
// them, for the scheduler: the same calls in the same order, with a yield where those files sleep,
// read or write. What an operation believes to have is noted when it has it, and no longer noted
// before it gives it back.

import {
  BUFFER_MASK,
  IN_PROGRESS,
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_FREE,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  LOCK_CHECKPOINT,
  NEED_READ,
  NEED_WRITE,
  SLOT_SLEEP_VALUE_OFFSET,
  SLOT_SLEEPING_ON_OFFSET,
  ST_BUSY,
  ST_DRAIN,
  ST_MISS,
  ST_NO_BUFFERS,
  ST_OK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import type { Actor, Note, Operation, Script } from "./steps.ts";
import { FILE, OTHER_FILE } from "./world.ts";

/** What an operation of a backend is. */
export type Act = (actor: Actor) => Operation<void>;

/** One operation after another. */
export function inTurn(...acts: readonly Act[]): Script {
  return function* all(actor) {
    for (const act of acts) yield* act(actor);
  };
}

function* note(what: Note): Operation<void> {
  yield { do: "note", note: what };
}

function check(status: number): number {
  if (status < 0) throw new Error(`status ${status}`);
  return status;
}

/** Attachment.untilDone. */
function* untilDone(actor: Actor, call: () => number): Operation<number> {
  for (;;) {
    const status = call();
    if (status === ST_WAIT) yield* sleep(actor);
    else if (status === ST_BUSY) yield { do: "tired" };
    else return status;
  }
}

/**
 * Attachment.sleep, by the call that sleeps in wasm; in every second slot by a wait of TypeScript's
 * on the word that the slot names, as a thread waits that must not block.
 */
function* sleep({ x, word, slot }: Actor): Operation<void> {
  if (slot % 2 !== 0) {
    yield { do: "sleep" };
    return;
  }
  const mine = x.slotAddress(slot) >>> 0;
  const at = word(mine + SLOT_SLEEPING_ON_OFFSET);
  if (at !== 0) yield { do: "await", at, value: word(mine + SLOT_SLEEP_VALUE_OFFSET) };
  x.sleep(0);
}

// ── Pins ─────────────────────────────────────────────────────────────────────────────────────────

/** BufferPool.pin. `fails` makes the read fail, as a medium's error would. */
function* pin(actor: Actor, file: number, block: number, fails = false): Operation<number> {
  const hit = actor.x.pin(file, block);
  const buffer = hit >= 0 ? hit : yield* pinSlowly(actor, file, block, fails);
  if (buffer >= 0) yield* note({ kind: "pinned", buffer, file, block });
  return buffer;
}

function* unpin({ x }: Actor, buffer: number, file: number, block: number): Operation<void> {
  yield* note({ kind: "unpinned", buffer, file, block });
  check(x.unpin(buffer));
}

function* pinSlowly(actor: Actor, file: number, block: number, fails: boolean): Operation<number> {
  const { x } = actor;
  let status = yield* findOrInstall(actor, file, block);
  const buffer = status & BUFFER_MASK;
  while ((status & IN_PROGRESS) !== 0) {
    yield* sleep(actor);
    status = check(x.ensureValid(buffer, 0));
  }
  if ((status & NEED_READ) === 0) return buffer;
  if (!fails) yield { do: "read", buffer, file, block };
  x.finishRead(buffer, fails ? 0 : 1);
  if (!fails) return buffer;
  x.unpin(buffer);
  return ST_MISS;
}

function* findOrInstall(actor: Actor, file: number, block: number): Operation<number> {
  const { x } = actor;
  for (;;) {
    const found = yield* untilDone(actor, () => x.pinMapped(file, block, 0));
    if (found !== ST_MISS) return check(found);
    const frame = yield* victim(actor);
    const installed = x.install(frame, file, block, 0);
    if (installed !== ST_BUSY) return check(installed);
    yield { do: "tired" };
  }
}

/** BufferPool.#victim. A pool that is full of others' guards for a moment is tried again. */
function* victim(actor: Actor): Operation<number> {
  const { x } = actor;
  for (;;) {
    const candidate = yield* untilDone(actor, () => x.victim(0));
    if (candidate === ST_NO_BUFFERS) {
      yield { do: "tired" };
      continue;
    }
    if ((check(candidate) & NEED_WRITE) === 0) return candidate;
    const buffer = candidate & BUFFER_MASK;
    yield { do: "write", buffer, file: x.fileOf(buffer), block: x.blockOf(buffer) >>> 0 };
    x.finishWrite(buffer, 1);
    const claimed = x.claim(buffer, 0);
    if (claimed !== ST_MISS && claimed !== ST_BUSY) return check(claimed);
  }
}

// ── Content locks ────────────────────────────────────────────────────────────────────────────────

function* lockShare(actor: Actor, buffer: number): Operation<void> {
  const { x } = actor;
  check(yield* untilDone(actor, () => x.lockShare(buffer)));
  yield* note({ kind: "shared", buffer });
}

/** BufferPool.#lockSlowly. */
function* lockExclusive(actor: Actor, buffer: number): Operation<void> {
  const { x } = actor;
  let status = x.lockExclusive(buffer);
  while (status === ST_WAIT || status === ST_DRAIN) {
    const owned = status === ST_DRAIN;
    yield* sleep(actor);
    status = owned ? x.drainShares(buffer) : x.lockExclusive(buffer);
  }
  check(status);
  yield* note({ kind: "exclusive", buffer });
}

function* unlock({ x }: Actor, buffer: number): Operation<void> {
  yield* note({ kind: "unlocked", buffer });
  check(x.unlock(buffer));
}

// ── Whole operations ─────────────────────────────────────────────────────────────────────────────

/** Pins a page and lets it go. */
export function pinning(block: number): Act {
  return function* pinned(actor) {
    const buffer = yield* pin(actor, FILE, block);
    yield* unpin(actor, buffer, FILE, block);
  };
}

/** BufferPool.readSync: pin, share lock, look. */
export function reading(block: number, file: number = FILE): Act {
  return function* read(actor) {
    if (file === OTHER_FILE) yield* note({ kind: "uses", file });
    const buffer = yield* pin(actor, file, block);
    yield* lockShare(actor, buffer);
    yield { do: "look", buffer, file, block };
    yield* unlock(actor, buffer);
    yield* unpin(actor, buffer, file, block);
  };
}

/** The same page pinned twice by one backend. */
export function readingTwice(block: number): Act {
  return function* twice(actor) {
    const outer = yield* pin(actor, FILE, block);
    yield* reading(block)(actor);
    yield* unpin(actor, outer, FILE, block);
  };
}

/** A read that the medium fails; the page is there for the next. */
export function failing(block: number): Act {
  return function* failed(actor) {
    const buffer = yield* pin(actor, FILE, block, true);
    if (buffer >= 0) yield* unpin(actor, buffer, FILE, block);
  };
}

/** BufferPool.changeSync. */
export function changing(block: number, file: number = FILE): Act {
  return function* change(actor) {
    const { x } = actor;
    const buffer = yield* pin(actor, file, block);
    yield* lockExclusive(actor, buffer);
    check(x.beginChange(buffer));
    yield { do: "stamp", buffer, file, block };
    check(x.endChange(buffer));
    yield* note({ kind: "changed", file, block });
    yield* unlock(actor, buffer);
    yield* unpin(actor, buffer, file, block);
  };
}

/** Backend.checkpointSync: the pages. */
export function checkpointing(): Act {
  return function* checkpoint(actor) {
    const { x } = actor;
    check(yield* untilDone(actor, () => x.lockNamed(LOCK_CHECKPOINT)));
    yield* note({ kind: "named", lock: LOCK_CHECKPOINT });
    yield* note({ kind: "checkpoint begins" });
    const total = x.checkpointCollect();
    for (let index = 0; index < total; index += 1) {
      yield* writeForCheckpoint(actor, x.checkpointBuffer(index));
    }
    yield* note({ kind: "checkpoint ends" });
    yield* note({ kind: "unnamed", lock: LOCK_CHECKPOINT });
    check(x.unlockNamed(LOCK_CHECKPOINT));
  };
}

function* writeForCheckpoint(actor: Actor, buffer: number): Operation<void> {
  const { x } = actor;
  const status = check(yield* untilDone(actor, () => x.checkpointBegin(buffer, 1)));
  if (status === ST_OK) return;
  const found = status & BUFFER_MASK;
  yield { do: "write", buffer: found, file: x.fileOf(found), block: x.blockOf(found) >>> 0 };
  x.finishWrite(found, 1);
  x.unpin(found);
}

/** Backend.dropRelationSync: the pages. Nobody else uses the relation. */
export function dropping(): Act {
  return function* drop(actor) {
    const { x } = actor;
    yield* note({ kind: "drop begins", file: OTHER_FILE });
    check(yield* untilDone(actor, () => x.dropPages(OTHER_FILE, 0, 0xffffffff)));
    yield* note({ kind: "drop ends", file: OTHER_FILE });
  };
}

/** Attachment.withNamedLock. */
export function naming(lock: number): Act {
  return function* named(actor) {
    const { x } = actor;
    check(yield* untilDone(actor, () => x.lockNamed(lock)));
    yield* note({ kind: "named", lock });
    yield* note({ kind: "unnamed", lock });
    check(x.unlockNamed(lock));
  };
}

/** Backend.detach: the slot is free afterwards. */
export function leaving(block?: number): Act {
  return function* leave(actor) {
    if (block !== undefined) {
      const buffer = yield* pin(actor, FILE, block);
      yield* lockShare(actor, buffer);
      yield* note({ kind: "unlocked", buffer });
    }
    yield* note({ kind: "left" });
    check(yield* untilDone(actor, actor.x.leave));
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
