// A worker that ends at a numbered point of one operation, or whose stack does; see points.ts. The
// same is done by the test's own thread (`runOperation`).

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
  /** What happens there: the thread sleeps until it is terminated, or its stack overflows. */
  readonly fate: Fate;
  readonly words: Int32Array;
}

export type Fate = "sleeps" | "overflows";

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
const OVERFLOWED = 4;

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

/** Ends the stack, and by that the call into wasm that has called this. */
function dive(depth: number): number {
  return dive(depth + 1) + 1;
}

/** The import: counts, and at the point sleeps until the thread is terminated, or dives. */
function stepAt({ point, words, fate }: PointsData): () => void {
  return () => {
    if (!armed) return;
    passed += 1;
    if (passed !== point) return;
    if (fate === "overflows") dive(0);
    Atomics.store(words, STATE, AT_POINT);
    Atomics.wait(words, SLEEP, 0);
  };
}

/** Attaches by the points build, and counts steps from then on. */
function attachAt(data: PointsData): Backend {
  const { Instance } = engine;
  const step = stepAt(data);
  // The module asks for one import more than the one that ships.
  engine.Instance = class {
    constructor(module: object, imports: Imports) {
      // biome-ignore lint/correctness/noConstructorReturn: it stands in for the engine's own.
      return new Instance(module, { ...imports, host: { ...imports.host, step } });
    }
  };
  armed = data.operation === "attach";
  passed = 0;
  try {
    return Backend.attachSync(data.handle, { onWarning: () => {} });
  } finally {
    armed = false;
    engine.Instance = Instance;
  }
}

/** Does one operation, and says in `words` how it ended. @throws what is no overflow */
export function runOperation(data: PointsData): Backend {
  const { operation, words } = data;
  const backend = attachAt(data);
  if (operation !== "attach") perform(acts[operation], backend);
  const isTorn = isRefused(backend);
  Atomics.store(words, PASSED, passed);
  Atomics.store(words, STATE, isTorn ? OVERFLOWED : DONE);
  // What a torn backend held its owner gives back.
  if (!isTorn) backend.detach();
  return backend;
}

function perform(act: Act, backend: Backend): void {
  const relation = backend.openRelationSync("points");
  armed = true;
  try {
    act(backend, relation);
  } catch (error) {
    // Or what came after it, when something was to be given back.
    const cause = error instanceof RangeError ? error : (error as Error).cause;
    if (!(cause instanceof RangeError)) throw error;
  } finally {
    armed = false;
  }
}

/** Whether a backend says that it has crashed. */
function isRefused({ buffers }: Backend): boolean {
  try {
    buffers.pinnedBuffers();
    return false;
  } catch (error) {
    return (error as Error).message.startsWith("this backend has crashed");
  }
}

if (workerData !== null && "operation" in (workerData as object)) {
  const data = workerData as PointsData;
  runOperation(data);
  // It lives on: what is given back is given back because the call was torn.
  if (Atomics.load(data.words, STATE) === OVERFLOWED) Atomics.wait(data.words, SLEEP, 0);
}
