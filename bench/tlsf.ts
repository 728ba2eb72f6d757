/**
 * AssemblyScript's own allocator, TLSF, as a wasm module of its own: what a program gets that
 * compiles to wasm without palloc. Compiled at the start of the run, with the options of our
 * release build except for the runtime, which brings TLSF.
 */

/** What the module exports; addresses are bytes in `memory`. */
export interface TlsfExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  alloc(bytes: number): number;
  free(address: number): void;
}

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

interface Engine {
  instantiate(bytes: Uint8Array): Promise<{ readonly instance: { readonly exports: unknown } }>;
}

const source = `
export function alloc(bytes: usize): usize { return heap.alloc(bytes); }
export function free(address: usize): void { heap.free(address); }
`;

const options = ["-O3", "--converge", "--noAssert", "--runtime", "minimal", "--use", "abort="];

/** Compiles and instantiates TLSF; every call gives an instance with code and memory of its own. */
export async function instantiateTlsf(): Promise<TlsfExports> {
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
  const engine = (globalThis as unknown as { readonly WebAssembly: Engine }).WebAssembly;
  const { instance } = await engine.instantiate(binary);
  return instance.exports as TlsfExports;
}
