/**
 * One command after the other: what happens before and after each, whoever gives it. The session
 * and its transaction objects are doors to this.
 *
 *   enter ─► MessageContext reset ─► transaction, if there is none ─► work ─► commit, if it is only
 *   for this command ─► idle
 *
 * A command that throws makes the transaction fail: within a block nothing but a rollback is taken
 * then. A session does one thing at a time. A command that comes while a query is under way is
 * refused, and not kept waiting: if the query itself gave it, it would wait for ever.
 *
 * PostgreSQL: src/backend/tcop/postgres.c, PostgresMain, start_xact_command, finish_xact_command
 */

import type { CancelSignal } from "../abi/cancel-signal.ts";
import { ClosedError, PallocError } from "../abi/errors.ts";
import type { MemoryContext } from "../process/context.ts";
import type { ProcessMemory } from "../process/memory.ts";
import type { ActivityState } from "../shared/activity.ts";
import type { Backend } from "../shared/backend.ts";
import type { ResolvedSettings } from "../shared/settings.ts";
import type { TemporaryFile } from "../shared/temporary-file.ts";
import { Cancellation, statementTimeout, userRequest } from "./cancellation.ts";
import type { Messages } from "./messages.ts";
import { runToEnd, suppressed } from "./outcome.ts";
import { clear, dispose, type Portal, type Portals } from "./portals.ts";
import { Query } from "./query.ts";
import { busy, inFailedTransaction, isBecauseOf } from "./refusals.ts";
import { ResourceOwner } from "./resource-owner.ts";
import { Timers } from "./timers.ts";
import type { Transactions } from "./transactions.ts";
import type { SessionVariables } from "./variables.ts";

/** How a query is run. */
export interface QueryOptions {
  /** Cancels the query, with 57014. */
  readonly signal?: CancelSignal;
}

/** What a session consists of. @internal */
export interface LoopGround {
  /** Where others see what the session does, and ask it to end. */
  readonly backend: Pick<Backend, "reportActivity" | "checkInterrupts">;
  readonly memory: ProcessMemory;
  readonly settings: ResolvedSettings;
  readonly variables: SessionVariables;
  readonly portals: Portals;
  readonly transactions: Transactions;
  readonly messages: Messages;
  createTemporaryFile(context: MemoryContext, onClose: () => void): TemporaryFile;
  /** A transaction or a statement is about to begin. */
  starting(): void;
  /** The session has given back everything: the backend may go, if it was attached for it. */
  ended(): void;
}

/** A query under way, and what it runs in. @internal */
export interface Running {
  readonly query: Query;
  readonly portal: Portal;
  cancellation: Cancellation;
  /** The current context before. */
  prior: MemoryContext;
}

/** Takes the commands of one session. @internal */
export class CommandLoop {
  readonly ground: LoopGround;
  /** Counts transactions, so that an object of an earlier one is told from that of this one. */
  transaction = 0;
  /** Whether the transaction goes on after the command. */
  inBlock = false;
  /** Who alone may give commands: what `transaction(work)` was called with. */
  holder: object | undefined;
  readonly #message: MemoryContext;
  readonly #timers = new Timers();
  #running: Running | undefined;
  #closedBy: PallocError | undefined;
  /** What ends the session as soon as its query ends. */
  #doom: PallocError | undefined;

  constructor(ground: LoopGround) {
    this.ground = ground;
    this.#message = ground.memory.top.createChild("MessageContext");
    this.#rest();
  }

  /** What lives as long as a command: reset at the start of the next. */
  get messageContext(): MemoryContext {
    return this.#message;
  }

  /** Whether a query is under way. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** What the session is doing. */
  get state(): ActivityState {
    if (this.isRunning) return "active";
    if (!this.inBlock) return "idle";
    return this.ground.transactions.failed
      ? "idle in transaction (aborted)"
      : "idle in transaction";
  }

  /** Whether the session has ended. */
  get closed(): boolean {
    return this.#closedBy !== undefined;
  }

  // ── Commands ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Runs a command that needs no portal. If it throws, a transaction block fails.
   *
   * @param isRescue - also taken after a failure: what ends or rolls back
   */
  command<T>(by: object | undefined, work: () => T, isRescue = false): T {
    this.#enter(by, isRescue);
    let result: T;
    try {
      result = work();
      this.ground.transactions.throwFailures();
    } catch (error) {
      throw this.#abandon(error);
    }
    this.#rest();
    this.mustLive();
    return result;
  }

