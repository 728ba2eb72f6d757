// Proves that what is published is what a user needs, and nothing else: the tarball is packed,
// linted, installed into an empty project, and used there from ES modules, from require(), from
// workers, and by a TypeScript program that checks every declaration and knows no DOM and no Node.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { outlineOf } from "../support/wasm-binary.ts";
import { type Outcome, Project, repository, run } from "./project.ts";

const KILOBYTE = 1000;
const BUDGETS = [
  { module: "process-release", kilobytes: 10 },
  { module: "shared-release", kilobytes: 20 },
];

/** Handles one request of the AssemblyScript example and prints its answer and what it left. */
const REQUEST_PROBE = `
import { readFileSync } from "node:fs";
const module = new WebAssembly.Module(readFileSync("request.wasm"));
const { exports } = new WebAssembly.Instance(module, { host: { callbacks() {} } });
exports.start();
console.log(exports.handle(1000, 97));
exports.finish();
console.log(exports.usedBytes());
`;

let project: Project;
beforeAll(() => {
  project = new Project();
});
afterAll(() => project.dispose());

/** Runs a tool of this repository on the tarball or on the project. */
function tool(path: string, words: readonly string[]): Outcome {
  const bin = join(repository, "node_modules", path);
  return run(process.execPath, [bin, ...words], project.folder);
}

describe("the tarball", () => {
  it("holds the built library, its sources for AssemblyScript, and the papers", () => {
    const forms = [
      /^(package\.json|README\.md|LICENSE|NOTICE|CHANGELOG\.md)$/,
      /^assembly\/[\w/-]+\.(d\.)?ts$/,
      /^dist\/bindings\/[\w/-]+\.(js|d\.ts)$/,
      /^dist\/assembly\/common\/([a-z]+-)?constants\.(js|d\.ts)$/,
      /^dist\/wasm\/(process|shared)-(release|checked)\.wasm$/,
    ];
    const strange = project.paths.filter((path) => !forms.some((form) => form.test(path)));
    expect(strange).toEqual([]);
    for (const form of forms) expect(project.paths.some((path) => form.test(path))).toBe(true);
    expect(project.paths).toEqual(
      expect.arrayContaining(["README.md", "LICENSE", "NOTICE", "CHANGELOG.md"]),
    );
  });

  it("passes publint with nothing to suggest", () => {
    const { status, text } = tool("publint/src/cli.js", ["run", project.tarball, "--strict"]);
    expect(status, text).toBe(0);
    expect(text).toContain("All good!");
  });

  it("passes arethetypeswrong for ES modules", () => {
    const words = ["--profile", "esm-only", "--no-definitely-typed", "--format", "ascii"];
    const outcome = tool("@arethetypeswrong/cli/dist/index.js", [project.tarball, ...words]);
    expect(outcome.status, outcome.text).toBe(0);
    // Status 0 means that it found nothing; that it looked is seen by the last entry it names.
    expect(outcome.text).toContain('"palloc/storage/node-fs"');
  });

  it.each(BUDGETS)("carries $module.wasm in $kilobytes kB gzipped", ({ module, kilobytes }) => {
    const bytes = project.read(`dist/wasm/${module}.wasm`);
    expect(outlineOf(bytes).exports.length).toBeGreaterThan(0);
    expect(gzipSync(bytes, { level: 9 }).length).toBeLessThanOrEqual(kilobytes * KILOBYTE);
  });
});

describe("the installed package", () => {
  /** The entry points that are programs, as a user writes them. */
  function entryPoints(): string[] {
    const manifest = JSON.parse(project.read("package.json").toString()) as {
      exports: Record<string, unknown>;
    };
    return Object.entries(manifest.exports)
      .filter(([path, target]) => !path.includes("*") && typeof target === "object")
      .map(([path]) => path.replace(/^\./, "palloc"));
  }

  it("brings one runtime dependency", () => {
    const modules = join(project.folder, "node_modules");
    const installed = readdirSync(modules, { recursive: true, withFileTypes: true })
      .filter(({ name }) => name === "package.json")
      .map(({ parentPath }) => parentPath.slice(modules.length + 1))
      .filter((path) => !path.endsWith("umd"));
    expect(installed.sort()).toEqual(["@assemblyscript/loader", "palloc"]);
  });

  it("loads the same from every entry point by import and by require, without a warning", () => {
    const names = entryPoints();
    expect(names).toContain("palloc");
    for (const name of names) {
      const print = "console.log(Object.keys(found).sort().join());";
      project.write("probe.mjs", `import * as found from "${name}";\n${print}`);
      project.write("probe.cjs", `const found = require("${name}");\n${print}`);
      expect(project.node("probe.cjs")).toBe(project.node("probe.mjs"));
    }
  });

  it("keeps Node's modules out of every entry point but the Node storage", () => {
    const reached = new Set<string>();
    const packages = new Set<string>();
    const visit = (path: string): void => {
      if (reached.has(path)) return;
      reached.add(path);
      const { importedFiles } = ts.preProcessFile(project.read(path).toString());
      for (const { fileName } of importedFiles) {
        if (fileName.startsWith(".")) visit(join(path, "..", fileName));
        else packages.add(fileName);
      }
    };
    visit("dist/bindings/index.js");
    visit("dist/bindings/storage/memory.js");
    expect(reached).toContain("dist/bindings/abi/load.js");
    expect([...packages]).toEqual(["@assemblyscript/loader"]);
  });

  it("exports the bare wasm files and the AssemblyScript sources", () => {
    for (const path of [
      "wasm/process-release.wasm",
      "wasm/shared-checked.wasm",
      "assembly/mmgr/aset.ts",
    ]) {
      project.write("probe.mjs", `console.log(import.meta.resolve("palloc/${path}"));`);
      const url = new URL(project.node("probe.mjs").trim());
      expect(readFileSync(url).length).toBeGreaterThan(0);
    }
  });

  it("compiles its allocator into an AssemblyScript program, which runs", () => {
    const example = join(repository, "examples/assemblyscript-request/request.ts");
    project.write("request.ts", readFileSync(example, "utf8"));
    const options = "-O3 --noAssert --runtime stub --maximumMemory 1024 --memoryBase 1024";
    const switches = "--use abort= --use CHECKING=0 --use SIMULATION=0 --outFile request.wasm";
    const words = ["request.ts", ...options.split(" "), ...switches.split(" ")];
    const { status, text } = tool("assemblyscript/bin/asc.js", words);
    expect(status, text).toBe(0);
    project.write("probe.mjs", REQUEST_PROBE);
    expect(project.node("probe.mjs")).toBe("24\n136\n");
  });

  it.each(["use.mjs", "use.cjs"])("gives memory back in %s", (name) => {
    expect(project.node(name)).toBe("grew and came back\n");
  });

  it.each(["owner.mjs", "owner.cjs"])("shares its pool with a worker in %s", (name) => {
    expect(project.node(name)).toBe("the worker read 42\n");
  });

  it.each(["NodeNext", "Bundler"])("compiles into a TypeScript program by %s", (resolution) => {
    const compilerOptions = {
      module: resolution === "NodeNext" ? "NodeNext" : "ESNext",
      moduleResolution: resolution,
      target: "ES2022",
      lib: ["ES2023", "ESNext.Disposable"],
      types: [],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmit: true,
    };
    project.write("tsconfig.json", JSON.stringify({ compilerOptions, files: ["consumer.mts"] }));
    const { status, text } = tool("typescript/bin/tsc", ["-p", project.folder]);
    expect(text).toBe("");
    expect(status).toBe(0);
  });
});
