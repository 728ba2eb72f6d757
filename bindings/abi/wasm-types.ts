/**
 * The few WebAssembly shapes palloc touches, declared structurally, so that the published types
 * compile without the DOM library (which is where TypeScript keeps `WebAssembly`).
 */

/** A compiled module; a `WebAssembly.Module` fits. */
export interface WasmModule {
  readonly [Symbol.toStringTag]?: string;
}

/** A linear memory; a `WebAssembly.Memory` fits. */
export interface WasmMemory<Buffer extends ArrayBufferLike = ArrayBufferLike> {
  readonly buffer: Buffer;
  grow(pages: number): number;
}

interface WasmMemoryDescriptor {
  readonly initial: number;
  readonly maximum: number;
  readonly shared?: boolean;
}

interface WasmNamespace {
  readonly Memory: new (descriptor: WasmMemoryDescriptor) => WasmMemory;
  readonly Module: (new (
    bytes: Uint8Array,
  ) => WasmModule) & {
    exports(module: WasmModule): { name: string; kind: string }[];
    customSections(module: WasmModule, name: string): ArrayBuffer[];
    imports(module: WasmModule): { module: string; name: string; kind: string }[];
  };
  readonly Global: new (type: { value: "i32"; mutable?: boolean }, value: number) => object;
  readonly Table: new (type: { element: "anyfunc"; initial: number }) => object;
  compile(bytes: Uint8Array): Promise<WasmModule>;
}

/** The engine's `WebAssembly` object. */
export const wasm: WasmNamespace = (globalThis as unknown as { WebAssembly: WasmNamespace })
  .WebAssembly;
