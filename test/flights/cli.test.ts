// The command line of the main job, run as a user runs it: every mistake ends in one line that
// names the value and what is allowed, exit code 1, no stack trace, and no data directory touched.

import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type Ended, run, temporaryDirectory } from "./support.ts";

const temporary = temporaryDirectory();
afterAll(temporary.remove);

const data = join(temporary.path, "data");

/** The one line an error consists of, without its beginning `palloc: `. */
function lineOf({ exitCode, stdout, stderr }: Ended): string {
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toMatch(/^palloc: [^\n]+\n$/);
  return stderr.slice("palloc: ".length, -1);
}

describe("the command line", () => {
  test("documents every option in at most 100 columns with --help", async () => {
    const { exitCode, stdout, stderr } = await run(["--help"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const options = ["shared-buffers", "work-mem", "workers", "data-dir", "rows", "json"];
    for (const option of [...options, "group-by", "agg", "reload"]) {
      expect(stdout).toMatch(new RegExp(`^ +--${option} `, "m"));
    }
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  test.each([
    [
      ["--shared-buffers", "100kB"],
      'option --shared-buffers "100kB": 12 8kB is outside the valid range for parameter ' +
        '"shared_buffers" (16 8kB .. 1073741823 8kB)',
    ],
    [
      ["--work-mem", "4mb"],
      'option --work-mem "4mb": invalid value for parameter "work_mem": "4mb". ' +
        'Valid units for this parameter are "B", "kB", "MB", "GB", and "TB"',
    ],
    [
      ["--work-mem=1kB"],
      'option --work-mem "1kB": 1 kB is outside the valid range for parameter "work_mem" ' +
        "(64 kB .. 2097151 kB)",
    ],
    [
      ["--shared-buffers", "-1"],
      'option --shared-buffers "-1": -1 8kB is outside the valid range for parameter ' +
        '"shared_buffers" (16 8kB .. 1073741823 8kB)',
    ],
    [["--workers", "0"], 'invalid value for --workers: "0"; allowed is a whole number from 1 to 8'],
    [["--workers", "x"], 'invalid value for --workers: "x"; allowed is a whole number from 1 to 8'],
    [["--workers=9"], 'invalid value for --workers: "9"; allowed is a whole number from 1 to 8'],
    [
      ["--workers=2.5"],
      'invalid value for --workers: "2.5"; allowed is a whole number from 1 to 8',
    ],
    [["--rows", "0"], 'invalid value for --rows: "0"; allowed is a whole number 1 or more'],
    [
      ["--colour"],
      'unknown option "--colour"; options are --shared-buffers, --work-mem, --workers, ' +
        "--data-dir, --rows, --group-by, --agg, --reload, --json, --help",
    ],
    [["-x"], expect.stringMatching(/^unknown option "-x"; options are --shared-buffers, /)],
    [["a.csv", "b.csv"], 'unexpected argument "b.csv"; see npm start -- --help'],
    [["--group-by", "a"], "option --group-by needs a CSV file; see npm start -- --help"],
    [["--agg", "a"], "option --agg needs a CSV file; see npm start -- --help"],
    [["--reload"], "option --reload needs a CSV file; see npm start -- --help"],
    [["a.csv", "--agg"], "option --agg needs a value; see npm start -- --help"],
    [[""], "the name of the CSV file is empty; see npm start -- --help"],
    [["--workers"], "option --workers needs a value; see npm start -- --help"],
    [["--workers", "--json"], "option --workers needs a value; see npm start -- --help"],
    [["--json=yes"], 'option --json takes no value, got "yes"'],
  ])("refuses %j in one line", async (args, line) => {
    expect(lineOf(await run(["--data-dir", data, ...args]))).toEqual(line);
    expect(existsSync(data)).toBe(false);
  });

  test("refuses more shared buffers than a memory can hold, and names them", async () => {
    const line = lineOf(await run(["--data-dir", data, "--shared-buffers", "8GB"]));
    expect(line).toMatch(/8GB|8589934592|8,589,934,592/);
  });

  test("refuses a data directory that is a file, and names it", async () => {
    const file = join(temporary.path, "file");
    writeFileSync(file, "mine");
    expect(lineOf(await run(["--data-dir", file]))).toContain(file);
  });

  test("refuses a data directory that cannot be made, and names it", async () => {
    const file = join(temporary.path, "in-the-way");
    writeFileSync(file, "mine");
    const line = lineOf(await run(["--data-dir", join(file, "data")]));
    expect(line).toContain(join(file, "data"));
    expect(readFileSync(file, "utf8")).toBe("mine");
  });

  test("refuses a data directory that cannot be written, and names it", async () => {
    const closed = closedDirectory(temporary.path);
    const line = lineOf(await run(["--data-dir", closed]));
    expect(line).toContain(closed);
  });
});

/** A directory that nobody may write, not even root, whom modes do not stop. */
function closedDirectory(parent: string): string {
  if (process.getuid?.() === 0) return "/proc/palloc";
  const closed = join(parent, "closed");
  mkdirSync(closed);
  chmodSync(closed, 0o500);
  return closed;
}
