// Proves from the binaries what each module asks for, what it offers, and what it is made of: no
// import but the memory, and in checked builds the panic of its host; no data and no start
// function; no mutable global in shared memory's module but who and where it is; exports exactly as
// bindings/abi/ declares them, with the same number of parameters.
//
// The simulation build is a test's tool and carries Asyncify's own globals and exports; it is held
// to the sections alone.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { outlineOf, type WasmOutline } from "./support/wasm-binary.ts";

const SHIPPED_SECTIONS = ["type", "import", "function", "global", "export", "code"];

/** What each build asks of its surroundings; only checked builds can panic. */
const IMPORTS = {
  release: ["env.memory memory"],
  checked: ["env.memory memory", "host.panic function"],
} as const;
/**
 * The process side also calls out to run callbacks when a context is reset or deleted, and when it
 * cannot answer another module.
 */
const CALLOUTS = ["host.callbacks function", "host.refused function"];
const BUILDS = ["release", "checked"] as const;

function textAt(path: string): string {
  return readFileSync(fileURLToPath(new URL(path, import.meta.url)), "utf8");
}

function outline(module: string): WasmOutline {
  const path = new URL(`../dist/wasm/${module}.wasm`, import.meta.url);
  return outlineOf(readFileSync(fileURLToPath(path)));
}

/** `name/number of parameters` of each member of the interfaces in a file of bindings/abi/. */
function declaredExports(file: string): string[] {
  const tree = ts.createSourceFile(file, textAt(`../bindings/abi/${file}`), ts.ScriptTarget.ES2022);
  return tree.statements
    .filter(ts.isInterfaceDeclaration)
    .flatMap(({ members }) => [...members])
    .map((member) => {
      if (!ts.isMethodSignature(member)) throw new Error(`${file} declares more than functions`);
      return `${member.name.getText(tree)}/${member.parameters.length}`;
    })
    .sort();
}

function realExports({ exports }: WasmOutline): string[] {
  return exports.map(({ name, signature }) => `${name}/${signature?.parameters.length}`).sort();
}

function imported({ imports }: WasmOutline): string[] {
  return imports.map(({ module, name, kind }) => `${module}.${name} ${kind}`).sort();
}

describe.each(BUILDS)("process-%s.wasm", (build) => {
  const module = outline(`process-${build}`);

  it("imports its memory, two calls of its host, and a panic where there are checks", () => {
    expect(imported(module).toSorted()).toEqual([...IMPORTS[build], ...CALLOUTS].toSorted());
    expect(module.imports.find(({ kind }) => kind === "memory")?.limits?.shared).toBe(false);
  });

  it("has no data section and no start function", () => {
    expect(SHIPPED_SECTIONS).toEqual(expect.arrayContaining(module.sections));
  });

  it("exports what bindings/abi/process-exports.ts declares", () => {
    expect(realExports(module)).toEqual(declaredExports("process-exports.ts"));
  });
});

describe.each(BUILDS)("shared-%s.wasm", (build) => {
  const module = outline(`shared-${build}`);

  it("imports a shared memory, and a panic where there are checks, and nothing else", () => {
    expect(imported(module)).toEqual(IMPORTS[build]);
    expect(module.imports.find(({ kind }) => kind === "memory")?.limits?.shared).toBe(true);
  });

  it("has no data section and no start function to run over live memory", () => {
    expect(SHIPPED_SECTIONS).toEqual(expect.arrayContaining(module.sections));
  });

  it("has no mutable global but its own base and backend number", () => {
    expect(module.globals.filter(({ mutable }) => mutable).length).toBeLessThanOrEqual(2);
    expect(module.exports.filter(({ kind }) => kind !== "function")).toEqual([]);
  });

  it("exports what bindings/abi/shared-exports.ts declares", () => {
    expect(realExports(module)).toEqual(declaredExports("shared-exports.ts"));
  });

  it("takes and returns no 64-bit integer, which would cross as a BigInt", () => {
    const wide = module.exports.filter(({ signature }) =>
      [...(signature?.parameters ?? []), ...(signature?.results ?? [])].includes("i64"),
    );
    expect(wide.map(({ name }) => name)).toEqual([]);
  });
});

describe("shared-simulation.wasm", () => {
  it("has no data section and no start function either", () => {
    expect(SHIPPED_SECTIONS).toEqual(expect.arrayContaining(outline("shared-simulation").sections));
  });
});

describe("the reader of binaries", () => {
  it("sees a data section, a start function and a mutable global where there are some", () => {
    const header = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
    const type = [1, 4, 1, 0x60, 0, 0];
    const functions = [3, 2, 1, 0];
    const memory = [5, 3, 1, 0, 1];
    const global = [6, 6, 1, 0x7f, 1, 0x41, 0, 0x0b];
    const start = [8, 1, 0];
    const code = [10, 4, 1, 2, 0, 0x0b];
    const data = [11, 7, 1, 0, 0x41, 0, 0x0b, 1, 7];
    const sections = [header, type, functions, memory, global, start, code, data];
    const bytes = Uint8Array.from(sections.flat());
    expect(WebAssembly.validate(bytes)).toBe(true);
    const seen = outlineOf(bytes);
    expect(seen.sections).toEqual(
      expect.arrayContaining(["memory", "global", "start", "code", "data"]),
    );
    expect(seen.globals).toEqual([{ type: "i32", mutable: true }]);
  });
});
