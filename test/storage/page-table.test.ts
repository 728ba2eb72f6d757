// The table of memory storage, stopped at each of its atomic operations in turn (atomics.ts). The
// other thread is a second manager of the same handle.

import { describe, expect, test } from "vitest";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage, openStorage } from "../../bindings/storage/memory.ts";
import { dieAt, everywhere, stopAt } from "./atomics.ts";
import { isSame, pageOf, readPage, zeroPage } from "./contract.ts";

const totalPages = 24;

/** Relation 1 with 3 written blocks, relation 2 empty, a control document; two managers. */
function twoThreads(): { one: StorageManager; two: StorageManager } {
  const one = memoryStorage({ maxBytes: totalPages * 8192 });
  // Pages that were used before: what is claimed has to be cleared.
  one.createSync(9, 0);
  one.extendSync(9, 0, totalPages);
  for (let block = 0; block < totalPages; block++) one.writeSync(9, 0, block, pageOf(99));
  one.unlinkSync(9, 0);
  one.createSync(1, 0);
  one.createSync(2, 0);
  one.extendSync(1, 0, 3);
  for (let block = 0; block < 3; block++) one.writeSync(1, 0, block, pageOf(block));
  one.writeControlSync(pageOf(50));
  return { one, two: openStorage(one.handle) };
}

/** Every block of the relations is a page of its own: stamps them all, then looks at them all. */
function expectDistinct(storage: StorageManager, relations: readonly number[]): void {
  const blocks = relations.flatMap((relation) =>
    Array.from(
      { length: storage.blocksSync(relation, 0) },
      (_, block) => [relation, block] as const,
    ),
  );
  for (const [at, [relation, block]] of blocks.entries()) {
    storage.writeSync(relation, 0, block, pageOf(at));
  }
  for (const [at, [relation, block]] of blocks.entries()) {
    expect(isSame(readPage(storage, relation, 0, block), pageOf(at))).toBe(true);
  }
}

function expectZero(storage: StorageManager, relation: number, from: number): void {
  for (let block = from; block < storage.blocksSync(relation, 0); block++) {
    expect(isSame(readPage(storage, relation, 0, block), zeroPage)).toBe(true);
  }
}

describe("at whatever atomic operation another thread acts", () => {
  test("two relations that are extended at once share no page", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const extendTwo = (): void => two.extendSync(2, 0, 4);
      const stopped = stopAt(operation, extendTwo, () => one.extendSync(1, 0, 6));
      expect([one.blocksSync(1, 0), one.blocksSync(2, 0)]).toEqual([6, stopped ? 4 : 0]);
      expectZero(two, 1, 3);
      expectZero(one, 2, 0);
      expectDistinct(one, [1, 2]);
      return stopped;
    });
  });

  test("one relation that is extended by both is as long as the longer wish, or longer", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const stopped = stopAt(
        operation,
        () => two.extendSync(1, 0, 5),
        () => one.extendSync(1, 0, 7),
      );
      expect(one.blocksSync(1, 0)).toBeGreaterThanOrEqual(7);
      expect(two.blocksSync(1, 0)).toBe(one.blocksSync(1, 0));
      expectDistinct(two, [1]);
      return stopped;
    });
  });

  test("two forks that are created at once are both there", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const stopped = stopAt(
        operation,
        () => two.createSync(8, 1),
        () => one.createSync(7, 0),
      );
      for (const each of [one, two]) {
        expect([each.existsSync(7, 0), each.existsSync(8, 1)]).toEqual([true, stopped]);
      }
      return stopped;
    });
  });

  test("a removed relation's pages are taken by another once, and cleared", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const stopped = stopAt(
        operation,
        () => {
          two.unlinkSync(1, 0);
          two.createSync(3, 0);
          two.extendSync(3, 0, totalPages - 6);
        },
        () => one.extendSync(2, 0, 5),
      );
      expect(one.blocksSync(2, 0)).toBe(5);
      expectZero(one, 2, 0);
      if (stopped) expectZero(one, 3, 0);
      expectDistinct(one, stopped ? [2, 3] : [1, 2]);
      return stopped;
    });
  });

  test("a fork that takes a removed one's place is found as itself, or not yet", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const replace = (): void => {
        two.unlinkSync(1, 0);
        two.createSync(7, 0);
      };
      const extend = (): void => {
        try {
          one.extendSync(7, 0, 4);
        } catch (error) {
          expect(error).toMatchObject({ code: "58P01" });
        }
      };
      const stopped = stopAt(operation, replace, extend);
      if (stopped) two.extendSync(7, 0, 5);
      two.extendSync(2, 0, totalPages - 6);
      if (stopped) expect(() => two.extendSync(2, 0, totalPages - 5)).toThrow(/No space left/);
      if (stopped) expectDistinct(two, [2, 7]);
      return stopped;
    });
  });

  test("pages that are cut off are taken by another once, and cleared", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      expect(two.blocksSync(1, 0)).toBe(3);
      const stopped = stopAt(
        operation,
        () => two.extendSync(2, 0, totalPages - 4),
        () => one.truncateSync(1, 0, 1),
      );
      if (!stopped) two.extendSync(2, 0, totalPages - 4);
      two.extendSync(2, 0, totalPages - 2);
      expect([one.blocksSync(1, 0), two.blocksSync(1, 0)]).toEqual([1, 1]);
      expect(isSame(readPage(two, 1, 0, 0), pageOf(0))).toBe(true);
      expectZero(two, 2, 0);
      expect(() => two.extendSync(2, 0, totalPages - 1)).toThrow(/No space left/);
      expectDistinct(one, [1, 2]);
      return stopped;
    });
  });

  test("a journal that two write at once has what both wrote", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      one.createJournalSync(1);
      const stopped = stopAt(
        operation,
        () => two.writeJournalSync(1, 8192 + 10, [pageOf(2), pageOf(3)]),
        () => one.writeJournalSync(1, 0, [pageOf(0), pageOf(1).subarray(0, 10)]),
      );
      if (!stopped) two.writeJournalSync(1, 8192 + 10, [pageOf(2), pageOf(3)]);
      const bytes = new Uint8Array(5 * 8192);
      const expected = [pageOf(0), pageOf(1).subarray(0, 10), pageOf(2), pageOf(3)];
      expect(one.readJournalSync(1, 0, bytes)).toBe(3 * 8192 + 10);
      expect(isSame(bytes.subarray(0, 3 * 8192 + 10), Buffer.concat(expected))).toBe(true);
      return stopped;
    });
  });

  test("a control document that is replaced while it is read is read whole", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const replace = (): void => {
        for (const seed of [51, 52, 53]) two.writeControlSync(pageOf(seed));
      };
      let read: Uint8Array | undefined;
      const stopped = stopAt(operation, replace, () => {
        read = one.readControlSync();
      });
      const whole = [50, 53].some((seed) => isSame(read ?? zeroPage, pageOf(seed)));
      expect(whole).toBe(true);
      return stopped;
    });
  });
});

