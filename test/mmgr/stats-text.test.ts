// Proves the report of MemoryContextStats, line for line: indentation, limits, identifiers.

import { describe, expect, it } from "vitest";
import type { ProcessMemory } from "../../bindings/process/memory.ts";
import { builds, openMemory } from "../support/process.ts";

const FRESH = "8192 total in 1 blocks; 8056 free (0 chunks); 136 used";

describe.each(builds)("statsText (%s)", (_, checked) => {
  const lines = (...parts: Parameters<ProcessMemory["statsText"]>): string[] =>
    memory.statsText(...parts).split("\n");
  const { memory } = openMemory(checked);

  it("of a new memory is PostgreSQL's", () => {
    expect(memory.statsText()).toBe(
      [
        `TopMemoryContext: ${FRESH}`,
        `  ErrorContext: ${FRESH}`,
        "Grand total: 16384 bytes in 2 blocks; 16112 free (0 chunks); 272 used",
        "",
      ].join("\n"),
    );
  });

  it("sums up what the limits leave out, children and grandchildren alike", () => {
    const top = memory.top.createChild("limits");
    for (let number = 0; number < 4; number += 1) {
      top.createChild(`child ${number}`).createChild("grandchild");
    }
    const sum = (contexts: number): string =>
      `${contexts} more child contexts containing ${contexts * 8192} total ` +
      `in ${contexts} blocks; ${contexts * 8056} free (0 chunks); ${contexts * 136} used`;
    const total = "Grand total: 73728 bytes in 9 blocks; 72504 free (0 chunks); 1224 used";
    expect(lines(top, { maxChildren: 2 })).toEqual([
      `limits: ${FRESH}`,
      `  child 3: ${FRESH}`,
      `    grandchild: ${FRESH}`,
      `  child 2: ${FRESH}`,
      `    grandchild: ${FRESH}`,
      `  ${sum(4)}`,
      total,
      "",
    ]);
    expect(lines(top, { maxLevel: 1, maxChildren: 1 })).toEqual([
      `limits: ${FRESH}`,
      `  child 3: ${FRESH}`,
      `    ${sum(1)}`,
      `  ${sum(6)}`,
      total,
      "",
    ]);
    expect(lines(top, { maxLevel: 0 })).toEqual([`limits: ${FRESH}`, `  ${sum(8)}`, total, ""]);
    top.delete();
  });

  it("shows the children of level 100, and sums up those below", () => {
    const top = memory.top.createChild("deep");
    let context = top;
    for (let depth = 0; depth < 120; depth += 1) context = context.createChild("below");
    const report = lines(top);
    expect(report).toHaveLength(101 + 2 + 1);
    expect(report[101]).toMatch(/^ {202}20 more child contexts/);
    top.delete();
  });

  it.each([
    ["first", "first"],
    ["line\nbreak\ttab", "line break tab"],
    ["x".repeat(100), "x".repeat(100)],
    ["x".repeat(101), `${"x".repeat(100)}...`],
    [`${"x".repeat(99)}é`, `${"x".repeat(99)}...`],
    [`${"x".repeat(98)}é`, `${"x".repeat(98)}é`],
    [`${"x".repeat(97)}🐘`, `${"x".repeat(97)}...`],
  ])("shows the identifier %j as %j", (ident, shown) => {
    const context = memory.top.createChild("named");
    context.ident = ident;
    expect(lines(context)[0]).toBe(`named: ${FRESH}: ${shown}`);
    context.ident = null;
    expect(lines(context)[0]).toBe(`named: ${FRESH}`);
    context.delete();
  });

  it("shows the identifier of a hash table instead of its name", () => {
    const context = memory.top.createChild("dynahash");
    expect(lines(context)[0]).toBe(`dynahash: ${FRESH}`);
    context.ident = "Relcache by OID";
    expect(lines(context)[0]).toBe(`Relcache by OID: ${FRESH}`);
    context.reset();
    expect(context.ident).toBe("Relcache by OID");
    context.delete();
  });
});
