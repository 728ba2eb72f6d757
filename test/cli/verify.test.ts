// The command as a user runs it, in a process of its own: what it prints where, and its exit code.

import { type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Backend, SharedMemory, type VerifyResult } from "../../bindings/index.ts";
import { FORMAT_VERSION } from "../../bindings/shared/control.ts";
import { nodeFiles, openStorage } from "../../bindings/storage/node-fs.ts";
import { changeControl } from "../support/control.ts";
import { stamped } from "../support/pool.ts";

const COMMAND = fileURLToPath(new URL("../../dist/bindings/cli/palloc.js", import.meta.url));
/** 8 MB of pages. */
const BLOCKS = 1000;
const AT = 123 * 8192 + 3000;

let top = "";
let directory = "";
let file = "";
let whole: Buffer;

function palloc(...words: string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [COMMAND, ...words], { encoding: "utf8", timeout: 30_000 });
}

beforeAll(async () => {
  top = mkdtempSync(join(tmpdir(), "palloc-cli-"));
  directory = join(top, "data");
  const settings = { shared_buffers: 256, max_connections: 2 };
  const shared = await SharedMemory.create({ settings, storage: nodeFiles(directory) });
  const backend = Backend.attachSync(shared.handle, { storage: openStorage });
  const { number } = stamped(backend, "t", BLOCKS);
  backend.checkpointSync();
  backend.detach();
  await shared.close();
  file = join(directory, "base", String(number));
  whole = readFileSync(file);
});
beforeEach(() => writeFileSync(file, whole));
afterAll(() => rmSync(top, { recursive: true, force: true }));

function flip(): void {
  const bytes = Buffer.from(whole);
  bytes.writeUInt8(bytes.readUInt8(AT) ^ 1, AT);
  writeFileSync(file, bytes);
}

describe("palloc verify", () => {
  it("says of a directory in order that there is no damage, with exit code 0", () => {
    const { status, stdout, stderr } = palloc("verify", directory);
    expect(stderr).toBe("");
    expect(stdout).toBe(`checkpoint 2, 1 relations, ${BLOCKS} pages: no damage\n`);
    expect(status).toBe(0);
  });

  it("names relation and block of damage, with exit code 1", () => {
    flip();
    const { status, stdout, stderr } = palloc("verify", directory);
    expect([status, stderr]).toEqual([1, ""]);
    const [first, last] = stdout.split("\n");
    expect(first).toMatch(
      /^"t", block 123: page verification failed, calculated checksum \d+ but expected \d+$/,
    );
    expect(last).toBe(`checkpoint 2, 1 relations, ${BLOCKS} pages: damage in 1 places`);
  });

  it("says the same as JSON, for other programs", () => {
    const clean = palloc("verify", directory, "--json");
    expect(clean.status).toBe(0);
    expect(JSON.parse(clean.stdout)).toMatchObject({ directory, clean: true, pages: BLOCKS });
    unlinkSync(file);
    const { status, stdout } = palloc("verify", "--json", directory);
    expect(status).toBe(1);
    expect((JSON.parse(stdout) as VerifyResult).problems).toEqual([
      { relation: "t", block: null, problem: expect.stringContaining("file is missing") },
    ]);
  });

  it("tells on standard error how far it is, to the last page", () => {
    const { status, stdout, stderr } = palloc("verify", directory, "--progress");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^checkpoint/);
    expect(stderr).toMatch(/100 %, 1000 of 1000 pages, relation "t"\n$/);
  });

  it("refuses a directory that is in use, by whatever process or thread, with exit code 2", async () => {
    const storage = nodeFiles(directory);
    const release = await storage.claim?.();
    const { status, stderr, stdout } = palloc("verify", directory);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^palloc: data directory ".*" is in use by another process or thread$/m);
    expect(stderr).toMatch(/^HINT: /m);
    release?.();
    storage.closeSync();
    expect(palloc("verify", directory).status).toBe(0);
  });

  it("makes nothing where there is no data directory, with exit code 2", () => {
    const missing = join(top, "missing");
    const empty = join(top, "empty");
    mkdirSync(empty, { recursive: true });
    for (const [path, words] of [
      [missing, "does not exist"],
      [empty, "is not a data directory"],
      [file, "is not a directory"],
    ] as const) {
      const { status, stderr, stdout } = palloc("verify", path);
      expect([status, stdout]).toEqual([2, ""]);
      expect(stderr).toBe(`palloc: ${stderr.slice(8)}`);
      expect(stderr).toContain(words);
    }
    expect(() => readFileSync(join(missing, "palloc.control.1"))).toThrow(/ENOENT/);
    expect(() => readFileSync(join(empty, "base"))).toThrow(/ENOENT/);
  });

  it("of another format is refused with what it is, with exit code 2", () => {
    changeControl(directory, (text) => text.replace(/"version": \d+/, '"version": 99'));
    const { status, stderr } = palloc("verify", directory);
    changeControl(directory, (text) =>
      text.replace('"version": 99', `"version": ${FORMAT_VERSION}`),
    );
    expect(status).toBe(2);
    expect(stderr).toMatch(/^palloc: database files are incompatible/);
    expect(stderr).toMatch(/^DETAIL: .*version 99/m);
  });

  it("whose result cannot be written ends with exit code 2", () => {
    if (!existsSync("/dev/full")) return; // Only Linux has it.
    const full = openSync("/dev/full", "w");
    const { status, stderr } = spawnSync(process.execPath, [COMMAND, "verify", directory], {
      encoding: "utf8",
      stdio: ["ignore", full, "pipe"],
    });
    closeSync(full);
    expect(stderr).toMatch(/^palloc: .*ENOSPC/);
    expect(status).toBe(2);
  });

  it("survives a reader that goes away", async () => {
    flip();
    const child = spawn(process.execPath, [COMMAND, "verify", directory, "--json"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.destroy();
    let errors = "";
    child.stderr.on("data", (text: Buffer) => {
      errors += text.toString();
    });
    const status = await new Promise((resolve) => child.once("close", resolve));
    expect([status, errors]).toEqual([1, ""]);
  });
});

describe("palloc", () => {
  it("explains itself when asked, on standard output", () => {
    for (const words of [["--help"], ["-h"], ["help"]]) {
      const { status, stdout, stderr } = palloc(...words);
      expect([status, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(/^palloc: .*\n\nUsage: palloc COMMAND/);
      expect(stdout).toContain("verify DIRECTORY");
    }
    const { status, stdout } = palloc("verify", "--help");
    expect(status).toBe(0);
    expect(stdout).toContain("Exit code: 0 no damage, 1 damage, 2 could not look.");
  });

  it.each([
    [[], "no command"],
    [["vreify", "x"], 'unknown command "vreify"'],
    [["verify"], "Name a data directory"],
    [["verify", "a", "b"], "one directory"],
    [["verify", "a", "--jsno"], "Unknown option '--jsno'"],
  ])("refuses %j with one line of advice and exit code 2", (words, message) => {
    const { status, stdout, stderr } = palloc(...words);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/Try "palloc --help"\.\n$/);
  });
});
