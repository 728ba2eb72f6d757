// What the TypeScript layer must and must not contain: every export explained, no platform taken
// for granted, nothing printed.

import ts from "typescript";
import { everyNode, type Finding, lineOf, type Rule, type SourceText } from "./source.ts";

const isBinding = (path: string): boolean => /^bindings\/.*\.ts$/.test(path);

function hasDoc(node: ts.Node): boolean {
  return ts.getJSDocCommentsAndTags(node).some((doc) => ts.isJSDoc(doc));
}

function has(node: ts.Node, kind: ts.SyntaxKind): boolean {
  return (
    ts.canHaveModifiers(node) &&
    (ts.getModifiers(node) ?? []).some((modifier) => modifier.kind === kind)
  );
}

function isHidden(member: ts.ClassElement): boolean {
  const name = member.name;
  return (
    name === undefined ||
    ts.isPrivateIdentifier(name) ||
    ts.isComputedPropertyName(name) ||
    has(member, ts.SyntaxKind.PrivateKeyword) ||
    has(member, ts.SyntaxKind.OverrideKeyword)
  );
}

/** Exported for other files of the library, and for nobody else. */
function isInternal(node: ts.Node): boolean {
  return ts.getJSDocTags(node).some(({ tagName }) => tagName.text === "internal");
}

/** What an interface explains need not be explained again by the class that implements it. */
function inheritsExplanations(node: ts.ClassDeclaration): boolean {
  return (node.heritageClauses ?? []).some(
    ({ token, types }) =>
      token === ts.SyntaxKind.ImplementsKeyword &&
      types.some((type) => !/^(Async)?Disposable$/.test(type.getText())),
  );
}

function undocumentedMethods(file: SourceText, node: ts.ClassDeclaration): Finding[] {
  const explained = new Set(node.members.filter(hasDoc).map((member) => member.name?.getText()));
  return node.members
    .filter((member) => ts.isMethodDeclaration(member) || ts.isAccessor(member))
    .filter((member) => !isHidden(member) && !explained.has(member.name?.getText()))
    .map((member) => ({
      line: lineOf(file, member),
      message: `${node.name?.text ?? "class"}.${member.name?.getText() ?? ""} has no TSDoc`,
    }));
}

function isOverloadOfExplained(node: ts.Node, statements: readonly ts.Statement[]): boolean {
  return (
    ts.isFunctionDeclaration(node) &&
    statements.some(
      (other) =>
        ts.isFunctionDeclaration(other) && other.name?.text === node.name?.text && hasDoc(other),
    )
  );
}

function checkDocumented(file: SourceText): Finding[] {
  const found: Finding[] = [];
  everyNode(file, (node) => {
    if (!ts.isSourceFile(node.parent) || !has(node, ts.SyntaxKind.ExportKeyword)) return;
    if (!hasDoc(node) && !isOverloadOfExplained(node, node.parent.statements)) {
      const words = node
        .getText()
        .split(/[\s=({<:]+/)
        .slice(0, 4)
        .join(" ");
      found.push({ line: lineOf(file, node), message: `no TSDoc on "${words} …"` });
    }
    if (ts.isClassDeclaration(node) && !isInternal(node) && !inheritsExplanations(node)) {
      found.push(...undocumentedMethods(file, node));
    }
  });
  return found;
}

export const documented: Rule = {
  name: "every export of bindings, and every method of an exported class, has TSDoc",
  covers: isBinding,
  check: checkDocumented,
  offending: [
    { path: "bindings/x.ts", text: "export const a = 1;" },
    { path: "bindings/x.ts", text: "// Not TSDoc.\nexport function f(): void {}" },
    { path: "bindings/x.ts", text: "/** A. */\nexport class A {\n  b(): void {}\n}" },
    {
      path: "bindings/x.ts",
      text: "/** A. */\nexport class A {\n  get b(): number { return 1; }\n}",
    },
    {
      path: "bindings/x.ts",
      text: "/** A. */\nexport class A implements Disposable {\n  b(): void {}\n}",
    },
    { path: "bindings/x.ts", text: "export interface A {}" },
  ],
  accepted: [
    { path: "bindings/x.ts", text: "/** One. */\nexport const a = 1;" },
    { path: "bindings/x.ts", text: "/** A. */\nexport class A {\n  #b(): void {}\n  c = 1;\n}" },
    {
      path: "bindings/x.ts",
      text: "/** A. */\nexport class A implements Explained {\n  b(): void {}\n}",
    },
    { path: "bindings/x.ts", text: "function hidden(): void {}" },
  ],
};

const PLATFORM_NAMES = new Set([
  "console",
  "process",
  "Buffer",
  "require",
  "__dirname",
  "__filename",
  "window",
  "document",
  "self",
  "navigator",
  "setImmediate",
]);

/** True where an identifier reads a variable, and neither names a member nor declares something. */
function readsVariable(node: ts.Identifier): boolean {
  const parent = node.parent;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  if (ts.isBindingElement(parent)) return parent.initializer === node;
  if (ts.isVariableDeclaration(parent) || ts.isParameter(parent))
    return parent.initializer === node;
  return (
    ts.isExpression(parent) || ts.isStatement(parent) || ts.isShorthandPropertyAssignment(parent)
  );
}

function declaredIn(file: SourceText): Set<string> {
  const names = new Set<string>();
  everyNode(file, (node) => {
    const declares =
      ts.isVariableDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isBindingElement(node) ||
      ts.isFunctionDeclaration(node) ||
      ts.isImportSpecifier(node);
    if (declares && node.name !== undefined) names.add(node.name.getText());
  });
  return names;
}

export const platformFree: Rule = {
  name: "bindings print nothing and take no platform for granted, storage on Node aside",
  covers: (path) =>
    isBinding(path) && !/^bindings\/(cli\/|storage\/(node-fs|interlock)\.ts$)/.test(path),
  check: (file) => {
    const declared = declaredIn(file);
    const found: Finding[] = [];
    everyNode(file, (node) => {
      if (!ts.isIdentifier(node) || !PLATFORM_NAMES.has(node.text)) return;
      if (declared.has(node.text) || !readsVariable(node)) return;
      found.push({ line: lineOf(file, node), message: `uses the global ${node.text}` });
    });
    return found;
  },
  offending: [
    { path: "bindings/x.ts", text: 'console.log("x");' },
    { path: "bindings/x.ts", text: "const a = process.env;" },
    { path: "bindings/x.ts", text: "f(window);" },
    { path: "bindings/x.ts", text: "const a = typeof Buffer;" },
  ],
  accepted: [
    { path: "bindings/x.ts", text: "const process = globalThis.process;\nf(process);" },
    { path: "bindings/x.ts", text: "const a = { process: 1, self: 2 };" },
    { path: "bindings/x.ts", text: "interface A { readonly process: string }" },
  ],
};
