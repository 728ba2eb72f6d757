/**
 * One run of a query: its context, the contexts of its nodes, how it is asked to end.
 *
 *   PortalContext
 *   └── ExecutorState          as long as the query
 *       ├── ExprContext        as long as a tuple: reset before the next one
 *       └── …                  whatever its nodes make
 *
 * PostgreSQL: src/backend/executor/execUtils.c, CreateExecutorState, CreateExprContext
 */

import type { CancelSignal } from "../abi/cancel-signal.ts";
import { ClosedError } from "../abi/errors.ts";
import type { MemoryContext } from "../process/context.ts";
import type { SettingValues } from "../shared/settings.ts";
import type { TemporaryFile } from "../shared/temporary-file.ts";
import type { Cancellation } from "./cancellation.ts";
import { MemoryLimit, type MemoryUse } from "./memory-limit.ts";
import type { Portal } from "./portals.ts";
import { RELEASE_PRIORITY, type ResourceKind, type ResourceOwner } from "./resource-owner.ts";

/** What a query is made of. @internal */
export interface QueryGround {
  readonly portal: Portal;
  readonly cancellation: Cancellation;
  /** As they are now. */
  readonly settings: SettingValues;
  createTemporaryFile(context: MemoryContext, onClose: () => void): TemporaryFile;
  /** What others ask of the backend. */
  checkInterrupts(): void;
  /** Runs a query within this one. */
  nest<T>(name: string, work: (query: Query) => T): T;
}

/** Temporary files of queries: forgotten when they are closed. */
const temporaryFiles: ResourceKind<TemporaryFile> = {
  name: "File",
  phase: "afterLocks",
  priority: RELEASE_PRIORITY.files,
  release: (file) => file.close(),
  describe: ({ bytes }) => `temporary file of ${bytes} bytes`,
};

/** A query under way. It ends when the function that was given it does; then its methods throw. */
export class Query {
  /** Its portal's name; empty for none. */
  readonly name: string;
  readonly #ground: QueryGround;
  #cancellation: Cancellation;
  readonly #context: MemoryContext;
  readonly #owner: ResourceOwner | undefined;
  #perTuple: MemoryContext | undefined;
  #ended = false;

  /** @internal */
  constructor(ground: QueryGround) {
    this.name = ground.portal.name;
    this.#ground = ground;
    this.#cancellation = ground.cancellation;
    this.#owner = ground.portal.owner;
    this.#context = ground.portal.context.createChild("ExecutorState");
  }

  /** Lives as long as the query: ExecutorState. The current context while the query runs. */
  get context(): MemoryContext {
    this.#mustRun();
    return this.#context;
  }

  /** Gives back, at the query's end, what it remembers. Pins are its by themselves. */
  get owner(): ResourceOwner {
    if (this.#owner === undefined) throw new ClosedError("the query");
    this.#mustRun();
    return this.#owner;
  }

  /** Says when to give up: for every call that takes a signal. */
  get signal(): CancelSignal {
    return this.#cancellation;
  }

  /**
   * A context for what lives as long as a tuple. Reset it at the start of each: what is made of the
   * last tuple then lives until the next is asked for.
   *
   * @param sizes - {@link MemoryLimit.sizes} for a node whose memory is counted; blocks up to 8 MB
   * if left out
   * @see PostgreSQL: src/backend/executor/execUtils.c, CreateExprContext, CreateWorkExprContext
   */
  createExprContext(sizes?: MemoryLimit["sizes"]): MemoryContext {
    return this.context.createChild("ExprContext", sizes);
  }

  /** The query's own per-tuple context, made when it is first asked for. */
  get perTuple(): MemoryContext {
    this.#mustRun();
    this.#perTuple ??= this.createExprContext();
    return this.#perTuple;
  }

  /** What a node of this query may use, as the parameters are now. Default `hash`. */
  memoryLimit(use: MemoryUse = "hash"): MemoryLimit {
    this.#mustRun();
    return new MemoryLimit(this.#ground.settings, use);
  }

  /**
   * A file for what does not fit into memory. Close it; the query's end closes what was not, with a
   * warning unless it failed. May wait for storage.
   *
   * @param context - where its one block of 8 kB is allocated, so that it counts with the node that
   *   writes; close the file before this context is reset. Default: that of the query's portal
   */
  createTemporaryFile(context: MemoryContext = this.#ground.portal.context): TemporaryFile {
    const { owner } = this;
    const { createTemporaryFile } = this.#ground;
    const file = createTemporaryFile(context, () => {
      if (owner.holds(temporaryFiles, file)) owner.forget(temporaryFiles, file);
    });
    owner.remember(temporaryFiles, file);
    return file;
  }

  /**
   * Runs a query within this one, which waits for it: with a context of its own below this one's,
   * and an owner of its own. At its end its memory goes, and what it still holds is given back,
   * with a warning; its locks are this query's then. If it throws, all of it is given back, and
   * whoever catches that may go on; what it has set stays set: for that too there are savepoints.
   *
   * @param name - of the query, for messages
   * @throws what `work` throws; {@link PallocError} 55006 if another one runs within this one
   * @see PostgreSQL: src/backend/executor/spi.c, SPI_execute (the role)
   */
  nested<T>(name: string, work: (query: Query) => T): T {
    this.#mustRun();
    return this.#ground.nest(name, work);
  }

  /**
   * Ends the query if somebody wants it: to be called in loops that never wait. Costs a look at the
   * clock.
   *
   * @throws {@link PallocError} 57014, {@link BackendTerminatedError} 57P01: the session has ended
   * @see PostgreSQL: src/include/miscadmin.h, CHECK_FOR_INTERRUPTS
   */
  checkInterrupts(): void {
    this.#cancellation.check();
    this.#ground.checkInterrupts();
  }

  /** The next part of a query that is run in parts has a time limit of its own. @internal */
  rearm(cancellation: Cancellation): void {
    this.#cancellation = cancellation;
  }

  /** The executor shuts down: its context goes, and the query's object with it. @internal */
  end(): void {
    this.#ended = true;
    // A failed transaction may have deleted it already.
    if (!this.#context.closed) this.#context.delete();
  }

  #mustRun(): void {
    if (this.#ended || this.#context.closed) throw new ClosedError("the query");
  }
}
