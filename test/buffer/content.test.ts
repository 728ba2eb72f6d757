// Content locks: who excludes whom, what a call that would have to wait says, and which flag the
// sleeper left for the one who must wake it.

import { describe, expect, it } from "vitest";
import {
  ST_ALREADY_LOCKED,
  ST_CHANGING,
  ST_DRAIN,
  ST_NOT_LOCKED,
  ST_NOT_PINNED,
  ST_OK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import { builds, RawRegion } from "../support/region.ts";

const FILE = 16384 << 2;

function pinnedByAll(checked: boolean): { region: RawRegion; buffer: number } {
  const region = new RawRegion({ checked });
  const buffer = region.pin(1, FILE, 0);
  for (const slot of [2, 3]) region.pin(slot, FILE, 0);
  return { region, buffer };
}

function unpinAll(region: RawRegion, buffer: number): void {
  for (const slot of [1, 2, 3]) expect(region.backend(slot).unpin(buffer)).toBe(ST_OK);
  expect(region.residue()).toEqual([]);
}

describe.each(builds)("%s build", (_, checked) => {
  it("many share the lock, and an exclusive taker waits until all are gone", () => {
    const { region, buffer } = pinnedByAll(checked);
    const [a, b, c] = [region.backend(1), region.backend(2), region.backend(3)];
    expect([a.lockShare(buffer), b.lockShare(buffer)]).toEqual([ST_OK, ST_OK]);
    expect(c.lockExclusive(buffer)).toBe(ST_DRAIN);
    expect(a.unlock(buffer)).toBe(ST_OK);
    expect(c.drainShares(buffer)).toBe(ST_DRAIN);
    expect(b.unlock(buffer)).toBe(ST_OK);
    expect(c.drainShares(buffer)).toBe(ST_OK);
    expect(c.unlock(buffer)).toBe(ST_OK);
    unpinAll(region, buffer);
  });

  it("who takes the exclusive lock keeps new share takers out while it waits for the old", () => {
    const { region, buffer } = pinnedByAll(checked);
    const [a, b, c] = [region.backend(1), region.backend(2), region.backend(3)];
    a.lockShare(buffer);
    expect(c.lockExclusive(buffer)).toBe(ST_DRAIN);
    expect(b.lockShare(buffer)).toBe(ST_WAIT);
    a.unlock(buffer);
    expect(c.drainShares(buffer)).toBe(ST_OK);
    expect(b.lockShare(buffer)).toBe(ST_WAIT);
    c.unlock(buffer);
    expect(b.lockShare(buffer)).toBe(ST_OK);
    b.unlock(buffer);
    unpinAll(region, buffer);
  });

  it("the exclusive lock excludes share and exclusive takers", () => {
    const { region, buffer } = pinnedByAll(checked);
    const [a, b] = [region.backend(1), region.backend(2)];
    expect(a.lockExclusive(buffer)).toBe(ST_OK);
    expect(b.lockExclusive(buffer)).toBe(ST_WAIT);
    expect(b.lockShare(buffer)).toBe(ST_WAIT);
    a.unlock(buffer);
    expect(b.lockExclusive(buffer)).toBe(ST_OK);
    b.unlock(buffer);
    unpinAll(region, buffer);
  });

  it("a backend has one content lock a buffer, on a pin, and gives back only its own", () => {
    const { region, buffer } = pinnedByAll(checked);
    const [a, b] = [region.backend(1), region.backend(2)];
    expect(a.lockShare(buffer + 1)).toBe(ST_NOT_PINNED);
    expect(a.unlock(buffer)).toBe(ST_NOT_LOCKED);
    for (const lock of [a.lockShare, a.lockExclusive]) {
      expect(lock(buffer)).toBe(ST_OK);
      expect(a.lockShare(buffer)).toBe(ST_ALREADY_LOCKED);
      expect(a.lockExclusive(buffer)).toBe(ST_ALREADY_LOCKED);
      expect(b.unlock(buffer)).toBe(ST_NOT_LOCKED);
      expect(a.unlock(buffer)).toBe(ST_OK);
    }
    unpinAll(region, buffer);
  });

  it("giving up while waiting for share holders leaves the lock free", () => {
    const { region, buffer } = pinnedByAll(checked);
    const [a, b, c] = [region.backend(1), region.backend(2), region.backend(3)];
    a.lockShare(buffer);
    expect(b.lockExclusive(buffer)).toBe(ST_DRAIN);
    expect(b.unlock(buffer)).toBe(ST_OK);
    expect(c.lockShare(buffer)).toBe(ST_OK);
    for (const backend of [a, c]) expect(backend.unlock(buffer)).toBe(ST_OK);
    unpinAll(region, buffer);
  });

  it("a change needs the exclusive lock, is one at a time, and must end before the lock", () => {
    const { region, buffer } = pinnedByAll(checked);
    const backend = region.backend(1);
    const other = region.pin(1, FILE, 1);
    expect(backend.beginChange(buffer)).toBe(ST_NOT_LOCKED);
    backend.lockShare(buffer);
    expect(backend.beginChange(buffer)).toBe(ST_NOT_LOCKED);
    backend.unlock(buffer);
    backend.lockExclusive(buffer);
    backend.lockExclusive(other);
    expect(backend.beginChange(buffer)).toBe(ST_OK);
    expect(backend.beginChange(other)).toBe(ST_CHANGING);
    expect(backend.unlock(buffer)).toBe(ST_CHANGING);
    expect(backend.endChange(other)).toBe(ST_NOT_LOCKED);
    expect(backend.endChange(buffer)).toBe(ST_OK);
    for (const each of [buffer, other]) expect(backend.unlock(each)).toBe(ST_OK);
    backend.unpin(other);
    unpinAll(region, buffer);
  });

  it("an undone change puts every byte back", () => {
    const { region, buffer } = pinnedByAll(checked);
    const backend = region.backend(1);
    region.change(1, buffer, 10, 5);
    const before = region.frame(buffer).slice();
    backend.lockExclusive(buffer);
    backend.beginChange(buffer);
    region.frame(buffer).fill(0xaa);
    expect(backend.undoChange(buffer)).toBe(ST_OK);
    expect(region.frame(buffer)).toEqual(before);
    expect(backend.endChange(buffer)).toBe(ST_NOT_LOCKED);
    backend.unlock(buffer);
    unpinAll(region, buffer);
  });
});
