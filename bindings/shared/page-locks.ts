/**
 * Content locks that may have to be waited for, as routines: share, exclusive, cleanup.
 *
 * A backend has one content lock a buffer. What another task of the same backend holds is waited
 * for by promise forms and refused in synchronous ones, as everywhere (routine.ts).
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, LockBuffer, LockBufferForCleanup
 */

import { ST_DRAIN, ST_OK, ST_WAIT } from "../../assembly/common/constants.ts";
import type { Attachment } from "./attachment.ts";
import { HELD, type Routine, SLEEP } from "./routine.ts";

/** Waits for content locks for one backend. @internal */
export class PageLocks {
  readonly #attachment: Attachment;
  /** Whether one of this backend's tasks waits for a cleanup lock: it can say so for one buffer. */
  #cleaning = false;

  constructor(attachment: Attachment) {
    this.#attachment = attachment;
  }

  /** @returns ST_OK, or why this backend may not ask */
  *share(buffer: number): Routine<number> {
    const { exports } = this.#attachment;
    for (;;) {
      const status = exports.lockShare(buffer);
      if (status !== ST_WAIT) return status;
      yield SLEEP;
    }
  }

  /** @returns ST_OK, or why this backend may not ask */
  *exclusive(buffer: number): Routine<number> {
    const { exports } = this.#attachment;
    let status = exports.lockExclusive(buffer);
    let owned = false;
    try {
      while (status === ST_WAIT || status === ST_DRAIN) {
        owned = status === ST_DRAIN;
        yield SLEEP;
        status = owned ? exports.drainShares(buffer) : exports.lockExclusive(buffer);
      }
      owned = false;
    } finally {
      // Given up while share holders were waited for: the owner word is taken already.
      if (owned) exports.unlock(buffer);
    }
    return status;
  }

  /** Exclusive, with nobody else's pin on the buffer. @returns ST_OK, or why it cannot be had */
  *cleanup(buffer: number): Routine<number> {
    const { exports } = this.#attachment;
    const refusal = exports.cleanupRefusal(buffer);
    if (refusal !== ST_OK) return refusal;
    while (this.#cleaning) yield HELD;
    this.#cleaning = true;
    try {
      for (;;) {
        const locked = yield* this.exclusive(buffer);
        const status = locked === ST_OK ? exports.settleCleanup(buffer) : locked;
        if (status !== ST_WAIT) return status;
        yield SLEEP;
      }
    } finally {
      this.#cleaning = false;
      exports.giveUpCleanup();
    }
  }
}
