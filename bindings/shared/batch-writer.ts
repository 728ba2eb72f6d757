/**
 * Writing out a list of buffers, a batch at a time: what checkpoints, flushes and the background
 * writer have in common. A batch is what one sync of the journal serves.
 *
 * A backend that has pages in its write holds their share locks, so it waits for nothing then: the
 * first buffer of a batch is waited for, a later one that is not free at once begins the next
 * batch.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, SyncOneBuffer
 */

import {
  BUFFER_MASK,
  NEED_WRITE,
  ST_ALREADY_LOCKED,
  ST_BUSY,
  ST_OK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import type { Attachment } from "./attachment.ts";
import type { PageIo } from "./page-io.ts";
import { HELD, PAUSE, type Routine, SLEEP, type Step } from "./routine.ts";

/** What is to be written. */
export interface WriteList {
  readonly total: number;
  /** The buffer at a place of the list. */
  bufferAt(place: number): number;
  /** Takes a buffer's write, pinned: `checkpointBegin` or `flushBegin` of wasm. */
  begin(buffer: number, mayWait: number): number;
  /** Whose counters grow. */
  readonly context: number;
}

/** What the first buffer of a batch is waited for with: a change of another task included. */
const waits: ReadonlyMap<number, Step> = new Map<number, Step>([
  [ST_WAIT, SLEEP],
  [ST_BUSY, PAUSE],
  [ST_ALREADY_LOCKED, HELD],
]);

/** Writes lists for one backend. @internal */
export class BatchWriter {
  readonly #attachment: Attachment;
  readonly #io: PageIo;

  constructor(attachment: Attachment, io: PageIo) {
    this.#attachment = attachment;
    this.#io = io;
  }

  /**
   * Writes a list to its end.
   *
   * @param afterBatch - called with the place reached; what it returns is waited for
   * @returns how many buffers were written
   */
  *write(list: WriteList, afterBatch?: (place: number) => Routine<void>): Routine<number> {
    let written = 0;
    for (let place = 0; place < list.total; ) {
      const batch: number[] = [];
      place = yield* this.#collect(list, batch, place);
      yield* this.#writeBatch(batch, list.context);
      written += batch.length;
      if (afterBatch !== undefined) yield* afterBatch(place);
    }
    return written;
  }

  /** Fills a batch from place `first` on; returns the place behind its last buffer. */
  *#collect(list: WriteList, batch: number[], first: number): Routine<number> {
    let place = first;
    try {
      while (place < list.total && batch.length < this.#io.batchPages) {
        const status = list.begin(list.bufferAt(place), batch.length === 0 ? 1 : 0);
        const wait = waits.get(status);
        if (wait !== undefined && batch.length > 0) break;
        if (wait !== undefined) yield wait;
        else {
          this.#attachment.check(status);
          if (status !== ST_OK && (status & NEED_WRITE) !== 0) batch.push(status & BUFFER_MASK);
          place += 1;
        }
      }
    } catch (error) {
      for (const buffer of batch) this.#attachment.exports.finishWrite(buffer, 0);
      this.#unpin(batch);
      throw error;
    }
    return place;
  }

  *#writeBatch(batch: readonly number[], context: number): Routine<void> {
    if (batch.length === 0) return;
    try {
      yield* this.#io.write(batch, context);
    } finally {
      this.#unpin(batch);
    }
  }

  #unpin(batch: readonly number[]): void {
    for (const buffer of batch) this.#attachment.exports.unpin(buffer);
  }
}
