/**
 * What can go wrong with heavyweight locks, in PostgreSQL's words.
 *
 * PostgreSQL: src/backend/storage/lmgr/deadlock.c, DeadLockReport; lock.c; tcop/postgres.c,
 * ProcessInterrupts
 */

import {
  BLOCK_BYTES,
  LIFE_STATE_BITS,
  ST_GONE,
  ST_LOCKS_FULL,
  ST_TOO_MANY_LOCKS,
} from "../../assembly/common/constants.ts";
import { DEADLOCK_EDGE_BYTES } from "../../assembly/common/lock-constants.ts";
import { type BlockedProcess, DeadlockError, LockError, type PallocError } from "../abi/errors.ts";
import type { Attachment } from "./attachment.ts";
import { describe, modeName, type TagWords } from "./lock-tags.ts";
import { errorOf } from "./statuses.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
const EDGE_WORDS = DEADLOCK_EDGE_BYTES / WORD_BYTES;
const MAX_EDGES = BLOCK_BYTES / DEADLOCK_EDGE_BYTES;
const BLOCKER_WORD = 2;
const TAG_WORD = 4;

/** The error of a refused lock. @internal */
export function lockRefused(status: number, { i32 }: Attachment): PallocError {
  if (status === ST_GONE) return errorOf(status, i32);
  if (status === ST_LOCKS_FULL) {
    return new LockError("53200", "out of shared memory", {
      hint: 'You might need to increase "max_locks_per_transaction".',
    });
  }
  if (status === ST_TOO_MANY_LOCKS) {
    return new LockError("54000", "too many acquisitions of one lock by one backend", {
      hint: "Pair every lock with an unlock.",
    });
  }
  return errorOf(status, i32);
}

/** A lock that may not be waited for is not free. @internal */
export function notAvailable(words: TagWords): LockError {
  return new LockError("55P03", `could not obtain lock on ${describe(words)}`);
}

/** `lock_timeout` is over. @internal */
export function lockTimedOut(): LockError {
  return new LockError("55P03", "canceling statement due to lock timeout");
}

/** Of the edges that wasm left on the scratch page: the last is blocked by the first. @internal */
export function deadlockDetected({ exports, i32 }: Attachment): DeadlockError {
  const page = (exports.scratchAddress() >>> 0) / WORD_BYTES;
  const edges: Int32Array[] = [];
  do {
    const at = page + edges.length * EDGE_WORDS;
    edges.push(i32.subarray(at, at + EDGE_WORDS));
  } while (edges.at(-1)?.[BLOCKER_WORD] !== i32[page] && edges.length < MAX_EDGES);
  const processes = edges.map((edge): BlockedProcess => {
    const [waiter = 0, mode = 0, blocker = 0] = edge;
    const words = Array.from(edge.subarray(TAG_WORD)) as unknown as TagWords;
    return {
      pid: exports.slotLife(waiter) >>> LIFE_STATE_BITS,
      slot: waiter,
      mode: modeName(mode),
      lock: describe(words),
      blockedBy: exports.slotLife(blocker) >>> LIFE_STATE_BITS,
      blockedBySlot: blocker,
    };
  });
  return new DeadlockError(processes);
}
