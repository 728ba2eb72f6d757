/**
 * AssemblyScript's own allocator, TLSF, as a wasm module of its own: what a program gets that
 * compiles to wasm without palloc.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { PatternExports } from "./driver.ts";

/** What the module exports; addresses are bytes of its memory. */
export interface TlsfExports extends PatternExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  alloc(bytes: number): number;
  free(address: number): void;
}

interface Engine {
  instantiate(bytes: Uint8Array): Promise<{ readonly instance: { readonly exports: unknown } }>;
}

/** The module's bytes: from the last run, if the script that compiles it is the same. */
function compiledOnce(): Uint8Array {
  const script = fileURLToPath(new URL("./tlsf-compile.js", import.meta.url));
  const digest = createHash("sha256").update(readFileSync(script)).digest("hex").slice(0, 12);
  const file = fileURLToPath(new URL(`./tlsf-${digest}.wasm`, import.meta.url));
  if (!existsSync(file)) {
    const base64 = execFileSync(process.execPath, [script], { encoding: "utf8" });
    writeFileSync(file, Buffer.from(base64, "base64"));
  }
  return readFileSync(file);
}

/** Compiles and instantiates TLSF; every call gives an instance with code and memory of its own. */
export async function instantiateTlsf(): Promise<TlsfExports> {
  const engine = (globalThis as unknown as { readonly WebAssembly: Engine }).WebAssembly;
  const { instance } = await engine.instantiate(compiledOnce());
  return instance.exports as TlsfExports;
}
