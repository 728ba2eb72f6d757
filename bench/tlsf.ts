/**
 * AssemblyScript's own allocator, TLSF, as a wasm module of its own: what a program gets that
 * compiles to wasm without palloc.
 */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** What the module exports; addresses are bytes of its memory. */
export interface TlsfExports {
  alloc(bytes: number): number;
  free(address: number): void;
}

interface Engine {
  instantiate(bytes: Uint8Array): Promise<{ readonly instance: { readonly exports: unknown } }>;
}

/** Compiles and instantiates TLSF; every call gives an instance with code and memory of its own. */
export async function instantiateTlsf(): Promise<TlsfExports> {
  const script = fileURLToPath(new URL("./tlsf-compile.js", import.meta.url));
  const base64 = execFileSync(process.execPath, [script], { encoding: "utf8" });
  const engine = (globalThis as unknown as { readonly WebAssembly: Engine }).WebAssembly;
  const { instance } = await engine.instantiate(Buffer.from(base64, "base64"));
  return instance.exports as TlsfExports;
}
