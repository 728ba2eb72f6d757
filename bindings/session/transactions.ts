/**
 * Transactions and savepoints of one session: what is made when one begins, and given back when it
 * ends. A transaction here is a life for memory, locks, pins and settings. It is not one for pages:
 * a change of a page stands from `endChange` on, whatever becomes of the transaction.
 *
 *   start      TopTransactionContext, owner TopTransaction, settings level 1
 *   savepoint  CurTransactionContext below the one around it, owner SubTransaction, a level more
 *   fail       resources and settings are given back at once, memory is not: the error may be in it
 *   rollback   the memory as well
 *   commit     resources before locks, locks, resources after locks, settings, memory
 *
 * What goes wrong while something is given back is collected; the rest is given back all the same.
 *
 * PostgreSQL: src/backend/access/transam/xact.c
 */

import type { MemoryContext } from "../process/context.ts";
import type { ProcessMemory } from "../process/memory.ts";
import type { HeldPins } from "./held-pins.ts";
import type { Messages } from "./messages.ts";
import { clear, dispose, type Portals } from "./portals.ts";
import { type Ending, ResourceOwner } from "./resource-owner.ts";
import type { SessionVariables } from "./variables.ts";

/**
 * A moment in a transaction's end.
 * - `preCommit`: still before everything; what throws here makes the transaction fail;
 * - `commit`, `abort`: it is decided; nothing has been given back yet;
 * - `beforeLocks`: locks are about to be released, of a whole transaction that commits; what others
 *   must know when they get them is told now;
 * - `subCommit`, `subAbort`: the same as `commit` and `abort`, of a savepoint.
 */
export type TransactionEvent =
  | "preCommit"
  | "commit"
  | "abort"
  | "beforeLocks"
  | "subCommit"
  | "subAbort";

/** Called at moments of a transaction's end; `level` is 1 for the whole, 2 for a savepoint. */
export type TransactionListener = (event: TransactionEvent, level: number) => void;

/** What transactions move. @internal */
export interface TransactionGround {
  readonly memory: ProcessMemory;
  readonly variables: SessionVariables;
  readonly portals: Portals;
  readonly pins: HeldPins;
  /** Gives back what locks of transactions nobody remembers. */
  releaseLocks(): void;
  readonly messages: Messages;
  readonly listeners: ReadonlySet<TransactionListener>;
}

/** One transaction or savepoint under way. */
interface Level {
  /** Of the savepoint. */
  readonly name: string;
  readonly context: MemoryContext;
  readonly owner: ResourceOwner;
}

const ABORT_CONTEXT_BYTES = 32_768; // 32 kB, kept for what a rollback needs

/** The levels of a transaction, and what belongs to them. @internal */
export class Transactions {
  readonly #ground: TransactionGround;
  /** The transaction, then its savepoints. */
  #levels: Level[] = [];
  /** Whether the innermost level has failed. */
  #failed = false;
  #owner: ResourceOwner | undefined;
  #top: MemoryContext | undefined;
  #abort: MemoryContext | undefined;
  /** The current context before the transaction. */
  #prior: MemoryContext | undefined;
  #failures: unknown[] = [];

  constructor(ground: TransactionGround) {
    this.#ground = ground;
  }

  /** 0 outside a transaction, 1 in one, 2 in its first savepoint. */
  get depth(): number {
    return this.#levels.length;
  }

  /** Whether nothing can be done any more but rolling back. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Who owns what is taken now. */
  get owner(): ResourceOwner | undefined {
    return this.#owner;
  }

  /** Context of the innermost level; undefined outside a transaction. */
  get context(): MemoryContext | undefined {
    return this.#levels.at(-1)?.context;
  }

  /** What lives as long as the whole transaction. */
  get top(): MemoryContext {
    const [level] = this.#levels;
    if (level === undefined) throw new RangeError("there is no transaction");
    return level.context;
  }

  /** Owner of the innermost level. */
  get levelOwner(): ResourceOwner | undefined {
    return this.#levels.at(-1)?.owner;
  }

