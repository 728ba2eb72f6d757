/**
 * Threads, on Node and in browsers: who this thread is, and how the owner of a region learns that
 * another one has ended. Only that knowledge permits repair, so it must be proof:
 *
 * - Node: the worker's 'exit' event, which comes after the thread has stopped and after its
 *   outstanding file operations have ended. It reaches only the thread that created the worker; the
 *   owner sees all that its own thread creates from then on, and earlier ones through `watch`.
 * - Browsers: a Web Lock that the attaching thread holds; the owner is granted it once the thread
 *   is gone, and never while it can still write.
 *
 * Neither a call of `terminate()` nor a silent thread is proof.
 *
 * Node's modules are asked for at run time, so that a browser's bundle carries no trace of them.
 */

/** What palloc needs of Node's `worker_threads.Worker`. */
export interface WatchableWorker {
  readonly threadId: number;
  once(event: "exit", listener: (exitCode: number) => void): unknown;
}

interface NodeThreads {
  readonly threadId: number;
  readonly isMainThread: boolean;
}

interface NodeProcess {
  readonly versions?: { readonly node?: string };
  getBuiltinModule?(name: string): unknown;
  on(event: "worker", listener: (worker: WatchableWorker) => void): unknown;
  once(event: "exit", listener: () => void): unknown;
  emitWarning(message: string, type: string): void;
  off(event: "worker", listener: (worker: WatchableWorker) => void): unknown;
}

interface LockManager {
  request(
    name: string,
    options: { ifAvailable?: boolean },
    callback: (lock: object | null) => Promise<void> | undefined,
  ): Promise<void>;
}

interface Globals {
  readonly process?: NodeProcess;
  readonly navigator?: { readonly locks?: LockManager };
  readonly document?: unknown;
}

const globals: Globals = globalThis as unknown as Globals;
const node: NodeProcess | undefined = globals.process?.versions?.node ? globals.process : undefined;
/** Tokens fit the life word beside its state. */
const TOKEN_BITS = 28;

/** A Node module that is part of the platform. @internal */
export function nodeModule<Module>(name: string): Module | undefined {
  return node?.getBuiltinModule?.(name) as Module | undefined;
}

function nodeThreads(): NodeThreads | undefined {
  return nodeModule<NodeThreads>("node:worker_threads");
}

/** Whether this thread may be put to sleep at all: a browser's page may not. @internal */
export function canSleep(): boolean {
  return node !== undefined || globals.document === undefined;
}

/** What stands in a slot's life word for this thread; made known to the owner. @internal */
export interface ThreadIdentity {
  readonly token: number;
  /** Gives up what proves that the thread lives; after a clean detach. */
  release(): void;
}

/** This thread on Node: its thread id, whose end the creator of the worker will see. @internal */
export function nodeIdentity(): ThreadIdentity | undefined {
  const threads = nodeThreads();
  return threads && { token: threads.threadId, release: () => {} };
}

/** This thread in a browser: a random token and a Web Lock of that name. @internal */
export async function browserIdentity(region: string): Promise<ThreadIdentity> {
  const token = Math.floor(Math.random() * 2 ** TOKEN_BITS);
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  await new Promise<void>((held, failed) => {
    const hold = (): Promise<void> => {
      held();
      return released;
    };
    webLocks().request(lockName(region, token), {}, hold).catch(failed);
  });
  return { token, release };
}

function webLocks(): LockManager {
  const locks = globals.navigator?.locks;
  if (locks === undefined) throw new Error("palloc needs Web Locks to notice that a worker ended");
  return locks;
}

function lockName(region: string, token: number): string {
  return `palloc ${region} ${token}`;
}

/** The owner's watch over the threads that attach to its region. @internal */
export interface ThreadWatch {
  /** Whether the end of the thread with this token will be noticed. */
  confirms(token: number): Promise<boolean>;
  watch(worker: WatchableWorker): void;
  close(): void;
}

/** Watches this thread's workers, or Web Locks; calls `ended` once for each thread that is gone. */
export function watchThreads(region: string, ended: (token: number) => void): ThreadWatch {
  return node === undefined ? new LockWatch(region, ended) : new WorkerWatch(node, ended);
}

class WorkerWatch implements ThreadWatch {
  readonly #node: NodeProcess;
  readonly #ended: (token: number) => void;
  readonly #watched = new Set<number>();
  readonly #onWorker = (worker: WatchableWorker): void => this.watch(worker);

  constructor(node: NodeProcess, ended: (token: number) => void) {
    this.#node = node;
    this.#ended = ended;
    node.on("worker", this.#onWorker);
  }

  confirms(token: number): Promise<boolean> {
    return Promise.resolve(this.#watched.has(token));
  }

  watch(worker: WatchableWorker): void {
    // After the exit the id is -1, so it is noted now.
    const { threadId } = worker;
    if (threadId < 0 || this.#watched.has(threadId)) return;
    this.#watched.add(threadId);
    worker.once("exit", () => {
      this.#watched.delete(threadId);
      this.#ended(threadId);
    });
  }

  close(): void {
    this.#node.off("worker", this.#onWorker);
  }
}

class LockWatch implements ThreadWatch {
  readonly #region: string;
  readonly #ended: (token: number) => void;
  #closed = false;

  constructor(region: string, ended: (token: number) => void) {
    this.#region = region;
    this.#ended = ended;
  }

  /** True if somebody holds the token's lock; from then on its release is awaited. */
  async confirms(token: number): Promise<boolean> {
    const name = lockName(this.#region, token);
    let free = false;
    await webLocks().request(name, { ifAvailable: true }, (lock) => {
      free = lock !== null;
      return undefined;
    });
    if (free) return false;
    const granted = (): undefined => {
      if (!this.#closed) this.#ended(token);
      return undefined;
    };
    webLocks().request(name, {}, granted).catch(granted);
    return true;
  }

  watch(): void {
    throw new TypeError("watch() is for Node's workers; in a browser every worker is watched");
  }

  close(): void {
    this.#closed = true;
  }
}

const exitWork = new Set<() => void>();
let hearsExit = false;

/**
 * Runs `work` when this thread ends in an orderly way, what was asked for last first; returns what
 * takes that back.
 *
 * @internal
 */
export function atThreadExit(work: () => void): () => void {
  if (node === undefined) return () => {};
  exitWork.add(work);
  if (!hearsExit) node.once("exit", runExitWork);
  hearsExit = true;
  return () => exitWork.delete(work);
}

function runExitWork(): void {
  for (const work of [...exitWork].reverse()) work();
}

/** Calls `listener` with each worker that this thread creates from now on. @internal */
export function onWorker(listener: (worker: WatchableWorker) => void): () => void {
  node?.on("worker", listener);
  return () => node?.off("worker", listener);
}

/** Where a warning goes if nobody asked for it. @internal */
export function warnOnNode(message: string): void {
  node?.emitWarning(message, "PallocWarning");
}
