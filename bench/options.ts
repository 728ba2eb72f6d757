/** The options of `npm run bench`. */

import { parseArgs } from "node:util";

/** What the command line asked for. */
export interface BenchOptions {
  /** Number, word or id of rows; undefined is all of them. */
  readonly only: string | undefined;
  /** Where the JSON goes; undefined is bench/results/latest.json. */
  readonly json: string | undefined;
  readonly rounds: number;
  readonly list: boolean;
  readonly help: boolean;
}

/** A command line that cannot be followed; the message is one line. */
export class UsageError extends Error {}

export const HELP: string = `npm run bench -- [options]

  --only ROW    rows of a number (6) or word (memory), or one by id (6.hit-vs-string-key)
  --json FILE   where the results go (bench/results/latest.json)
  --rounds N    turns each contender gets, 1 to 1000 (9)
  --list        the rows, without measuring
  --help        this text`;

const MAX_ROUNDS = 1000;

/** @throws {@link UsageError} for an option that is unknown or malformed */
export function parseOptions(args: readonly string[], defaultRounds: number): BenchOptions {
  const values = read(args);
  return {
    only: values.only,
    json: values.json,
    rounds: values.rounds === undefined ? defaultRounds : roundsOf(values.rounds),
    list: values.list ?? false,
    help: values.help ?? false,
  };
}

interface Values {
  only?: string;
  json?: string;
  rounds?: string;
  list?: boolean;
  help?: boolean;
}

function read(args: readonly string[]): Values {
  try {
    return parseArgs({
      args: [...args],
      options: {
        only: { type: "string" },
        json: { type: "string" },
        rounds: { type: "string" },
        list: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    }).values;
  } catch (error) {
    // Node explains at length how to pass such an argument all the same; one sentence suffices.
    const [first = ""] = (error instanceof Error ? error.message : String(error)).split(/\. |\n/);
    throw new UsageError(`${first}; --help shows the options`);
  }
}

function roundsOf(text: string): number {
  const rounds = Number(text);
  if (/^\d+$/.test(text) && rounds >= 1 && rounds <= MAX_ROUNDS) return rounds;
  throw new UsageError(`--rounds takes a whole number from 1 to ${MAX_ROUNDS}, not "${text}"`);
}
