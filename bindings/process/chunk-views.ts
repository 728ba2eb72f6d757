/**
 * Typed arrays, DataViews and bytes over a part of a memory.
 *
 * In a memory reserved in full, the default, a view is valid for the chunk's whole life: nothing
 * ever detaches it, and after the chunk is freed it shows what the memory is used for next. With
 * `initialMemory` below `maxMemory` a growth, which any allocation may cause, empties every view
 * made before; a {@link LastingView} makes its own anew.
 *
 * A view costs about a hundred nanoseconds to make. For a few values, use the views of the whole
 * memory, or a record.
 */

import { checkSize } from "./arrays.ts";

/** What views are made of. @internal */
export interface ViewSource {
  /** The whole memory as bytes, as it is now. */
  readonly u8: Uint8Array;
}

/** A constructor of views: `Uint8Array`, `Float64Array`, `BigInt64Array`, …, or `DataView`. */
export interface ViewType<View> {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): View;
  /** Bytes of an element; a `DataView` has none and is counted in bytes. */
  readonly BYTES_PER_ELEMENT?: number;
}

/** Rejects an address outside the memory, null, and a range that leaves it. @internal */
export function checkRange(u8: Uint8Array, address: number, bytes: number): void {
  checkSize("address", address);
  checkSize("length", bytes);
  if (address === 0 || address + bytes > u8.length) {
    throw new RangeError(`bytes ${address} to ${address + bytes} are not all inside the memory`);
  }
}

/** A view of `count` elements at `address`. @internal */
export function viewOf<View>(
  memory: ViewSource,
  type: ViewType<View>,
  address: number,
  count: number,
): View {
  const { u8 } = memory;
  checkSize("count", count);
  checkRange(u8, address, count * (type.BYTES_PER_ELEMENT ?? 1));
  // A misaligned address is a RangeError of the constructor's.
  return new type(u8.buffer, address, count);
}

/** A view that is made anew after the memory has grown; see {@link LastingView.view}. */
export class LastingView<View> {
  /** Where it begins. */
  readonly address: number;
  /** Elements; bytes for a `DataView`. */
  readonly count: number;
  readonly #memory: ViewSource;
  readonly #type: ViewType<View>;
  /** The memory's bytes when the view was made: empty once it has grown. */
  #viewed: Uint8Array;
  #view: View;

  /** Made by `memory.lastingView`. @internal */
  constructor(memory: ViewSource, type: ViewType<View>, address: number, count: number) {
    this.#memory = memory;
    this.#type = type;
    this.address = address;
    this.count = count;
    this.#viewed = memory.u8;
    this.#view = viewOf(memory, type, address, count);
  }

  /** The view, valid until the memory grows: ask again after a call that may allocate. */
  get view(): View {
    if (this.#viewed.length === 0) {
      this.#viewed = this.#memory.u8;
      this.#view = viewOf(this.#memory, this.#type, this.address, this.count);
    }
    return this.#view;
  }
}
