// Small situations of the deadlock detector, each made for one thing it must get right: what is asked
// for in order, who looks, and what comes of it. Twin and wasm play the same.
//
// Two are PostgreSQL's own isolation tests deadlock-soft and deadlock-soft-2.

import type { TwinVerdict } from "../twin/deadlock.ts";
import type { TwinOutcome } from "../twin/lock-manager.ts";

/** A situation and its outcome. */
export interface LockScene {
  readonly name: string;
  /** Backend, object, mode, and what comes of it at once. */
  readonly requests: readonly (readonly [number, string, number, TwinOutcome])[];
  /** The backend that looks for a deadlock. */
  readonly looks: number;
  readonly verdict: TwinVerdict;
  /** Who was waiting and is granted by it. */
  readonly granted: readonly number[];
  /** The queues that are left. */
  readonly queues: Readonly<Record<string, readonly number[]>>;
}

export const scenes: readonly LockScene[] = [
  {
    name: "two that hold crosswise are a deadlock that no order of queues resolves",
    requests: [
      [0, "a", 8, "granted"],
      [1, "b", 8, "granted"],
      [0, "b", 8, "waiting"],
      [1, "a", 8, "waiting"],
    ],
    looks: 1,
    verdict: "deadlock",
    granted: [],
    queues: { a: [1], b: [0] },
  },
  {
    name: "a reader behind a writer that waits for it elsewhere goes before that writer",
    requests: [
      [0, "a", 1, "granted"],
      [1, "b", 1, "granted"],
      [2, "a", 8, "waiting"],
      [3, "b", 8, "waiting"],
      [0, "b", 1, "waiting"],
      [1, "a", 1, "waiting"],
    ],
    looks: 0,
    verdict: "rearranged",
    granted: [1],
    queues: { a: [2], b: [3, 0] },
  },
  {
    name: "one that must pass two is moved before both",
    requests: [
      [0, "a", 4, "granted"],
      [1, "b", 1, "granted"],
      [1, "a", 4, "waiting"],
      [2, "b", 8, "waiting"],
      [3, "b", 8, "waiting"],
      [0, "b", 4, "waiting"],
    ],
    looks: 0,
    verdict: "rearranged",
    granted: [0],
    queues: { a: [1], b: [2, 3] },
  },
  {
    name: "the first order tried frees the looker and entangles those it moved: another is taken",
    requests: [
      [0, "b", 1, "granted"],
      [4, "b", 2, "granted"],
      [2, "c", 8, "granted"],
      [3, "a", 1, "granted"],
      [2, "b", 8, "waiting"],
      [3, "b", 7, "waiting"],
      [4, "c", 1, "waiting"],
      [1, "a", 8, "waiting"],
      [0, "a", 1, "waiting"],
    ],
    looks: 0,
    verdict: "rearranged",
    granted: [0],
    queues: { a: [1], b: [2, 3], c: [4] },
  },
  {
    name: "who both holds and is ahead blocks for good: no order helps",
    requests: [
      [0, "a", 1, "granted"],
      [1, "b", 3, "granted"],
      [2, "b", 5, "waiting"],
      [1, "a", 8, "waiting"],
      [0, "b", 8, "waiting"],
    ],
    looks: 0,
    verdict: "deadlock",
    granted: [],
    queues: { a: [1], b: [2, 0] },
  },
];
