/**
 * What the main thread and the backends' worker threads say to each other. Everything here can be
 * posted; errors travel as {@link ErrorReport}, because a structured clone drops their fields.
 */

import { PallocError, type SharedMemoryHandle } from "../../bindings/index.ts";
import type { CsvTable } from "./csv/table.ts";
import type { Holdings } from "./leaks.ts";
import type { PartialResult, Plan } from "./query.ts";

/** An error on its way between threads. */
export interface ErrorReport {
  readonly name: string;
  readonly message: string;
  /** SQLSTATE; missing when the error was not thrown on purpose. */
  readonly code?: string;
  readonly detail?: string;
  readonly hint?: string;
  readonly stack?: string;
}

/** The flights, to be loaded from their Parquet file. */
export interface FlightsSource {
  readonly kind: "flights";
  readonly path: string;
  /** Relation to have in the end. */
  readonly relation: string;
  /** Rows to load at most. */
  readonly maxRows: number;
}

/** A CSV file, and what is to be asked of it. */
export interface CsvSource {
  readonly kind: "csv";
  /** Absolute. */
  readonly path: string;
  /** Name of the column to group by; a missing one is told together with those there are. */
  readonly groupBy: string | undefined;
  /** Name of the column to aggregate. */
  readonly agg: string | undefined;
  /** Rows to load at most. */
  readonly maxRows: number;
  /** Whether to load the file again though it is the one that was loaded. */
  readonly reload: boolean;
}

/** `workerData` of load-worker.ts. */
export interface LoadRequest {
  readonly handle: SharedMemoryHandle;
  readonly source: FlightsSource | CsvSource;
}

/** A CSV table, with what a query does with it. */
export interface CsvPlan extends CsvTable {
  /** Index of the column to group by. */
  readonly groupBy: number;
  /** Index of the column to aggregate. */
  readonly agg: number;
}

/** What there is to be queried after a load. */
export interface LoadedTable {
  readonly relation: string;
  /** Missing for flights. */
  readonly csv?: CsvPlan;
}

/** Where a load is; the check of a file counts bytes. */
export interface LoadProgress {
  readonly phase: "check" | "rows" | "checkpoint";
  readonly done: number;
  readonly total: number;
}

/** What a load did. */
export interface LoadOutcome {
  /** False when the relation was there already. */
  readonly loaded: boolean;
  readonly blocks: number;
  /** Rows loaded; 0 when the relation was there already. */
  readonly rows: number;
  /** Whether the rest of an interrupted load was found and dropped. */
  readonly restarted: boolean;
  readonly seconds: number;
  readonly checkpointSeconds: number;
  /** Buffers that were still dirty when the last row was in. */
  readonly checkpointBuffers: number;
}

/** What load-worker.ts posts. */
export type LoadMessage =
  | { readonly kind: "progress"; readonly progress: LoadProgress }
  | { readonly kind: "done"; readonly value: LoadOutcome; readonly table: LoadedTable }
  | { readonly kind: "failed"; readonly error: ErrorReport };

/** What the main thread posts to query-worker.ts. */
export type QueryRequest =
  | {
      readonly kind: "query";
      readonly plan: Plan;
      readonly blocks: number;
      /** Index of the backend in its query. */
      readonly backend: number;
    }
  | { readonly kind: "detach" };

/** What a backend, or the leader, held before and after a query. */
export interface BackendAudit {
  readonly before: Holdings;
  readonly after: Holdings;
}

/** A backend's answer to a query. */
export interface BackendResult {
  readonly partial: PartialResult;
  readonly audit: BackendAudit;
}

/** What query-worker.ts posts. */
export type QueryMessage =
  | { readonly kind: "attached"; readonly blocks: number }
  | { readonly kind: "contexts"; readonly text: string }
  | { readonly kind: "groups"; readonly packed: Uint8Array }
  | { readonly kind: "done"; readonly value: BackendResult }
  | { readonly kind: "cancelled"; readonly audit: BackendAudit }
  | { readonly kind: "failed"; readonly error: ErrorReport; readonly audit?: BackendAudit };

/** Takes an error apart for posting. */
export function reportOf(error: unknown): ErrorReport {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const { name, message } = error;
  if (!(error instanceof PallocError)) {
    return { name, message, ...(error.stack === undefined ? {} : { stack: error.stack }) };
  }
  const fields: Record<string, string> = {};
  for (const field of ["detail", "hint"]) {
    const value: unknown = Reflect.get(error, field);
    if (typeof value === "string") fields[field] = value;
  }
  return { name, message, code: error.code, ...fields };
}

/** An error that another thread posted. */
export class RemoteError extends PallocError {
  /** The error as it was posted. */
  readonly report: ErrorReport;

  constructor(report: ErrorReport) {
    const { code = "XX000", message, detail, hint } = report;
    super(code, message, {
      ...(detail === undefined ? {} : { detail }),
      ...(hint === undefined ? {} : { hint }),
    });
    this.name = report.name;
    this.report = report;
  }
}
