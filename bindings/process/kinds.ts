/**
 * The kinds of context: what each needs to be made, checked before wasm is entered.
 */

import {
  MAX_ALIGNMENT_BYTES,
  SLAB_DEFAULT_BLOCK_BYTES,
  SLAB_LARGE_BLOCK_BYTES,
} from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { ProcessExports } from "../abi/process-exports.ts";
import {
  ALLOCSET_DEFAULT_SIZES,
  type ContextSizes,
  MAX_BLOCK_BYTES,
  parseBytes,
  resolveSizes,
} from "./sizes.ts";

/** Block size for slabs of small chunks: 8 kB. */
export const SLAB_DEFAULT_BLOCK_SIZE: number = SLAB_DEFAULT_BLOCK_BYTES;
/** Block size for slabs of large chunks: 8 MB. */
export const SLAB_LARGE_BLOCK_SIZE: number = SLAB_LARGE_BLOCK_BYTES;

/** The sizes of a slab context, in bytes. */
export interface SlabSizes {
  /** The only size that can be allocated; raised to 4 if smaller. */
  readonly chunkSize: number;
  /** Size of each block. Default {@link SLAB_DEFAULT_BLOCK_SIZE}. */
  readonly blockSize?: number;
}

/** How a context of one kind is made. @internal */
export interface ContextMaker {
  /** Bytes it asks for at once; for the error when there are none. */
  readonly firstBytes: number;
  /** Makes it under `parent`; its address, or 0. */
  make(exports: ProcessExports, parent: number, handle: number): number;
}

type Create = (parent: number, min: number, init: number, max: number, handle: number) => number;

function sized(sizes: ContextSizes, createOf: (exports: ProcessExports) => Create): ContextMaker {
  const { minContextSize, initBlockSize, maxBlockSize } = resolveSizes(sizes);
  return {
    firstBytes: minContextSize === 0 ? initBlockSize : minContextSize,
    make: (exports, parent, handle) =>
      createOf(exports)(parent, minContextSize, initBlockSize, maxBlockSize, handle),
  };
}

/** What nearly every context is made by. */
const ordinary = sized(ALLOCSET_DEFAULT_SIZES, ({ createContext }) => createContext);

/** A general context. @internal */
export function allocSet(sizes: ContextSizes): ContextMaker {
  if (sizes === ALLOCSET_DEFAULT_SIZES) return ordinary;
  return sized(sizes, ({ createContext }) => createContext);
}

/** A generation context. @internal */
export function generation(sizes: ContextSizes): ContextMaker {
  return sized(sizes, ({ createGeneration }) => createGeneration);
}

/** A bump context. @internal */
export function bump(sizes: ContextSizes): ContextMaker {
  return sized(sizes, ({ createBump }) => createBump);
}

/** A slab context. @throws {@link PallocError} XX000 if a block holds not one chunk. @internal */
export function slab(sizes: SlabSizes): ContextMaker {
  const { chunkSize, blockSize = SLAB_DEFAULT_BLOCK_SIZE } = sizes;
  parseBytes("chunkSize", chunkSize, 0, MAX_BLOCK_BYTES);
  parseBytes("blockSize", blockSize, 0, MAX_BLOCK_BYTES);
  return {
    firstBytes: blockSize,
    make: (exports, parent, handle) => {
      if (exports.slabChunksPerBlock(blockSize, chunkSize) !== 0) {
        return exports.createSlab(parent, blockSize, chunkSize, handle);
      }
      const message = `block size ${blockSize} for slab is too small for ${chunkSize}-byte chunks`;
      throw new PallocError("XX000", message, { hint: "Raise blockSize or lower chunkSize." });
    },
  };
}

/** @throws RangeError for what is no power of two below 128 MB. @internal */
export function checkAlignment(alignment: number): void {
  const isPower =
    Number.isInteger(alignment) && alignment > 0 && Number.isInteger(Math.log2(alignment));
  if (isPower && alignment < MAX_ALIGNMENT_BYTES) return;
  throw new RangeError(`an alignment is a power of two below 128 MB, not ${String(alignment)}`);
}
