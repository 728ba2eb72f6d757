/**
 * Why a session does not take a command.
 *
 * PostgreSQL: src/backend/tcop/postgres.c, exec_simple_query
 */

import { PallocError } from "../abi/errors.ts";

/** @internal */
export function inFailedTransaction(cause?: unknown): PallocError {
  return new PallocError(
    "25P02",
    "current transaction is aborted, commands ignored until end of transaction block",
    cause === undefined ? {} : { cause },
  );
}

/** @internal */
export function busy(what: string): PallocError {
  return new PallocError("55006", `the session is busy: ${what} has not ended`, {
    hint: "Await it; inside transaction(…) use the object it gives. Tasks side by side need a session each.",
  });
}

/** Whether an error says no more than that the query was cancelled. @internal */
export function isBecauseOf(error: unknown, reason: PallocError | undefined): boolean {
  if (reason === undefined || !(error instanceof PallocError)) return false;
  return error.code === "57014" && error.cause === reason;
}
