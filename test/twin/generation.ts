// Generation contexts once more: blocks are objects, chunks are headers in the words.

import {
  CHUNK_HEADER_BYTES,
  CHUNK_MAX_VALUE,
  GENERATION_BLOCK_HEADER_BYTES,
  GENERATION_CHUNK_FRACTION,
  GENERATION_CONTEXT_BYTES,
  KIND_GENERATION,
} from "../../assembly/common/constants.ts";
import type { BlockTwin } from "./blocks.ts";
import {
  aligned,
  headerOffset,
  headerValue,
  IS_RESET,
  isExternal,
  KIND,
  MEM_ALLOCATED,
  powerOfTwo,
  type TwinKind,
  type TwinStatistics,
  writeExternal,
  writeHeader,
} from "./kind.ts";

interface Block {
  readonly address: number;
  readonly end: number;
  /** Address of the context. */
  readonly owner: number;
  /** Chunks cut, and those of them that were freed. */
  cut: number;
  freed: number;
  free: number;
}

interface Generation {
  readonly address: number;
  readonly keeper: Block;
  readonly init: number;
  readonly max: number;
  readonly limit: number;
  next: number;
  active: Block;
  spare: Block | null;
  /** Newest first. */
  blocks: Block[];
}

/** Every generation context of a memory. */
export class GenerationTwin implements TwinKind {
  readonly #blocks: BlockTwin;
  readonly #words: Int32Array;
  readonly #contexts = new Map<number, Generation>();
  readonly #blockAt = new Map<number, Block>();

  constructor(blocks: BlockTwin) {
    this.#blocks = blocks;
    this.#words = blocks.words;
  }

