/**
 * A cursor: a query whose rows are fetched a few at a time, within a transaction. Between two
 * fetches its portal stays, with the query's context, pins and locks.
 *
 * One that is to be held outlives its transaction: when that commits, the rows that were not
 * fetched are made and kept, and the query ends with all it has. If making them fails, so does the
 * commit.
 *
 * PostgreSQL: src/backend/commands/portalcmds.c, PerformCursorOpen, PerformPortalFetch,
 * PersistHoldablePortal
 */

import type { CommandLoop, Running } from "./command-loop.ts";
import type { Query } from "./query.ts";

/** What makes the rows of a cursor. */
export type RowSource<Row> = (query: Query) => Iterator<Row, unknown, undefined>;

/** How a cursor is declared. */
export interface CursorOptions {
  /**
   * Whether it outlives its transaction, as `with hold`. At the commit its rows are made to the
   * last and kept as what the source gives: they must not be addresses of the query's memory, which
   * goes then. Default false.
   */
  readonly hold?: boolean;
}

/** Rows of a query, fetched on demand. Ends with its transaction, or savepoint if rolled back. */
export class Cursor<Row> {
  readonly name: string;
  readonly #loop: CommandLoop;
  readonly #by: object | undefined;
  readonly #running: Running;
  readonly #rows: Iterator<Row, unknown, undefined>;
  #atEnd = false;
  /** What its transaction has left, once that has committed. */
  #held: Row[] | undefined;

  /** @internal */
  constructor(
    loop: CommandLoop,
    by: object | undefined,
    name: string,
    source: RowSource<Row>,
    { hold = false }: CursorOptions = {},
  ) {
    this.name = name;
    this.#loop = loop;
    this.#by = by;
    this.#running = loop.openPortal(name);
    const { query, portal } = this.#running;
    this.#rows = source(query);
    portal.cleanup = () => {
      try {
        this.#rows.return?.();
      } finally {
        query.end();
      }
    };
    if (!hold) return;
    portal.persist = () => {
      this.#held = loop.within(this.#running, () => this.#next(Number.POSITIVE_INFINITY));
    };
  }

  /**
   * The next rows: `count` of them, or fewer if there are no more.
   *
   * @param count - from 1; default 1
   * @throws {@link PallocError} 34000 after the cursor's end; 55000 after it has failed
   */
  fetch(count = 1): Row[] {
    if (!Number.isInteger(count) || count < 1) {
      throw new RangeError(`rows are fetched by 1 or more, not ${count}`);
    }
    const held = this.#held;
    if (held === undefined) {
      return this.#loop.resume(this.#by, this.#running, () => this.#next(count));
    }
    return this.#command(() => {
      this.#loop.mustBeThere(this.#running.portal);
      return held.splice(0, count);
    });
  }

  /** Ends the cursor. Idempotent. */
  close(): void {
    if (!this.#exists) return;
    this.#command(() => this.#loop.dropPortal(this.#running.portal));
    this.#held?.splice(0);
  }

  /** {@link close}; after a failure there is nothing to do, its rollback ends the cursor. */
  [Symbol.dispose](): void {
    if (this.#exists && !this.#loop.ground.transactions.failed) this.close();
  }

  get #exists(): boolean {
    return this.#loop.ground.portals.find(this.name) === this.#running.portal;
  }

  /** One that is held is of no transaction: whoever gives commands may fetch from it. */
  #command<Result>(work: () => Result): Result {
    const by = this.#held === undefined ? this.#by : this.#loop.holder;
    return this.#loop.command(by, work);
  }

  #next(count: number): Row[] {
    const rows: Row[] = [];
    while (rows.length < count && !this.#atEnd) {
      const next = this.#rows.next();
      if (next.done === true) this.#atEnd = true;
      else rows.push(next.value);
    }
    return rows;
  }
}
