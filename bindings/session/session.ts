/**
 * A session: what a backend does from connecting to disconnecting. It has variables, transactions,
 * queries and cursors, and each of them has its contexts and gives back what it held; see
 * docs/sessions.md.
 *
 * PostgreSQL: src/backend/tcop/postgres.c, src/backend/access/transam/xact.c
 */

import { ClosedError, PallocError } from "../abi/errors.ts";
import type { MemoryContext } from "../process/context.ts";
import type { ActivityState } from "../shared/activity.ts";
import { Backend } from "../shared/backend.ts";
import type { BackendOptions } from "../shared/backend-options.ts";
import type { SharedMemoryHandle } from "../shared/handle.ts";
import type { ParameterValue } from "../shared/parameter-texts.ts";
import type { ParameterName } from "../shared/parameters.ts";
import { CacheReferences } from "./cache-references.ts";
import { CommandLoop, type QueryOptions } from "./command-loop.ts";
import type { Cursor, CursorOptions, RowSource } from "./cursor.ts";
import { HeldLocks } from "./held-locks.ts";
import { HeldPins } from "./held-pins.ts";
import { variableName } from "./identifiers.ts";
import { MemoryLimit, type MemoryUse } from "./memory-limit.ts";
import { Messages, type SessionMessage } from "./messages.ts";
import { Portals } from "./portals.ts";
import type { Query } from "./query.ts";
import type { ResourceOwner } from "./resource-owner.ts";
import type { SettingRow } from "./setting-rows.ts";
import {
  beginTransaction,
  type CommandTag,
  declareCursor,
  defineSavepoint,
  endTransaction,
  releaseSavepoint,
  rollbackToSavepoint,
  runTransaction,
  type Transaction,
} from "./transaction.ts";
import { type TransactionListener, Transactions } from "./transactions.ts";
import { SessionVariables, type SetOptions } from "./variables.ts";

/** How a session is begun. */
export interface SessionOptions {
  /** Variables to begin with; RESET comes back to them. */
  readonly settings?: Readonly<Record<string, ParameterValue>>;
  /** Whether parameters of context `superuser` may be set. Default true. */
  readonly superuser?: boolean;
  /** Gets warnings and notices. Default: Node's `process.emitWarning`. */
  readonly onMessage?: (message: SessionMessage) => void;
}

/** How a backend is attached for a session. */
export interface ConnectOptions extends SessionOptions, BackendOptions {}

/** Backends that have a session: one each, because pins and locks belong to the backend. */
const backendsInUse = new WeakSet<Backend>();

/** What one backend does, from connecting to disconnecting. Not for use by two tasks at a time. */
export class Session {
  /** The backend it works with: pages, locks, memory. */
  readonly backend: Backend;
  readonly #loop: CommandLoop;
  readonly #variables: SessionVariables;
  readonly #transactions: Transactions;
  readonly #listeners = new Set<TransactionListener>();