describe("at whatever atomic operation a thread ends", () => {
  test("an extension happened or not, and removing the relation gives back all pages", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const died = dieAt(operation, () => one.extendSync(1, 0, 9));
      expect([3, 9]).toContain(two.blocksSync(1, 0));
      expect(isSame(readPage(two, 1, 0, 2), pageOf(2))).toBe(true);
      expectZero(two, 1, 3);
      two.unlinkSync(1, 0);
      two.extendSync(2, 0, totalPages - 1);
      expectDistinct(two, [2]);
      return died;
    });
  });

  test("a fork that was being created is there and empty, or not there and can be created", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const died = dieAt(operation, () => one.createSync(7, 0));
      if (!two.existsSync(7, 0)) two.createSync(7, 0);
      expect(two.blocksSync(7, 0)).toBe(0);
      expect(two.relationsSync()).toEqual([1, 2, 7]);
      return died;
    });
  });

  test("a fork that was being removed is whole, or gone with all of its pages", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const died = dieAt(operation, () => one.unlinkSync(1, 0));
      if (two.existsSync(1, 0)) expect(isSame(readPage(two, 1, 0, 1), pageOf(1))).toBe(true);
      two.unlinkSync(1, 0);
      two.extendSync(2, 0, totalPages - 1);
      return died;
    });
  });

  test("a truncation happened or not, for all, and removing the relation gives back all pages", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      expect(two.blocksSync(1, 0)).toBe(3);
      const died = dieAt(operation, () => one.truncateSync(1, 0, 1));
      expect([1, 3]).toContain(two.blocksSync(1, 0));
      expect(isSame(readPage(two, 1, 0, 0), pageOf(0))).toBe(true);
      if (two.blocksSync(1, 0) === 3) {
        expect(isSame(readPage(two, 1, 0, 2), pageOf(2))).toBe(true);
      }
      two.extendSync(1, 0, 4);
      expect(isSame(readPage(two, 1, 0, 3), zeroPage)).toBe(true);
      two.unlinkSync(1, 0);
      two.extendSync(2, 0, totalPages - 1);
      expectZero(two, 2, 0);
      expectDistinct(two, [2]);
      return died;
    });
  });

  test("a journal that was being written or replaced can be made again, and gives back its pages", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      one.createJournalSync(1);
      const died = dieAt(operation, () => {
        one.writeJournalSync(1, 0, [pageOf(0), pageOf(1)]);
        one.createJournalSync(1);
      });
      two.createJournalSync(1);
      expect([two.journalBytesSync(1), ...two.journalsSync()]).toEqual([0, 1]);
      two.extendSync(2, 0, totalPages - 4);
      two.writeSync(1, 0, 0, pageOf(7));
      expectDistinct(two, [1, 2]);
      return died;
    });
  });

  test("a control document is the old or the new one, and no more pages than one has are lost", () => {
    everywhere((operation) => {
      const { one, two } = twoThreads();
      const died = dieAt(operation, () => one.writeControlSync(pageOf(51)));
      const read = two.readControlSync() ?? zeroPage;
      expect(isSame(read, pageOf(50)) || isSame(read, pageOf(51))).toBe(true);
      two.extendSync(2, 0, totalPages - 3 - 2);
      two.writeSync(1, 0, 0, pageOf(7));
      expectDistinct(two, [1, 2]);
      return died;
    });
  });
});
