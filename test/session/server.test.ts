// Compares sessions with a running PostgreSQL: PGlite runs the server inside this process. A table
// of commands for variables, and random histories of transactions, savepoints, rollbacks and
// settings: every command must be answered alike, in result, warnings, error, DETAIL and HINT, and
// leave the same values behind. Its start takes seconds, hence a file of its own.

import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PallocError, Session, type SettingRow } from "../../bindings/index.ts";
import { OURS_ALONE } from "../support/own-parameters.ts";
import { openPool } from "../support/pool.ts";
import { Random, seed } from "../support/random.ts";
import { type Answer, type Command, perform, randomCommand, sqlOf, VARIABLES } from "./commands.ts";

const HISTORIES = 40;
const STEPS = 40;

/** Commands by what they try; the text is what PostgreSQL gets. */
const table: readonly Command[] = [
  ...["64", "63", "64kB", "65536", "1MB", " 1 MB ", "1mb", "1 lightyear", "x", "", "-1", "2097151"],
  ...["2097152", "4TB", "1.5MB", "1e3", "0x100", "NaN"],
].map((value) => ({ op: "set", name: "work_mem", value, local: false }));

const others: readonly Command[] = [
  ["hash_mem_multiplier", "1.5"],
  ["hash_mem_multiplier", "0.9"],
  ["hash_mem_multiplier", "2 kB"],
  ["statement_timeout", "90s"],
  ["statement_timeout", "2.5s"],
  ["statement_timeout", "1 kB"],
  ["statement_timeout", "-1"],
  ["statement_timeout", "25d"],
  ["deadlock_timeout", "0"],
  ["deadlock_timeout", "1us"],
  ["lock_timeout", "1min"],
  ["idle_in_transaction_session_timeout", "1h"],
  ["log_lock_waits", "yes"],
  ["log_lock_waits", "maybe"],
  ["track_io_timing", "2"],
  ["track_io_timing", "t"],
  ["client_min_messages", "loud"],
  ["client_min_messages", "WARNING"],
  ["client_min_messages", "debug"],
  ["application_name", "Käse\u0001"],
  ["application_name", `${"x".repeat(62)}ß`],
  ["shared_buffers", "1GB"],
  ["shared_buffers", "nonsense"],
  ["max_connections", "5"],
  ["io_method", "worker"],
  ["checkpoint_timeout", "1min"],
  ["bgwriter_delay", "10"],
  ["block_size", "4096"],
  ["vacuum_buffer_usage_limit", "64kB"],
  ["temp_buffers", "99"],
  ["temp_buffers", "1600kB"],
  ["io_combine_limit", "129"],
  ["sort_mem", "1MB"],
  ["WORK_MEM", "2MB"],
  ["nosuch", "1"],
  ["shop.cart", "three"],
  ["Shop.CART", "four"],
  ["shop.1st", "x"],
  ["shop.", "x"],
  [".shop", "x"],
  ["shop..cart", "x"],
  ["sh-op.cart", "x"],
  ["shop.cart.size", "x"],
  ["shop.$a", "x"],
  ["shop.a$1", "x"],
  ["shöp.cärt", "x"],
  ["shop cart.x", "x"],
].map(([name = "", value = ""]) => ({ op: "set", name, value, local: false }));

const resets: readonly Command[] = [
  ...["work_mem", "shared_buffers", "checkpoint_timeout", "block_size", "nosuch", "other.thing"],
  ...["other thing", "shop.cart"],
].map((name) => ({ op: "reset", name }));

/** A warning or notice as PGlite gives it. */
type Notice = Readonly<Partial<Record<"severity" | "code" | "message", string | undefined>>>;

interface Server {
  readonly answer: (command: Command) => Promise<Answer>;
  readonly values: () => Promise<Record<string, string>>;
}

function serverOf(server: PGlite): Server {
  const answer = async (command: Command): Promise<Answer> => {
    const warnings: string[] = [];
    const onNotice = ({ severity, code, message }: Notice): void => {
      if (severity === "WARNING" || severity === "NOTICE") warnings.push(`${code} ${message}`);
    };
    try {
      const [sql, parameters] = sqlOf(command);
      const { command: tag } = (await server.query(sql, parameters, { onNotice })) as never;
      return { warnings, ...(command.op === "commit" ? { result: tag } : {}) };
    } catch (error) {
      const { code, message, detail, hint } = error as PallocError;
      return { warnings, refused: [code, message, detail, hint] };
    }
  };
  const values = async (): Promise<Record<string, string>> => {
    const columns = VARIABLES.map((name, at) => `current_setting('${name}', true) as v${at}`);
    const { rows } = await server.query<Record<string, string>>(`select ${columns.join(", ")}`);
    return Object.fromEntries(VARIABLES.map((name, at) => [name, rows[0]?.[`v${at}`] ?? ""]));
  };
  return { answer, values };
}

