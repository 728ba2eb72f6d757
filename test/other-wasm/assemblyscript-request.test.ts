// Proves that an AssemblyScript program can compile the allocator in and free what a request made
// by one reset: the example, by its own command.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** The two contexts' own bytes: header, and header of the first block. */
const EMPTY_BYTES = 136;

interface Line {
  readonly orders: number;
  readonly most: number;
  readonly used: number;
  readonly after: number;
}

function run(): Line[] {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ["examples/assemblyscript-request/main.mjs"],
    { cwd: root, encoding: "utf8" },
  );
  if (status !== 0 || stderr !== "") throw new Error(`ended with ${status}:\n${stderr}`);
  return stdout
    .trim()
    .split("\n")
    .map((line) => {
      const [orders = 0, most = 0, used = 0, after = 0] = (line.match(/\d+/g) ?? []).map(Number);
      return { orders, most, used, after };
    });
}

/** What `handle` computes, without any memory of ours. */
function expected(count: number, products: number): number {
  const quantities = new Map<number, number>();
  for (let number = 0; number < count; number += 1) {
    const product = (number * 7) % products;
    quantities.set(product, (quantities.get(product) ?? 0) + (number % 5));
  }
  return Math.max(...quantities.values());
}

describe("examples/assemblyscript-request", () => {
  const lines = run();

  it("computes what the same program without an allocator computes", () => {
    expect(lines.map(({ orders }) => orders)).toEqual([10, 1000, 100_000]);
    for (const { orders, most } of lines) expect(most).toBe(expected(orders, 97));
  });

  it("holds every object of a request, and nothing after its reset", () => {
    for (const { orders, used, after } of lines) {
      // An order has 12 bytes: a chunk of 16 behind a header of 8.
      expect(used).toBeGreaterThanOrEqual(EMPTY_BYTES + orders * 24);
      expect(after).toBe(EMPTY_BYTES);
    }
  });
});
