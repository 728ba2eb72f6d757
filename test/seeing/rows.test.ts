// Proves that rows are numbered level by level, the newest child first; that a path leads from the
// first context to the row's own; that the columns add up; that idents are clipped without
// splitting a character and hash tables go by their ident. The comparison with PostgreSQL's own
// view is in view.test.ts.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ProcessMemory } from "../../bindings/process/memory.ts";
import { builds, openMemory } from "../support/process.ts";

describe.each(builds)("rows, %s build", (_, checked) => {
  let memory: ProcessMemory;

  beforeEach(() => {
    memory = openMemory(checked).memory;
  });

  afterEach(() => memory.dispose());

  it("begin with the two contexts of every memory, as PostgreSQL would show them", () => {
    expect(memory.rows()).toEqual([
      {
        name: "TopMemoryContext",
        ident: null,
        type: "AllocSet",
        level: 1,
        path: [1],
        total_bytes: 8192,
        total_nblocks: 1,
        free_bytes: 8056,
        free_chunks: 0,
        used_bytes: 136,
      },
      expect.objectContaining({ name: "ErrorContext", level: 2, path: [1, 2], total_bytes: 8192 }),
    ]);
  });

  it("number contexts level by level, the newest first", () => {
    const older = memory.top.createChild("older");
    older.createChild("below older");
    const newer = memory.top.createChild("newer");
    newer.createChild("below newer 1").createChild("deep");
    newer.createChild("below newer 2");
    expect(memory.rows().map(({ name, path }) => [name, ...path])).toEqual([
      ["TopMemoryContext", 1],
      ["newer", 1, 2],
      ["older", 1, 3],
      ["ErrorContext", 1, 4],
      ["below newer 2", 1, 2, 5],
      ["below newer 1", 1, 2, 6],
      ["below older", 1, 3, 7],
      ["deep", 1, 2, 6, 8],
    ]);
  });

  it("begin where they are asked to, with level 1", () => {
    const request = memory.top.createChild("request");
    request.createChild("query");
    expect(memory.rows(request).map(({ name, level, path }) => [name, level, path])).toEqual([
      ["request", 1, [1]],
      ["query", 2, [1, 2]],
    ]);
  });

  it("add up to the statistics of the subtree that their paths pick out", () => {
    const request = memory.top.createChild("request");
    request.createGeneration("queue").alloc(100);
    request.createSlab("nodes", { chunkSize: 64 }).alloc(64);
    request.createBump("arena").alloc(100);
    request.alloc(9000);
    const rows = memory.rows();
    const of = rows.find(({ name }) => name === "request");
    const below = rows.filter(({ path }) => path[(of?.level ?? 0) - 1] === of?.path.at(-1));
    const sum = below.reduce((total, row) => total + row.used_bytes, 0);
    expect(below.map(({ type }) => type)).toEqual(["AllocSet", "Bump", "Slab", "Generation"]);
    expect(sum).toBe(request.stats(true).usedBytes);
  });

  it("clip an ident to 1023 bytes, never within a character, and keep control characters", () => {
    const context = memory.top.createChild("context");
    const identOf = (text: string): string | null | undefined => {
      context.ident = text;
      return memory.rows(context)[0]?.ident;
    };
    expect(identOf("a".repeat(1023))).toBe("a".repeat(1023));
    expect(identOf("a".repeat(1024))).toBe("a".repeat(1023));
    expect(identOf("ä".repeat(512))).toBe("ä".repeat(511));
    expect(identOf(`${"a".repeat(1020)}😀x`)).toBe("a".repeat(1020));
    expect(identOf(`${"a".repeat(1019)}😀x`)).toBe(`${"a".repeat(1019)}😀`);
    expect(identOf("two\nlines")).toBe("two\nlines");
  });

  it("show a hash table under its ident", () => {
    const table = memory.top.createChild("dynahash");
    expect(memory.rows(table)[0]).toMatchObject({ name: "dynahash", ident: null });
    table.ident = "Portal hash";
    expect(memory.rows(table)[0]).toMatchObject({ name: "Portal hash", ident: null });
  });

  it("go through JSON as a tree", () => {
    const request = memory.top.createChild("request");
    request.createChild("query").ident = "select 1";
    const tree: unknown = JSON.parse(JSON.stringify(memory));
    expect(tree).toMatchObject({
      name: "TopMemoryContext",
      type: "AllocSet",
      blocks: 1,
      children: [
        {
          name: "request",
          totalBytes: 8192,
          children: [{ name: "query", ident: "select 1", children: [] }],
        },
        { name: "ErrorContext" },
      ],
    });
  });

  it("are refused for a deleted context, one of another memory, and a closed memory", () => {
    const other = openMemory(checked).memory;
    expect(() => memory.rows(other.top)).toThrow(TypeError);
    const context = memory.top.createChild("context");
    context.delete();
    expect(() => memory.rows(context)).toThrow(expect.objectContaining({ code: "55000" }));
    memory.dispose();
    expect(() => memory.rows()).toThrow(expect.objectContaining({ code: "55000" }));
  });
});
