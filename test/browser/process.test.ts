// Proves that process memory works on the main thread of a browser page.

import { describe, expect, it } from "vitest";
import { OutOfMemoryError, ProcessMemory } from "../../dist/bindings/index.js";

describe.each([{ checked: false }, { checked: true }])(
  "process memory, checked: $checked",
  (build) => {
    it("serves chunks and takes them back with their context", async () => {
      const memory = await ProcessMemory.create(build);
      const scope = memory.top.createChild("scope");
      const before = memory.top.memAllocated(true);
      const chunks = Array.from({ length: 1000 }, (_, index) => {
        const chunk = scope.alloc(100);
        memory.u8.fill(index % 251, chunk, chunk + 100);
        return chunk;
      });
      expect(chunks.every((chunk, index) => memory.u8[chunk + 99] === index % 251)).toBe(true);
      expect(memory.top.memAllocated(true)).toBeGreaterThan(before);
      scope.reset();
      expect(memory.top.memAllocated(true)).toBe(before);
      memory.dispose();
    });

    it("reports an exhausted memory as error 53200 and stays usable", async () => {
      const memory = await ProcessMemory.create({ ...build, maxMemory: "1MB" });
      const scope = memory.top.createChild("scope");
      expect(() => scope.alloc(2_000_000)).toThrow(OutOfMemoryError);
      expect(scope.alloc(1000)).toBeGreaterThan(0);
      memory.dispose();
    });
  },
);
