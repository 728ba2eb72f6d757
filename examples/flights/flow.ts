/**
 * Keeps a backend from sending faster than the leader takes: of the groups on their way to it there
 * are never more than two messages, one it works on and one that waits.
 *
 *         word 0
 *       ┌───────────┬─ ─ ─
 *       │ on the way│ unused      one line of 64 bytes a backend
 *       └───────────┴─ ─ ─
 *
 * Messages carry the groups; this word only says whether the last one was taken. Set by the backend
 * before it posts, cleared by the leader. A leader that gives up cancels the scan, which a backend
 * that waits sees.
 *
 * PostgreSQL: src/backend/executor/tqueue.c over src/backend/storage/ipc/shm_mq.c (the role)
 */

import type { ParallelScan } from "./scan.ts";

/** Name of the segment in shared memory, and its size for one backend. */
export const FLOW_SEGMENT = "group flow";
export const FLOW_BYTES = 64;

const WORDS = FLOW_BYTES / Int32Array.BYTES_PER_ELEMENT;
const TAKEN = 0;
const SENT = 1;
/** How soon a waiting backend sees that the scan was cancelled. */
const LOOK_AGAIN_MS = 50;

/** One backend's line, from either side. */
export class GroupFlow {
  readonly #words: Int32Array;
  readonly #at: number;

  /**
   * @param words - the segment
   * @param backend - index of the backend in its query
   */
  constructor(words: Int32Array, backend: number) {
    this.#words = words;
    this.#at = backend * WORDS;
  }

  /** Begins anew. Only while no backend sends. */
  restart(): void {
    Atomics.store(this.#words, this.#at, TAKEN);
  }

  /** Backend: waits until the last message was taken. @returns false if the scan is cancelled */
  begin(scan: ParallelScan): boolean {
    while (Atomics.load(this.#words, this.#at) !== TAKEN) {
      if (scan.cancelled) return false;
      Atomics.wait(this.#words, this.#at, SENT, LOOK_AGAIN_MS);
    }
    Atomics.store(this.#words, this.#at, SENT);
    return !scan.cancelled;
  }

  /** Leader: the message has been taken. */
  taken(): void {
    Atomics.store(this.#words, this.#at, TAKEN);
    Atomics.notify(this.#words, this.#at);
  }
}
