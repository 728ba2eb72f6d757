/** What the two threads tell the main one, and what they find in shared memory. */

import type { SharedMemoryHandle } from "../../bindings/index.ts";

/** Money from one account to another. Accounts are words of the segment {@link BANK}. */
export interface Transfer {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly amount: number;
}

/** What a thread is started with. */
export interface TellerData {
  readonly handle: SharedMemoryHandle;
  readonly transfer: Transfer;
}

/** PostgreSQL's report of a deadlock. */
export interface DeadlockReport {
  readonly code: string;
  readonly message: string;
  readonly detail: string;
  readonly hint: string;
}

/** Something that happened in a thread. */
export interface TellerEvent {
  readonly name: string;
  /** The thread, as error reports call it. */
  readonly pid: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly what: "asks" | "got" | "deadlock" | "released" | "done";
  /** The account it is about, if it is about one. */
  readonly account?: number;
  readonly report?: DeadlockReport;
}

/** The segment: a word an account, and how many threads have their first lock. */
export const BANK = "bank";
export const BANK_BYTES = 1024;
export const BARRIER = 255;
