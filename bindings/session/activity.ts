/**
 * What a session is doing, in the words of `pg_stat_activity`.
 *
 * PostgreSQL: src/backend/utils/activity/backend_status.c, pgstat_report_activity
 */

import type { Backend } from "../shared/backend.ts";
import type { CommandLoop } from "./command-loop.ts";

/** One session, with columns of `pg_stat_activity`. */
export interface ActivityRow {
  /** Place in the region; several backends of one thread have one each. */
  readonly slot: number;
  readonly application_name: string;
  readonly backend_start: Date;
  readonly xact_start: Date | null;
  readonly query_start: Date | null;
  readonly state_change: Date;
  readonly state: "active" | "idle" | "idle in transaction" | "idle in transaction (aborted)";
  /** Name of the query under way, or of the last one. */
  readonly query: string;
}

/** The row of a session. @internal */
export function activityRow(backend: Backend, loop: CommandLoop): ActivityRow {
  const { times, lastQuery } = loop;
  return {
    slot: backend.slot,
    application_name: backend.settings.values.application_name,
    backend_start: times.started,
    xact_start: times.transaction,
    query_start: times.query,
    state_change: times.change,
    state: stateOf(loop),
    query: lastQuery,
  };
}

function stateOf(loop: CommandLoop): ActivityRow["state"] {
  if (loop.isRunning) return "active";
  if (!loop.inBlock) return "idle";
  return loop.ground.transactions.failed ? "idle in transaction (aborted)" : "idle in transaction";
}
