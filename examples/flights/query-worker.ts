/**
 * The life of a backend that scans for the leader. Read it from the end: it connects; for each
 * query it begins a transaction, opens the table under a lock, runs the query and commits; it
 * disconnects when it is told to. Whatever happens in a query, the session gives back what it took,
 * and an audit says so: what the backend holds afterwards must be what it held before.
 */

import { parentPort, workerData } from "node:worker_threads";
import { Session, type SharedMemoryHandle, type Transaction } from "../../bindings/index.ts";
import { FLOW_SEGMENT, GroupFlow } from "./flow.ts";
import { holdingsOf } from "./leaks.ts";
import { type QueryMessage, type QueryRequest, reportOf } from "./messages.ts";
import { PartialQuery, type PartialResult, type SendGroups } from "./query.ts";
import { ParallelScan, SCAN_SEGMENT } from "./scan.ts";
import { SessionLog, sightOf } from "./sight.ts";
import { TableCatalog } from "./table-catalog.ts";

/** `workerData` of this file. */
export interface QueryWorkerData {
  readonly handle: SharedMemoryHandle;
  /** What the backend is called. */
  readonly name: string;
  /** The table that it is going to scan. */
  readonly relation: string;
}

type Request = QueryRequest & { readonly kind: "query" };

/** The lock of who reads a table: it keeps nobody from reading and writing, only from dropping. */
const LOCK = "AccessShareLock";

function post(message: QueryMessage, transfer: readonly ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, [...transfer]);
}

/** Thrown out of a query whose scan was cancelled while it sent its groups. */
class Cancelled extends Error {}

/** A session and what it uses, for as long as it is connected. */
class ScanBackend {
  readonly #session: Session;
  readonly #tables: TableCatalog;
  readonly #log: SessionLog;

  constructor(session: Session) {
    this.#session = session;
    this.#tables = new TableCatalog(session.backend);
    this.#log = new SessionLog(session, this.#tables);
  }

  /** Makes sure that there is such a table; its row is in the catalog cache then. */
  prepare(relation: string): void {
    this.#session.transaction(() => this.#tables.open(relation, LOCK));
  }

  /** Runs one query, in a transaction of its own, and posts what came of it. */
  answer(request: Request): void {
    const session = this.#session;
    const scan = new ParallelScan(session.backend.segment(SCAN_SEGMENT).words);
    const before = holdingsOf(session);
    try {
      const partial = session.transaction((transaction) => this.#run(transaction, request, scan));
      const audit = { before, after: holdingsOf(session) };
      if (scan.cancelled) post({ kind: "cancelled", audit });
      else post({ kind: "done", value: { partial, audit, use: this.#log.use } });
    } catch (error) {
      const audit = { before, after: holdingsOf(session) };
      if (error instanceof Cancelled) post({ kind: "cancelled", audit });
      else {
        scan.cancel();
        post({ kind: "failed", error: reportOf(error), audit });
      }
    }
  }

  #run(transaction: Transaction, request: Request, scan: ParallelScan): PartialResult {
    const session = this.#session;
    const { question, settings } = request;
    for (const [name, value] of Object.entries(settings)) {
      session.set(name, value, { local: true });
    }
    const table = this.#tables.open(question.relation, LOCK);
    return transaction.query("aggregate", (query) => {
      const work = new PartialQuery(session.backend, query, table, question);
      let shown = false;
      const show = (): void => {
        shown = true;
        post({ kind: "sight", sight: sightOf(session) });
      };
      const onPage = (block: number): void => {
        if (!shown && block * 2 >= scan.blocks) show();
      };
      const partial = work.run(scan, onPage, this.#sender(request, scan));
      if (!shown) show();
      return partial;
    });
  }

  /** Posts groups, no faster than the leader takes them. Their memory goes with them. */
  #sender({ backend }: Request, scan: ParallelScan): SendGroups {
    const flow = new GroupFlow(this.#session.backend.segment(FLOW_SEGMENT).words, backend);
    return (packed) => {
      if (!flow.begin(scan)) throw new Cancelled();
      post({ kind: "groups", packed }, [packed.buffer]);
    };
  }
}

async function run({ handle, name, relation }: QueryWorkerData): Promise<void> {
  const session = await Session.connect(handle, { applicationName: name });
  const backend = new ScanBackend(session);
  try {
    backend.prepare(relation);
  } catch (error) {
    session.close();
    throw error;
  }
  parentPort?.on("message", (request: QueryRequest) => {
    if (request.kind === "query") return backend.answer(request);
    session.close();
    parentPort?.close();
  });
  post({ kind: "connected" });
}

run(workerData as QueryWorkerData).catch((error: unknown) => {
  post({ kind: "failed", error: reportOf(error) });
});
