// What is left behind: promises, code in comments, tests that run alone or not at all, and places
// that exist on one machine only.

import ts from "typescript";
import {
  everyNode,
  type Finding,
  findInLines,
  isCode,
  lineOf,
  type Rule,
  type SourceText,
} from "./source.ts";

// The words are put together here so that this file does not offend against itself.
const PROMISE = new RegExp(
  `\\b(${["TO" + "DO", "FIX" + "ME", "HA" + "CK", "X" + "XX"].join("|")})\\b`,
);
const ISSUE = /#\d+/;

export const promises: Rule = {
  name: "nothing is left for later without the number of an issue",
  covers: (path) => isCode(path) || /^(docs\/|README|\.ci\/)/.test(path),
  check: (file) =>
    findInLines(file, (line) =>
      PROMISE.test(line) && !ISSUE.test(line) ? `left for later: ${line.trim()}` : undefined,
    ),
  offending: [{ path: "bindings/x.ts", text: `// ${"TO" + "DO"}: make it fast` }],
  accepted: [
    { path: "bindings/x.ts", text: `// ${"TO" + "DO"} #12: make it fast` },
    { path: "bindings/x.ts", text: "const code = XX000;" },
  ],
};

interface CommentBlock {
  readonly line: number;
  readonly text: string;
}

/** Runs of whole-line `//` comments, without the one that opens the file. */
function commentBlocks(file: SourceText): CommentBlock[] {
  const blocks: CommentBlock[] = [];
  let open: string[] = [];
  const close = (next: number): void => {
    const line = next - open.length;
    if (open.length > 0 && line > 0) blocks.push({ line: line + 1, text: open.join("\n") });
    open = [];
  };
  file.text.split("\n").forEach((line, index) => {
    const comment = /^\s*\/\/ ?(.*)$/.exec(line)?.[1];
    if (comment === undefined) close(index);
    else open.push(comment);
  });
  return blocks;
}

/** True for text that is a program: it parses, ends like a statement, and does something. */
function isProgram(text: string): boolean {
  if (!/[;{}]\s*$/.test(text) || !/[=(]|^\s*(return|import|export|break|continue)\b/.test(text)) {
    return false;
  }
  const { diagnostics } = ts.transpileModule(text, { reportDiagnostics: true });
  return (diagnostics ?? []).length === 0;
}

export const commentedCode: Rule = {
  name: "no code is commented out",
  covers: isCode,
  check: (file) =>
    commentBlocks(file).flatMap(({ line, text }) => {
      const offends = isProgram(text) || text.split("\n").some(isProgram);
      return offends ? [{ line, message: `code in a comment: ${text.split("\n")[0] ?? ""}` }] : [];
    }),
  offending: [
    { path: "bindings/x.ts", text: "f();\n// const a = g(1);\n" },
    { path: "bindings/x.ts", text: "f();\n// if (a) {\n//   g();\n// }\n" },
    { path: "bindings/x.ts", text: "f();\n// Once it was\n// a.b = 3;\nf();\n" },
  ],
  accepted: [
    { path: "bindings/x.ts", text: "f();\n// What g(x) returns is kept; the rest is not.\n" },
    { path: "bindings/x.ts", text: "f();\n// A long sentence goes on;\n// and ends.\n" },
  ],
};

const RUNNERS = new Set(["describe", "it", "test", "suite", "bench"]);
const SELECTORS = new Set(["only", "skip", "todo", "skipIf", "runIf", "fails"]);

function selectorOf(node: ts.Node): string | undefined {
  if (!ts.isPropertyAccessExpression(node) || !SELECTORS.has(node.name.text)) return undefined;
  let base: ts.Expression = node.expression;
  while (ts.isPropertyAccessExpression(base) || ts.isCallExpression(base)) base = base.expression;
  return ts.isIdentifier(base) && RUNNERS.has(base.text) ? node.name.text : undefined;
}

export const focusedTests: Rule = {
  name: "no test is focused, skipped or promised",
  covers: (path) => /^(test|bench|examples)\//.test(path) && isCode(path),
  check: (file) => {
    const found: Finding[] = [];
    everyNode(file, (node) => {
      const selector = selectorOf(node);
      if (selector !== undefined) {
        found.push({ line: lineOf(file, node), message: `a test with .${selector}` });
      }
    });
    return found;
  },
  offending: [
    { path: "test/x.test.ts", text: 'it.only("is", () => {});' },
    { path: "test/x.test.ts", text: 'describe.skip("is", () => {});' },
    { path: "test/x.test.ts", text: 'it.skipIf(true)("is", () => {});' },
    { path: "test/x.test.ts", text: 'it.each([1]).only("is", () => {});' },
  ],
  accepted: [
    { path: "test/x.test.ts", text: 'it.each([1])("is", () => {});' },
    { path: "test/x.test.ts", text: "settings.only = 1;" },
  ],
};

const HOMES = ["home", "root", "Users", "work", "tmp", "mnt", "opt"];
const MACHINE_PATH = new RegExp(`(?<![\\w.~@)\\]}-])/(${HOMES.join("|")})/|[A-Z]:\\\\\\\\?Users`);
const REGISTRY = new RegExp(
  ["registry\\.np" + "mjs", "_auth" + "Token", "//[^/\\s]*@[\\w.]+/np" + "m"].join("|"),
);

export const places: Rule = {
  name: "no machine's paths and no registry's address are written down",
  covers: () => true,
  check: (file) =>
    findInLines(file, (line) =>
      MACHINE_PATH.test(line) || REGISTRY.test(line)
        ? `a place on one machine: ${line.trim().slice(0, 80)}`
        : undefined,
    ),
  offending: [
    { path: "bindings/x.ts", text: `const a = "/${"home"}/somebody/palloc";` },
    { path: "docs/x.md", text: `cd /${"work"}/somewhere` },
    { path: "package-lock.json", text: `"resolved": "https://registry.${"npmjs"}.org/x"` },
  ],
  accepted: [
    { path: "bindings/x.ts", text: 'import { a } from "../home/a.ts";' },
    { path: "test/browser/vitest.config.ts", text: 'const chromium = "/usr/bin/chromium";' },
  ],
};

export const lockfile: Rule = {
  name: "package-lock.json holds no download address",
  covers: (path) => /(^|\/)package-lock\.json$/.test(path),
  check: (file) =>
    findInLines(file, (line) => (/"resolved":/.test(line) ? line.trim() : undefined)),
  offending: [{ path: "package-lock.json", text: '"resolved": "https://example.org/a.tgz"' }],
  accepted: [{ path: "package-lock.json", text: '"integrity": "sha512-x"' }],
};
