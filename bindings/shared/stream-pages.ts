/**
 * What a read stream knows of pages it has dealt with ahead of their turn.
 *
 * PostgreSQL: src/backend/storage/aio/read_stream.c, InProgressIO, per buffer data
 */

import { BUFFER_MASK, IN_PROGRESS } from "../../assembly/common/constants.ts";
import { DataCorruptedError } from "../abi/errors.ts";
import { StorageError } from "../storage/manager.ts";
import type { StartedRead } from "./page-reader.ts";

/** A block that has been dealt with ahead of its turn. @internal */
export interface Ahead {
  readonly block: number;
  /** Pinned, unless there is an error. */
  readonly buffer: number;
  /** Somebody else was reading it, or could not. */
  readonly foreign: boolean;
  /** A worker was asked to read it, with those behind it. */
  readonly started?: StartedRead;
  readonly error?: DataCorruptedError;
}

/** Neighbours to be read, and the page that ended the search for more if it is pinned. @internal */
export interface Run {
  readonly block: number;
  readonly buffers: readonly number[];
  readonly last: Ahead | undefined;
}

/** A page as it was located: pinned. @internal */
export function aheadOf(block: number, status: number): Ahead {
  return { block, buffer: status & BUFFER_MASK, foreign: (status & IN_PROGRESS) !== 0 };
}

/** Whether an error is about what storage has, and not about how it was asked. @internal */
export function isOfThePage(error: unknown): boolean {
  return error instanceof StorageError || error instanceof DataCorruptedError;
}

/** Whether it can be delivered without a wait. @internal */
export function isReady({ foreign, error }: Ahead): boolean {
  return !foreign && error === undefined;
}

/** Pages of a run that are not there yet, by whomever they are read. @internal */
export function foreign(first: number, run: readonly number[]): Ahead[] {
  return run.map((buffer, index) => ({ block: first + index, buffer, foreign: true }));
}
