// Bump contexts once more. A chunk has no header; it is an address and nothing is known of it.

import {
  BUMP_BLOCK_HEADER_BYTES,
  BUMP_CHUNK_FRACTION,
  BUMP_CONTEXT_BYTES,
  CHUNK_MAX_VALUE,
  KIND_BUMP,
} from "../../assembly/common/constants.ts";
import type { BlockTwin } from "./blocks.ts";
import {
  aligned,
  IS_RESET,
  KIND,
  MEM_ALLOCATED,
  powerOfTwo,
  type TwinKind,
  type TwinStatistics,
} from "./kind.ts";

interface Block {
  readonly address: number;
  readonly end: number;
  free: number;
}

interface Bump {
  readonly address: number;
  readonly keeper: Block;
  readonly init: number;
  readonly max: number;
  readonly limit: number;
  next: number;
  /** Chunks are cut from the first. */
  blocks: Block[];
}

/** Every bump context of a memory. */
export class BumpTwin implements TwinKind {
  readonly #blocks: BlockTwin;
  readonly #words: Int32Array;
  readonly #contexts = new Map<number, Bump>();

  constructor(blocks: BlockTwin) {
    this.#blocks = blocks;
    this.#words = blocks.words;
  }

  /** Address of a context, or 0. */
  create(min: number, init: number, max: number): number {
    const first = min === 0 ? init : min;
    const address = this.#blocks.request(first);
    if (address === 0) return 0;
    const keeper = emptyBlock(address + BUMP_CONTEXT_BYTES, address + first);
    const limit = chunkLimitFor(max);
    this.#contexts.set(address, {
      ...{ address, keeper, init, max, limit },
      ...{ next: init, blocks: [keeper] },
    });
    this.#words[(address >> 2) + KIND] = KIND_BUMP;
    this.#words[(address >> 2) + IS_RESET] = 1;
    this.#words[(address >> 2) + MEM_ALLOCATED] = first;
    return address;
  }

  alloc(context: number, bytes: number, limit: number): number {
    const set = this.#contextOf(context);
    this.#words[(context >> 2) + IS_RESET] = 0;
    if (bytes > limit) return 0;
    const size = aligned(bytes);
    if (size > set.limit) return this.#allocDedicated(set, size);
    const block = this.#blockWithRoom(set, size);
    if (block === undefined) return 0;
    const chunk = block.free;
    block.free += size;
    return chunk;
  }

  free(chunk: number): never {
    throw new Error(`a bump chunk cannot be freed: ${chunk}`);
  }

  realloc(chunk: number): never {
    throw new Error(`a bump chunk cannot be resized: ${chunk}`);
  }

  chunkSpace(chunk: number): never {
    throw new Error(`the space of a bump chunk is not known: ${chunk}`);
  }

  chunkContext(chunk: number): never {
    throw new Error(`the context of a bump chunk is not known: ${chunk}`);
  }

  isEmpty(context: number): boolean {
    const { blocks } = this.#contextOf(context);
    return blocks.every(({ address, free }) => free === address + BUMP_BLOCK_HEADER_BYTES);
  }

  reset(context: number): void {
    const set = this.#contextOf(context);
    for (const block of set.blocks) if (block !== set.keeper) this.#giveBack(set, block);
    set.keeper.free = set.keeper.address + BUMP_BLOCK_HEADER_BYTES;
    set.blocks = [set.keeper];
    set.next = set.init;
  }

  destroy(context: number): void {
    this.reset(context);
    const { keeper } = this.#contextOf(context);
    this.#contexts.delete(context);
    this.#blocks.release(context, keeper.end - context);
  }

  statistics(context: number): TwinStatistics {
    const { blocks } = this.#contextOf(context);
    let total = 0;
    let free = 0;
    for (const block of blocks) {
      total += block.end - block.address;
      free += block.end - block.free;
    }
    return [blocks.length, total, free, 0, total - free, 0, 0];
  }

  /** The first block, or a new first one if that has no room. */
  #blockWithRoom(set: Bump, need: number): Block | undefined {
    const [first] = set.blocks;
    if (first !== undefined && first.end - first.free >= need) return first;
    const required = need + BUMP_BLOCK_HEADER_BYTES;
    const size = required > set.next ? powerOfTwo(required) : set.next;
    set.next = Math.min(set.next * 2, set.max);
    const block = this.#open(set, size);
    if (block !== undefined) set.blocks.unshift(block);
    return block;
  }

  #allocDedicated(set: Bump, size: number): number {
    const block = this.#open(set, size + BUMP_BLOCK_HEADER_BYTES);
    if (block === undefined) return 0;
    const chunk = block.free;
    block.free = block.end;
    set.blocks.push(block);
    return chunk;
  }

  #open(set: Bump, size: number): Block | undefined {
    const address = this.#blocks.request(size);
    if (address === 0) return undefined;
    this.#account(set, size);
    return emptyBlock(address, address + size);
  }

  #giveBack(set: Bump, { address, end }: Block): void {
    this.#account(set, address - end);
    this.#blocks.release(address, end - address);
  }

  #account(set: Bump, bytes: number): void {
    const at = (set.address >> 2) + MEM_ALLOCATED;
    this.#words[at] = (this.#words[at] ?? 0) + bytes;
  }

  #contextOf(context: number): Bump {
    const set = this.#contexts.get(context);
    if (set === undefined) throw new Error(`no bump context at ${context}`);
    return set;
  }
}

function emptyBlock(address: number, end: number): Block {
  return { address, end, free: address + BUMP_BLOCK_HEADER_BYTES };
}

function chunkLimitFor(max: number): number {
  const share = Math.floor((max - BUMP_BLOCK_HEADER_BYTES) / BUMP_CHUNK_FRACTION);
  let limit = Math.min(max, CHUNK_MAX_VALUE);
  while (limit > share) limit = Math.floor(limit / 2);
  return limit;
}
