/**
 * A transaction block as an object with a scope: rolled back at the end of the scope unless it was
 * committed before. PostgreSQL's commands for blocks, and their checks, are here.
 *
 * PostgreSQL: src/backend/access/transam/xact.c, BeginTransactionBlock, EndTransactionBlock,
 * UserAbortTransactionBlock, DefineSavepoint, ReleaseSavepoint, RollbackToSavepoint
 */

import { ClosedError, PallocError } from "../abi/errors.ts";
import type { MemoryContext } from "../process/context.ts";
import type { CommandLoop, QueryOptions } from "./command-loop.ts";
import { Cursor, type CursorOptions, type RowSource } from "./cursor.ts";
import { identifier } from "./identifiers.ts";
import { runToEnd, suppressed } from "./outcome.ts";
import type { Query } from "./query.ts";
import { inFailedTransaction } from "./refusals.ts";

/** What COMMIT did: a transaction that has failed can only be rolled back. */
export type CommandTag = "COMMIT" | "ROLLBACK";

/**
 * A transaction block of a session. What it gives back at its end: memory of its contexts, locks,
 * pins, settings. It does not undo changes of pages.
 */
export class Transaction {
  readonly #loop: CommandLoop;
  readonly #number: number;

  /** @internal */
  constructor(loop: CommandLoop) {
    this.#loop = loop;
    this.#number = loop.transaction;
  }

  /** Whether it has neither been committed nor rolled back. */
  get isOpen(): boolean {
    return this.#loop.inBlock && this.#loop.transaction === this.#number;
  }

  /**
   * What lives as long as the transaction, or as the innermost savepoint: TopTransactionContext, or
   * a CurTransactionContext. The current context between two queries.
   */
  get context(): MemoryContext {
    this.#mustBeOpen();
    const { context } = this.#loop.ground.transactions;
    if (context === undefined) throw new ClosedError("the transaction");
    return context;
  }

  /** As `query` of the session. */
  query<T>(name: string, work: (query: Query) => T, options: QueryOptions = {}): T {
    this.#mustBeOpen();
    return this.#loop.query(this, name, work, options);
  }