  private constructor(backend: Backend, options: SessionOptions, ownsBackend: boolean) {
    const { memory, settings, buffers } = backend;
    const { superuser = true, onMessage } = options;
    this.backend = backend;
    const messages = new Messages(settings, onMessage);
    const transactionContext = (): MemoryContext => this.#transactions.top;
    const changed = (name: ParameterName): void => backend.settingChanged(name);
    const ground = { memory, settings, buffers, superuser, messages };
    const variables = new SessionVariables({ ...ground, transactionContext, changed });
    const portals = new Portals(memory, (owner) => this.#transactions.settle(owner));
    const pins = new HeldPins(buffers);
    const listeners = this.#listeners;
    const transactions = new Transactions({
      ...{ memory, variables, portals, pins, messages, listeners },
      releaseLocks: () => backend.locks.releaseAll("transaction"),
    });
    const locks = new HeldLocks(backend.locks, () => transactions.owner);
    this.#variables = variables;
    this.#transactions = transactions;
    const references = new CacheReferences(backend.catalog, () => transactions);
    listeners.add((event) => references.onTransaction(event));
    const ended = (): void => {
      locks.close();
      backend.beforeDetach(() => {});
      references.close();
      backendsInUse.delete(backend);
      if (ownsBackend) backend.detach();
    };
    this.#loop = new CommandLoop({
      ...{ backend, memory, settings, variables, portals, transactions, messages, ended },
      createTemporaryFile: (context, onClose) => backend.createTemporaryFile(context, onClose),
      starting: () => backend.catalog.accept(),
    });
    const { applicationName = "" } = options as ConnectOptions;
    for (const [name, value] of Object.entries({
      ...(applicationName === "" ? {} : { application_name: applicationName }),
      ...options.settings,
    })) {
      variables.setDefault(name, value);
    }
    backend.beforeDetach(() => {
      this.#loop.close(backend.endReason ?? new ClosedError("the session"));
    });
  }

  /**
   * Begins the session of a backend that is attached. It ends with the backend, if not before.
   *
   * @throws {@link PallocError} 55006 if the backend has a session
   */
  static open(backend: Backend, options: SessionOptions = {}): Session {
    return begin(backend, options, false);
  }

  /** Attaches a backend, as `Backend.attachSync`, and begins its session; both end together. */
  static connectSync(handle: SharedMemoryHandle, options: ConnectOptions = {}): Session {
    return begin(Backend.attachSync(handle, options), options, true);
  }

  /** As {@link connectSync}, without blocking the thread; the form for browsers. */
  static async connect(handle: SharedMemoryHandle, options: ConnectOptions = {}): Promise<Session> {
    return begin(await Backend.attach(handle, options), options, true);
  }

  /** @internal */
  static make(backend: Backend, options: SessionOptions, ownsBackend: boolean): Session {
    return new Session(backend, options, ownsBackend);
  }

  // ── Variables ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Sets a variable for this session. If the transaction that sets it is rolled back, so is this.
   * A name with a dot that nobody knows is a variable of the session's own. Names, of variables,
   * savepoints and cursors, are cut to 63 bytes, between dots, with a notice.
   *
   * @param value - as a user writes it: `"64MB"`, `"5min"`, `true`; a number counts in the unit
   * @throws {@link InvalidParameterError} 22023, {@link UndefinedParameterError} 42704,
   *   {@link PallocError} 42602, 42501, 55P02, with PostgreSQL's words
   * @see PostgreSQL: src/backend/utils/misc/guc.c, set_config_option
   */
  set(name: string, value: ParameterValue, options: SetOptions = {}): void {
    const { local = false } = options;
    const variable = this.#variableName(name);
    this.#assigning(() => {
      const outside = local && this.#transactions.depth === 0;
      if (outside) {
        const message = "SET LOCAL can only be used in transaction blocks";
        this.#loop.ground.messages.warning("25P01", message);
      }
      this.#variables.set(variable, value, local, !outside);
    });
  }

  /** Sets a variable to what it was when the session began; rolled back as {@link set} is. */
  reset(name: string): void {
    const variable = this.#variableName(name);
    this.#assigning(() => this.#variables.set(variable, undefined, false));
  }

  /** {@link reset} of every variable that this session may set. */
  resetAll(): void {
    this.#assigning(() => this.#variables.resetAll());
  }

  /** A variable's value: a number counts in its unit. @throws {@link UndefinedParameterError} */
  get(name: string): ParameterValue {
    return this.#variables.get(this.#variableName(name));
  }

  /** A variable as SHOW prints it: `4MB`. @throws {@link UndefinedParameterError} */
  show(name: string): string {
    return this.#variables.show(this.#variableName(name));
  }

  /** All parameters as the rows of `pg_settings`, by name. */
  pgSettings(): SettingRow[] {
    this.#loop.mustLive();
    return this.#variables.rows();
  }

  // ── Transactions ───────────────────────────────────────────────────────────────────────────────

  /**
   * Begins a transaction block; in one, only warns. What the transaction takes it gives back at its
   * end: memory, locks, pins, settings. Changes of pages it does not undo.
   *
   * @example
   * using transaction = session.begin();
   * transaction.query("load", load);
   * transaction.commit();
   */
  begin(): Transaction {
    return beginTransaction(this.#loop, undefined);
  }

  /** Ends the transaction; outside one, only warns. @returns what was done of it */
  commit(): CommandTag {
    return endTransaction(this.#loop, undefined, true);
  }

  /** Undoes the transaction, but for changes of pages; outside one, only warns. */
  rollback(): void {
    endTransaction(this.#loop, undefined, false);
  }

  /** Begins a savepoint. @throws {@link PallocError} 25P01 outside a transaction */
  savepoint(name: string): void {
    defineSavepoint(this.#loop, undefined, name);
  }

  /** Ends a savepoint and those after it. @throws {@link PallocError} 3B001 if there is none */
  release(name: string): void {
    releaseSavepoint(this.#loop, undefined, name);
  }

  /** Undoes what was done since a savepoint. @throws {@link PallocError} 3B001 if there is none */
  rollbackTo(name: string): void {
    rollbackToSavepoint(this.#loop, undefined, name);
  }

  /**
   * Runs `work` in a transaction: committed when it returns, or when its promise resolves; rolled
   * back when it throws. Meanwhile the session takes commands from the transaction's object alone.
   *
   * @throws what `work` throws; {@link PallocError} 25P02 if it returns although a query in it had
   *   failed, so that nothing could be committed
   */
  transaction<T>(work: (transaction: Transaction) => T): T {
    return runTransaction(this.#loop, work);
  }

  /** Calls `listener` at the moments of a transaction's end. @returns takes it back */
  onTransaction(listener: TransactionListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  // ── Queries ────────────────────────────────────────────────────────────────────────────────────

  /**
   * Runs a query: `work` gets its contexts, its owner, its limits. At its end, or when its promise
   * settles, its memory goes, and whatever it still holds is given back, with a warning. If it
   * throws the transaction has failed. Outside a block it has a transaction of its own.
   *
   * @param name - of its portal, seen in the tree of contexts; `""` for none
   * @throws what `work` throws; {@link PallocError} 57014 if it was cancelled, 25P02 if the
   *   transaction has failed, 55006 if another query is under way
   * @example
   * const sum = session.query("sum", (query) => addUp(query.context, session.backend.buffers));
   */
  query<T>(name: string, work: (query: Query) => T, options: QueryOptions = {}): T {
    return this.#loop.query(undefined, name, work, options);
  }

  /**
   * A query whose rows are fetched a few at a time, until the transaction ends; if it is held,
   * until it is closed or the session ends.
   *
   * @throws {@link PallocError} 25P01 outside a transaction unless it is held, 42P03 if there is
   *   one of that name
   */
  cursor<Row>(name: string, source: RowSource<Row>, options: CursorOptions = {}): Cursor<Row> {
    return declareCursor({ loop: this.#loop, by: undefined, name, source, options });
  }

  /**
   * Asks the query under way to end, with 57014: at its next wait that takes `query.signal`, at
   * `query.checkInterrupts()`, or at its end.
   *
   * @returns whether there is a query
   */
  cancel(): boolean {
    return this.#loop.cancel();
  }

  /** What one node of a query may use of memory, as the parameters are now. Default `hash`. */
  memoryLimit(use: MemoryUse = "hash"): MemoryLimit {
    this.#loop.mustLive();
    return new MemoryLimit(this.backend.settings.values, use);
  }

  /** Who owns what is taken now: the query, else the transaction; undefined outside. */
  get owner(): ResourceOwner | undefined {
    return this.#transactions.owner;
  }

  /** What lives as long as one command: reset at the start of the next. */
  get messageContext(): MemoryContext {
    this.#loop.mustLive();
    return this.#loop.messageContext;
  }

  /** What the session is doing, as its row of `backend.activity()` says to all. */
  get state(): ActivityState {
    this.#loop.mustLive();
    return this.#loop.state;
  }

  // ── End ────────────────────────────────────────────────────────────────────────────────────────

  /** Whether the session has ended, by itself or by one of its time limits. */
  get closed(): boolean {
    return this.#loop.closed;
  }

  /**
   * Rolls back, gives back what the session has, and detaches the backend if it was attached for
   * it. Idempotent.
   */
  close(): void {
    this.#loop.close(new ClosedError("the session"));
  }

  /** {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** A name as the command's reading leaves it, before anything else is looked at. */
  #variableName(name: string): string {
    this.#loop.mustLive();
    return variableName(name, this.#loop.ground.messages);
  }

  /** A setting is a command of its own between queries, and a part of the query within one. */
  #assigning(work: () => void): void {
    if (this.#loop.isRunning) work();
    else this.#loop.command(this.#loop.holder, work);
  }
}

function begin(backend: Backend, options: SessionOptions, ownsBackend: boolean): Session {
  if (backendsInUse.has(backend)) {
    throw new PallocError("55006", "the backend has a session already", {
      hint: "Pins and locks belong to the backend: attach another one for another session.",
    });
  }
  backendsInUse.add(backend);
  try {
    return Session.make(backend, options, ownsBackend);
  } catch (error) {
    backendsInUse.delete(backend);
    if (ownsBackend) backend.detach();
    throw error;
  }
}
