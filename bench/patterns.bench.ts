/**
 * Row 3: allocation patterns driven inside wasm, one row each. Ours and TLSF run compiled loops
 * over the same arrays; the twin and @thi.ng/malloc, which are JavaScript, run theirs there.
 *
 * The design sets this row against PostgreSQL's own allocator in wasm, which is not part of this
 * repository: no number of it is printed.
 */

import { MemPool } from "@thi.ng/malloc/pool";
import { ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES } from "../assembly/common/constants.ts";
import { TwinMemory } from "../test/twin/aset.ts";
import { checkReuse } from "./allocators.ts";
import { openDriver, type Pattern, type PatternName, placeArrays } from "./driver.ts";
import type { Contender, Row } from "./harness.ts";
import { instantiateTlsf } from "./tlsf.ts";
import {
  LIFO_DEPTH,
  LIVE_CHUNKS,
  mixedSizes,
  PATTERN_LENGTH,
  RECORD_BYTES,
  randomIndices,
  TUPLE_ALLOCATIONS,
} from "./workloads.ts";

const MEMORY_BYTES = 64 * 1024 * 1024;
/** Chunks that a check allocates twice. */
const CHECKED_CHUNKS = 1000;
/** Steps of a contender that takes 20 µs for each, at random. */
const SLOW_STEPS = 50;

function pallocPattern(name: PatternName | "ctx"): Contender {
  const { exports, context, arrays } = openDriver();
  const { sizes, indices, scratch } = arrays;
  const pattern: Pattern = exports[name];
  return {
    name: "palloc",
    role: "ours",
    operations: PATTERN_LENGTH,
    run: () => pattern(context, sizes, indices, PATTERN_LENGTH, 1, scratch),
    check() {
      checkReuse(
        CHECKED_CHUNKS,
        () => exports.alloc(context, RECORD_BYTES),
        (chunks) => {
          for (const chunk of chunks) exports.free(chunk);
        },
      );
      pattern(context, sizes, indices, PATTERN_LENGTH, 2, scratch);
      if (exports.checkHeap() !== 0) throw new Error("the heap is damaged");
    },
  };
}

async function tlsfPattern(name: PatternName): Promise<Contender> {
  const tlsf = await instantiateTlsf();
  // TLSF grows its memory as it likes, which empties views: room for all of it is made first.
  tlsf.free(tlsf.alloc(MEMORY_BYTES));
  const { sizes, indices, scratch } = placeArrays(tlsf.memory.buffer, tlsf.alloc);
  const pattern: Pattern = tlsf[name];
  return {
    name: "TLSF",
    role: "peer",
    operations: PATTERN_LENGTH,
    run: () => pattern(0, sizes, indices, PATTERN_LENGTH, 1, scratch),
    check() {
      checkReuse(
        CHECKED_CHUNKS,
        () => tlsf.alloc(RECORD_BYTES),
        (chunks) => {
          for (const chunk of chunks) tlsf.free(chunk);
        },
      );
    },
  };
}

type TwinLoop = (twin: TwinMemory, set: number, sizes: Uint32Array, held: Uint32Array) => number;

const twinLoops: Readonly<Record<PatternName | "ctx", TwinLoop>> = {
  allocreset(twin, set, sizes) {
    let sum = 0;
    for (let index = 0; index < sizes.length; index += 1) sum += twin.alloc(set, sizes[index] ?? 0);
    twin.reset(set);
    return sum;
  },
  pairs(twin, set, sizes) {
    let sum = 0;
    for (let index = 0; index < sizes.length; index += 1) {
      const chunk = twin.alloc(set, sizes[index] ?? 0);
      sum += chunk;
      twin.free(chunk);
    }
    return sum;
  },
  lifo(twin, set, sizes, held) {
    let sum = 0;
    for (let first = 0; first < sizes.length; first += LIFO_DEPTH) {
      for (let index = 0; index < LIFO_DEPTH; index += 1) {
        const chunk = twin.alloc(set, sizes[first + index] ?? 0);
        held[index] = chunk;
        sum += chunk;
      }
      for (let index = LIFO_DEPTH; index > 0; index -= 1) twin.free(held[index - 1] ?? 0);
    }
    return sum;
  },
  random(twin, set, sizes, held) {
    let sum = 0;
    for (let index = 0; index < sizes.length; index += 1) {
      const slot = slots[index] ?? 0;
      const old = held[slot] ?? 0;
      if (old !== 0) twin.free(old);
      const chunk = twin.alloc(set, sizes[index] ?? 0);
      held[slot] = chunk;
      sum += chunk;
    }
    return sum;
  },
  tuple(twin, set, sizes) {
    let sum = 0;
    for (let first = 0; first < sizes.length; first += TUPLE_ALLOCATIONS) {
      for (let index = 0; index < TUPLE_ALLOCATIONS; index += 1) {
        sum += twin.alloc(set, sizes[first + index] ?? 0);
      }
      twin.reset(set);
    }
    return sum;
  },
  ctx(twin, set, sizes) {
    let sum = 0;
    for (let index = 0; index < sizes.length; index += 1) {
      const below = twin.createContext(set, 0, ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES);
      sum += twin.alloc(below, sizes[index] ?? 0);
      twin.deleteContext(below);
    }
    return sum;
  },
};

