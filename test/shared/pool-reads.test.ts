// How a page that is not in the pool is read: the four modes, what becomes of a damaged page, and
// that two backends that miss one page read it once.

import { describe, expect, it } from "vitest";
import type { Backend, BufferId, Relation } from "../../bindings/index.ts";
import { ofOwnReads } from "../support/own-reads.ts";
import { codeOf, everywhere, openPool, type Pool, stamped, stampOf } from "../support/pool.ts";

/** A relation of three pages that are in storage and nowhere else. */
function stored(backend: Backend): Relation {
  const relation = stamped(backend, "t", 3);
  backend.checkpointSync();
  backend.buffers.evictAllSync();
  return relation;
}

/** Turns one bit of a page in storage, behind its header. */
function flip(pool: Pool, relation: Relation, block: number): void {
  pool.damage(relation, block, (page) => {
    page[3000] = (page[3000] ?? 0) ^ 1;
  });
}

/** Gives a page in storage a header that is none. */
function behead(pool: Pool, relation: Relation, block: number): void {
  pool.damage(relation, block, (page) => page.fill(0xff, 0, 24));
}

const MISMATCH = /^page verification failed, calculated checksum \d+ but expected \d+$/;

describe.each(everywhere)("%s", (_, checked, files) => {
  it("a page is read once, and found by every later pin", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stored(backend);
    const before = pool.io();
    expect(stampOf(backend, relation, 2)).toBe(3);
    expect(stampOf(backend, relation, 2)).toBe(3);
    const after = pool.io();
    expect(Number(after.reads) - Number(before.reads)).toBe(1);
    expect(Number(after.hits) - Number(before.hits)).toBe(1);
  });

  it("two backends that miss one page at one moment read it once", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stored(a);
    const before = Number(pool.io().reads);
    const pins = [a, b].map(({ buffers }) => buffers.pinAsync(relation.id, 1));
    const [first = -1 as BufferId, second] = await Promise.all(pins);
    expect(second).toBe(first);
    expect(Number(pool.io().reads) - before).toBe(1);
    const [row] = pool.shared.views
      .pgBuffercache()
      .filter(({ bufferid }) => bufferid === first + 1);
    expect(row).toMatchObject({ relblocknumber: 1, pinning_backends: 2, isdirty: false });
    for (const { buffers } of [a, b]) buffers.unpin(first);
  });

  it("a block behind the end is an error, and leaves no pin and no page", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stored(backend);
    expect(codeOf(() => backend.buffers.readSync(relation, 3))).toBe("XX001");
    await expect(backend.buffers.read(relation, 3)).rejects.toMatchObject({ code: "XX001" });
    expect(backend.buffers.pinnedBuffers()).toBe(0);
    expect(codeOf(() => backend.buffers.readSync(relation, -1))).toBe("RangeError");
    expect(codeOf(() => backend.buffers.readSync(relation, 1.5))).toBe("RangeError");
    backend.buffers.extendSync(relation);
    expect(stampOf(backend, relation, 3)).toBe(0);
  });

  it("mode normal refuses a damaged page each time, and warns of nothing", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stored(backend);
    flip(pool, relation, 1);
    for (const _again of [1, 2]) {
      expect(() => backend.buffers.readSync(relation, 1)).toThrow(
        expect.objectContaining({
          code: "XX001",
          block: 1,
          detail: expect.stringMatching(MISMATCH),
        }),
      );
    }
    expect(pool.warnings).toEqual([]);
    expect(backend.buffers.pinnedBuffers()).toBe(0);
  });

  it("mode zeroOnError gives zeroes for a damaged page, with a warning, and others as they are", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stored(backend);
    flip(pool, relation, 1);
    behead(pool, relation, 2);
    for (const block of [0, 1, 2]) {
      using page = backend.buffers.readSync(relation, block, { mode: "zeroOnError" });
      expect(page.bytes.every((byte) => byte === 0)).toBe(block > 0);
    }
    expect(pool.warnings).toEqual([
      'invalid page in block 1 of relation "t"; zeroing out page',
      'invalid page in block 2 of relation "t"; zeroing out page',
    ]);
    // It is in the pool as zeroes now, for everybody, and storage still has what it had.
    expect(stampOf(pool.attach(), relation, 1)).toBe(0);
    backend.buffers.evictAllSync();
    expect(codeOf(() => backend.buffers.readSync(relation, 1))).toBe("XX001");
  });

  it("mode zeroOnError does not hide a block that is not there", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stored(backend);
    const mode = "zeroOnError";
    expect(codeOf(() => backend.buffers.readSync(relation, 3, { mode }))).toBe("XX001");
    expect(pool.warnings).toEqual([]);
  });

  it.each(["zeroAndLock", "zeroAndCleanupLock"] as const)(
    "mode %s reads nothing, and gives zeroes under an exclusive lock",
    async (mode) => {
      const pool = await openPool({ checked, files });
      const [a, b] = [pool.attach(), pool.attach()];
      const relation = stored(a);
      flip(pool, relation, 1);
      const before = Number(pool.io().reads);
      const page = a.buffers.readSync(relation, 1, { mode });
      expect(page.bytes.every((byte) => byte === 0)).toBe(true);
      expect(Number(pool.io().reads)).toBe(before);
      const other = b.buffers.pin(relation.id, 1);
      expect(b.buffers.tryLockShare(other)).toBe(false);
      a.buffers.beginChange(page.buffer);
      a.buffers.endChange(page.buffer);
      page[Symbol.dispose]();
      expect(b.buffers.tryLockShare(other)).toBe(true);
      b.buffers.unlock(other);
      b.buffers.unpin(other);
    },
  );

  it("mode zeroAndLock leaves a page that is in the pool as it is, and locks it", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stored(a);
    const reader = b.buffers.pin(relation.id, 2);
    using page = a.buffers.readSync(relation, 2, { mode: "zeroAndLock" });
    expect(page.bytes[4096]).toBe(3);
    expect(b.buffers.tryLockShare(reader)).toBe(false);
    b.buffers.unpin(reader);
  });

  it("mode zeroAndCleanupLock waits for the pins of others", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stored(a);
    const reader = b.buffers.pin(relation.id, 2);
    let locked = false;
    const mode = "zeroAndCleanupLock";
    const waiting = a.buffers.read(relation, 2, { mode }).then((page) => {
      locked = true;
      return page;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(locked).toBe(false);
    b.buffers.unpin(reader);
    const page = await waiting;
    expect(page.bytes[4096]).toBe(3);
    page[Symbol.dispose]();
  });

  // A backend whose worker has failed reads again, and may find the zeroes.
  ofOwnReads(
    "whoever wants zeroes gets them although the backend that was reading failed",
    async () => {
      const pool = await openPool({ checked, files });
      const [a, b] = [pool.attach(), pool.attach()];
      const relation = stored(a);
      flip(pool, relation, 1);
      const failing = a.buffers.read(relation, 1);
      const zeroed = b.buffers.read(relation, 1, { mode: "zeroAndLock" });
      await expect(failing).rejects.toMatchObject({ code: "XX001" });
      using page = await zeroed;
      expect(page.bytes.every((byte) => byte === 0)).toBe(true);
      expect(pool.warnings).toEqual([]);
    },
  );
});

