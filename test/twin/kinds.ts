// All kinds of context that are not general, and aligned chunks, behind one door.

import {
  CHUNK_HEADER_BYTES,
  KIND_ALIGNED,
  KIND_BUMP,
  KIND_GENERATION,
  KIND_SLAB,
  MAX_ALLOC_BYTES,
} from "../../assembly/common/constants.ts";
import { type AlignedHost, AlignedTwin } from "./aligned.ts";
import type { BlockTwin } from "./blocks.ts";
import { BumpTwin } from "./bump.ts";
import { GenerationTwin } from "./generation.ts";
import { KIND, type TwinKind } from "./kind.ts";
import { SlabTwin } from "./slab.ts";

/** The kind in the low word of a chunk's header. */
const KIND_BITS = 15;

/** The other kinds of one memory. */
export class TwinKinds {
  readonly generations: GenerationTwin;
  readonly slabs: SlabTwin;
  readonly bumps: BumpTwin;
  readonly aligned: AlignedTwin;
  readonly #host: AlignedHost;
  readonly #byNumber: ReadonlyMap<number, TwinKind>;

  constructor(host: AlignedHost, blocks: BlockTwin) {
    this.#host = host;
    this.generations = new GenerationTwin(blocks);
    this.slabs = new SlabTwin(blocks);
    this.bumps = new BumpTwin(blocks);
    this.aligned = new AlignedTwin(host);
    this.#byNumber = new Map<number, TwinKind>([
      [KIND_GENERATION, this.generations],
      [KIND_SLAB, this.slabs],
      [KIND_BUMP, this.bumps],
    ]);
  }

  /** The kind of a context; undefined if it is general or none. */
  of(context: number): TwinKind | undefined {
    return this.#byNumber.get(this.#host.words[(context >> 2) + KIND] as number);
  }

  /** 0, or -1 for what is no chunk of these. */
  free(chunk: number): number {
    const number = this.#numberOf(chunk);
    if (number === KIND_ALIGNED) return this.aligned.free(chunk);
    const kind = this.#byNumber.get(number);
    if (kind === undefined || number === KIND_BUMP) return -1;
    kind.free(chunk);
    return 0;
  }

  /** The chunk, moved or not, or 0 and it is as before. */
  realloc(chunk: number, bytes: number): number {
    const number = this.#numberOf(chunk);
    if (number === KIND_ALIGNED) return this.aligned.realloc(chunk, bytes);
    return this.#byNumber.get(number)?.realloc(chunk, bytes, MAX_ALLOC_BYTES) ?? 0;
  }

  /** Bytes a chunk occupies; undefined if it is not of these. */
  chunkSpace(chunk: number): number | undefined {
    const number = this.#numberOf(chunk);
    if (number === KIND_ALIGNED) return this.#host.chunkSpace(this.aligned.inner(chunk));
    return this.#byNumber.get(number)?.chunkSpace(chunk);
  }

  /** The context of a chunk; undefined if it is not of these. */
  chunkContext(chunk: number): number | undefined {
    const number = this.#numberOf(chunk);
    if (number === KIND_ALIGNED) return this.#host.chunkContext(this.aligned.inner(chunk));
    return this.#byNumber.get(number)?.chunkContext(chunk);
  }

  #numberOf(chunk: number): number {
    return (this.#host.words[(chunk - CHUNK_HEADER_BYTES) >> 2] as number) & KIND_BITS;
  }
}
