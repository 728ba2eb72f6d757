// Slab contexts once more: blocks are objects in arrays, first is next, and free chunks a stack.

import {
  CHUNK_HEADER_BYTES,
  KIND_SLAB,
  SLAB_BLOCK_HEADER_BYTES,
  SLAB_CONTEXT_BYTES,
  SLAB_LISTS,
  SLAB_MAX_EMPTY_BLOCKS,
  SLAB_MIN_CHUNK_BYTES,
} from "../../assembly/common/constants.ts";
import type { BlockTwin } from "./blocks.ts";
import {
  aligned,
  headerOffset,
  IS_RESET,
  KIND,
  MEM_ALLOCATED,
  type TwinKind,
  type TwinStatistics,
  writeHeader,
} from "./kind.ts";

interface Block {
  readonly address: number;
  readonly owner: Slab;
  /** Freed chunks, the last one freed last. */
  readonly freed: number[];
  /** How many chunks were ever used. */
  used: number;
}

interface Slab {
  readonly address: number;
  readonly chunk: number;
  readonly full: number;
  readonly blockBytes: number;
  readonly perBlock: number;
  /** Room of one list: the number of free chunks that one step in the list number stands for. */
  readonly step: number;
  /** Blocks by room; the first list is that of the full ones. */
  readonly lists: Block[][];
  /** Blocks whose chunks are all free. */
  empty: Block[];
  current: number;
}

/** Every slab context of a memory. */
export class SlabTwin implements TwinKind {
  readonly #blocks: BlockTwin;
  readonly #words: Int32Array;
  readonly #contexts = new Map<number, Slab>();
  readonly #blockAt = new Map<number, Block>();

  constructor(blocks: BlockTwin) {
    this.#blocks = blocks;
    this.#words = blocks.words;
  }

