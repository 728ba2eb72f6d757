// The example of a deadlock, run as a user runs it: the report is PostgreSQL's, exactly one of the
// two threads gets it, both transfers are made, and the program ends with 0.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const program = fileURLToPath(new URL("../../dist/examples/deadlock/main.js", import.meta.url));
const LIMIT_MS = 60_000;

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [program, ...args], { encoding: "utf8", timeout: LIMIT_MS });
}

describe("examples/deadlock", () => {
  it(
    "prints PostgreSQL's report of the deadlock, and how it went on",
    () => {
      const { status, stdout, stderr } = run();
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const told = /What (\w+) was told:\n\n {2}ERROR: {2}deadlock detected \(40P01\)\n/;
      const [held, wanted] = told.exec(stdout)?.[1] === "alice" ? [7, 12] : [12, 7];
      const edge = (account = 0): string =>
        `waits for ExclusiveLock on advisory lock \\[1,0,${account},1\\]; blocked by process`;
      const cycle = `Process (\\d+) ${edge(wanted)} (\\d+)\\.\n +Process \\2 ${edge(held)} \\1\\.\n`;
      expect(stdout).toMatch(new RegExp(`DETAIL: {2}${cycle}`));
      expect(stdout).toContain("HINT:  See server log for query details.");
      expect(stdout.split("was told:")).toHaveLength(2);
      expect(stdout).toMatch(/account 7: 115\n {2}account 12: 85\n {2}together: 200, as before\n$/);
    },
    LIMIT_MS,
  );

  it("says with --help how it is run, in at most 100 columns", () => {
    const { status, stdout } = run("--help");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Usage: node dist\/examples\/deadlock\/main\.js/);
    expect(stdout).toContain("--deadlock-timeout");
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  it("refuses a time that is none in one line, with exit code 1", () => {
    const { status, stdout, stderr } = run("--deadlock-timeout", "soon");
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(/^palloc: [^\n]*deadlock_timeout[^\n]*\n$/);
  });
});
