/**
 * One instance of shared.wasm acting for one backend slot, and the one place where a synchronous
 * call sleeps. What is above (pool, relations, backend) never sees a status that means "wait".
 */

import { ST_ALREADY_LOCKED, ST_BUSY, ST_SELF, ST_WAIT } from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import { errorOf, waitedTooLong } from "./statuses.ts";
import { canSleep } from "./threads.ts";

/** A sleeper looks again at least this often whether the region still runs. */
const LOOK_AGAIN_MS = 1000;
/** On a thread that must not sleep: length of a nap, and how long a call may take in all. */
const NAP_MS = 10;
/** A browser's page may not be put to sleep at all: there a wait is looking again. */
const napMs = canSleep() ? NAP_MS : 0;
const BOUNDED_WAIT_MS = 5000;

/** A backend's access to the region. @internal */
export class Attachment {
  readonly exports: SharedExports;
  /** The whole region. Fixed in size, so that these views last as long as it does. */
  readonly buffer: SharedArrayBuffer;
  readonly i32: Int32Array;
  readonly slot: number;
  readonly mayBlock: boolean;

  constructor(exports: SharedExports, buffer: SharedArrayBuffer, slot: number, mayBlock: boolean) {
    this.exports = exports;
    this.buffer = buffer;
    this.i32 = new Int32Array(buffer);
    this.slot = slot;
    this.mayBlock = mayBlock;
    exports.enter(slot, mayBlock ? 1 : 0);
  }

  /** When a call that begins now has waited long enough. */
  deadline(): number {
    return this.mayBlock ? Number.POSITIVE_INFINITY : performance.now() + BOUNDED_WAIT_MS;
  }

  /** Sleeps on the word that a status registered. @throws when the region is gone or time is up */
  sleep(deadline: number): void {
    const status = this.exports.sleep(this.mayBlock ? LOOK_AGAIN_MS : napMs);
    if (status < 0) throw errorOf(status, this.i32);
    if (performance.now() > deadline) throw waitedTooLong(BOUNDED_WAIT_MS);
  }

  /** Calls until the result is neither ST_WAIT nor ST_BUSY, sleeping in between. */
  untilDone(call: () => number): number {
    const deadline = this.deadline();
    for (;;) {
      const status = call();
      if (status !== ST_WAIT && status !== ST_BUSY) return status;
      this.sleep(deadline);
    }
  }

  /** Passes a good result on, and throws what a bad one stands for. */
  check(status: number): number {
    if (status < 0) throw errorOf(status, this.i32);
    return status;
  }

  /** Runs `work` under a named lock, which may be held across I/O. Not reentrant. */
  withNamedLock<Result>(lock: number, work: () => Result): Result {
    const status = this.untilDone(() => this.exports.lockNamed(lock));
    this.check(status === ST_ALREADY_LOCKED ? ST_SELF : status);
    try {
      return work();
    } finally {
      this.exports.unlockNamed(lock);
    }
  }
}
