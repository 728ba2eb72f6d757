/**
 * A cursor: a query whose rows are fetched a few at a time, within a transaction. Between two
 * fetches its portal stays, with the query's context, pins and locks.
 *
 * PostgreSQL: src/backend/commands/portalcmds.c, PerformCursorOpen, PerformPortalFetch
 */

import type { CommandLoop, Running } from "./command-loop.ts";
import type { Query } from "./query.ts";

/** What makes the rows of a cursor. */
export type RowSource<Row> = (query: Query) => Iterator<Row, unknown, undefined>;

/** Rows of a query, fetched on demand. Ends with its transaction, or savepoint if rolled back. */
export class Cursor<Row> {
  readonly name: string;
  readonly #loop: CommandLoop;
  readonly #by: object | undefined;
  readonly #running: Running;
  readonly #rows: Iterator<Row, unknown, undefined>;
  #atEnd = false;

  /** @internal */
  constructor(loop: CommandLoop, by: object | undefined, name: string, source: RowSource<Row>) {
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
    return this.#loop.resume(this.#by, this.#running, () => this.#next(count));
  }

  /** Ends the cursor. Idempotent. */
  close(): void {
    if (!this.#exists) return;
    this.#loop.command(this.#by, () => this.#loop.dropPortal(this.#running.portal));
  }

  /** {@link close}; after a failure there is nothing to do, its rollback ends the cursor. */
  [Symbol.dispose](): void {
    if (this.#exists && !this.#loop.ground.transactions.failed) this.close();
  }

  get #exists(): boolean {
    return this.#loop.ground.portals.find(this.name) === this.#running.portal;
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
