/**
 * The command line of `npm start`. Every mistake is one {@link UsageError} whose message names the
 * value and what is allowed.
 */

import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { PallocError, parseParameter } from "../../bindings/index.ts";
import { MAX_WORKERS } from "./job.ts";

/** A command line that cannot be carried out. */
export class UsageError extends Error {}

/** A CSV file and what to do with it. Missing columns are told by whoever knows those there are. */
export interface CsvOptions {
  /** Absolute. */
  readonly path: string;
  readonly groupBy: string | undefined;
  readonly agg: string | undefined;
  readonly reload: boolean;
}

/** The options, as text where they are settings. */
export interface Options {
  readonly sharedBuffers: string;
  readonly workMem: string;
  readonly workers: number;
  readonly dataDirectory: string;
  readonly maxRows: number;
  /** A CSV file to be used instead of the flights. */
  readonly csv?: CsvOptions;
  readonly json: boolean;
  readonly help: boolean;
}

const definitions = {
  "shared-buffers": { type: "string" },
  "work-mem": { type: "string" },
  workers: { type: "string" },
  "data-dir": { type: "string" },
  rows: { type: "string" },
  "group-by": { type: "string" },
  agg: { type: "string" },
  reload: { type: "boolean" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

type Name = keyof typeof definitions;

/** What `--help` prints. */
export const HELP: string = `Usage: npm start -- [options]
       npm start -- FILE.csv --group-by COLUMN --agg COLUMN [options]

Loads 3 million flights into a table of 8 kB pages (first run only), then aggregates them in
parallel: each worker thread is a backend with process memory of its own, and all share one buffer
pool that is much smaller than the table. With a CSV file it does the same to that file's rows, and
loads them again only when the file has changed.

Options:
  --shared-buffers SIZE   size of the buffer pool, 128kB or more (default 16MB)
  --work-mem SIZE         what a query's hash table may take, 64kB or more, times
                          hash_mem_multiplier (default 4MB)
  --workers N             backends that run the query, 1 to ${MAX_WORKERS} (default 2)
  --data-dir DIR          where the table is kept; made if missing (default data/flights)
  --rows N                load only the first N rows, into a table of their own
  --group-by COLUMN       CSV: the column whose values make the groups
  --agg COLUMN            CSV: the column of numbers to count, average and take the maximum of
  --reload                CSV: load the file again though it has not changed
  --json                  print the report as JSON, with all groups of a CSV file
  -h, --help              print this

A CSV file has a header row, commas, values in quotes where they contain commas, quotes or line
ends, and UTF-8. A column is of numbers if all its values are; an empty value is a missing one. It
may be of any size: it is read in pieces, twice.

Sizes are numbers with a unit, B kB MB GB TB, case-sensitive. A number alone counts in the
parameter's own unit: 8 kB pages for --shared-buffers, kB for --work-mem.
Progress goes to stderr, the report to stdout. The exit code is 0 when the report is complete and
nothing leaked, 1 after an error, 130 after Ctrl-C, from which the next run recovers.

Examples:
  npm start
  npm start -- --workers 4 --shared-buffers 1MB
  npm start -- sales.csv --group-by city --agg price
  npm start -- sales.csv --group-by "order date" --agg=amount --work-mem 64MB --json
`;

/**
 * Reads the command line.
 *
 * @param dataDirectory - used when none is given
 * @throws {@link UsageError} for an unknown option, a missing or superfluous value, a bad number,
 *   more than one file
 */
export function readOptions(args: readonly string[], dataDirectory: string): Options {
  const { given, path } = parsed(args);
  const text = (name: Name, preset: string): string => given.get(name) ?? preset;
  const csv = csvOptions(given, path);
  return {
    sharedBuffers: setting("--shared-buffers", "shared_buffers", text("shared-buffers", "16MB")),
    workMem: setting("--work-mem", "work_mem", text("work-mem", "4MB")),
    workers: wholeNumber("--workers", text("workers", "2"), MAX_WORKERS),
    dataDirectory: text("data-dir", dataDirectory),
    maxRows: given.has("rows") ? wholeNumber("--rows", text("rows", "")) : Number.POSITIVE_INFINITY,
    ...(csv === undefined ? {} : { csv }),
    json: given.has("json"),
    help: given.has("help"),
  };
}

const SEE = "; see npm start -- --help";

type Given = ReadonlyMap<Name, string | undefined>;

function parsed(args: readonly string[]): { given: Given; path: string | undefined } {
  const given = new Map<Name, string | undefined>();
  let path: string | undefined;
  const { tokens } = parseArgs({
    args: [...args],
    options: definitions,
    strict: false,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind === "positional") {
      if (path !== undefined) throw new UsageError(`unexpected argument "${token.value}"${SEE}`);
      path = token.value;
    }
    if (token.kind !== "option") continue;
    const { name, rawName, value, inlineValue } = token;
    given.set(checkedName(name, rawName, value, inlineValue === true), value);
  }
  return { given, path };
}

function csvOptions(given: Given, path: string | undefined): CsvOptions | undefined {
  if (path === undefined) {
    const alone = (["group-by", "agg", "reload"] as const).find((name) => given.has(name));
    if (alone === undefined) return undefined;
    throw new UsageError(`option --${alone} needs a CSV file${SEE}`);
  }
  if (path === "") throw new UsageError(`the name of the CSV file is empty${SEE}`);
  return {
    path: resolve(path),
    groupBy: given.get("group-by"),
    agg: given.get("agg"),
    reload: given.has("reload"),
  };
}

function checkedName(
  name: string,
  rawName: string,
  value: string | undefined,
  inline: boolean,
): Name {
  if (!Object.hasOwn(definitions, name)) {
    const allowed = Object.keys(definitions).map((known) => `--${known}`);
    throw new UsageError(`unknown option "${rawName}"; options are ${allowed.join(", ")}`);
  }
  const known = name as Name;
  if (definitions[known].type === "boolean") {
    if (value !== undefined)
      throw new UsageError(`option ${rawName} takes no value, got "${value}"`);
  } else if (value === undefined || value === "" || (!inline && value.startsWith("--"))) {
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
