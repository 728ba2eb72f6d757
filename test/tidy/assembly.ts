// What AssemblyScript files must and must not contain, so that neither module has a managed heap, a
// data section, or a check that costs something in a release build.

import ts from "typescript";
import { everyNode, type Finding, lineOf, type Rule, type SourceText } from "./source.ts";

const isAssembly = (path: string): boolean => /^assembly\/.*(?<!\.d)\.ts$/.test(path);

/** Runs `judge` on every node; a returned text is a finding. */
function findInNodes(file: SourceText, judge: (node: ts.Node) => string | undefined): Finding[] {
  const found: Finding[] = [];
  everyNode(file, (node) => {
    const message = judge(node);
    if (message !== undefined) found.push({ line: lineOf(file, node), message });
  });
  return found;
}

function bareLiteral(node: ts.Node | undefined): boolean {
  if (node === undefined) return false;
  if (ts.isNumericLiteral(node)) return Number(node.text) > 1;
  if (ts.isAsExpression(node) || ts.isTypeAssertionExpression(node)) {
    return bareLiteral(node.expression);
  }
  if (ts.isParenthesizedExpression(node)) return bareLiteral(node.expression);
  if (!ts.isBinaryExpression(node)) return false;
  const adds = [ts.SyntaxKind.PlusToken, ts.SyntaxKind.MinusToken].includes(
    node.operatorToken.kind,
  );
  return adds && (bareLiteral(node.left) || bareLiteral(node.right));
}

/** Index of the first argument after the values that go to or come from memory. */
function offsetArgument(callee: string): number | undefined {
  if (/^(load|(v128|i32|i64|f32|f64)\.load\w*|atomic\.load)$/.test(callee)) return 1;
  if (
    /^(store|(v128|i32|i64|f32|f64)\.store\w*|atomic\.(store|add|sub|and|or|xor|xchg))$/.test(
      callee,
    )
  ) {
    return 2;
  }
  return callee === "atomic.cmpxchg" ? 3 : undefined;
}

export const literalOffsets: Rule = {
  name: "no load or store takes its offset from a literal",
  covers: isAssembly,
  check: (file) =>
    findInNodes(file, (node) => {
      if (!ts.isCallExpression(node)) return undefined;
      const offset = offsetArgument(node.expression.getText());
      if (offset === undefined) return undefined;
      return bareLiteral(node.arguments[0]) || bareLiteral(node.arguments[offset])
        ? `a literal offset in ${node.getText()}`
        : undefined;
    }),
  offending: [
    { path: "assembly/x.ts", text: "load<u32>(at, 8);" },
    { path: "assembly/x.ts", text: "store<u32>(at + 8, value);" },
    { path: "assembly/x.ts", text: "atomic.store<u32>(at, value, 16);" },
    { path: "assembly/x.ts", text: "atomic.cmpxchg<u32>(at, seen, next, 16);" },
    { path: "assembly/x.ts", text: "load<u32>(at + <usize>12);" },
  ],
  accepted: [
    { path: "assembly/x.ts", text: 'load<u32>(at, offsetof<Block>("next"));' },
    { path: "assembly/x.ts", text: "store<u32>(at, 77);" },
    { path: "assembly/x.ts", text: "load<u32>(at + CHUNK_HEADER_BYTES);" },
  ],
};

function isGuard(condition: ts.Expression): boolean {
  if (ts.isIdentifier(condition)) return condition.text === "CHECKING";
  return (
    ts.isBinaryExpression(condition) &&
    condition.operatorToken.kind === ts.SyntaxKind.AmpersandAmpersandToken &&
    isGuard(condition.left)
  );
}

/** True where only a checked build arrives, by a guard in the same function. */
function isGuardedHere(node: ts.Node): boolean {
  for (let inner = node; inner.parent !== undefined; inner = inner.parent) {
    const outer = inner.parent;
    if (ts.isIfStatement(outer) && outer.thenStatement === inner && isGuard(outer.expression)) {
      return true;
    }
    if (ts.isBinaryExpression(outer) && outer.right === inner && isGuard(outer)) return true;
  }
  return false;
}

/** The function of this file alone that a node stands in. */
function localFunction(node: ts.Node): ts.FunctionDeclaration | undefined {
  for (let outer = node.parent; outer !== undefined; outer = outer.parent) {
    if (ts.isFunctionDeclaration(outer)) return outer.modifiers === undefined ? outer : undefined;
  }
  return undefined;
}

/** Guarded where it stands, or in a function that is called under guard only. */
function isGuarded(node: ts.Node, file: SourceText): boolean {
  if (isGuardedHere(node)) return true;
  const name = localFunction(node)?.name?.text;
  const calls: ts.Node[] = [];
  everyNode(file, (other) => {
    if (ts.isCallExpression(other) && other.expression.getText() === name) calls.push(other);
  });
  return calls.length > 0 && calls.every(isGuardedHere);
}

/**
 * Calls that only a checked build may reach; shadow.ts, which is all check, calls itself freely.
 */
function isCheck(node: ts.Node): node is ts.CallExpression {
  return ts.isCallExpression(node) && /^(invariant$|Shadow\.)/.test(node.expression.getText());
}

