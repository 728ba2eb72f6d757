// The checksum is PostgreSQL's: vectors of the definition, three of them confirmed by a server's
// page_checksum(), and any single flipped byte of a page is found at the next read.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  PAGE_BAD_BOTH,
  PAGE_BAD_CHECKSUM,
  PAGE_BAD_HEADER,
  PAGE_GOOD,
} from "../../assembly/common/constants.ts";
import { initPage } from "../../bindings/shared/page.ts";
import { builds, RawRegion } from "../support/region.ts";

const BLOCKS = [0, 1, 42, 0xfffffffe] as const;

function modulo251(page: Uint8Array): void {
  for (let index = 0; index < page.length; index += 1) page[index] = index % 251;
}

function emptyPage(page: Uint8Array): void {
  initPage(page);
}

function emptyPageWithLsn(page: Uint8Array): void {
  initPage(page);
  new DataView(page.buffer, page.byteOffset).setUint32(4, 0x16b3748, true);
}

describe.each(builds)("%s build", (_, checked) => {
  it.each([
    ["byte i is i mod 251", modulo251, [7648, 7647, 7670, 57890]],
    ["an empty page", emptyPage, [25952, 25951, 25978, 39586]],
    ["an empty page with LSN 0/16B3748", emptyPageWithLsn, [34175, 34174, 34149, 31363]],
  ] as const)("the checksum of %s is PostgreSQL's", (_name, fill, expected) => {
    const region = new RawRegion({ checked, checksums: true });
    fill(region.frame(0));
    const page = region.backend(0).frameAddress(0);
    expect(BLOCKS.map((block) => region.backend(0).pageChecksum(page, block))).toEqual(expected);
  });

  it("a page with one byte changed since it was written is refused", () => {
    const region = new RawRegion({ checked, checksums: true });
    const backend = region.backend(1);
    const buffer = region.pin(1, 4, 9);
    backend.lockExclusive(buffer);
    backend.beginChange(buffer);
    initPage(region.frame(buffer));
    backend.endChange(buffer);
    backend.unlock(buffer);
    backend.unpin(buffer);
    flush(region, buffer);
    const written = region.pages.get("4/9") ?? new Uint8Array();
    expect(verdictOf(region, written)).toBe(PAGE_GOOD);
    fc.assert(
      fc.property(fc.nat(8191), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const damaged = written.slice();
        damaged[at] = (damaged[at] ?? 0) ^ flip;
        // Bytes 14 and 15 both zero make it a new page, whose content must then be all zero.
        const bad = [PAGE_BAD_CHECKSUM, PAGE_BAD_HEADER, PAGE_BAD_BOTH];
        expect(bad).toContain(verdictOf(region, damaged));
      }),
      { numRuns: 300 },
    );
  });

  it("a page of zeroes is good, and one that is zero but for its body is not", () => {
    const region = new RawRegion({ checked, checksums: true });
    const page = new Uint8Array(8192);
    expect(verdictOf(region, page)).toBe(PAGE_GOOD);
    page[8191] = 1;
    expect(verdictOf(region, page)).toBe(PAGE_BAD_HEADER);
  });

  it("without data checksums any bytes are a page", () => {
    const region = new RawRegion({ checked });
    expect(verdictOf(region, new Uint8Array(8192).fill(7))).toBe(PAGE_GOOD);
  });
});

/** Writes a dirty page out as a checkpoint does. */
function flush(region: RawRegion, buffer: number): void {
  const backend = region.backend(1);
  expect(backend.checkpointCollect()).toBe(1);
  expect(backend.checkpointBegin(buffer, 1)).toBeGreaterThan(buffer);
  region.save(backend, buffer);
  backend.finishWrite(buffer, 1);
  backend.unpin(buffer);
}

/** What a reader of block 9 would be told of these bytes. */
function verdictOf(region: RawRegion, bytes: Uint8Array): number {
  const backend = region.backend(2);
  const buffer = region.pin(2, 4, 9);
  region.frame(buffer).set(bytes);
  const verdict = backend.pageVerdict(backend.frameAddress(buffer), 9);
  backend.unpin(buffer);
  return verdict;
}
