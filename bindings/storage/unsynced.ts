/**
 * Which relations have something to be synced in their main fork, whoever wrote it: a checkpoint
 * of a thousand relations of which three were written syncs three.
 *
 * A table of words that all threads share. A relation has the place that its number gives, for
 * good, if it is the first that asks for it:
 *
 *   ┌──────────────┬───────┬───────┬────────┐
 *   │ relation + 1 │ begun │ ended │ synced │   synced: `ended`, as of before the last sync
 *   └──────────────┴───────┴───────┴────────┘
 *
 * Who changes the fork counts `begun` up before and `ended` up after. It is clean while `begun`,
 * `ended` and `synced` are the same:
 *
 * - a change that began before a sync and ended after it, or while it ran, leaves `ended` beyond
 *   `synced`;
 * - a change whose thread is terminated within leaves `begun` beyond `ended` for ever: from then
 *   on the relation is synced each time, which costs a call and is right;
 * - two syncs at once may leave the smaller `synced`, which costs one more sync;
 * - what nobody has synced since the storage was opened is not clean: a process that was killed
 *   may have written it;
 * - a relation whose place another one has is never clean.
 *
 * Two atomic operations a change, beside a call of the system. 64 kB for 4,096 relations.
 *
 * PostgreSQL: src/backend/storage/sync/sync.c, RegisterSyncRequest, ProcessSyncRequests
 */

const PLACES = 4096;
const WORDS = 4;
const RELATION = 0;
const BEGUN = 1;
const ENDED = 2;
const SYNCED = 3;

/** Bytes of the table. */
export const UNSYNCED_BYTES: number = PLACES * WORDS * Int32Array.BYTES_PER_ELEMENT;

/** In place of a number: nothing was synced yet, or another relation has the place. */
const UNKNOWN = -1;

/** Prepares the table of a storage that is being opened by its first thread. */
export function prepareUnsynced(words: Int32Array): void {
  for (let at = 0; at < words.length; at += WORDS) words[at + SYNCED] = UNKNOWN;
}

/** The table, as one thread has it. */
export class Unsynced {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Does something to the files of a relation's main fork. */
  change<Result>(relation: number, work: () => Result): Result {
    const at = this.#place(relation);
    if (at < 0) return work();
    Atomics.add(this.#words, at + BEGUN, 1);
    try {
      return work();
    } finally {
      Atomics.add(this.#words, at + ENDED, 1);
    }
  }

  /** Does `sync`, which makes a relation's main fork durable, unless there is nothing to be. */
  sync(relation: number, sync: () => void): void {
    const at = this.#place(relation);
    if (at < 0) {
      sync();
      return;
    }
    const ended = Atomics.load(this.#words, at + ENDED);
    const isStill = Atomics.load(this.#words, at + BEGUN) === ended;
    if (isStill && Atomics.load(this.#words, at + SYNCED) === ended) return;
    sync();
    Atomics.store(this.#words, at + SYNCED, ended);
  }

  /** Where a relation's words begin, or UNKNOWN. */
  #place(relation: number): number {
    const at = (relation % PLACES) * WORDS + RELATION;
    const found = Atomics.load(this.#words, at);
    if (found === relation + 1) return at;
    if (found !== 0) return UNKNOWN;
    const before = Atomics.compareExchange(this.#words, at, 0, relation + 1);
    return before === 0 || before === relation + 1 ? at : UNKNOWN;
  }
}