export const guardedChecks: Rule = {
  name: "every check stands behind if (CHECKING)",
  covers: (path) => isAssembly(path) && path !== "assembly/mmgr/shadow.ts",
  check: (file) =>
    findInNodes(file, (node) =>
      isCheck(node) && !isGuarded(node, file)
        ? "a check that release builds would evaluate"
        : undefined,
    ),
  offending: [
    { path: "assembly/x.ts", text: "invariant(a, 1);" },
    { path: "assembly/x.ts", text: "Shadow.free(a, 1);" },
    { path: "assembly/x.ts", text: "if (CHECKING) { f(); } else invariant(a, 1);" },
    { path: "assembly/x.ts", text: "if (a || CHECKING) invariant(a, 1);" },
    { path: "assembly/x.ts", text: "if (Shadow.isLive(a) && CHECKING) f();" },
    { path: "assembly/x.ts", text: "function g() { invariant(a, 1); } if (CHECKING) g(); g();" },
  ],
  accepted: [
    { path: "assembly/x.ts", text: "if (CHECKING) invariant(a, 1);" },
    { path: "assembly/x.ts", text: "if (CHECKING && a) { invariant(b, 1); }" },
    { path: "assembly/x.ts", text: "if (CHECKING && !Shadow.isLive(a)) f();" },
    { path: "assembly/x.ts", text: "function g() { invariant(a, 1); } if (CHECKING) g();" },
  ],
};

/** Strings that the compiler consumes: module names, field names, messages of ERROR. */
function isCompileTimeString(node: ts.Node): boolean {
  const parent = node.parent;
  if (ts.isImportDeclaration(parent) || ts.isExportDeclaration(parent)) return true;
  if (!ts.isCallExpression(parent)) return ts.isDecorator(parent.parent);
  return /^(offsetof|ERROR|WARNING|INFO|external)$/.test(parent.expression.getText());
}

function managed(node: ts.Node): string | undefined {
  if (ts.isThrowStatement(node)) return "throw";
  if (ts.isNewExpression(node)) return "new";
  if (ts.isArrayLiteralExpression(node)) return "an array";
  if (ts.isObjectLiteralExpression(node)) return "an object";
  if (ts.isArrowFunction(node) || ts.isFunctionExpression(node)) return "a closure";
  if (ts.isTemplateLiteral(node)) return "a string";
  if (ts.isStringLiteral(node) && !isCompileTimeString(node)) return "a string";
  return undefined;
}

export const unmanaged: Rule = {
  name: "AssemblyScript uses no string, throw, new, array or closure",
  covers: isAssembly,
  check: (file) => findInNodes(file, managed),
  offending: [
    { path: "assembly/x.ts", text: 'const a = "x";' },
    { path: "assembly/x.ts", text: 'throw new Error("x");' },
    { path: "assembly/x.ts", text: "const a = [1];" },
    { path: "assembly/x.ts", text: "const a = new Block();" },
    { path: "assembly/x.ts", text: "f(() => 1);" },
  ],
  accepted: [
    { path: "assembly/x.ts", text: 'import { a } from "./b";\noffsetof<A>("b"); ERROR("c");' },
  ],
};

function hasFields(node: ts.ClassDeclaration): boolean {
  return node.members.some(
    (member) =>
      ts.isPropertyDeclaration(member) &&
      !member.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.StaticKeyword),
  );
}

export const unmanagedClasses: Rule = {
  name: "every class with fields is @unmanaged",
  covers: isAssembly,
  check: (file) =>
    findInNodes(file, (node) =>
      ts.isClassDeclaration(node) &&
      hasFields(node) &&
      !ts.getDecorators(node)?.some((decorator) => decorator.getText() === "@unmanaged")
        ? "a managed class"
        : undefined,
    ),
  offending: [{ path: "assembly/x.ts", text: "export class A { b: u32; }" }],
  accepted: [
    { path: "assembly/x.ts", text: "@unmanaged export class A { b: u32; }" },
    { path: "assembly/x.ts", text: "export class A { static f(): void {} }" },
  ],
};

export const bareConstants: Rule = {
  name: "constants.ts holds nothing but bare literals",
  covers: (path) => path === "assembly/common/constants.ts",
  check: (file) =>
    findInNodes(file, (node) => {
      if (ts.isImportDeclaration(node)) return "an import";
      if (!ts.isVariableDeclaration(node)) return undefined;
      const value = node.initializer;
      const bare =
        value !== undefined &&
        (ts.isNumericLiteral(value) ||
          (ts.isPrefixUnaryExpression(value) && ts.isNumericLiteral(value.operand)));
      return bare && node.type === undefined ? undefined : `${node.getText()} is not bare`;
    }),
  offending: [
    { path: "assembly/common/constants.ts", text: "export const A = 1 << 3;" },
    { path: "assembly/common/constants.ts", text: "export const A: u32 = 1;" },
    { path: "assembly/common/constants.ts", text: 'import { B } from "./b";' },
  ],
  accepted: [{ path: "assembly/common/constants.ts", text: "export const A = 1; // one" }],
};

export const oneDoorForAtomics: Rule = {
  name: "atomic operations go through common/atomics.ts",
  covers: (path) => isAssembly(path) && path !== "assembly/common/atomics.ts",
  check: (file) =>
    findInNodes(file, (node) =>
      ts.isPropertyAccessExpression(node) &&
      /^(memory\.)?atomic$/.test(node.expression.getText()) &&
      ts.isCallExpression(node.parent)
        ? `${node.getText()} past the scheduler of the simulation build`
        : undefined,
    ),
  offending: [
    { path: "assembly/x.ts", text: "atomic.load<u32>(at);" },
    { path: "assembly/x.ts", text: "memory.atomic.wait32(at, 0, 0);" },
  ],
  accepted: [{ path: "assembly/x.ts", text: "Atomic.load(at);" }],
};
