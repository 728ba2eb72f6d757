/**
 * What the main thread and the backends' worker threads say to each other. Everything here can be
 * posted; errors travel as {@link ErrorReport}, because a structured clone drops their fields.
 */

import { PallocError, type SharedMemoryHandle } from "../../bindings/index.ts";
import type { Holdings } from "./leaks.ts";
import type { PartialResult, Question } from "./query.ts";
import type { SessionUse, Sight } from "./sight.ts";

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

/** Where a load is; the check of a file counts bytes. */
export interface LoadProgress {
  readonly phase: "check" | "rows" | "checkpoint";
  readonly done: number;
  readonly total: number;
}

/** What a load did. */
export interface LoadOutcome {
  /** False when the table was there already. */
  readonly loaded: boolean;
  /** Name of the table. */
  readonly relation: string;
  readonly blocks: number;
  /** Rows loaded; 0 when the table was there already. */
  readonly rows: number;
  /** Whether the rest of an interrupted load was found and dropped. */
  readonly restarted: boolean;
  readonly seconds: number;
  readonly checkpointSeconds: number;
  /** Buffers that were still dirty when the last row was in. */
  readonly checkpointBuffers: number;
  /** The loader's session when it was about to commit; missing when nothing was loaded. */
  readonly sight?: Sight;
}

/** What load-worker.ts posts. */
export type LoadMessage =
  | { readonly kind: "progress"; readonly progress: LoadProgress }
  | { readonly kind: "done"; readonly value: LoadOutcome; readonly use: SessionUse }
  | { readonly kind: "failed"; readonly error: ErrorReport };

/** What the main thread posts to query-worker.ts. */
export type QueryRequest =
  | {
      readonly kind: "query";
      readonly question: Question;
      /** Variables of the leader's session, as its transaction has set them. */
      readonly settings: Readonly<Record<string, string>>;
      /** Index of the backend in its query. */
      readonly backend: number;
    }
  | { readonly kind: "disconnect" };

/** What a backend, or the leader, held before and after a query. */
export interface BackendAudit {
  readonly before: Holdings;
  readonly after: Holdings;
}

/** A backend's answer to a query. */
export interface BackendResult {
  readonly partial: PartialResult;
  readonly audit: BackendAudit;
  readonly use: SessionUse;
}

/** What query-worker.ts posts. */
export type QueryMessage =
  | { readonly kind: "connected" }
  | { readonly kind: "sight"; readonly sight: Sight }
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
