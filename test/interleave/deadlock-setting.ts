// Heavyweight locks in the harness: backends that take what they want in turn, what each counts on,
// and what must be true after every step.
//
//   after every step   nobody holds what conflicts with what somebody else holds; chains end
//   at the end         nobody is stuck; no record, no lock of a partition, no ticket left to give
//
// There are no timers here. A waiter looks for a deadlock once, as in PostgreSQL: either as soon as
// it is in the queue, or after somebody else has gone on.

import {
  CACHE_LINE_BYTES,
  LIFE_DEAD,
  LIFE_STATE_MASK,
  OWNER_MASK,
  PART_LOCK_RECORDS,
  SLOT_BYTES,
  ST_BUSY,
  ST_DEADLOCK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import {
  LEVEL_SESSION,
  LOCK_PARTITIONS,
  LOCK_RECORD_BYTES,
  RECORD_HOLD_MASK,
  RECORD_HOLD_SHIFT,
} from "../../assembly/common/lock-constants.ts";
import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import { tagOf } from "../support/object-locks.ts";
import { conflict } from "../twin/lock-manager.ts";
import { Engine } from "./engine.ts";
import { owner } from "./operations.ts";
import { together, type Watch } from "./setting.ts";
import type { Actor, Operation, Script } from "./steps.ts";
import { simulationModule, WORD_SHIFT, type World } from "./world.ts";

/** One lock: an object and a mode. */
export type Wanted = readonly [object: string, mode: number];

/** What one backend does. */
export interface Locker {
  /** Held when a schedule begins. */
  readonly holds?: readonly Wanted[];
  /** Waited for when a schedule begins, looked at already. */
  readonly waits?: Wanted;
  /** Taken one after the other. */
  readonly wants?: readonly Wanted[];
  /** Whether it lets somebody else go on before it looks for a deadlock. */
  readonly late?: boolean;
}

/** Backends and what must come of them when nobody dies. */
export interface LockConfiguration {
  readonly name: string;
  readonly lockers: readonly Locker[];
  /** Backends that must be told of a deadlock. */
  readonly victims: number;
}

/** Address of a word of the region that is never written: its version. */
const NEVER_WRITTEN = 4;
const LOCKS = 3;
const OBJECTS = ["1", "2", "3"];
const BOTH_LEVELS = 3;
const WORD = 4;
const HEADS_OFFSET = 148;
const HEAD_MASK_OFFSET = 152;
const PARTITIONS_OFFSET = 156;
const DEADLOCK_OFFSET = 180;
const TAG_WORDS = [2, 3, 4, 5] as const;

/** An engine for a configuration, and the backends that a schedule made victims. */
export interface LockEngine {
  readonly engine: Engine;
  readonly victims: ReadonlySet<number>;
}

/** Makes the engine that runs schedules of a configuration. */
export function lockEngine(
  { lockers, victims: expected }: LockConfiguration,
  module: WasmModule = simulationModule(),
  watch?: Watch,
): LockEngine {
  const victims = new Set<number>();
  const heads: number[] = [];
  const engine = new Engine({
    module,
    buffers: 1,
    shape: { locks: LOCKS },
    scripts: [owner, ...lockers.map((locker) => living(locker, victims))],
    prepare: (world) => {
      heads.push(...headsOf(world));
      prepare(world, lockers);
    },
    check: ({ world }) => sharedInConflict(world, heads),
    close: ({ world, dead }) => leftOfLocks(world) ?? miscounted(victims, expected, dead),
    watch: together(forgetting(victims), watch),
  });
  return { engine, victims };
}

// ── Backends ─────────────────────────────────────────────────────────────────────────────────────

function living(locker: Locker, victims: Set<number>): Script {
  return function* live(actor) {
    if (locker.waits !== undefined) yield* sleepUntilGranted(actor);
    for (const wanted of locker.wants ?? []) {
      const got = yield* take(actor, wanted, locker.late === true);
      if (got) continue;
      actor.once({ at: 0, writes: false, act: () => victims.add(actor.slot) });
      break;
    }
    actor.x.sleep(0);
    yield* patiently(() => actor.x.lockReleaseAll(BOTH_LEVELS, 0));
  };
}

/** Takes a lock; false if it would be a deadlock. */
function* take(actor: Actor, [object, mode]: Wanted, late: boolean): Operation<boolean> {
  const { x } = actor;
  const status = yield* patiently(() => x.lockAcquire(...tagOf(object), mode, LEVEL_SESSION));
  if (status !== ST_WAIT) return status !== ST_DEADLOCK;
  if (late) yield { do: "tired" };
  const before = actor.once({ at: NEVER_WRITTEN, writes: false, act: knownDead });
  const found = yield* patiently(() => x.lockCheckDeadlock());
  // Every cycle here goes through all that are in the scene.
  if (found === ST_DEADLOCK && before) throw new Error("a deadlock with the dead");
  if (found === ST_DEADLOCK) return false;
  yield* sleepUntilGranted(actor);
  return true;
}

/** Whether the owner has found out that a backend is dead, and has not repaired it yet. */
function knownDead(world: World): boolean {
  const lives = Array.from({ length: world.slots }, (_, slot) => {
    return world.u32[(world.at.slots + slot * SLOT_BYTES) >>> WORD_SHIFT] ?? 0;
  });
  return lives.some((life) => (life & LIFE_STATE_MASK) === LIFE_DEAD);
}

function* sleepUntilGranted({ x }: Actor): Operation<void> {
  while (x.lockCheck() === ST_WAIT) yield { do: "sleep" };
}

function* patiently(call: () => number): Operation<number> {
  for (;;) {
    const status = call();
    if (status !== ST_BUSY) return status;
    yield { do: "tired" };
  }
}

function prepare(world: World, lockers: readonly Locker[]): void {
  world.instance(0).startAt(1, 0);
  const acquire = (index: number, [object, mode]: Wanted): number =>
    world.instance(index + 1).lockAcquire(...tagOf(object), mode, LEVEL_SESSION);
  for (const [index, { holds = [] }] of lockers.entries()) {
    for (const wanted of holds) if (acquire(index, wanted) !== 0) throw new Error("not to be had");
  }
  for (const [index, { waits }] of lockers.entries()) {
    if (waits !== undefined && acquire(index, waits) !== ST_WAIT) throw new Error("no wait");
  }
}

function forgetting(victims: Set<number>): Watch {
  return {
    imports: () => ({}),
    begin: () => victims.clear(),
    atomic: () => {},
    bytes: () => {},
    died: () => {},
  };
}

// ── Checks ───────────────────────────────────────────────────────────────────────────────────────

interface Hold {
  readonly owner: number;
  readonly mask: number;
  readonly tag: string;
}

function sharedInConflict(world: World, heads: readonly number[]): string | undefined {
  const holds = linked(world, heads);
  if (holds === undefined) return "a chain of locks does not end";
  for (const [index, one] of holds.entries()) {
    for (const other of holds.slice(index + 1)) {
      if (one.tag !== other.tag || one.owner === other.owner) continue;
      if (modesOf(one).some((mode) => modesOf(other).some((held) => conflict(mode, held)))) {
        return `${one.owner - 1} and ${other.owner - 1} hold ${one.tag} in modes that conflict`;
      }
    }
  }
  return undefined;
}

function modesOf({ mask }: Hold): number[] {
  return [1, 2, 3, 4, 5, 6, 7, 8].filter((mode) => ((mask >>> mode) & 1) !== 0);
}

/** Where the chains of the objects begin. */
function headsOf(world: World): number[] {
  const x = world.instance(1);
  const word = wordsOf(world);
  return OBJECTS.map((object) => {
    x.lockAcquire(...tagOf(object), 1, LEVEL_SESSION);
    const heads = Array.from({ length: word(HEAD_MASK_OFFSET) + 1 }, (_, head) => head * WORD);
    const head = heads.find((at) => word(word(HEADS_OFFSET) + at) !== 0);
    x.lockRelease(...tagOf(object), 1, LEVEL_SESSION);
    return word(HEADS_OFFSET) + (head ?? 0);
  });
}

/** What the records in chains hold; undefined if a chain has no end. */
function linked(world: World, heads: readonly number[]): Hold[] | undefined {
  const word = wordsOf(world);
  const holds: Hold[] = [];
  const records = recordsOf(world);
  for (const head of heads) {
    let reference = word(head);
    for (let steps = 0; reference !== 0; steps += 1) {
      if (steps > world.slots * LOCKS) return undefined;
      const at = records + (reference - 1) * LOCK_RECORD_BYTES;
      const mask = (word(at) & RECORD_HOLD_MASK) >>> RECORD_HOLD_SHIFT;
      const tag = TAG_WORDS.map((index) => word(at + index * WORD)).join(".");
      if (mask !== 0) holds.push({ owner: word(at) & OWNER_MASK, mask, tag });
      reference = word(at + WORD);
    }
  }
  return holds;
}

function leftOfLocks(world: World): string | undefined {
  const word = wordsOf(world);
  for (let index = 0; index < world.slots * LOCKS; index += 1) {
    const at = recordsOf(world) + index * LOCK_RECORD_BYTES;
    if (word(at) !== 0) return `record ${index} is in use: ${word(at).toString(16)}`;
  }
  for (let head = 0; head <= word(HEAD_MASK_OFFSET); head += 1) {
    if (word(word(HEADS_OFFSET) + head * WORD) !== 0) return `chain ${head} is not empty`;
  }
  for (let index = 0; index < LOCK_PARTITIONS; index += 1) {
    const at = word(PARTITIONS_OFFSET) + index * CACHE_LINE_BYTES;
    if (word(at) !== 0) return `partition ${index} is locked`;
  }
  return word(word(DEADLOCK_OFFSET)) === 0 ? undefined : "tickets are left to be given";
}

/** Who died cannot complain, and may have been the one who had to. */
function miscounted(
  victims: ReadonlySet<number>,
  expected: number,
  dead: number,
): string | undefined {
  const { size } = victims;
  const right = dead === 0 ? size === expected : size <= expected;
  return right ? undefined : `${size} victims instead of ${expected}`;
}

function recordsOf(world: World): number {
  return world.part(PART_LOCK_RECORDS)[0];
}

function wordsOf({ u32 }: World): (address: number) => number {
  return (address) => u32[address >>> WORD_SHIFT] ?? 0;
}