  /** Address of a context, or 0. At least one chunk fits a block. */
  create(blockBytes: number, chunkBytes: number): number {
    const address = this.#blocks.request(SLAB_CONTEXT_BYTES);
    if (address === 0) return 0;
    const chunk = Math.max(chunkBytes, SLAB_MIN_CHUNK_BYTES);
    const full = aligned(chunk) + CHUNK_HEADER_BYTES;
    const perBlock = Math.floor((blockBytes - SLAB_BLOCK_HEADER_BYTES) / full);
    let step = 1;
    while (Math.floor(perBlock / step) >= SLAB_LISTS - 1) step *= 2;
    const lists: Block[][] = Array.from({ length: SLAB_LISTS }, () => []);
    this.#contexts.set(address, {
      ...{ address, chunk, full, blockBytes, perBlock, step },
      ...{ lists, empty: [], current: 0 },
    });
    this.#words[(address >> 2) + KIND] = KIND_SLAB;
    this.#words[(address >> 2) + IS_RESET] = 1;
    this.#words[(address >> 2) + MEM_ALLOCATED] = 0;
    return address;
  }

  /** The only size that can be asked for. */
  chunkBytes(context: number): number {
    return this.#contextOf(context).chunk;
  }

  alloc(context: number, bytes: number): number {
    const set = this.#contextOf(context);
    this.#words[(context >> 2) + IS_RESET] = 0;
    if (bytes !== set.chunk) return 0;
    const block = set.current === 0 ? this.#takeBlock(set) : set.lists[set.current]?.[0];
    if (block === undefined) return 0;
    const from = set.current;
    const chunk = block.freed.pop() ?? this.#cut(block);
    const to = listOf(block);
    if (from === 0) {
      listAt(set, to).unshift(block);
      set.current = to;
    } else if (to !== from) {
      take(set, from, block);
      listAt(set, to).unshift(block);
      if (listAt(set, from).length === 0) set.current = firstWithRoom(set);
    }
    return chunk;
  }

  free(chunk: number): void {
    const block = this.#blockOf(chunk);
    const set = block.owner;
    const from = listOf(block);
    block.freed.push(chunk);
    const to = listOf(block);
    if (to !== from) {
      take(set, from, block);
      listAt(set, to).unshift(block);
      if (set.current >= from) set.current = firstWithRoom(set);
    }
    if (freeCount(block) < set.perBlock) return;
    take(set, to, block);
    if (set.empty.length < SLAB_MAX_EMPTY_BLOCKS) set.empty.unshift(block);
    else this.#giveBack(block);
    if (listAt(set, set.current).length === 0) set.current = firstWithRoom(set);
  }

  realloc(chunk: number, bytes: number): number {
    return bytes === this.#blockOf(chunk).owner.chunk ? chunk : 0;
  }

  chunkSpace(chunk: number): number {
    return this.#blockOf(chunk).owner.full;
  }

  chunkContext(chunk: number): number {
    return this.#blockOf(chunk).owner.address;
  }

  isEmpty(context: number): boolean {
    const set = this.#contextOf(context);
    return set.empty.length === 0 && set.lists.every((list) => list.length === 0);
  }

  reset(context: number): void {
    const set = this.#contextOf(context);
    for (const block of [...set.empty, ...set.lists.flat()]) this.#giveBack(block);
    set.empty = [];
    for (const list of set.lists) list.length = 0;
    set.current = 0;
  }

  destroy(context: number): void {
    this.reset(context);
    this.#contexts.delete(context);
    this.#blocks.release(context, SLAB_CONTEXT_BYTES);
  }

  statistics(context: number): TwinStatistics {
    const set = this.#contextOf(context);
    const listed = set.lists.flat();
    const total = SLAB_CONTEXT_BYTES + (listed.length + set.empty.length) * set.blockBytes;
    const chunks = listed.reduce((sum, block) => sum + freeCount(block), 0);
    const free = chunks * set.full;
    return [listed.length, total, free, chunks, total - free, 0, set.empty.length];
  }

  #takeBlock(set: Slab): Block | undefined {
    const kept = set.empty.shift();
    if (kept !== undefined) return kept;
    const address = this.#blocks.request(set.blockBytes);
    if (address === 0) return undefined;
    const block: Block = { address, owner: set, freed: [], used: 0 };
    this.#blockAt.set(address, block);
    this.#account(set, set.blockBytes);
    return block;
  }

  /** The next chunk that was never used. */
  #cut(block: Block): number {
    const { full, chunk: bytes } = block.owner;
    const offset = SLAB_BLOCK_HEADER_BYTES + block.used * full;
    const chunk = block.address + offset + CHUNK_HEADER_BYTES;
    block.used += 1;
    writeHeader(this.#words, chunk, { kind: KIND_SLAB, value: aligned(bytes), offset });
    return chunk;
  }

  #giveBack(block: Block): void {
    const { owner, address } = block;
    this.#blockAt.delete(address);
    this.#account(owner, -owner.blockBytes);
    this.#blocks.release(address, owner.blockBytes);
  }

  #account(set: Slab, bytes: number): void {
    const at = (set.address >> 2) + MEM_ALLOCATED;
    this.#words[at] = (this.#words[at] ?? 0) + bytes;
  }

  #blockOf(chunk: number): Block {
    const block = this.#blockAt.get(chunk - CHUNK_HEADER_BYTES - headerOffset(this.#words, chunk));
    if (block === undefined) throw new Error(`no slab chunk at ${chunk}`);
    return block;
  }

  #contextOf(context: number): Slab {
    const set = this.#contexts.get(context);
    if (set === undefined) throw new Error(`no slab context at ${context}`);
    return set;
  }
}

/** Chunks of a block that can be given out. */
function freeCount({ owner, freed, used }: Block): number {
  return owner.perBlock - used + freed.length;
}

/** Number of the list a block belongs to. */
function listOf(block: Block): number {
  return Math.ceil(freeCount(block) / block.owner.step);
}

function listAt(set: Slab, index: number): Block[] {
  const list = set.lists[index];
  if (list === undefined) throw new Error(`no list ${index}`);
  return list;
}

function take(set: Slab, index: number, block: Block): void {
  const list = listAt(set, index);
  list.splice(list.indexOf(block), 1);
}

/** Lowest list with room that has a block; 0 if there is none. */
function firstWithRoom(set: Slab): number {
  const index = set.lists.findIndex((list, number) => number > 0 && list.length > 0);
  return Math.max(index, 0);
}
