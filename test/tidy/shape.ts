// The shape of files: how long, how wide, and how they open.

import ts from "typescript";
import type { SourceText } from "./source.ts";
import { everyNode, type Finding, findInLines, isCode, lineOf, type Rule } from "./source.ts";

const MAX_FILE_LINES = 500;
const MAX_FUNCTION_LINES = 70;
const MAX_COLUMNS = 100;

/** A snippet of `count` statements, for the examples below. */
function lines(count: number): string {
  return "  f();\n".repeat(count);
}

export const fileLength: Rule = {
  name: `no file is longer than ${MAX_FILE_LINES} lines`,
  covers: isCode,
  check: ({ text }) => {
    const count = text.replace(/\n$/, "").split("\n").length;
    return count > MAX_FILE_LINES ? [{ line: count, message: `${count} lines` }] : [];
  },
  offending: [{ path: "bindings/x.ts", text: lines(MAX_FILE_LINES + 1) }],
  accepted: [{ path: "bindings/x.ts", text: lines(MAX_FILE_LINES) }],
};

/** A message is one string, so that it can be searched for, and may make its line longer. */
function withoutStrings(line: string): string {
  return /^\s*(\/\/|\*|\/\*)/.test(line) ? line : line.replace(/(["'`]).*\1/, "");
}

export const columns: Rule = {
  name: `no line is wider than ${MAX_COLUMNS} columns, but for what is in a string`,
  covers: isCode,
  check: (file) =>
    findInLines(file, (line) => {
      const width = [...withoutStrings(line)].length;
      return width > MAX_COLUMNS ? `${[...line].length} columns` : undefined;
    }),
  offending: [
    { path: "bindings/x.ts", text: `// ${"x".repeat(MAX_COLUMNS)}` },
    { path: "bindings/x.ts", text: `// It's ${"x".repeat(MAX_COLUMNS)}'s` },
    { path: "bindings/x.ts", text: `const ${"x".repeat(MAX_COLUMNS)} = "y";` },
  ],
  accepted: [
    { path: "bindings/x.ts", text: "─".repeat(MAX_COLUMNS) },
    { path: "bindings/x.ts", text: `  throw new Error("${"x".repeat(MAX_COLUMNS)}");` },
  ],
};

const GROUPS = /^(describe|suite)\b/;
const TESTS = /^(describe|suite|it|test)\b/;

/**
 * What groups tests is a chapter, not a function: `describe`, and a contract that many suites run.
 */
function isChapter(node: ts.Node, file: SourceText): boolean {
  const call = node.parent;
  if (ts.isCallExpression(call) && GROUPS.test(call.expression.getText())) return true;
  if (!file.path.startsWith("test/") || !ts.isFunctionDeclaration(node)) return false;
  return (node.body?.statements ?? []).some(
    (statement) =>
      ts.isExpressionStatement(statement) &&
      ts.isCallExpression(statement.expression) &&
      TESTS.test(statement.expression.expression.getText()),
  );
}

function checkFunctionLength(file: SourceText): Finding[] {
  const found: Finding[] = [];
  everyNode(file, (node) => {
    if (!ts.isFunctionLike(node) || !("body" in node) || isChapter(node, file)) return;
    const count = node.getText().split("\n").length;
    if (count <= MAX_FUNCTION_LINES) return;
    found.push({ line: lineOf(file, node), message: `a function of ${count} lines` });
  });
  return found;
}

export const functionLength: Rule = {
  name: `no function is longer than ${MAX_FUNCTION_LINES} lines`,
  covers: isCode,
  check: checkFunctionLength,
  offending: [
    { path: "bindings/x.ts", text: `function f() {\n${lines(MAX_FUNCTION_LINES)}}` },
    { path: "bindings/x.ts", text: `class C {\n m() {\n${lines(MAX_FUNCTION_LINES)}}\n}` },
    { path: "test/x.test.ts", text: `it("is", () => {\n${lines(MAX_FUNCTION_LINES)}});` },
    { path: "test/x.ts", text: `function c() {\n${lines(MAX_FUNCTION_LINES)}}` },
  ],
  accepted: [
    { path: "bindings/x.ts", text: `function f() {\n${lines(MAX_FUNCTION_LINES - 2)}}` },
    { path: "test/x.test.ts", text: `describe("x", () => {\n${lines(MAX_FUNCTION_LINES)}});` },
    { path: "test/x.ts", text: `function c() {\n it("is", g);\n${lines(MAX_FUNCTION_LINES)}}` },
  ],
};

export const header: Rule = {
  name: "every file opens with its reason",
  covers: isCode,
  check: ({ text }) =>
    /^(#!|\/\/ \S|\/\*\*?\s)/.test(text) ? [] : [{ line: 1, message: "no opening comment" }],
  offending: [{ path: "bindings/x.ts", text: "export const a = 1;" }],
  accepted: [
    { path: "bindings/x.ts", text: "/**\n * Why.\n */\nexport const a = 1;" },
    { path: "assembly/x.ts", text: "// Why.\n" },
  ],
};

export const fileNames: Rule = {
  name: "every file is named after what it holds",
  covers: isCode,
  check: ({ path }) =>
    /\/(utils?|helpers?|misc|common|lib)\.\w+$/.test(path)
      ? [{ line: 1, message: "a name that says nothing" }]
      : [],
  offending: [{ path: "bindings/shared/utils.ts", text: "" }],
  accepted: [{ path: "assembly/common/align.ts", text: "" }],
};