  /** Address of a context, or 0. */
  create(min: number, init: number, max: number): number {
    const first = min === 0 ? init : min;
    const address = this.#blocks.request(first);
    if (address === 0) return 0;
    const keeper: Block = {
      ...emptyBlock(address + GENERATION_CONTEXT_BYTES, address + first),
      owner: address,
    };
    this.#contexts.set(address, {
      ...{ address, keeper, init, max, limit: chunkLimitFor(max) },
      ...{ next: init, active: keeper, spare: null, blocks: [keeper] },
    });
    this.#blockAt.set(keeper.address, keeper);
    this.#words[(address >> 2) + KIND] = KIND_GENERATION;
    this.#words[(address >> 2) + IS_RESET] = 1;
    this.#words[(address >> 2) + MEM_ALLOCATED] = first - GENERATION_CONTEXT_BYTES;
    return address;
  }

  alloc(context: number, bytes: number, limit: number): number {
    const set = this.#contextOf(context);
    this.#words[(context >> 2) + IS_RESET] = 0;
    if (bytes > limit) return 0;
    const size = aligned(bytes);
    if (size > set.limit) return this.#allocDedicated(set, size);
    const need = size + CHUNK_HEADER_BYTES;
    const block = this.#blockWithRoom(set, need);
    if (block === null) return 0;
    set.active = block;
    const chunk = block.free + CHUNK_HEADER_BYTES;
    const offset = block.free - block.address;
    writeHeader(this.#words, chunk, { kind: KIND_GENERATION, value: size, offset });
    block.free += need;
    block.cut += 1;
    return chunk;
  }

  free(chunk: number): void {
    const block = this.#blockOf(chunk);
    const set = this.#contextOf(block.owner);
    block.freed += 1;
    if (block.freed < block.cut) return;
    if (block === set.keeper || block === set.active || set.spare === null) {
      Object.assign(block, emptyBlock(block.address, block.end));
      if (block !== set.keeper && block !== set.active) set.spare = block;
      return;
    }
    set.blocks.splice(set.blocks.indexOf(block), 1);
    this.#giveBack(block);
  }

  realloc(chunk: number, bytes: number, limit: number): number {
    if (bytes <= this.chunkSpace(chunk) - CHUNK_HEADER_BYTES) return chunk;
    const moved = this.alloc(this.chunkContext(chunk), bytes, limit);
    if (moved !== 0) this.free(chunk);
    return moved;
  }

  chunkSpace(chunk: number): number {
    if (!isExternal(this.#words, chunk)) {
      return headerValue(this.#words, chunk) + CHUNK_HEADER_BYTES;
    }
    return this.#blockOf(chunk).end - chunk + CHUNK_HEADER_BYTES;
  }

  chunkContext(chunk: number): number {
    return this.#blockOf(chunk).owner;
  }

  isEmpty(context: number): boolean {
    return this.#contextOf(context).blocks.every(({ cut }) => cut === 0);
  }

  reset(context: number): void {
    const set = this.#contextOf(context);
    for (const block of set.blocks) if (block !== set.keeper) this.#giveBack(block);
    Object.assign(set.keeper, emptyBlock(set.keeper.address, set.keeper.end));
    set.blocks = [set.keeper];
    set.active = set.keeper;
    set.spare = null;
    set.next = set.init;
  }

  destroy(context: number): void {
    this.reset(context);
    const { keeper } = this.#contextOf(context);
    this.#contexts.delete(context);
    this.#blockAt.delete(keeper.address);
    this.#blocks.release(context, keeper.end - context);
  }

  statistics(context: number): TwinStatistics {
    const { blocks } = this.#contextOf(context);
    const sum = (of: (block: Block) => number): number =>
      blocks.reduce((total, block) => total + of(block), 0);
    const total = GENERATION_CONTEXT_BYTES + sum(({ address, end }) => end - address);
    const free = sum((block) => block.end - block.free);
    const freed = sum((block) => block.freed);
    return [blocks.length, total, free, freed, total - free, sum(({ cut }) => cut), 0];
  }

  /** Where the next chunk is cut: the active block, the spare, or a new one. */
  #blockWithRoom(set: Generation, need: number): Block | null {
    for (const block of [set.active, set.spare]) {
      if (block === null || block.end - block.free < need) continue;
      if (block === set.spare) set.spare = null;
      return block;
    }
    const required = need + GENERATION_BLOCK_HEADER_BYTES;
    const size = required > set.next ? powerOfTwo(required) : set.next;
    set.next = Math.min(set.next * 2, set.max);
    return this.#open(set, size);
  }

  #allocDedicated(set: Generation, size: number): number {
    const header = GENERATION_BLOCK_HEADER_BYTES + CHUNK_HEADER_BYTES;
    const block = this.#open(set, size + header);
    if (block === null) return 0;
    block.cut = 1;
    block.free = block.end;
    writeExternal(this.#words, block.address + header, KIND_GENERATION);
    return block.address + header;
  }

  #open(set: Generation, size: number): Block | null {
    const address = this.#blocks.request(size);
    if (address === 0) return null;
    const block: Block = { ...emptyBlock(address, address + size), owner: set.address };
    set.blocks.unshift(block);
    this.#blockAt.set(address, block);
    this.#account(set.address, size);
    return block;
  }

  #giveBack(block: Block): void {
    const size = block.end - block.address;
    this.#blockAt.delete(block.address);
    this.#account(block.owner, -size);
    this.#blocks.release(block.address, size);
  }

  #account(context: number, bytes: number): void {
    const at = (context >> 2) + MEM_ALLOCATED;
    this.#words[at] = (this.#words[at] ?? 0) + bytes;
  }

  #blockOf(chunk: number): Block {
    const header = chunk - CHUNK_HEADER_BYTES;
    const block = this.#blockAt.get(
      isExternal(this.#words, chunk)
        ? header - GENERATION_BLOCK_HEADER_BYTES
        : header - headerOffset(this.#words, chunk),
    );
    if (block === undefined) throw new Error(`no generation chunk at ${chunk}`);
    return block;
  }

  #contextOf(context: number): Generation {
    const set = this.#contexts.get(context);
    if (set === undefined) throw new Error(`no generation context at ${context}`);
    return set;
  }
}

function emptyBlock(address: number, end: number): Omit<Block, "owner"> {
  return { address, end, cut: 0, freed: 0, free: address + GENERATION_BLOCK_HEADER_BYTES };
}

function chunkLimitFor(max: number): number {
  const share = Math.floor((max - GENERATION_BLOCK_HEADER_BYTES) / GENERATION_CHUNK_FRACTION);
  let limit = Math.min(max, CHUNK_MAX_VALUE);
  while (limit + CHUNK_HEADER_BYTES > share) limit = Math.floor(limit / 2);
  return limit;
}
