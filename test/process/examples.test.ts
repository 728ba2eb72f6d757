// Proves that the examples in the comments of the process side run as they stand: each is taken
// from its comment, its types are checked away, and it is run with the names that it does not
// declare itself: a memory, a context, the exports of the package, stand-ins for the reader's own.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import * as asyncContext from "../../bindings/async-context.ts";
import * as palloc from "../../bindings/index.ts";

const bindings = fileURLToPath(new URL("../../bindings/", import.meta.url));
/** Files whose examples need no second thread. */
const FILES = [
  "async-context.ts",
  "process/context.ts",
  "process/context-tools.ts",
  "process/memory.ts",
  "process/memory-tools.ts",
  "process/records.ts",
  "process/snapshot.ts",
];
const EXAMPLE = /^ *\* @example\n *\* ```ts\n([\s\S]*?)^ *\* ```$/gm;

/** The examples of a file, without the stars of their comments. */
function examplesOf(path: string): string[] {
  const text = readFileSync(`${bindings}${path}`, "utf8");
  return [...text.matchAll(EXAMPLE)].map(([, body = ""]) => body.replace(/^ *\* ?/gm, ""));
}

const examples = FILES.flatMap((path) =>
  examplesOf(path).map((text, index) => [`${path}, ${index + 1}`, text] as const),
);

/** What examples take to be the reader's. */
const readers = { report: (): void => undefined, serve: (): void => undefined };

/** Runs TypeScript with `names` in scope; those that it declares itself are its own. */
async function run(text: string, names: Readonly<Record<string, unknown>>): Promise<void> {
  const { outputText } = ts.transpileModule(text.replace(/^import .*$/gm, ""), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const body = outputText.replace(/^export \{\};$/m, "");
  const work = new Function(...Object.keys(names), `return (async () => {${body}})();`);
  await work(...Object.values(names));
}

describe("the examples of the process side", () => {
  it("are found", () => {
    expect(examples.length).toBeGreaterThan(5);
  });

  it.each(examples)("%s runs", async (_, text) => {
    for (const checked of [false, true]) {
      using memory = palloc.ProcessMemory.createSync({ checked });
      const context = memory.top.createChild("context");
      const request = memory.top.createChild("request");
      await run(text, { ...palloc, ...asyncContext, ...readers, memory, context, request });
    }
  });

  it("that do not run are noticed", async () => {
    await expect(run("missing.alloc(1);", {})).rejects.toThrow("missing");
  });
});
