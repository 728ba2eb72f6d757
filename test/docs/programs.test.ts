// Proves that the programs in docs/ run: each block of JavaScript is run with palloc installed, and
// prints, to the letter, the block of text right behind it.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
let folder = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "palloc-docs-"));
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(root, join(folder, "node_modules/palloc"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Programs with what they print, and the line each begins at. */
function programsOf(path: string): [number, string, string][] {
  const text = readFileSync(join(root, path), "utf8");
  const pairs = text.matchAll(/^```js\n([\s\S]*?)^```\n\n```text\n([\s\S]*?)^```$/gm);
  return [...pairs].map(({ index, 1: program = "", 2: output = "" }) => {
    return [text.slice(0, index).split("\n").length, program, output];
  });
}

/** Documents with programs, and how many each has. */
const documents = [
  ["docs/contexts.md", 3],
  ["docs/sessions.md", 4],
] as const;

describe.each(documents)("%s", (document, count) => {
  const programs = programsOf(document);

  it("has programs", () => {
    expect(programs).toHaveLength(count);
  });

  it.each(programs)(
    "has a program at line %i that prints what is below it",
    (line, program, output) => {
      const file = join(folder, `${basename(document)}-${line}.mjs`);
      writeFileSync(file, program);
      const { stdout, stderr } = spawnSync(process.execPath, [file], { encoding: "utf8" });
      expect(stderr).toBe("");
      expect(stdout).toBe(output);
    },
  );
});