  /** Begins a transaction. @param goesOn - false: {@link endBlock} ends it within the command */
  startBlock(goesOn: boolean): void {
    this.#start();
    this.inBlock = goesOn;
  }

  /**
   * Ends the transaction. @param isCommit - false rolls back, and so does a commit that fails
   */
  endBlock(isCommit: boolean): void {
    const { transactions } = this.ground;
    try {
      if (isCommit) transactions.commit();
    } finally {
      if (transactions.depth > 0) transactions.rollback();
      this.#ended();
    }
  }

  // ── Queries ────────────────────────────────────────────────────────────────────────────────────

  /** Runs a query from beginning to end, in a portal of its own. */
  query<T>(
    by: object | undefined,
    name: string,
    work: (query: Query) => T,
    options: QueryOptions,
  ): T {
    this.#enter(by, false);
    const running = this.#open(name, options);
    return runToEnd(() => this.#work(running, () => work(running.query)), {
      succeeded: () => this.#complete(running),
      failed: (error) => this.fail(running, error),
    });
  }

  /** Makes a portal that stays until it is dropped or the transaction ends. */
  openPortal(name: string): Running {
    return this.#prepare(name, new Cancellation(0));
  }

  /** Runs a part of what a portal does: a command of its own. */
  resume<T>(by: object | undefined, running: Running, work: () => T): T {
    this.#enter(by, false);
    const refusal = this.#refusalOf(running.portal);
    if (refusal !== undefined) throw this.#abandon(refusal);
    running.cancellation = new Cancellation(this.ground.settings.values.statement_timeout);
    running.query.rearm(running.cancellation);
    this.#activate(running);
    let result: T;
    try {
      result = this.#work(running, work);
      running.query.checkInterrupts();
    } catch (error) {
      throw this.fail(running, error);
    }
    this.#deactivate(running, "ready");
    this.#rest();
    this.mustLive();
    return result;
  }

  /** Runs a part of what a portal does, within another command. */
  within<T>({ query, portal }: Running, work: () => T): T {
    const { transactions, memory } = this.ground;
    const { owner } = transactions;
    const prior = memory.current;
    transactions.switchOwner(portal.owner);
    memory.switchTo(query.context);
    try {
      return work();
    } finally {
      memory.switchTo(prior.closed ? memory.top : prior);
      transactions.switchOwner(owner);
    }
  }

  /** @throws 34000 if a portal has ended */
  mustBeThere(portal: Portal): void {
    const refusal = this.#refusalOf(portal);
    if (refusal !== undefined) throw refusal;
  }

  /** Ends a portal. */
  dropPortal(portal: Portal): void {
    const { portals, transactions } = this.ground;
    portals.drop(portal, transactions.ending(portal.status !== "failed"), transactions.collect);
    transactions.look();
  }

  /** Asks the query under way to end. @returns whether there is one */
  cancel(): boolean {
    this.#running?.cancellation.cancel(userRequest());
    return this.#running !== undefined;
  }

  /** A query has thrown: its transaction fails. @returns what to throw */
  fail(running: Running, error: unknown): unknown {
    const { portal } = running;
    const reason = running.cancellation.reason;
    running.cancellation.close();
    this.#running = undefined;
    if (this.#closedBy !== undefined) return this.#closedBy;
    portal.status = "failed";
    const { depth, levelOwner } = this.ground.transactions;
    if (portal.level < depth && portal.owner !== undefined && levelOwner !== undefined) {
      // What a portal of the transaction took here goes with the savepoint that fails.
      portal.owner.moveTo(levelOwner);
      portal.owner = undefined;
    }
    return this.#abandon(isBecauseOf(error, reason) ? reason : error);
  }

  // ── End ────────────────────────────────────────────────────────────────────────────────────────

  /** Ends the session at once, or, if a query is under way, has it end with the query. */
  terminate(reason: PallocError): void {
    if (this.#running === undefined) this.close(reason);
    else {
      this.#doom = reason;
      this.#running.cancellation.cancel(reason);
    }
  }

  /** Rolls back, and gives back everything the session has. Idempotent. */
  close(reason: PallocError): void {
    if (this.#closedBy !== undefined) return;
    if (!this.#message.closed) this.ground.backend.reportActivity("idle");
    this.#closedBy = reason;
    const { memory, portals, transactions, variables } = this.ground;
    this.#timers.close();
    this.#running?.cancellation.cancel(reason);
    this.#running = undefined;
    this.inBlock = false;
    if (this.#message.closed) return; // The backend has gone, with its memory and its pins.
    if (transactions.depth > 0) transactions.rollback();
    if (isWithin(memory.current, this.#message)) memory.switchTo(memory.top);
    portals.close(transactions.collect);
    variables.close();
    dispose(this.#message, transactions.collect);
    transactions.close();
    this.ground.ended();
    transactions.throwFailures();
  }

  // ── Inside ─────────────────────────────────────────────────────────────────────────────────────

  #enter(by: object | undefined, isRescue: boolean): void {
    this.mustLive();
    if (this.#running !== undefined) throw busy(`query "${this.#running.query.name}"`);
    if (this.holder !== undefined && by !== this.holder) throw busy("a transaction(…)");
    if (this.ground.transactions.failed && !isRescue) throw inFailedTransaction();
    this.#timers.disarm("idle");
    clear(this.#message, this.ground.transactions.collect);
    this.ground.transactions.throwFailures();
  }

  /** @throws what ended the session */
  mustLive(): void {
    if (this.#closedBy !== undefined) throw this.#closedBy;
    if (this.#message.closed) throw new ClosedError("the backend of the session");
  }

  #start(): void {
    const { transactions, settings } = this.ground;
    transactions.start();
    this.ground.starting();
    this.transaction += 1;
    this.#timers.arm("transaction", settings.values.transaction_timeout, () => {
      this.#end("25P04", "terminating connection due to transaction timeout");
    });
  }

  #ended(): void {
    this.inBlock = false;
    this.transaction += 1;
    this.#timers.disarm("transaction");
  }

  #open(name: string, options: QueryOptions): Running {
    const timeout = this.ground.settings.values.statement_timeout;
    if (this.ground.transactions.depth === 0) this.#start();
    const cancellation = new Cancellation(timeout, options.signal);
    try {
      const running = this.#prepare(name, cancellation);
      this.#activate(running);
      return running;
    } catch (error) {
      cancellation.close();
      throw this.#abandon(error);
    }
  }

  #prepare(name: string, cancellation: Cancellation): Running {
    const { transactions, portals } = this.ground;
    const owner = new ResourceOwner("Portal", transactions.levelOwner);
    return this.#runningIn(portals.create(name, owner, transactions.depth), cancellation);
  }

  #runningIn(portal: Portal, cancellation: Cancellation): Running {
    const { memory, settings, createTemporaryFile, backend } = this.ground;
    const { values } = settings;
    const query = new Query({
      ...{ portal, cancellation, settings: values, createTemporaryFile },
      checkInterrupts: () => backend.checkInterrupts(),
      nest: (name, work) => this.#nested(running, name, work),
    });
    const running: Running = { query, portal, cancellation, prior: memory.current };
    return running;
  }

  // ── Queries within queries ─────────────────────────────────────────────────────────────────────

  #nested<T>(outer: Running, name: string, work: (query: Query) => T): T {
    this.mustLive();
    const running = this.#running;
    if (running !== outer) throw busy(`query "${running?.query.name ?? name}"`);
    const owner = new ResourceOwner("Portal", outer.portal.owner);
    const place = { name, owner, context: outer.query.context, level: outer.portal.level };
    const portal: Portal = { ...place, status: "active", cleanup: undefined, persist: undefined };
    const inner = this.#runningIn(portal, outer.cancellation);
    this.#running = inner;
    this.ground.transactions.switchOwner(owner);
    this.ground.memory.switchTo(inner.query.context);
    return runToEnd(() => this.#work(inner, () => work(inner.query)), {
      succeeded: () => {
        this.#leave(inner, outer, true);
        outer.query.checkInterrupts();
        this.ground.transactions.throwFailures();
      },
      failed: (error) => {
        this.#leave(inner, outer, false);
        return error;
      },
    });
  }

  /** A query within another has ended: it gives back what it has, and the other goes on. */
  #leave(inner: Running, outer: Running, isCommit: boolean): void {
    if (this.#closedBy !== undefined) throw this.#closedBy;
    // The outer one did not wait: what the inner had went with it.
    if (this.#running !== inner) throw new ClosedError("the query");
    const { transactions, memory } = this.ground;
    const { owner } = inner.portal;
    this.#running = outer;
    memory.switchTo(inner.prior.closed ? outer.query.context : inner.prior);
    transactions.switchOwner(outer.portal.owner);
    inner.query.end();
    if (owner === undefined) return;
    transactions.settle(owner);
    owner.releaseAll(transactions.ending(isCommit));
    transactions.look();
  }

  #activate(running: Running): void {
    const { transactions, memory, settings } = this.ground;
    const { portal, cancellation, query } = running;
    this.ground.starting();
    this.#running = running;
    portal.status = "active";
    running.prior = memory.current;
    transactions.switchOwner(portal.owner);
    memory.switchTo(query.context);
    this.ground.backend.reportActivity("active", query.name);
    this.#timers.arm("statement", settings.values.statement_timeout, () => {
      cancellation.cancel(statementTimeout());
    });
  }

  /** Why a portal cannot be run. */
  #refusalOf(portal: Portal): PallocError | undefined {
    const { name, status } = portal;
    if (this.ground.portals.find(name) !== portal) {
      return new PallocError("34000", `cursor "${name}" does not exist`);
    }
    if (status !== "failed") return undefined;
    return new PallocError("55000", `portal "${name}" cannot be run`);
  }

  #work<T>(running: Running, work: () => T): T {
    running.query.checkInterrupts();
    return work();
  }

  #deactivate(running: Running, status: "ready" | "done"): void {
    const { transactions, memory } = this.ground;
    this.#timers.disarm("statement");
    running.cancellation.close();
    memory.switchTo(running.prior.closed ? memory.top : running.prior);
    transactions.switchOwner(transactions.levelOwner);
    running.portal.status = status;
    this.#running = undefined;
  }

  #complete(running: Running): void {
    if (this.#closedBy !== undefined) throw this.#closedBy;
    try {
      running.query.checkInterrupts();
      running.query.end();
      this.#deactivate(running, "done");
      this.dropPortal(running.portal);
      if (!this.inBlock) this.endBlock(true);
      this.ground.transactions.throwFailures();
    } catch (error) {
      throw this.fail(running, error);
    }
    this.#rest();
    this.mustLive();
  }

  /** A command has thrown. @returns what to throw */
  #abandon(error: unknown): unknown {
    const { transactions } = this.ground;
    this.#timers.disarm("statement");
    if (transactions.depth > 0) {
      if (this.inBlock) transactions.fail();
      else this.endBlock(false);
    }
    let thrown = error;
    try {
      transactions.throwFailures();
    } catch (later) {
      thrown = suppressed(later, error);
    }
    this.#rest();
    return this.#closedBy ?? thrown;
  }

  /** Between two commands. */
  #rest(): void {
    const { memory, settings, transactions } = this.ground;
    if (this.#doom !== undefined) {
      this.close(this.#doom);
      return;
    }
    if (transactions.failed) memory.switchTo(this.#message);
    this.ground.backend.reportActivity(this.state);
    const { idle_in_transaction_session_timeout, idle_session_timeout } = settings.values;
    if (this.inBlock) {
      this.#timers.arm("idle", idle_in_transaction_session_timeout, () => {
        this.#end("25P03", "terminating connection due to idle-in-transaction timeout");
      });
    } else {
      this.#timers.arm("idle", idle_session_timeout, () => {
        this.#end("57P05", "terminating connection due to idle-session timeout");
      });
    }
  }

  /** A timer ends the session: nobody is there to catch what that throws. */
  #end(code: string, message: string): void {
    try {
      this.terminate(new PallocError(code, message));
    } catch (error) {
      this.ground.messages.warning("01000", String(error));
    }
  }
}

function isWithin(context: MemoryContext, ancestor: MemoryContext): boolean {
  for (let at: MemoryContext | null = context; at !== null && !at.closed; at = at.parent) {
    if (at === ancestor) return true;
  }
  return context.closed;
}