const slots: Uint32Array = randomIndices(PATTERN_LENGTH, LIVE_CHUNKS);

function twinPattern(name: PatternName | "ctx"): Contender {
  const twin = new TwinMemory(MEMORY_BYTES);
  const set = twin.createContext(0, 0, ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES);
  const sizes = mixedSizes(PATTERN_LENGTH);
  const held = new Uint32Array(LIVE_CHUNKS);
  const loop = twinLoops[name];
  return {
    name: "twin",
    role: "peer",
    operations: PATTERN_LENGTH,
    run: () => loop(twin, set, sizes, held),
    check() {
      checkReuse(
        CHECKED_CHUNKS,
        () => twin.alloc(set, RECORD_BYTES),
        (all) => {
          if (all.some((at) => twin.free(at) !== 0)) throw new Error("a chunk was not freed");
        },
      );
    },
  };
}

type PoolLoop = (pool: MemPool, sizes: Uint32Array, held: Uint32Array) => number;

/** For a reset, freeAll; its random walk is cut short and goes on at the next call. */
const poolLoops: Readonly<Record<PatternName, PoolLoop>> = {
  allocreset(pool, sizes) {
    let total = 0;
    for (let at = 0; at < sizes.length; at += 1) total += pool.malloc(sizes[at] ?? 0);
    pool.freeAll();
    return total;
  },
  pairs(pool, sizes) {
    let total = 0;
    for (let at = 0; at < sizes.length; at += 1) {
      const block = pool.malloc(sizes[at] ?? 0);
      total += block;
      pool.free(block);
    }
    return total;
  },
  lifo(pool, sizes, held) {
    let total = 0;
    for (let first = 0; first < sizes.length; first += LIFO_DEPTH) {
      for (let at = 0; at < LIFO_DEPTH; at += 1) {
        const block = pool.malloc(sizes[first + at] ?? 0);
        held[at] = block;
        total += block;
      }
      for (let at = LIFO_DEPTH; at > 0; at -= 1) pool.free(held[at - 1] ?? 0);
    }
    return total;
  },
  random(pool, sizes, held) {
    let total = 0;
    for (let step = 0; step < SLOW_STEPS; step += 1) {
      walked = (walked + 1) % PATTERN_LENGTH;
      const slot = slots[walked] ?? 0;
      pool.free(held[slot] ?? 0);
      const block = pool.malloc(sizes[walked] ?? 0);
      held[slot] = block;
      total += block;
    }
    return total;
  },
  tuple(pool, sizes) {
    let total = 0;
    for (let first = 0; first < sizes.length; first += TUPLE_ALLOCATIONS) {
      for (let at = 0; at < TUPLE_ALLOCATIONS; at += 1) {
        total += pool.malloc(sizes[first + at] ?? 0);
      }
      pool.freeAll();
    }
    return total;
  },
};

let walked = 0;

function thingPattern(name: PatternName): Contender {
  const pool = new MemPool({ size: MEMORY_BYTES });
  const sizes = mixedSizes(PATTERN_LENGTH);
  const held = new Uint32Array(LIVE_CHUNKS);
  const loop = poolLoops[name];
  if (name === "random") {
    for (let slot = 0; slot < LIVE_CHUNKS; slot += 1) held[slot] = pool.malloc(sizes[slot] ?? 0);
  }
  return {
    name: "thi.ng",
    role: "peer",
    operations: name === "random" ? SLOW_STEPS : PATTERN_LENGTH,
    run: () => loop(pool, sizes, held),
    check() {
      const chunks = Array.from({ length: LIFO_DEPTH }, () => pool.malloc(RECORD_BYTES));
      if (!chunks.every((chunk) => chunk > 0 && pool.free(chunk))) {
        throw new Error("a block was not freed");
      }
    },
  };
}

function patternRow(name: PatternName, work: string, unit: string): Row {
  return {
    id: `3.${name}`,
    name: `${work}, 8 to 512 B, inside wasm`,
    unit,
    targets: {},
    contenders: async () => [
      pallocPattern(name),
      twinPattern(name),
      await tlsfPattern(name),
      thingPattern(name),
    ],
  };
}

/** Row 3 of the design, a row for each pattern. */
export const patternRows: readonly Row[] = [
  patternRow("allocreset", "10,000 allocations, then reset", "ns an allocation"),
  patternRow("pairs", "allocation and free", "ns a pair"),
  patternRow("lifo", "100 allocations, freed in reverse", "ns a pair"),
  patternRow("random", "free and allocation at random, 10,000 live", "ns a pair"),
  patternRow("tuple", "10 allocations, then reset", "ns an allocation"),
  {
    id: "3.ctx",
    name: "create context, one allocation, delete, inside wasm",
    unit: "ns a context",
    targets: {},
    contenders: async () => [pallocPattern("ctx"), twinPattern("ctx")],
  },
];
