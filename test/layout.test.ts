// Proves that docs/memory-layout.md draws what is there: the fields of each class lie where the
// compiler puts them, none is left out; named bits and constants have the values of constants.ts;
// the parts of a region are those of one that was really created; the drawing of a chunk header
// describes a chunk that was really allocated.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import * as activityConstants from "../assembly/common/activity-constants.ts";
import * as cacheConstants from "../assembly/common/cache-constants.ts";
import * as constants from "../assembly/common/constants.ts";
import * as ioConstants from "../assembly/common/io-constants.ts";
import * as lockConstants from "../assembly/common/lock-constants.ts";
import { structOf } from "./layout/struct.ts";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const document = readFileSync(at("../docs/memory-layout.md"), "utf8");
const values: Readonly<Record<string, number>> = {
  ...constants,
  ...cacheConstants,
  ...lockConstants,
  ...ioConstants,
  ...activityConstants,
};

interface Drawing {
  readonly title: string;
  readonly rows: readonly string[];
}

const drawings: Drawing[] = [...document.matchAll(/^```text\n([\s\S]*?)^```$/gm)].map(
  ([, text = ""]) => {
    const [title = "", ...rows] = text.trimEnd().split("\n");
    return { title, rows };
  },
);

function drawn(kind: string): Drawing[] {
  const found = drawings.filter(({ title }) => title.startsWith(kind));
  if (found.length === 0) throw new Error(`docs/memory-layout.md draws no ${kind}`);
  return found;
}

function cells(row: string): string[] {
  return row.trim().split(/\s+/);
}

type Call = (...values: number[]) => number;

/** The functions that the tests below call. */
interface WasmExports {
  readonly planRegion: Call;
  readonly regionPages: Call;
  readonly createRegion: Call;
  readonly initialize: Call;
  readonly createContext: Call;
  readonly createGeneration: Call;
  readonly createSlab: Call;
  readonly alloc: Call;
  readonly allocAligned: Call;
}

/** Whatever a module asks of its host: nothing here calls it. */
const host = new Proxy<WebAssembly.ModuleImports>({}, { get: () => () => 0 });

/** A release module over a memory of its own. */
function instance(module: string, memory: WebAssembly.Memory): WasmExports {
  const bytes = readFileSync(at(`../dist/wasm/${module}-release.wasm`));
  const imports = { env: { memory }, host };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports);
  return exports as unknown as WasmExports;
}

