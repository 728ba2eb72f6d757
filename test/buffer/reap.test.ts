// Death between any two calls of an operation: whatever the dead backend was in the middle of,
// after reaping nothing of it is left, every page can be used, and a change that had not ended is
// undone. Deaths between two instructions of one call are the interleaving harness's business.

import { describe, expect, it } from "vitest";
import {
  LIFE_DEAD,
  LIFE_FREE,
  LIFE_STATE_MASK,
  NEED_WRITE,
  ST_BUSY,
  ST_OK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import { builds, RawRegion } from "../support/region.ts";

const FILE = 16384 << 2;

/** Each leaves backend 1 in the middle of something on a pool of 16 full of pages 0 to 15. */
const middles: readonly (readonly [string, (region: RawRegion) => void])[] = [
  ["holding a pin", (region) => void region.pin(1, FILE, 3)],
  [
    "holding many pins and a share lock",
    (region) => {
      for (const block of [1, 2, 2, 3]) region.backend(1).lockShare(region.pin(1, FILE, block));
    },
  ],
  [
    "holding the exclusive lock",
    (region) => void region.backend(1).lockExclusive(region.pin(1, FILE, 3)),
  ],
  [
    "waiting for share holders with the exclusive lock taken",
    (region) => {
      const buffer = region.pin(2, FILE, 3);
      region.backend(2).lockShare(buffer);
      region.backend(1).lockExclusive(region.pin(1, FILE, 3));
      region.backend(2).unlock(buffer);
      region.backend(2).unpin(buffer);
    },
  ],
  [
    "in the middle of a page change",
    (region) => {
      const buffer = region.pin(1, FILE, 3);
      region.backend(1).lockExclusive(buffer);
      region.backend(1).beginChange(buffer);
      region.frame(buffer).fill(0xee);
    },
  ],
  ["with a victim claimed", (region) => void region.victim(1)],
  [
    "reading into a frame",
    (region) => {
      const victim = region.victim(1);
      region.backend(1).install(victim, FILE, 99, 0);
      region.frame(victim).fill(0xdd, 0, 4096);
    },
  ],
  [
    "writing a page back",
    (region) => {
      const buffer = region.pin(2, FILE, 5);
      region.change(2, buffer, 8000, 5);
      region.backend(2).unpin(buffer);
      let candidate = region.backend(1).victim(0);
      while ((candidate & NEED_WRITE) === 0) {
        const installed = region.backend(1).install(candidate, FILE, 200 + candidate, 0);
        region.fill(candidate);
        if (installed >= 0) region.backend(1).finishRead(candidate, 1);
        candidate = region.backend(1).victim(0);
      }
    },
  ],
  ["holding a named lock", (region) => void region.backend(1).lockNamed(3)],
];

function full(checked: boolean): RawRegion {
  const region = new RawRegion({ checked });
  for (let block = 0; block < 16; block += 1) {
    const buffer = region.pin(2, FILE, block);
    region.change(2, buffer, 0, block + 1);
    region.backend(2).unpin(buffer);
  }
  return region;
}

/** Every page can be pinned, locked exclusively, and holds what was last committed. */
function expectUsable(region: RawRegion): void {
  for (let block = 0; block < 16; block += 1) {
    const buffer = region.pin(2, FILE, block);
    expect(region.backend(2).lockExclusive(buffer)).toBe(ST_OK);
    expect(region.frame(buffer)[0]).toBe(block + 1);
    expect(region.frame(buffer)[4096]).toBe(0);
    region.backend(2).unlock(buffer);
    region.backend(2).unpin(buffer);
  }
  // Sixteen other pages go in: so every frame can be evicted.
  const others = Array.from({ length: 16 }, (_, block) => region.pin(2, FILE, 500 + block));
  for (const buffer of others) region.backend(2).unpin(buffer);
  expect(region.residue()).toEqual([]);
}

describe.each(builds)("%s build", (_, checked) => {
  it.each(middles)("a backend that dies %s leaves nothing behind", (_name, middle) => {
    const region = full(checked);
    middle(region);
    region.kill(1);
    // Looked for now: using the frames again would wipe the traces off.
    expect(region.residue()).toEqual([]);
    expect(region.backend(0).slotLife(1) & LIFE_STATE_MASK).toBe(LIFE_FREE);
    region.attach(1);
    expect(region.backend(2).lockNamed(3)).toBe(ST_OK);
    region.backend(2).unlockNamed(3);
    expectUsable(region);
  });

  it.each(middles)("a backend that leaves %s leaves nothing behind", (_name, middle) => {
    const region = full(checked);
    middle(region);
    expect(region.backend(1).leave()).toBe(ST_OK);
    expect(region.residue()).toEqual([]);
    region.attach(1);
    expectUsable(region);
  });

  it("what a dead backend had committed stays, what it had begun is gone", () => {
    const region = full(checked);
    const buffer = region.pin(1, FILE, 3);
    region.change(1, buffer, 7, 42);
    region.backend(1).lockExclusive(buffer);
    region.backend(1).beginChange(buffer);
    region.frame(buffer)[7] = 43;
    region.kill(1);
    expect(region.frame(region.pin(2, FILE, 3))[7]).toBe(42);
  });

  it("two deaths at once: the first waits until the second has given its lock back", () => {
    const region = full(checked);
    const word = partitionOf(region, FILE, 3);
    const victim = region.victim(1);
    const words = new Uint32Array(region.memory.buffer);
    words[descriptor(region, victim) + 2] = FILE;
    words[descriptor(region, victim) + 3] = 3;
    words[word] = 2 + 1;
    const owner = region.backend(0);
    owner.markDead(1);
    expect(owner.reap(1)).toBe(ST_BUSY);
    expect(owner.slotLife(1) & LIFE_STATE_MASK).toBe(LIFE_DEAD);
    owner.markDead(2);
    expect(owner.reap(1)).toBe(ST_BUSY);
    expect(owner.reap(2)).toBe(ST_OK);
    expect(owner.reap(1)).toBe(ST_OK);
    expect(words[word]).toBe(0);
    region.attach(1);
    region.attach(2);
    expectUsable(region);
  });

  it("who leaves does not give back the partition lock of a dead one that linked a frame", () => {
    const region = full(checked);
    const word = partitionOf(region, FILE, 3);
    const words = new Uint32Array(region.memory.buffer);
    words[word] = 1 + 1;
    region.backend(0).markDead(1);
    expect(region.backend(2).leave()).toBe(ST_OK);
    expect(words[word]).toBe(1 + 1);
    expect(region.backend(0).reap(1)).toBe(ST_OK);
    expect(words[word]).toBe(0);
  });

  it("who waits for a dead backend's lock finds it free", () => {
    const region = full(checked);
    const buffer = region.pin(1, FILE, 3);
    region.pin(2, FILE, 3);
    region.backend(1).lockExclusive(buffer);
    expect(region.backend(2).lockShare(buffer)).toBe(ST_WAIT);
    region.kill(1);
    expect(region.backend(2).lockShare(buffer)).toBe(ST_OK);
  });
});

/** Index of a descriptor's first word. */
function descriptor(region: RawRegion, buffer: number): number {
  return (new Uint32Array(region.memory.buffer)[64 / 4] ?? 0) / 4 + buffer * 8;
}

/** Index of the word of the partition lock that guards a page. */
function partitionOf(region: RawRegion, file: number, block: number): number {
  const words = new Uint32Array(region.memory.buffer);
  const at = (offset: number): number => words[offset / 4] ?? 0;
  let hash = Math.imul(file, 0x85ebca6b) ^ Math.imul(block, 0x9e3779b1);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0xc2b2ae35);
  hash ^= hash >>> 13;
  return (at(84) + ((hash & at(72) & 127) >>> 0) * 64) / 4;
}
