// A checkpoint writes what was dirty when it began, in file order, each page once, and never the
// bytes of a change that has not ended. Dropping forgets pages without writing them.

import { describe, expect, it } from "vitest";
import {
  NEED_WRITE,
  ST_BUSY,
  ST_OK,
  ST_SELF,
  ST_WAIT,
  STATE_CLAIM,
  STATE_DIRTY,
} from "../../assembly/common/constants.ts";
import { builds, RawRegion } from "../support/region.ts";

const FILE = 16384 << 2;
const OTHER = 16385 << 2;

function dirty(region: RawRegion, file: number, block: number): number {
  const buffer = region.pin(1, file, block);
  region.change(1, buffer, 50, 1);
  region.backend(1).unpin(buffer);
  return buffer;
}

function isDirty(region: RawRegion, buffer: number): boolean {
  return (region.backend(0).stateOf(buffer) & STATE_DIRTY) !== 0;
}

function write(region: RawRegion, slot: number, buffer: number): void {
  const backend = region.backend(slot);
  expect(backend.checkpointBegin(buffer, 1)).toBe(buffer | NEED_WRITE);
  region.save(backend, buffer);
  backend.finishWrite(buffer, 1);
  backend.unpin(buffer);
}

describe.each(builds)("%s build", (_, checked) => {
  it("the list holds the dirty pages alone, sorted by file and block", () => {
    const region = new RawRegion({ checked, buffers: 32 });
    for (const block of [9, 2, 0x90000000, 7, 0]) dirty(region, OTHER, block);
    for (const block of [30, 4, 12]) dirty(region, FILE, block);
    region.backend(1).unpin(region.pin(1, FILE, 1));
    const backend = region.backend(2);
    const count = backend.checkpointCollect();
    const listed = Array.from({ length: count }, (_each, index) =>
      region.keyOf(backend.checkpointBuffer(index)),
    );
    const inFile = [4, 12, 30].map((block) => `${FILE}/${block}`);
    const inOther = [0, 2, 7, 9, 0x90000000].map((block) => `${OTHER}/${block}`);
    expect(listed).toEqual([...inFile, ...inOther]);
  });

  it("a page changed while it is written stays dirty", () => {
    const region = new RawRegion({ checked });
    const buffer = dirty(region, FILE, 0);
    const backend = region.backend(2);
    backend.checkpointCollect();
    expect(backend.checkpointBegin(buffer, 1)).toBe(buffer | NEED_WRITE);
    const writer = region.pin(1, FILE, 0);
    // The share lock of the write is still held: the changer has to wait for it.
    expect(region.backend(1).lockExclusive(writer)).toBeLessThan(0);
    region.backend(1).unlock(writer);
    region.save(backend, buffer);
    backend.finishWrite(buffer, 1);
    backend.unpin(buffer);
    expect(isDirty(region, buffer)).toBe(false);
    region.change(1, writer, 51, 2);
    expect(isDirty(region, buffer)).toBe(true);
    region.backend(1).unpin(writer);
    expect(region.residue()).toEqual([]);
  });

  it("a page that is being changed is waited for, and then written whole", () => {
    const region = new RawRegion({ checked });
    const buffer = dirty(region, FILE, 0);
    const changer = region.backend(1);
    region.pin(1, FILE, 0);
    changer.lockExclusive(buffer);
    changer.beginChange(buffer);
    region.frame(buffer).fill(9, 100, 200);
    const backend = region.backend(2);
    backend.checkpointCollect();
    expect(backend.checkpointBegin(buffer, 1)).toBe(ST_WAIT);
    region.frame(buffer).fill(9, 200, 300);
    changer.endChange(buffer);
    changer.unlock(buffer);
    changer.unpin(buffer);
    write(region, 2, buffer);
    expect(region.pages.get(`${FILE}/0`)?.slice(100, 300)).toEqual(new Uint8Array(200).fill(9));
    expect(region.residue()).toEqual([]);
  });

  it("a page in an eviction that will not come to pass is tried again, not skipped", () => {
    const region = new RawRegion({ checked });
    const buffer = dirty(region, FILE, 0);
    const backend = region.backend(2);
    backend.checkpointCollect();
    // Backend 3 has claimed the frame; before, the page was pinned and changed.
    const words = new Uint32Array(region.memory.buffer);
    const state = ((words[64 / 4] ?? 0) + buffer * 64) / 4;
    words[state] = (words[state] ?? 0) | STATE_CLAIM | (3 + 1);
    expect(backend.checkpointBegin(buffer, 1)).toBe(ST_BUSY);
    region.kill(3);
    write(region, 2, buffer);
    expect(isDirty(region, buffer)).toBe(false);
    expect(region.residue()).toEqual([]);
  });

  it("a failed write leaves the page dirty, and it is written again", () => {
    const region = new RawRegion({ checked });
    const buffer = dirty(region, FILE, 0);
    const backend = region.backend(2);
    backend.checkpointCollect();
    expect(backend.checkpointBegin(buffer, 1)).toBe(buffer | NEED_WRITE);
    backend.finishWrite(buffer, 0);
    backend.unpin(buffer);
    expect(isDirty(region, buffer)).toBe(true);
    write(region, 2, buffer);
    expect(isDirty(region, buffer)).toBe(false);
    expect(backend.checkpointBegin(buffer, 1)).toBe(ST_OK);
    expect(region.residue()).toEqual([]);
  });

  it("dropping forgets the pages of one file from a block on, dirty ones unwritten", () => {
    const region = new RawRegion({ checked });
    for (const block of [0, 1, 2, 3]) dirty(region, FILE, block);
    const kept = dirty(region, OTHER, 2);
    expect(region.backend(1).dropPages(FILE, 2, 0xffffffff)).toBe(ST_OK);
    for (const [block, reads] of [
      [1, 0],
      [2, 1],
      [3, 1],
    ] as const) {
      const before = region.reads;
      region.backend(1).unpin(region.pin(1, FILE, block));
      expect(region.reads - before).toBe(reads);
    }
    expect(isDirty(region, kept)).toBe(true);
    expect(region.writes).toBe(0);
    expect(region.residue()).toEqual([]);
  });

  it("dropping is refused while somebody has a page pinned", () => {
    const region = new RawRegion({ checked });
    const buffer = region.pin(2, FILE, 0);
    expect(region.backend(1).dropPages(FILE, 0, 0xffffffff)).toBe(ST_BUSY);
    expect(region.backend(2).dropPages(FILE, 0, 0xffffffff)).toBe(ST_SELF);
    expect(region.backend(1).pin(FILE, 0)).toBe(buffer);
    for (const slot of [1, 2]) region.backend(slot).unpin(buffer);
    expect(region.backend(1).dropPages(FILE, 0, 0xffffffff)).toBe(ST_OK);
    expect(region.residue()).toEqual([]);
  });
});
