/**
 * Variables of a session: SET, SET LOCAL, RESET and SHOW, with PostgreSQL's rules and words. What a
 * session sets holds for this session alone: for itself, and for the parts of its backend, which
 * look at the value whenever they need it.
 *
 * Besides the parameters there are variables that a session makes up: any name of two or more
 * identifiers with dots between them. They are texts.
 *
 * PostgreSQL: src/backend/utils/misc/guc.c
 */

import { InvalidParameterError, PallocError, UndefinedParameterError } from "../abi/errors.ts";
import type { MemoryContext } from "../process/context.ts";
import type { ProcessMemory } from "../process/memory.ts";
import type { BufferPool } from "../shared/buffers.ts";
import { type ParameterValue, parseValue, showValue } from "../shared/parameter-texts.ts";
import { type Parameter, type ParameterName, parameters } from "../shared/parameters.ts";
import type { ResolvedSettings, SettingValues } from "../shared/settings.ts";
import { identifier } from "./identifiers.ts";
import type { Messages } from "./messages.ts";
import { type SettingRow, settingRow } from "./setting-rows.ts";
import { Variable, VariableStack } from "./variable-stack.ts";
import { VariableStore } from "./variable-store.ts";

/** How a variable is set. */
export interface SetOptions {
  /** Only until the transaction ends, or the savepoint is rolled back. Default false. */
  readonly local?: boolean;
}

/** What variables are made of. @internal */
export interface VariableGround {
  readonly memory: ProcessMemory;
  /** The backend's, which follow what is set. */
  readonly settings: ResolvedSettings;
  readonly buffers: BufferPool;
  /** Whether parameters of context superuser may be set. */
  readonly superuser: boolean;
  readonly messages: Messages;
  /** Where saved values are kept, as long as the transaction. */
  transactionContext(): MemoryContext;
  /** The backend is told of what others look at. */
  changed(name: ParameterName): void;
}

const VALUE = 0;
const RESET = 1;

/** Names that parameters had once. */
const OLD_NAMES: ReadonlyMap<string, string> = new Map([
  ["sort_mem", "work_mem"],
  ["vacuum_mem", "maintenance_work_mem"],
]);

/** The variables of one session. @internal */
export class SessionVariables {
  readonly #ground: VariableGround;
  readonly #store: VariableStore;
  readonly #stack: VariableStack;
  /** By name in lower case. */
  readonly #variables = new Map<string, Variable>();
  /** 0 outside transactions, 1 in one, 2 within its first savepoint. */
  #level = 0;
  /** What the backend had before this session. */
  readonly #before: SettingValues;

  constructor(ground: VariableGround) {
    this.#ground = ground;
    this.#before = { ...ground.settings.values };
    this.#store = new VariableStore(ground.memory);
    this.#stack = new VariableStack(this.#store, (variable) => this.#assign(variable));
    for (const parameter of parameters) {
      const variable = this.#add(parameter.name, parameter);
      const value = ground.settings.values[parameter.name];
      for (const index of [VALUE, RESET] as const) {
        this.#store.write(variable.record, index, this.#store.encode(variable.kind, value));
      }
      const source = value === parameter.bootValue ? "default" : "command line";
      variable.source = source;
      variable.resetSource = source;
    }
  }

  // ── Reading ────────────────────────────────────────────────────────────────────────────────────

  /** The value, a number in the parameter's unit. @throws 42704 */
  get(name: string): ParameterValue {
    return this.#valueOf(this.#demand(name));
  }

  /** The value as SHOW prints it. @throws 42704 */
  show(name: string): string {
    const variable = this.#demand(name);
    const value = this.#valueOf(variable);
    return variable.parameter === undefined ? String(value) : showValue(variable.parameter, value);
  }

