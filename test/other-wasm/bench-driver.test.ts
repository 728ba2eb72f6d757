// Proves that the loops of the bench's build do what the bench says they do: each gives out the
// very addresses that the same calls from JavaScript get, and leaves a sound heap.

import { describe, expect, it } from "vitest";
import { type Driver, openDriver } from "../../bench/driver.ts";
import {
  LIFO_DEPTH,
  LIVE_CHUNKS,
  mixedSizes,
  PATTERN_LENGTH,
  randomIndices,
  TUPLE_ALLOCATIONS,
} from "../../bench/workloads.ts";

const sizes = [...mixedSizes(PATTERN_LENGTH)];
const slots = [...randomIndices(PATTERN_LENGTH, LIVE_CHUNKS)];

type Name = "allocreset" | "pairs" | "lifo" | "random" | "tuple" | "ctx";

/** The same calls, made from JavaScript in an instance of its own; the sum of the addresses. */
const fromJavaScript: Record<Name, (driver: Driver) => number> = {
  allocreset({ exports, context }) {
    const sum = sizes.reduce((total, size) => total + exports.alloc(context, size), 0);
    exports.reset(context);
    return sum;
  },
  pairs({ exports, context }) {
    return sizes.reduce((total, size) => {
      const chunk = exports.alloc(context, size);
      exports.free(chunk);
      return total + chunk;
    }, 0);
  },
  lifo({ exports, context }) {
    let sum = 0;
    for (let first = 0; first < sizes.length; first += LIFO_DEPTH) {
      const held = sizes.slice(first, first + LIFO_DEPTH).map((one) => exports.alloc(context, one));
      sum += held.reduce((total, chunk) => total + chunk, 0);
      for (const chunk of held.reverse()) exports.free(chunk);
    }
    return sum;
  },
  random({ exports, context }) {
    const live = new Map<number, number>();
    return sizes.reduce((total, size, index) => {
      const slot = slots[index] ?? 0;
      const old = live.get(slot);
      if (old !== undefined) exports.free(old);
      live.set(slot, exports.alloc(context, size));
      return total + (live.get(slot) ?? 0);
    }, 0);
  },
  tuple({ exports, context }) {
    return sizes.reduce((total, size, index) => {
      const chunk = exports.alloc(context, size);
      if (index % TUPLE_ALLOCATIONS === TUPLE_ALLOCATIONS - 1) exports.reset(context);
      return total + chunk;
    }, 0);
  },
  ctx({ exports, context }) {
    return sizes.reduce((total, size) => {
      const child = exports.createContext(context, 0, 8192, 8388608, 0);
      const chunk = exports.alloc(child, size);
      exports.deleteContext(child);
      return total + chunk;
    }, 0);
  },
};

describe("process-bench.wasm", () => {
  it.each(Object.keys(fromJavaScript) as Name[])("%s makes the calls it is named after", (name) => {
    const driven = openDriver();
    const { arrays, exports, context } = driven;
    const pattern = exports[name];
    const { sizes: first, indices, scratch } = arrays;
    const sum = pattern(context, first, indices, PATTERN_LENGTH, 1, scratch);
    expect(sum >>> 0).toBe(fromJavaScript[name](openDriver()) % 2 ** 32);
    expect(exports.checkHeap()).toBe(0);
    expect(pattern(context, first, indices, PATTERN_LENGTH, 2, scratch)).not.toBe(0);
    expect(exports.checkHeap()).toBe(0);
  });
});
