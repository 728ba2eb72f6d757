/**
 * Prewarming: a relation's pages are brought near before anybody asks for them.
 *
 *   buffer      into the pool, by a read stream; what is there stays only as long as it is used
 *   read        through the system's cache, to where nobody looks
 *   prefetch    as a hint to storage, which may do less or nothing
 *
 * PostgreSQL: contrib/pg_prewarm/pg_prewarm.c, pg_prewarm
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import { PallocError } from "../abi/errors.ts";
import type { BufferPool } from "./buffers.ts";
import type { PageIo } from "./page-io.ts";
import type { Relation } from "./relation.ts";
import type { Routine } from "./routine.ts";
import type { ResolvedSettings } from "./settings.ts";
import { isTemporary } from "./temp-numbers.ts";

/** What is brought nearer. */
export type PrewarmMode = "buffer" | "read" | "prefetch";

/** What of a relation is prewarmed, and how. */
export interface PrewarmOptions {
  /** Default `buffer`. */
  readonly mode?: PrewarmMode;
  /** First block. Default 0. */
  readonly first?: number;
  /** Last block. Default the relation's last one. */
  readonly last?: number;
  /** Called now and then with the number of blocks done, and of all; at the end in any case. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Of the promise form: gives up at the next wait, with 57014. */
  readonly signal?: CancelSignal;
}

/** Between two calls of `onProgress`, at least. */
const PROGRESS_BLOCKS = 256;

/** Prewarms for one backend. @internal */
export class Prewarm {
  readonly #pool: BufferPool;
  readonly #io: PageIo;
  /** Blocks read at a time. */
  readonly #settings: ResolvedSettings;

  constructor(pool: BufferPool, io: PageIo, settings: ResolvedSettings) {
    this.#pool = pool;
    this.#io = io;
    this.#settings = settings;
  }

  /** Returns how many blocks there were. */
  *run(relation: Relation, options: PrewarmOptions): Routine<number> {
    const { mode = "buffer", onProgress } = options;
    const { first, end } = rangeOf(relation, options);
    const total = end - first;
    let told = 0;
    const advance = (done: number): void => {
      if (done < total && done - told < PROGRESS_BLOCKS) return;
      told = done;
      onProgress?.(done, total);
    };
    if (total === 0) return 0;
    if (mode === "buffer") yield* this.#intoBuffers(relation, first, end, advance);
    else if (mode === "read") yield* this.#throughStorage(relation, first, end, advance);
    else if (mode === "prefetch") this.#asHint(relation, first, end, advance);
    else throw invalid(`invalid prewarm mode "${String(mode)}"`, "Modes: buffer, read, prefetch.");
    return total;
  }

  *#intoBuffers(
    relation: Relation,
    first: number,
    end: number,
    advance: (done: number) => void,
  ): Routine<void> {
    const options = { maintenance: true, full: true };
    const stream = this.#pool.readStream(relation, { first, end }, options);
    try {
      for (;;) {
        const buffer = yield* stream.nextRoutine();
        if (buffer === undefined) return;
        this.#pool.unpin(buffer);
        advance(stream.block - first + 1);
      }
    } finally {
      stream[Symbol.dispose]();
    }
  }

  *#throughStorage(
    { number: relation }: Relation,
    first: number,
    end: number,
    advance: (done: number) => void,
  ): Routine<void> {
    const nobodyLooks = new Uint8Array(BLOCK_BYTES);
    const step = this.#settings.ioCombineLimit;
    for (let block = first; block < end; block += step) {
      const count = Math.min(step, end - block);
      const pages = new Array<Uint8Array>(count).fill(nobodyLooks);
      yield { op: "read", relation, fork: 0, block, pages };
      advance(block + count - first);
    }
  }

  #asHint({ id }: Relation, first: number, end: number, advance: (done: number) => void): void {
    if (!this.#io.takesHints || isTemporary(id)) {
      throw new PallocError("0A000", "prefetch is not supported by this storage", {
        hint: 'Use the modes "buffer" or "read".',
      });
    }
    const step = this.#settings.ioCombineLimit;
    for (let block = first; block < end; block += step) {
      const count = Math.min(step, end - block);
      this.#io.prefetch(id, block, count);
      advance(block + count - first);
    }
  }
}

function rangeOf(relation: Relation, options: PrewarmOptions): { first: number; end: number } {
  const blocks = relation.blocksSync();
  const { first = 0, last = blocks - 1 } = options;
  for (const [name, block] of [
    ["starting", options.first],
    ["ending", options.last],
  ] as const) {
    const valid = block === undefined || (Number.isInteger(block) && block >= 0 && block < blocks);
    if (!valid) throw invalid(`${name} block number must be between 0 and ${blocks - 1}`);
  }
  return { first, end: Math.max(first, last + 1) };
}

function invalid(message: string, hint?: string): PallocError {
  return new PallocError("22023", message, hint === undefined ? {} : { hint });
}
