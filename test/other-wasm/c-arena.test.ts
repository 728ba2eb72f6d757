// Proves that a module built elsewhere shares a process memory: the example in C, clang's binary,
// with static data, a stack and function pointers of its own, on both builds.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { ClosedError, InvalidPointerError, OutOfMemoryError } from "../../bindings/abi/errors.ts";
import { internals, type ProcessMemory } from "../../bindings/process/memory.ts";
import { builds, openMemory } from "../support/process.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = readFileSync(new URL("../../examples/c-arena/words.wasm", import.meta.url));
const module = new WebAssembly.Module(binary);

interface Words {
  room(bytes: number): number;
  count(text: number, length: number): void;
  first(order: number): number;
  forget(): void;
}

function open(memory: ProcessMemory): Words {
  const imports = memory.importsFor(module) as unknown as WebAssembly.Imports;
  return new WebAssembly.Instance(module, imports).exports as unknown as Words;
}

function count(memory: ProcessMemory, words: Words, text: string): void {
  const bytes = new TextEncoder().encode(text);
  const at = words.room(bytes.length) >>> 0;
  memory.u8.set(bytes, at);
  words.count(at, bytes.length);
}

function entryAt(memory: ProcessMemory, address: number): [word: string, count: number] {
  const [, word = 0, length = 0, times = 0] = memory.u32.subarray(address >>> 2);
  return [new TextDecoder().decode(memory.u8.subarray(word, word + length)), times];
}

describe.each(builds)("a C program in a %s memory", (_, checked) => {
  it("finds its static data, its stack and its function pointers in chunks of ours", () => {
    const { memory } = openMemory(checked);
    const words = open(memory);
    count(memory, words, "the owl and the pussycat of the owl");
    expect(entryAt(memory, words.first(0))).toEqual(["owl", 2]);
    expect(entryAt(memory, words.first(1))).toEqual(["pussycat", 1]);
  });

  it("allocates in a context whose handle and name JavaScript has", () => {
    const { memory } = openMemory(checked);
    const words = open(memory);
    count(memory, words, "a word");
    const [arena] = memory.top.children();
    expect(arena?.name).toBe("words");
    const entry = words.first(0) >>> 0;
    expect(memory.chunkContext(entry as never)).toBe(arena);
  });

  it("frees thousands of entries by one reset", () => {
    const { memory } = openMemory(checked);
    const words = open(memory);
    count(memory, words, "x");
    words.forget();
    const before = memory.top.stats(true).usedBytes;
    const many = Array.from({ length: 5000 }, (_word, index) => `w${letters(index)}`);
    count(memory, words, many.join(" "));
    expect(memory.top.stats(true).usedBytes).toBeGreaterThan(before + 5000 * 24);
    words.forget();
    expect(memory.top.stats(true).usedBytes).toBe(before);
    expect(internals(memory).exports.checkHeap()).toBe(0);
  });

  it("lets two instances stand side by side in one memory", () => {
    const { memory } = openMemory(checked);
    const [one, other] = [open(memory), open(memory)];
    count(memory, one, "left left left");
    count(memory, other, "right");
    expect(entryAt(memory, one.first(0))).toEqual(["left", 3]);
    expect(entryAt(memory, other.first(0))).toEqual(["right", 1]);
  });

  it("throws the error of the JavaScript side through the C frames when memory is out", () => {
    const { memory } = openMemory(checked, { maxMemory: "1MB" });
    const words = open(memory);
    expect(() => words.room(2_000_000)).toThrow(OutOfMemoryError);
    count(memory, words, "still usable");
    expect(internals(memory).exports.checkHeap()).toBe(0);
  });
});

function letters(index: number): string {
  return [...index.toString(26)]
    .map((digit) => String.fromCharCode(97 + parseInt(digit, 26)))
    .join("");
}

