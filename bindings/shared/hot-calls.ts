/**
 * Calls that are made often, each behind a guard of its own: a pin of a page that is in the pool, a
 * page of a scan, a lock that is free.
 *
 * These are written out, one function each, and say the same thing: then the compiler knows what
 * each of them calls, and makes it disappear. One text shared by several would cost each a call of
 * who knows what. A `try` costs nothing as long as nothing is thrown. What stands in the `catch`
 * may not call anything, see crash.ts: so it cannot be said once either.
 *
 * PostgreSQL: none
 */

import { LIFE_CRASHED } from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";

/** What guards the calls of one backend. @internal */
export interface CallGuard {
  /** What is called: wasm, and after a crash what throws. */
  raw: SharedExports;
  readonly sound: SharedExports;
  readonly refusing: SharedExports;
  /** The region's words, and which of them says that this backend lives. */
  readonly words: Int32Array;
  readonly life: number;
  /** The rest of a crash, and what to throw. The slot says it already. */
  torn(error: unknown): unknown;
}

/** All of them. @internal */
export function hotCalls(guard: CallGuard): Partial<SharedExports> {
  return {
    ...poolCalls(guard),
    ...searchCalls(guard),
    ...frameCalls(guard),
    ...lightweightCalls(guard),
    ...lockCalls(guard),
  };
}

/** A page that is in the pool. */
function poolCalls(guard: CallGuard): Partial<SharedExports> {
  const { words, life, sound, refusing } = guard;
  return {
    pin: (file, block) => {
      try {
        return guard.raw.pin(file, block);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    unpin: (buffer) => {
      try {
        return guard.raw.unpin(buffer);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    lockShare: (buffer) => {
      try {
        return guard.raw.lockShare(buffer);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    unlock: (buffer) => {
      try {
        return guard.raw.unlock(buffer);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
  };
}

/** A page that has to be looked for. */
function searchCalls(guard: CallGuard): Partial<SharedExports> {
  const { words, life, sound, refusing } = guard;
  return {
    pinIn: (file, block, context) => {
      try {
        return guard.raw.pinIn(file, block, context);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    pinMapped: (file, block, context) => {
      try {
        return guard.raw.pinMapped(file, block, context);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    locate: (file, block, context) => {
      try {
        return guard.raw.locate(file, block, context);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
  };
}

/** A frame for a page, and its read. */
function frameCalls(guard: CallGuard): Partial<SharedExports> {
  const { words, life, sound, refusing } = guard;
  return {
    reuse: (buffer, context) => {
      try {
        return guard.raw.reuse(buffer, context);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    victim: (context) => {
      try {
        return guard.raw.victim(context);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    install: (victim, file, block, context) => {
      try {
        return guard.raw.install(victim, file, block, context);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    verifyRead: (buffer) => {
      try {
        return guard.raw.verifyRead(buffer);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
  };
}

/** A lock of the user's that is free. */
function lightweightCalls(guard: CallGuard): Partial<SharedExports> {
  const { words, life, sound, refusing } = guard;
  return {
    lwlockExclusive: (lock) => {
      try {
        return guard.raw.lwlockExclusive(lock);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    lwlockShare: (lock) => {
      try {
        return guard.raw.lwlockShare(lock);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    lwlockRelease: (lock) => {
      try {
        return guard.raw.lwlockRelease(lock);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
  };
}

/** A heavyweight lock that is free. */
function lockCalls(guard: CallGuard): Partial<SharedExports> {
  const { words, life, sound, refusing } = guard;
  return {
    lockAcquire: (field1, field2, field3, rest, mode, flags) => {
      try {
        return guard.raw.lockAcquire(field1, field2, field3, rest, mode, flags);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    lockRelease: (field1, field2, field3, rest, mode, level) => {
      try {
        return guard.raw.lockRelease(field1, field2, field3, rest, mode, level);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    lockRelation: (relation, mode, flags) => {
      try {
        return guard.raw.lockRelation(relation, mode, flags);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
    unlockRelation: (relation, mode, level) => {
      try {
        return guard.raw.unlockRelation(relation, mode, level);
      } catch (error) {
        if (guard.raw === sound) {
          guard.raw = refusing;
          Atomics.or(words, life, LIFE_CRASHED);
        }
        throw guard.torn(error);
      }
    },
  };
}
