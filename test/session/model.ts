// What a session's variables and transactions ought to do, in the plainest way: for each level of a
// transaction what was set there, and what was set locally. The session keeps saved values instead,
// and merges them as PostgreSQL does.

import { type Answer, type Command, VARIABLES } from "./commands.ts";

type Name = (typeof VARIABLES)[number];
type Values = Map<string, string>;

interface Level {
  readonly savepoint: string;
  readonly set: Values;
  readonly local: Values;
}

const DEFAULTS: Readonly<Record<Name, string>> = {
  work_mem: "4MB",
  log_lock_waits: "off",
  application_name: "",
  hash_mem_multiplier: "2",
  io_combine_limit: "128kB",
  "made.up": "",
};

/** How values are shown that are not shown as they are written. */
const SHOWN: Readonly<Record<string, string>> = { "77": "77kB", "io_combine_limit 1": "8kB" };
/** Values that no variable takes. */
const REFUSED = new Set(["nothing", "perhaps", "0.1", "1GB"]);

/** A session as it ought to be. */
export class Model {
  readonly #base: Values = new Map();
  #levels: Level[] = [];
  aborted = false;

  /** 0 outside a transaction. */
  get depth(): number {
    return this.#levels.length;
  }

  /** What each variable is shown as. */
  values(): Record<string, string> {
    const shown = VARIABLES.map((name) => {
      for (const { set, local } of [...this.#levels].reverse()) {
        const value = local.get(name) ?? set.get(name);
        if (value !== undefined) return [name, value];
      }
      return [name, this.#base.get(name) ?? DEFAULTS[name]];
    });
    return Object.fromEntries(shown);
  }

  /** Codes of the warnings, the result, the code of the refusal. */
  give(command: Command): { warnings: string[]; result?: unknown; refused?: string } {
    const rescues = ["commit", "rollback", "rollbackTo"].includes(command.op);
    if (this.aborted && !rescues) return { warnings: [], refused: "25P02" };
    const answer = this.#take(command);
    if (answer.refused !== undefined && this.depth > 0) this.#abort();
    return answer;
  }

  #take(command: Command): { warnings: string[]; result?: unknown; refused?: string } {
    const inBlock = this.depth > 0;
    switch (command.op) {
      case "begin":
        if (inBlock) return { warnings: ["25001"] };
        this.#push("");
        return { warnings: [] };
      case "commit":
      case "rollback":
        return this.#end(command.op === "commit");
      case "savepoint":
        if (!inBlock) return { warnings: [], refused: "25P01" };
        this.#push(command.name);
        return { warnings: [] };
      case "release":
      case "rollbackTo":
        return this.#endSavepoint(command);
      case "query":
        return { warnings: [] };
      case "failingQuery":
        return { warnings: [], refused: "22012" };
      default:
        return this.#assign(command);
    }
  }

  #end(isCommit: boolean): { warnings: string[]; result?: unknown } {
    const commits = isCommit && !this.aborted;
    const result = isCommit ? { result: commits ? "COMMIT" : "ROLLBACK" } : {};
    if (this.depth === 0) return { warnings: ["25P01"], ...result };
    while (commits && this.depth > 1) this.#merge();
    const [top] = this.#levels;
    if (commits) for (const [name, value] of top?.set ?? []) this.#base.set(name, value);
    this.#levels = [];
    this.aborted = false;
    return { warnings: [], ...result };
  }

  #endSavepoint({ op, name }: Command & { name: string }): {
    warnings: string[];
    refused?: string;
  } {
    if (this.depth === 0) return { warnings: [], refused: "25P01" };
    const at = this.#levels.findLastIndex((level, index) => index > 0 && level.savepoint === name);
    if (at < 0) return { warnings: [], refused: "3B001" };
    if (op === "release") while (this.depth > at) this.#merge();
    else {
      this.#levels.length = at;
      this.aborted = false;
      this.#push(name);
    }
    return { warnings: [] };
  }

  #assign(command: Command): { warnings: string[]; refused?: string } {
    if (command.op === "resetAll") {
      for (const name of VARIABLES) this.#set(name, DEFAULTS[name]);
    } else if (command.op === "reset") this.#set(command.name, DEFAULTS[command.name as Name]);
    else if (command.op === "set") {
      const { name, value, local } = command;
      const warnings = local && this.depth === 0 ? ["25P01"] : [];
      if (name !== "made.up" && REFUSED.has(value)) return { warnings, refused: "22023" };
      const shown = SHOWN[`${name} ${value}`] ?? SHOWN[value] ?? value;
      if (!local) this.#set(name, shown);
      else this.#levels.at(-1)?.local.set(name, shown);
      return { warnings };
    }
    return { warnings: [] };
  }

  #set(name: string, value: string): void {
    const level = this.#levels.at(-1);
    if (level === undefined) this.#base.set(name, value);
    else {
      level.local.delete(name);
      level.set.set(name, value);
    }
  }

  #push(savepoint: string): void {
    this.#levels.push({ savepoint, set: new Map(), local: new Map() });
  }

  /** The innermost savepoint is released: what it set was set around it. */
  #merge(): void {
    const inner = this.#levels.pop();
    const outer = this.#levels.at(-1);
    for (const [name, value] of inner?.set ?? []) {
      outer?.set.set(name, value);
      outer?.local.delete(name);
    }
    for (const [name, value] of inner?.local ?? []) outer?.local.set(name, value);
  }

  /** The innermost level fails: its settings are back at once. */
  #abort(): void {
    this.aborted = true;
    const level = this.#levels.at(-1);
    level?.set.clear();
    level?.local.clear();
  }
}

/** An answer as the model gives it. */
export function outline({ warnings, result, refused }: Answer): {
  warnings: string[];
  result?: unknown;
  refused?: unknown;
} {
  return {
    warnings: warnings.map((warning) => warning.slice(0, 5)),
    ...(result === undefined ? {} : { result }),
    ...(refused === undefined ? {} : { refused: refused[0] }),
  };
}
