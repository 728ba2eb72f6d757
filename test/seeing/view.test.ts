// Compares our rows with the view they are named after, as PostgreSQL itself shows it: PGlite runs
// the server inside this process. Its start takes seconds, hence a file of its own.

import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ProcessMemory } from "../../bindings/process/memory.ts";
import type { MemoryContextRow } from "../../bindings/process/rows.ts";

/** Our type of each column: the values of one row say it. */
const typesOfColumns: Readonly<Record<string, (value: unknown) => boolean>> = {
  text: (value) => value === null || typeof value === "string",
  integer: Number.isInteger,
  bigint: Number.isInteger,
  "integer[]": (value) => Array.isArray(value) && value.every(Number.isInteger),
};

describe("pg_backend_memory_contexts of PostgreSQL", () => {
  let server: PGlite;
  let theirs: MemoryContextRow[];

  beforeAll(async () => {
    server = await PGlite.create();
    theirs = (await server.query<MemoryContextRow>("select * from pg_backend_memory_contexts"))
      .rows;
  });

  afterAll(() => server.close());

  const ours = (): MemoryContextRow[] => {
    const memory = ProcessMemory.createSync();
    memory.top.createChild("a").createSlab("b", { chunkSize: 32 });
    memory.top.createBump("c").ident = "ident";
    return memory.rows();
  };

  it("has our columns, in our order, of our types", async () => {
    const { rows } = await server.query<{ name: string; type: string }>(
      `select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
       where attrelid = 'pg_backend_memory_contexts'::regclass and attnum > 0 order by attnum`,
    );
    for (const row of ours()) {
      expect(Object.keys(row)).toEqual(rows.map(({ name }) => name));
      for (const [index, value] of Object.values(row).entries()) {
        const { name, type } = rows[index] ?? { name: "", type: "" };
        expect(typesOfColumns[type]?.(value), `${name} is ${type}`).toBe(true);
      }
    }
  });

  it("numbers its rows by the rules of ours", () => {
    for (const rows of [theirs, ours()]) {
      expect(rows.length).toBeGreaterThan(4);
      for (const [index, { level, path }] of rows.entries()) {
        expect(path.length).toBe(level);
        expect(path.at(-1)).toBe(index + 1);
        const parent = rows[(path.at(-2) ?? 1) - 1];
        if (index > 0) expect(path.slice(0, -1)).toEqual(parent?.path);
        expect(level).toBeGreaterThanOrEqual(rows[index - 1]?.level ?? 1);
      }
    }
  });

  it("names its first contexts and its kinds as ours are named", () => {
    expect(theirs[0]).toMatchObject({ name: "TopMemoryContext", ident: null, level: 1, path: [1] });
    expect(theirs.some(({ name, level }) => name === "ErrorContext" && level === 2)).toBe(true);
    const kinds = new Set(theirs.map(({ type }) => type));
    expect(["AllocSet", "Generation", "Slab", "Bump"]).toEqual(expect.arrayContaining([...kinds]));
    expect(theirs.some(({ name }) => name === "dynahash")).toBe(false);
    for (const { total_bytes, free_bytes, used_bytes } of [...theirs, ...ours()]) {
      expect(used_bytes).toBe(total_bytes - free_bytes);
    }
  });

  it.each([
    ["ascii", "a", 2000],
    ["two bytes each, an odd number of bytes before", "ä", 1000],
    ["four bytes each", "😀", 500],
  ])("clips an ident where ours is clipped: %s", async (_, character, count) => {
    // A prepared statement's context has the statement's text as its ident.
    const text = `select '${character.repeat(count)}'`;
    await server.exec(`prepare clipped as ${text}`);
    const { rows } = await server.query<{ ident: string }>(
      `select ident from pg_backend_memory_contexts
       where name = 'CachedPlanSource' and ident like 'prepare clipped%'`,
    );
    await server.exec("deallocate clipped");
    const memory = ProcessMemory.createSync();
    memory.top.ident = `prepare clipped as ${text}`;
    expect(rows[0]?.ident).toBe(memory.rows()[0]?.ident);
    expect(new TextEncoder().encode(rows[0]?.ident).length).toBeGreaterThan(1019);
  });
});
