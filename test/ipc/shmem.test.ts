// The region's layout: parts follow each other without overlap, are aligned as promised, and sum to
// the region. Slots are claimed once each, and a region that fits no memory is refused by name.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_EXITING,
  LIFE_STATE_BITS,
  ST_NO_SLOT,
  ST_OK,
} from "../../assembly/common/constants.ts";
import { SharedMemory } from "../../bindings/shared/memory.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builds, RawRegion } from "../support/region.ts";

const ALIGNED_LIKE_PAGES = new Set(["Backend Pages", "Buffer Blocks"]);

describe.each(builds)("%s build", (_, checked) => {
  it("the parts follow each other, are aligned, and sum to the region, whatever its size", async () => {
    const sizes = fc.record({
      shared_buffers: fc.integer({ min: 16, max: 3000 }),
      max_connections: fc.integer({ min: 1, max: 40 }),
      segment: fc.integer({ min: 1, max: 200_000 }),
    });
    await fc.assert(
      fc.asyncProperty(sizes, async ({ segment, ...settings }) => {
        const segments = { one: segment, two: 1 };
        const storage = memoryStorage({ maxBytes: 1 << 20 });
        const shared = await SharedMemory.create({ settings, storage, segments, checked });
        const rows = shared.allocations();
        let end = 0;
        for (const { name, off, size, allocated_size } of rows) {
          expect(off).toBe(end);
          expect(size).toBeLessThanOrEqual(allocated_size);
          expect(off % (ALIGNED_LIKE_PAGES.has(name ?? "") ? 8192 : 64)).toBe(0);
          end += allocated_size;
        }
        expect(end).toBe(shared.regionBytes);
        expect(rows.slice(-3).map(({ name }) => name)).toEqual(["one", "two", null]);
        await shared.close();
      }),
      { numRuns: 25 },
    );
  });

  it("each slot is claimed once, by compare-and-swap, with the thread it belongs to", () => {
    const region = new RawRegion({ checked, backends: 3 });
    const owner = region.backend(0);
    expect(owner.claimSlot(77)).toBe(ST_NO_SLOT);
    expect(region.backend(2).leave()).toBe(ST_OK);
    expect(owner.claimSlot(77)).toBe(2);
    expect(owner.slotLife(2)).toBe((77 << LIFE_STATE_BITS) | LIFE_CLAIMED);
    expect(owner.claimSlot(78)).toBe(ST_NO_SLOT);
  });

  it("a slot moves from one state to the next only out of the state it is in", () => {
    const region = new RawRegion({ checked });
    const owner = region.backend(0);
    expect(owner.advanceSlot(1, LIFE_CLAIMED, LIFE_ACTIVE)).toBe(0);
    expect(owner.advanceSlot(1, LIFE_ACTIVE, LIFE_EXITING)).toBe(1);
    expect(owner.slotLife(1) >>> LIFE_STATE_BITS).toBe(1);
  });
});

describe("creating a region", () => {
  it("one that fits no WebAssembly memory is refused with its size and the parameters", async () => {
    const settings = { shared_buffers: "5GB" };
    await expect(SharedMemory.create({ settings, storage: memoryStorage() })).rejects.toMatchObject(
      {
        code: "53200",
        message: "could not create shared memory segment",
        hint: expect.stringContaining("shared_buffers (5GB)"),
      },
    );
  });

  it("segments with a bad name or size are refused before anything is made", async () => {
    const storage = memoryStorage({ maxBytes: 1 << 20 });
    const bad: Record<string, number>[] = [
      { "": 8 },
      { [`${"n".repeat(49)}`]: 8 },
      { a: 0 },
      { a: 1.5 },
      { a: Number.NaN },
      Object.fromEntries(Array.from({ length: 65 }, (_each, index) => [`s${index}`, 8])),
    ];
    for (const segments of bad) {
      await expect(SharedMemory.create({ storage, segments })).rejects.toThrow(RangeError);
    }
  });

  it("a segment is the same bytes for all, and one that was not asked for is refused", async () => {
    const storage = memoryStorage({ maxBytes: 1 << 20 });
    const settings = { shared_buffers: 16 };
    const shared = await SharedMemory.create({ settings, storage, segments: { tally: 10 } });
    const { bytes, words } = shared.segment("tally");
    expect([bytes.length, words.length]).toEqual([10, 2]);
    Atomics.add(words, 1, 0x01020304);
    expect([...shared.segment("tally").bytes]).toEqual([0, 0, 0, 0, 4, 3, 2, 1, 0, 0]);
    expect(() => shared.segment("toString")).toThrowError(/no segment "toString"/);
    await shared.close();
  });
});
