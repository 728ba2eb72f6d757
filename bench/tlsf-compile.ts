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

// The patterns are those of assembly/bench-driver.ts; for a reset everything is freed one by one.
const source = `
export function alloc(bytes: usize): usize { return heap.alloc(bytes); }
export function free(address: usize): void { heap.free(address); }

function get(array: u32, index: u32): u32 { return load<u32>(array + (index << 2)); }
function set(array: u32, index: u32, word: u32): void { store<u32>(array + (index << 2), word); }

function batches(sizes: usize, n: u32, rounds: u32, scratch: usize, batch: u32): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < rounds; round += 1) {
    for (let first: u32 = 0; first < n; first += batch) {
      for (let i: u32 = 0; i < batch; i += 1) {
        const chunk = heap.alloc(get(sizes, first + i));
        sum += chunk;
        set(scratch, i, chunk);
      }
      for (let i: u32 = batch; i > 0; i -= 1) heap.free(get(scratch, i - 1));
    }
  }
  return sum;
}

export function allocreset(c: u32, sizes: u32, x: u32, n: u32, rounds: u32, scratch: u32): u32 {
  return batches(sizes, n, rounds, scratch, n);
}

export function lifo(c: u32, sizes: u32, x: u32, n: u32, rounds: u32, scratch: u32): u32 {
  return batches(sizes, n, rounds, scratch, 100);
}

export function tuple(c: u32, sizes: u32, x: u32, n: u32, rounds: u32, scratch: u32): u32 {
  return batches(sizes, n, rounds, scratch, 10);
}

export function pairs(c: u32, sizes: u32, x: u32, n: u32, rounds: u32, scratch: u32): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < rounds; round += 1) {
    for (let i: u32 = 0; i < n; i += 1) {
      const chunk = heap.alloc(get(sizes, i));
      sum += chunk;
      heap.free(chunk);
    }
  }
  return sum;
}

export function random(c: u32, sizes: u32, indices: u32, n: u32, rounds: u32, live: u32): u32 {
  let sum: u32 = 0;
  for (let round: u32 = 0; round < rounds; round += 1) {
    for (let i: u32 = 0; i < n; i += 1) {
      const slot = get(indices, i);
      if (get(live, slot) != 0) heap.free(get(live, slot));
      const chunk = heap.alloc(get(sizes, i));
      sum += chunk;
      set(live, slot, chunk);
    }
  }
  return sum;
}
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
