/**
 * The locks and conditions that a region was created with: their names, checked and numbered by the
 * owner, and found again by each backend.
 *
 * The numbers are those of the order of creation, and travel in the handle.
 */

import { MAX_LWLOCKS } from "../../assembly/common/lock-constants.ts";
import { PallocError } from "../abi/errors.ts";
import { ConditionVariable, Latch } from "./condition-variable.ts";
import {
  LightweightLock,
  type LightweightLockOptions,
  onDeathCodes,
  type WaitGround,
} from "./lightweight-lock.ts";

const MAX_NAME_BYTES = 63;

/** Names of locks and of conditions, in the order of their numbers. */
export interface WaitNames {
  readonly locks: readonly string[];
  readonly conditions: readonly string[];
}

/** What the owner asks to be carved. @internal */
export interface WaitPlan extends WaitNames {
  /** ON_DEATH_ of each lock. */
  readonly policies: readonly number[];
}

/** Checks what a user wants. @throws RangeError @internal */
export function checkWaits(
  locks: Readonly<Record<string, LightweightLockOptions>>,
  conditions: readonly string[],
): WaitPlan {
  const names = Object.keys(locks);
  for (const kind of [names, conditions]) {
    if (kind.length > MAX_LWLOCKS) {
      throw new RangeError(`a region has at most ${MAX_LWLOCKS} locks, and as many conditions`);
    }
    for (const name of kind) checkName(name);
    if (new Set(kind).size !== kind.length) throw new RangeError("two conditions have one name");
  }
  const policies = Object.values(locks).map(({ onOwnerDeath = "release" }) => {
    if (Object.hasOwn(onDeathCodes, onOwnerDeath)) return onDeathCodes[onOwnerDeath];
    throw new RangeError(`onOwnerDeath is release, poison or call, not "${onOwnerDeath}"`);
  });
  return { locks: names, conditions: [...conditions], policies };
}

function checkName(name: string): void {
  const { length } = new TextEncoder().encode(name);
  if (length >= 1 && length <= MAX_NAME_BYTES) return;
  throw new RangeError(`a lock's or condition's name has 1 to ${MAX_NAME_BYTES} bytes: "${name}"`);
}

/** What one backend waits with. @internal */
export class NamedWaits {
  readonly latch: Latch;
  readonly #ground: WaitGround;
  readonly #names: WaitNames;
  readonly #locks = new Map<string, LightweightLock>();
  readonly #conditions = new Map<string, ConditionVariable>();

  constructor(ground: WaitGround, names: WaitNames) {
    this.#ground = ground;
    this.#names = names;
    this.latch = new Latch(ground);
  }

  /** @throws {@link PallocError} 42704 if the region has no lock of that name */
  lwlock(name: string): LightweightLock {
    const known = this.#locks.get(name);
    if (known !== undefined) return known;
    const index = this.#names.locks.indexOf(name);
    if (index < 0) throw unknown("lock", name, `locks: { ${JSON.stringify(name)}: {} }`);
    const lock = new LightweightLock(name, index, this.#ground);
    this.#locks.set(name, lock);
    return lock;
  }

  /** @throws {@link PallocError} 42704 if the region has no condition of that name */
  conditionVariable(name: string): ConditionVariable {
    const known = this.#conditions.get(name);
    if (known !== undefined) return known;
    const index = this.#names.conditions.indexOf(name);
    if (index < 0) throw unknown("condition", name, `conditions: [${JSON.stringify(name)}]`);
    const condition = new ConditionVariable(name, index, this.#ground);
    this.#conditions.set(name, condition);
    return condition;
  }
}

function unknown(what: string, name: string, option: string): PallocError {
  return new PallocError("42704", `shared memory has no ${what} "${name}"`, {
    hint: `Ask for it when the region is created: ${option}.`,
  });
}
