/**
 * A backend's thread: attaches, opens the table, answers queries until it is told to detach. Each
 * query runs in a per-query context of its own, and is audited: what the backend holds afterwards
 * must be what it held before.
 */

import { parentPort, workerData } from "node:worker_threads";
import {
  Backend,
  PallocError,
  type Relation,
  type SharedMemoryHandle,
} from "../../bindings/index.ts";
import { FLOW_SEGMENT, GroupFlow } from "./flow.ts";
import { type Holdings, holdingsOf } from "./leaks.ts";
import { type QueryMessage, type QueryRequest, reportOf } from "./messages.ts";
import { PartialQuery, type PartialResult, type Plan, type SendGroups } from "./query.ts";
import { ParallelScan, SCAN_SEGMENT } from "./scan.ts";
import { TableCatalog } from "./table-catalog.ts";

/** `workerData` of this file. */
export interface QueryWorkerData {
  readonly handle: SharedMemoryHandle;
  readonly relation: string;
}

function post(message: QueryMessage): void {
  parentPort?.postMessage(message);
}

/** Thrown out of a query whose scan was cancelled while it sent its groups. */
class Cancelled extends Error {}

/** Posts groups, no faster than the leader takes them. Their memory goes with them. */
function sender(flow: GroupFlow, scan: ParallelScan): SendGroups {
  return (packed) => {
    if (!flow.begin(scan)) throw new Cancelled();
    parentPort?.postMessage({ kind: "groups", packed } satisfies QueryMessage, [packed.buffer]);
  };
}

function execute(
  backend: Backend,
  relation: Relation,
  plan: Plan,
  scan: ParallelScan,
  send: SendGroups,
): PartialResult {
  const executor = backend.memory.top.createChild("ExecutorState");
  let shown = false;
  const showContexts = (): void => {
    shown = true;
    post({ kind: "contexts", text: backend.memory.statsText() });
  };
  const query = new PartialQuery(backend, executor, relation, plan);
  const onRange = (first: number): void => {
    if (!shown && first * 2 >= scan.blocks) showContexts();
  };
  try {
    const partial = query.run(scan, onRange, send);
    if (!shown) showContexts();
    return partial;
  } finally {
    query.close();
    executor.delete();
  }
}

/** Runs one query and posts its outcome; every path gives back what the query took. */
function answer(
  backend: Backend,
  relation: Relation,
  request: QueryRequest & { kind: "query" },
): void {
  const holdings = (): Holdings => holdingsOf(backend.memory, backend.buffers.pinnedBuffers());
  const scan = new ParallelScan(backend.segment(SCAN_SEGMENT).words, request.blocks);
  const before = holdings();
  try {
    const flow = new GroupFlow(backend.segment(FLOW_SEGMENT).words, request.backend);
    const partial = execute(backend, relation, request.plan, scan, sender(flow, scan));
    const audit = { before, after: holdings() };
    post(
      scan.cancelled ? { kind: "cancelled", audit } : { kind: "done", value: { partial, audit } },
    );
  } catch (error) {
    const audit = { before, after: holdings() };
    if (error instanceof Cancelled) post({ kind: "cancelled", audit });
    else {
      scan.cancel();
      post({ kind: "failed", error: reportOf(error), audit });
    }
  }
}

function openTable(backend: Backend, name: string): Relation {
  try {
    // The catalog knows of complete tables alone.
    if (new TableCatalog(backend).find(name) === undefined) {
      throw new PallocError("42P01", `relation "${name}" does not exist`);
    }
    return backend.openRelationSync(name);
  } catch (error) {
    backend.detach();
    throw error;
  }
}

async function run({ handle, relation: name }: QueryWorkerData): Promise<void> {
  const backend = await Backend.attach(handle);
  const relation = openTable(backend, name);
  parentPort?.on("message", (request: QueryRequest) => {
    if (request.kind === "query") return answer(backend, relation, request);
    backend.detach();
    parentPort?.close();
  });
  post({ kind: "attached", blocks: relation.blocksSync() });
}

run(workerData as QueryWorkerData).catch((error: unknown) => {
  post({ kind: "failed", error: reportOf(error) });
});