describe.each(builds)("memory.imports of a %s memory", (_, checked) => {
  it("allocates in top at first, and in the context that was switched to", () => {
    const { memory } = openMemory(checked);
    const { env } = memory.imports;
    const child = memory.top.createChild("child");
    expect(memory.chunkContext(env.palloc(8) as never)).toBe(memory.top);
    expect(env.context_switch(child.address)).toBe(memory.top.address);
    expect(memory.chunkContext(env.palloc(8) as never)).toBe(child);
    expect(env.context_switch(memory.top.address)).toBe(child.address);
  });

  it("falls back to the parent when the current context goes with one above it", () => {
    const { memory } = openMemory(checked);
    const { env } = memory.imports;
    const above = memory.top.createChild("above");
    env.context_switch(above.createChild("below").address);
    above.delete();
    expect(memory.chunkContext(env.palloc(8) as never)).toBe(memory.top);
    const kept = memory.top.createChild("kept");
    env.context_switch(kept.createChild("below").address);
    kept.reset();
    expect(memory.chunkContext(env.palloc(8) as never)).toBe(kept);
  });

  it("allocates where JavaScript switched to, and back when that is over", () => {
    const { memory } = openMemory(checked);
    const { env } = memory.imports;
    const [one, other] = [memory.top.createChild("one"), memory.top.createChild("other")];
    const ownerOfNext = (): unknown => memory.chunkContext(env.palloc(8) as never);
    memory.switchTo(one);
    expect(ownerOfNext()).toBe(one);
    memory.within(other, () => expect(ownerOfNext()).toBe(other));
    expect(ownerOfNext()).toBe(one);
    env.context_switch(other.address);
    expect(memory.current).toBe(other);
    memory.within(one, () => other.delete());
    expect(() => env.palloc(8)).toThrow(ClosedError);
  });

  it("resizes, clears and frees what it gave out", () => {
    const { memory } = openMemory(checked);
    const { env } = memory.imports;
    const chunk = env.palloc(16);
    memory.u8.fill(7, chunk, chunk + 16);
    const moved = env.repalloc(chunk, 4000);
    expect([...memory.u8.subarray(moved, moved + 16)]).toEqual(new Array(16).fill(7));
    env.pfree(moved);
    const cleared = env.palloc0(4000);
    expect(memory.u8.subarray(cleared, cleared + 4000).every((byte) => byte === 0)).toBe(true);
  });

  it("refuses what is no chunk and what is no context, with typed errors", () => {
    const { memory } = openMemory(checked);
    const { env } = memory.imports;
    for (const wrong of [0, 3, 4096, 0xfffffff8]) {
      expect(() => env.pfree(wrong)).toThrow(InvalidPointerError);
      expect(() => env.repalloc(wrong, 8)).toThrow(InvalidPointerError);
      expect(() => env.context_reset(wrong)).toThrow(ClosedError);
      expect(() => env.context_switch(wrong)).toThrow(ClosedError);
    }
    expect(() => env.palloc_in(0, 8)).toThrow(ClosedError);
    memory.dispose();
    expect(() => memory.imports).toThrow(ClosedError);
  });

  it("calls from wasm to wasm: palloc and its like are exports of our module", () => {
    const { memory } = openMemory(checked);
    const { exports } = internals(memory);
    expect(memory.imports.env.palloc).toBe(exports.palloc);
    expect(memory.imports.env.pfree).toBe(exports.pfree);
  });
});

describe("importsFor", () => {
  it("refuses a module that is not position-independent", () => {
    const { memory } = openMemory(false);
    const plain = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    expect(() => memory.importsFor(plain)).toThrow(TypeError);
  });
});

describe("examples/c-arena", () => {
  it("carries a binary of a few kilobytes that has no memory of its own", () => {
    expect(binary.length).toBeLessThan(4000);
    expect(WebAssembly.Module.imports(module).map(({ name }) => name)).toContain("memory");
  });

  it("prints what it counted when it runs by its own command", () => {
    const run = spawnSync(process.execPath, ["examples/c-arena/main.mjs", "to be or not to be"], {
      cwd: root,
      encoding: "utf8",
    });
    expect(run.stderr).toBe("");
    expect(run.stdout).toMatch(/^most frequent: (to|be), 2 times; longest: not\n/);
    expect(run.stdout).toContain("after it: 136 bytes");
  });
});
