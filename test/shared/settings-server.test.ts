// Compares the table of parameters, and what texts mean, with a running PostgreSQL: PGlite runs the
// server inside this process. ALTER SYSTEM checks a value of any parameter without setting it;
// what a parameter of context user becomes is read back. Its start takes seconds, hence a file of
// its own.

import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PallocError } from "../../bindings/abi/errors.ts";
import { type Parameter, parameters } from "../../bindings/shared/parameters.ts";
import { parseParameter, resolveSettings, type Settings } from "../../bindings/shared/settings.ts";
import { OURS_ALONE } from "../support/own-parameters.ts";

interface ServerRow {
  readonly name: string;
  readonly vartype: string;
  readonly unit: string | null;
  readonly context: string;
  readonly boot_val: string;
  readonly min_val: string | null;
  readonly max_val: string | null;
  readonly enumvals: readonly string[] | null;
}

/** Where ours differ on purpose; parameters.ts says why. */
const DIFFERENT: Readonly<Record<string, Partial<ServerRow>>> = {
  data_checksums: { context: "postmaster", boot_val: "on" },
  io_method: { boot_val: "sync" },
  max_connections: { boot_val: "16", max_val: "987" },
};

const TEXTS = [
  ["0", "1", "-1", "2", "7", "16", "31", "32", "33", "100", "127", "128", "129", "1000", "1001"],
  ["10000", "10001", "86400", "86401", "2147483647", "2147483648", "1e3", "0x20", "010", "08"],
  ["0.5", "0.9", "1.5", "10", "10.5", "-0.4", "1e-400", "nan", "inf", "x", "", " ", " 30 ", "+5"],
  ["1us", "500us", "1500us", "30500000us", "29500ms", "15ms", "10.5ms", "1s", "30s", "1.5s"],
  ["1min", "1.5min", "0.1min", "1h", "23.99h", "1d", "0.06d", "1.5d", "1000000d", "1m", "1S"],
  ["1B", "1kB", "799kB", "800kB", "1MB", "0.5MB", "1.1GB", "16GB", "17GB", "8TB", "1mb", "1 kB x"],
  ["on", "OFF", "tr", "o", "yes", "sync", "Worker", "io_uring"],
  ["debug", "DEBUG3", "info", "Log", "Notice", "warnin", "fatal", "error"],
  ["a name", "Käse", "\u0001\u007f", "x".repeat(62), "x".repeat(80), `${"x".repeat(62)}ß`],
].flat();

/** What became of a value: its text, or the words of the refusal. */
type Outcome = { readonly shown: string } | { readonly refused: readonly unknown[] };

function refusal(error: unknown): Outcome {
  const { code, message, hint, detail } = error as Record<string, unknown>;
  return { refused: [code, message, hint, detail] };
}

function ours(name: string, text: string): Outcome {
  try {
    parseParameter(name, text);
    return { shown: resolveSettings({ [name]: text } as Settings).show(name) };
  } catch (error) {
    if (!(error instanceof PallocError)) throw error;
    return refusal(error);
  }
}

/** Our row in the words of pg_settings. */
function asServerRow(parameter: Parameter): ServerRow {
  const { name, vartype, unit, context, bootValue } = parameter;
  const hasRange = parameter.vartype === "integer" || parameter.vartype === "real";
  return {
    name,
    vartype,
    unit,
    context,
    boot_val: typeof bootValue === "boolean" ? (bootValue ? "on" : "off") : String(bootValue),
    min_val: hasRange ? String(parameter.min) : null,
    max_val: hasRange ? String(parameter.max) : null,
    enumvals: parameter.vartype === "enum" ? parameter.values : null,
  };
}

describe("the parameters of PostgreSQL", () => {
  let server: PGlite;
  let rows: ReadonlyMap<string, ServerRow>;

  beforeAll(async () => {
    server = await PGlite.create();
    const columns = "name, vartype, unit, context, boot_val, min_val, max_val, enumvals";
    const found = await server.query<ServerRow>(`select ${columns} from pg_settings`);
    rows = new Map(found.rows.map((row) => [row.name, row]));
  });

  afterAll(() => server.close());

  /** Has the server check a value, and take it where a session may. */
  async function theirs({ name, context }: Parameter, text: string): Promise<Outcome | "taken"> {
    try {
      if (context === "user" || context === "superuser") {
        const set = "select set_config($1, $2, false) as shown";
        const { rows: shown } = await server.query<{ shown: string }>(set, [name, text]);
        return { shown: shown[0]?.shown ?? "" };
      }
      await server.exec(`alter system set ${name} = '${text}'`);
      return "taken";
    } catch (error) {
      return refusal(error);
    }
  }

  const servers = parameters.filter(({ name }) => !OURS_ALONE.includes(name));

  it.each(servers)("$name has our type, unit, context, range and default", (parameter) => {
    const { name } = parameter;
    expect(asServerRow(parameter)).toEqual({ ...rows.get(name), ...DIFFERENT[name] });
  });

  it("differs from ours only where that is said, and really", () => {
    for (const [name, difference] of Object.entries(DIFFERENT)) {
      for (const [column, value] of Object.entries(difference)) {
        expect(rows.get(name)).not.toHaveProperty(column, value);
      }
    }
  });

  // ALTER SYSTEM refuses what is internal there as such, and the range of max_connections is ours.
  const comparable = servers.filter(
    ({ name }) => !["block_size", "data_checksums", "max_connections"].includes(name),
  );

  it.each(comparable)("$name takes, shows and refuses texts as ours does", async (parameter) => {
    let refused = 0;
    for (const text of TEXTS) {
      const expected = await theirs(parameter, text);
      const found = ours(parameter.name, text);
      if ("refused" in found) refused += 1;
      if (expected === "taken") expect(found, text).toHaveProperty("shown");
      else expect(found, JSON.stringify(text)).toEqual(expected);
    }
    if (parameter.vartype === "string") expect(refused).toBe(0);
    else expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThan(TEXTS.length);
  });
});
