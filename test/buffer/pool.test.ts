// Pinning, step by step: what each call answers, and that a race decided between two steps of one
// backend by the steps of another leaves both right.

import { describe, expect, it } from "vitest";
import {
  IN_PROGRESS,
  NEED_READ,
  NEED_WRITE,
  ST_BAD_BUFFER,
  ST_MISS,
  ST_NO_BUFFERS,
  ST_NOT_LOCKED,
  ST_NOT_PINNED,
  ST_OK,
  ST_SELF,
  ST_TOO_MANY_PINS,
  STATE_IO_ERROR,
  STATE_IO_WAITERS,
  STATE_VALID,
  USAGE_MASK,
  USAGE_SHIFT,
} from "../../assembly/common/constants.ts";
import { builds, RawRegion } from "../support/region.ts";

const FILE = 16384 << 2;

function usage(region: RawRegion, buffer: number): number {
  return (region.backend(0).stateOf(buffer) & USAGE_MASK) >>> USAGE_SHIFT;
}

describe.each(builds)("%s build", (_, checked) => {
  it("a page is read once, and then every pin of any backend is a hit", () => {
    const region = new RawRegion({ checked });
    const buffer = region.pin(1, FILE, 5);
    expect(region.backend(2).pin(FILE, 5)).toBe(buffer);
    expect(region.backend(1).pin(FILE, 5)).toBe(buffer);
    expect(region.reads).toBe(1);
    expect(region.backend(0).holders(buffer)).toBe(2);
    for (const slot of [1, 1, 2]) expect(region.backend(slot).unpin(buffer)).toBe(ST_OK);
    expect(region.residue()).toEqual([]);
  });

  it("usage is one after a miss, rises with each first pin, and ends at five", () => {
    const region = new RawRegion({ checked });
    const seen: number[] = [];
    for (let round = 0; round < 7; round += 1) {
      const buffer = region.pin(1, FILE, 0);
      seen.push(usage(region, buffer));
      region.backend(1).unpin(buffer);
    }
    expect(seen).toEqual([1, 2, 3, 4, 5, 5, 5]);
  });

  it("a backend's further pins of a page it holds raise nothing that is shared", () => {
    const region = new RawRegion({ checked });
    const backend = region.backend(1);
    const buffer = region.pin(1, FILE, 0);
    const before = region.backend(0).stateOf(buffer);
    for (let pins = 0; pins < 10; pins += 1) expect(backend.pin(FILE, 0)).toBe(buffer);
    expect(region.backend(0).stateOf(buffer)).toBe(before);
    expect(backend.pinnedBuffers()).toBe(1);
    for (let pins = 0; pins < 11; pins += 1) expect(backend.unpin(buffer)).toBe(ST_OK);
    expect(backend.unpin(buffer)).toBe(ST_NOT_PINNED);
    expect(region.residue()).toEqual([]);
  });

  it("pins of one backend on one buffer are refused before their count overflows", () => {
    const region = new RawRegion({ checked });
    const backend = region.backend(1);
    const buffer = region.pin(1, FILE, 0);
    for (let pins = 1; pins < 0x7fff; pins += 1) backend.pin(FILE, 0);
    expect(backend.pin(FILE, 0)).toBe(ST_TOO_MANY_PINS);
    expect(backend.pinMapped(FILE, 0, 0)).toBe(ST_TOO_MANY_PINS);
    for (let pins = 0; pins < 0x7fff; pins += 1) expect(backend.unpin(buffer)).toBe(ST_OK);
    expect(region.residue()).toEqual([]);
  });

  it("two backends that miss one page read it once: the second waits for the first", () => {
    const region = new RawRegion({ checked });
    const [first, second] = [region.backend(1), region.backend(2)];
    expect([first.pinMapped(FILE, 3, 0), second.pinMapped(FILE, 3, 0)]).toEqual([ST_MISS, ST_MISS]);
    const [mine, yours] = [region.victim(1), region.victim(2)];
    expect(first.install(mine, FILE, 3, 0)).toBe(mine | NEED_READ);
    expect(second.install(yours, FILE, 3, 0)).toBe(mine | IN_PROGRESS);
    expect(first.stateOf(mine) & STATE_IO_WAITERS).not.toBe(0);
    expect(second.pin(FILE, 3)).toBe(ST_MISS);
    region.fill(mine);
    first.finishRead(mine, 1);
    expect(second.ensureValid(mine, 0)).toBe(mine);
    for (const backend of [first, second]) expect(backend.unpin(mine)).toBe(ST_OK);
    expect(region.reads).toBe(1);
    expect(region.residue()).toEqual([]);
  });

  it("a failed read leaves the page mapped, and the next who wants it reads again", () => {
    const region = new RawRegion({ checked });
    const [first, second] = [region.backend(1), region.backend(2)];
    const buffer = region.victim(1);
    first.install(buffer, FILE, 3, 0);
    first.finishRead(buffer, 0);
    first.unpin(buffer);
    expect(first.stateOf(buffer) & (STATE_VALID | STATE_IO_ERROR)).toBe(STATE_IO_ERROR);
    expect(second.pin(FILE, 3)).toBe(ST_MISS);
    expect(second.pinMapped(FILE, 3, 0)).toBe(buffer | NEED_READ);
    region.fill(buffer);
    second.finishRead(buffer, 1);
    expect(first.stateOf(buffer) & (STATE_VALID | STATE_IO_ERROR)).toBe(STATE_VALID);
    second.unpin(buffer);
    expect(region.residue()).toEqual([]);
  });

  it("a backend that would wait for its own read is told so", () => {
    const region = new RawRegion({ checked });
    const backend = region.backend(1);
    const buffer = region.victim(1);
    expect(backend.install(buffer, FILE, 3, 0)).toBe(buffer | NEED_READ);
    expect(backend.pinMapped(FILE, 3, 0)).toBe(ST_SELF);
    backend.finishRead(buffer, 1);
    while (backend.unpin(buffer) === ST_OK);
    expect(region.residue()).toEqual([]);
  });

  it("when every buffer is pinned a miss ends in an error, and the next unpin helps", () => {
    const region = new RawRegion({ checked });
    const held = Array.from({ length: 16 }, (_each, block) => region.pin(1, FILE, block));
    expect(region.backend(2).victim(0)).toBe(ST_NO_BUFFERS);
    region.backend(1).unpin(held[7] ?? 0);
    expect(region.pin(2, FILE, 99)).toBe(held[7]);
    expect(region.backend(2).unpin(held[7] ?? 0)).toBe(ST_OK);
    for (const buffer of held.filter((_each, block) => block !== 7)) {
      region.backend(1).unpin(buffer);
    }
    expect(region.residue()).toEqual([]);
  });

  it("a page that another backend holds is never the victim", () => {
    const region = new RawRegion({ checked });
    const kept = region.pin(1, FILE, 0);
    for (let block = 1; block < 200; block += 1) {
      const buffer = region.pin(2, FILE, block);
      expect(buffer).not.toBe(kept);
      region.backend(2).unpin(buffer);
    }
    expect(region.backend(1).fileOf(kept)).toBe(FILE);
    expect(region.backend(1).blockOf(kept)).toBe(0);
  });

  it.each([
    ["held", (region: RawRegion): unknown => region.pin(2, FILE, 3)],
    ["used", (region: RawRegion): unknown => region.backend(2).unpin(region.pin(2, FILE, 3))],
  ] as const)("a candidate that is %s again before it is claimed is spared", (_how, use) => {
    const { region, wanted } = candidateBeingWritten(checked);
    use(region);
    region.backend(1).finishWrite(wanted, 1);
    expect(region.backend(1).claim(wanted, 0)).toBe(ST_MISS);
    expect(region.backend(2).pin(FILE, 3)).toBe(wanted);
  });

  it("a candidate that is changed before it is claimed does not lose the change", () => {
    const { region, wanted } = candidateBeingWritten(checked);
    region.backend(1).finishWrite(wanted, 1);
    region.pin(2, FILE, 3);
    region.change(2, wanted, 100, 2);
    region.backend(2).unpin(wanted);
    expect(region.backend(1).claim(wanted, 0)).toBe(ST_MISS);
    for (let block = 100; block < 200; block += 1) {
      region.backend(1).unpin(region.pin(1, FILE, block));
    }
    const again = region.pin(2, FILE, 3);
    expect(region.frame(again)[100]).toBe(2);
    region.backend(2).unpin(again);
    expect(region.residue()).toEqual([]);
  });

  it("unpinning a buffer that is locked, never pinned, or no buffer, changes nothing", () => {
    const region = new RawRegion({ checked });
    const backend = region.backend(1);
    const buffer = region.pin(1, FILE, 0);
    expect(backend.unpin(buffer + 1)).toBe(ST_NOT_PINNED);
    expect(backend.unpin(16)).toBe(ST_BAD_BUFFER);
    expect(backend.unpin(-1)).toBe(ST_BAD_BUFFER);
    for (const lock of [backend.lockShare, backend.lockExclusive]) {
      expect(lock(buffer)).toBe(ST_OK);
      expect(backend.unpin(buffer)).toBe(ST_NOT_LOCKED);
      expect(backend.unlock(buffer)).toBe(ST_OK);
    }
    expect(backend.unpin(buffer)).toBe(ST_OK);
    expect(region.residue()).toEqual([]);
  });

  it("a changed page that is evicted is written first, and reads back changed", () => {
    const region = new RawRegion({ checked });
    const buffer = region.pin(1, FILE, 0);
    region.change(1, buffer, 4000, 77);
    region.backend(1).unpin(buffer);
    for (let block = 1; block < 100; block += 1) {
      region.backend(1).unpin(region.pin(1, FILE, block));
    }
    const again = region.pin(2, FILE, 0);
    expect(region.frame(again)[4000]).toBe(77);
    expect(region.writes).toBe(1);
    region.backend(2).unpin(again);
    expect(region.residue()).toEqual([]);
  });
});

/** Backend 1 has guarded the dirty page 3 as its candidate and is writing it out. */
function candidateBeingWritten(checked: boolean): { region: RawRegion; wanted: number } {
  const region = new RawRegion({ checked });
  for (let block = 0; block < 16; block += 1) {
    region.backend(1).unpin(region.pin(1, FILE, block));
  }
  const wanted = region.pin(2, FILE, 3);
  region.change(2, wanted, 100, 1);
  region.backend(2).unpin(wanted);
  let candidate = region.backend(1).victim(0);
  for (let filler = 300; (candidate & NEED_WRITE) === 0; filler += 1) {
    region.backend(1).install(candidate, FILE, filler, 0);
    region.backend(1).finishRead(candidate, 1);
    region.backend(1).unpin(candidate);
    candidate = region.backend(1).victim(0);
  }
  expect(candidate).toBe(wanted | NEED_WRITE);
  region.save(region.backend(1), wanted);
  return { region, wanted };
}
