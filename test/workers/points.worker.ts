// A worker that ends at a numbered point of one operation; see points.ts.

import { workerData } from "node:worker_threads";
import { Backend, type Relation, type SharedMemoryHandle } from "../../bindings/index.ts";
import { checkedVersion, stampPage } from "./stress-page.ts";

/** What the worker is started with. */
export interface PointsData {
  /** Its module is the points build. */
  readonly handle: SharedMemoryHandle;
  readonly operation: OperationName;
  /** Number of the point, from 1; 0 counts them. */
  readonly point: number;
  readonly words: Int32Array;
}

/** An operation whose points are visited. */
export type OperationName =
  | "attach"
  | "hit"
  | "miss and eviction"
  | "eviction with write-back"
  | "content locks"
  | "page change"
  | "page change with a miss"
  | "extension"
  | "flush"
  | "truncation"
  | "checkpoint"
  | "advisory locks"
  | "relation locks"
  | "detach";

type Act = (backend: Backend, relation: Relation) => void;

const STATE = 0;
const PASSED = 1;
const SLEEP = 2;
const AT_POINT = 2;
const DONE = 3;

const change: (block: number) => Act = (block) => (backend, relation) => {
  backend.buffers.changeSync(relation, block, (bytes) => {
    stampPage(bytes, block, checkedVersion(bytes, block, true) + 1);
  });
};

/** Blocks 0 to 15 are in the pool, odd ones dirty; 16 and more are not. */
const acts: Readonly<Record<OperationName, Act>> = {
  attach: () => {},
  hit: ({ buffers }, { id }) => buffers.unpin(buffers.pin(id, 2)),
  "miss and eviction": ({ buffers }, { id }) => buffers.unpin(buffers.pin(id, 20)),
  "eviction with write-back": ({ buffers }, relation) => {
    for (const block of [20, 21, 22]) buffers.readSync(relation, block)[Symbol.dispose]();
  },
  "content locks": ({ buffers }, { id }) => {
    const buffer = buffers.pin(id, 2);
    buffers.lockShare(buffer);
    buffers.unlock(buffer);
    buffers.lockExclusive(buffer);
    buffers.unlock(buffer);
    buffers.lockForCleanup(buffer);
    buffers.unlock(buffer);
    buffers.unpin(buffer);
  },
  "page change": change(2),
  "page change with a miss": change(20),
  extension: ({ buffers }, relation) => void buffers.extendSync(relation, 2),
  flush: ({ buffers }, relation) => void buffers.flushSync(relation),
  truncation: (backend, relation) => backend.truncateSync(relation, 4),
  checkpoint: (backend) => void backend.checkpointSync(),
  "advisory locks": ({ locks }) => {
    locks.advisoryLockSync(7n);
    locks.advisoryLockSharedSync(8n);
    locks.advisoryUnlock(7n);
    locks.advisoryUnlockAll();
  },
  // The weak one by the fast path, the strong one by the table.
  "relation locks": ({ locks }, { number }) => {
    locks.lockRelationSync(number, "AccessShareLock");
    locks.lockRelationSync(number, "AccessExclusiveLock");
    locks.unlockRelationSync(number, "AccessExclusiveLock");
    locks.unlockRelationSync(number, "AccessShareLock");
  },
  detach: (backend, { id }) => {
    backend.buffers.lockShare(backend.buffers.pin(id, 2));
    backend.detach();
  },
};

export const operations: readonly OperationName[] = Object.keys(acts) as OperationName[];

interface Imports {
  readonly host: object;
}
type Constructor = new (module: object, imports: Imports) => object;
const engine: { Instance: Constructor } = (
  globalThis as unknown as { readonly WebAssembly: { Instance: Constructor } }
).WebAssembly;

let armed = false;
let passed = 0;

/** The import: counts, and at the point sleeps until the thread is terminated. */
function stepAt({ point, words }: PointsData): () => void {
  return () => {
    if (!armed) return;
    passed += 1;
    if (passed !== point) return;
    Atomics.store(words, STATE, AT_POINT);
    Atomics.wait(words, SLEEP, 0);
  };
}

function run(data: PointsData): void {
  const { handle, operation, words } = data;
  const { Instance } = engine;
  const step = stepAt(data);
  // The module asks for one import more than the one that ships.
  engine.Instance = class {
    constructor(module: object, imports: Imports) {
      // biome-ignore lint/correctness/noConstructorReturn: it stands in for the engine's own.
      return new Instance(module, { ...imports, host: { ...imports.host, step } });
    }
  };
  armed = operation === "attach";
  const backend = Backend.attachSync(handle, { onWarning: () => {} });
  armed = false;
  const act: Act = acts[operation];
  if (operation !== "attach") {
    const relation = backend.openRelationSync("points");
    armed = true;
    act(backend, relation);
    armed = false;
  }
  Atomics.store(words, PASSED, passed);
  Atomics.store(words, STATE, DONE);
  backend.detach();
}

if (workerData !== null && "operation" in (workerData as object)) run(workerData as PointsData);
