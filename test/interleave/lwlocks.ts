// The user's locks and conditions under the scheduler: the routines of bindings, over words whose
// every access is a step. What a backend believes to hold is noted in words of the lock's own line
// that nothing else uses, so that they are put back with it before each schedule.
//
//   line of a lock   0 word   4 policy   16 who believes to have it alone   20 who shares it
//   line of condition   0 word   16 items

import {
  LIFE_FREE,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  OWNER_MASK,
  ST_BUSY,
  ST_DRAIN,
} from "../../assembly/common/constants.ts";
import { ON_DEATH_CALL } from "../../assembly/common/lock-constants.ts";
import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import { PreparedWait } from "../../bindings/shared/condition-variable.ts";
import {
  type HeldLightweightLock,
  LightweightLock,
  type WaitGround,
} from "../../bindings/shared/lightweight-lock.ts";
import type { Routine } from "../../bindings/shared/routine.ts";
import { Engine } from "./engine.ts";
import { drive, type Parts, partsOf } from "./parts.ts";
import type { Watch } from "./setting.ts";
import type { Actor, Operation, Script } from "./steps.ts";
import { simulationModule, WORD_SHIFT, type World } from "./world.ts";

interface Backend extends Actor {
  readonly parts: Parts;
  readonly lock: LightweightLock;
  readonly ground: Captured;
}

type Act = (backend: Backend) => Operation<void>;

const LOCK = 0;
const ALONE = 4;
const SHARES = 5;
const ITEMS = 4;

/** Drivers that hand the routine over instead of running it. */
class Captured implements WaitGround {
  readonly attachment: Parts["attachment"];
  routine: Routine<unknown> | undefined;

  constructor(attachment: Parts["attachment"]) {
    this.attachment = attachment;
  }

  runSync<Result>(routine: Routine<Result>): Result {
    this.routine = routine;
    return undefined as Result;
  }

  run<Result>(routine: Routine<Result>): Promise<Result> {
    this.routine = routine;
    return new Promise(() => {});
  }
}

function* driven<Result>(backend: Backend, begin: () => unknown): Operation<Result> {
  begin();
  return yield* drive(backend, backend.ground.routine as Routine<Result>);
}

/** One operation after another. */
export function inTurn(...acts: readonly Act[]): Script {
  return function* all(actor) {
    const parts = partsOf(actor);
    const ground = new Captured(parts.attachment);
    const lock = new LightweightLock("lock", LOCK, ground);
    for (const act of acts) yield* act({ ...actor, parts, ground, lock });
  };
}

// ── Beliefs ──────────────────────────────────────────────────────────────────────────────────────

function lineOf({ at }: World): number {
  return (at.lwlocks + LOCK * at.lwlockBytes) >>> WORD_SHIFT;
}

function believe({ once, slot }: Actor, alone: boolean): void {
  once({
    at: 0,
    writes: true,
    act: (world) => {
      const line = lineOf(world);
      if (alone) world.u32[line + ALONE] = (world.u32[line + ALONE] ?? 0) | (1 << slot);
      else world.u32[line + SHARES] = (world.u32[line + SHARES] ?? 0) | (1 << slot);
    },
  });
}

function forget({ once }: Actor, slot: number): void {
  once({ at: 0, writes: true, act: (world) => clear(world, slot) });
}

function clear(world: World, slot: number): void {
  const line = lineOf(world);
  for (const word of [ALONE, SHARES]) {
    world.u32[line + word] = (world.u32[line + word] ?? 0) & ~(1 << slot);
  }
}

/** What is wrong with what backends believe, or undefined. */
export function brokenLock({ world }: Engine): string | undefined {
  const line = lineOf(world);
  const [alone = 0, shares = 0] = [world.u32[line + ALONE], world.u32[line + SHARES]];
  if ((alone & (alone - 1)) !== 0) return `two have the lock exclusively: ${alone}`;
  if (alone !== 0 && shares !== 0) return `${shares} share a lock that ${alone} has exclusively`;
  return undefined;
}

/** What is left when all are done, or undefined. */
export function lockLeft({ world }: Engine): string | undefined {
  const line = lineOf(world);
  if (((world.u32[line] ?? 0) & OWNER_MASK) !== 0) return "the lock has an owner";
  for (let word = 16; word < world.at.lwlockBytes >>> WORD_SHIFT; word += 1) {
    if (world.u32[line + word] !== 0) return "the lock is shared";
  }
  return undefined;
}

// ── Operations ───────────────────────────────────────────────────────────────────────────────────

function release(backend: Backend, held: HeldLightweightLock): void {
  forget(backend, backend.slot);
  held[Symbol.dispose]();
}

/** acquire, look about, release. */
export function holding(mode: "shared" | "exclusive"): Act {
  return function* hold(backend) {
    const held = yield* driven<HeldLightweightLock>(backend, () => backend.lock.acquire(mode));
    believe(backend, mode === "exclusive");
    release(backend, held);
  };
}

export function trying(mode: "shared" | "exclusive"): Act {
  // biome-ignore lint/correctness/useYield: an operation that waits for nothing
  return function* tried(backend) {
    const held = backend.lock.tryAcquire(mode);
    if (held === undefined) return;
    believe(backend, mode === "exclusive");
    release(backend, held);
  };
}

