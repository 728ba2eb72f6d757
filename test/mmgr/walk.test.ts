// Proves that the heap walk sees damage: each case breaks one word and expects the code for it.

import { describe, expect, it } from "vitest";
import {
  ASET_CONTEXT_BYTES,
  BLOCK_STATISTICS_ADDRESS,
  CONTEXT_FIRST_CHILD_OFFSET,
  CONTEXT_KIND_OFFSET,
  CONTEXT_PARENT_OFFSET,
  PANIC_ACCOUNTING,
  PANIC_AREA_COUNT,
  PANIC_AREA_TAG,
  PANIC_AREA_TREE,
  PANIC_BLOCK_HEADER,
  PANIC_BLOCK_WALK,
  PANIC_CHUNK_HEADER,
  PANIC_CONTEXT_KIND,
  PANIC_CONTEXT_LINK,
  PANIC_FREE_LIST,
  PROCESS_HEADER_ADDRESS,
} from "../../assembly/common/constants.ts";
import { builds, openMemory } from "../support/process.ts";

/** Offsets of words that have no name outside wasm. */
const MEM_ALLOCATED = 8;
const FREE_LIST_OF_16 = 48 + 4;
const BLOCK_FREE = 12;
const BLOCK_MARK = 20;
const LIVE_BLOCKS = (BLOCK_STATISTICS_ADDRESS + 16) >>> 2;

/** Addresses in the small heap of a test. */
interface Places {
  readonly context: number;
  readonly keeper: number;
  readonly first: number;
  readonly second: number;
  readonly dedicated: number;
}

describe.each(builds)("the heap walk (%s)", (_, checked) => {
  /** A small heap, and the result of a walk after one word was overwritten. */
  function walkAfter(damage: (at: Places) => [number, number]): number {
    const { memory, inside } = openMemory(checked);
    const context = memory.top.createChild("walked");
    const first = context.alloc(16);
    const second = context.alloc(100);
    const dedicated = context.alloc(9_000);
    memory.free(first);
    context.createChild("below");
    expect(inside.exports.checkHeap()).toBe(0);
    const keeper = context.address + ASET_CONTEXT_BYTES;
    const places = { context: context.address, keeper, first, second, dedicated };
    const [at, word] = damage(places);
    memory.u32[at >>> 2] = word;
    return inside.exports.checkHeap();
  }

  it.each<[string, number, (at: Places) => [number, number]]>([
    ["a context's kind", PANIC_CONTEXT_KIND, (at) => [at.context + CONTEXT_KIND_OFFSET, 0]],
    ["a context's parent", PANIC_CONTEXT_LINK, (at) => [at.context + CONTEXT_PARENT_OFFSET, 0]],
    ["the accounting", PANIC_ACCOUNTING, (at) => [at.context + MEM_ALLOCATED, 1]],
    ["a block's mark", PANIC_BLOCK_HEADER, (at) => [at.keeper + BLOCK_MARK, 1]],
    ["a block's free pointer", PANIC_BLOCK_WALK, (at) => [at.keeper + BLOCK_FREE, at.second + 8]],
    ["a chunk's class", PANIC_CHUNK_HEADER, (at) => [at.second - 8, 0x7f]],
    ["a chunk's offset", PANIC_CHUNK_HEADER, (at) => [at.second - 4, 8]],
    ["a free list", PANIC_FREE_LIST, (at) => [at.context + FREE_LIST_OF_16, at.second - 8]],
    ["a free list that never ends", PANIC_FREE_LIST, (at) => [at.first, at.first - 8]],
    ["an area's size", PANIC_AREA_TAG, (at) => [at.context - 4, 64 + 1]],
  ])("finds %s", (_what, code, damage) => {
    expect(walkAfter(damage)).toBe(code);
  });

  it("finds that areas and blocks do not add up", () => {
    const { memory, inside } = openMemory(checked);
    memory.u32[LIVE_BLOCKS] = 7;
    expect(inside.exports.checkHeap()).toBe(PANIC_AREA_COUNT);
  });

  it("finds a free area that the tree has lost", () => {
    const { memory, inside } = openMemory(checked);
    const context = memory.top.createChild("tree");
    const chunk = context.alloc(20_000);
    context.alloc(20_000);
    memory.free(chunk);
    memory.u32[PROCESS_HEADER_ADDRESS >>> 2] = 0;
    expect(inside.exports.checkHeap()).toBe(PANIC_AREA_TREE);
  });

  it("finds a first child whose parent is another", () => {
    const { memory, inside } = openMemory(checked);
    const context = memory.top.createChild("parent");
    const child = context.createChild("child");
    memory.u32[(child.address + CONTEXT_PARENT_OFFSET) >>> 2] = memory.top.address;
    expect(inside.exports.checkHeap()).toBe(PANIC_CONTEXT_LINK);
    memory.u32[(context.address + CONTEXT_FIRST_CHILD_OFFSET) >>> 2] = 0;
    expect(inside.exports.checkHeap()).toBe(0);
  });
});
