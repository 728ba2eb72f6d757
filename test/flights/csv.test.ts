// CSV files through the command line, as a user has them: every answer is that of a plain loop over
// the values the file was written from, and every mistake ends in one line that names file, line
// and value, exit code 1, with the tables of before untouched and usable.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import type { CsvResultRow, Report } from "../../examples/flights/report.ts";
import { type Ended, run, start, temporaryDirectory } from "./support.ts";

const temporary = temporaryDirectory();
afterAll(temporary.remove);

const data = join(temporary.path, "data");
const SMALL = ["--shared-buffers", "256kB"];
let files = 0;

function file(content: string | Uint8Array): string {
  files += 1;
  const path = join(temporary.path, `file-${files}.csv`);
  writeFileSync(path, content);
  return path;
}

function lineOf({ exitCode, stdout, stderr }: Ended): string {
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toMatch(/^palloc: [^\n]+\n$/);
  return stderr.slice("palloc: ".length, -1);
}

async function reportOf(args: readonly string[], directory = data): Promise<Report> {
  const { exitCode, stdout, stderr } = await run(["--data-dir", directory, "--json", ...args]);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as Report;
}

function ask(path: string, groupBy: string, agg: string): string[] {
  return [path, `--group-by=${groupBy}`, `--agg=${agg}`, ...SMALL];
}

function rowsOf(report: Report): Map<string | null, CsvResultRow> {
  const rows = report.queries[0]?.result.filter((row) => "values" in row) ?? [];
  return new Map(rows.map((row) => [row.key, row]));
}

/** What the program should say of rows of key and value, an empty one being missing. */
function plainly(rows: readonly (readonly [string, string])[]): Map<string | null, CsvResultRow> {
  const lists = new Map<string | null, string[]>();
  for (const [key, value] of rows) {
    const name = key === "" ? null : key;
    lists.set(name, [...(lists.get(name) ?? []), value]);
  }
  return new Map(
    [...lists].map(([key, list]) => {
      const values = list.filter((value) => value !== "").map(Number);
      const some = values.length > 0;
      const sum = values.reduce((total, value) => total + value, 0);
      const average = some ? sum / values.length : null;
      const max = some ? Math.max(...values) : null;
      return [key, { key, count: list.length, values: values.length, average, max }];
    }),
  );
}

function expectRows(
  got: Map<string | null, CsvResultRow>,
  expected: Map<string | null, CsvResultRow>,
): void {
  expect(new Set(got.keys())).toEqual(new Set(expected.keys()));
  for (const [key, { average, ...exact }] of expected) {
    expect(got.get(key)).toMatchObject(exact);
    if (average === null) expect(got.get(key)?.average).toBeNull();
    else expect(got.get(key)?.average).toBeCloseTo(average, 6);
  }
}

