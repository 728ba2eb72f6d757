/**
 * From the bytes inside the package to an instance, on Node and in browsers alike. The only file
 * that imports `@assemblyscript/loader`.
 *
 * The modules are compiled once per thread and build. Callers keep `instance.exports`: the loader's
 * own exports object wraps every call in a rest-argument function, which costs four times the call.
 */

import { instantiateSync } from "@assemblyscript/loader";
import { base64 as processChecked } from "./embedded/process-checked.ts";
import { base64 as processRelease } from "./embedded/process-release.ts";
import { base64 as sharedChecked } from "./embedded/shared-checked.ts";
import { base64 as sharedRelease } from "./embedded/shared-release.ts";
import { CorruptionError } from "./errors.ts";
import { type WasmMemory, type WasmModule, wasm } from "./wasm-types.ts";

/** The modules that ship, each in a release and a checked build. */
export type ModuleName = "process" | "shared";

const sources: Readonly<Record<ModuleName, Readonly<Record<"release" | "checked", string>>>> = {
  process: { release: processRelease, checked: processChecked },
  shared: { release: sharedRelease, checked: sharedChecked },
};

const compiled = new Map<string, WasmModule>();

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Compiles a module in the calling thread, or returns the one compiled before. */
export function compileSync(name: ModuleName, checked: boolean): WasmModule {
  const build = checked ? "checked" : "release";
  const key = `${name}-${build}`;
  let module = compiled.get(key);
  if (module === undefined) {
    module = new wasm.Module(bytesOf(sources[name][build]));
    compiled.set(key, module);
  }
  return module;
}

/**
 * As {@link compileSync}, off the calling thread: browsers refuse large synchronous compilations.
 */
export async function compile(name: ModuleName, checked: boolean): Promise<WasmModule> {
  const build = checked ? "checked" : "release";
  const key = `${name}-${build}`;
  const module = compiled.get(key) ?? (await wasm.compile(bytesOf(sources[name][build])));
  compiled.set(key, module);
  return module;
}

/** What a module may import besides its memory. */
export type HostFunctions = Readonly<Record<string, (...values: number[]) => number | undefined>>;

/**
 * Instantiates a module over a memory.
 *
 * @param host - functions the module imports as `host.*`; `panic` is supplied
 */
export function instantiate<Exports>(
  module: WasmModule,
  memory: WasmMemory,
  host: HostFunctions = {},
): Exports {
  const imports = { env: { memory }, host: { panic, ...host } };
  // The loader's types want DOM's WebAssembly.Module; ours is structural.
  const result = instantiateSync(module as never, imports as never) as unknown as {
    instance: { exports: Exports };
  };
  return result.instance.exports;
}

function panic(code: number): never {
  throw new CorruptionError(code);
}
