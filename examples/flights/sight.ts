/**
 * What a session shows of itself: its contexts, its pins, its rows of pg_locks in the middle of a
 * query, and what it has done since it was connected. The report is made of these; what they show
 * is explained in docs/life-of-a-backend.md.
 */

import type {
  ActivityState,
  CatalogStatistics,
  LockMode,
  LockRow,
  Session,
} from "../../bindings/index.ts";
import type { TableCatalog } from "./table-catalog.ts";

/** A lock of the session's own: the columns of `pg_locks` that say something here. */
export interface LockSight {
  readonly relation: number | null;
  readonly mode: LockMode;
  readonly granted: boolean;
  /** Whether it stands beside the lock table, as weak locks on relations do. */
  readonly fastpath: boolean;
}

/** A session at one moment. */
export interface Sight {
  readonly state: ActivityState;
  /** The context tree, as MemoryContextStats prints it. */
  readonly contexts: string;
  readonly locks: readonly LockSight[];
  /** Pages pinned. */
  readonly pins: number;
}

/** What a session has done since it was connected. */
export interface SessionUse {
  readonly commits: number;
  readonly rollbacks: number;
  /** Look-ups in the catalog of tables. */
  readonly catalog: CatalogStatistics;
}

/** Looks at a session as it is now. */
export function sightOf({ backend, state }: Session): Sight {
  return {
    state,
    contexts: backend.memory.statsText(),
    locks: ownLocks(backend).map(({ relation, mode, granted, fastpath }) => {
      return { relation, mode, granted, fastpath };
    }),
    pins: backend.buffers.pinnedBuffers(),
  };
}

/** The rows of `pg_locks` that are this backend's. */
export function ownLocks({ locks, slot }: Session["backend"]): LockRow[] {
  return locks.rows().filter((row) => row.slot === slot);
}

/** Counts a session's transactions. */
export class SessionLog {
  readonly #tables: TableCatalog;
  #commits = 0;
  #rollbacks = 0;

  constructor(session: Session, tables: TableCatalog) {
    this.#tables = tables;
    session.onTransaction((event) => {
      if (event === "commit") this.#commits += 1;
      if (event === "abort") this.#rollbacks += 1;
    });
  }

  /** What there was so far. */
  get use(): SessionUse {
    return {
      commits: this.#commits,
      rollbacks: this.#rollbacks,
      catalog: this.#tables.statistics,
    };
  }
}
