// What a tidy rule looks at, and what it finds.
//
// A rule is a function from one file to its findings. It carries examples of both sorts, so that
// test/tidy.test.ts can show that the rule is able to fail before it trusts that it does not.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

export interface SourceText {
  /** Relative to the root of the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

export interface Finding {
  readonly line: number;
  readonly message: string;
}

export interface Rule {
  /** A sentence that is true of the repository. */
  readonly name: string;
  /** Which files the rule is about. */
  readonly covers: (path: string) => boolean;
  readonly check: (file: SourceText) => Finding[];
  /** Each of these must be found. */
  readonly offending: readonly SourceText[];
  /** None of these may be found. */
  readonly accepted: readonly SourceText[];
}

const SKIPPED_FOLDERS = new Set(["node_modules", "dist", "data", ".git", "embedded", "coverage"]);
const TEXT_ENDINGS =
  /\.(ts|mts|js|mjs|cjs|json|md|yml|yaml|html|c|h|sql|txt)$|(^|\/)(run|LICENSE|NOTICE|Makefile)$/;

/** Every text file of the repository, generated ones left out. */
export function filesOfRepository(root: string): SourceText[] {
  const found: SourceText[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory() && !SKIPPED_FOLDERS.has(entry.name)) visit(path);
      if (entry.isFile() && TEXT_ENDINGS.test(path)) {
        found.push({ path, text: readFileSync(join(root, path), "utf8") });
      }
    }
  };
  visit("");
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Source code that somebody wrote by hand. */
export function isCode(path: string): boolean {
  return /^(assembly|bindings|test|bench|examples|scripts)\/.*\.(ts|mjs|js)$/.test(path);
}

const parsed = new WeakMap<SourceText, ts.SourceFile>();

/** The syntax tree of a file, with parents; parsed once. */
export function treeOf(file: SourceText): ts.SourceFile {
  const known = parsed.get(file);
  if (known !== undefined) return known;
  const tree = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.ES2022, true);
  parsed.set(file, tree);
  return tree;
}

/** Calls `look` on every node of a file, outer before inner. */
export function everyNode(file: SourceText, look: (node: ts.Node) => void): void {
  const visit = (node: ts.Node): void => {
    look(node);
    ts.forEachChild(node, visit);
  };
  ts.forEachChild(treeOf(file), visit);
}

/** The line a node begins on, counted from 1. */
export function lineOf(file: SourceText, node: ts.Node): number {
  const tree = treeOf(file);
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
}

/** One finding for each line that `offends` says something about. */
export function findInLines(
  file: SourceText,
  offends: (line: string, index: number) => string | undefined,
): Finding[] {
  return file.text.split("\n").flatMap((text, index) => {
    const message = offends(text, index);
    return message === undefined ? [] : [{ line: index + 1, message }];
  });
}
