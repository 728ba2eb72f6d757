/**
 * What a variable was before a transaction or savepoint changed it. Each nesting level that changed
 * it has one entry:
 *
 *   set        SET here: the value stands if this level commits
 *   local      SET LOCAL here: the value ends with the transaction, the one before it comes back
 *   set+local  SET and then SET LOCAL here: the value of the SET is masked, and comes back
 *
 * A level that commits is merged into the one around it; one that is rolled back gives back
 * `prior`.
 *
 * PostgreSQL: src/backend/utils/misc/guc.c, push_old_value, AtEOXact_GUC
 */

import type { ChunkPtr } from "../abi/pointers.ts";
import type { MemoryContext } from "../process/context.ts";
import type { Parameter } from "../shared/parameters.ts";
import { kindOf, type VariableKind, type VariableStore } from "./variable-store.ts";

/** Where a value comes from: the column `source` of `pg_settings`. */
export type VariableSource = "default" | "command line" | "client" | "session";

/** A variable and its saved values. @internal */
export class Variable {
  readonly name: string;
  /** Undefined for a variable that a session has made up, with a dot in its name. */
  readonly parameter: Parameter | undefined;
  readonly kind: VariableKind;
  /** Value and reset value. */
  readonly record: ChunkPtr;
  source: VariableSource = "default";
  resetSource: VariableSource = "default";
  /** The innermost level last. */
  readonly stack: SavedValue[] = [];

  constructor(name: string, parameter: Parameter | undefined, record: ChunkPtr) {
    this.name = name;
    this.parameter = parameter;
    this.kind = kindOf(parameter);
    this.record = record;
  }
}

/** What one level has to give back. @internal */
export interface SavedValue {
  level: number;
  state: "set" | "local" | "set+local";
  readonly source: VariableSource;
  /** The value before this level, and the one that a SET LOCAL masks. */
  readonly record: ChunkPtr;
}

const VALUE = 0;
const PRIOR = 0;
const MASKED = 1;

/** Saves and gives back values, level by level. @internal */
export class VariableStack {
  readonly #store: VariableStore;
  readonly #changed: (variable: Variable) => void;
  /** Variables that have a saved value. */
  readonly #saved = new Set<Variable>();

  /** @param changed - told of each variable that got a value back */
  constructor(store: VariableStore, changed: (variable: Variable) => void) {
    this.#store = store;
    this.#changed = changed;
  }

  /**
   * Saves the value of a variable before a change at a level, as far as this level has not.
   *
   * @param context - where the saved value lives: as long as the transaction
   * @returns whether the word of the value was moved there, so that it need not be freed
   */
  save(variable: Variable, level: number, local: boolean, context: MemoryContext): boolean {
    const store = this.#store;
    const entry = variable.stack.at(-1);
    const value = store.read(variable.record, VALUE);
    if (entry === undefined || entry.level < level) {
      const record = store.record(context);
      store.write(record, PRIOR, value);
      const state = local ? "local" : "set";
      variable.stack.push({ level, state, source: variable.source, record });
      this.#saved.add(variable);
      return true;
    }
    if (local && entry.state === "set") {
      store.write(entry.record, MASKED, value);
      entry.state = "set+local";
      return true;
    }
    if (!local) {
      if (entry.state === "set+local") this.#discard(variable, entry, MASKED);
      entry.state = "set";
    }
    return false;
  }

  /** Ends every level from `level` on, for all variables. */
  end(level: number, isCommit: boolean): void {
    for (const variable of [...this.#saved]) {
      let entry = variable.stack.at(-1);
      while (entry !== undefined && entry.level >= level) {
        if (!isCommit) this.#restore(variable, entry, PRIOR);
        else if (!this.#commit(variable, entry)) break;
        variable.stack.pop();
        entry = variable.stack.at(-1);
      }
      if (variable.stack.length === 0) this.#saved.delete(variable);
    }
  }

  /** Commits one entry. @returns false if it stays, as an entry of the level around its own */
  #commit(variable: Variable, entry: SavedValue): boolean {
    const outer = variable.stack.at(-2);
    if (entry.level === 1) {
      if (entry.state === "set") this.#discard(variable, entry, PRIOR);
      else this.#restore(variable, entry, entry.state === "local" ? PRIOR : MASKED);
      return true;
    }
    if (outer === undefined || outer.level < entry.level - 1) {
      entry.level -= 1;
      return false;
    }
    this.#merge(variable, entry, outer);
    return true;
  }

  /** Makes the entry of a level that commits part of the entry of the level around it. */
  #merge(variable: Variable, entry: SavedValue, outer: SavedValue): void {
    if (entry.state === "set") {
      this.#discard(variable, entry, PRIOR);
      if (outer.state === "set+local") this.#discard(variable, outer, MASKED);
      outer.state = "set";
    } else if (entry.state === "set+local") {
      this.#discard(variable, entry, PRIOR);
      if (outer.state === "set+local") this.#discard(variable, outer, MASKED);
      this.#move(entry, MASKED, outer);
    } else if (outer.state === "set") this.#move(entry, PRIOR, outer);
    else this.#discard(variable, entry, PRIOR);
  }

  /** What the inner level would have given back is what the outer level's SET LOCAL masks. */
  #move(entry: SavedValue, from: 0 | 1, outer: SavedValue): void {
    this.#store.write(outer.record, MASKED, this.#store.read(entry.record, from));
    outer.state = "set+local";
  }

  #restore(variable: Variable, entry: SavedValue, from: 0 | 1): void {
    const store = this.#store;
    const current = store.read(variable.record, VALUE);
    store.write(variable.record, VALUE, store.read(entry.record, from));
    store.discard(variable.kind, current);
    if (entry.state === "set+local")
      this.#discard(variable, entry, from === PRIOR ? MASKED : PRIOR);
    variable.source = from === PRIOR ? entry.source : "session";
    this.#changed(variable);
  }

  #discard(variable: Variable, entry: SavedValue, index: 0 | 1): void {
    this.#store.discard(variable.kind, this.#store.read(entry.record, index));
    this.#store.write(entry.record, index, 0);
  }
}
