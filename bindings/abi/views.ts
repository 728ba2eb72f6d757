/**
 * Typed arrays over a whole wasm memory. A private memory that grows empties every view of it;
 * these are made anew when that has happened, so ask for them again after a call that may
 * allocate. In a memory reserved in full, the default, they last as long as the memory.
 */

import type { WasmMemory } from "./wasm-types.ts";

/** The views of one memory; each access returns one that is valid until the memory grows. */
export class MemoryViews {
  readonly #memory: WasmMemory;
  #u8: Uint8Array;
  #u16: Uint16Array;
  #i32: Int32Array;
  #u32: Uint32Array;
  #f64: Float64Array;

  constructor(memory: WasmMemory) {
    const { buffer } = memory;
    this.#memory = memory;
    this.#u8 = new Uint8Array(buffer);
    this.#u16 = new Uint16Array(buffer);
    this.#i32 = new Int32Array(buffer);
    this.#u32 = new Uint32Array(buffer);
    this.#f64 = new Float64Array(buffer);
  }

  /** The memory as bytes. */
  get u8(): Uint8Array {
    if (this.#u8.length === 0) this.#renew();
    return this.#u8;
  }

  /** The memory as 16-bit words; index is address / 2. */
  get u16(): Uint16Array {
    if (this.#u16.length === 0) this.#renew();
    return this.#u16;
  }

  /** The memory as signed 32-bit words; index is address / 4. */
  get i32(): Int32Array {
    if (this.#i32.length === 0) this.#renew();
    return this.#i32;
  }

  /** The memory as unsigned 32-bit words; index is address / 4. */
  get u32(): Uint32Array {
    if (this.#u32.length === 0) this.#renew();
    return this.#u32;
  }

  /** The memory as doubles; index is address / 8. */
  get f64(): Float64Array {
    if (this.#f64.length === 0) this.#renew();
    return this.#f64;
  }

  /** A view of nothing has been emptied by growth: the memory itself is never of length 0. */
  #renew(): void {
    const { buffer } = this.#memory;
    this.#u8 = new Uint8Array(buffer);
    this.#u16 = new Uint16Array(buffer);
    this.#i32 = new Int32Array(buffer);
    this.#u32 = new Uint32Array(buffer);
    this.#f64 = new Float64Array(buffer);
  }
}