  /** The parameters as rows, by name. */
  rows(): SettingRow[] {
    const rows: SettingRow[] = [];
    for (const variable of this.#variables.values()) {
      const { parameter, source, record, kind } = variable;
      if (parameter === undefined) continue;
      const reset = this.#store.decode(kind, this.#store.read(record, RESET));
      rows.push(settingRow(parameter, this.#valueOf(variable), reset, source));
    }
    return rows.sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  // ── Setting ────────────────────────────────────────────────────────────────────────────────────

  /**
   * Checks a value and sets it; undefined resets.
   *
   * @param changes - false only checks, as SET LOCAL outside a transaction does
   */
  set(name: string, value: ParameterValue | undefined, local: boolean, changes = true): void {
    const variable = this.#findOrAdd(name);
    this.#checkContext(variable);
    const word = this.#wordOf(variable, value);
    try {
      if (variable.name === "temp_buffers") this.#checkTemporary(word);
      if (changes) this.#take(variable, word, local);
    } catch (error) {
      this.#store.discard(variable.kind, word);
      throw error;
    }
    if (changes) {
      variable.source = value === undefined ? variable.resetSource : "session";
      this.#assign(variable);
    } else this.#store.discard(variable.kind, word);
  }

  /** Sets a value that RESET comes back to: what a session is begun with. */
  setDefault(name: string, value: ParameterValue): void {
    this.set(name, value, false);
    const variable = this.#demand(name);
    const { kind, record } = variable;
    this.#store.discard(kind, this.#store.read(record, RESET));
    this.#store.write(record, RESET, this.#store.copy(kind, this.#store.read(record, VALUE)));
    variable.source = "client";
    variable.resetSource = "client";
  }

  /** Resets every variable that this session may set. */
  resetAll(): void {
    for (const variable of this.#variables.values()) {
      if (this.#refusal(variable) !== undefined || variable.source === variable.resetSource)
        continue;
      this.#take(variable, this.#wordOf(variable, undefined), false);
      variable.source = variable.resetSource;
      this.#assign(variable);
    }
  }

  // ── Transactions ───────────────────────────────────────────────────────────────────────────────

  /** A transaction or savepoint begins: what is set from now on is given back with it. */
  enter(): void {
    this.#level += 1;
  }

  /** The innermost level ends. */
  leave(isCommit: boolean): void {
    this.#stack.end(this.#level, isCommit);
    this.#level -= 1;
  }

  /** The session ends: the backend is as it was, and the memory goes. */
  close(): void {
    for (const { name } of parameters) {
      this.#ground.settings.assign(name, this.#before[name]);
      this.#ground.changed(name);
    }
    this.#restoreTemporary(this.#before.temp_buffers);
    this.#store.context.delete();
    this.#variables.clear();
  }

  // ── Inside ─────────────────────────────────────────────────────────────────────────────────────

  #valueOf({ kind, record }: Variable): ParameterValue {
    return this.#store.decode(kind, this.#store.read(record, VALUE));
  }

  #find(name: string): Variable | undefined {
    const folded = foldAscii(name);
    return this.#variables.get(OLD_NAMES.get(folded) ?? folded);
  }

  #demand(name: string): Variable {
    const variable = this.#find(name);
    if (variable === undefined) throw new UndefinedParameterError(String(name));
    return variable;
  }

  /** A name with a dot that nobody knows is a variable from now on. */
  #findOrAdd(name: string): Variable {
    const found = this.#find(name);
    if (found !== undefined) return found;
    if (!String(name).includes(".")) throw new UndefinedParameterError(String(name));
    if (CUSTOM_NAME.test(name)) return this.#add(name, undefined);
    throw new PallocError("42602", `invalid configuration parameter name "${name}"`, {
      detail: "Custom parameter names must be two or more simple identifiers separated by dots.",
    });
  }

  #add(name: string, parameter: Parameter | undefined): Variable {
    const variable = new Variable(name, parameter, this.#store.record());
    this.#variables.set(foldAscii(name), variable);
    return variable;
  }

  #checkContext(variable: Variable): void {
    const refusal = this.#refusal(variable);
    if (refusal !== undefined) throw refusal;
  }

  /** Why this session may not set a variable. */
  #refusal({ name, parameter }: Variable): PallocError | undefined {
    const context = parameter?.context ?? "user";
    if (context === "superuser" && !this.#ground.superuser) {
      return new PallocError("42501", `permission denied to set parameter "${name}"`);
    }
    const ending = UNCHANGEABLE[context];
    if (ending === undefined) return undefined;
    return new PallocError("55P02", `parameter "${name}" cannot be changed${ending}`);
  }

  /** What the variable is to become. */
  #wordOf(variable: Variable, value: ParameterValue | undefined): number {
    const { kind, parameter, record } = variable;
    if (value === undefined) return this.#store.copy(kind, this.#store.read(record, RESET));
    if (parameter === undefined) return this.#store.encode(kind, String(value));
    const isName = parameter.vartype === "string" && parameter.asciiName === true;
    const given = isName ? identifier(String(value), this.#ground.messages) : value;
    return this.#store.encode(kind, parseValue(parameter, given));
  }

  /** Saves the value there was as the level asks, and puts the new one in its place. */
  #take(variable: Variable, word: number, local: boolean): void {
    const { kind, record } = variable;
    const before = this.#store.read(record, VALUE);
    const isSaved =
      this.#level > 0 &&
      this.#stack.save(variable, this.#level, local, this.#ground.transactionContext());
    this.#store.write(record, VALUE, word);
    if (!isSaved) this.#store.discard(kind, before);
  }

  /** Tells the backend what holds now. */
  #assign(variable: Variable): void {
    if (variable.parameter === undefined) return;
    const value = this.#valueOf(variable);
    this.#ground.settings.assign(variable.parameter.name, value);
    this.#ground.changed(variable.parameter.name);
    if (variable.name === "temp_buffers") this.#restoreTemporary(Number(value));
  }

  /** Buffers that are in use stay as many as they are. */
  #checkTemporary(pages: number): void {
    const { buffers, settings } = this.#ground;
    buffers.resizeTemporary(pages);
    buffers.resizeTemporary(settings.values.temp_buffers);
  }

  /** A rollback gives the parameter back, but buffers that are in use stay as many. */
  #restoreTemporary(pages: number): void {
    try {
      this.#ground.buffers.resizeTemporary(pages);
    } catch (error) {
      if (!(error instanceof InvalidParameterError)) throw error;
    }
  }
}

/** How the message ends for a context that no session may set. */
const UNCHANGEABLE: Readonly<Partial<Record<Parameter["context"], string>>> = {
  internal: "",
  postmaster: " without restarting the server",
  sighup: " now",
};

const LETTER = "[A-Za-z_\\u0080-\\u{10ffff}]";
const IDENTIFIER = `${LETTER}(${LETTER}|[0-9$])*`;
/** Two or more identifiers with dots between them; whatever is not ASCII counts as a letter. */
const CUSTOM_NAME = new RegExp(`^${IDENTIFIER}(\\.${IDENTIFIER})+$`, "u");

/** Names are compared without regard to case, of ASCII letters only. */
function foldAscii(name: string): string {
  return String(name).replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
