// Temporary files: what is read is what was written, in pieces of whatever size; a file takes one
// block of memory and nothing more; and however it ends, nothing is left in the storage.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Backend, TemporaryFile } from "../../bindings/index.ts";
import { codeOf, everywhere, openPool } from "../support/pool.ts";

const BLOCK_BYTES = 8192;

/** Appends bytes that tell their place, in pieces of the given sizes. */
function fill(backend: Backend, file: TemporaryFile, sizes: readonly number[]): void {
  const largest = Math.max(...sizes, 1);
  const at = backend.memory.top.alloc(largest);
  for (const size of sizes) {
    for (let i = 0; i < size; i += 1) backend.memory.u8[at + i] = byteAt(file.bytes + i);
    file.append(at, size);
  }
  backend.memory.free(at);
}

function byteAt(position: number): number {
  return (position * 31 + (position >>> 8)) & 0xff;
}

/** Reads pieces of the given size to the end; true if every byte is the one of its place. */
function isWhole(backend: Backend, file: TemporaryFile, piece: number): boolean {
  const at = backend.memory.top.alloc(piece);
  let position = 0;
  let whole = true;
  for (let read = file.read(at, piece); read > 0; read = file.read(at, piece)) {
    for (let i = 0; i < read; i += 1) {
      whole &&= backend.memory.u8[at + i] === byteAt(position + i);
    }
    position += read;
  }
  backend.memory.free(at);
  return whole && position === file.bytes;
}

describe.each(everywhere)("a temporary file, %s", (_, checked, files) => {
  it("gives back what was written, piece by piece", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const sizes = fc.array(fc.integer({ min: 0, max: 3 * BLOCK_BYTES }), { maxLength: 12 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 2 * BLOCK_BYTES }), (pieces, piece) => {
        using file = backend.createTemporaryFile();
        fill(backend, file, pieces);
        file.rewind();
        expect(isWhole(backend, file, piece)).toBe(true);
        file.rewind();
        expect(isWhole(backend, file, BLOCK_BYTES)).toBe(true);
      }),
      { numRuns: 25 },
    );
    expect(pool.storage.relationsSync()).toEqual([]);
  });

  it("takes one block of its context while it is written, and none while it waits", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const context = backend.memory.top.createChild("spill");
    const before = context.stats().usedBytes;
    // The header of the block that the chunk is cut from stays.
    const blocks = (): number => (context.stats().usedBytes - before) / BLOCK_BYTES;
    const file = backend.createTemporaryFile(context);
    expect(blocks()).toBe(0);
    fill(backend, file, [1]);
    expect(blocks()).toBeCloseTo(1, 1);
    fill(backend, file, [20 * BLOCK_BYTES]);
    expect(blocks()).toBeCloseTo(1, 1);
    file.rewind();
    expect(blocks()).toBeCloseTo(0, 1);
    file.read(backend.memory.top.alloc(16), 16);
    expect(blocks()).toBeCloseTo(1, 1);
    file.close();
    file.close();
    expect(blocks()).toBeCloseTo(0, 1);
    expect(pool.storage.relationsSync()).toEqual([]);
  });

  it("is written before it is read, and neither once it is closed", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const file = backend.createTemporaryFile();
    const at = backend.memory.top.alloc(8);
    expect(codeOf(() => file.read(at, 8))).toBe("55000");
    file.append(at, 8);
    file.rewind();
    expect(codeOf(() => file.append(at, 8))).toBe("55000");
    file.close();
    expect(() => file.read(at, 8)).toThrow("the temporary file is closed");
    expect(() => file.rewind()).toThrow("the temporary file is closed");
  });

  it("goes with its backend, and never has the number of another temporary thing", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const left = [backend.createTemporaryFile(), backend.createTemporaryFile()];
    backend.createRelationSync("t", { temporary: true });
    for (const file of left) fill(backend, file, [BLOCK_BYTES]);
    expect(new Set(pool.storage.relationsSync()).size).toBe(3);
    backend.detach();
    expect(pool.storage.relationsSync()).toEqual([]);
  });
});