  /** As `cursor` of the session. */
  cursor<Row>(name: string, source: RowSource<Row>, options: CursorOptions = {}): Cursor<Row> {
    this.#mustBeOpen();
    return declareCursor({ loop: this.#loop, by: this, name, source, options });
  }

  /** Begins a savepoint: what follows can be undone without the rest. */
  savepoint(name: string): void;
  /**
   * Runs `work` in a savepoint, which is released at its end, or rolled back and gone if it throws.
   * What `work` gives is given on.
   */
  savepoint<T>(name: string, work: () => T): T;
  savepoint<T>(name: string, work?: () => T): T | undefined {
    this.#mustBeOpen();
    defineSavepoint(this.#loop, this, name);
    return work === undefined ? undefined : this.#within(work);
  }

  /** Ends a savepoint and those after it; what was done in them stands. @throws 3B001 */
  release(name: string): void {
    this.#mustBeOpen();
    releaseSavepoint(this.#loop, this, name);
  }

  /** Undoes what was done since a savepoint, which stays. @throws 3B001 */
  rollbackTo(name: string): void {
    this.#mustBeOpen();
    rollbackToSavepoint(this.#loop, this, name);
  }

  /** Ends the transaction; what was done stands, unless it has failed before. */
  commit(): CommandTag {
    this.#mustBeOpen();
    return endTransaction(this.#loop, this, true);
  }

  /** Ends the transaction and undoes it, but for changes of pages. */
  rollback(): void {
    this.#mustBeOpen();
    endTransaction(this.#loop, this, false);
  }

  /** {@link rollback}, unless the transaction has ended. */
  [Symbol.dispose](): void {
    if (this.isOpen) this.rollback();
  }

  #mustBeOpen(): void {
    this.#loop.mustLive();
    if (!this.isOpen) throw new ClosedError("the transaction");
  }

  #within<T>(work: () => T): T {
    const { transactions } = this.#loop.ground;
    const { depth } = transactions;
    const undo = (error: unknown): unknown => {
      if (!this.isOpen || transactions.depth < depth) return error;
      try {
        rollbackToSavepoint(this.#loop, this, depth);
        releaseSavepoint(this.#loop, this, depth);
      } catch (later) {
        return suppressed(later, error);
      }
      return error;
    };
    return runToEnd(work, {
      succeeded: () => {
        if (transactions.failed) throw undo(inFailedTransaction());
        releaseSavepoint(this.#loop, this, depth);
      },
      failed: undo,
    });
  }
}

/** Runs work in a transaction of its own. @internal */
export function runTransaction<T>(loop: CommandLoop, work: (transaction: Transaction) => T): T {
  if (loop.inBlock) {
    throw new PallocError("25001", "there is already a transaction in progress", {
      hint: "Use transaction.savepoint(name, work) inside a transaction.",
    });
  }
  const transaction = beginTransaction(loop, undefined);
  loop.holder = transaction;
  const undo = (error: unknown): unknown => {
    loop.holder = undefined;
    try {
      transaction[Symbol.dispose]();
    } catch (later) {
      return suppressed(later, error);
    }
    return error;
  };
  return runToEnd(() => work(transaction), {
    succeeded: () => {
      loop.mustLive();
      if (transaction.isOpen && loop.ground.transactions.failed) throw undo(inFailedTransaction());
      try {
        if (transaction.isOpen) transaction.commit();
      } catch (error) {
        throw undo(error);
      }
      loop.holder = undefined;
    },
    failed: undo,
  });
}

// ── Commands ─────────────────────────────────────────────────────────────────────────────────────

/** BEGIN. @internal */
export function beginTransaction(loop: CommandLoop, by: object | undefined): Transaction {
  loop.command(by, () => {
    if (loop.inBlock) {
      loop.ground.messages.warning("25001", "there is already a transaction in progress");
    } else loop.startBlock(true);
  });
  return new Transaction(loop);
}

/** COMMIT or ROLLBACK. @internal */
export function endTransaction(
  loop: CommandLoop,
  by: object | undefined,
  isCommit: boolean,
): CommandTag {
  const { transactions, messages } = loop.ground;
  const command = (): CommandTag => {
    if (!loop.inBlock) {
      messages.warning("25P01", "there is no transaction in progress");
      return isCommit ? "COMMIT" : "ROLLBACK";
    }
    const commits = isCommit && !transactions.failed;
    loop.endBlock(commits);
    return commits ? "COMMIT" : "ROLLBACK";
  };
  return loop.command(by, command, true);
}

/** SAVEPOINT. @internal */
export function defineSavepoint(loop: CommandLoop, by: object | undefined, name: string): void {
  const savepoint = nameOf(loop, name);
  loop.command(by, () => {
    mustBeInBlock(loop, "SAVEPOINT");
    loop.ground.transactions.startSub(savepoint);
  });
}

/** RELEASE SAVEPOINT. @param which - name, or depth @internal */
export function releaseSavepoint(
  loop: CommandLoop,
  by: object | undefined,
  which: string | number,
): void {
  const savepoint = typeof which === "number" ? which : nameOf(loop, which);
  loop.command(by, () => {
    mustBeInBlock(loop, "RELEASE SAVEPOINT");
    const { transactions } = loop.ground;
    const depth = depthOf(loop, savepoint);
    while (transactions.depth >= depth) transactions.commitSub();
  });
}

/** ROLLBACK TO SAVEPOINT. @param which - name, or depth @internal */
export function rollbackToSavepoint(
  loop: CommandLoop,
  by: object | undefined,
  which: string | number,
): void {
  const savepoint = typeof which === "number" ? which : nameOf(loop, which);
  const command = (): void => {
    mustBeInBlock(loop, "ROLLBACK TO SAVEPOINT");
    const { transactions } = loop.ground;
    const depth = depthOf(loop, savepoint);
    const name = transactions.nameAt(depth);
    while (transactions.depth >= depth) transactions.rollbackSub();
    transactions.startSub(name);
  };
  loop.command(by, command, true);
}

/** A cursor that is to be declared. @internal */
export interface Declaration<Row> {
  readonly loop: CommandLoop;
  readonly by: object | undefined;
  readonly name: string;
  readonly source: RowSource<Row>;
  readonly options: CursorOptions;
}

/** DECLARE CURSOR; one that is held needs no block. @internal */
export function declareCursor<Row>(declaration: Declaration<Row>): Cursor<Row> {
  const { loop, by, source, options } = declaration;
  const name = nameOf(loop, declaration.name);
  return loop.command(by, () => {
    const isAlone = options.hold === true && !loop.inBlock;
    if (isAlone) loop.startBlock(false);
    else mustBeInBlock(loop, "DECLARE CURSOR");
    const cursor = new Cursor(loop, by, name, source, options);
    if (isAlone) loop.endBlock(true);
    return cursor;
  });
}

function mustBeInBlock(loop: CommandLoop, what: string): void {
  if (loop.inBlock) return;
  throw new PallocError("25P01", `${what} can only be used in transaction blocks`);
}

/** A name as the command's reading leaves it, before anything else is looked at. */
function nameOf(loop: CommandLoop, name: string): string {
  loop.mustLive();
  return identifier(name, loop.ground.messages);
}

/** @param which - name of a savepoint, or its depth */
function depthOf(loop: CommandLoop, which: string | number): number {
  if (typeof which === "number") return which;
  const depth = loop.ground.transactions.depthOf(which);
  if (depth > 0) return depth;
  throw new PallocError("3B001", `savepoint "${which}" does not exist`);
}
