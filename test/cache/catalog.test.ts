// Proves the shared catalog cache, call by call: what is found, what is not linked because it
// changed, what is freed and when; and against a plain model over random histories. The orders of
// steps between calls are for test/interleave.

import { describe, expect, it } from "vitest";
import {
  ENTRY_BUILDING,
  ENTRY_DEAD,
  ST_NO_ROOM,
  ST_NO_ROW,
  ST_RESET,
  ST_STALE,
} from "../../assembly/common/cache-constants.ts";
import { ST_MISS, ST_NOT_PINNED, ST_OK } from "../../assembly/common/constants.ts";
import { Random } from "../support/random.ts";
import { builds } from "../support/region.ts";
import { CatalogRegion } from "./catalog-region.ts";

describe.each(builds)("the shared catalog cache, %s", (_, checked) => {
  const make = (): CatalogRegion => new CatalogRegion({ checked });

  it("finds for all what one backend has read", () => {
    const region = make();
    expect(region.look(2, 7, [1, 2])).toBeUndefined();
    expect(region.add(1, 7, [1, 2], [11, 12])).toBe(ST_OK);
    expect(region.look(2, 7, [1, 2])).toEqual([11, 12]);
    expect(region.look(2, 7, [2, 1])).toBeUndefined();
    expect(region.look(2, 8, [1, 2])).toBeUndefined();
  });

  it("knows what is not there", () => {
    const region = make();
    expect(region.add(1, 0, [5], null)).toBe(ST_OK);
    expect(region.find(2, 0, [5])).toBe(ST_NO_ROW);
    region.backend(1).catalogInvalidate(0, region.hash(1, 0, [5]));
    expect(region.find(2, 0, [5])).toBe(ST_MISS);
  });

  it("does not link a row that changed while it was being read", () => {
    const region = make();
    const since = region.backend(1).catalogBegin();
    const entry = region.reserve(1, 3, [9], [1]);
    region.backend(2).catalogInvalidate(3, region.hash(2, 3, [9]));
    expect(region.backend(1).catalogPublish(entry, since)).toBe(ST_STALE);
    expect(region.look(2, 3, [9])).toBeUndefined();
    expect(region.backend(1).catalogState(entry)).toBe(0);
  });

  it("links it when another row or another catalog changed", () => {
    const region = make();
    const since = region.backend(1).catalogBegin();
    const entry = region.reserve(1, 3, [9], [1]);
    region.backend(2).catalogInvalidate(3, region.hash(2, 3, [8]));
    region.backend(2).catalogInvalidateAll(4);
    expect(region.backend(1).catalogPublish(entry, since)).toBe(ST_OK);
    expect(region.look(2, 3, [9])).toEqual([1]);
  });

  it("keeps a killed entry's memory until the last hold on it is gone", () => {
    const region = make();
    region.add(1, 3, [9], [77]);
    const entry = region.find(2, 3, [9]);
    expect(region.find(2, 3, [9])).toBe(entry);
    region.backend(1).catalogInvalidate(3, region.hash(1, 3, [9]));
    expect(region.backend(1).catalogState(entry)).toBe(ENTRY_DEAD);
    for (let key = 100; key < 1_000; key += 1) region.add(1, 3, [key], [key]);
    expect(region.found(2)).toEqual([77]);
    region.backend(2).catalogRelease(entry);
    expect(region.backend(1).catalogHolders(entry)).toBe(1);
    region.backend(2).catalogRelease(entry);
    for (let key = 100; key < 1_000; key += 1) region.add(1, 3, [key], [key]);
    expect(region.found(2)).not.toEqual([77]);
    expect(region.backend(2).catalogRelease(entry)).toBe(ST_NOT_PINNED);
  });

  it("forgets what was not used when it is full, and gives pages to rows of another size", () => {
    const region = make();
    const long = Array.from({ length: 500 }, (_, index) => index);
    for (let key = 0; key < 2_000; key += 1) expect(region.add(1, 1, [key], [key])).toBe(ST_OK);
    const known = Array.from({ length: 2_000 }, (_, key) => region.look(1, 1, [key]));
    expect(known.filter((row) => row !== undefined)).toHaveLength(512);
    for (const [key, row] of known.entries()) if (row) expect(row).toEqual([key]);
    expect(region.add(1, 2, [1], long)).toBe(ST_OK);
    expect(region.look(2, 2, [1])).toEqual(long);
    expect(region.add(1, 2, [2], Array(3_000).fill(1))).toBe(ST_NO_ROOM);
  });

  it("has no room when everything is held, and says so", () => {
    const region = make();
    for (let key = 0; key < 512; key += 1) {
      region.add(1, 1, [key], [key]);
      expect(region.find(2, 1, [key])).toBeGreaterThanOrEqual(0);
    }
    expect(region.add(1, 1, [1_000], [1])).toBe(ST_NO_ROOM);
    expect(region.add(1, 1, [1_001], Array(100).fill(1))).toBe(ST_NO_ROOM);
    region.kill(2);
    expect(region.add(1, 1, [1_000], [1])).toBe(ST_OK);
  });

  it("receives messages in order, its own too, and each once", () => {
    const region = make();
    for (let key = 0; key < 100; key += 1) region.backend(1).catalogInvalidate(key, key * 3);
    for (const slot of [1, 2]) {
      const messages = region.receive(slot);
      expect(messages).toHaveLength(100);
      expect(messages).toContainEqual({ catalog: 99, hash: 297, kind: 1 });
      expect(region.receive(slot)).toEqual([]);
    }
  });

  it("resets who is more than the ring behind, once, and makes no sender wait", () => {
    const region = make();
    for (let count = 0; count < 4_096; count += 1) region.backend(1).catalogInvalidate(1, count);
    expect(region.receive(2)).toHaveLength(4_096);
    for (let count = 0; count < 4_097; count += 1) region.backend(1).catalogInvalidate(1, count);
    expect(region.receive(2)).toBe(ST_RESET);
    expect(region.receive(2)).toEqual([]);
    region.backend(1).catalogInvalidate(1, 5);
    expect(region.receive(2)).toEqual([{ catalog: 1, hash: 5, kind: 1 }]);
  });

  it("asks the furthest behind to catch up, one at a time, each once", () => {
    const region = make();
    const asked = (): number[] => [1, 2, 3].filter((slot) => (region.interrupts(slot) & 4) !== 0);
    for (let count = 0; count < 100; count += 1) region.backend(1).catalogInvalidate(1, count);
    region.receive(3);
    for (let count = 0; count < 1_900; count += 1) region.backend(1).catalogInvalidate(1, count);
    for (const slot of [0, 1]) region.receive(slot);
    expect(asked()).toEqual([]);
    for (let count = 0; count < 304; count += 1) region.backend(1).catalogInvalidate(1, count);
    expect(asked()).toEqual([2]);
    region.receive(1);
    region.receive(2);
    expect(asked()).toEqual([3]);
    region.receive(3);
    expect(asked()).toEqual([]);
  });

  it("resets everybody when one dies who had announced a change, and nobody otherwise", () => {
    const region = make();
    region.add(1, 3, [9], [1]);
    region.kill(2);
    expect(region.look(1, 3, [9])).toEqual([1]);
    expect(region.receive(1)).toEqual([]);
    region.backend(3).catalogAnnounce(1);
    region.kill(3);
    expect(region.look(1, 3, [9])).toBeUndefined();
    expect(region.receive(1)).toBe(ST_RESET);
    expect(region.receive(0)).toBe(ST_RESET);
    expect(region.receive(1)).toEqual([]);
  });

  it("frees what a dead backend was building, and what it held", () => {
    const region = make();
    const entry = region.reserve(2, 3, [9], [1]);
    expect(region.backend(1).catalogState(entry) & ENTRY_BUILDING).toBe(ENTRY_BUILDING);
    region.add(1, 3, [10], [1]);
    const held = region.find(2, 3, [10]);
    region.kill(2);
    expect(region.backend(1).catalogState(entry)).toBe(0);
    expect(region.backend(1).catalogHolders(held)).toBe(0);
  });

  it("gives a name one number, in all backends", () => {
    const region = make();
    const numbers = ["tables", "columns", "tables", "table"].map((name, slot) =>
      region.number(slot % 3, name),
    );
    expect(numbers).toEqual([0, 1, 0, 2]);
    for (let index = 3; index < 64; index += 1) region.number(1, `other ${index}`);
    expect(region.number(1, "one too many")).toBe(ST_NO_ROOM);
  });

  it.each([1, 2, 3, 4])("agrees with a plain model over a random history, seed %i", (seed) => {
    const region = make();
    const random = new Random(seed);
    const truth = new Map<number, number[] | null>();
    const held = new Map<number, { entry: number; row: number[]; slot: number }>();
    for (let step = 0; step < 4_000; step += 1) {
      const slot = 1 + random.below(3);
      const key = random.below(80);
      const what = random.below(10);
      if (what < 6) {
        const row = region.look(slot, key % 3, [key]);
        const wanted = truth.get(key) ?? null;
        if (row === undefined) expect(region.add(slot, key % 3, [key], wanted)).toBe(ST_OK);
        else expect(row).toEqual(wanted);
      } else if (what < 8) {
        const size = 1 + random.below(random.below(4) === 0 ? 1_000 : 20);
        truth.set(key, random.below(4) === 0 ? null : Array(size).fill(step));
        region.backend(slot).catalogInvalidate(key % 3, region.hash(slot, key % 3, [key]));
      } else if (held.size < 20) {
        const entry = region.find(slot, key % 3, [key]);
        if (entry >= 0) held.set(step, { entry, row: region.found(slot), slot });
      } else {
        for (const { entry, slot: holder } of held.values()) {
          expect(region.backend(holder).catalogRelease(entry)).toBe(ST_OK);
        }
        held.clear();
      }
    }
  });
});
