// Proves what "private" means. Two memories share nothing: no operation on one ever changes a byte
// of the other, and a pointer of one that is no chunk in the other is refused there and changes
// nothing.
//
// A pointer is a number, so an address that happens to be a chunk in both memories cannot be told
// from one's own. What is promised then: the memory that is called does to its own chunk what it
// was asked to, its heap stays whole, and the memory the pointer came from does not change.

import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { InvalidPointerError } from "../../bindings/abi/errors.ts";
import type { ChunkPtr } from "../../bindings/abi/pointers.ts";
import type { MemoryContext } from "../../bindings/process/context.ts";
import type { ProcessMemory } from "../../bindings/process/memory.ts";
import { builds, bytesOf, isUnchanged, openMemory } from "../support/process.ts";
import { Random, seed } from "../support/random.ts";

/** Every operation that takes a chunk. */
const operations: readonly ((memory: ProcessMemory, chunk: ChunkPtr) => unknown)[] = [
  (memory, chunk) => memory.chunkContext(chunk),
  (memory, chunk) => memory.chunkSpace(chunk),
  (memory, chunk) => memory.realloc(chunk, 8),
  (memory, chunk) => memory.realloc(chunk, 100_000),
  (memory, chunk) => memory.reallocExtended(chunk, 200, 2),
  (memory, chunk) => memory.free(chunk),
];

/** Fills a memory with contexts and chunks of every kind; where the chunks are. */
function inhabit(memory: ProcessMemory, random: Random): ChunkPtr[] {
  const slab = memory.top.createSlab("slab", { chunkSize: 100 });
  const chunks = Array.from({ length: 50 }, () => slab.alloc(100));
  const others = [
    memory.top.createChild("general"),
    memory.top.createGeneration("generation"),
    memory.top.createBump("bump"),
  ];
  for (let round = 0; round < 300; round += 1) {
    const context = random.pick(others);
    const bytes = 4 + random.below(random.pick([50, 500, 12_000]));
    const chunk = random.below(10) === 0 ? context.allocAligned(bytes, 256) : context.alloc(bytes);
    if (chunk !== 0) chunks.push(chunk);
  }
  for (const chunk of chunks) memory.u8.fill(random.next(), chunk, chunk + 4);
  return chunks;
}

/** A memory whose only chunks of its own are one of 2 MB of random bytes and those of the start. */
function fieldOf(checked: boolean, random: Random): ProcessMemory {
  const { memory } = openMemory(checked, { maxMemory: "4MB" });
  const field = memory.top.alloc(2 ** 21);
  for (let word = 0; word < 2 ** 19; word += 1) memory.u32[(field >>> 2) + word] = random.next();
  return memory;
}

describe.each(builds)("two memories in one thread (%s)", (_, checked) => {
  it("pointers of one change no byte of the other, and are refused there", () => {
    const random = new Random(seed);
    const from = openMemory(checked, { maxMemory: "4MB" }).memory;
    const chunks = inhabit(from, random);
    const to = fieldOf(checked, random);
    const before = bytesOf(to);
    const beforeFrom = bytesOf(from);
    for (const chunk of chunks) {
      for (const operation of operations) {
        expect(() => operation(to, chunk), `seed ${seed}`).toThrow(InvalidPointerError);
      }
    }
    expect(isUnchanged(to, before)).toBe(true);
    expect(isUnchanged(from, beforeFrom)).toBe(true);
  });

  it("an address that is a chunk in both is the called memory's own chunk", () => {
    const [one, other] = [0, 1].map(() => openMemory(checked));
    if (one === undefined || other === undefined) throw new Error("there are two");
    const chunks = inhabit(one.memory, new Random(seed));
    expect(inhabit(other.memory, new Random(seed))).toEqual(chunks);
    const before = bytesOf(one.memory);
    for (const [index, chunk] of chunks.entries()) {
      const operation = operations[index % operations.length];
      try {
        operation?.(other.memory, chunk);
      } catch (error) {
        // Chunks of bump contexts have no header, those of slabs no other size.
        expect((error as { code?: string }).code).toBe("XX000");
      }
      expect(other.inside.exports.checkHeap()).toBe(0);
    }
    expect(isUnchanged(one.memory, before)).toBe(true);
    expect(one.inside.exports.checkHeap()).toBe(0);
  });

  it("contexts of one cannot be used with the other", () => {
    const [one, other] = [openMemory(checked).memory, openMemory(checked).memory];
    const [mine, theirs] = [one.top.createChild("mine"), other.top.createChild("theirs")];
    const [before, beforeOther] = [bytesOf(one), bytesOf(other)];
    expect(() => mine.setParent(theirs)).toThrow(TypeError);
    expect(() => theirs.setParent(mine)).toThrow(TypeError);
    expect(() => one.statsText(theirs)).toThrow(TypeError);
    expect(isUnchanged(one, before)).toBe(true);
    expect(isUnchanged(other, beforeOther)).toBe(true);
  });

  it("work, exhaustion and disposal of one do not reach the other", () => {
    const one = openMemory(checked, { maxMemory: "1MB" }).memory;
    const other = openMemory(checked, { maxMemory: "1MB" });
    const chunks = inhabit(other.memory, new Random(seed));
    const before = bytesOf(other.memory);
    const hog: MemoryContext = one.top.createChild("hog");
    expect(() => {
      for (;;) hog.alloc(10_000);
    }).toThrow("out of memory");
    one.dispose();
    expect(isUnchanged(other.memory, before)).toBe(true);
    for (const chunk of chunks.slice(0, 50)) other.memory.free(chunk);
    expect(other.inside.exports.checkHeap()).toBe(0);
  });
});

describe("two memories in two workers", () => {
  const url = new URL("worker.mjs", import.meta.url);

  /** Asks a worker one thing. */
  async function ask(worker: Worker, request: unknown): Promise<unknown> {
    return await new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.postMessage(request);
    });
  }

  it.each(builds)(
    "pointers of one change no byte of the other, and are refused there (%s)",
    async (_, checked) => {
      const workers = [0, 1].map(() => new Worker(url, { workerData: { checked } }));
      const [one, other] = workers;
      if (one === undefined || other === undefined) throw new Error("there are two");
      // Each has chunks where the other has plain bytes.
      const places = [await ask(one, { inhabit: 0 }), await ask(other, { inhabit: 1 })];
      const answers = await Promise.all([
        ask(one, { offer: places[1] }),
        ask(other, { offer: places[0] }),
      ]);
      for (const answer of answers) {
        expect(answer).toEqual({ refused: 6 * 200, unchanged: true, heap: 0 });
      }
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
    30_000,
  );
});
