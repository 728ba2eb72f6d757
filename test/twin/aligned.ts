// Aligned chunks once more: a header of their own inside a larger chunk of any kind.

import { CHUNK_HEADER_BYTES, KIND_ALIGNED, MAX_ALIGN } from "../../assembly/common/constants.ts";
import { headerOffset, headerValue, writeHeader } from "./kind.ts";

/** The memory whose chunks are made larger. */
export interface AlignedHost {
  readonly words: Int32Array;
  allocExtended(context: number, bytes: number, flags: number): number;
  free(chunk: number): number;
  chunkSpace(chunk: number): number;
  chunkContext(chunk: number): number;
}

/** Every aligned chunk of a memory. */
export class AlignedTwin {
  readonly #host: AlignedHost;

  constructor(host: AlignedHost) {
    this.#host = host;
  }

  /** Address of a chunk at a multiple of `alignment`, or 0. */
  alloc(context: number, bytes: number, alignment: number, flags: number): number {
    if (alignment <= MAX_ALIGN) return this.#host.allocExtended(context, bytes, flags);
    const inner = this.#host.allocExtended(context, bytes + alignment, flags);
    if (inner === 0) return 0;
    const least = inner + CHUNK_HEADER_BYTES;
    const chunk = Math.ceil(least / alignment) * alignment;
    const offset = chunk - CHUNK_HEADER_BYTES - inner;
    writeHeader(this.#host.words, chunk, { kind: KIND_ALIGNED, value: alignment, offset });
    return chunk;
  }

  free(chunk: number): number {
    return this.#host.free(this.inner(chunk));
  }

  /** Always moves. */
  realloc(chunk: number, bytes: number): number {
    const context = this.#host.chunkContext(this.inner(chunk));
    const alignment = headerValue(this.#host.words, chunk);
    const moved = this.alloc(context, bytes, alignment, 0);
    if (moved !== 0) this.free(chunk);
    return moved;
  }

  /** The larger chunk around this one. */
  inner(chunk: number): number {
    return chunk - CHUNK_HEADER_BYTES - headerOffset(this.#host.words, chunk);
  }
}