describe("sessions of PostgreSQL", () => {
  let server: PGlite;

  beforeAll(async () => {
    server = await PGlite.create();
  });
  afterAll(() => server.close());

  async function openSession(): Promise<{ session: Session; warnings: string[] }> {
    const pool = await openPool({ checked: true, files: false });
    const warnings: string[] = [];
    const session = Session.open(pool.attach(), {
      onMessage: ({ code, message }) => warnings.push(`${code} ${message}`),
    });
    return { session, warnings };
  }

  function valuesOf(session: Session): Record<string, string> {
    const shown = (name: string): string => {
      try {
        return session.show(name);
      } catch (error) {
        if (error instanceof PallocError && error.code === "42704") return "";
        throw error;
      }
    };
    return Object.fromEntries(VARIABLES.map((name) => [name, shown(name)]));
  }

  it("take, show and refuse what ours do, in the same words", async () => {
    const { session, warnings } = await openSession();
    const { answer } = serverOf(server);
    let refused = 0;
    for (const command of [...table, ...others, ...resets]) {
      const expected = await answer(command);
      const found = perform(session, command, warnings);
      expect(found, JSON.stringify(command)).toEqual(expected);
      if (found.refused !== undefined) refused += 1;
      if (found.refused !== undefined || command.op !== "set") continue;
      const { rows } = await server.query<{ shown: string }>(
        "select current_setting($1) as shown",
        [command.name],
      );
      expect(session.show(command.name), JSON.stringify(command)).toBe(rows[0]?.shown);
    }
    expect(refused).toBeGreaterThan(30);
    await server.exec("reset all");
  });

  it("cut long names as ours do, before they look at anything else", async () => {
    const { session, warnings } = await openSession();
    const { answer } = serverOf(server);
    const long = "x".repeat(70);
    const wide = `${"y".repeat(62)}${"ß".repeat(9)}`;
    const names: readonly Command[] = [long, `${long}z`, wide, "x".repeat(63)].flatMap((name) => [
      { op: "savepoint", name },
      { op: "rollbackTo", name },
      { op: "release", name },
    ]);
    const within: readonly Command[] = [
      { op: "begin" },
      ...names,
      // Begins as another one does, and so is it.
      { op: "savepoint", name: long },
      { op: "release", name: `${long}another` },
      { op: "failingQuery" },
      { op: "savepoint", name: long },
      { op: "rollback" },
    ];
    const set = (name: string): Command => ({ op: "setPlain", name, value: "1" });
    for (const command of [...names, ...within, set(`shop.${long}`), set(`${long}.${wide}`)]) {
      const expected = await answer(command);
      expect(perform(session, command, warnings), JSON.stringify(command)).toEqual(expected);
    }
    expect(session.show(`shop.${long.slice(0, 63)}`)).toBe("1");
    session.begin();
    const cursor = session.cursor(long, () => [1].values());
    await server.exec("begin");
    const notices: string[] = [];
    await server.query(`declare ${long} cursor for select 1`, [], {
      // Of the messages about the protocol none.
      onNotice: ({ severity, message }: Notice) => {
        if (severity === "NOTICE") notices.push(`42622 ${message}`);
      },
    });
    expect(warnings.splice(0)).toEqual(notices);
    expect(cursor.name).toBe(long.slice(0, 63));
    session.rollback();
    await server.exec("rollback; reset all");
  });

  it("hold cursors as ours do", async () => {
    const { session } = await openSession();
    const ours: unknown[] = [];
    const theirs: unknown[] = [];
    const ask = async (sql: string): Promise<void> => {
      try {
        const { rows } = await server.query<{ n: number }>(sql);
        if (sql.startsWith("fetch")) theirs.push(rows.map(({ n }) => n));
      } catch (error) {
        theirs.push((error as PallocError).code);
      }
    };
    const give = (work: () => unknown): void => {
      try {
        const result = work();
        if (Array.isArray(result)) ours.push(result);
      } catch (error) {
        ours.push((error as PallocError).code);
      }
    };
    const select = "cursor with hold for select n from generate_series(1, 5) n";
    const rows = (): Iterator<number> => [1, 2, 3, 4, 5].values();
    const cursors = new Map<string, ReturnType<typeof session.cursor<number>>>();
    const declare = (name: string): unknown =>
      cursors.set(name, session.cursor(name, rows, { hold: true }));
    const fetch = (name: string, count: number): unknown => cursors.get(name)?.fetch(count);
    const steps: [string, () => unknown][] = [
      ["begin", () => session.begin()],
      [`declare a ${select}`, () => declare("a")],
      ["fetch 2 from a", () => fetch("a", 2)],
      ["commit", () => session.commit()],
      ["fetch 1 from a", () => fetch("a", 1)],
      ["begin", () => session.begin()],
      [`declare b ${select}`, () => declare("b")],
      ["fetch 1 from a", () => fetch("a", 1)],
      ["rollback", () => session.rollback()],
      ["fetch 1 from b", () => fetch("b", 1)],
      ["fetch 9 from a", () => fetch("a", 9)],
      [`declare a ${select}`, () => declare("a")],
      ["fetch 9 from a", () => fetch("a", 9)],
      [`declare c ${select}`, () => declare("c")],
      ["fetch 3 from c", () => fetch("c", 3)],
      ["close c", () => cursors.get("c")?.close()],
      ["fetch 1 from c", () => fetch("c", 1)],
    ];
    const failing = function* (): Generator<number> {
      yield* [0, 1];
      throw new PallocError("22012", "division by zero");
    };
    steps.push(
      ["begin", () => session.begin()],
      [
        "declare d cursor with hold for select 1/(3-n) as n from generate_series(1, 5) n",
        () => cursors.set("d", session.cursor("d", failing, { hold: true })),
      ],
      ["fetch 2 from d", () => fetch("d", 2)],
      ["commit", () => session.commit()],
      ["fetch 1 from d", () => fetch("d", 1)],
      // The commit that failed has ended the block.
      ["savepoint s", () => session.savepoint("s")],
    );
    for (const [sql, work] of steps) {
      await ask(sql);
      give(work);
    }
    expect(ours).toEqual(theirs);
    expect(ours).toEqual(expect.arrayContaining(["34000", "42P03", "22012", "25P01"]));
    await server.exec("close all");
  });

  it("refuse an ordinary user what ours refuse", async () => {
    const pool = await openPool({ checked: true, files: false });
    const session = Session.open(pool.attach(), { superuser: false });
    await server.exec("create role ordinary; set role ordinary");
    for (const name of ["zero_damaged_pages", "log_lock_waits", "work_mem", "shared_buffers"]) {
      for (const op of ["set", "reset"] as const) {
        const command: Command = { op, name, value: "on", local: false };
        expect(perform(session, command, [])).toEqual(await serverOf(server).answer(command));
      }
    }
    await server.exec("reset role");
  });

  it("have our rows in pg_settings: columns, their order, and all but the texts", async () => {
    const { session } = await openSession();
    const columns = await server.query<{ name: string }>(
      `select attname as name from pg_attribute
       where attrelid = 'pg_settings'::regclass and attnum > 0 order by attnum`,
    );
    const { rows } = await server.query<SettingRow>("select * from pg_settings");
    const theirs = new Map(rows.map((row) => [row.name, row]));
    const our = { sourcefile: null, sourceline: null, pending_restart: false, extra_desc: null };
    for (const row of session.pgSettings()) {
      expect(Object.keys(row)).toEqual(columns.rows.map(({ name }) => name));
      if (OURS_ALONE.includes(row.name)) continue;
      const their = theirs.get(row.name);
      const { category, unit, context, vartype, enumvals, min_val, max_val } = row;
      const expected = DIFFERENT[row.name] ?? {};
      expect({ category, unit, context, vartype, enumvals, min_val, max_val }, row.name).toEqual({
        ...{ category: their?.category, unit: their?.unit, context: their?.context },
        ...{ vartype: their?.vartype, enumvals: their?.enumvals },
        ...{ min_val: their?.min_val, max_val: their?.max_val },
        ...expected,
      });
      expect(row).toMatchObject(our);
    }
  });

  it(`live through ${HISTORIES} random histories as ours do`, async () => {
    const { answer, values } = serverOf(server);
    const { session, warnings } = await openSession();
    for (let history = 0; history < HISTORIES; history += 1) {
      const random = new Random(seed + history);
      const done: string[] = [];
      for (let step = 0; step < STEPS; step += 1) {
        const command = randomCommand(random);
        done.push(sqlOf(command)[0]);
        const where = `seed ${seed + history}: ${done.join("; ")}`;
        expect(perform(session, command, warnings), where).toEqual(await answer(command));
        if (session.state.includes("aborted")) continue;
        expect(valuesOf(session), where).toEqual(await values());
      }
      await server.exec("rollback; reset all");
      session.rollback();
      session.resetAll();
      warnings.splice(0);
      expect(valuesOf(session)).toEqual(await values());
    }
  });
});

/** Where our rows differ on purpose; parameters.ts says why. */
const DIFFERENT: Readonly<Record<string, Partial<SettingRow>>> = {
  data_checksums: { context: "postmaster" },
  max_connections: { max_val: "987" },
};
