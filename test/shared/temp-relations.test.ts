// Temporary relations: names of one backend's own, numbers that no other backend gives out, and
// files that go with the backend, or at the latest when somebody starts after it was killed.

import { describe, expect, it } from "vitest";
import {
  FIRST_TEMP_RELATION,
  MAX_BACKENDS,
  MAX_RELATION_NUMBER,
} from "../../assembly/common/constants.ts";
import { SharedMemory } from "../../bindings/index.ts";
import { isOwnTemporary, isTemporary, tempNumber } from "../../bindings/shared/temp-numbers.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage, openStorage } from "../../bindings/storage/memory.ts";
import { withThisMethod } from "../support/io-methods.ts";
import { forkOf, type Local, openLocal } from "../support/local.ts";

function newStorage(): StorageManager {
  return memoryStorage({ maxBytes: 4 << 20 });
}

/** A backend's temporary relations; what is left of them goes when `work` ends. */
function withSlot(slot: number, storage: StorageManager, work: (local: Local) => void): void {
  const memory = { maxMemory: "4MB" };
  const local = openLocal({ storage, checked: true, pages: 8, slot, memory });
  try {
    work(local);
  } finally {
    local.close();
  }
}

describe("numbers", () => {
  it("every slot has a part of its own, at the top of relation numbers", () => {
    const last = MAX_BACKENDS;
    expect(tempNumber(0, 0)).toBe(FIRST_TEMP_RELATION);
    expect(tempNumber(1, 0)).toBe(tempNumber(0, 65535) + 1);
    expect(tempNumber(last, 65535)).toBeLessThanOrEqual(MAX_RELATION_NUMBER);
    expect(tempNumber(3, 65536)).toBe(tempNumber(3, 0));
    expect(isOwnTemporary(tempNumber(3, 65535), 3)).toBe(true);
    expect(isOwnTemporary(tempNumber(3, 65535), 4)).toBe(false);
    expect(isOwnTemporary(tempNumber(4, 0), 3)).toBe(false);
  });

  it("a fork's number says whether it is temporary", () => {
    expect(isTemporary(forkOf(FIRST_TEMP_RELATION))).toBe(true);
    expect(isTemporary(forkOf(MAX_RELATION_NUMBER))).toBe(true);
    expect(isTemporary(forkOf(FIRST_TEMP_RELATION - 1))).toBe(false);
    expect(isTemporary(forkOf(0))).toBe(false);
  });

  it("two backends give one name to two relations and one number to none", () => {
    const storage = newStorage();
    withSlot(1, storage, (first) => {
      withSlot(2, storage, (second) => {
        const mine = first.relations.create("t");
        const theirs = second.relations.create("t");
        expect(theirs).not.toBe(mine);
        first.relations.drop("t");
        expect(second.relations.open("t")).toBe(theirs);
        expect(storage.relationsSync()).toEqual([theirs]);
      });
    });
  });

  it("numbers go round and pass over those in use", () => {
    withSlot(1, newStorage(), ({ relations }) => {
      const kept = relations.create("kept");
      const given = new Set<number>();
      for (let count = 0; count < 65536; count += 1) {
        given.add(relations.create("t"));
        relations.drop("t");
      }
      expect(given.has(kept)).toBe(false);
      expect(given.size).toBe(65535);
    });
  });
});

describe("names", () => {
  it("a name is known from its creation to its end", () => {
    withSlot(1, newStorage(), ({ relations }) => {
      const number = relations.create("t");
      relations.create("u");
      expect(relations.open("t")).toBe(number);
      expect(relations.nameOf(number)).toBe("t");
      expect(relations.names()).toEqual(["t", "u"]);
      expect(relations.drop("t")).toBe(true);
      expect(relations.open("t")).toBeUndefined();
      expect(relations.nameOf(number)).toBeUndefined();
      expect(relations.drop("t")).toBe(false);
    });
  });

  it("a second relation of one name is refused, and a new name leads to the same pages", () => {
    withSlot(1, newStorage(), ({ relations }) => {
      const number = relations.create("t");
      const exists = { code: "42P07", message: 'relation "t" already exists' };
      expect(() => relations.create("t")).toThrow(expect.objectContaining(exists));
      relations.create("u");
      expect(() => relations.rename("u", "t")).toThrow(expect.objectContaining(exists));
      expect(relations.rename("t", "v")).toBe(true);
      expect(relations.open("v")).toBe(number);
      expect(relations.nameOf(number)).toBe("v");
      expect(relations.open("t")).toBeUndefined();
      expect(relations.rename("t", "w")).toBe(false);
    });
  });
});