describe("docs/memory-layout.md", () => {
  it.each(drawn("class "))("draws every field where it lies: $title", async ({ title, rows }) => {
    const [, name = "", file = ""] = /^class (\w+), (\S+)$/.exec(title) ?? [];
    const { fields } = await structOf(file, name);
    const expected = fields.map((field) => [field.offset, field.bytes, field.name].join(" "));
    expect(rows.map((row) => cells(row).slice(0, 3).join(" "))).toEqual(expected);
  });

  it("draws a class inside the bytes that constants.ts reserves for it", async () => {
    const sizes = [
      ["assembly/mmgr/context.ts", "MemoryContext", constants.CONTEXT_HEADER_BYTES],
      ["assembly/mmgr/aset.ts", "AllocSet", constants.ASET_CONTEXT_BYTES],
      ["assembly/mmgr/aset-block.ts", "AllocBlock", constants.ASET_BLOCK_HEADER_BYTES],
      ["assembly/mmgr/generation.ts", "GenerationBlock", constants.GENERATION_BLOCK_HEADER_BYTES],
      ["assembly/mmgr/slab.ts", "SlabBlock", constants.SLAB_BLOCK_HEADER_BYTES],
      ["assembly/mmgr/bump.ts", "BumpBlock", constants.BUMP_BLOCK_HEADER_BYTES],
      ["assembly/mmgr/chunk.ts", "ChunkHeader", constants.CHUNK_HEADER_BYTES],
    ] as const;
    for (const [file, name, bytes] of sizes) {
      expect((await structOf(file, name)).bytes, name).toBe(bytes);
    }
    // PostgreSQL's headers have some bytes more; what lies behind begins where it does there.
    const roomy = [
      ["assembly/mmgr/generation.ts", "Generation", constants.GENERATION_CONTEXT_BYTES],
      ["assembly/mmgr/slab.ts", "Slab", constants.SLAB_CONTEXT_BYTES],
      ["assembly/mmgr/bump.ts", "Bump", constants.BUMP_CONTEXT_BYTES],
    ] as const;
    for (const [file, name, bytes] of roomy) {
      expect((await structOf(file, name)).bytes, name).toBeLessThanOrEqual(bytes);
    }
  });

  it.each(drawn("bits "))("names bits by their place: $title", ({ rows }) => {
    for (const row of rows) {
      const [place = "", name = ""] = cells(row);
      const [low = 0, high = low] = place.split("–").map(Number);
      const mask = 2 ** (high + 1) - 2 ** low;
      expect(values[name], name).toBe(mask);
    }
  });

  it("states constants as they are", () => {
    const rows = drawn("constants").flatMap((drawing) => drawing.rows);
    for (const row of rows) {
      const [name = "", value] = cells(row);
      expect(Number(value), name).toBe(values[name]);
    }
  });

  it("lists the parts of a region where they lie", () => {
    const plan = [16384, 22, 5, 1, 64, 0, 0, 1024];
    const sizer = instance("shared", sharedMemory(1));
    sizer.planRegion(...plan);
    const pages = sizer.regionPages(0);
    const memory = sharedMemory(pages);
    const owner = instance("shared", memory);
    owner.planRegion(...plan);
    owner.createRegion(pages * constants.WASM_PAGE_BYTES, 1);
    const index = new DataView(memory.buffer, constants.REGION_HEADER_BYTES);
    const expected = Array.from({ length: constants.PARTS }, (_, part) => {
      const entry = part * constants.INDEX_ENTRY_BYTES;
      const offset = index.getUint32(entry + constants.INDEX_OFFSET_OFFSET, true);
      const size = index.getUint32(entry + constants.INDEX_SIZE_OFFSET, true);
      return `${partName(part)} ${offset} ${size}`;
    });
    const [parts] = drawn("parts ");
    expect(parts?.rows.map((row) => cells(row).slice(0, 3).join(" "))).toEqual(expected);
  });

  it("draws the header of a chunk as it is written", () => {
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 });
    const { initialize, createContext, alloc } = instance("process", memory);
    initialize(16, 16, 0);
    const context = createContext(0, 0, 8192, 8388608, 0);
    const chunk = alloc(context, 100);
    const view = new DataView(memory.buffer);
    const low = view.getUint32(chunk - constants.CHUNK_HEADER_BYTES, true);
    const high = view.getUint32(chunk - constants.CHUNK_HEADER_BYTES / 2, true);
    expect(low & 15).toBe(constants.KIND_ASET);
    expect((low >>> 4) & 1).toBe(0);
    expect(8 << (low >>> 5)).toBe(128);
    expect(high & 7).toBe(0);
    const keeper = context + constants.ASET_CONTEXT_BYTES;
    expect((high >>> 3) << 1).toBe(chunk - constants.CHUNK_HEADER_BYTES - keeper);
    expect(chunk - constants.CHUNK_HEADER_BYTES - keeper).toBe(constants.ASET_BLOCK_HEADER_BYTES);
  });

  it("says what value and offset of a header mean for each kind", () => {
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 });
    const process = instance("process", memory);
    process.initialize(16, 16, 0);
    const general = process.createContext(0, 0, 8192, 8388608, 0);
    const generation = process.createGeneration(0, 0, 8192, 8388608, 0);
    const view = new DataView(memory.buffer);
    const header = (chunk: number): { kind: number; value: number; back: number } => {
      const low = view.getUint32(chunk - constants.CHUNK_HEADER_BYTES, true);
      const high = view.getUint32(chunk - constants.CHUNK_HEADER_BYTES / 2, true);
      const back = chunk - constants.CHUNK_HEADER_BYTES - ((high >>> 3) << 1);
      return { kind: low & 15, value: low >>> 5, back };
    };
    const born = header(process.alloc(generation, 100));
    const keeper = generation + constants.GENERATION_CONTEXT_BYTES;
    expect(born).toEqual({ kind: constants.KIND_GENERATION, value: 104, back: keeper });
    const slab = process.createSlab(0, 8192, 100, 0);
    const equal = process.alloc(slab, 100);
    const block = equal - constants.CHUNK_HEADER_BYTES - constants.SLAB_BLOCK_HEADER_BYTES;
    expect(header(equal)).toEqual({ kind: constants.KIND_SLAB, value: 104, back: block });
    const aligned = header(process.allocAligned(general, 100, 64, 0));
    expect(aligned).toMatchObject({ kind: constants.KIND_ALIGNED, value: 64 });
    expect(header(aligned.back)).toMatchObject({ kind: constants.KIND_ASET, value: 5 });
  });
});

function sharedMemory(pages: number): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: pages, maximum: 65536, shared: true });
}

/** `PART_SLOTS` for 2, and so on. */
function partName(part: number): string {
  const name = Object.keys(values).find(
    (key) => key.startsWith("PART_") && key !== "PARTS" && values[key] === part,
  );
  if (name === undefined) throw new Error(`no constant names part ${part}`);
  return name;
}
