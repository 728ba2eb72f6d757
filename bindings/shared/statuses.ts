/**
 * ST_ statuses of shared.wasm as errors in the user's words.
 */

import {
  REGION_STATUS_OFFSET,
  ST_ALREADY_LOCKED,
  ST_BAD_BUFFER,
  ST_CHANGING,
  ST_CLEANUP_TAKEN,
  ST_GONE,
  ST_NO_BUFFERS,
  ST_NOT_LOCKED,
  ST_NOT_PINNED,
  ST_PINNED_AGAIN,
  ST_SELF,
  ST_TOO_MANY_PINS,
  STATUS_SHUTDOWN,
} from "../../assembly/common/constants.ts";
import {
  BackendTerminatedError,
  BufferError,
  CorruptionError,
  type PallocError,
  RegionGoneError,
} from "../abi/errors.ts";

type Wording = readonly [code: string, message: string, hint: string];

const OBJECT_STATE = "55000";

const wordings: Readonly<Record<number, Wording>> = {
  [ST_NO_BUFFERS]: [
    "53200",
    "no unpinned buffers available",
    "Every buffer is pinned: release pins sooner, or create the region with more shared_buffers.",
  ],
  [ST_NOT_PINNED]: [OBJECT_STATE, "buffer is not pinned by this backend", "Pin it first."],
  [ST_NOT_LOCKED]: [
    OBJECT_STATE,
    "the content lock of the buffer is not held as this call needs it",
    "unlock() wants a lock, unpin() wants none, changes want lockExclusive() and beginChange().",
  ],
  [ST_ALREADY_LOCKED]: [
    OBJECT_STATE,
    "this backend holds the content lock of the buffer already",
    "A backend has one content lock a buffer: unlock() first.",
  ],
  [ST_CHANGING]: [
    OBJECT_STATE,
    "this backend is changing a page",
    "End it with endChange() or undoChange(); a backend changes one page at a time.",
  ],
  [ST_SELF]: [
    "55P03",
    "this backend would wait for itself",
    "Release what it holds on the buffer first.",
  ],
  [ST_TOO_MANY_PINS]: [
    "54000",
    "too many pins of one backend on one buffer",
    "Pair every pin() with an unpin().",
  ],
  [ST_PINNED_AGAIN]: [
    OBJECT_STATE,
    "incorrect local pin count for a cleanup lock",
    "A cleanup lock wants exactly one pin of this backend on the buffer: unpin() the others.",
  ],
  [ST_CLEANUP_TAKEN]: [
    OBJECT_STATE,
    "multiple backends attempting to wait for pincount 1",
    "One backend at a time can wait for the cleanup lock of a buffer: try again later.",
  ],
  [ST_BAD_BUFFER]: ["22023", "no such buffer", "Pass what pin() returned."],
};

/** The error that a status stands for. */
export function errorOf(status: number, region: Int32Array): PallocError {
  return status === ST_GONE ? regionGone(region) : refusal(status);
}

/** The error of a call that was refused; not for ST_GONE, whose reason stands in the region. */
export function refusal(status: number): PallocError {
  const wording = wordings[status];
  if (wording === undefined) return new CorruptionError(status);
  const [code, message, hint] = wording;
  return new BufferError(code, message, { hint });
}

/** Why the region is no longer there. */
export function regionGone(region: Int32Array): RegionGoneError {
  const status = Atomics.load(region, REGION_STATUS_OFFSET / Int32Array.BYTES_PER_ELEMENT);
  return new RegionGoneError(status === STATUS_SHUTDOWN ? "57P01" : "57P02");
}

/** A wait was given up because its AbortSignal says so. */
export function cancelled(reason: unknown): BufferError {
  const parts = reason === undefined ? {} : { cause: reason };
  return new BufferError("57014", "canceling statement due to user request", parts);
}

/** statement_timeout is over. */
export function statementTimedOut(): BufferError {
  return new BufferError("57014", "canceling statement due to statement timeout");
}

/** Somebody asked this backend to end. */
export function terminated(): BackendTerminatedError {
  return new BackendTerminatedError();
}

/** A thread that must not sleep for long has waited long enough. */
export function waitedTooLong(milliseconds: number): BufferError {
  return new BufferError("55P03", `could not obtain a lock within ${milliseconds} ms`, {
    hint:
      "On the thread that owns the region a wait is bounded, because there the end of a worker " +
      "is only noticed between two tasks. Use the pool from a worker.",
  });
}