export function orWaiting(): Act {
  return function* waited(backend) {
    const held = yield* driven<HeldLightweightLock | undefined>(backend, () =>
      backend.lock.acquireOrWait(),
    );
    if (held === undefined) return;
    believe(backend, true);
    release(backend, held);
  };
}

/** Leaves holding the lock. */
export function leavingWith(mode: "shared" | "exclusive"): Act {
  return function* left(backend) {
    yield* driven<HeldLightweightLock>(backend, () => backend.lock.acquire(mode));
    believe(backend, mode === "exclusive");
    forget(backend, backend.slot);
    yield* drive(backend, backend.parts.attachment.untilDone(backend.x.leave));
  };
}

function itemWord(world: World): number {
  return (world.at.conditions >>> WORD_SHIFT) + ITEMS;
}

/** Makes an item, and says so. */
export function producing(all: boolean): Act {
  return function* produced({ once, x }) {
    once({
      at: 0,
      writes: true,
      act: (world) => {
        world.u32[itemWord(world)] = (world.u32[itemWord(world)] ?? 0) + 1;
      },
    });
    if (all) x.conditionBroadcast(0);
    else x.conditionSignal(0);
  };
}

/** Takes an item; one who finds none waits for the next signal. */
export function consuming(): Act {
  return function* consumed(backend) {
    const { once, ground } = backend;
    const wait = new PreparedWait(ground, 0);
    const take = (world: World): boolean => {
      const items = world.u32[itemWord(world)] ?? 0;
      if (items > 0) world.u32[itemWord(world)] = items - 1;
      return items > 0;
    };
    while (!once({ at: 0, writes: true, act: take })) {
      yield* driven<boolean>(backend, () => wait.sleep());
    }
  };
}

/** A producer that dies may have made an item and not said so: the owner says it for him. */
const owner: Script = function* owning(actor) {
  const { x, slots } = actor;
  let unreaped: number[] = [];
  for (;;) {
    const thread: number = yield { do: "idle", busy: unreaped.length > 0 };
    for (let slot = 1; slot < slots && thread !== 0; slot += 1) {
      const life = x.slotLife(slot);
      if ((life & LIFE_STATE_MASK) === LIFE_FREE || life >>> LIFE_STATE_BITS !== thread) continue;
      if (x.markDead(slot) === 0) continue;
      forget(actor, slot);
      unreaped.push(slot);
    }
    unreaped = unreaped.filter((slot) => x.reap(slot) === ST_BUSY);
    if (x.lwlockOwner(LOCK) === 1) {
      while (x.lwlockDrain(LOCK) === ST_DRAIN) yield { do: "sleep" };
      believe({ ...actor, slot: 0 }, true);
      forget(actor, 0);
      x.lwlockRelease(LOCK);
    }
    if (unreaped.length > 0) yield { do: "tired" };
  }
};

// ── Configurations ───────────────────────────────────────────────────────────────────────────────

export interface LockConfiguration {
  readonly name: string;
  readonly backends: readonly Script[];
  readonly call?: boolean;
}

const acts: Readonly<Record<string, Act>> = {
  share: holding("shared"),
  exclusive: holding("exclusive"),
  "try share": trying("shared"),
  "try exclusive": trying("exclusive"),
  "or wait": orWaiting(),
  "leave shared": leavingWith("shared"),
  "leave exclusive": leavingWith("exclusive"),
};

/** Operations beside each other, one a backend. */
export function beside(...names: readonly string[]): LockConfiguration {
  const found = names.map((name) => acts[name]).filter((act) => act !== undefined);
  return { name: names.join(" + "), backends: found.map((act) => inTurn(act)) };
}

const names = Object.keys(acts);

export const lockPairs: readonly LockConfiguration[] = names.flatMap((one, index) =>
  names.slice(index).map((two) => beside(one, two)),
);

/** Locks whose dead owner is followed by the region's. */
export const calledPairs: readonly LockConfiguration[] = [
  beside("exclusive", "share"),
  beside("exclusive", "exclusive"),
  beside("exclusive", "or wait"),
].map((each) => ({ ...each, name: `call: ${each.name}`, call: true }));

export const lockTrios: readonly LockConfiguration[] = [
  beside("exclusive", "share", "share"),
  beside("exclusive", "exclusive", "or wait"),
  beside("exclusive", "share", "try exclusive"),
];

export const conditions: readonly LockConfiguration[] = [
  { name: "signal + wait", backends: [inTurn(producing(false)), inTurn(consuming())] },
  { name: "broadcast + wait", backends: [inTurn(producing(true)), inTurn(consuming())] },
  {
    name: "two signals + wait + wait",
    backends: [
      inTurn(producing(false), producing(false)),
      inTurn(consuming()),
      inTurn(consuming()),
    ],
  },
  {
    name: "two broadcasts + wait + wait",
    backends: [inTurn(producing(true), producing(true)), inTurn(consuming()), inTurn(consuming())],
  },
];

/** An engine for a configuration. */
export function lockEngine(
  { backends, call = false }: LockConfiguration,
  module: WasmModule = simulationModule(),
  watch?: Watch,
): Engine {
  return new Engine({
    module,
    buffers: 1,
    shape: { named: 2 },
    scripts: [owner, ...backends],
    prepare: (world) => {
      if (call) world.instance(0).setLwlockPolicy(LOCK, ON_DEATH_CALL);
    },
    check: brokenLock,
    close: lockLeft,
    ...(watch === undefined ? {} : { watch }),
  });
}