  /** From now on what is taken is another owner's. */
  switchOwner(owner: ResourceOwner | undefined): void {
    this.#ground.pins.settle(this.#owner);
    this.#owner = owner;
  }

  /** An owner is about to give back: it remembers the pins that are its, and those below its. */
  settle(owner: ResourceOwner): void {
    this.#ground.pins.settle(this.#owner);
    this.#ground.pins.hand(owner);
  }

  // ── Beginning ──────────────────────────────────────────────────────────────────────────────────

  /** @see PostgreSQL: src/backend/access/transam/xact.c, StartTransaction */
  start(): void {
    const { memory, variables } = this.#ground;
    this.#prior = memory.current;
    const maxBlockSize = ABORT_CONTEXT_BYTES;
    const sizes = { minContextSize: maxBlockSize, initBlockSize: maxBlockSize, maxBlockSize };
    this.#abort ??= memory.top.createChild("TransactionAbortContext", sizes);
    this.#top ??= memory.top.createChild("TopTransactionContext");
    const owner = new ResourceOwner("TopTransaction");
    this.#levels = [{ name: "", context: this.#top, owner }];
    this.#failed = false;
    variables.enter();
    this.switchOwner(owner);
    memory.switchTo(this.#top);
  }

  /** @see PostgreSQL: src/backend/access/transam/xact.c, StartSubTransaction */
  startSub(name: string): void {
    const { memory, variables } = this.#ground;
    const outer = this.#innermost();
    const context = outer.context.createChild("CurTransactionContext");
    const owner = new ResourceOwner("SubTransaction", outer.owner);
    this.#levels.push({ name, context, owner });
    variables.enter();
    this.switchOwner(owner);
    memory.switchTo(context);
  }

  /** Depth of the innermost savepoint of a name; 0 if there is none. */
  depthOf(name: string): number {
    const index = this.#levels.findLastIndex((each, depth) => depth > 0 && each.name === name);
    return index + 1;
  }

  /** Name of the savepoint at a depth. */
  nameAt(depth: number): string {
    return this.#levels[depth - 1]?.name ?? "";
  }

  // ── Committing ─────────────────────────────────────────────────────────────────────────────────

  /**
   * Commits the transaction and every savepoint in it. What a listener of `preCommit` throws, or a
   * cursor that is to be held, is thrown, and the transaction is under way still.
   *
   * @see PostgreSQL: src/backend/access/transam/xact.c, CommitTransaction
   */
  commit(): void {
    while (this.#levels.length > 1) this.commitSub();
    if (this.#ground.portals.hold(this.#ending(true, false))) this.look();
    for (const listener of this.#ground.listeners) listener("preCommit", 1);
    const { owner } = this.#innermost();
    const { portals, pins } = this.#ground;
    portals.beforeCommit(this.#collect);
    this.#tell("commit");
    this.settle(owner);
    const ending = this.#ending(true, true);
    owner.release("beforeLocks", ending);
    this.#tell("beforeLocks");
    owner.release("locks", ending);
    this.#releaseLocks();
    owner.release("afterLocks", ending);
    pins.look();
    this.#end(owner, true);
  }

  /** @see PostgreSQL: src/backend/access/transam/xact.c, CommitSubTransaction */
  commitSub(): void {
    const { context, owner } = this.#innermost();
    const depth = this.#levels.length;
    const outer = this.#levels[depth - 2];
    if (outer === undefined) throw new RangeError("there is no savepoint");
    const { portals, pins, memory, variables } = this.#ground;
    portals.handOn(depth, outer.owner);
    this.#tell("subCommit");
    this.settle(owner);
    owner.releaseAll(this.#ending(true, false));
    pins.look();
    variables.leave(true);
    this.#levels.pop();
    this.switchOwner(outer.owner);
    memory.switchTo(outer.context);
    if (context.isEmpty()) dispose(context, this.#collect);
  }

  // ── Failing and rolling back ───────────────────────────────────────────────────────────────────

  /**
   * The innermost level fails: what it holds is given back at once.
   *
   * @see PostgreSQL: src/backend/access/transam/xact.c, AbortTransaction, AbortSubTransaction
   */
  fail(): void {
    if (this.#failed) return;
    this.#failed = true;
    const { owner } = this.#innermost();
    const depth = this.#levels.length;
    const { memory, portals, pins, variables } = this.#ground;
    if (this.#abort !== undefined) memory.switchTo(this.#abort);
    this.#tell(depth === 1 ? "abort" : "subAbort");
    portals.abort(depth, this.#collect);
    this.settle(owner);
    owner.releaseAll(this.#ending(false, depth === 1));
    if (depth === 1) this.#releaseLocks();
    this.#owner = undefined;
    pins.look();
    variables.leave(false);
  }

  /** Rolls back the innermost savepoint, memory included. */
  rollbackSub(): void {
    this.fail();
    const { memory, portals } = this.#ground;
    portals.cleanUp(this.#levels.length, this.#collect);
    const { context } = this.#innermost();
    this.#levels.pop();
    this.#failed = false;
    const outer = this.#innermost();
    this.switchOwner(outer.owner);
    memory.switchTo(outer.context);
    if (this.#abort !== undefined) clear(this.#abort, this.#collect);
    dispose(context, this.#collect);
  }

  /** Rolls back everything. */
  rollback(): void {
    while (this.#levels.length > 1) this.rollbackSub();
    this.fail();
    this.#ground.portals.cleanUp(1, this.#collect);
    this.#end(undefined, false);
  }

  /** The session ends: the contexts go. */
  close(): void {
    for (const context of [this.#top, this.#abort]) {
      if (context !== undefined) dispose(context, this.#collect);
    }
  }

  /** Throws what went wrong while something was given back, once. */
  throwFailures(): void {
    const [first, ...others] = this.#failures;
    this.#failures = [];
    if (others.length > 0) {
      throw new AggregateError([first, ...others], "several resources could not be given back");
    }
    if (first !== undefined) throw first;
  }

  /** Keeps what went wrong for {@link throwFailures}. */
  readonly #collect = (error: unknown): void => {
    this.#failures.push(error);
  };

  /** For portals that end by themselves. */
  get collect(): (error: unknown) => void {
    return this.#collect;
  }

  /** After something was given back: the pins are those that are left. */
  look(): void {
    this.#ground.pins.look();
  }

  /** How something ends. */
  ending(isCommit: boolean): Ending {
    return this.#ending(isCommit, false);
  }

  #ending(isCommit: boolean, isTopLevel: boolean): Ending {
    const warn = (message: string): void => this.#ground.messages.warning("01000", message);
    return { isCommit, isTopLevel, warn, failed: this.#collect };
  }

  #innermost(): Level {
    const level = this.#levels.at(-1);
    if (level === undefined) throw new RangeError("there is no transaction");
    return level;
  }

  /** The last steps of a transaction. */
  #end(owner: ResourceOwner | undefined, isCommit: boolean): void {
    const { memory, variables } = this.#ground;
    if (isCommit) variables.leave(true);
    this.switchOwner(undefined);
    owner?.delete();
    this.#levels = [];
    this.#failed = false;
    const prior = this.#prior;
    memory.switchTo(prior === undefined || prior.closed ? memory.top : prior);
    for (const context of [this.#abort, this.#top]) {
      if (context !== undefined) clear(context, this.#collect);
    }
  }

  /** Those that were taken before the transaction, or are granted to a task outside it. */
  #releaseLocks(): void {
    try {
      this.#ground.releaseLocks();
    } catch (error) {
      this.#collect(error);
    }
  }

  #tell(event: TransactionEvent): void {
    for (const listener of this.#ground.listeners) {
      try {
        listener(event, this.#levels.length);
      } catch (error) {
        this.#collect(error);
      }
    }
  }
}
