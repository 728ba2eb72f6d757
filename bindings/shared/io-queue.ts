/**
 * Reads that I/O workers do for this backend (assembly/buffer/ioqueue.ts): a request is made, and
 * awaited like any other word of shared memory, so that a thread that must not block reads too; at
 * once, or after other work.
 *
 * PostgreSQL: src/backend/storage/aio/method_worker.c, pgaio_worker_submit
 */

import { ST_MISS, ST_WAIT } from "../../assembly/common/constants.ts";
import type { Attachment } from "./attachment.ts";
import { type Routine, SLEEP } from "./routine.ts";

/** One backend's requests. @internal */
export class IoQueue {
  /** Whether this region has I/O workers at all. */
  readonly isOpen: boolean;
  readonly #attachment: Attachment;

  constructor(attachment: Attachment, isOpen: boolean) {
    this.#attachment = attachment;
    this.isOpen = isOpen;
  }

  /** Whether a request can be made now: one is free, and there is a worker. */
  get accepts(): boolean {
    return this.#attachment.exports.beginRequest(0, 0) >= 0;
  }

  /**
   * Asks a worker to read neighbours, IO_REQUEST_PAGES at most, into frames that are this backend's
   * to read into; ST_MISS, and they are its own as before, if all requests are in use or no worker
   * is there.
   */
  submit(id: number, block: number, buffers: readonly number[]): number {
    const { exports } = this.#attachment;
    const request = exports.beginRequest(id, block);
    if (request < 0) return ST_MISS;
    for (const buffer of buffers) exports.addToRequest(request, buffer);
    return exports.submitRequest(request) < 0 ? ST_MISS : request;
  }

  /**
   * Waits for the end of a request. REQUEST_DONE: its frames are valid. REQUEST_FAILED: they are
   * nobody's, or valid by now. Where it throws, what is this backend's is ended.
   */
  *ended(request: number, buffers: readonly number[]): Routine<number> {
    try {
      for (;;) {
        const fate = this.#attachment.exports.awaitRequest(request);
        if (fate !== ST_WAIT) return fate;
        yield SLEEP;
      }
    } catch (error) {
      this.forsake(request, buffers);
      throw error;
    }
  }

  /** Waits no longer: the frames are ended, or left to the worker that has them. */
  forsake(request: number, buffers: readonly number[]): void {
    const { exports } = this.#attachment;
    if (exports.forsakeRequest(request) !== ST_MISS) return;
    for (const buffer of buffers) exports.finishRead(buffer, 0);
  }
}
