// Commands of a session as data: for histories that run on ours, on a model and on PostgreSQL.

import { PallocError, type Session } from "../../bindings/index.ts";
import type { Random } from "../support/random.ts";

/** One command. */
export type Command =
  | { readonly op: "begin" | "commit" | "rollback" | "resetAll" | "query" | "failingQuery" }
  | { readonly op: "savepoint" | "release" | "rollbackTo" | "reset"; readonly name: string }
  | {
      readonly op: "set";
      readonly name: string;
      readonly value: string;
      readonly local: boolean;
    }
  /** The same with a name that needs no quotes, each part of it by itself. */
  | { readonly op: "setPlain"; readonly name: string; readonly value: string };

/** What a command did. */
export interface Answer {
  /** Code and message of each. */
  readonly warnings: readonly string[];
  readonly result?: unknown;
  /** Code, message, DETAIL, HINT. */
  readonly refused?: readonly unknown[];
}

/** Variables of random histories: of each type, and one that nobody knows before it is set. */
export const VARIABLES = [
  "work_mem",
  "log_lock_waits",
  "application_name",
  "hash_mem_multiplier",
  "io_combine_limit",
  "made.up",
] as const;

const VALUES: Readonly<Record<(typeof VARIABLES)[number], readonly string[]>> = {
  work_mem: ["1MB", "128kB", "77", "nothing"],
  log_lock_waits: ["on", "off", "perhaps"],
  application_name: ["one", "two", "a longer name that is not short"],
  hash_mem_multiplier: ["1", "1.5", "3", "0.1"],
  io_combine_limit: ["1", "64kB", "1MB", "1GB"],
  "made.up": ["x", "yy", "", "a text of some length, kept in memory"],
};

const NAMES = ["a", "b", "c"];

/** A command at random: more that build up than that take down. */
export function randomCommand(random: Random): Command {
  const roll = random.below(100);
  if (roll < 40) {
    const name = random.pick(VARIABLES);
    return { op: "set", name, value: random.pick(VALUES[name]), local: random.below(3) === 0 };
  }
  if (roll < 46) return { op: "reset", name: random.pick(VARIABLES) };
  if (roll < 48) return { op: "resetAll" };
  if (roll < 58) return { op: "begin" };
  if (roll < 72) return { op: "savepoint", name: random.pick(NAMES) };
  if (roll < 80) return { op: "release", name: random.pick(NAMES) };
  if (roll < 90) return { op: "rollbackTo", name: random.pick(NAMES) };
  if (roll < 93) return { op: "commit" };
  if (roll < 95) return { op: "rollback" };
  return { op: roll < 98 ? "query" : "failingQuery" };
}

/** What PostgreSQL gets: the text, and its parameters. */
export function sqlOf(command: Command): [sql: string, parameters: string[]] {
  switch (command.op) {
    case "set": {
      const { name, value, local } = command;
      const quoted = `"${name}"`;
      return [`set ${local ? "local " : ""}${quoted} = '${value.replaceAll("'", "''")}'`, []];
    }
    case "setPlain":
      return [`set ${command.name} = '${command.value}'`, []];
    case "reset":
      return [`reset "${command.name}"`, []];
    case "resetAll":
      return ["reset all", []];
    case "savepoint":
      return [`savepoint ${command.name}`, []];
    case "release":
      return [`release savepoint ${command.name}`, []];
    case "rollbackTo":
      return [`rollback to savepoint ${command.name}`, []];
    case "query":
      return ["select 1", []];
    case "failingQuery":
      return ["select 1/0", []];
    default:
      return [command.op, []];
  }
}

/** Gives a command to a session. @param warnings - where the session's warnings arrive */
export function perform(session: Session, command: Command, warnings: string[]): Answer {
  const taken = (): string[] => warnings.splice(0);
  try {
    const result = give(session, command);
    return { warnings: taken(), ...(command.op === "commit" ? { result } : {}) };
  } catch (error) {
    if (!(error instanceof PallocError)) throw error;
    const { code, message, detail, hint } = error;
    return { warnings: taken(), refused: [code, message, detail, hint] };
  }
}

function give(session: Session, command: Command): unknown {
  switch (command.op) {
    case "set":
      return session.set(command.name, command.value, { local: command.local });
    case "setPlain":
      return session.set(command.name, command.value);
    case "reset":
      return session.reset(command.name);
    case "savepoint":
      return session.savepoint(command.name);
    case "release":
      return session.release(command.name);
    case "rollbackTo":
      return session.rollbackTo(command.name);
    case "query":
      return session.query("", () => 1);
    case "failingQuery":
      return session.query("", () => {
        throw new PallocError("22012", "division by zero");
      });
    default:
      return session[command.op]();
  }
}