describe("files", () => {
  it("a relation with a pinned page is not dropped; without, its pages and file go", () => {
    const storage = newStorage();
    withSlot(1, storage, ({ relations, buffers }) => {
      const number = relations.create("t");
      buffers.extend(forkOf(number), 2);
      buffers.unpin(buffers.pin(forkOf(number), 0));
      const buffer = buffers.pin(forkOf(number), 1);
      expect(() => relations.drop("t")).toThrow(expect.objectContaining({ code: "55006" }));
      expect(relations.open("t")).toBe(number);
      expect(buffers.rows()).toHaveLength(2);
      buffers.unpin(buffer);
      relations.drop("t");
      expect(buffers.rows()).toEqual([]);
      expect(storage.existsSync(number, 0)).toBe(false);
    });
  });

  it("a pin in one fork keeps the pages of all forks", () => {
    const storage = newStorage();
    withSlot(1, storage, ({ relations, buffers }) => {
      const main = forkOf(relations.create("t"));
      const map = (main + 1) as typeof main;
      storage.createSync(main >>> 2, 1);
      for (const fork of [main, map]) buffers.extend(fork, 1);
      buffers.pin(main, 0);
      buffers.unpin(buffers.pin(map, 0));
      expect(() => relations.drop("t")).toThrow(expect.objectContaining({ code: "55006" }));
      expect(buffers.rows()).toHaveLength(2);
    });
  });

  it("they all go with the backend, dirty and pinned pages too", () => {
    const storage = newStorage();
    withSlot(1, storage, ({ relations, buffers }) => {
      const id = forkOf(relations.create("t"));
      relations.create("u");
      buffers.extend(id, 1);
      buffers.markDirty(buffers.pin(id, 0));
      relations.detach();
      relations.detach();
      expect(storage.relationsSync()).toEqual([]);
      expect(relations.names()).toEqual([]);
    });
  });

  it("a file that cannot be removed is reported, once per relation, and the names are gone", () => {
    withSlot(1, newStorage(), ({ relations, fault }) => {
      relations.create("t");
      relations.create("u");
      fault.unlinks = true;
      expect(() => relations.detach()).toThrow(AggregateError);
      expect(relations.names()).toEqual([]);
    });
  });

  it("what a killed backend left is removed by the next one in its slot, and no other's", () => {
    const storage = newStorage();
    const [mine, others] = [tempNumber(1, 5), tempNumber(2, 5)];
    for (const number of [7, mine, others]) storage.createSync(number, 0);
    withSlot(1, storage, ({ relations }) => {
      expect(storage.existsSync(mine, 0)).toBe(true);
      const number = relations.create("t");
      expect(storage.relationsSync()).toEqual([7, number, others]);
    });
  });

  it("what a killed process left is removed at the next start", async () => {
    const storage = newStorage();
    const settings = { shared_buffers: 16, max_connections: 2 };
    await (
      await SharedMemory.create(withThisMethod({ settings, storage: staysOpen(storage) }))
    ).close();
    storage.createSync(tempNumber(1, 0), 0);
    const shared = await SharedMemory.create(
      withThisMethod({ settings, storage: staysOpen(storage) }),
    );
    expect(storage.relationsSync()).toEqual([]);
    await shared.close();
  });
});

/** The same storage, to be given to a region that closes it. */
function staysOpen(storage: StorageManager): StorageManager {
  return openStorage(storage.handle);
}
