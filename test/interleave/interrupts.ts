// A backend that waits for a page lock which is never given up, and another that asks it to cancel:
// the only wake-up there can be is the interrupt's. So a schedule in which it is lost ends with
// everybody asleep.

import {
  BUFFER_MASK,
  INTERRUPT_CANCEL,
  LIFE_ACTIVE,
  LIFE_STATE_MASK,
  SLOT_INTERRUPTS_OFFSET,
} from "../../assembly/common/constants.ts";
import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import { interrupting } from "../../bindings/shared/interrupts.ts";
import { cancelled } from "../../bindings/shared/statuses.ts";
import { Engine } from "./engine.ts";
import { brokenInvariant } from "./invariants.ts";
import { FILE } from "./medium.ts";
import { type Mutant, mutant } from "./mutants.ts";
import { owner } from "./operations.ts";
import { drive, partsOf } from "./parts.ts";
import type { Actor, Operation, Script } from "./steps.ts";
import { WORD_SHIFT, type World } from "./world.ts";

/** Slots: who sleeps does so in wasm, in an odd one. */
const SLEEPER = 1;
const HOLDER = 2;
const BLOCK = 0;

/** Attachment.sleep looks at what is asked after each sleep: takes the bit, and gives up. */
function* untilCancelled(actor: Actor, buffer: number): Operation<void> {
  const routine = partsOf(actor).locks.exclusive(buffer as never);
  const at = (actor.x.slotAddress(actor.slot) >>> 0) + SLOT_INTERRUPTS_OFFSET;
  const act = ({ u32 }: World): boolean => {
    const bits = u32[at >>> WORD_SHIFT] ?? 0;
    u32[at >>> WORD_SHIFT] = bits & ~INTERRUPT_CANCEL;
    return (bits & INTERRUPT_CANCEL) !== 0;
  };
  let next = routine.next();
  try {
    while (next.done !== true) {
      if (next.value.op !== "sleep") throw new Error(`a lock is waited for by ${next.value.op}`);
      yield { do: "sleep" };
      const asked = actor.once({ at, writes: true, act });
      next = asked ? routine.throw(cancelled(undefined)) : routine.next();
    }
    actor.x.unlock(buffer);
  } catch (error) {
    if ((error as { code?: string }).code !== "57014") throw error;
  }
}

/** Pins the page and waits for its lock, until it is cancelled, or the holder has died. */
const sleeper: Script = function* sleeping(actor) {
  const buffer = actor.x.pin(FILE, BLOCK);
  if (buffer < 0) throw new Error("the page is in the pool");
  yield* untilCancelled(actor, buffer);
  actor.x.unpin(buffer);
};

/** Asks the sleeper to cancel, wherever that is; keeps the lock. */
const canceller: Script = function* cancelling(actor) {
  const life = actor.x.slotLife(SLEEPER) >>> 0;
  // It has died: interrupts are for the living.
  if ((life & LIFE_STATE_MASK) !== LIFE_ACTIVE) return;
  yield* drive(actor, interrupting(actor.x, { slot: SLEEPER, life, bits: INTERRUPT_CANCEL }));
};

/** The page is in the pool, and the holder has its lock. */
function prepare(world: World): void {
  world.instance(0).startAt(1, 0);
  const x = world.instance(HOLDER);
  const buffer = x.install(x.victim(0), FILE, BLOCK, 0) & BUFFER_MASK;
  for (let half = 0; half < 2; half += 1) world.readHalf(buffer, FILE, BLOCK, half);
  x.finishRead(buffer, 1);
  if (x.lockExclusive(buffer) !== 0) throw new Error("a new page is locked");
}

/** An engine over the simulation build, or one with a mistake in it. */
export function interruptEngine(module: WasmModule): Engine {
  return new Engine({
    module,
    buffers: 1,
    scripts: [owner, sleeper, canceller],
    prepare,
    check: brokenInvariant,
    close: () => undefined,
  });
}

/** Mistakes by each of which an interrupt is lost. */
export const interruptMutants: readonly Mutant[] = [
  mutant(
    "a sleeper does not look at what is asked before it sleeps",
    "ipc/sleep.ts",
    "if ((slot.getInterrupts() & INTERRUPTS_THAT_BREAK) == 0) return",
    "if (milliseconds >= 0) return",
  ),
  mutant(
    "who interrupts wakes before he asks",
    "ipc/interrupt-calls.ts",
    "  slot.interrupt(bits);\n  return wakeInterrupted(index, bits);",
    "  const result = wakeInterrupted(index, ~0);\n  slot.interrupt(bits);\n  return result;",
  ),
  mutant(
    "who interrupts wakes once and no more",
    "ipc/interrupt-calls.ts",
    "  return ST_BUSY;",
    "  return ST_OK;",
  ),
];
