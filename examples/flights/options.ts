/**
 * The command line of `npm start`. Every mistake is one {@link UsageError} whose message names the
 * value and what is allowed.
 */

import { parseArgs } from "node:util";
import { PallocError, parseParameter } from "../../bindings/index.ts";
import { MAX_CONNECTIONS } from "./job.ts";

/** A command line that cannot be carried out. */
export class UsageError extends Error {}

/** The options, as text where they are settings. */
export interface Options {
  readonly sharedBuffers: string;
  readonly workMem: string;
  readonly workers: number;
  readonly dataDirectory: string;
  readonly maxRows: number;
  readonly json: boolean;
  readonly help: boolean;
}

const definitions = {
  "shared-buffers": { type: "string" },
  "work-mem": { type: "string" },
  workers: { type: "string" },
  "data-dir": { type: "string" },
  rows: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

type Name = keyof typeof definitions;

/** What `--help` prints. */
export const HELP: string = `Usage: npm start -- [options]

Loads 3 million flights into a table of 8 kB pages (first run only), then aggregates them in
parallel: each worker thread is a backend with process memory of its own, and all share one buffer
pool that is much smaller than the table.

Options:
  --shared-buffers SIZE   size of the buffer pool, 128kB or more (default 16MB)
  --work-mem SIZE         what a query's hash table may take, 64kB or more, times
                          hash_mem_multiplier (default 4MB)
  --workers N             backends that run the query, 1 to ${MAX_CONNECTIONS} (default 2)
  --data-dir DIR          where the table is kept; made if missing (default data/flights)
  --rows N                load only the first N flights, into a table of their own
  --json                  print the report as JSON
  -h, --help              print this

Sizes are numbers with a unit, B kB MB GB TB, case-sensitive. A number alone counts in the
parameter's own unit: 8 kB pages for --shared-buffers, kB for --work-mem.
Progress goes to stderr, the report to stdout. The exit code is 0 when the report is complete and
nothing leaked, 1 after an error, 130 after Ctrl-C, from which the next run recovers.
`;

/**
 * Reads the command line.
 *
 * @param dataDirectory - used when none is given
 * @throws {@link UsageError} for an unknown option, a missing or superfluous value, a bad number
 */
export function readOptions(args: readonly string[], dataDirectory: string): Options {
  const given = new Map<Name, string | undefined>();
  const { tokens } = parseArgs({
    args: [...args],
    options: definitions,
    strict: false,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind === "positional")
      throw new UsageError(`unexpected argument "${token.value}"${SEE}`);
    if (token.kind === "option")
      given.set(checkedName(token.name, token.rawName, token.value), token.value);
  }
  return {
    sharedBuffers: setting(
      "--shared-buffers",
      "shared_buffers",
      given.get("shared-buffers") ?? "16MB",
    ),
    workMem: setting("--work-mem", "work_mem", given.get("work-mem") ?? "4MB"),
    workers: wholeNumber("--workers", given.get("workers") ?? "2", MAX_CONNECTIONS),
    dataDirectory: given.get("data-dir") ?? dataDirectory,
    maxRows: given.has("rows")
      ? wholeNumber("--rows", given.get("rows") ?? "")
      : Number.POSITIVE_INFINITY,
    json: given.has("json"),
    help: given.has("help"),
  };
}

const SEE = "; see npm start -- --help";

function checkedName(name: string, rawName: string, value: string | undefined): Name {
  if (!Object.hasOwn(definitions, name)) {
    const allowed = Object.keys(definitions).map((known) => `--${known}`);
    throw new UsageError(`unknown option "${rawName}"; options are ${allowed.join(", ")}`);
  }
  const known = name as Name;
  if (definitions[known].type === "boolean") {
    if (value !== undefined)
      throw new UsageError(`option ${rawName} takes no value, got "${value}"`);
  } else if (value === undefined || value === "" || value.startsWith("--")) {
    throw new UsageError(`option ${rawName} needs a value${SEE}`);
  }
  return known;
}

/** Checks the text of a parameter; the wording of what is wrong with it is PostgreSQL's. */
function setting(option: string, parameter: string, text: string): string {
  try {
    parseParameter(parameter, text);
    return text;
  } catch (error) {
    if (!(error instanceof PallocError)) throw error;
    throw new UsageError(`option ${option} "${text}": ${oneLine(error)}`);
  }
}

/** An error in one line: what happened, the values, and what can be done. */
export function oneLine({ message, detail, hint }: PallocError): string {
  return [message, detail, hint]
    .filter((part) => part !== undefined)
    .map((part) => part.replaceAll(/\s+/g, " ").replace(/[. ]+$/, ""))
    .join(". ");
}

function wholeNumber(option: string, text: string, most: number = Number.MAX_SAFE_INTEGER): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 1 && value <= most) return value;
  const range = most === Number.MAX_SAFE_INTEGER ? "1 or more" : `from 1 to ${most}`;
  throw new UsageError(
    `invalid value for ${option}: "${text}"; allowed is a whole number ${range}`,
  );
}
