// Proves that docs/life-of-a-backend.md shows code that is there: each block of TypeScript names a
// file of the example and stands in it, line by line, whatever its indentation there. What the page
// shows of a report is looked for in a real one by test/flights/job.test.ts.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = "docs/life-of-a-backend.md";

/** Lines without their indentation, none of them empty. */
function linesOf(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "");
}

/** Blocks of code with the file each is said to be from. */
const excerpts = [
  ...readFileSync(join(root, page), "utf8").matchAll(/^```ts\n\/\/ (\S+)\n([\s\S]*?)^```$/gm),
].map(([, file = "", code = ""]) => [file, linesOf(code)] as const);

describe(page, () => {
  it("has excerpts", () => {
    expect(excerpts.length).toBeGreaterThan(5);
  });

  it.each(excerpts)("shows lines that are in %s, in this order", (file, lines) => {
    const source = linesOf(readFileSync(join(root, file), "utf8")).join("\n");
    expect(source).toContain(lines.join("\n"));
  });
});