function quoted(value: string): string {
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

describe("a CSV file", () => {
  test("with a byte-order mark, CRLF, quotes, line ends, gaps and blank lines is read as it is", async () => {
    const path = file(
      '\ufeffcity,"price, net",note\r\n"New York, NY",1.50,"a\r\nb"\r\n\r\nKöln,,""\r\n' +
        '"say ""hi""",-2,東京\r\n,7,x\r\nKöln,3e2,"\n"\r\n',
    );
    const report = await reportOf(ask(path, "city", "price, net"));
    expect(rowsOf(report)).toEqual(
      new Map([
        ["Köln", { key: "Köln", count: 2, values: 1, average: 300, max: 300 }],
        [null, { key: null, count: 1, values: 1, average: 7, max: 7 }],
        ["New York, NY", { key: "New York, NY", count: 1, values: 1, average: 1.5, max: 1.5 }],
        ['say "hi"', { key: 'say "hi"', count: 1, values: 1, average: -2, max: -2 }],
      ]),
    );
    expect(report.source?.columns).toEqual([
      { name: "city", type: "text" },
      { name: "price, net", type: "number" },
      { name: "note", type: "text" },
    ]);
    expect(report.leaks).toEqual([]);
  });

  test("groups numbers as they are written, so that no zero and no digit is lost", async () => {
    const path = file("id,n\n007,1\n7,2\n12345678901234567890,3\n12345678901234567891,4\n");
    const rows = rowsOf(await reportOf(ask(path, "id", "n")));
    const ids = ["007", "7", "12345678901234567890", "12345678901234567891"];
    expect(new Set(rows.keys())).toEqual(new Set(ids));
  });

  test("larger than the pool gives what a plain loop gives, by text and by number", async () => {
    const rows = Array.from({ length: 40_000 }, (_, row): [string, string, string] => {
      const text = row % 7 === 0 ? "" : `group ${(row * 31) % 97}`;
      return [text, `${row % 13}`, row % 11 === 0 ? "" : `${((row * 7919) % 10_007) / 100}`];
    });
    const filler = "y".repeat(100);
    const lines = rows.map((row) => `${row.join(",")},${filler}`);
    const path = file(`t,k,v,filler\n${lines.join("\n")}\n`);
    const report = await reportOf(ask(path, "t", "v"));
    expect(report.load.blocks).toBeGreaterThan(10 * 32);
    expect(report.load.rows).toBe(40_000);
    expectRows(rowsOf(report), plainly(rows.map(([key, , value]) => [key, value])));
    const again = await reportOf(ask(path, "k", "v"));
    expect(again.load.loaded).toBe(false);
    expectRows(rowsOf(again), plainly(rows.map(([, key, value]) => [key, value])));
    const part = await reportOf([...ask(path, "k", "v"), "--rows", "1000"]);
    const firstRows = rows.slice(0, 1000);
    expectRows(rowsOf(part), plainly(firstRows.map(([, key, value]) => [key, value])));
  });

  test("of random values gives what a plain loop gives", async () => {
    const value = fc.oneof(
      fc.constant(""),
      fc.integer({ min: -1000, max: 1000 }).map(String),
      fc.double({ min: -1e6, max: 1e6, noNaN: true }).map(String),
      fc.constantFrom("007", "1.50", "+3", ".5"),
    );
    const key = fc.oneof(
      fc.constantFrom("a", "b", ""),
      fc.string({
        unit: fc.constantFrom("a", ",", '"', "\n", "\r\n", " ", "é", "0"),
        maxLength: 5,
      }),
      fc.integer({ min: 0, max: 9 }).map(String),
      fc.constantFrom(200, 2000).map((length) => "z".repeat(length)),
    );
    const content = fc.record({
      rows: fc.array(fc.tuple(key, value), { minLength: 1, maxLength: 60 }),
      end: fc.constantFrom("\n", "\r\n"),
    });
    await fc.assert(
      fc.asyncProperty(content, async ({ rows, end }) => {
        const lines = [["k", "v"], ...rows].map((row) => `${row.map(quoted).join(",")}${end}`);
        const report = await reportOf(ask(file(lines.join("")), "k", "v"));
        expectRows(rowsOf(report), plainly(rows));
      }),
      { numRuns: 8 },
    );
  });
});

describe("a table", () => {
  test("is loaded again when the file has changed, or with --reload, and only then", async () => {
    const directory = join(temporary.path, "again");
    const path = file("k,v\na,1\n");
    const args = ask(path, "k", "v");
    const load = async (more: string[] = []): Promise<[boolean, number]> => {
      const report = await reportOf([...args, ...more], directory);
      // The table of before is gone from the directory: one table and the catalog, a file each.
      expect(readdirSync(join(directory, "base"))).toHaveLength(2);
      return [report.load.loaded, rowsOf(report).get("a")?.max ?? 0];
    };
    expect(await load()).toEqual([true, 1]);
    expect(await load()).toEqual([false, 1]);
    writeFileSync(path, "k,v\na,2\n");
    utimesSync(path, 1, 1);
    expect(await load()).toEqual([true, 2]);
    expect(await load()).toEqual([false, 2]);
    expect(await load(["--reload"])).toEqual([true, 2]);
  });

  test("of before stays usable when the changed file has an error in its last line", async () => {
    const directory = join(temporary.path, "kept");
    const sound = "k,v\na,1\n";
    const path = file(sound);
    utimesSync(path, 1, 1);
    await reportOf(ask(path, "k", "v"), directory);
    const before = contentOf(directory);
    writeFileSync(path, `${sound}b,2,3\n`);
    const line = lineOf(await run(["--data-dir", directory, ...ask(path, "k", "v")]));
    expect(line).toMatch(/^line 3 of file .* the row has 3 values, the header 2 columns\. /);
    // A row too long for a page is found while it is loaded, and what was loaded is dropped.
    writeFileSync(path, `${sound}${"x".repeat(9000)},2\n`);
    expect(lineOf(await run(["--data-dir", directory, ...ask(path, "k", "v")]))).toMatch(
      /^line 3 of file .*: row is too big: size 9010, maximum size 8160\. .* column "k"\. /,
    );
    expect(contentOf(directory).get("base")).toEqual(before.get("base"));
    writeFileSync(path, sound);
    utimesSync(path, 1, 1);
    expect((await reportOf(ask(path, "k", "v"), directory)).load.loaded).toBe(false);
  });

  test("that is half loaded at Ctrl-C is begun again by the next run", async () => {
    const lines = Array.from({ length: 400_000 }, (_, row) => `${row % 5},${row}\n`);
    const path = file(`k,v\n${lines.join("")}`);
    const directory = join(temporary.path, "interrupted");
    const interrupted = start(["--data-dir", directory, ...ask(path, "k", "v")]);
    await interrupted.shown("Loading rows: ");
    interrupted.child.kill("SIGINT");
    expect(await interrupted.ended).toMatchObject({ exitCode: 130, stdout: "" });
    const report = await reportOf(ask(path, "k", "v"), directory);
    expect(report.load).toMatchObject({ loaded: true, restarted: true, rows: 400_000 });
    expect(rowsOf(report).get("4")).toMatchObject({ count: 80_000, max: 399_999 });
  });
});

/** Every file of a data directory's folder `base`, by name. */
function contentOf(directory: string): Map<string, Map<string, Buffer>> {
  const base = join(directory, "base");
  const names = readdirSync(base).map((name): [string, Buffer] => [
    name,
    readFileSync(join(base, name)),
  ]);
  return new Map([["base", new Map(names)]]);
}

test("a CSV file of more groups than work_mem has room for spills, and loses none", async () => {
  const rows = Array.from({ length: 20_000 }, (_, row) => `${row % 5000},${row}\n`);
  const path = file(`a,b\n${rows.join("")}`);
  const options = ["--group-by", "a", "--agg", "b", "--work-mem", "64kB"];
  const [query] = (await reportOf([path, ...options])).queries;
  expect(query).toMatchObject({ groups: 5000, rows: 20_000 });
  expect(query?.leader.batches).toBeGreaterThan(1);
  const result = new Map(query?.result.map(({ key, ...row }) => [key, row]));
  expect(result.size).toBe(5000);
  for (let key = 0; key < 5000; key += 1) {
    expect(result.get(`${key}`)).toEqual({
      count: 4,
      values: 4,
      average: key + 7500,
      max: key + 15_000,
    });
  }
});

describe("a CSV file is refused in one line:", () => {
  const args = ["--group-by", "a", "--agg", "b"];

  test.each<[string, string | Uint8Array, RegExp, string[]?]>([
    ["an empty one", "", /^file "\S+" is empty\. /],
    ["one of blank lines", "\n\r\n", /^file "\S+" is empty\. /],
    ["one of a byte-order mark", "\ufeff", /^file "\S+" is empty\. /],
    [
      "a short row, by its line behind line ends in quotes and blank lines",
      'a,b\r\n"x\r\ny\r\nz",3\r\n\r\n5\r\n',
      /^line 6 of file "\S+": the row has 1 value, the header 2 columns\. /,
    ],
    ["a long row", "a,b\n1,2\n1,2,3", /^line 3 of file "\S+": the row has 3 values, /],
    [
      "a quote never closed",
      'a,b\n1,2\n"3,4\n5,6\n',
      /^line 3 of .* a quote that is not closed\. /,
    ],
    ["a quote in the middle", 'a,b\n1,2\n3",4\n', /^line 3 of .* in a value that is not quoted\. /],
    ["text after a quote", 'a,b\n1,2\n"3"x,4\n', /^line 3 of .* text after a closing quote\. /],
    [
      "bytes that are no UTF-8",
      Buffer.from("a,b\n1,2\n\xe9,4\n", "latin1"),
      /^line 3 of file "\S+": invalid byte sequence for encoding "UTF8"\. /,
    ],
    ["a name twice", "a,b,a\n1,2,3\n", /^line 1 of .* column "a" specified more than once\. /],
    [
      "a column of text to be aggregated",
      "a,b\n1,2\n\n3,n/a\n",
      /^option --agg "b": column "b" is not numeric\. Line 4 of file "\S+" has "n\/a"\. /,
    ],
    ["infinity", "a,b\n1,Infinity\n", /^option --agg "b": .* has "Infinity"\. /],
    [
      "a column that is not there",
      "x,b\n1,2\n",
      /^option --group-by "a": there is no such column\. The columns of "\S+" are "x", "b"$/,
    ],
    [
      "no column to group by",
      "a,b\n1,2\n",
      /^option --group-by is needed with a CSV file\. The columns of "\S+" are "a", "b"$/,
      [],
    ],
  ])("%s", async (_, content, line, options = args) => {
    const path = file(content);
    const directory = join(temporary.path, `refused-${files}`);
    const ended = await run(["--data-dir", directory, path, ...options]);
    // Only a file that could be loaded is shown being loaded.
    const { stderr } = ended;
    expect(lineOf({ ...ended, stderr: stderr.replace(/^Writing dirty.*\n/gm, "") })).toMatch(line);
    if (!stderr.startsWith("Writing")) expect(readdirSync(join(directory, "base"))).toEqual([]);
  });

  test("the same of a table that is loaded already", async () => {
    const path = file("a,b\nx,2\n");
    await reportOf([path, "--group-by", "a", "--agg", "b"]);
    const of = (...options: string[]): Promise<Ended> =>
      run(["--data-dir", data, path, ...options]);
    expect(lineOf(await of("--group-by", "a", "--agg", "a"))).toMatch(/Line 2 of .* has "x"\. /);
    expect(lineOf(await of("--group-by", "c", "--agg", "b"))).toMatch(/ are "a", "b"$/);
  });

  test("one that is missing, a directory or a pipe, by its path", async () => {
    const missing = join(temporary.path, "missing.csv");
    const pipe = join(temporary.path, "pipe.csv");
    execFileSync("mkfifo", [pipe]);
    const of = async (path: string): Promise<string> =>
      lineOf(await run(["--data-dir", data, path, ...args]));
    expect(await of(missing)).toBe(`could not open file "${missing}": No such file or directory`);
    expect(await of(temporary.path)).toMatch(/ is not a regular file\. /);
    expect(await of(pipe)).toMatch(/ is not a regular file\. /);
  });
});

/** Writes beyond the first megabyte of a file fail, in a process started with this. */
const FULL_DISK = `
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  const write = fs.writeSync;
  fs.writeSync = (file, bytes, offset, length, position) => {
    if (position + length > 1048576) throw Object.assign(new Error(), { code: "ENOSPC" });
    return write(file, bytes, offset, length, position);
  };
  syncBuiltinESMExports();
`;

/**
 * A place of 3 MB: a file system of that size where this is root on Linux, who can make one, and
 * elsewhere a directory with an environment in which files cannot grow.
 */
function smallDisk(): { path: string; environment: Record<string, string>; remove: () => void } {
  const path = join(temporary.path, "disk");
  mkdirSync(path);
  if (process.platform === "linux" && process.getuid?.() === 0) {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", path]);
    return { path, environment: {}, remove: () => execFileSync("umount", [path]) };
  }
  const module = `data:text/javascript,${encodeURIComponent(FULL_DISK)}`;
  const environment = { NODE_OPTIONS: `--import ${module}` };
  return { path, environment, remove: () => undefined };
}

describe("a full disk", () => {
  test("ends the load in one line, and leaves the table of before usable and nothing else", async () => {
    const disk = smallDisk();
    try {
      const small = file("k,v\na,1\n");
      const directory = join(disk.path, "data");
      await reportOf(ask(small, "k", "v"), directory);
      const before = contentOf(directory);
      const lines = Array.from({ length: 30_000 }, (_, row) => `${"z".repeat(150)},${row}\n`);
      const args = ask(file(`k,v\n${lines.join("")}`), "k", "v");
      const ended = await start(["--data-dir", directory, ...args], disk.environment).ended;
      const stderr = ended.stderr.replace(/^(Checking bytes|Loading rows):.*\n/gm, "");
      expect(lineOf({ ...ended, stderr })).toMatch(
        /^could not extend file "\S+": No space left on device\. Check free disk space$/,
      );
      expect(contentOf(directory)).toEqual(before);
      expect((await reportOf(ask(small, "k", "v"), directory)).load.loaded).toBe(false);
    } finally {
      disk.remove();
    }
  });
});
