// Import arrows: who may use whom. The picture is in docs/architecture.md; this is the same picture
// as a list. What a row does not name, its files may not import.

import { posix } from "node:path";
import ts from "typescript";
import { everyNode, type Finding, isCode, lineOf, type Rule, type SourceText } from "./source.ts";

interface Layer {
  /** Files this row is about. The first row that matches a file decides. */
  readonly of: RegExp;
  /** Files of this repository they may import. */
  readonly may: RegExp;
  /** Packages and built-in modules they may import. */
  readonly packages?: RegExp;
}

const CONSTANTS = "assembly/common/((io|lock|activity|cache)-)?constants\\.ts";

/** What storage managers build on: the interface and shared parts, never another manager. */
const MANAGERS = "(memory|node-fs|opfs|interlock)\\.ts$";
const STORAGE = new RegExp(
  `^(bindings/storage/(?!${MANAGERS})|bindings/abi/(errors|digest)\\.ts$|${CONSTANTS}$)`,
);

/** What benches take from the tests. */
const TESTS = "test/(twin|golden|support)/";

const LAYERS: readonly Layer[] = [
  { of: /^assembly\/common\//, may: /^assembly\/common\// },
  { of: /^assembly\/mmgr\//, may: /^assembly\/(common|mmgr)\// },
  { of: /^assembly\/ipc\//, may: /^assembly\/(common|ipc)\// },
  { of: /^assembly\/lmgr\//, may: /^assembly\/(common|ipc|lmgr)\// },
  { of: /^assembly\/buffer\//, may: /^assembly\/(common|ipc|lmgr|buffer)\// },
  { of: /^assembly\/cache\//, may: /^assembly\/(common|ipc|lmgr|cache)\// },
  { of: /^assembly\/process\.ts$/, may: /^assembly\/(common|mmgr)\// },
  { of: /^assembly\/shared\.ts$/, may: /^assembly\/(common|ipc|lmgr|buffer|cache)\// },
  {
    of: /^bindings\/abi\/load\.ts$/,
    may: /^bindings\/abi\//,
    packages: /^@assemblyscript\/loader$/,
  },
  { of: /^bindings\/abi\//, may: new RegExp(`^(bindings/abi/|${CONSTANTS}$)`) },
  // Who owns a directory is a socket's business on Node: only files on Node may ask for it, so that
  // whatever else uses the shared parts stays free of Node.
  {
    of: /^bindings\/storage\/(node-fs|interlock)\.ts$/,
    may: new RegExp(`${STORAGE.source}|^bindings/storage/interlock\\.ts$`),
    packages: /^node:/,
  },
  { of: /^bindings\/storage\//, may: STORAGE },
  { of: /^bindings\/process\//, may: new RegExp(`^(bindings/(abi|process)/|${CONSTANTS}$)`) },
  // A worker needs nothing but the handle: pages in memory are opened without a module's address.
  {
    of: /^bindings\/shared\/storage-opener\.ts$/,
    may: /^bindings\/(abi\/|shared\/|storage\/(manager|memory)\.ts$)/,
  },
  {
    of: /^bindings\/shared\//,
    may: new RegExp(
      `^(bindings/(abi|process|shared)/|bindings/storage/manager\\.ts$|${CONSTANTS}$)`,
    ),
  },
  {
    of: /^bindings\/session\//,
    may: new RegExp(`^(bindings/(abi|process|shared|session)/|${CONSTANTS}$)`),
  },
  {
    of: /^bindings\/async-context\.ts$/,
    may: /^bindings\/process\//,
    packages: /^node:async_hooks$/,
  },
  // Scripts of helper threads: nobody imports them.
  {
    of: /^bindings\/(writer|io)-worker\.ts$/,
    may: new RegExp(`^(bindings/(abi|shared)/|${CONSTANTS}$)`),
  },
  { of: /^bindings\/index\.ts$/, may: /^bindings\/(?!cli\/|storage\/(?!manager)|[a-z]+-worker)/ },
  // The command is a program on Node, like one of a user's: it takes what everybody can.
  {
    of: /^bindings\/cli\//,
    may: /^bindings\/(cli\/|index\.ts$|storage\/node-fs\.ts$)/,
    packages: /^node:/,
  },
  { of: /^test\/twin\//, may: new RegExp(`^(test/twin/|${CONSTANTS}$)`) },
  {
    of: /^examples\//,
    may: /^(examples\/|bindings\/(index|storage\/))/,
    packages: /./,
  },
  {
    of: /^bench\//,
    may: new RegExp(`^(bench/|examples/|bindings/(?!cli/)|${TESTS}|assembly/common/)`),
    packages: /./,
  },
];

interface Import {
  readonly specifier: string;
  readonly node: ts.Node;
}

function importsOf(file: SourceText): Import[] {
  const found: Import[] = [];
  everyNode(file, (node) => {
    const specifier =
      ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
        ? node.moduleSpecifier
        : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
          ? node.arguments[0]
          : undefined;
    if (specifier !== undefined && ts.isStringLiteral(specifier)) {
      found.push({ specifier: specifier.text, node });
    }
  });
  return found;
}

/** The file a relative specifier names; AssemblyScript leaves the ending away. */
function resolve(from: string, specifier: string): string {
  const path = posix.join(posix.dirname(from), specifier);
  return path.endsWith(".ts") ? path : `${path}.ts`;
}

function checkArrows(file: SourceText): Finding[] {
  const layer = LAYERS.find(({ of }) => of.test(file.path));
  if (layer === undefined) return [];
  return importsOf(file).flatMap(({ specifier, node }) => {
    const allowed = specifier.startsWith(".")
      ? layer.may.test(resolve(file.path, specifier))
      : (layer.packages?.test(specifier) ?? false);
    return allowed
      ? []
      : [{ line: lineOf(file, node), message: `may not import ${JSON.stringify(specifier)}` }];
  });
}

export const arrows: Rule = {
  name: "imports point down, never up, never across",
  covers: (path) => isCode(path) && LAYERS.some(({ of }) => of.test(path)),
  check: checkArrows,
  offending: [
    { path: "assembly/common/x.ts", text: 'import { a } from "../mmgr/aset";' },
    { path: "assembly/mmgr/x.ts", text: 'import { a } from "../buffer/desc";' },
    { path: "assembly/ipc/x.ts", text: 'import { a } from "../lmgr/owner";' },
    { path: "assembly/lmgr/x.ts", text: 'import { a } from "../buffer/desc";' },
    { path: "assembly/process.ts", text: 'export { a } from "./buffer/pool";' },
    { path: "assembly/shared.ts", text: 'export { a } from "./mmgr/aset";' },
    { path: "assembly/buffer/x.ts", text: 'import { a } from "../../bindings/abi/errors";' },
    { path: "bindings/process/x.ts", text: 'import { a } from "../shared/backend.ts";' },
    { path: "bindings/shared/x.ts", text: 'import { a } from "../storage/node-fs.ts";' },
    { path: "bindings/shared/x.ts", text: 'import { a } from "../storage/memory.ts";' },
    { path: "bindings/shared/x.ts", text: 'import { a } from "node:fs";' },
    { path: "bindings/shared/x.ts", text: 'import { a } from "@assemblyscript/loader";' },
    { path: "bindings/storage/memory.ts", text: 'import { a } from "./node-fs.ts";' },
    { path: "bindings/storage/memory.ts", text: 'import { a } from "../abi/load.ts";' },
    { path: "bindings/storage/files.ts", text: 'import { a } from "./interlock.ts";' },
    { path: "bindings/storage/interlock.ts", text: 'import { a } from "./node-fs.ts";' },
    { path: "bindings/shared/x.ts", text: 'import { a } from "../session/session.ts";' },
    { path: "bindings/session/x.ts", text: 'import { a } from "../storage/memory.ts";' },
    { path: "bindings/session/x.ts", text: 'import { a } from "../index.ts";' },
    { path: "bindings/index.ts", text: 'export { a } from "./storage/node-fs.ts";' },
    { path: "bindings/index.ts", text: 'export { a } from "./writer-worker.ts";' },
    { path: "bindings/writer-worker.ts", text: 'import { a } from "node:worker_threads";' },
    { path: "bindings/index.ts", text: 'import { a } from "node:async_hooks";' },
    { path: "bindings/index.ts", text: 'export { a } from "./cli/verify.ts";' },
    { path: "bindings/shared/x.ts", text: 'import { a } from "../cli/usage.ts";' },
    { path: "bindings/cli/x.ts", text: 'import { a } from "../shared/verify.ts";' },
    { path: "bindings/cli/x.ts", text: 'import { a } from "@assemblyscript/loader";' },
    { path: "bench/x.ts", text: 'import { a } from "../bindings/cli/usage.ts";' },
    { path: "bindings/async-context.ts", text: 'import { a } from "node:fs";' },
    { path: "bindings/abi/x.ts", text: 'const a = await import("@assemblyscript/loader");' },
    { path: "test/twin/aset.ts", text: 'import { a } from "../../bindings/index.ts";' },
    { path: "examples/x.ts", text: 'import { a } from "../bindings/shared/backend.ts";' },
  ],
  accepted: [
    { path: "assembly/buffer/x.ts", text: 'import { a } from "../ipc/shmem";' },
    { path: "bindings/abi/load.ts", text: 'import { a } from "@assemblyscript/loader";' },
    { path: "bindings/shared/x.ts", text: 'import { a } from "../storage/manager.ts";' },
    { path: "bindings/session/x.ts", text: 'import { a } from "../shared/backend.ts";' },
    { path: "bindings/storage/node-fs.ts", text: 'import { a } from "node:fs";' },
    { path: "bindings/storage/node-fs.ts", text: 'import { a } from "./interlock.ts";' },
    { path: "bindings/storage/interlock.ts", text: 'import { a } from "node:net";' },
    { path: "bindings/index.ts", text: 'export type { A } from "./storage/manager.ts";' },
    { path: "bindings/cli/x.ts", text: 'import { a } from "../index.ts";' },
    { path: "bindings/cli/x.ts", text: 'import { a } from "node:util";' },
    { path: "test/twin/aset.ts", text: 'import { a } from "../../assembly/common/constants.ts";' },
  ],
};
