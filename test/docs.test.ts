// Proves that the documents speak of what is there: every source file has its place in
// docs/architecture.md, every file they name exists, every link leads somewhere.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const documents = readdirSync(join(root, "docs")).map((name) => `docs/${name}`);
const textOf = (path: string): string => readFileSync(join(root, path), "utf8");

/** Files of a folder that somebody wrote, relative to it. */
function sourcesOf(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts") && !path.includes("embedded"))
    .sort();
}

/** What stands in backquotes and looks like one of our files. */
function filesNamedIn(text: string): string[] {
  const spans = [...text.matchAll(/`([^`\n]+)`/g)].map(([, span = ""]) => span);
  return spans.filter((span) =>
    /^(assembly|bindings|test|bench|examples|scripts|docs)\//.test(span),
  );
}

describe("docs", () => {
  it.each(["assembly", "bindings"])(
    "architecture.md has a place for each file of %s/",
    (folder) => {
      const text = textOf("docs/architecture.md");
      const section = new RegExp(`### ${folder}[\\s\\S]*?\\n(?=### (?!${folder})|## )`, "g");
      const rows = (text.match(section) ?? []).join("\n");
      const missing = sourcesOf(folder).filter((path) => {
        const names = [path, path.replace(/^\w+\//, ""), path.replace(/[\w]+(?=-exports)/, "*")];
        const isEntry = folder === "assembly" && !path.includes("/");
        return !isEntry && !names.some((name) => rows.includes(`\`${name}\``));
      });
      expect(missing).toEqual([]);
    },
  );

  it.each(documents)("%s names files that are there", (path) => {
    const missing = filesNamedIn(textOf(path)).filter((name) => {
      return !name.includes("*") && !existsSync(join(root, name));
    });
    expect(missing).toEqual([]);
  });

  it.each(documents)("%s links to files that are there", (path) => {
    const targets = [...textOf(path).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, to]) => to);
    const missing = targets.filter((to) => !existsSync(join(root, dirname(path), to ?? "")));
    expect(missing).toEqual([]);
  });
});
