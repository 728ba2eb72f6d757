// Small situations of the deadlock detector, each made for one thing it must get right: what is
// asked for in order, who looks, and what comes of it. Twin and wasm play the same.
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
    name: "where passing the nearest helps nobody, passing another one does",
    requests: [
      [8, "c", 2, "granted"],
      [0, "d", 1, "granted"],
      [5, "b", 3, "granted"],
      [5, "a", 4, "granted"],
      [4, "c", 2, "granted"],
      [0, "a", 5, "waiting"],
      [4, "e", 5, "granted"],
      [7, "c", 1, "granted"],
      [2, "b", 3, "granted"],
      [6, "c", 3, "granted"],
      [3, "b", 4, "granted"],
      [4, "d", 3, "granted"],
      [4, "c", 8, "waiting"],
      [2, "b", 8, "waiting"],
      [5, "c", 3, "waiting"],
      [6, "e", 7, "waiting"],
      [8, "b", 1, "waiting"],
    ],
    looks: 8,
    verdict: "rearranged",
    granted: [8],
    queues: { a: [0], b: [2], c: [4, 5], e: [6] },
  },
  {
    name: "passing one that stays in a cycle is no way out",
    requests: [
      [2, "c", 4, "granted"],
      [5, "a", 3, "granted"],
      [4, "c", 3, "granted"],
      [5, "c", 5, "waiting"],
      [4, "a", 5, "waiting"],
      [1, "a", 4, "waiting"],
      [2, "a", 3, "waiting"],
    ],
    looks: 2,
    verdict: "deadlock",
    granted: [],
    queues: { a: [4, 1, 2], c: [5] },
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
