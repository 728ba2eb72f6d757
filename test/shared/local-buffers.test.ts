// Local buffers by example: what each call does, refuses and leaves behind, and where memory comes
// from. Which buffer is taken when is the business of test/differential/local-buffers.test.ts.

import { describe, expect, it } from "vitest";
import { FORK_FSM } from "../../assembly/common/constants.ts";
import type { BufferId, ForkId } from "../../bindings/abi/pointers.ts";
import { LocalTable } from "../../bindings/shared/local-table.ts";
import { initPage } from "../../bindings/shared/page.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { forkOf, type Local, type LocalOptions, openLocal } from "../support/local.ts";
import { builds } from "../support/region.ts";

const CONTEXT = "LocalBufferContext";

/** Local buffers, and one relation of theirs with some blocks. */
interface Opened extends Local {
  readonly storage: LocalOptions["storage"];
  readonly relation: number;
  readonly id: ForkId;
}

function checksumIn(page: Uint8Array): number {
  return (page[8] ?? 0) | ((page[9] ?? 0) << 8);
}

function contextsOf({ memory }: Local): { total_bytes: number; level: number }[] {
  return memory.rows().filter(({ name }) => name === CONTEXT);
}

describe.each(builds)("%s build", (_, checked) => {
  /** Opens, runs, closes. */
  function withLocal(work: (local: Opened) => void, options: Partial<LocalOptions> = {}): void {
    const storage = memoryStorage({ maxBytes: 16 << 20 });
    const local = openLocal({ storage, checked, pages: 8, ...options });
    const relation = local.relations.create("t");
    const id = forkOf(relation);
    local.buffers.extend(id, 200);
    local.log.length = 0;
    try {
      work({ ...local, storage, relation, id });
    } finally {
      local.close();
    }
  }

  /** Pins a page, makes it an empty one with a byte of its own, and gives it back. */
  function change({ buffers, id }: Opened, block: number, value: number): void {
    const buffer = buffers.pin(id, block);
    buffers.markDirty(buffer);
    initPage(buffers.bytes(buffer));
    buffers.bytes(buffer)[5000] = value;
    buffers.unpin(buffer);
  }

  function stored({ storage, relation }: Opened, block: number): Uint8Array {
    const page = new Uint8Array(8192);
    storage.readSync(relation, 0, block, page);
    return page;
  }

  describe("pins", () => {
    it("buffers have numbers below 0, in the order in which they are first used", () => {
      withLocal(({ buffers, id }) => {
        expect([4, 2, 9].map((block) => buffers.pin(id, block))).toEqual([-1, -2, -3]);
        expect(buffers.pin(id, 2)).toBe(-2);
        expect(buffers.pinnedBuffers).toBe(3);
      });
    });

    it("a page is read once, then found", () => {
      withLocal(({ buffers, id, relation, log }) => {
        buffers.unpin(buffers.pin(id, 7));
        buffers.unpin(buffers.pin(id, 7));
        expect(log).toEqual([`read ${relation}/7`, "hit"]);
      });
    });

    it("the same block of two forks is two pages", () => {
      withLocal(({ buffers, id, relation, storage }) => {
        storage.createSync(relation, FORK_FSM);
        const map = (id + FORK_FSM) as ForkId;
        buffers.extend(map, 1);
        expect(buffers.pin(map, 0)).not.toBe(buffers.pin(id, 0));
      });
    });

    it("when every buffer is pinned a further page is refused, until a pin is given back", () => {
      withLocal(({ buffers, id }) => {
        const held = Array.from({ length: 8 }, (_, block) => buffers.pin(id, block));
        const refused = { code: "53000", message: "no empty local buffer available" };
        expect(() => buffers.pin(id, 8)).toThrow(expect.objectContaining(refused));
        buffers.unpin(held[5] as BufferId);
        expect(buffers.pin(id, 8)).toBe(held[5]);
      });
    });

    it("unpin and markDirty want a pin, and a buffer that there is", () => {
      withLocal(({ buffers, id }) => {
        const buffer = buffers.pin(id, 0);
        buffers.unpin(buffer);
        const unpinned = expect.objectContaining({ code: "55000" });
        const unknown = expect.objectContaining({ code: "22023" });
        for (const call of ["unpin", "markDirty", "checkPinned", "beginChange"] as const) {
          expect(() => buffers[call](buffer)).toThrow(unpinned);
          expect(() => buffers[call](-7 as BufferId)).toThrow(unknown);
          expect(() => buffers[call](3 as BufferId)).toThrow(unknown);
        }
        expect(() => buffers.bytes(-7 as BufferId)).toThrow(unknown);
      });
    });

    it("a backend has 32,767 pins on a buffer at most", () => {
      withLocal(({ buffers, id }) => {
        for (let pin = 0; pin < 32767; pin += 1) buffers.pin(id, 0);
        expect(() => buffers.pin(id, 0)).toThrow(expect.objectContaining({ code: "54000" }));
        expect(buffers.leaks()).toEqual([{ buffer: -1, relation: "t", block: 0, count: 32767 }]);
      });
    });

    it("pages that are still pinned are listed with their relation, block and pins", () => {
      withLocal(({ buffers, id }) => {
        for (const block of [3, 5, 5, 4]) buffers.pin(id, block);
        buffers.unpin(-3 as BufferId);
        const leaks = [
          { buffer: -1, relation: "t", block: 3, count: 1 },
          { buffer: -2, relation: "t", block: 5, count: 2 },
        ];
        expect(buffers.leaks()).toEqual(leaks);
      });
    });

    it("a temporary relation of another backend is refused, and one that is none", () => {
      withLocal(({ buffers }) => {
        const other = expect.objectContaining({
          code: "0A000",
          message: "cannot access temporary tables of other sessions",
        });
        const theirs = forkOf(0x3c000000 + 2 * 65536);
        expect(() => buffers.pin(theirs, 0)).toThrow(other);
        expect(() => buffers.pinZeroed(theirs, 0)).toThrow(other);
        expect(() => buffers.extend(theirs, 1)).toThrow(other);
        expect(() => buffers.flushRelation(theirs)).toThrow(other);
        expect(() => buffers.dropRelation(theirs)).toThrow(other);
        expect(() => buffers.pin(forkOf(5), 0)).toThrow(RangeError);
      });
    });
  });

  describe("changes", () => {
    it("undoing a change puts the page back", () => {
      withLocal(({ buffers, id }) => {
        const buffer = buffers.pin(id, 0);
        buffers.bytes(buffer).fill(3);
        buffers.beginChange(buffer);
        buffers.bytes(buffer).fill(9);
        buffers.undoChange(buffer);
        expect(buffers.bytes(buffer).every((byte) => byte === 3)).toBe(true);
        buffers.beginChange(buffer);
        buffers.bytes(buffer).fill(9);
        buffers.endChange(buffer);
        expect(buffers.bytes(buffer).every((byte) => byte === 9)).toBe(true);
        expect(buffers.rows()[0]?.dirty).toBe(true);
      });
    });

    it("one page is changed at a time, and keeps its pin meanwhile", () => {
      withLocal(({ buffers, id }) => {
        const [first, second] = [buffers.pin(id, 0), buffers.pin(id, 1)];
        const state = expect.objectContaining({ code: "55000" });
        buffers.beginChange(first);
        expect(() => buffers.beginChange(second)).toThrow(state);
        expect(() => buffers.endChange(second)).toThrow(state);
        expect(() => buffers.unpin(first)).toThrow(state);
        buffers.endChange(first);
        expect(() => buffers.undoChange(first)).toThrow(state);
        buffers.unpin(first);
      });
    });

    it("a clean page that is changed is counted once", () => {
      withLocal((local) => {
        change(local, 0, 1);
        change(local, 0, 2);
        expect(local.log.filter((word) => word === "dirty")).toHaveLength(1);
      });
    });
  });

  describe("checksums", () => {
    it("a page gets its checksum in place when it is written", () => {
      withLocal((local) => {
        change(local, 42, 7);
        local.buffers.flushRelation(local.id);
        const written = stored(local, 42);
        expect(written[5000]).toBe(7);
        expect(checksumIn(written)).toBe(local.checksum(written, 42));
        const buffer = local.buffers.pin(local.id, 42);
        expect(local.buffers.bytes(buffer)).toEqual(written);
      });
    });

    it("an empty page's checksum is PostgreSQL's", () => {
      withLocal((local) => {
        change(local, 42, 0);
        local.buffers.flushRelation(local.id);
        expect(checksumIn(stored(local, 42))).toBe(25978);
      });
    });

    it("a new page gets none, and without data checksums no page does", () => {
      withLocal((local) => {
        const buffer = local.buffers.pinZeroed(local.id, 3);
        local.buffers.markDirty(buffer);
        local.buffers.flushRelation(local.id);
        expect(stored(local, 3).every((byte) => byte === 0)).toBe(true);
      });
      withLocal(
        (local) => {
          change(local, 3, 1);
          local.buffers.flushRelation(local.id);
          expect(checksumIn(stored(local, 3))).toBe(0);
        },
        { checksums: false },
      );
    });

    it("a damaged page is refused, pins nothing, and is read again once it was put right", () => {
      withLocal((local) => {
        const { buffers, id, relation, storage } = local;
        change(local, 1, 7);
        buffers.flushRelation(id);
        buffers.dropRelation(id);
        const good = stored(local, 1);
        const bad = good.slice();
        bad[6000] = 1;
        storage.writeSync(relation, 0, 1, bad);
        const message = 'invalid page in block 1 of relation "t"';
        const wrong = local.checksum(bad, 1);
        const detail = `page verification failed, calculated checksum ${wrong} but expected ${checksumIn(good)}`;
        const error = { code: "XX001", message, detail, relation: "t", block: 1 };
        expect(() => buffers.pin(id, 1)).toThrow(expect.objectContaining(error));
        expect(buffers.pinnedBuffers).toBe(0);
        storage.writeSync(relation, 0, 1, good);
        expect(buffers.bytes(buffers.pin(id, 1))[5000]).toBe(7);
      });
    });

    it("a page whose header is none is refused", () => {
      withLocal(({ buffers, id, relation, storage }) => {
        const bad = new Uint8Array(8192);
        bad[8191] = 1;
        storage.writeSync(relation, 0, 1, bad);
        const error = { code: "XX001", detail: "The page's header is not one." };
        expect(() => buffers.pin(id, 1)).toThrow(expect.objectContaining(error));
      });
    });
  });

  describe("relations", () => {
    it("extending returns the first new block, which reads as zeroes", () => {
      withLocal(({ buffers, id, log }) => {
        expect(buffers.extend(id, 3)).toBe(200);
        expect(buffers.extend(id, 1)).toBe(203);
        expect(log).toEqual(["extend 3", "extend 1"]);
        expect(buffers.bytes(buffers.pin(id, 203)).every((byte) => byte === 0)).toBe(true);
        expect(() => buffers.extend(id, 0)).toThrow(RangeError);
        expect(() => buffers.extend(id, 0xfffffffe)).toThrow(RangeError);
      });
    });

    it("a flush that fails leaves its page dirty, and the next one writes it", () => {
      withLocal((local) => {
        const { buffers, fault, id } = local;
        change(local, 2, 5);
        fault.writes = true;
        expect(() => buffers.flushRelation(id)).toThrow("Input/output error");
        expect(buffers.rows()[0]?.dirty).toBe(true);
        fault.writes = false;
        buffers.flushRelation(id);
        expect(stored(local, 2)[5000]).toBe(5);
      });
    });

    it("dropping pages from a block on writes none of them and keeps those before it", () => {
      withLocal((local) => {
        const { buffers, id } = local;
        for (const block of [1, 2, 3]) change(local, block, 9);
        buffers.dropRelation(id, 2);
        expect(buffers.rows().map(({ block }) => block)).toEqual([1]);
        expect(stored(local, 3)[5000]).toBe(0);
      });
    });

    it("pages of which one is pinned are not dropped, none of them", () => {
      withLocal(({ buffers, id }) => {
        buffers.unpin(buffers.pin(id, 1));
        buffers.pin(id, 2);
        const message = 'block 2 of relation "t" is still referenced (local 1)';
        const error = expect.objectContaining({ code: "55006", message });
        expect(() => buffers.dropRelation(id)).toThrow(error);
        expect(buffers.rows()).toHaveLength(2);
      });
    });
  });

  describe("memory", () => {
    it("before a page is touched there is none; then a context has 16 frames, then 48, then all", () => {
      const options = { pages: 100 };
      withLocal((local) => {
        const { buffers, id } = local;
        expect(contextsOf(local)).toEqual([]);
        for (const [pages, frames] of [
          [1, 16],
          [16, 16],
          [17, 48],
          [48, 48],
          [49, 100],
          [100, 100],
        ] as const) {
          for (let block = 0; block < pages; block += 1) buffers.unpin(buffers.pin(id, block));
          const [row] = contextsOf(local);
          expect(row?.level).toBe(2);
          // Besides frames: the context's first block, and at most 8 kB to align each chunk.
          expect(row?.total_bytes).toBeGreaterThanOrEqual(frames * 8192);
          expect(row?.total_bytes).toBeLessThan((frames + 4) * 8192);
        }
      }, options);
    });

    it("frames lie at multiples of 4,096 and no two share a byte", () => {
      withLocal(
        ({ buffers, id }) => {
          const at = Array.from({ length: 60 }, (_, block) =>
            buffers.address(buffers.pin(id, block)),
          );
          expect(at.every((address) => address > 0 && address % 4096 === 0)).toBe(true);
          const sorted = at.toSorted((a, b) => a - b);
          const gaps = sorted.slice(1).map((address, index) => address - (sorted[index] ?? 0));
          expect(Math.min(...gaps)).toBeGreaterThanOrEqual(8192);
        },
        { pages: 60 },
      );
    });

    it("pages survive the growth of a memory that was not reserved in full", () => {
      const memory = { initialMemory: "1MB", maxMemory: "16MB" };
      withLocal(
        ({ buffers, id, memory }) => {
          const first = buffers.pin(id, 0);
          const before = buffers.bytes(first);
          before.fill(77);
          for (let block = 1; block < 200; block += 1) buffers.pin(id, block);
          expect(memory.u8.length).toBeGreaterThan(1 << 20);
          // A checked memory is reserved in full in any case, for the shadow table behind it.
          expect(before.length).toBe(checked ? 8192 : 0);
          const after = buffers.bytes(first);
          expect(after.length).toBe(8192);
          expect(after.every((byte) => byte === 77)).toBe(true);
          expect(buffers.bytes(first)).toBe(after);
        },
        { pages: 200, memory },
      );
    });

    it("a process memory that is too small is an error, and the pages that fitted stay", () => {
      withLocal(
        ({ buffers, id, memory }) => {
          for (let block = 0; block < 16; block += 1) buffers.unpin(buffers.pin(id, block));
          const hoard = memory.top.createChild("hoard");
          hoard.alloc(700_000);
          expect(() => buffers.pin(id, 16)).toThrow(expect.objectContaining({ code: "53200" }));
          expect(buffers.pinnedBuffers).toBe(0);
          expect(buffers.rows()).toHaveLength(16);
          hoard.delete();
          // The hand has moved on meanwhile.
          expect(buffers.pin(id, 16)).toBe(-18);
        },
        { pages: 64, memory: { maxMemory: "1MB" } },
      );
    });

    it("their number may change until a page is touched", () => {
      withLocal(({ buffers, id }) => {
        buffers.resize(2);
        expect(buffers.size).toBe(2);
        for (const block of [0, 1]) buffers.unpin(buffers.pin(id, block));
        expect(buffers.pin(id, 2)).toBe(-1);
        buffers.resize(2);
        const error = {
          code: "22023",
          message: 'invalid value for parameter "temp_buffers": 3',
          detail:
            '"temp_buffers" cannot be changed after any temporary tables have been accessed in the session.',
        };
        expect(() => buffers.resize(3)).toThrow(expect.objectContaining(error));
        expect(buffers.size).toBe(2);
      });
    });

    it("detaching gives all memory back, pinned or not, and then every call is refused", () => {
      withLocal((local) => {
        const { buffers, id } = local;
        const buffer = buffers.pin(id, 0);
        buffers.detach();
        buffers.detach();
        expect(contextsOf(local)).toEqual([]);
        expect(buffers.pinnedBuffers).toBe(0);
        const closed = expect.objectContaining({
          code: "55000",
          message: expect.stringMatching(/closed/),
        });
        for (const call of ["pin", "pinZeroed", "extend"] as const) {
          expect(() => buffers[call](id, 1)).toThrow(closed);
        }
        for (const call of ["unpin", "bytes", "address", "markDirty"] as const) {
          expect(() => buffers[call](buffer)).toThrow(closed);
        }
        expect(() => buffers.flushRelation(id)).toThrow(closed);
      });
    });

    it("who resets the context above them closes them; nothing writes into freed memory", () => {
      withLocal(({ buffers, id, memory }) => {
        const buffer = buffers.pin(id, 0);
        memory.top.reset();
        const closed = expect.objectContaining({ message: expect.stringMatching(/closed/) });
        expect(() => buffers.bytes(buffer)).toThrow(closed);
        expect(() => buffers.pin(id, 0)).toThrow(closed);
      });
    });

    it("more descriptors than the engine has room for are out of memory, not a wrong argument", () => {
      expect(() => new LocalTable(2 ** 40)).toThrow(expect.objectContaining({ code: "53200" }));
    });
  });
});