describe.each(everywhere)("parameters, %s", (_, checked, files) => {
  it("zero_damaged_pages makes every read of a damaged page zeroes, with a warning", async () => {
    const pool = await openPool({ checked, files, settings: { zero_damaged_pages: true } });
    const backend = pool.attach();
    const relation = stored(backend);
    flip(pool, relation, 0);
    behead(pool, relation, 1);
    expect([0, 1, 2].map((block) => stampOf(backend, relation, block))).toEqual([0, 0, 3]);
    expect(pool.warnings).toEqual([
      'invalid page in block 0 of relation "t"; zeroing out page',
      'invalid page in block 1 of relation "t"; zeroing out page',
    ]);
  });

  it("ignore_checksum_failure takes a page whose header is sane, with a warning, and no other", async () => {
    const settings = { ignore_checksum_failure: true };
    const pool = await openPool({ checked, files, settings });
    const backend = pool.attach();
    const relation = stored(backend);
    flip(pool, relation, 1);
    behead(pool, relation, 2);
    using page = backend.buffers.readSync(relation, 1);
    expect([page.bytes[3000], page.bytes[4096]]).toEqual([1, 2]);
    expect(pool.warnings).toEqual([
      expect.stringMatching(
        /^ignoring checksum failure in block 1 of relation "t": .*checksum \d+ but expected \d+$/,
      ),
    ]);
    expect(() => backend.buffers.readSync(relation, 2)).toThrow(
      expect.objectContaining({ code: "XX001", detail: expect.stringMatching(MISMATCH) }),
    );
  });

  it("with both, a page that can be taken is taken, and one that cannot reads as zeroes", async () => {
    const settings = { ignore_checksum_failure: true, zero_damaged_pages: true };
    const pool = await openPool({ checked, files, settings });
    const backend = pool.attach();
    const relation = stored(backend);
    flip(pool, relation, 1);
    behead(pool, relation, 2);
    expect([0, 1, 2].map((block) => stampOf(backend, relation, block))).toEqual([1, 2, 0]);
    expect(pool.warnings.map((text) => text.split(" ", 1)[0])).toEqual(["ignoring", "invalid"]);
  });

  it("a listener of warnings that throws leaves the page readable and nothing pinned", async () => {
    const pool = await openPool({ checked, files, settings: { zero_damaged_pages: true } });
    const maker = pool.attach();
    const relation = stored(maker);
    flip(pool, relation, 1);
    const onWarning = (): never => {
      throw new Error("no warnings, please");
    };
    const backend = pool.attach({ onWarning });
    expect(() => backend.buffers.readSync(relation, 1)).toThrow("no warnings, please");
    expect(backend.buffers.pinnedBuffers()).toBe(0);
    expect(stampOf(backend, relation, 1)).toBe(0);
  });
});

describe("without data checksums", () => {
  it.each([false, true])("any bytes are a page (files: %s)", async (files) => {
    const pool = await openPool({ checked: true, files, settings: { data_checksums: false } });
    const backend = pool.attach();
    const relation = stored(backend);
    behead(pool, relation, 1);
    expect(stampOf(backend, relation, 1)).toBe(2);
    expect(pool.warnings).toEqual([]);
  });
});
