/**
 * Compiles AssemblyScript's allocator, TLSF, to a wasm module of its own and prints it as base64. A
 * program apart, because the compiler leaves its mark on the engine: with it in the process a pool
 * in plain JavaScript took a third longer.
 *
 * The options are those of our release build except for the runtime, which brings TLSF.
 */

import { writeSync } from "node:fs";

// The compiler's own types declare AssemblyScript's globals for the whole program, hence these.
interface Compiler {
  main(options: readonly string[], files: CompilerFiles): Promise<CompilerResult>;
}

interface CompilerFiles {
  readFile(name: string): string | null;
  writeFile(name: string, contents: Uint8Array | string): void;
  listFiles(): string[];
}

interface CompilerResult {
  readonly error: Error | null;
  readonly stderr: { toString(): string };
}

const source = `
export function alloc(bytes: usize): usize { return heap.alloc(bytes); }
export function free(address: usize): void { heap.free(address); }
`;

const options = ["-O3", "--converge", "--noAssert", "--runtime", "minimal", "--use", "abort="];

const specifier: string = "assemblyscript/asc";
const { default: asc } = (await import(specifier)) as { default: Compiler };
const written = new Map<string, Uint8Array | string>();
const { error, stderr } = await asc.main(["tlsf.ts", "--outFile", "tlsf.wasm", ...options], {
  readFile: (name) => (name === "tlsf.ts" ? source : null),
  writeFile: (name, contents) => {
    written.set(name, contents);
  },
  listFiles: () => [],
});
const binary = written.get("tlsf.wasm");
if (error !== null || !(binary instanceof Uint8Array)) {
  throw new Error(`TLSF did not compile: ${stderr.toString()}`, { cause: error });
}
writeSync(1, Buffer.from(binary).toString("base64"));
